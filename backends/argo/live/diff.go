package argolive

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/mf-run/mf/backends/live"
)

// compare says what changes in an object that is now as is and is to become as it shall be. was is what mf applied last,
// nil where that is unknown: what differs from it now was changed by hand.
func compare(is, shall, was object) []live.Change {
	owners := []object{shall}
	if was != nil {
		owners = append(owners, was)
	}
	from, to := viewOf(is, owners...), viewOf(shall, owners...)
	c := comparison{is: is, from: from, to: to}
	if was != nil {
		c.was = viewOf(was, owners...)
	}
	return c.changes()
}

type comparison struct {
	is       object
	from, to *view
	was      *view
}

// found is a change with what it is about.
type found struct {
	live.Change
	prop property
	// order is where the part stands.
	order int
}

func (c *comparison) changes() []live.Change {
	parts := union(c.to.parts, c.from.parts)
	order, whole := map[string]int{"": -1}, map[string]bool{}
	var list []found
	for i, part := range parts {
		order[part] = i
		if f, ok := c.part(part); ok {
			f.order = i
			list = append(list, f)
			whole[part] = true
		}
	}
	for _, k := range union(c.to.keys, c.from.keys) {
		from := c.from.props[k]
		p, shall := c.to.props[k]
		to := p.value
		if !shall {
			p = from
		}
		if from.value != to && !whole[p.part] {
			f := c.property(k, p, from.value, to)
			f.order = order[p.part]
			list = append(list, f)
		}
	}
	list = news(list)
	slices.SortStableFunc(list, func(a, b found) int {
		return cmp.Or(cmp.Compare(a.order, b.order), strings.Compare(a.What, b.What))
	})
	changes := make([]live.Change, len(list))
	for i, f := range list {
		changes[i] = f.Change
	}
	return changes
}

// union is the one list and what the other has besides.
func union[T comparable](a, b []T) []T {
	seen := map[T]bool{}
	var all []T
	for _, v := range append(slices.Clone(a), b...) {
		if !seen[v] {
			seen[v] = true
			all = append(all, v)
		}
	}
	return all
}

// news leaves out what only says again what another change says.
func news(list []found) []found {
	told := map[string]bool{}
	for _, f := range list {
		if f.prop.follows == "" {
			told[followsFlow] = true
			told[f.prop.part] = true
			if strings.HasPrefix(f.prop.what, "parameter ") {
				told[followsParameters] = true
			}
		}
	}
	return slices.DeleteFunc(list, func(f found) bool {
		about := f.prop.follows
		if about == ownPart {
			about = f.prop.part
		}
		return f.ByHand == "" && about != "" && told[about]
	})
}

// part is the change of a whole step or template that comes or goes.
func (c *comparison) part(part string) (found, bool) {
	title, is := c.from.title[part]
	if to, shall := c.to.title[part]; shall {
		if is {
			return found{}, false
		}
		title = to
	}
	f := found{
		Change: live.Change{Object: c.is.title(), Step: title.step, What: title.what, Kind: live.Add},
		prop:   property{step: title.step, what: title.what, part: part, path: []string{"spec", "templates"}},
	}
	if is {
		f.Kind = live.Remove
	}
	if title.step == "" {
		// A template that is no step serves the steps, whose changes say more.
		f.prop.follows = followsFlow
	}
	if c.was != nil {
		if _, before := c.was.title[part]; before != is {
			f.ByHand = changedBy(c.is, f.prop.path)
		}
	}
	return f, true
}

func (c *comparison) property(k key, p property, from, to string) found {
	f := found{
		Change: live.Change{Object: c.is.title(), Step: k.step, What: k.what, From: from, To: to, Kind: live.Modify},
		prop:   p,
	}
	switch {
	case from == "":
		f.Kind = live.Add
		f.From = c.shared(c.from, k)
	case to == "":
		f.Kind = live.Remove
		f.To = c.shared(c.to, k)
	}
	if c.was != nil && c.was.props[k].value != from {
		f.ByHand = changedBy(c.is, p.path)
	}
	return f
}

// shared is what holds for a step that says nothing of its own.
func (c *comparison) shared(v *view, k key) string {
	if k.step == "" {
		return ""
	}
	if p, ok := v.props[key{what: defaultPrefix + k.what}]; ok {
		return p.value + " (default)"
	}
	return ""
}

// defaultPrefix stands before the words for what steps have that say nothing of their own.
const defaultPrefix = "default "

// managed is an entry of metadata.managedFields.
type managed struct {
	Manager     string         `json:"manager"`
	Operation   string         `json:"operation"`
	Subresource string         `json:"subresource"`
	Time        time.Time      `json:"time"`
	Fields      map[string]any `json:"fieldsV1"`
}

// managersOf lists who else than mf has set fields of an object, the last first.
func managersOf(o object) []managed {
	text, err := json.Marshal(dig(o["metadata"], "managedFields"))
	if err != nil {
		return nil
	}
	var list []managed
	if json.Unmarshal(text, &list) != nil {
		return nil
	}
	list = slices.DeleteFunc(list, func(m managed) bool { return m.Manager == manager || m.Subresource != "" })
	slices.SortStableFunc(list, func(a, b managed) int { return b.Time.Compare(a.Time) })
	return list
}

// owns reports whether the manager has set something at the path, above or below it. A list is one field to Kubernetes
// where the kind's schema does not say otherwise.
func (m managed) owns(path []string) bool {
	fields := m.Fields
	for _, name := range path {
		below, ok := fields["f:"+name].(map[string]any)
		if !ok {
			return false
		}
		if len(below) == 0 {
			return true
		}
		fields = below
	}
	return true
}

// changedBy says who may have changed what is at the path, and when: the last who is known to have set something there.
func changedBy(o object, path []string) string {
	const depth = 2 // spec.templates, spec.parallelism: below it, lists hide who set what
	for _, m := range managersOf(o) {
		if m.owns(path[:min(depth, len(path))]) {
			text := m.Manager
			if !m.Time.IsZero() {
				text += ", " + m.Time.UTC().Format("2006-01-02 15:04")
			}
			return text
		}
	}
	return "unknown"
}

// touched reports whether others than mf have set fields of what the object says. Labels, annotations and the status are
// not that.
func touched(o object) bool {
	for _, m := range managersOf(o) {
		for _, field := range o.content() {
			if m.owns([]string{field}) {
				return true
			}
		}
	}
	return false
}

// mergePatch is what makes is become shall, as a JSON merge patch; nil where they are the same.
func mergePatch(is, shall map[string]any) map[string]any {
	patch := map[string]any{}
	for name := range is {
		if _, ok := shall[name]; !ok {
			patch[name] = nil
		}
	}
	for name, want := range shall {
		have := is[name]
		a, isMap := have.(map[string]any)
		b, wantMap := want.(map[string]any)
		switch {
		case isMap && wantMap:
			if sub := mergePatch(a, b); sub != nil {
				patch[name] = sub
			}
		case compactJSON(have) != compactJSON(want):
			patch[name] = want
		}
	}
	if len(patch) == 0 {
		return nil
	}
	return patch
}

func compactJSON(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(text)
}
