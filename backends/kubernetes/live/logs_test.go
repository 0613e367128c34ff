package live

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// TestLog: what a task prints is heard once, in order, over connections that break; and where the node has thrown lines
// away meanwhile, that is said.
func TestLog(t *testing.T) {
	t.Parallel()
	at := func(n int, text string) string {
		return time.Date(2026, 5, 4, 3, 2, n/10, n%10*1e8+7, time.UTC).Format(time.RFC3339Nano) + " " + text
	}
	const broken = "\x00" // as the end of a part: the connection breaks
	for name, test := range map[string]struct {
		parts []string // of one connection each
		late  bool
		want  string
		since string
	}{
		"whole":            {parts: []string{at(1, "a\n") + at(2, "b\n")}, want: "a b, whole"},
		"nothing":          {parts: []string{""}, want: ", whole"},
		"no newline":       {parts: []string{at(1, "a\n") + at(2, "b")}, want: "a b, whole"},
		"breaks":           {parts: []string{at(1, "a\n") + at(12, "b\n") + broken, at(12, "b\n") + at(13, "c\n")}, want: "a b c, whole", since: "2026-05-04T03:02:01Z"},
		"same second":      {parts: []string{at(1, "a\n") + at(2, "b\n") + broken, at(1, "a\n") + at(2, "b\n") + at(3, "b\n")}, want: "a b b, whole", since: "2026-05-04T03:02:00Z"},
		"same moment":      {parts: []string{at(1, "a\n") + at(1, "b\n") + broken, at(1, "a\n") + at(1, "b\n") + at(1, "c\n")}, want: "a b c, whole", since: "2026-05-04T03:02:00Z"},
		"within a line":    {parts: []string{at(1, "a\n") + at(2, "bb") + broken, at(1, "a\n") + at(2, "bbbb\n")}, want: "a bbbb, whole", since: "2026-05-04T03:02:00Z"},
		"breaks at once":   {parts: []string{broken, at(1, "a\n")}, want: "a, whole"},
		"rotated":          {parts: []string{at(1, "a\n") + broken, at(5, "c\n") + at(6, "d\n")}, want: "a (gap) c d", since: "2026-05-04T03:02:00Z"},
		"rotated, no more": {parts: []string{at(1, "a\n") + broken, ""}, want: "a", since: "2026-05-04T03:02:00Z"},
		"late":             {parts: []string{at(1, "a\n")}, late: true, want: "(gap) a"},
		"of its, again":    {parts: []string{at(1, "a\n") + broken, "unable\n" + at(1, "a\n") + at(2, "b\n")}, want: "a unable b", since: "2026-05-04T03:02:00Z"},
		"of the kubelet's": {parts: []string{"unable to read\n"}, want: "unable to read"},
		"no times":         {parts: []string{"a\n" + broken, "a\nb\n"}, want: "a b"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t)
			over, since := make(chan struct{}), ""
			a.answer = func(what string, w http.ResponseWriter, r *http.Request) bool {
				if what != "GET pods/log" {
					return false
				}
				if s := r.URL.Query().Get("sinceTime"); s != "" {
					since = s
				}
				n := a.count(what)
				text, breaks := strings.CutSuffix(test.parts[min(n, len(test.parts))-1], broken)
				_, _ = io.WriteString(w, text)
				w.(http.Flusher).Flush()
				if breaks {
					panic(http.ErrAbortHandler)
				}
				if n == len(test.parts) {
					close(over)
				}
				time.Sleep(200 * time.Millisecond) // the pod's end is seen first
				return true
			}
			var heard []string
			ended := start(t.Context(), a.shipper(Options{Outage: time.Minute}), jobNamed("j"), Listener{
				Line: func(text string) { heard = append(heard, text) }, Gap: func() { heard = append(heard, "(gap)") },
			})
			until(t, "a Job", func() bool { return a.left() == "j" })
			pod := podOf(corev1.PodRunning, runs)
			pod.Status.ContainerStatuses[0].State.Running.StartedAt.Time = time.Now()
			if test.late {
				pod.Status.ContainerStatuses[0].State.Running.StartedAt.Time = time.Now().Add(-time.Minute)
			}
			a.setPod("j", pod)
			<-over
			a.setPod("j", podOf(corev1.PodSucceeded, ends(0, "Completed", "")))
			end := await(t, ended, 8*time.Second)
			got := strings.Join(heard, " ")
			if end.ending.LogWhole {
				got += ", whole"
			}
			if got != test.want || since != test.since {
				t.Errorf("got  %q, since %q\nwant %q, since %q", got, since, test.want, test.since)
			}
		})
	}
}
