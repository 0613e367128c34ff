package server

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// nobody is a response that is thrown away.
type nobody struct{ head http.Header }

func (n *nobody) Header() http.Header         { return n.head }
func (n *nobody) Write(p []byte) (int, error) { return len(p), nil }
func (n *nobody) WriteHeader(int)             {}

// BenchmarkHandler measures what the service adds to net/http and the database, which is memory here.
func BenchmarkHandler(b *testing.B) {
	s := New(Config{DB: newMemDB(), Store: newMemStore()})
	h := s.Handler()
	call := func(method, path, body string) {
		r := httptest.NewRequest(method, "http://service"+path, strings.NewReader(body))
		h.ServeHTTP(&nobody{http.Header{}}, r)
	}
	call("POST", "/flows/F", "{}")
	call("POST", "/flows/F/run", `{"user_name":"ann",`+tags+`}`)
	call("POST", "/flows/F/runs/1/steps/start/step", `{}`)
	call("POST", "/flows/F/runs/1/steps/start/task", `{}`)
	var list []string
	for i := range 20 {
		list = append(list, fmt.Sprintf(`{"name":"artifact-%d","location":":root:s3://bucket/prefix","ds_type":"s3","sha":"0123456789012345678901234567890123456789","type":"metaflow.artifact","content_type":"pickle-v4","user_name":"ann","attempt_id":0,%s}`, i, tags))
	}
	artifacts := "[" + strings.Join(list, ",") + "]"
	call("POST", "/flows/F/runs/1/steps/start/tasks/1/artifact", artifacts)
	for _, c := range []struct{ name, method, path, body string }{
		{"GetRun", "GET", "/flows/F/runs/1", ""},
		{"GetArtifacts20", "GET", "/flows/F/runs/1/steps/start/tasks/1/artifacts", ""},
		{"PostArtifacts20", "POST", "/flows/F/runs/1/steps/start/tasks/1/artifact", artifacts},
		{"Heartbeat", "POST", "/flows/F/runs/1/steps/start/tasks/1/heartbeat", "{}"},
	} {
		b.Run(c.name, func(b *testing.B) {
			u, err := url.Parse("http://service" + c.path)
			if err != nil {
				b.Fatal(err)
			}
			body := strings.NewReader(c.body)
			r := httptest.NewRequest(c.method, u.String(), body)
			w := &nobody{http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				body.Reset(c.body)
				h.ServeHTTP(w, r)
			}
		})
	}
}
