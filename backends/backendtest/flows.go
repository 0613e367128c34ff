package backendtest

import (
	"encoding/json"
	"fmt"

	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

// Case is a flow made for the tests of backends.
type Case struct {
	// Name is the folder of its golden files; distinct from those of the corpus by its prefix.
	Name string
	Flow *ir.Flow
	// Uses is what a target must be able to do.
	Uses []ir.Feature
}

// Cases returns the flows that every backend is tested with besides the corpus, anew at each call.
func Cases() []Case {
	return append(shapes(), append(decorated(), later()...)...)
}

// shapes are the forms of a graph.
func shapes() []Case {
	return []Case{
		{Name: "made-one-step", Flow: flow("OneStep", end("only"))},
		{Name: "made-linear", Flow: flow("Linear", to("start", "work"), to("work", "end"), end("end"))},
		{Name: "made-endpoints", Flow: marked(flow("CustomEnds", to("first", "last"), end("last")))},
		{Name: "made-split", Uses: []ir.Feature{ir.FeatureSplit}, Flow: flow("Branches",
			split("start", "left", "right"), to("left", "both"), to("right", "right_2"), to("right_2", "both"),
			join("both", "end"), end("end"))},
		{Name: "made-nested-split", Uses: []ir.Feature{ir.FeatureSplit}, Flow: flow("NestedBranches",
			split("start", "a", "b"), split("a", "a1", "a2"), to("a1", "a_join"), to("a2", "a_join"),
			join("a_join", "join"), to("b", "join"), join("join", "end"), end("end"))},
		{Name: "made-foreach", Uses: []ir.Feature{ir.FeatureForeach}, Flow: flow("Each",
			foreach("start", "xs", "score"), to("score", "collect"), join("collect", "end"), end("end"))},
		{Name: "made-foreach-body", Uses: []ir.Feature{ir.FeatureForeach, ir.FeatureForeachBody}, Flow: flow("EachLong",
			foreach("start", "xs", "load"), to("load", "train"), to("train", "score"), to("score", "collect"),
			join("collect", "end"), end("end"))},
		{Name: "made-two-foreachs", Uses: []ir.Feature{ir.FeatureForeach}, Flow: flow("TwoEach",
			foreach("start", "xs", "one"), to("one", "between"), foreach2(join("between", ""), "ys", "two"),
			to("two", "collect"), join("collect", "end"), end("end"))},
		{Name: "made-nested-foreach",
			Uses: []ir.Feature{ir.FeatureForeach, ir.FeatureNestedForeach, ir.FeatureForeachBody},
			Flow: flow("EachOfEach",
				foreach("start", "countries", "country"), foreach("country", "cities", "city"),
				to("city", "sum_cities"), join("sum_cities", "sum_countries"), join("sum_countries", "end"), end("end"))},
		{Name: "made-deep-foreach",
			Uses: []ir.Feature{ir.FeatureForeach, ir.FeatureNestedForeach, ir.FeatureForeachBody},
			Flow: flow("ThreeDeep",
				foreach("start", "a", "fa"), to("fa", "fb"), foreach("fb", "b", "fc"), foreach("fc", "c", "leaf"),
				to("leaf", "leaf_2"), to("leaf_2", "jc"), join("jc", "jb"), join("jb", "after"), to("after", "ja"),
				join("ja", "end"), end("end"))},
		{Name: "made-split-in-body",
			Uses: []ir.Feature{ir.FeatureForeach, ir.FeatureForeachBody, ir.FeatureSplit, ir.FeatureSplitInBody},
			Flow: flow("SplitInEach",
				foreach("start", "xs", "prepare"), split("prepare", "left", "right"), to("left", "both"),
				to("right", "both"), join("both", "collect"), join("collect", "end"), end("end"))},
		{Name: "made-foreach-in-split", Uses: []ir.Feature{ir.FeatureForeach, ir.FeatureSplit}, Flow: flow("EachInSplit",
			split("start", "many", "one"), foreach("many", "xs", "item"), to("item", "gather"),
			join("gather", "all"), to("one", "all"), join("all", "end"), end("end"))},
	}
}

// decorated are flows with settings of steps and of the flow.
func decorated() []Case {
	retried := flow("Retried", to("start", "flaky"), to("flaky", "caught"), to("caught", "both"), to("both", "end"), end("end"))
	decorate(retried, "flaky", "retry", ir.Attributes{"times": "4", "minutes_between_retries": "1.5"})
	decorate(retried, "caught", "catch", ir.Attributes{"var": "failure", "print_exception": true})
	decorate(retried, "both", "retry", ir.Attributes{"times": int64(2), "minutes_between_retries": int64(0)})
	decorate(retried, "both", "catch", ir.Attributes{"var": "failure"})
	decorate(retried, "end", "retry", ir.Attributes{"times": int64(0)})

	timed := flow("Timed", to("start", "end"), end("end"))
	decorate(timed, "start", "timeout", ir.Attributes{"seconds": int64(0), "minutes": int64(90), "hours": int64(1)})

	sized := flow("Sized", to("start", "end"), end("end"))
	decorate(sized, "start", "resources", ir.Attributes{"cpu": "0.5", "memory": int64(2000), "disk": nil, "gpu": nil})
	decorate(sized, "end", "resources", ir.Attributes{"cpu": int64(8), "memory": "16000", "disk": int64(50000),
		"shared_memory": int64(512)})

	gpu := flow("Accelerated", to("start", "end"), end("end"))
	decorate(gpu, "start", "resources", ir.Attributes{"cpu": int64(4), "memory": int64(8000), "gpu": int64(2)})

	settings := flow("Environment", to("start", "end"), end("end"))
	decorate(settings, "start", "environment", ir.Attributes{"vars": map[string]any{
		"MODE": "fast", "COUNT": int64(3), "RATIO": 0.5, "DRY": true, "PRICE": "5 $(each)", "QUOTE": `say "hi": #1`,
		"LINES": "one\ntwo", "YES": "yes", "EMPTY": ""}})

	return []Case{
		{Name: "made-retries", Flow: retried, Uses: []ir.Feature{ir.FeatureRetry, ir.FeatureCatch}},
		{Name: "made-timeout", Flow: timed, Uses: []ir.Feature{ir.FeatureTimeout}},
		{Name: "made-resources", Flow: sized},
		{Name: "made-gpu", Flow: gpu, Uses: []ir.Feature{ir.FeatureGPU}},
		{Name: "made-environment", Flow: settings},
		{Name: "made-parameters", Flow: withParameters()},
		{Name: "made-command", Flow: commands()},
		{Name: "made-names", Flow: oddNames(), Uses: []ir.Feature{ir.FeatureForeach, ir.FeatureForeachBody}},
		{Name: "made-daily", Flow: flowDecorated(ir.Decorator{Name: "schedule", Attributes: ir.Attributes{"daily": true}}),
			Uses: []ir.Feature{ir.FeatureSchedule}},
		{Name: "made-timezone", Flow: flowDecorated(ir.Decorator{Name: "schedule", Attributes: ir.Attributes{
			"cron": "30 6 * * 1-5", "timezone": "Europe/Helsinki"}}),
			Uses: []ir.Feature{ir.FeatureSchedule, ir.FeatureTimezone}},
		{Name: "made-aws-cron", Flow: flowDecorated(ir.Decorator{Name: "schedule", Attributes: ir.Attributes{
			"cron": "0 10 ? * 2,6 *"}}), Uses: []ir.Feature{ir.FeatureSchedule}},
		{Name: "made-project", Flow: flowDecorated(ir.Decorator{Name: "project", Attributes: ir.Attributes{
			"name": "fraud_detection"}})},
	}
}

// later are the parts of the flow language that a target may come to last.
func later() []Case {
	together := to("start", "train")
	together.Next.Kind, together.Next.NumParallel = ir.Parallel, 4
	gang := flow("Gang", together, to("train", "gather"), join("gather", "end"), end("end"))
	decorate(gang, "train", "parallel", nil)
	return append(choices(), []Case{
		{Name: "made-gang", Uses: []ir.Feature{ir.FeatureParallel}, Flow: gang},
		{Name: "made-trigger", Uses: []ir.Feature{ir.FeatureTrigger},
			Flow: flowDecorated(ir.Decorator{Name: "trigger", Attributes: ir.Attributes{"event": "data_ready"}})},
		{Name: "made-trigger-on-finish", Uses: []ir.Feature{ir.FeatureTriggerFinish},
			Flow: flowDecorated(ir.Decorator{Name: "trigger_on_finish", Attributes: ir.Attributes{"flow": "Other"}})},
		{Name: "made-exit-hook", Uses: []ir.Feature{ir.FeatureExitHook},
			Flow: flowDecorated(ir.Decorator{Name: "exit_hook", Attributes: ir.Attributes{"on_error": []any{"notify"}}})},
	}...)
}

// choices are flows that do not run every step: switches and loops, and gangs that are tried again.
func choices() []Case {
	retried := flow("RetriedGang", foreach("start", "sizes", "start_gang"), parallel("start_gang", "train"), to("train", "gather"),
		join("gather", "collect"), join("collect", "end"), end("end"))
	decorate(retried, "train", "parallel", nil)
	decorate(retried, "train", "retry", ir.Attributes{"times": int64(2), "minutes_between_retries": int64(1)})
	decorate(retried, "train", "timeout", ir.Attributes{"hours": int64(2)})
	caught := flow("CaughtChoice", choose("start", "mode", "loop", "skip"), choose("loop", "more", "loop", "left", "right"),
		to("left", "meet"), to("right", "meet"), to("skip", "meet"), to("meet", "end"), end("end"))
	decorate(caught, "loop", "retry", ir.Attributes{"times": int64(1), "minutes_between_retries": 0.5})
	decorate(caught, "loop", "catch", ir.Attributes{"var": "failure"})
	decorate(caught, "loop", "timeout", ir.Attributes{"seconds": int64(90)})
	decorate(caught, "right", "retry", ir.Attributes{"times": int64(3)})
	return []Case{
		{Name: "made-switch", Uses: []ir.Feature{ir.FeatureSwitch}, Flow: flow("Choice",
			choose("start", "mode", "short", "long"), to("short", "end"), to("long", "end"), end("end"))},
		{Name: "made-recursion", Uses: []ir.Feature{ir.FeatureSwitch, ir.FeatureRecursion}, Flow: flow("Loop",
			to("start", "again"), choose("again", "more", "again", "end"), end("end"))},
		{Name: "made-switch-shortcut", Uses: []ir.Feature{ir.FeatureSwitch}, Flow: flow("Shortcut",
			choose("start", "mode", "check", "work", "end"), choose("check", "needed", "work", "end"), to("work", "end"), end("end"))},
		{Name: "made-switch-caught", Uses: []ir.Feature{ir.FeatureSwitch, ir.FeatureRecursion, ir.FeatureRetry, ir.FeatureCatch,
			ir.FeatureTimeout}, Flow: caught},
		{Name: "made-switch-everything", Uses: []ir.Feature{ir.FeatureSwitch, ir.FeatureRecursion, ir.FeatureForeach,
			ir.FeatureNestedForeach, ir.FeatureForeachBody, ir.FeatureSplit, ir.FeatureSplitInBody, ir.FeatureParallel},
			Flow: flow("Everything",
				choose("start", "mode", "many", "one"), foreach("many", "xs", "look"), choose("look", "kind", "halves", "again", "gang"),
				split("halves", "left", "right"), to("left", "whole"), choose("right", "deep", "right_a", "right_b"),
				foreach("right_a", "ys", "leaf"), to("leaf", "leaves"), join("leaves", "whole"), to("right_b", "whole"),
				join("whole", "out"), choose("again", "more", "again", "out", "late"), to("late", "out"),
				parallel("gang", "member"), to("member", "met"), join("met", "out"), to("out", "gather"), join("gather", "end"),
				to("one", "end"), end("end"))},
		{Name: "made-gang-retried", Uses: []ir.Feature{ir.FeatureParallel, ir.FeatureForeach, ir.FeatureForeachBody, ir.FeatureRetry},
			Flow: retried},
	}
}

// parallel starts a gang whose size the step computes.
func parallel(name, next string) *ir.Step {
	s := to(name, next)
	s.Next.Kind = ir.Parallel
	return s
}

func withParameters() *ir.Flow {
	f := flow("Parameters", to("start", "end"), end("end"))
	parameter := func(name string, kind ir.ParameterType, value any, more func(*ir.Parameter)) {
		p := ir.Parameter{Name: name, Option: name, Type: kind, Span: line(len(f.Parameters) + 3)}
		if value != nil {
			p.Default, _ = json.Marshal(value)
		}
		if more != nil {
			more(&p)
		}
		f.Parameters = append(f.Parameters, p)
	}
	parameter("genre", ir.StringType, "Sci-Fi", func(p *ir.Parameter) { p.Help = "Genre to pick: one of many" })
	parameter("empty", ir.StringType, "", nil)
	parameter("text_number", ir.StringType, "007", nil)
	parameter("count", ir.IntType, 3, nil)
	parameter("ratio", ir.FloatType, 0.25, nil)
	parameter("dry", ir.BoolType, false, nil)
	parameter("shape", ir.JSONType, map[string]any{"layers": []int{64, 32}, "name": "small"}, nil)
	parameter("nothing", ir.StringType, nil, func(p *ir.Parameter) { p.Option = "nothing-given" })
	parameter("computed", ir.IntType, nil, func(p *ir.Parameter) { p.DefaultFunc = "today" })
	parameter("movies", ir.FileType, "movies.csv", nil)
	return f
}

// commands is a flow of steps in other languages, with images of their own.
func commands() *ir.Flow {
	f := flow("Playlist", foreach("start", "shards", "score"), to("score", "pick"), join("pick", "end"), end("end"))
	f.Source = ir.Source{Language: ir.YAML, File: "playlist.yaml"}
	f.Doc = "Scores movies.\n\nAnd picks one."
	f.Step("start").Command = &ir.Command{Shell: "python load.py"}
	f.Step("score").Command = &ir.Command{Args: []string{"./score", "--shard", "{item}"}, Image: "ghcr.io/acme/score:2"}
	f.Step("pick").Command = &ir.Command{Shell: "sh pick.sh", Image: "alpine:3.20"}
	f.Step("end").Command = &ir.Command{Shell: "true"}
	return f
}

// oddNames has names that targets cannot take as they are.
func oddNames() *ir.Flow {
	f := flow("Odd_Names", to("start", "nil"), foreach("nil", "the_items", "true"), to("true", "false"),
		to("false", "in_"), join("in_", "flow_v2_"), to("flow_v2_", "end"), end("end"))
	return f
}

// Chain returns a flow of n steps in a row.
func Chain(n int) *ir.Flow {
	f := &ir.Flow{Name: "Chain", Source: ir.Source{Language: ir.Python, File: "chain.py", Class: "Chain"}, Start: "start", End: "end"}
	name := func(i int) string {
		switch i {
		case 0:
			return "start"
		case n - 1:
			return "end"
		}
		return fmt.Sprintf("step_%05d", i)
	}
	for i := range n - 1 {
		f.Steps = append(f.Steps, to(name(i), name(i+1)))
	}
	f.Steps = append(f.Steps, end(name(n-1)))
	return f
}

func flow(name string, steps ...*ir.Step) *ir.Flow {
	f := &ir.Flow{Name: name, Source: ir.Source{Language: ir.Python, File: "flow.py", Class: name}, Steps: steps, Span: line(1)}
	for i, s := range steps {
		s.Span = line(10 + 10*i)
		if s.Next != nil {
			s.Next.Span = line(15 + 10*i)
		}
	}
	f.Start, f.End = steps[0].Name, steps[len(steps)-1].Name
	return f
}

func line(n int) diag.Span { return diag.Span{File: "flow.py", Line: n, Col: 5} }

func marked(f *ir.Flow) *ir.Flow {
	f.Step(f.Start).MarkedStart, f.Step(f.End).MarkedEnd = true, true
	return f
}

func flowDecorated(d ir.Decorator) *ir.Flow {
	f := flow("Decorated", to("start", "end"), end("end"))
	d.Span = line(2)
	f.Decorators = []ir.Decorator{d}
	return f
}

func decorate(f *ir.Flow, step, name string, attributes ir.Attributes) {
	s := f.Step(step)
	s.Decorators = append(s.Decorators, ir.Decorator{Name: name, Attributes: attributes,
		Span: diag.Span{File: s.Span.File, Line: s.Span.Line - 1 - len(s.Decorators), Col: 5}})
}

func targets(names ...string) []ir.Target {
	var list []ir.Target
	for _, name := range names {
		list = append(list, ir.Target{Step: name})
	}
	return list
}

func end(name string) *ir.Step { return &ir.Step{Name: name} }

func to(name, next string) *ir.Step {
	return &ir.Step{Name: name, Next: &ir.Transition{Kind: ir.Linear, Targets: targets(next)}}
}

func join(name, next string) *ir.Step {
	s := to(name, next)
	s.Join = true
	return s
}

func split(name string, next ...string) *ir.Step {
	return &ir.Step{Name: name, Next: &ir.Transition{Kind: ir.Split, Targets: targets(next...)}}
}

func foreach(name, artifact, next string) *ir.Step { return foreach2(end(name), artifact, next) }

// foreach2 makes an existing step split over an artifact.
func foreach2(s *ir.Step, artifact, next string) *ir.Step {
	s.Next = &ir.Transition{Kind: ir.Foreach, Foreach: artifact, Targets: targets(next)}
	return s
}

// choose is a switch whose cases are called like its steps.
func choose(name, artifact string, next ...string) *ir.Step {
	t := &ir.Transition{Kind: ir.Switch, Condition: artifact, Targets: targets(next...)}
	for _, step := range next {
		value, _ := json.Marshal(step)
		t.Cases = append(t.Cases, ir.Case{Value: value, Step: step})
	}
	return &ir.Step{Name: name, Next: t}
}
