package ir

import (
	"slices"
	"strings"
	"testing"

	"github.com/mf-run/mf/diag"
)

// TestUnsupported: a target that can do nothing names each feature of a flow that has them all, and a target that can
// do everything names none.
func TestUnsupported(t *testing.T) {
	f, words := everything()
	nothing := Features{Target: "none", Missing: map[Feature]Limit{}, ParameterDefaults: true, MaxRetries: 2, MinTimeoutSeconds: 60,
		Decorators: map[string]Limit{"batch": {"refuses it", "Remove it."}, "project": {"refuses it", "Remove it."}}}
	for feature := range words {
		nothing.Missing[feature] = Limit{Reason: "cannot " + string(feature), WayOut: "Leave it."}
	}
	list := nothing.Unsupported(NewGraph(f))
	for feature, word := range words {
		if !slices.ContainsFunc(list, func(d diag.Diagnostic) bool {
			return d.Code == "target-unsupported" && strings.Contains(d.Summary, word) &&
				strings.HasSuffix(d.Summary, "but none cannot "+string(feature)) && d.Detail == "Leave it."
		}) {
			t.Errorf("%s is not refused in:\n%v", feature, list)
		}
	}
	for _, want := range []string{
		"parameter p has no default, but none needs a default for every parameter",
		"step a has @retry(times=4), but none retries a task at most 2 times",
		"step a has a timeout of 5 seconds, but none has no timeout shorter than 60 seconds",
		"step a has @batch, but none refuses it",
		"flow F has @project, but none refuses it",
	} {
		if !slices.ContainsFunc(list, func(d diag.Diagnostic) bool { return d.Summary == want }) {
			t.Errorf("%q is not in:\n%v", want, list)
		}
	}
	if list := (Features{Target: "all"}).Unsupported(NewGraph(f)); len(list) > 0 {
		t.Errorf("refused without a reason: %v", list)
	}
}

// everything is a flow with every feature, and a text that the refusal of each must hold.
func everything() (*Flow, map[Feature]string) {
	step := func(name string, kind TransitionKind, targets ...string) *Step {
		s := &Step{Name: name, Next: &Transition{Kind: kind}}
		for _, target := range targets {
			s.Next.Targets = append(s.Next.Targets, Target{Step: target})
		}
		return s
	}
	join := func(name, next string) *Step {
		s := step(name, Linear, next)
		s.Join = true
		return s
	}
	f := &Flow{Name: "F", Start: "start", End: "end", Parameters: []Parameter{{Name: "p"}}, Steps: []*Step{
		step("start", Foreach, "a"), step("a", Foreach, "b"), step("b", Split, "c", "d"), step("c", Linear, "cd"),
		step("d", Linear, "cd"), join("cd", "jb"), join("jb", "ja"), join("ja", "gang"),
		step("gang", Parallel, "g"), step("g", Linear, "jg"), join("jg", "loop"), step("loop", Switch, "loop", "end"),
		{Name: "end"},
	}}
	f.Step("a").Decorators = []Decorator{
		{Name: "retry", Attributes: Attributes{"times": int64(4)}}, {Name: "catch"}, {Name: "batch"},
		{Name: "timeout", Attributes: Attributes{"seconds": int64(5)}}, {Name: "resources", Attributes: Attributes{"gpu": "1"}},
	}
	f.Decorators = []Decorator{
		{Name: "schedule", Attributes: Attributes{"daily": true, "timezone": "Europe/Helsinki"}}, {Name: "trigger"},
		{Name: "trigger_on_finish"}, {Name: "exit_hook"}, {Name: "project"},
	}
	return f, map[Feature]string{
		FeatureSplit: "step b splits", FeatureForeach: "step start uses a foreach", FeatureNestedForeach: "step a uses a foreach inside",
		FeatureForeachBody: "foreach of step start has a body of several steps", FeatureSwitch: "step loop uses a switch",
		FeatureRecursion: "step loop goes back", FeatureParallel: "step gang uses num_parallel",
		FeatureSplitInBody: "step b splits into several steps inside a foreach", FeatureRetry: "step a has @retry",
		FeatureCatch: "step a has @catch", FeatureTimeout: "step a has @timeout", FeatureSchedule: "has a schedule",
		FeatureTimezone: "time zone", FeatureTrigger: "has @trigger", FeatureTriggerFinish: "has @trigger_on_finish",
		FeatureExitHook: "has @exit_hook", FeatureGPU: "step a asks for a GPU",
	}
}
