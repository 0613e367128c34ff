package ir

import (
	"fmt"

	"github.com/mf-run/mf/diag"
)

// ExitHook is one thing that @exit_hook wants done when a run has ended.
type ExitHook struct {
	// Use is the position of its decorator among the flow's exit_hook decorators, from 0; Success says which of the
	// decorator's two lists it is in, and Index where in that list, from 0. Together they name the hook.
	Use     int
	Success bool
	Index   int
	// Function is what a Python flow calls: "name" or "module.name". A function that has been given itself is found by its
	// place, and this is its readable name.
	Function string
	// Command is what a YAML flow runs; nil for a Python flow.
	Command *Command
	Span    diag.Span
}

// Name is the hook's name for messages.
func (h ExitHook) Name() string {
	switch {
	case h.Command == nil:
		return h.Function
	case h.Command.Shell != "":
		return h.Command.Shell
	}
	return fmt.Sprint(h.Command.Args)
}

// The attributes of @exit_hook.
const (
	hookSuccess = "on_success"
	hookError   = "on_error"
)

// ExitHooks returns what is to be done when a run has ended, in the order of the source, and what is wrong with it.
func (f *Flow) ExitHooks() ([]ExitHook, diag.List) {
	var hooks []ExitHook
	var l diag.List
	use := 0
	for i := range f.Decorators {
		d := &f.Decorators[i]
		if d.Name != "exit_hook" {
			continue
		}
		before := len(hooks)
		for _, success := range []bool{true, false} {
			attribute := map[bool]string{true: hookSuccess, false: hookError}[success]
			for index, v := range asList(d.Attributes[attribute]) {
				h := ExitHook{Use: use, Success: success, Index: index, Span: d.Span}
				if !h.read(v, f.Source.Language) {
					want := "a function, or the name of one as a text"
					if f.Source.Language != Python {
						want = "a command: a text for the shell, or a list of texts"
					}
					l = append(l, diag.Errorf(d.Span, "exit-hook", "flow %s: exit_hook: number %d of %s is not %s",
						f.Name, index+1, attribute, want))
					continue
				}
				hooks = append(hooks, h)
			}
		}
		if len(hooks) == before && !l.HasErrors() {
			l = append(l, diag.Errorf(d.Span, "exit-hook", "flow %s: exit_hook has neither on_success nor on_error", f.Name).
				WithDetail("Name what is to be done when a run succeeds, fails, or both."))
		}
		use++
	}
	return hooks, l
}

// asList takes one value for a list of it.
func asList(v any) []any {
	switch v := v.(type) {
	case nil:
		return nil
	case []any:
		return v
	}
	return []any{v}
}

func (h *ExitHook) read(v any, language string) bool {
	if language == Python {
		switch v := v.(type) {
		case string:
			h.Function = v
		case map[string]any:
			h.Function, _ = v["$python"].(string)
		}
		return h.Function != ""
	}
	h.Command = &Command{}
	switch v := v.(type) {
	case string:
		h.Command.Shell = v
		return v != ""
	case []any:
		for _, item := range v {
			text, ok := item.(string)
			if !ok {
				return false
			}
			h.Command.Args = append(h.Command.Args, text)
		}
		return len(v) > 0
	}
	return false
}

// ExitHookImage returns the container image that the exit hooks ask for; empty for none. All run in one container: ok is
// false where they ask for different ones.
func (f *Flow) ExitHookImage() (image string, ok bool) {
	for i := range f.Decorators {
		d := &f.Decorators[i]
		if d.Name != "exit_hook" {
			continue
		}
		options, _ := d.Attributes["options"].(map[string]any)
		if own, _ := options["image"].(string); own != "" {
			if image != "" && own != image {
				return "", false
			}
			image = own
		}
	}
	return image, true
}
