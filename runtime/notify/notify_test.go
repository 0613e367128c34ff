package notify_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/mf-run/mf/runtime/notify"
)

// TestPost: what may pass is tried again, what cannot is not, and no error shows the address.
func TestPost(t *testing.T) {
	for name, c := range map[string]struct {
		answers []int
		calls   int
		err     string
	}{
		"at once":        {[]int{204}, 1, ""},
		"the third time": {[]int{503, 429, 200}, 3, ""},
		"never":          {[]int{500, 500, 500}, 3, "the server answered 500 Internal Server Error (tried 3 times)"},
		"refused":        {[]int{404}, 1, "the server answered 404 Not Found"},
		"redirected":     {[]int{302}, 1, "the server answered 302 Found"},
	} {
		calls := 0
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" || r.Header.Get("X-Key") != "k" {
				t.Errorf("%s: %s with %v", name, r.Method, r.Header)
			}
			w.WriteHeader(c.answers[calls])
			calls++
		}))
		p := &notify.Poster{Tries: 3, Pause: time.Millisecond}
		err := p.Post(t.Context(), s.URL+"/hush", map[string]string{"X-Key": "k"}, "hello")
		s.Close()
		if got := text(err); got != c.err || calls != c.calls {
			t.Errorf("%s: %q after %d calls", name, got, calls)
		}
	}
	for _, address := range []string{"http://127.0.0.1:1/hush", "hush://x", "http://a b/hush", "\x7fhush", ""} {
		err := (&notify.Poster{Tries: 2, Pause: time.Millisecond}).Post(t.Context(), address, nil, 1)
		if err == nil || strings.Contains(err.Error(), "hush/") || strings.Contains(err.Error(), "/hush") {
			t.Errorf("%q: %v", address, err)
		}
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestTooSlow gives up a server that does not answer, and whatever is to be said once there is no more time.
func TestTooSlow(t *testing.T) {
	release := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer s.Close()
	defer close(release)
	p := &notify.Poster{Client: &http.Client{Timeout: 20 * time.Millisecond}, Tries: 2, Pause: time.Millisecond}
	if err := p.Post(t.Context(), s.URL, nil, 1); text(err) != "the server did not answer in time (tried 2 times)" {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	begun := time.Now()
	if err := (&notify.Poster{}).Post(ctx, s.URL, nil, 1); err == nil || time.Since(begun) > 10*time.Second {
		t.Errorf("%v after %s", err, time.Since(begun))
	}
}

// TestTell: one that cannot be told keeps none of the others from it.
func TestTell(t *testing.T) {
	bodies := map[string]map[string]any{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body map[string]any
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		bodies[r.URL.Path] = body
		if r.URL.Path == "/slack" {
			w.WriteHeader(http.StatusGone)
		}
	}))
	defer s.Close()
	targets := notify.Targets{Slack: s.URL + "/slack", PagerDuty: "k", PagerDutyURL: s.URL, Webhook: s.URL + "/hook"}
	errs := targets.Tell(t.Context(), &notify.Poster{}, notify.Outcome{Flow: "F", Run: "1", Status: "Error", Failure: "<a> & " + strings.Repeat("é", 2000)})
	if len(errs) != 1 || errs[0].Error() != "notifying Slack: the server answered 410 Gone" {
		t.Errorf("%v", errs)
	}
	if got, _ := bodies["/slack"]["text"].(string); !strings.Contains(got, "&lt;a&gt; &amp; é") {
		t.Errorf("Slack: %s", got)
	}
	payload, _ := bodies["/v2/enqueue"]["payload"].(map[string]any)
	if summary, _ := payload["summary"].(string); utf8.RuneCountInString(summary) != 1024 || payload["severity"] != "error" {
		t.Errorf("PagerDuty: %v", payload)
	}
	if bodies["/hook"]["status"] != "Error" {
		t.Errorf("webhook: %v", bodies["/hook"])
	}
	if !(notify.Targets{PagerDutyURL: "x"}).None() || targets.None() {
		t.Error("whom to tell is not told apart")
	}
}
