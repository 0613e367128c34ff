//go:build unix

package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/internal/testserver"
	"github.com/mf-run/mf/ir"
)

const parameterFlow = `
from metaflow import FlowSpec, JSONType, Parameter, step
import hashlib

class Given(FlowSpec):
    text = Parameter("text", default="")
    size = Parameter("size", default=1)
    data = Parameter("data", type=JSONType, default="{}")

    @step
    def start(self):
        print(hashlib.sha1(self.text.encode()).hexdigest(), len(self.text), self.size, self.data)
        self.next(self.end)

    @step
    def end(self):
        pass

if __name__ == "__main__":
    Given()
`

// TestParameterForms hands texts over that no engine could carry as they are.
func TestParameterForms(t *testing.T) {
	s := deploy(t, testserver.NewBucket(t), "flow.py", parameterFlow)
	save := func(data []byte) (string, error) { return s.store.SaveRaw(t.Context(), s.flow.Name, data) }
	encode := func(text string) string {
		form, err := ir.EncodeParameter(text, save)
		if err != nil {
			t.Fatal(err)
		}
		return form
	}
	for n, text := range []string{
		"", "plain", "\"quotes\" and 'more'", "two\nlines", "{{workflow.name}} ünd 🎉 \x00\x07", "mf-base64:x", strings.Repeat("200 KiB ☃{{", 20_000),
	} {
		run := ir.TaskInvocation{Step: "start", Attempt: "0"}
		s.id = fmt.Sprintf("given-%d", n)
		s.runPacked(0, run, "MF_PARAM_text="+encode(text), "MF_PARAM_size="+encode("7"), "MF_PARAM_data="+encode(`{"a": "{{b}}"}`))
		want := fmt.Sprintf("%s %d 7 {'a': '{{b}}'}\n", datastore.Digest([]byte(text)), len([]rune(text)))
		if got := s.log("start", "t", 0); got != want {
			t.Errorf("%.40q: log %q, want %q", text, got, want)
		}
	}
	absent := ir.ParameterBlob + strings.Repeat("0", 40)
	large, err := save(make([]byte, ir.MaxParameter+1))
	if err != nil {
		t.Fatal(err)
	}
	for n, c := range []struct{ value, say string }{
		{"MF_PARAM_text=mf-base64:*", "parameter --text: MF_PARAM_text cannot be read: what follows mf-base64: is not base64"},
		{"MF_PARAM_text=" + absent, "not found"},
		{"MF_PARAM_text=" + ir.ParameterBlob + large, "larger than a parameter may be"},
		{"MF_PARAM_text=mf-gzip:x", `"mf-gzip:", a form that this mf-task does not know`},
		{"MF_PARAM_text=mf-base64:/w==", "not text in UTF-8"},
		{"MF_PARAM_size=" + encode("x"), "parameter --size"},
		{"MF_PARAM_size=" + encode("{{x}}"), "parameter --size"},
		{"MF_PARAM_data=" + encode("{{x}}"), "parameter --data: not valid JSON"},
	} {
		s.id = fmt.Sprintf("refused-%d", n)
		task := s.runPacked(exitFailed, ir.TaskInvocation{Step: "start"}, c.value)
		for what, text := range map[string]string{"stderr": task.stderr.String(), "the log": s.log("start", "t", 0)} {
			if !strings.Contains(text, c.say) {
				t.Errorf("%s: %s does not say %q: %s", c.value, what, c.say, text)
			}
		}
		if state := s.state("start", "t"); state.Status != "failed" || !strings.Contains(state.Failure, "parameter --") {
			t.Errorf("%s: the task stands at %+v", c.value, state)
		}
		s.runPacked(0, ir.TaskInvocation{Step: "start", Attempt: "1"})
	}
}
