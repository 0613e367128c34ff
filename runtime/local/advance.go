package local

import (
	"slices"

	"github.com/mf-run/mf/ir"
	"github.com/mf-run/mf/runtime"
)

// advance schedules what follows a task that has succeeded.
func (s *scheduler) advance(step *ir.Step, res *runtime.Result, dirty bool) {
	if step.Next == nil {
		s.report.End = res
		return
	}
	if res.Next == nil {
		s.fail("step %s ended without saying how to go on", step.Name)
		return
	}
	if !s.expected(step, res.Next) {
		return
	}
	switch step.Next.Kind {
	case ir.Foreach, ir.Parallel:
		s.fanOut(step, res, dirty)
	case ir.Switch:
		target := res.Next.Targets[0]
		iteration := ir.NoIteration
		if target == step.Name {
			iteration = res.Iteration + 1
		}
		s.goTo(target, iteration, res, dirty)
	default:
		for _, target := range res.Next.Targets {
			s.goTo(target, ir.NoIteration, res, dirty)
		}
	}
}

// expected holds the transition that a task took against the one in the source.
func (s *scheduler) expected(step *ir.Step, taken *runtime.Taken) bool {
	static := step.Successors()
	ok := slices.Equal(static, taken.Targets)
	if step.Next.Kind == ir.Switch {
		ok = len(taken.Targets) == 1 && slices.Contains(static, taken.Targets[0])
	}
	if !ok {
		s.fail("step %s went on to %v, but its source says %v", step.Name, taken.Targets, static)
	}
	return ok
}

func (s *scheduler) fanOut(step *ir.Step, res *runtime.Result, dirty bool) {
	n := res.Next.Splits
	if n > s.opt.MaxSplits && step.Next.Kind == ir.Foreach {
		s.fail("step %s splits into %d tasks, more than the %d that are allowed here; raise the limit with --max-splits %d",
			step.Name, n, s.opt.MaxSplits, n)
		return
	}
	target := step.Next.Targets[0].Step
	var ids []string // of a gang's tasks
	if step.Next.Kind == ir.Parallel {
		for i := range n {
			ids = append(ids, s.taskID(s.nextID+i, res.Path.Child(i), s.firstIteration(target)))
		}
	}
	for i := range n {
		frame := runtime.Frame{Step: target, Var: res.Next.Var, NumSplits: n, Index: i}
		if i < len(res.Next.Values) {
			frame.Value, frame.HasValue = res.Next.Values[i], true
		}
		stack := append(slices.Clone(res.Stack), frame)
		var gang *runtime.Gang
		if ids != nil {
			gang = &runtime.Gang{Size: n, Index: i, ControlTaskID: ids[0], Tasks: ids}
		}
		s.enqueue(target, res.Path.Child(i), s.firstIteration(target), stack, []*runtime.Result{res}, dirty, gang)
	}
}

// firstIteration is 0 for a recursive step.
func (s *scheduler) firstIteration(step string) int {
	if s.run.Graph.Step(step).Recursive() {
		return 0
	}
	return ir.NoIteration
}

// goTo hands res to the target, which runs at once or, being a join, when all its inputs are there.
func (s *scheduler) goTo(target string, iteration int, res *runtime.Result, dirty bool) {
	st := s.run.Graph.Step(target)
	if !st.Join {
		if iteration == ir.NoIteration {
			iteration = s.firstIteration(target)
		}
		s.enqueue(target, res.Path, iteration, res.Stack, []*runtime.Result{res}, dirty, nil)
		return
	}
	split := s.plan.splits[target]
	path, stack, slot, width := res.Path, res.Stack, 0, 0
	if split.overItems {
		path = res.Path.Parent()
		stack = res.Stack[: len(res.Stack)-1 : len(res.Stack)-1]
		frame := res.Stack[len(res.Stack)-1]
		slot, width = frame.Index, frame.NumSplits
	} else {
		slot, width = split.branch[res.Ref.Step], split.branches
	}
	id := target + "@" + path.String()
	j := s.joins[id]
	if j == nil {
		j = &join{step: st, path: path, stack: stack, inputs: make([]*runtime.Result, width), left: width}
		s.joins[id] = j
	}
	if slot >= len(j.inputs) || j.inputs[slot] != nil {
		s.fail("step %s got input %d of %d twice or out of range", target, slot, len(j.inputs))
		return
	}
	j.inputs[slot] = res
	j.left--
	j.dirty = j.dirty || dirty
	if j.left == 0 {
		delete(s.joins, id)
		s.enqueue(target, j.path, s.firstIteration(target), j.stack, j.inputs, j.dirty, nil)
	}
}

// plan says, for each join, which split it brings together.
type plan struct {
	splits map[string]splitPlan
}

type splitPlan struct {
	// overItems is set for a foreach or a gang: inputs are told apart by index.
	overItems bool
	// branches is the number of branches of a static split, branch the number of the branch that each of the join's
	// predecessors lies on.
	branches int
	branch   map[string]int
}

func newPlan(g *ir.Graph) *plan {
	p := &plan{splits: map[string]splitPlan{}}
	for _, step := range g.Flow().Steps {
		if !step.Join {
			continue
		}
		split := g.Step(g.JoinedSplit(step.Name))
		if split == nil {
			continue
		}
		if split.Next.Kind != ir.Split {
			p.splits[step.Name] = splitPlan{overItems: true}
			continue
		}
		sp := splitPlan{branches: len(split.Next.Targets), branch: map[string]int{}}
		for i, target := range split.Next.Targets {
			for _, last := range g.BranchLast(split.Name, target.Step) {
				sp.branch[last] = i
			}
		}
		p.splits[step.Name] = sp
	}
	return p
}
