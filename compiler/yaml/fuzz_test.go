package yaml

import (
	"testing"
)

// FuzzParse checks that no text makes Parse panic, that it gives either a flow or an error, that findings lie within the
// file, and that a flow survives its JSON form.
func FuzzParse(f *testing.F) {
	for _, src := range corpusFiles(f) {
		f.Add(src)
	}
	f.Add([]byte("flow: A\nsteps: {a: {run: [a, {{]}}"))
	f.Add([]byte("? - a\n: &b [*b]\n"))
	f.Add([]byte("%YAML 1.1\n---\nflow: !!binary aGk=\n...\n"))
	f.Fuzz(func(t *testing.T, src []byte) {
		flow, diags := Parse("flow.yaml", src)
		if (flow == nil) != diags.HasErrors() {
			t.Fatalf("flow %v with findings %v", flow, diags)
		}
		lines := len(newSource("", src).lines)
		for _, d := range diags {
			if d.Span.Line > lines+1 || d.Span.Line < 0 || d.Span.Col < 0 {
				t.Errorf("a place outside of the %d lines: %v", lines, d)
			}
			if d.Summary == "" || d.Code == "" {
				t.Errorf("an empty finding: %+v", d)
			}
		}
		if flow != nil {
			roundTrip(t, flow)
		}
	})
}
