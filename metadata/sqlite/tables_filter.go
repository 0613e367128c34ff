package sqlite

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/mf-run/mf/metadata/tables"
)

// field reads one field of a row; exactly one of the functions is set. A nil is null.
type field[R any] struct {
	number func(*R) *int64
	text   func(*R) *string
	json   func(*R) tables.JSON
}

var (
	runFields = map[string]field[tables.Run]{
		"flow_id":           {text: func(r *tables.Run) *string { return &r.FlowID }},
		"run_number":        {number: func(r *tables.Run) *int64 { return &r.RunNumber }},
		"run_id":            {text: func(r *tables.Run) *string { return r.RunID }},
		"user_name":         {text: func(r *tables.Run) *string { return r.UserName }},
		"ts_epoch":          {number: func(r *tables.Run) *int64 { return &r.TsEpoch }},
		"last_heartbeat_ts": {number: func(r *tables.Run) *int64 { return r.LastHeartbeat }},
		"tags":              {json: func(r *tables.Run) tables.JSON { return r.Tags }},
		"system_tags":       {json: func(r *tables.Run) tables.JSON { return r.SystemTags }},
		"user":              {text: owner},
		"status":            {text: func(r *tables.Run) *string { return &r.Status }},
	}
	taskFields = map[string]field[tables.Task]{
		"task_id":           {number: func(t *tables.Task) *int64 { return &t.TaskID }},
		"task_name":         {text: func(t *tables.Task) *string { return t.TaskName }},
		"user_name":         {text: func(t *tables.Task) *string { return t.UserName }},
		"ts_epoch":          {number: func(t *tables.Task) *int64 { return &t.TsEpoch }},
		"last_heartbeat_ts": {number: func(t *tables.Task) *int64 { return t.LastHeartbeat }},
	}
)

// owner is the user name that a system tag vouches for.
func owner(r *tables.Run) *string {
	if r.UserName == nil {
		return nil
	}
	list, _ := elements(r.SystemTags)
	if !slices.Contains(list, "user:"+*r.UserName) {
		return nil
	}
	return r.UserName
}

// elements returns the texts of a list of tags; false for null.
func elements(list tables.JSON) ([]string, bool) {
	if list == nil {
		return nil, false
	}
	var values []any
	if err := json.Unmarshal(list, &values); err != nil {
		return nil, true // another kind of JSON has no elements
	}
	out := make([]string, 0, len(values))
	for _, v := range values {
		if text, ok := v.(string); ok {
			out = append(out, text)
		}
	}
	return out, true
}

// predicate returns whether a row passes all filters. What Postgres has no operator for is its error, with or without
// rows.
func predicate[R any](filters []tables.Filter, fields map[string]field[R]) (func(*R) bool, error) {
	var all []func(*R) bool
	for _, f := range filters {
		read, known := fields[f.Field]
		if !known {
			return nil, fmt.Errorf("no filter on field %q", f.Field)
		}
		var either []func(*R) bool
		for _, v := range f.Values {
			one, err := read.condition(f.Op, v)
			if err != nil {
				return nil, err
			}
			either = append(either, one)
		}
		if len(either) > 0 {
			all = append(all, func(r *R) bool {
				return slices.ContainsFunc(either, func(one func(*R) bool) bool { return one(r) })
			})
		}
	}
	return func(r *R) bool {
		for _, one := range all {
			if !one(r) {
				return false
			}
		}
		return true
	}, nil
}

// condition is one comparison with one value.
func (f field[R]) condition(op string, value *string) (func(*R) bool, error) {
	if value == nil {
		return f.isNull, nil
	}
	if err := checkText(*value); err != nil {
		return nil, err
	}
	if op == "is" {
		return nil, refuse(syntaxError, `syntax error at or near "IS"`)
	}
	like := op == "co" || op == "sw" || op == "ew" || op == "li"
	switch {
	case f.text != nil && like:
		return f.like(op, *value)
	case like:
		return nil, refuse(noSuchOperator, "operator does not exist: ILIKE for a column that is no text")
	case f.text != nil:
		return compare(op, f.text, *value, cmp.Compare[string])
	case f.number != nil:
		n, err := strconv.ParseInt(strings.TrimSpace(*value), 10, 64)
		if err != nil {
			if isDigits(strings.TrimPrefix(strings.TrimSpace(*value), "-")) {
				return nil, refuse(outOfRange, "value is out of range for type bigint")
			}
			return nil, refuse(badText, "invalid input syntax for type bigint")
		}
		return compare(op, f.number, n, cmp.Compare[int64])
	}
	return f.equalJSON(op, *value)
}

func isDigits(text string) bool {
	return text != "" && strings.Trim(text, "0123456789") == ""
}

func (f field[R]) isNull(r *R) bool {
	switch {
	case f.text != nil:
		return f.text(r) == nil
	case f.number != nil:
		return f.number(r) == nil
	}
	return f.json(r) == nil
}

// compare compares as SQL does: null is neither equal nor unequal to anything.
func compare[R, V any](op string, read func(*R) *V, value V, order func(a, b V) int) (func(*R) bool, error) {
	accepts, known := map[string]func(int) bool{
		"eq": func(n int) bool { return n == 0 }, "ne": func(n int) bool { return n != 0 },
		"lt": func(n int) bool { return n < 0 }, "le": func(n int) bool { return n <= 0 },
		"gt": func(n int) bool { return n > 0 }, "ge": func(n int) bool { return n >= 0 },
	}[op]
	if !known {
		return nil, fmt.Errorf("no filter %q", op)
	}
	return func(r *R) bool {
		v := read(r)
		return v != nil && accepts(order(*v, value))
	}, nil
}

func (f field[R]) equalJSON(op, value string) (func(*R) bool, error) {
	want, err := decodeJSON([]byte(value))
	if err != nil {
		return nil, err
	}
	if op != "eq" && op != "ne" {
		return nil, refuse(notSupported, "%s of JSON is not supported by SQLite", op)
	}
	return func(r *R) bool {
		stored := f.json(r)
		if stored == nil {
			return false
		}
		got, err := decodeJSON(stored)
		return err == nil && reflect.DeepEqual(got, want) == (op == "eq")
	}, nil
}

// like matches a text's part, start or end, or the whole of it, by a pattern of SQL's, whatever the case.
func (f field[R]) like(op, value string) (func(*R) bool, error) {
	switch op {
	case "co":
		value = "%" + value + "%"
	case "sw":
		value += "%"
	case "ew":
		value = "%" + value
	}
	match, err := likePattern(value, true)
	if err != nil {
		return nil, err
	}
	return func(r *R) bool {
		text := f.text(r)
		return text != nil && match(*text)
	}, nil
}

// The wildcards of a pattern; an escaped character stands for itself, and is not negative.
const (
	anyOne  rune = -1
	anyMany rune = -2
)

// likePattern returns what a pattern of LIKE or, ignoring case, of ILIKE matches.
func likePattern(pattern string, ignoreCase bool) (func(string) bool, error) {
	fold := func(r rune) rune { return r }
	if ignoreCase {
		fold = unicode.ToLower
	}
	var want []rune
	escaped := false
	for _, r := range pattern {
		switch {
		case escaped:
			want, escaped = append(want, fold(r)), false
		case r == '\\':
			escaped = true
		case r == '%':
			want = append(want, anyMany)
		case r == '_':
			want = append(want, anyOne)
		default:
			want = append(want, fold(r))
		}
	}
	if escaped {
		return nil, refuse(badEscape, "LIKE pattern must not end with escape character")
	}
	return func(text string) bool { return matches(want, []rune(text), fold) }, nil
}

// matches goes back to the last "%" only, which is enough and takes at most the product of both lengths.
func matches(want, text []rune, fold func(rune) rune) bool {
	w, t, star, mark := 0, 0, -1, 0
	for t < len(text) {
		switch {
		case w < len(want) && want[w] == anyMany:
			star, mark = w, t
			w++
		case w < len(want) && (want[w] == anyOne || want[w] == fold(text[t])):
			w, t = w+1, t+1
		case star >= 0:
			mark++
			w, t = star+1, mark
		default:
			return false
		}
	}
	for w < len(want) && want[w] == anyMany {
		w++
	}
	return w == len(want)
}

// tagPredicate returns whether a run passes all conditions on its tags.
func tagPredicate(filters []tables.TagFilter) (func(*tables.Run) bool, error) {
	var each []func(*tables.Run) bool
	for _, f := range filters {
		for _, v := range f.Values {
			if err := checkText(v); err != nil {
				return nil, err
			}
		}
		all := f.Op == "all" || f.Op == "likeall"
		var one func(r *tables.Run, i int) bool
		switch f.Op {
		case "all", "any":
			one = func(r *tables.Run, i int) bool { return hasTag(r, f.Values[i]) }
		case "likeall", "likeany":
			patterns := make([]func(string) bool, len(f.Values))
			for i, v := range f.Values {
				var err error
				if patterns[i], err = likePattern("%"+v+"%", false); err != nil {
					return nil, err
				}
			}
			one = func(r *tables.Run, i int) bool { return patterns[i](tagText(r.Tags) + tagText(r.SystemTags)) }
		default:
			return nil, fmt.Errorf("no filter %q on tags", f.Op)
		}
		each = append(each, func(r *tables.Run) bool {
			if r.Tags == nil || r.SystemTags == nil {
				return false
			}
			for i := range f.Values {
				if one(r, i) != all {
					return !all
				}
			}
			return all
		})
	}
	return func(r *tables.Run) bool {
		for _, fits := range each {
			if !fits(r) {
				return false
			}
		}
		return true
	}, nil
}

func hasTag(r *tables.Run, tag string) bool {
	user, _ := elements(r.Tags)
	system, _ := elements(r.SystemTags)
	return slices.Contains(user, tag) || slices.Contains(system, tag)
}

// tagText returns a list as Postgres writes it: a blank after each comma, and characters as they are.
func tagText(list tables.JSON) string {
	var values []json.RawMessage
	if err := json.Unmarshal(list, &values); err != nil {
		return string(list)
	}
	var b strings.Builder
	for i, v := range values {
		if i > 0 {
			b.WriteString(", ")
		}
		var text string
		if json.Unmarshal(v, &text) != nil {
			b.Write(v)
			continue
		}
		var out bytes.Buffer
		e := json.NewEncoder(&out)
		e.SetEscapeHTML(false)
		if e.Encode(text) == nil { // texts always encode
			b.WriteString(strings.TrimSuffix(out.String(), "\n"))
		}
	}
	return "[" + b.String() + "]"
}

// parseBool reads a boolean as Metaflow's clients write it; known is false for any other text.
func parseBool(text string) (value, known bool) {
	switch strings.ToLower(text) {
	case "true", "t", "yes", "y", "on", "1", `"true"`:
		return true, true
	case "false", "f", "no", "n", "off", "0", `"false"`:
		return false, true
	}
	return false, false
}
