package backends_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/backends/backendtest"
	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

// packs reads the packs of a made case, and returns the sizes that are not 1 by step.
func packs(t *testing.T, name string, opt backends.Options) (map[string]int, diag.List) {
	t.Helper()
	for _, c := range backendtest.Cases() {
		if c.Name != name {
			continue
		}
		g := ir.NewGraph(c.Flow)
		p, list := backends.PacksOf(g, opt)
		sizes := map[string]int{}
		for _, s := range c.Flow.Steps {
			for kind, n := range map[string]int{"splits": p.Splits(s.Name), "rounds": p.Rounds(s.Name), "around": p.Around(s.Name)} {
				if n != 1 {
					sizes[kind+" "+s.Name] = n
				}
			}
		}
		return sizes, list
	}
	t.Fatalf("no case %s", name)
	return nil, nil
}

func TestPacks(t *testing.T) {
	type sizes = map[string]int
	for _, c := range []struct {
		flow  string
		pack  int
		steps sizes
		want  sizes
		codes string
	}{
		{"made-linear", 50, nil, sizes{}, ""},
		{"made-foreach", 0, nil, sizes{}, ""},
		{"made-foreach", 1, nil, sizes{}, ""},
		{"made-foreach", 50, nil, sizes{"splits start": 50, "around score": 50}, ""},
		{"made-foreach", 50, sizes{"score": 7}, sizes{"splits start": 7, "around score": 7}, ""},
		{"made-foreach", 50, sizes{"score": 1}, sizes{}, ""},
		{"made-foreach", 0, sizes{"score": 0}, sizes{}, ""},
		{"made-foreach-body", 2, nil, sizes{"splits start": 2, "around load": 2, "around train": 2, "around score": 2}, ""},
		{"made-split-in-body", 3, nil, sizes{"splits start": 3, "around prepare": 3, "around left": 3, "around right": 3, "around both": 3}, ""},
		{"made-nested-foreach", 50, nil, sizes{"splits country": 50, "around city": 50}, "warning foreach-not-packed"},
		{"made-nested-foreach", 50, sizes{"country": 1}, sizes{"splits country": 50, "around city": 50}, ""},
		{"made-nested-foreach", 0, sizes{"country": 2}, sizes{}, "error pack-step"},
		{"made-two-foreachs", 0, sizes{"two": 4}, sizes{"splits between": 4, "around two": 4}, ""},
		{"made-recursion", 50, nil, sizes{}, ""},
		{"made-recursion", 0, sizes{"again": 10}, sizes{"rounds again": 10}, ""},
		{"made-gang", 50, nil, sizes{}, ""},
		{"made-gang", 0, sizes{"train": 2}, sizes{}, "error pack-step"},
		{"made-gang-retried", 2, nil, sizes{}, "warning foreach-not-packed"},
		{"made-switch-everything", 2, sizes{"again": 3}, sizes{"splits right_a": 2, "around leaf": 2, "rounds again": 3}, "warning foreach-not-packed"},
		{"made-linear", 0, sizes{"work": 2}, sizes{}, "error pack-step"},
		{"made-linear", 0, sizes{"wrok": 2}, sizes{}, "error pack-step"},
		{"made-foreach", -1, nil, sizes{}, "error bad-option"},
		{"made-foreach", 1 << 20, sizes{"score": -5}, sizes{}, "error bad-option, error bad-option"},
	} {
		got, list := packs(t, c.flow, backends.Options{Pack: c.pack, PackSteps: c.steps})
		var codes []string
		for _, d := range list {
			codes = append(codes, d.Severity.String()+" "+d.Code)
		}
		if !maps.Equal(got, c.want) || strings.Join(codes, ", ") != c.codes {
			t.Errorf("%s, %d, %v: %v, want %v; findings %v", c.flow, c.pack, c.steps, got, c.want, list)
		}
	}
}

// TestPackWaysOut: an error says what can be done.
func TestPackWaysOut(t *testing.T) {
	for step, c := range map[string]struct{ flow, want string }{
		"scor":    {"made-foreach", "Did you mean score?"},
		"zzzzzz":  {"made-foreach", "Steps that can be packed: score."},
		"work":    {"made-linear", "Nothing in this flow can be packed."},
		"country": {"made-nested-foreach", "or pack a foreach inside it: Steps that can be packed: city."},
		"train":   {"made-gang", "use a foreach in place of num_parallel"},
		"start":   {"made-recursion", "Steps that can be packed: again."},
	} {
		_, list := packs(t, c.flow, backends.Options{PackSteps: map[string]int{step: 2}})
		if len(list) != 1 || !strings.Contains(list[0].Detail, c.want) || list[0].Span.IsZero() {
			t.Errorf("%s: %+v", step, list)
		}
	}
	_, list := packs(t, "made-nested-foreach", backends.Options{Pack: 2})
	if !slices.ContainsFunc(list, func(d diag.Diagnostic) bool {
		return strings.Contains(d.Summary, "because step country in it splits again") && strings.Contains(d.Detail, "--pack country=1")
	}) {
		t.Errorf("%+v", list)
	}
}
