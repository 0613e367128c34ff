package backends

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/mf-run/mf/ir"
)

// Width returns how many tasks the step's foreach or gang starts, where the source says so: a literal num_parallel, a
// class constant that no step changes, or a parameter's default, which a run may be given another value for.
func Width(f *ir.Flow, s *ir.Step) (n int, known bool) {
	if s.Next == nil {
		return 0, false
	}
	switch s.Next.Kind {
	case ir.Parallel:
		return s.Next.NumParallel, s.Next.NumParallel > 0
	case ir.Foreach:
	default:
		return 0, false
	}
	name := s.Next.Foreach
	written := func(u ir.Use) bool { return u.Name == name }
	for _, s := range f.Steps {
		if s.WritesUnknown || slices.ContainsFunc(s.Writes, written) || slices.ContainsFunc(s.Outputs, written) {
			return 0, false
		}
	}
	for _, c := range f.Constants {
		if c.Name == name {
			return listLen(c.Value)
		}
	}
	p := f.Parameter(name)
	if p == nil || p.Default == nil {
		return 0, false
	}
	var text string
	if p.Separator != "" && json.Unmarshal(p.Default, &text) == nil {
		return strings.Count(text, p.Separator) + 1, true
	}
	return listLen(p.Default)
}

func listLen(text json.RawMessage) (n int, known bool) {
	var list []json.RawMessage
	if json.Unmarshal(text, &list) != nil || list == nil {
		return 0, false
	}
	return len(list), true
}
