//go:build e2e

package e2e

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
)

// TestArgoExit has a run succeed and one fail: hooks are called, somebody is notified, and no task sees the token of its
// service account.
func TestArgoExit(t *testing.T) {
	a, h := newArgo(t), newTeller(t)
	type notice struct {
		Flow, Run, Status, Failure string
		Success                    bool
	}
	notices := make(chan notice, 10)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var n notice
		if err := json.NewDecoder(r.Body).Decode(&n); err != nil {
			t.Errorf("a notification that is no JSON: %v", err)
		}
		notices <- n
	}))
	defer hook.Close()
	a.secret("notify", []string{"MF_NOTIFY_WEBHOOK_URL=" + hook.URL + "/secret-address"})
	p := newPlace(t, "testdata/exits")
	name := a.deploy(p, "flow.py", "--env", "TELL="+h.URL, "--set", "argo.notify-on=both", "--set", "argo.notify-secret=notify")
	for _, c := range []struct {
		fail, told string
		phase      wfv1.WorkflowPhase
	}{
		{"false", "hook-succeeded", wfv1.WorkflowSucceeded}, {"true", "hook-failed", wfv1.WorkflowFailed},
	} {
		run := a.trigger(p, name, "--fail", c.fail)
		if w := a.end(run, 10*time.Minute); w.Status.Phase != c.phase {
			t.Errorf("%s is %s: %s", run, w.Status.Phase, w.Status.Message)
		}
		if got := h.steps(run); got != c.told {
			t.Errorf("the hooks said %q, want %q", got, c.told)
		}
		select {
		case n := <-notices:
			if n.Flow != "ExitsFlow" || n.Run != run || n.Success != (c.fail == "false") {
				t.Errorf("the notification is %+v", n)
			}
		case <-time.After(10 * time.Second):
			t.Error("nobody was notified")
		}
		if c.fail == "true" {
			continue
		}
		if got := a.read("ExitsFlow", run).Tasks["start"]["sees_token"].Repr; got != "False" {
			t.Errorf("a task sees its service account's token: %s", got)
		}
	}
}
