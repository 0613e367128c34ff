package irtest

import (
	"fmt"
	"math/rand/v2"

	"github.com/mf-run/mf/ir"
)

// Damage changes one random thing of the flow so that it is, most likely, no longer valid: an edge, a join, a name, an
// endpoint.
func Damage(r *rand.Rand, f *ir.Flow) {
	s := f.Steps[r.IntN(len(f.Steps))]
	other := f.Steps[r.IntN(len(f.Steps))]
	switch r.IntN(9) {
	case 0:
		s.Join = !s.Join
	case 1:
		s.Next = nil
	case 2:
		if s.Next != nil && len(s.Next.Targets) > 0 {
			s.Next.Targets[r.IntN(len(s.Next.Targets))].Step = other.Name
		}
	case 3:
		if s.Next != nil {
			s.Next.Targets = append(s.Next.Targets, ir.Target{Step: other.Name})
		}
	case 4:
		s.Name = fmt.Sprintf("renamed%d", r.IntN(10))
	case 5:
		s.Name = other.Name
	case 6:
		s.MarkedStart, other.MarkedEnd = true, true
	case 7:
		if s.Next != nil {
			kinds := []ir.TransitionKind{ir.Linear, ir.Split, ir.Foreach, ir.Switch, ir.Parallel}
			s.Next.Kind = kinds[r.IntN(len(kinds))]
		}
	case 8:
		if s.Next != nil {
			s.Next.Targets = nil
		}
	}
}
