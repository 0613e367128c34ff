package server

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/httpapi"
)

func sortedTexts(list []string) []string {
	slices.Sort(list)
	return list
}

func TestUnknownRoutes(t *testing.T) {
	a := newAPI(t, Config{DB: newMemDB(), Store: newMemStore()})
	for _, path := range []string{"/", "/nothing", "/flows/", "/flows/F/", "//flows", "/flows//runs", "/flows/F/runs/1/steps/s/tasks/", "/ping/",
		"/flows/../ping", "/mf/v1", "/mf/v1/", strings.Repeat("/x", 40), "/flows/F%2Fruns/"} {
		got := a.text("GET", path, "", 404, "404: Not Found")
		if versionOf(got.head) != nil {
			t.Errorf("%s has a version header", path)
		}
	}
	for _, c := range [][3]string{
		{"DELETE", "/flows/F", "GET,POST"}, {"HEAD", "/ping", "GET"}, {"OPTIONS", "/flows", "GET"}, {"GET", "/flows/F/run", "POST"},
		{"POST", "/flows/F/runs/1/tag/mutate", "PATCH"}, {"DELETE", "/mf/v1/flows/F/runs/1", "GET,PUT"}, {"BREW", "/healthcheck", "GET"},
	} {
		if got := a.text(c[0], c[1], "", 405, "405: Method Not Allowed"); got.head.Get("Allow") != c[2] {
			t.Errorf("%s %s: Allow %q, want %q", c[0], c[1], got.head.Get("Allow"), c[2])
		}
	}
	a.text("GET", "/flows/%FF", "", 400, "400: ")
	a.text("POST", "/flows/a%00b", "{}", 400, "400: ")
}

func TestPathPrefix(t *testing.T) {
	a := newAPI(t, Config{DB: newMemDB(), Store: newMemStore(), PathPrefix: "meta/flow"})
	a.text("GET", "/meta/flow/ping", "", 200, "pong")
	a.text("GET", "/meta/flow", "", 404, "")
	a.text("GET", "/ping", "", 404, "")
	a.text("GET", "/meta/flowping", "", 404, "")
	a.want("POST", "/meta/flow/flows/a%2Fb", "{}", 200, "")
}

func TestAdmin(t *testing.T) {
	db := newMemDB()
	var down atomic.Bool
	db.fault = func(context.Context) error {
		if down.Load() {
			return fmt.Errorf("dialing: %w", metadata.ErrUnavailable)
		}
		return nil
	}
	a := newAPI(t, Config{DB: db, Store: newMemStore(), Version: "1.2.3"})
	if got := a.text("GET", "/ping", "", 200, "pong"); versionOf(got.head)[0] != "2.5.1" {
		t.Error(got.head)
	}
	if got := a.text("GET", "/version", "", 200, "2.5.1"); versionOf(got.head) != nil {
		t.Error(got.head)
	}
	got := a.want("GET", "/healthcheck", "", 200, `"{\"status\": \"UP\"}"`)
	if got.head.Get("Content-Type") != "application/json" {
		t.Error(got.head)
	}
	a.want("GET", "/auth/token", "", 500, `{"err_msg":"<any>","traceback":"<any>"}`)
	a.want("GET", "/mf/v1/info", "", 200, `{"api":1,"mf":"1.2.3"}`)

	down.Store(true)
	a.want("GET", "/healthcheck", "", 503, `"{\"status\": \"DOWN\"}"`)
	a.text("GET", "/ping", "", 200, "pong")
	for _, c := range [][3]string{
		{"GET", "/flows", ""}, {"POST", "/flows/F", "{}"}, {"GET", "/flows/F/runs/1", ""}, {"POST", "/flows/F/runs/1/heartbeat", ""},
		{"PATCH", "/flows/F/runs/1/tag/mutate", "{}"}, {"POST", "/flows/F/runs/1/steps/s/tasks/1/metadata", "[{}]"},
		{"GET", "/flows/F/runs/1/steps/s/tasks/1/artifacts", ""}, {"GET", "/flows/F/runs/1/steps/s/filtered_tasks", ""},
	} {
		got := a.want(c[0], c[1], c[2], 503, "")
		if got.head.Get("Retry-After") == "" {
			t.Errorf("%v: no Retry-After", c)
		}
	}
	metrics := a.text("GET", "/metrics", "", 200, `mf_service_requests_total{method="GET",route="/flows/{flow}/runs/{run}",status="503"} 1`)
	for _, want := range []string{"mf_service_request_seconds_bucket", "mf_service_requests_in_flight 1", `mf_service_database_errors_total{code="unavailable"}`,
		"go_goroutines", "process_open_fds"} {
		if !strings.Contains(metrics.body, want) {
			t.Errorf("no %s in the metrics", want)
		}
	}
}

func TestConflictIsTold(t *testing.T) {
	a := newAPI(t, Config{DB: newMemDB(), Store: newMemStore()})
	run, _ := started(a)
	var group sync.WaitGroup
	var conflicts atomic.Int64
	for i := range 50 {
		group.Go(func() {
			for {
				got := a.do("PATCH", "/flows/F/runs/"+run+"/tag/mutate", fmt.Sprintf(`{"tags_to_add":["t%d"]}`, i))
				if got.status == http.StatusOK {
					return
				}
				if got.status != http.StatusConflict || got.body != `"Conflicting concurrent tag mutation, please retry"` {
					t.Errorf("%d %s", got.status, got.body)
					return
				}
				conflicts.Add(1)
			}
		})
	}
	group.Wait()
	got := a.want("GET", "/flows/F/runs/"+run, "", 200, "")
	for i := range 50 {
		if !strings.Contains(got.body, fmt.Sprintf(`"t%d"`, i)) {
			t.Errorf("tag %d was lost", i)
		}
	}
}

func TestPanicIsAnError(t *testing.T) {
	db := newMemDB()
	db.fault = func(context.Context) error { panic("boom") }
	s := New(Config{DB: db, Store: newMemStore()})
	a := &api{t: t, h: s.Handler()}
	got := a.want("GET", "/flows", "", 500, "")
	if strings.Contains(got.body, "boom") {
		t.Error(got.body)
	}
	a.text("GET", "/metrics", "", 200, "mf_service_panics_total 1")
	db.fault = nil
	a.want("GET", "/flows", "", 200, "[]")
}

// hidden is an error that no answer may tell.
type hidden struct{}

func (hidden) Error() string { return "password=secret" }

func TestErrorsTellNoSecrets(t *testing.T) {
	db := newMemDB()
	db.fault = func(context.Context) error { return hidden{} }
	a := newAPI(t, Config{DB: db, Store: newMemStore()})
	for _, path := range []string{"/flows", "/flows/F/runs/1"} {
		if got := a.want("GET", path, "", 500, ""); strings.Contains(got.body, "secret") {
			t.Error(got.body)
		}
	}
}

func TestCheckListen(t *testing.T) {
	for _, c := range []struct {
		addr             string
		tokens, insecure bool
		ok               bool
	}{
		{"127.0.0.1:8080", false, false, true}, {"127.8.9.1:0", false, false, true}, {"[::1]:8080", false, false, true},
		{"localhost:1", false, false, true}, {"[::ffff:127.0.0.1]:1", false, false, true},
		{"0.0.0.0:8080", false, false, false}, {":8080", false, false, false}, {"[::]:8080", false, false, false},
		{"10.0.0.5:80", false, false, false}, {"metadata.example.com:80", false, false, false}, {"localhost.example.com:80", false, false, false},
		{"0.0.0.0:8080", true, false, true}, {"0.0.0.0:8080", false, true, true}, {"nonsense", true, true, false},
	} {
		err := CheckListen(c.addr, c.tokens, c.insecure)
		if (err == nil) != c.ok {
			t.Errorf("%+v: %v", c, err)
		}
		if err != nil && c.addr != "nonsense" && (!strings.Contains(err.Error(), "mf service token create") || !strings.Contains(err.Error(), "--insecure")) {
			t.Errorf("the message names no way out: %v", err)
		}
	}
}

// versionOf returns the header as it was sent, in capitals.
func versionOf(head http.Header) []string {
	key := httpapi.VersionHeader
	return head[key]
}
