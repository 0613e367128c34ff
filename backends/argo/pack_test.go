package argo_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/internal/golden"
	"github.com/mf-run/mf/ir"
)

// TestPacks has what changes where splits and rounds are packed.
func TestPacks(t *testing.T) {
	files, list := emitted(t, "made-nested-foreach", func(f *ir.Flow, o *backends.Options) {
		o.Pack = 50
		f.Step("city").Decorators = []ir.Decorator{
			{Name: "retry", Attributes: ir.Attributes{"times": int64(1)}},
			{Name: "timeout", Attributes: ir.Attributes{"minutes": int64(2)}},
		}
	})
	if err := check(files); err != nil {
		t.Fatal(err, list)
	}
	if len(list) != 1 || list[0].Code != "foreach-not-packed" || list[0].Severity != diag.Warning {
		t.Errorf("findings: %v", list)
	}
	golden.Check(t, "testdata/packed.yaml", files[0].Data)

	files, list = emitted(t, "made-switch-caught", func(_ *ir.Flow, o *backends.Options) { o.PackSteps = map[string]int{"loop": 20} })
	if err := check(files); err != nil || len(list) != 1 || !strings.Contains(list[0].Summary, "for 1940 rounds") {
		t.Fatal(err, list)
	}
	golden.Check(t, "testdata/packed-loop.yaml", files[0].Data)
}

// TestDeadlines: a pod may live as long as all that it runs may take.
func TestDeadlines(t *testing.T) {
	for _, c := range []struct {
		flow, step string
		timeout    ir.Attributes
		pack       int
		want       int
	}{
		{"made-foreach", "score", nil, 1, 0},
		{"made-foreach", "score", nil, 3, 3 * 5 * 24 * 3600},
		{"made-foreach", "score", nil, ir.MaxPack, 1<<31 - 1},
		{"made-foreach", "score", ir.Attributes{"seconds": 1.5}, 1, 2 + 2100},
		{"made-foreach", "score", ir.Attributes{"hours": int64(1)}, 50, 50*3600 + 2100},
		{"made-recursion", "again", ir.Attributes{"minutes": int64(1)}, 10, 600 + 2100},
	} {
		parsed := template(t, c.flow, func(f *ir.Flow, o *backends.Options) {
			o.PackSteps = map[string]int{c.step: c.pack}
			if c.timeout != nil {
				f.Step(c.step).Decorators = []ir.Decorator{{Name: "timeout", Attributes: c.timeout}}
			}
		})
		got := 0
		if limit := parsed.GetTemplateByName(c.step).ActiveDeadlineSeconds; limit != nil {
			got = limit.IntValue()
		}
		if got != c.want {
			t.Errorf("%+v: %d seconds", c, got)
		}
	}
}

// TestGangAddress: the tasks of a gang, and no others, are told where the others reach them.
func TestGangAddress(t *testing.T) {
	for _, name := range []string{"made-gang", "made-gang-retried", "made-switch-everything"} {
		parsed := template(t, name, nil)
		for _, tmpl := range parsed.Spec.Templates {
			if tmpl.Container == nil {
				continue
			}
			has := false
			for _, v := range tmpl.Container.Env {
				if v.Name == ir.EnvAddress {
					has = v.ValueFrom.FieldRef.FieldPath == "status.podIP"
				}
			}
			if want := slices.Contains([]string{"train", "member"}, tmpl.Name); has != want {
				t.Errorf("%s: %s has an address: %v", name, tmpl.Name, has)
			}
		}
	}
}

// TestNoLists: nothing in a manifest grows with the number of splits.
func TestNoLists(t *testing.T) {
	for _, pack := range []int{1, 50} {
		files, list := emitted(t, "made-foreach", func(f *ir.Flow, o *backends.Options) { wide(f, 10_000); o.Pack = pack })
		if list.HasErrors() {
			t.Fatal(list)
		}
		few, _ := emitted(t, "made-foreach", func(f *ir.Flow, o *backends.Options) { wide(f, 2); o.Pack = pack })
		if string(files[0].Data) != string(few[0].Data) || strings.Contains(string(files[0].Data), "withItems") {
			t.Errorf("packs of %d: the manifest of 10,000 splits is another than that of 2", pack)
		}
	}
}
