package argo_test

import (
	"encoding/json"
	"strings"
	"testing"

	argotemplate "github.com/argoproj/argo-workflows/v3/util/template"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/ir"
)

// carried is what a container's variable holds after Argo has put in the parameter and Kubernetes has expanded it.
func carried(t *testing.T, value string) string {
	t.Helper()
	written, err := json.Marshal("{{workflow.parameters.x}}")
	if err != nil {
		t.Fatal(err)
	}
	replaced, err := argotemplate.Replace(string(written), map[string]string{"workflow.parameters.x": value}, true)
	if err != nil {
		t.Fatalf("%q: %v", value, err)
	}
	// A second round finds nothing: Argo replaces several times.
	if replaced, err = argotemplate.Replace(replaced, map[string]string{"workflow.name": "run"}, true); err != nil {
		t.Fatalf("%q: %v", value, err)
	}
	var text string
	if err := json.Unmarshal([]byte(replaced), &text); err != nil {
		t.Fatal(err)
	}
	return expand(text, map[string]string{"HOME": "/root"})
}

// expand replaces "$(NAME)" and "$$" as a kubelet does.
func expand(text string, env map[string]string) string {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '$' || i+1 == len(text) {
			b.WriteByte(text[i])
			continue
		}
		switch end := strings.IndexByte(text[i:], ')'); {
		case text[i+1] == '$':
			b.WriteByte('$')
			i++
		case text[i+1] == '(' && end > 0:
			name := text[i+2 : i+end]
			value, ok := env[name]
			if !ok {
				value = "$(" + name + ")"
			}
			b.WriteString(value)
			i += end
		default:
			b.WriteByte('$')
		}
	}
	return b.String()
}

// decoded undoes the form in which a value may be written.
func decoded(t *testing.T, text string) string {
	t.Helper()
	plain, err := ir.DecodeParameter(text, nil)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

// encoded is the form in which a run is given a value.
func encoded(t *testing.T, text string) string {
	t.Helper()
	form, err := ir.EncodeParameter(text, nil)
	if err != nil {
		t.Skip("too long")
	}
	return form
}

var hostileTexts = []string{
	"", "plain", "'single' \"double\" \\ back", "one\ntwo\r\n\ttab", "{{workflow.name}}", "{{=1+1}}", "{{", "}}", "{ {", "\x00\a\x1b",
	"$(HOME)", "$$", "a $ b $", "$$(HOME)", "🚀 größe \u200b\u2028\U000e0001", "mf-base64:eA==", "mf-blob:abc", "mf-other:x", "mf-base64",
	"007", "true", "null", "'; rm -rf / #", "%s%d", strings.Repeat("x", 20<<10),
}

// TestParameterForms: each text reaches the task as it is.
func TestParameterForms(t *testing.T) {
	for _, text := range hostileTexts {
		if got := decoded(t, carried(t, encoded(t, text))); got != text {
			t.Errorf("%.60q arrives as %.60q", text, got)
		}
	}
	if carried(t, "$$") == "$$" || encoded(t, "plain") != "plain" {
		t.Error("the test sees no difference")
	}
}

func FuzzParameterForms(f *testing.F) {
	for _, text := range hostileTexts {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if got := decoded(t, carried(t, encoded(t, text))); got != text {
			t.Errorf("%q arrives as %q", text, got)
		}
	})
}

// TestHostileDefaults: a default is written in the form that a run is given, and an @environment variable so that
// Kubernetes leaves it alone.
func TestHostileDefaults(t *testing.T) {
	for _, text := range hostileTexts {
		parsed := firstDefault(t, func(f *ir.Flow) {
			f.Parameters[0].Default, _ = json.Marshal(text)
		})
		if got := decoded(t, carried(t, parsed)); got != text {
			t.Errorf("the default %.60q arrives as %.60q", text, got)
		}
	}
	for _, text := range []string{"$(HOME)", "$$", "$$$(HOME)$", "a$b"} {
		parsed := template(t, "made-environment", func(f *ir.Flow, _ *backends.Options) {
			f.Steps[0].Decorators[0].Attributes["vars"].(map[string]any)["MODE"] = text
		})
		found := false
		for _, v := range parsed.GetTemplateByName("start").Container.Env {
			if v.Name == "MODE" {
				found = true
				if got := expand(v.Value, map[string]string{"HOME": "/root"}); got != text {
					t.Errorf("%q arrives as %q", text, got)
				}
			}
		}
		if !found {
			t.Error("start lacks MODE")
		}
	}
}

// firstDefault returns the first parameter's default as the manifest holds it.
func firstDefault(t *testing.T, change func(*ir.Flow)) string {
	t.Helper()
	parsed := template(t, "made-parameters", func(f *ir.Flow, _ *backends.Options) { change(f) })
	value := parsed.Spec.Arguments.Parameters[0].Value
	if value == nil {
		t.Fatal("no default")
	}
	return value.String()
}
