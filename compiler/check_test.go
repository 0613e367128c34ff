package compiler_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/mf-run/mf/compiler"
	"github.com/mf-run/mf/ir"
	"github.com/mf-run/mf/ir/irtest"
)

// two returns a flow of two steps, changed by the given functions.
func two(changes ...func(*ir.Flow)) *ir.Flow {
	f := &ir.Flow{Version: ir.Version, Name: "Two", Source: ir.Source{Language: ir.Python, File: "flow.py"}, Steps: []*ir.Step{
		{Name: "start", Next: &ir.Transition{Kind: ir.Linear, Targets: []ir.Target{{Step: "end"}}}}, {Name: "end"},
	}}
	for _, change := range changes {
		change(f)
	}
	return f
}

func asYAML(f *ir.Flow) { f.Source = ir.Source{Language: ir.YAML, File: "flow.yaml"} }

func parameter(p ir.Parameter) func(*ir.Flow) {
	return func(f *ir.Flow) {
		if p.Option == "" {
			p.Option = p.Name
		}
		f.Parameters = append(f.Parameters, p)
	}
}

func decorate(d ir.Decorator) func(*ir.Flow) {
	return func(f *ir.Flow) { f.Steps[0].Decorators = append(f.Steps[0].Decorators, d) }
}

func decorateFlow(d ir.Decorator) func(*ir.Flow) {
	return func(f *ir.Flow) { f.Decorators = append(f.Decorators, d) }
}

func next(t ir.Transition) func(*ir.Flow) {
	return func(f *ir.Flow) { f.Steps[0].Next = &t }
}

func raw(text string) json.RawMessage { return json.RawMessage(text) }

// unitCases are findings that no source file leads to: the frontends keep such flows from the passes, or word them
// themselves. The corpus holds the others.
var unitCases = []struct {
	name string
	flow *ir.Flow
	want string
}{
	{"no name", two(func(f *ir.Flow) { f.Name = "" }), "[flow-name]"},
	{"long step name", two(func(f *ir.Flow) {
		long := strings.Repeat("a", 129)
		f.Steps[0].Next.Targets[0].Step = long
		f.Steps = append(f.Steps, &ir.Step{Name: long, Next: &ir.Transition{Kind: ir.Linear, Targets: []ir.Target{{Step: "end"}}}})
	}), "longer than 128 characters [step-name]"},
	{"two steps of one name", two(func(f *ir.Flow) { f.Steps = append(f.Steps, &ir.Step{Name: "end"}) }), "[duplicate-step]"},
	{"unknown kind", two(next(ir.Transition{Kind: "hop", Targets: []ir.Target{{Step: "end"}}})), "[next-kind]"},
	{"split of one", two(next(ir.Transition{Kind: ir.Split, Targets: []ir.Target{{Step: "end"}}})), "splits into 1 steps [next-targets]"},
	{"linear to two", two(next(ir.Transition{Kind: ir.Linear, Targets: []ir.Target{{Step: "end"}, {Step: "end"}}})), "names 2 steps"},
	{"foreach over nothing", two(next(ir.Transition{Kind: ir.Foreach, Targets: []ir.Target{{Step: "end"}}})), "[foreach-artifact]"},
	{"gang of less than none", two(next(ir.Transition{Kind: ir.Parallel, NumParallel: -1, Targets: []ir.Target{{Step: "end"}}})), "[parallel-size]"},
	{"switch of nothing", two(next(ir.Transition{Kind: ir.Switch, Condition: "c"})), "has no cases [switch-cases]"},
	{"switch without condition", two(next(ir.Transition{Kind: ir.Switch, Targets: []ir.Target{{Step: "end"}},
		Cases: []ir.Case{{Value: raw(`1`), Step: "end"}, {Value: raw(`2`), Step: "end"}}})), "[switch-condition]"},
	{"equal keys", two(next(ir.Transition{Kind: ir.Switch, Condition: "c", Targets: []ir.Target{{Step: "end"}},
		Cases: []ir.Case{{Value: raw(`1`), Step: "end"}, {Value: raw(`true`), Step: "end"}}})), "the case true twice [switch-case-duplicate]"},
	{"a list as key", two(next(ir.Transition{Kind: ir.Switch, Condition: "c", Targets: []ir.Target{{Step: "end"}},
		Cases: []ir.Case{{Value: raw(`[]`), Step: "end"}, {Value: raw(`2.5`), Step: "end"}}})), "[switch-key]"},
	{"case beside the targets", two(next(ir.Transition{Kind: ir.Switch, Condition: "c", Targets: []ir.Target{{Step: "end"}},
		Cases: []ir.Case{{Value: raw(`1`), Step: "start"}, {Value: raw(`2`), Step: "end"}}})), "not among its targets [switch-cases]"},
	{"case to nowhere", two(next(ir.Transition{Kind: ir.Switch, Condition: "c", Targets: []ir.Target{{Step: "end"}},
		Cases: []ir.Case{{Value: raw(`1`), Step: "emd"}, {Value: raw(`2`), Step: "end"}}})), "step start goes on to emd, which is not a step [step-unknown]"},
	{"required with default", two(parameter(ir.Parameter{Name: "p", Type: ir.IntType, Required: true, Default: raw(`3`)})), "[parameter-required-default]"},
	{"wrong default", two(parameter(ir.Parameter{Name: "p", Type: ir.IntType, Default: raw(`"x"`)})), `is "x", but its type is int [parameter-default]`},
	{"broken default", two(parameter(ir.Parameter{Name: "p", Type: ir.JSONType, Default: raw(`{`)})), "is not JSON"},
	{"separator of a number", two(parameter(ir.Parameter{Name: "p", Type: ir.IntType, Separator: ","})), "[parameter-separator]"},
	{"parameter named like a step", two(parameter(ir.Parameter{Name: "end", Type: ir.IntType})), "parameter end has the name of step end [parameter-duplicate]"},
	{"parameter that is no name", two(parameter(ir.Parameter{Name: "a b", Option: "ab", Type: ir.IntType})), `parameter "a b" has an invalid name [parameter-name]`},
	{"parameter with a flow's name", two(parameter(ir.Parameter{Name: "index", Option: "i", Type: ir.IntType})), "[parameter-name-reserved]"},
	{"unknown decorator", two(decorate(ir.Decorator{Name: "retyr", Unknown: true})), "which mf does not know [decorator-unknown]"},
	{"decorator twice", two(decorate(ir.Decorator{Name: "retry"}), decorate(ir.Decorator{Name: "retry"})), "has @retry twice [duplicate-decorator]"},
	{"YAML words", two(asYAML, decorate(ir.Decorator{Name: "retry", Attributes: ir.Attributes{"times": int64(7)}})), "step start has retry with times=7"},
	{"long project name", two(decorateFlow(ir.Decorator{Name: "project", Attributes: ir.Attributes{"name": strings.Repeat("p", 129)}})), "longer than 128"},
	{"gang at the start", two(decorate(ir.Decorator{Name: "parallel"})), "no step runs it with num_parallel [parallel-unused]"},
	{"local time", two(decorateFlow(ir.Decorator{Name: "schedule", Attributes: ir.Attributes{"timezone": "Local"}})), "[schedule-timezone]"},
}

func TestUnitCases(t *testing.T) {
	for _, c := range unitCases {
		t.Run(c.name, func(t *testing.T) {
			_, found := compiler.Check(c.flow, nil)
			if !strings.Contains(found.Error(), c.want) {
				t.Errorf("findings:\n%v\nwant one with %q", found, c.want)
			}
		})
	}
}

func TestFittingDefaults(t *testing.T) {
	for _, p := range []ir.Parameter{
		{Type: ir.IntType, Default: raw(`3`)}, {Type: ir.IntType, Default: raw(`"3"`)}, {Type: ir.IntType, Default: raw(`3.0`)},
		{Type: ir.FloatType, Default: raw(`3`)}, {Type: ir.FloatType, Default: raw(`"0.5"`)}, {Type: ir.BoolType, Default: raw(`true`)},
		{Type: ir.BoolType, Default: raw(`"Yes"`)}, {Type: ir.StringType, Default: raw(`"x"`)}, {Type: ir.JSONType, Default: raw(`[1]`)},
		{Type: ir.FileType, Default: raw(`"a.csv"`)}, {Type: ir.StringType, Separator: ",", Default: raw(`["a"]`)},
		{Type: ir.IntType, Default: raw(`null`)}, {Type: ir.IntType},
	} {
		p.Name = "p"
		if _, found := compiler.Check(two(parameter(p)), nil); len(found) > 0 {
			t.Errorf("%s default %s: %v", p.Type, p.Default, found)
		}
	}
	for _, p := range []ir.Parameter{
		{Type: ir.IntType, Default: raw(`3.5`)}, {Type: ir.IntType, Default: raw(`true`)}, {Type: ir.FloatType, Default: raw(`"x"`)},
		{Type: ir.FloatType, Default: raw(`[]`)}, {Type: ir.BoolType, Default: raw(`1`)}, {Type: ir.BoolType, Default: raw(`"maybe"`)},
		{Type: ir.StringType, Default: raw(`3`)}, {Type: ir.StringType, Default: raw(`["a"]`)}, {Type: ir.FileType, Default: raw(`{}`)},
		{Type: ir.StringType, Separator: ",", Default: raw(`[1]`)},
	} {
		p.Name = "p"
		if _, found := compiler.Check(two(parameter(p)), nil); !found.HasErrors() {
			t.Errorf("%s default %s is accepted", p.Type, p.Default)
		}
	}
}

func TestCheckCompletesACopy(t *testing.T) {
	f := two(func(f *ir.Flow) { f.Steps = append(f.Steps, nil) })
	flow, found := compiler.Check(f, nil)
	if len(found) > 0 || flow.Start != "start" || flow.End != "end" {
		t.Errorf("%v: start %q, end %q", found, flow.Start, flow.End)
	}
	if f.Start != "" || f.End != "" {
		t.Error("the flow that was given is changed")
	}
	// What the flow says about its endpoints is not trusted.
	f.Start, f.End = "end", "nowhere"
	if flow, _ := compiler.Check(f, nil); flow.Start != "start" || flow.End != "end" {
		t.Errorf("start %q, end %q", flow.Start, flow.End)
	}
}

func TestTarget(t *testing.T) {
	wide := func(f *ir.Flow) {
		f.Steps[0].Next = &ir.Transition{Kind: ir.Parallel, NumParallel: 50, Targets: []ir.Target{{Step: "gang_of_many"}}}
		f.Steps = append(f.Steps,
			&ir.Step{Name: "gang_of_many", Decorators: []ir.Decorator{{Name: "parallel"}},
				Next: &ir.Transition{Kind: ir.Linear, Targets: []ir.Target{{Step: "join"}}}},
			&ir.Step{Name: "join", Join: true, Next: &ir.Transition{Kind: ir.Linear, Targets: []ir.Target{{Step: "end"}}}})
	}
	f := two(wide, parameter(ir.Parameter{Name: "p", Type: ir.StringType, Default: raw(`"0123456789"`)}))
	target := &ir.Features{Target: "moon", MaxFlowName: 2, MaxStepName: 8, MaxSplits: 10, MaxParameterBytes: 5,
		Missing: map[ir.Feature]ir.Limit{ir.FeatureParallel: {Reason: "has no gangs", WayOut: "Use a foreach."}}}
	_, found := compiler.Check(f, target)
	want := []string{
		"step start uses num_parallel, but moon has no gangs [target-unsupported]",
		"the name of flow Two is 3 characters long, but moon allows 2 [target-limit]",
		"the parameters of flow Two take 13 bytes with their defaults, but moon allows 5 [target-limit]",
		"the name of step gang_of_many is 12 characters long, but moon allows 8 [target-limit]",
		"step start starts 50 parallel tasks, but moon allows 10 [target-limit]",
	}
	for _, w := range want {
		if !strings.Contains(found.Error(), w) {
			t.Errorf("no %q in\n%v", w, found)
		}
	}
	if len(found) != len(want) {
		t.Errorf("%d findings:\n%v", len(found), found)
	}
	for _, d := range found {
		if d.Detail == "" {
			t.Errorf("%v says no way out", d)
		}
	}
	if _, found := compiler.Check(f, &ir.Features{Target: "sun"}); len(found) > 0 {
		t.Errorf("a target without limits: %v", found)
	}
	// A broken flow is not measured against a target: its mistakes come first.
	f.Steps[1].Next = f.Steps[0].Next
	if _, found := compiler.Check(f, target); strings.Contains(found.Error(), "moon") {
		t.Errorf("a broken flow is checked for its target: %v", found)
	}
}

func TestRandomFlowsAreAccepted(t *testing.T) {
	for seed := range uint64(300) {
		f := irtest.Random(rand.New(rand.NewPCG(seed, 5)), 1+int(seed%60)).Flow
		flow, found := compiler.Check(f, nil)
		if len(found) > 0 {
			t.Fatalf("seed %d: %v", seed, found)
		}
		if flow.Start != f.Start || flow.End != f.End {
			t.Errorf("seed %d: endpoints %s and %s, want %s and %s", seed, flow.Start, flow.End, f.Start, f.End)
		}
	}
}

// TestAcceptedFlowsAreSound damages flows, and asks of those that are still accepted what backends and runtime rely on.
func TestAcceptedFlowsAreSound(t *testing.T) {
	accepted := 0
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 6))
		f := irtest.Random(r, 2+r.IntN(20)).Flow
		for range 1 + r.IntN(2) {
			irtest.Damage(r, f)
		}
		flow, found := compiler.Check(f, nil)
		if found.HasErrors() {
			continue
		}
		accepted++
		if problem := unsound(flow); problem != "" {
			t.Fatalf("seed %d: an accepted flow is unsound: %s", seed, problem)
		}
	}
	if accepted < 100 {
		t.Errorf("only %d damaged flows were accepted; the test says little", accepted)
	}
}

// unsound runs the flow in thought, with two tasks for each foreach, and returns what goes wrong: tokens move along the
// transitions, and a join waits for all tokens of its split.
func unsound(f *ir.Flow) string {
	g := ir.NewGraph(f)
	for _, name := range g.Order() {
		s := g.Step(name)
		if (s.Next == nil) != (name == g.End()) {
			return name + " has a transition exactly when it is the end: no"
		}
		if s.Join && (g.JoinedSplit(name) == "" || len(g.BodyLast(g.JoinedSplit(name))) == 0) {
			return "join " + name + " has no split"
		}
		if s.Join {
			for _, p := range g.Predecessors(name) {
				if frames := g.Enclosing(p); len(frames) == 0 || frames[len(frames)-1].Split != g.JoinedSplit(name) {
					return "join " + name + " reads " + p + " from elsewhere"
				}
			}
			if !reflect.DeepEqual(g.Enclosing(name), g.Enclosing(g.JoinedSplit(name))) {
				return "join " + name + " is not where its split is"
			}
			continue
		}
		for _, p := range g.Predecessors(name) {
			if k := g.Step(p).Next.Kind; (k == ir.Linear || k == ir.Switch) && !reflect.DeepEqual(g.Enclosing(name), g.Enclosing(p)) {
				return name + " is not where its predecessor " + p + " is"
			}
		}
	}
	if !g.Acyclic() || g.Depth(g.End()) != 0 || len(g.Unreachable())+len(g.DeadEnds()) > 0 {
		return "the graph"
	}
	return ""
}

func TestLongFlowsAreCheckedWithoutQuadraticWork(t *testing.T) {
	// Deep nesting, a long chain, and a wide split each break a different careless algorithm; at this size a quadratic
	// one would not end within the test's time.
	const n = 20_000
	for name, f := range map[string]*ir.Flow{"chain": chain(n), "wide": wideSplit(n), "nested": nestedSplits(2000), "switches": switches(n / 3)} {
		if _, found := compiler.Check(f, nil); len(found) > 0 {
			t.Errorf("%s: %v", name, found[0])
		}
	}
}

func step(name string, kind ir.TransitionKind, targets ...string) *ir.Step {
	s := &ir.Step{Name: name, Next: &ir.Transition{Kind: kind}}
	for i, t := range targets {
		s.Next.Targets = append(s.Next.Targets, ir.Target{Step: t})
		if kind == ir.Switch {
			s.Next.Condition = "choice"
			s.Next.Cases = append(s.Next.Cases, ir.Case{Value: raw(fmt.Sprint(i)), Step: t})
		}
	}
	return s
}

func chain(n int) *ir.Flow {
	f := two()
	f.Steps = []*ir.Step{step("start", ir.Linear, "s0"), {Name: "end"}}
	for i := range n {
		s := step(fmt.Sprint("s", i), ir.Linear, fmt.Sprint("s", i+1))
		if i == n-1 {
			s.Next.Targets[0].Step = "end"
		}
		s.Writes = []ir.Use{{Name: fmt.Sprint("x", i)}}
		s.Reads = []ir.Use{{Name: fmt.Sprint("x", i)}, {Name: fmt.Sprint("x", max(i-1, 0))}, {Name: "x0"}}
		f.Steps = append(f.Steps, s)
	}
	return f
}

func wideSplit(n int) *ir.Flow {
	f := two()
	f.Steps = []*ir.Step{step("start", ir.Split), {Name: "end"}}
	for i := range n {
		name := fmt.Sprint("s", i)
		f.Steps[0].Next.Targets = append(f.Steps[0].Next.Targets, ir.Target{Step: name})
		f.Steps = append(f.Steps, step(name, ir.Linear, "join"))
	}
	join := step("join", ir.Linear, "end")
	join.Join = true
	f.Steps = append(f.Steps, join)
	return f
}

func nestedSplits(n int) *ir.Flow {
	f := two()
	f.Steps = []*ir.Step{step("start", ir.Linear, "f0"), {Name: "end"}}
	for i := range n {
		split, join := step(fmt.Sprint("f", i), ir.Foreach, fmt.Sprint("f", i+1)), step(fmt.Sprint("j", i), ir.Linear, fmt.Sprint("j", i-1))
		split.Next.Foreach, join.Join = "items", true
		split.Writes = []ir.Use{{Name: "items"}}
		if i == 0 {
			join.Next.Targets[0].Step = "end"
		}
		f.Steps = append(f.Steps, split, join)
	}
	f.Steps = append(f.Steps, step(fmt.Sprint("f", n), ir.Linear, fmt.Sprint("j", n-1)))
	return f
}

func switches(n int) *ir.Flow {
	f := two()
	f.Steps = []*ir.Step{step("start", ir.Linear, "q0"), {Name: "end"}}
	f.Steps[0].Writes = []ir.Use{{Name: "choice"}}
	for i := range n {
		after := fmt.Sprint("q", i+1)
		if i == n-1 {
			after = "end"
		}
		f.Steps = append(f.Steps, step(fmt.Sprint("q", i), ir.Switch, fmt.Sprint("a", i), fmt.Sprint("b", i)),
			step(fmt.Sprint("a", i), ir.Linear, after), step(fmt.Sprint("b", i), ir.Linear, after))
	}
	return f
}

func BenchmarkCheck(b *testing.B) {
	for _, n := range []int{1000, 10_000} {
		f := irtest.Random(rand.New(rand.NewPCG(7, 7)), n).Flow
		b.Run(fmt.Sprint("steps=", n), func(b *testing.B) {
			for b.Loop() {
				compiler.Check(f, &ir.Features{Target: "any"})
			}
		})
	}
	f := chain(10_000)
	b.Run("chain=10000", func(b *testing.B) {
		for b.Loop() {
			compiler.Check(f, nil)
		}
	})
}

// FuzzDamaged checks damaged flows of any size: what is accepted must be sound.
func FuzzDamaged(f *testing.F) {
	f.Add(uint64(1), byte(10), byte(1))
	f.Add(uint64(853), byte(3), byte(9))
	f.Fuzz(func(t *testing.T, seed uint64, size, damages byte) {
		r := rand.New(rand.NewPCG(seed, 9))
		flow := irtest.Random(r, 1+int(size)).Flow
		for range damages % 16 {
			irtest.Damage(r, flow)
		}
		checked, found := compiler.Check(flow, nil)
		if found.HasErrors() {
			return
		}
		if problem := unsound(checked); problem != "" {
			t.Errorf("an accepted flow is unsound: %s", problem)
		}
		ir.GraphInfo(checked)
	})
}

// FuzzCheck checks whatever can be decoded: there must be an answer, and an accepted flow must be accepted again.
func FuzzCheck(f *testing.F) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 8))
		flow := irtest.Random(r, 12).Flow
		for range seed % 3 {
			irtest.Damage(r, flow)
		}
		b, err := ir.Marshal(flow)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	for _, c := range unitCases {
		if b, err := ir.Marshal(c.flow); err == nil {
			f.Add(b)
		}
	}
	target := &ir.Features{Target: "t", Missing: map[ir.Feature]ir.Limit{}, MaxStepName: 3, MinTimeoutSeconds: 60, MaxRetries: 1,
		ParameterDefaults: true}
	for _, feature := range []ir.Feature{ir.FeatureForeachBody, ir.FeatureSwitch, ir.FeatureRecursion, ir.FeatureNestedForeach} {
		target.Missing[feature] = ir.Limit{Reason: "cannot"}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		flow, err := ir.Unmarshal(b)
		if err != nil {
			return
		}
		checked, found := compiler.Check(flow, nil)
		for _, d := range found {
			if d.Code == "" || d.Summary == "" || strings.Contains(d.Summary, "%!") || strings.Contains(d.Detail, "%!") {
				t.Errorf("bad finding: %#v", d)
			}
		}
		if !found.HasErrors() {
			if problem := unsound(checked); problem != "" {
				t.Errorf("an accepted flow is unsound: %s", problem)
			}
			ir.GraphInfo(checked)
		}
		compiler.Check(flow, target)
		if _, again := compiler.Check(checked, nil); again.Error() != found.Error() {
			t.Errorf("checked twice:\n%v\n%v", found, again)
		}
	})
}
