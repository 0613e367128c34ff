//go:build e2e

package e2e

import (
	"strings"
	"testing"

	"github.com/mf-run/mf/e2e/same"
)

// TestArgoSmoke deploys flows to a real Argo, runs them there, and reads what they made with mf and with the real client.
func TestArgoSmoke(t *testing.T) {
	site := newArgo(t)
	for _, c := range []struct{ name, file, flow, printed string }{
		{"linear", "flow.py", "LinearFlow", "the total is 6\n"},
		{"foreach", "flow.py", "ForeachFlow", ""},
		{"gang", "flow.py", "GangFlow", ""},
		{"yaml-three-languages", "flow.yaml", "ThreeLanguages", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := site.in(t)
			here, p := newPlace(t, repo(t, "testdata", "flows", c.name)), newPlace(t, repo(t, "testdata", "flows", c.name))
			want := here.left(c.flow, here.mf("run", c.file))
			run := a.runToEnd(p, a.deploy(p, c.file))
			found, err := same.Compare(t.Context(), want, a.left(c.flow, run), same.Rules{})
			if err != nil || len(found) > 0 {
				t.Errorf("%v\n%s", err, same.Report(found, 20))
			}
			v := a.read(c.flow, run)
			if !v.Successful || !v.Finished || v.Code.Script != c.file {
				t.Errorf("to the real client, successful is %v, finished %v, the code's script %q", v.Successful, v.Finished, v.Code.Script)
			}
			if gang := c.name == "gang"; gang != (len(v.Control) == 1) {
				t.Errorf("to the real client, %q lead gangs", v.Control)
			}
			if got := a.mf(p, "logs", c.flow+"/"+run+"/end"); c.printed != "" && !strings.Contains(got, c.printed) {
				t.Errorf("end printed %q, want %q", got, c.printed)
			}
		})
	}
}
