package client_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/httpapi"
	"github.com/mf-run/mf/metadata/httpapi/client"
)

// request is one that a script has got.
type request struct {
	method, path, query string
	header              http.Header
	body                []byte // as JSON, uncompressed
}

// script plays a service: every request but that for Info takes the next answer, and the last one stays. An answer of 0
// cuts the connection.
type script struct {
	t       *testing.T
	answers []int
	// body is what a 200 answers with, "{}" if empty; problem what an error does.
	body, problem string
	// info is the status that Info is answered with, 200 if 0.
	info int
	// retryAfter, if set, is sent with errors.
	retryAfter string

	mu       sync.Mutex
	requests []request
	infos    int
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.URL.Path == httpapi.Prefix+"/info" {
		s.infos++
		if s.info != 0 {
			http.Error(w, "404: Not Found", s.info)
			return
		}
		_ = json.NewEncoder(w).Encode(httpapi.Info{API: 1, MF: "test"})
		return
	}
	body, err := io.ReadAll(r.Body)
	if err == nil && r.Header.Get("Content-Encoding") == "gzip" {
		var z *gzip.Reader
		if z, err = gzip.NewReader(bytes.NewReader(body)); err == nil {
			body, err = io.ReadAll(z)
		}
	}
	if err != nil {
		s.t.Error(err)
	}
	s.requests = append(s.requests, request{r.Method, r.URL.EscapedPath(), r.URL.RawQuery, r.Header, body})
	status := s.answers[min(len(s.requests), len(s.answers))-1]
	switch {
	case status == 0:
		panic(http.ErrAbortHandler)
	case status == 200 && s.body == "":
		_, _ = io.WriteString(w, "{}")
	case status == 200:
		_, _ = io.WriteString(w, s.body)
	default:
		if s.retryAfter != "" {
			w.Header().Set("Retry-After", s.retryAfter)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, s.problem)
	}
}

// world is a client with a clock that only its waiting moves, and what it says.
type world struct {
	*client.Client
	mu    sync.Mutex
	clock time.Time
	waits []time.Duration
	said  []string
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.clock
}

// sleep passes d without waiting.
func (w *world) sleep(ctx context.Context, d time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock = w.clock.Add(d)
	w.waits = append(w.waits, d)
	return context.Cause(ctx)
}

func (w *world) slept() (sum time.Duration) {
	for _, d := range w.waits {
		sum += d
	}
	return sum
}

// newWorld returns a client of the URL in o.
func newWorld(t *testing.T, o client.Options) *world {
	t.Helper()
	w := &world{clock: time.Unix(1_000_000, 0)}
	o.Now = w.now
	o.Notify = func(text string) { w.said = append(w.said, text) }
	c, err := client.New(o)
	must(t, err)
	c.SetSleep(w.sleep)
	w.Client = c
	return w
}

// play returns a client of a script.
func play(t *testing.T, s *script, o client.Options) *world {
	t.Helper()
	s.t = t
	if len(s.answers) == 0 {
		s.answers = []int{200}
	}
	h := httptest.NewServer(s)
	t.Cleanup(h.Close)
	o.URL = h.URL
	return newWorld(t, o)
}

// someRows returns a batch of n metadata of a task.
func someRows(n int) metadata.Batch {
	var b metadata.Batch
	b.Steps = []metadata.Step{{FlowID: "F", RunID: "1", StepName: "s"}}
	b.Tasks = []metadata.Task{{FlowID: "F", RunID: "1", StepName: "s", TaskID: "0"}}
	for i := range n {
		b.Metadata = append(b.Metadata, metadata.Metadatum{
			FlowID: "F", RunID: "1", StepName: "s", TaskID: "0", FieldName: "f", Value: fmt.Sprint(i),
		})
	}
	return b
}

func (r request) record(t *testing.T) httpapi.RecordRequest {
	t.Helper()
	var got httpapi.RecordRequest
	must(t, json.Unmarshal(r.body, &got))
	return got
}

// TestOutageIsWaitedOut: whatever fails on the way, the call goes through in the end.
func TestOutageIsWaitedOut(t *testing.T) {
	s := &script{answers: []int{0, 503, 502, 429, 520, 408, 200}, problem: "<html>no</html>", retryAfter: "7"}
	w := play(t, s, client.Options{})
	must(t, w.Record(t.Context(), someRows(3)))
	for i, r := range s.requests {
		if got := r.record(t); got.Retry != (i > 0) || len(got.Metadata) != 3 {
			t.Errorf("request %d: %+v", i, got)
		}
	}
	if len(s.requests) != 7 || w.waits[0] > time.Second || w.waits[1] < 7*time.Second {
		t.Errorf("%d requests, waits %v", len(s.requests), w.waits)
	}
	if len(w.said) != 2 || !strings.Contains(w.said[0], "is not available (HTTP 503 Service Unavailable)") ||
		!strings.Contains(w.said[1], "available again after 3") {
		t.Errorf("said: %q", w.said)
	}
}

// TestABlipIsNotTold: one lost connection is no news.
func TestABlipIsNotTold(t *testing.T) {
	w := play(t, &script{answers: []int{0, 200}}, client.Options{})
	must(t, w.Record(t.Context(), someRows(1)))
	if len(w.said) > 0 {
		t.Errorf("said: %q", w.said)
	}
}

// TestPatienceEnds: a service that is not there is told about at once and waited for as long as asked, once for all calls.
func TestPatienceEnds(t *testing.T) {
	h := httptest.NewServer(nil)
	h.Close()
	w := newWorld(t, client.Options{URL: strings.Replace(h.URL, "://", "://user:secret@", 1) + "/", Token: "tok"})
	err := w.Record(t.Context(), someRows(1))
	isError(t, err, metadata.ErrUnavailable)
	if w.slept() != 10*time.Minute || len(w.waits) < 60 || len(w.waits) > 120 {
		t.Errorf("slept %s in %d parts", w.slept(), len(w.waits))
	}
	for _, part := range []string{h.URL, "waited 10m0s", "connection refused"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in %v", part, err)
		}
	}
	if len(w.said) != 1 || !strings.Contains(w.said[0], h.URL) || !strings.Contains(w.said[0], "connection refused") {
		t.Errorf("said: %q", w.said)
	}
	for _, text := range append(w.said, err.Error()) {
		if strings.Contains(text, "secret") || strings.Contains(text, "tok") {
			t.Errorf("a secret is in %q", text)
		}
	}
	before := len(w.waits)
	_, err = w.Run(t.Context(), "F", "1")
	isError(t, err, metadata.ErrUnavailable)
	if len(w.waits) != before {
		t.Errorf("the same outage was waited for again: %v", w.waits[before:])
	}
	// Nothing was tried for an hour: nobody knows how the service is.
	w.clock = w.clock.Add(time.Hour)
	_, err = w.Run(t.Context(), "F", "1")
	isError(t, err, metadata.ErrUnavailable)
	if w.slept() != 20*time.Minute || len(w.said) != 2 {
		t.Errorf("slept %s, said %q", w.slept(), w.said)
	}
}

func TestUndeliveredRowsCanBeRepaired(t *testing.T) {
	s := &script{answers: []int{503}, problem: `{"code":"unavailable","message":"no database"}`}
	w := play(t, s, client.Options{Patience: 5 * time.Second})
	err := w.Record(t.Context(), someRows(1))
	isError(t, err, metadata.ErrUnavailable)
	if text := err.Error(); !strings.Contains(text, "`mf repair F/1`") || !strings.Contains(text, "no database") ||
		!strings.Contains(text, "waited 5s") {
		t.Error(err)
	}
	w = play(t, s, client.Options{Patience: -1})
	isError(t, w.UpdateRun(t.Context(), metadata.Run{FlowID: "F", RunID: "1"}), metadata.ErrUnavailable)
	if len(w.waits) != 0 {
		t.Errorf("waited %v without patience", w.waits)
	}
}

// TestCancelEndsTheWait: nobody waits for a service on behalf of a run that was stopped.
func TestCancelEndsTheWait(t *testing.T) {
	h := httptest.NewServer(&script{t: t, answers: []int{503}})
	defer h.Close()
	c, err := client.New(client.Options{URL: h.URL})
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err = c.Runs(ctx, metadata.RunQuery{})
	isError(t, err, context.DeadlineExceeded)
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
	why := errors.New("stopped by hand")
	hang := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer hang.Close()
	c, err = client.New(client.Options{URL: hang.URL})
	must(t, err)
	stopped, stop := context.WithCancelCause(t.Context())
	time.AfterFunc(50*time.Millisecond, func() { stop(why) })
	isError(t, c.Record(stopped, someRows(1)), why)
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		status    int
		problem   string
		token     string
		want      error
		text      string
		tries     int
		waitsThen bool
	}{
		{401, `{"code":"unauthorized","message":"who?"}`, "", metadata.ErrDenied, "MF_SERVICE_TOKEN", 1, false},
		{401, `{"code":"unauthorized","message":"expired"}`, "x", metadata.ErrDenied, "does not accept the token (expired)", 1, false},
		{403, `{"code":"forbidden","message":"flow G"}`, "x", metadata.ErrDenied, "METAFLOW_SERVICE_AUTH_KEY", 1, false},
		{404, `{"code":"not_found","message":"run F/1"}`, "", metadata.ErrNotFound, "run F/1", 1, false},
		{413, `<html>`, "", nil, "does not take a request of ", 1, false},
		{422, `{"code":"invalid_tag","message":"tag"}`, "", metadata.ErrInvalidTag, "tag", 1, false},
		{400, `{"code":"invalid","message":"a row has no flow"}`, "", nil, "a row has no flow", 1, false},
		{409, `{"code":"exists","message":"there"}`, "", metadata.ErrExists, "there", 1, false},
		{409, `{"code":"conflict","message":"again"}`, "", nil, "again", 30, false},
		{500, `{"code":"internal","message":"bug"}`, "", nil, "HTTP 500 Internal Server Error: bug", 3, false},
		{501, `no`, "", nil, "HTTP 501 Not Implemented: no", 1, false},
		{307, ``, "", nil, "redirects to", 1, false},
	} {
		s := &script{answers: []int{c.status}, problem: c.problem}
		w := play(t, s, client.Options{Token: c.token})
		err := w.Record(t.Context(), metadata.Batch{Metadata: someRows(1).Metadata})
		if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%d %s: %v", c.status, c.problem, err)
		}
		if errors.Is(err, metadata.ErrUnavailable) || len(s.requests) != c.tries || len(w.said) > 0 {
			t.Errorf("%d %s: %v; %d tries, said %q", c.status, c.problem, err, len(s.requests), w.said)
		}
	}
}

// TestLostAnswers: what was done already is not a failure because the service could not say so.
func TestLostAnswers(t *testing.T) {
	run := metadata.Run{FlowID: "F", RunID: "argo-x", UserName: "ada"}
	stored, err := json.Marshal(run)
	must(t, err)
	exists := `{"code":"exists","message":"run F/argo-x"}`
	for _, c := range []struct {
		answers []int
		user    string
		want    error
	}{
		{[]int{0, 409, 200}, "ada", nil},
		{[]int{503, 409, 200}, "ada", nil},
		{[]int{0, 409, 200}, "eve", metadata.ErrExists},
		{[]int{409, 200}, "ada", metadata.ErrExists},
	} {
		w := play(t, &script{answers: c.answers, problem: exists, body: string(stored)}, client.Options{})
		run.UserName = c.user
		got, err := w.CreateRun(t.Context(), run)
		if !errors.Is(err, c.want) || err == nil && got.RunID != run.RunID {
			t.Errorf("%v as %s: %+v, %v", c.answers, c.user, got, err)
		}
	}
	row := `{"flow_id":"F","run_number":"r","step_name":"s","task_id":"t-1","ts_epoch":5,"tags":null}`
	for _, answers := range [][]int{{0, 409, 200}, {409, 200}} {
		w := play(t, &script{answers: answers, problem: exists, body: row}, client.Options{})
		task, err := w.CreateTask(t.Context(), metadata.Task{FlowID: "F", RunID: "r", StepName: "s", TaskID: "t-1"})
		if lost := answers[0] == 0; lost && (err != nil || task.TsEpoch != 5) || !lost && !errors.Is(err, metadata.ErrExists) {
			t.Errorf("%v: %+v, %v", answers, task, err)
		}
	}
}

// TestBigBatches are written in parts that a service takes, parents first.
func TestBigBatches(t *testing.T) {
	s := &script{}
	w := play(t, s, client.Options{})
	must(t, w.Record(t.Context(), someRows(4500)))
	next := 0
	for i, r := range s.requests {
		got := r.record(t)
		if (len(got.Steps) == 1) != (i == 0) || (len(got.Tasks) == 1) != (i == 0) || r.header.Get("Content-Encoding") != "gzip" {
			t.Errorf("request %d: %d steps, %d tasks, %v", i, len(got.Steps), len(got.Tasks), r.header)
		}
		for _, m := range got.Metadata {
			if m.Value != fmt.Sprint(next) {
				t.Fatalf("value %s, want %d", m.Value, next)
			}
			next++
		}
	}
	if next != 4500 || len(s.requests) != 3 {
		t.Errorf("%d rows in %d requests", next, len(s.requests))
	}

	s = &script{}
	w = play(t, s, client.Options{})
	long := someRows(6)
	for i := range long.Metadata {
		long.Metadata[i].Value = strings.Repeat("x", 3<<20)
	}
	must(t, w.Record(t.Context(), long))
	if len(s.requests) != 3 {
		t.Errorf("18 MiB in %d requests", len(s.requests))
	}
	for _, r := range s.requests {
		if len(r.body) > 8<<20 {
			t.Errorf("a request of %d bytes", len(r.body))
		}
	}

	// A proxy before the service takes less than the service would.
	s = &script{answers: []int{413, 413, 200}, problem: "<html>"}
	w = play(t, s, client.Options{})
	must(t, w.Record(t.Context(), someRows(40)))
	total := 0
	for _, r := range s.requests[2:] {
		total += len(r.record(t).Metadata)
	}
	if total != 40 || len(s.requests) < 4 {
		t.Errorf("%d rows in %d requests", total, len(s.requests))
	}
}

func TestBeatIsTriedOnce(t *testing.T) {
	s := &script{answers: []int{503, 200}, body: `{"WaitSeconds":25}`}
	w := play(t, s, client.Options{})
	ref := metadata.TaskRef{Flow: "F", Run: "1", Step: "s", Task: "0"}
	_, err := w.Beat(t.Context(), "F", "1", []metadata.TaskRef{ref})
	isError(t, err, metadata.ErrUnavailable)
	wait, err := w.Beat(t.Context(), "F", "1", []metadata.TaskRef{ref})
	must(t, err)
	same(t, wait, 25*time.Second)
	same(t, string(s.requests[1].body), `{"Flow":"F","Run":"1","Tasks":[{"Step":"s","Task":"0"}]}`)
	if len(w.waits) > 0 || len(w.said) > 0 {
		t.Errorf("waited %v, said %q", w.waits, w.said)
	}
	h := httptest.NewServer(nil)
	h.Close()
	w = newWorld(t, client.Options{URL: h.URL})
	_, err = w.Beat(t.Context(), "F", "1", nil)
	isError(t, err, metadata.ErrUnavailable)
	if len(w.waits) > 0 {
		t.Errorf("waited %v", w.waits)
	}
}

// TestPathsAreEscaped: no name of a flow leads to another route.
func TestPathsAreEscaped(t *testing.T) {
	s := &script{body: "null"}
	w := play(t, s, client.Options{})
	_, err := w.Tasks(t.Context(), "..", "a/b?c#d", ".&=")
	must(t, err)
	same(t, s.requests[0].path+"?"+s.requests[0].query, "/mf/v1/flows/%2E%2E/runs/a%2Fb%3Fc%23d/tasks?step=.%26%3D")
}

func TestCredentials(t *testing.T) {
	s := &script{body: "[]"}
	w := play(t, s, client.Options{Token: " tok\n", APIKey: "key", Headers: map[string]string{"x-team": "a", "Host": "h.example"}})
	_, err := w.Runs(t.Context(), metadata.RunQuery{FlowID: "F", Status: metadata.Running, Tags: []string{"a", "b"}, Limit: 3})
	must(t, err)
	h := s.requests[0].header
	same(t, []string{h.Get("Authorization"), h.Get("X-Api-Key"), h.Get("X-Team"), s.requests[0].query},
		[]string{"Bearer tok", "key", "a", "flow=F&limit=3&status=running&tag=a&tag=b"})

	basic := httptest.NewServer(s)
	defer basic.Close()
	w = newWorld(t, client.Options{URL: strings.Replace(basic.URL, "://", "://user:p%40ss@", 1)})
	_, err = w.Runs(t.Context(), metadata.RunQuery{})
	must(t, err)
	same(t, s.requests[1].header.Get("Authorization"), "Basic dXNlcjpwQHNz")
}

func TestBadOptions(t *testing.T) {
	for text, o := range map[string]client.Options{
		"has no URL":                        {},
		`"localhost:8080" must be like`:     {URL: "localhost:8080"},
		"URL must be like":                  {URL: "ftp://u:secret@h"},
		"must have no ?":                    {URL: "http://h/?a=secret@"},
		`header "X-Api-Key" has`:            {URL: "http://h", APIKey: "a\nsecret"},
		`header "a b" has`:                  {URL: "http://h", Headers: map[string]string{"a b": "secret"}},
		"reading the metadata service's CA": {URL: "http://h", CAFile: "/none.pem"},
		"has no PEM certificate":            {URL: "http://h", CAFile: "client_test.go"},
		"cannot be combined":                {URL: "http://h", CAFile: "x", HTTP: http.DefaultClient},
	} {
		if _, err := client.New(o); err == nil || !strings.Contains(err.Error(), text) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
