package compiler

import (
	"slices"

	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

// pass is one check of a flow. It reports all that it finds; only endpoints completes the flow.
type pass struct {
	name string
	run  func(*unit)
	kind passKind
}

// passKind says what a pass needs, and what its errors mean for those that follow.
type passKind int

const (
	// independent passes look at single things. They always run.
	independent passKind = iota
	// structural passes find out whether the steps and edges make a graph. They always run; an error of theirs breaks the
	// graph.
	structural
	// nested passes need a graph, and check how splits, joins and switches lie in it. An error of theirs breaks the graph.
	nested
	// derived passes need a graph that is sound in all respects: on a broken one, what they found would only be a
	// consequence.
	derived
)

// passes are run in this order.
var passes = [...]pass{
	{"names", checkNames, independent},              // step names can be written everywhere
	{"duplicates", checkDuplicates, structural},     // one step of each name
	{"endpoints", checkEndpoints, structural},       // one start, one end; fills Flow.Start and Flow.End
	{"transitions", checkTransitions, structural},   // each step goes on as its kind of transition says
	{"targets", checkTargets, structural},           // to steps that exist
	{"reachability", checkReachability, structural}, // from the start, to the end, without cycles
	{"switches", checkSwitches, nested},             // cases, and where their branches may lead
	{"splits", checkSplits, nested},                 // each split has its join, each join its split
	{"parallel", checkParallel, nested},             // gangs and @parallel belong together
	{"parameters", checkParameters, independent},    // names, types, defaults; configs and constants
	{"decorators", checkDecorators, independent},    // attributes of step and flow decorators
	{"schedule", checkSchedule, independent},        // cron, time zone, triggers, what an unattended run needs
	{"artifacts", checkArtifacts, derived},          // what is read has been written on some path
	{"target", checkTarget, derived},                // the target can do what the flow uses
}

// Check runs the passes over the flow and returns it completed: Start and End filled in. With a target it also checks
// that the target can do what the flow uses. The findings are sorted. The flow given is not changed, but shares its
// steps with the one returned. Any flow may be given, a broken one included.
func Check(f *ir.Flow, target *ir.Features) (*ir.Flow, diag.List) {
	completed := *f
	completed.Start, completed.End = "", ""
	completed.Steps = slices.DeleteFunc(slices.Clone(f.Steps), func(s *ir.Step) bool { return s == nil })
	u := &unit{flow: &completed, target: target}
	u.graph = ir.NewGraph(u.flow)
	noGraph, unsound := false, false
	for _, p := range passes {
		if noGraph && p.kind == nested || unsound && p.kind == derived {
			continue
		}
		before := len(u.found)
		p.run(u)
		failed := u.found[before:].HasErrors()
		noGraph = noGraph || failed && p.kind == structural
		unsound = unsound || failed && p.kind != independent
	}
	u.found.Sort()
	return u.flow, u.found
}

// unit is what the passes work on.
type unit struct {
	flow   *ir.Flow
	graph  *ir.Graph
	target *ir.Features
	found  diag.List
	// names are those of all steps, for hints; made when first asked for.
	names []string
}

func (u *unit) add(d diag.Diagnostic) { u.found = append(u.found, d) }

// say picks the wording for the language of the source.
func (u *unit) say(python, yaml string) string {
	if u.flow.Source.Language == ir.YAML {
		return yaml
	}
	return python
}

// at names a decorator as the source writes it.
func (u *unit) at(decorator string) string { return u.say("@"+decorator, decorator) }

// near returns the detail "Did you mean x?" for a misspelt step name, or other where nothing is near.
func (u *unit) near(step, other string) string {
	if u.names == nil {
		for _, s := range u.flow.Steps {
			u.names = append(u.names, s.Name)
		}
	}
	return didYouMean(step, u.names, other)
}

func didYouMean(name string, candidates []string, other string) string {
	if near := diag.Nearest(name, candidates); near != "" {
		return "Did you mean " + near + "?"
	}
	return other
}

// flowSpan is the place of the flow as a whole.
func (u *unit) flowSpan() diag.Span {
	if u.flow.Span.IsZero() {
		return diag.Span{File: u.flow.Source.File}
	}
	return u.flow.Span
}

// first returns the first span that says anything.
func first(spans ...diag.Span) diag.Span {
	for _, s := range spans {
		if !s.IsZero() {
			return s
		}
	}
	return diag.Span{}
}
