package backends

import (
	"slices"

	"github.com/mf-run/mf/ir"
)

// Done is what of a run has succeeded before an engine starts it: what a resumed run takes over. It only ever leaves out
// work: a task that it does not speak of is started, finds its record if it has one, and ends at once.
type Done struct {
	// Steps are the finished steps outside of foreachs and gangs.
	Steps map[string]DoneStep
	// Splits are the finished splits of foreachs and gangs that lie in no other, by the step that splits and the split's
	// index: those of whose bodies nothing is left to run. The value counts the finished tasks by step.
	Splits map[string]map[int]map[string]int
}

// DoneStep is a finished step.
type DoneStep struct {
	// Tasks is how many tasks it had: one, or the rounds of a recursive step.
	Tasks int
	// Splits is how many splits its foreach has, or the size of its gang; 0 for other steps.
	Splits int
	// Branch is the step that a switch went on to, after the last round; empty for other steps.
	Branch string
}

// DoneTask is one task that has succeeded.
type DoneTask struct {
	Step string
	Path ir.SplitPath
	// Next are the steps that it went on to; Splits is the number of splits, 0 where it did not split.
	Next   []string
	Splits int
}

// DoneOf sums up tasks that have succeeded. Of each task those before it are among them.
func DoneOf(g *ir.Graph, tasks []DoneTask) *Done {
	d := &Done{Steps: map[string]DoneStep{}, Splits: map[string]map[int]map[string]int{}}
	counts := map[string]map[int]map[string]int{}
	finished := map[string]map[int]bool{}
	rounds := map[string]int{}
	for _, t := range tasks {
		s := g.Step(t.Step)
		if s == nil || len(t.Path) != g.PathLen(t.Step) {
			continue
		}
		if len(t.Path) == 0 {
			rounds[t.Step]++
			if !slices.Contains(t.Next, t.Step) { // else another round is to come
				done := DoneStep{Splits: t.Splits}
				if s.Next != nil && s.Next.Kind == ir.Switch && len(t.Next) == 1 {
					done.Branch = t.Next[0]
				}
				d.Steps[t.Step] = done
			}
			continue
		}
		split, index := g.Foreachs(t.Step)[0], t.Path[0]
		if counts[split] == nil {
			counts[split], finished[split] = map[int]map[string]int{}, map[int]bool{}
		}
		if counts[split][index] == nil {
			counts[split][index] = map[string]int{}
		}
		counts[split][index][t.Step]++
		// One task of a body goes on to the join, after all others.
		if len(t.Path) == 1 && slices.Contains(t.Next, g.MatchingJoin(split)) {
			finished[split][index] = true
		}
	}
	for name, done := range d.Steps {
		done.Tasks = rounds[name]
		d.Steps[name] = done
	}
	for split, indices := range finished {
		d.Splits[split] = map[int]map[string]int{}
		for index := range indices {
			d.Splits[split][index] = counts[split][index]
		}
	}
	return d
}
