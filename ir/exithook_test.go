package ir_test

import (
	"fmt"
	"testing"

	"github.com/mf-run/mf/ir"
)

func TestExitHooks(t *testing.T) {
	hook := func(attributes ir.Attributes) ir.Decorator {
		return ir.Decorator{Name: "exit_hook", Attributes: attributes}
	}
	f := &ir.Flow{Name: "F", Source: ir.Source{Language: ir.Python}, Decorators: []ir.Decorator{
		{Name: "schedule"},
		hook(ir.Attributes{"on_success": []any{map[string]any{"$python": "f"}, "mod.g"}, "on_error": nil}),
		hook(ir.Attributes{"on_error": "h", "options": map[string]any{"image": "a"}}),
	}}
	hooks, l := f.ExitHooks()
	var got []string
	for _, h := range hooks {
		got = append(got, fmt.Sprint(h.Use, h.Success, h.Index, h.Name()))
	}
	if want := "[0 true 0f 0 true 1mod.g 1 false 0h]"; fmt.Sprint(got) != want || len(l) > 0 {
		t.Errorf("%v, %v; want %s", got, l, want)
	}
	if image, ok := f.ExitHookImage(); image != "a" || !ok {
		t.Errorf("%q, %t", image, ok)
	}
	f.Decorators[1].Attributes["options"] = map[string]any{"image": "b"}
	if _, ok := f.ExitHookImage(); ok {
		t.Error("two images are one")
	}
	y := &ir.Flow{Name: "F", Source: ir.Source{Language: ir.YAML}, Decorators: []ir.Decorator{
		hook(ir.Attributes{"on_success": "echo well done", "on_error": []any{[]any{"./tell", "them"}, "true"}})}}
	if hooks, l = y.ExitHooks(); len(l) > 0 || len(hooks) != 3 || hooks[0].Command.Shell != "echo well done" ||
		len(hooks[1].Command.Args) != 2 || hooks[1].Name() != "[./tell them]" {
		t.Errorf("%+v, %v", hooks, l)
	}
	for _, bad := range []any{nil, int64(3), "", []any{""}, map[string]any{"$python": 1}} {
		for _, language := range []string{ir.Python, ir.YAML} {
			f := &ir.Flow{Source: ir.Source{Language: language}, Decorators: []ir.Decorator{hook(ir.Attributes{"on_error": bad})}}
			if hooks, l := f.ExitHooks(); len(hooks) > 0 || len(l) != 1 || l[0].Code != "exit-hook" {
				t.Errorf("%v in %s: %v, %v", bad, language, hooks, l)
			}
		}
	}
}
