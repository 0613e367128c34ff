package server

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/mf-run/mf/metadata/tables"
)

// param is one parameter of a query.
type param struct{ key, value string }

// parseQuery reads the parameters in their order; what is not encoded properly is taken as it is.
func parseQuery(params []param, raw string) []param {
	for raw != "" {
		var part string
		part, raw, _ = strings.Cut(raw, "&")
		if part == "" {
			continue
		}
		key, value, _ := strings.Cut(part, "=")
		params = append(params, param{unescapeQuery(key), unescapeQuery(value)})
	}
	return params
}

func unescapeQuery(s string) string {
	if text, err := url.QueryUnescape(s); err == nil {
		s = text
	}
	return strings.ToValidUTF8(s, "\ufffd")
}

// query returns the first parameter of a name; nil for none.
func (x *exchange) query(key string) *string {
	for i := range x.params {
		if x.params[i].key == key {
			return &x.params[i].value
		}
	}
	return nil
}

// queryText is query for which none is the empty text.
func (x *exchange) queryText(key string) string {
	if v := x.query(key); v != nil {
		return *v
	}
	return ""
}

// The sizes of pages.
const (
	defaultLimit = 50
	maxLimit     = 500
)

// errCursor: the cursor is none of ours.
var errCursor = errors.New("Invalid cursor") //nolint:staticcheck // the text that Metaflow's service answers

// cursorKeys are the members of a list's cursor beside ts_epoch; "" where it has none.
type cursorKeys struct{ id, name string }

// The cursors of the lists.
var (
	flowCursor     = cursorKeys{"", "flow_id"}
	runCursor      = cursorKeys{"run_number", ""}
	taskCursor     = cursorKeys{"task_id", ""}
	metadataCursor = cursorKeys{"id", ""}
	artifactCursor = cursorKeys{"task_id", "name"}
)

// page reads the paging parameters; nil when there are none and filtered is not set either. When ok is false x holds
// the answer.
func (x *exchange) pageOf(keys cursorKeys, filtered bool) (page *tables.Page, ok bool) {
	limit, cursor := x.query("_limit"), x.query("_cursor")
	if limit == nil && cursor == nil && !filtered {
		return nil, true
	}
	page = &tables.Page{Limit: defaultLimit}
	if cursor != nil && *cursor != "" {
		after, err := keys.decode(*cursor)
		if err != nil {
			x.message(http.StatusBadRequest, errCursor.Error())
			return nil, false
		}
		page.After = after
	}
	if limit != nil && *limit != "" {
		n, err := strconv.Atoi(strings.TrimSpace(*limit))
		if errors.Is(err, strconv.ErrRange) && n > 0 {
			err = nil
		}
		if err != nil || n < 0 {
			x.problem(fmt.Sprintf("_limit is not a number from 0: %q", *limit))
			return nil, false
		}
		page.Limit = min(n, maxLimit)
	}
	x.paged, x.limit = true, page.Limit
	return page, true
}

// decode reads a cursor: base64 of a JSON object.
func (k cursorKeys) decode(text string) (*tables.Cursor, error) {
	// A client that does not encode the parameter sends a plus sign, which reads as a blank.
	raw, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(text, " ", "+"))
	if err != nil || checkJSON(raw) != nil {
		return nil, errCursor
	}
	c, bad := &tables.Cursor{}, false
	seen := map[string]bool{}
	number := func(v []byte) int64 {
		text, null, ok := scalar(v)
		if n, err := strconv.ParseInt(text, 10, 64); err == nil && ok && !null {
			return n
		}
		bad = true
		return 0
	}
	eachMember(raw, func(name string, v []byte) {
		seen[name] = true
		switch name {
		case "ts_epoch":
			c.TsEpoch = number(v)
		case k.id:
			c.ID = number(v)
		case k.name:
			text, null, ok := scalar(v)
			c.Name, bad = text, bad || null || !ok
		}
	})
	for _, name := range []string{"ts_epoch", k.id, k.name} {
		bad = bad || name != "" && !seen[name]
	}
	if bad {
		return nil, errCursor
	}
	return c, nil
}

// encode writes a cursor in the form, blanks included, that Metaflow's service gives it.
func (k cursorKeys) encode(c tables.Cursor) string {
	b := strconv.AppendInt([]byte(`{"ts_epoch": `), c.TsEpoch, 10)
	if k.id != "" {
		b = append(append(append(b, `, "`...), k.id...), `": `...)
		b = strconv.AppendInt(b, c.ID, 10)
	}
	if k.name != "" {
		b = append(append(append(b, `, "`...), k.name...), `": `...)
		b = appendString(b, c.Name)
	}
	return base64.StdEncoding.EncodeToString(append(b, '}'))
}

// cut drops the row that shows that there is another page, and sets the cursor of that.
func cut[T any](x *exchange, keys cursorKeys, page *tables.Page, rows []T, place func(*T) tables.Cursor) []T {
	if page == nil || len(rows) <= page.Limit {
		return rows
	}
	rows = rows[:page.Limit]
	if page.Limit > 0 {
		x.cursor = keys.encode(place(&rows[page.Limit-1]))
	}
	return rows
}

var operators = []string{"eq", "ne", "lt", "le", "gt", "ge", "co", "sw", "ew", "li", "is"}

// filters reads the filters on these fields. When ok is false x holds the answer.
func (x *exchange) filters(fields []string) (filters []tables.Filter, ok bool) {
	for _, p := range x.params {
		if strings.HasPrefix(p.key, "_") {
			continue
		}
		field, op, colon := strings.Cut(p.key, ":")
		if !slices.Contains(fields, field) || colon && op == "" {
			continue
		}
		if !colon {
			op = "eq"
		}
		if !slices.Contains(operators, op) {
			x.message(http.StatusBadRequest, fmt.Sprintf("unsupported operator '%s' for field '%s'", op, field))
			return nil, false
		}
		f := tables.Filter{Field: field, Op: op}
		for v := range strings.SplitSeq(p.value, ",") {
			if v == "null" {
				f.Values = append(f.Values, nil)
				continue
			}
			if text := checkValue(field, v); text != "" {
				x.message(http.StatusBadRequest, text)
				return nil, false
			}
			f.Values = append(f.Values, &v)
		}
		filters = append(filters, f)
	}
	return filters, true
}

// checkValue says what is wrong with the value of a filter; "" if nothing is.
func checkValue(field, v string) string {
	switch field {
	case "status":
		if v != "running" && v != "completed" && v != "failed" {
			return "unsupported status filter: " + v
		}
	case "ts_epoch", "last_heartbeat_ts":
		if _, err := strconv.ParseInt(v, 10, 64); err != nil && !errors.Is(err, strconv.ErrRange) {
			return fmt.Sprintf("invalid %s: expected integer epoch milliseconds, got '%s'", field, v)
		}
	}
	return ""
}

// tagFilters reads the conditions on tags.
func (x *exchange) tagFilters() (filters []tables.TagFilter) {
	for _, p := range x.params {
		field, op, _ := strings.Cut(p.key, ":")
		if field != "_tags" {
			continue
		}
		if op != "any" && op != "likeany" && op != "likeall" {
			op = "all"
		}
		filters = append(filters, tables.TagFilter{Op: op, Values: strings.Split(p.value, ",")})
	}
	return filters
}
