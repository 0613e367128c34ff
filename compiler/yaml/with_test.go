package yaml

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/mf-run/mf/ir"
)

func TestWith(t *testing.T) {
	file := filepath.Join(t.TempDir(), "flow.yaml")
	text := "flow: Two\nsteps:\n  start:\n    run: echo 1\n    decorators: {kubernetes: {cpu: 3}}\n    next: end\n  end:\n    run: echo 2\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	flow, list, err := LoadWith(t.Context(), file, []string{"retry:times=5", `kubernetes: cpu=0.5, memory = 2000,image=acme/a:1,b,labels={"a": "b"},shared_memory=null`})
	if err != nil || list.HasErrors() {
		t.Fatal(list, err)
	}
	for step, want := range map[string][]ir.Decorator{
		"start": {{Name: "kubernetes", Attributes: ir.Attributes{"cpu": int64(3)}}, {Name: "retry", Attributes: ir.Attributes{"times": int64(5), "minutes_between_retries": int64(2)}}},
		"end": {{Name: "retry", Attributes: ir.Attributes{"times": int64(5), "minutes_between_retries": int64(2)}}, {Name: "kubernetes", Attributes: ir.Attributes{"cpu": 0.5, "memory": int64(2000), "image": "acme/a:1,b",
			"labels": map[string]any{"a": "b"}, "shared_memory": nil}}},
	} {
		got := flow.Step(step).Decorators
		for i := range got {
			if got[i].Span.Line == 0 {
				t.Errorf("%s: @%s has no place", step, got[i].Name)
			}
			got[i].Span = want[0].Span
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s has %+v, want %+v", step, got, want)
		}
	}
	for spec, want := range map[string]string{
		"timeout:seconds=1": `the field "timeout" below "defaults:"`, "kubernets": "there are retry, batch, card", "kubernetes:cpu": "not NAME=VALUE", "": "no such decorator",
	} {
		_, list, err := LoadWith(t.Context(), file, []string{spec})
		if err != nil || !list.HasErrors() || !strings.Contains(list.Error(), want) {
			t.Errorf("--with %s: %v, %v; want %s", spec, list, err, want)
		}
	}
}

// FuzzWith checks that a decorator is read or refused, whatever the text.
func FuzzWith(f *testing.F) {
	for _, seed := range []string{"kubernetes", "kubernetes:cpu=4,image=a:1", "kubernetes:a={\"b\":[1,2]},c=", "card:,=", "\x00:\x00=\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, spec string) {
		d, problem := parseWith(spec)
		if problem == "" && d.Name == "" {
			t.Errorf("%q is a decorator without a name", spec)
		}
		for name := range d.Attributes {
			if problem == "" && name == "" {
				t.Errorf("%q has an attribute without a name", spec)
			}
		}
	})
}
