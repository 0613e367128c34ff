package live

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// TestSidecar: what runs besides the step in its pod, and goes on, does not keep it.
func TestSidecar(t *testing.T) {
	for name, test := range map[string]struct {
		code int32
		want string
	}{"done": {0, "0: "}, "failed": {3, "3: "}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t)
			s := a.shipper(Options{Outage: time.Minute})
			ended := start(t.Context(), s, jobNamed("j"), Listener{})
			until(t, "a Job", func() bool { return a.left() == "j" })
			a.setPod("j", podOf(corev1.PodRunning, ends(test.code, "", ""), sidecar))
			if got := await(t, ended, settleGrace+5*time.Second); got.String() != test.want {
				t.Errorf("got %v, want %s", got, test.want)
			}
			if left := a.left(); left != "" {
				t.Errorf("Jobs left: %s", left)
			}
		})
	}
}

// TestFailedJobStays: it can be looked at.
func TestFailedJobStays(t *testing.T) {
	a := newAPI(t)
	s := a.shipper(Options{Outage: time.Minute})
	ended := start(t.Context(), s, jobNamed("j"), Listener{})
	until(t, "a Job", func() bool { return a.left() == "j" })
	a.setPod("j", podOf(corev1.PodFailed, ends(3, "Error", "")))
	if got := await(t, ended, 5*time.Second); got.String() != "3: " || a.left() != "j" {
		t.Errorf("got %v, Jobs left: %q", got, a.left())
	}
}
