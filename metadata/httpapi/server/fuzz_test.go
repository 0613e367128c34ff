package server

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// FuzzRequest holds the server to answering whatever it is sent: no panic, no 5xx but the 500s that malformed input is
// documented to get, and JSON where JSON is promised.
func FuzzRequest(f *testing.F) {
	for _, seed := range [][4]string{
		{"GET", "/flows/F/runs/1", "", ""}, {"POST", "/flows/F%2F", "", `{"tags":[]}`}, {"PATCH", "/flows/F/runs/1/tag/mutate", "", `{"tags_to_add":["x"]}`},
		{"GET", "/flows/F/runs", "_limit=3&_cursor=e30%3D&user_name:co=x,null&_tags:any=a,b", ""},
		{"POST", "/flows/F/runs/1/steps/s/tasks/1/metadata", "", `[{"field_name":"a","value":5},{}]`},
		{"POST", "/flows/F/runs/1/steps/s/tasks/1/artifact", "", `[{"name":"a","attempt_id":"1","tags":{"a":[1]}}]`},
		{"GET", "/flows/F/runs/1/steps/s/tasks/1/artifacts/a/attempt/0", "", ""}, {"GET", "/flows/F/runs/1/steps/s/filtered_tasks", "pattern=(a", ""},
		{"POST", "/mf/v1/record", "", `{"Steps":[{"FlowID":"F","RunID":"1","StepName":"s"}],"Retry":true}`},
		{"PUT", "/mf/v1/flows/F/runs/1", "", `{"Status":"failed"}`}, {"GET", "/mf/v1/runs", "flow=F&limit=1&tag=", ""},
		{"POST", "/flows/F/run", "", `{"run_number":"r","user_name":null,"system_tags":["metaflow_version:2.1"]}`},
		{"POST", "/flows/F/run", "", "{\"a\":\"\\ud800\",\"tags\":[\"\\u0000\"]}"}, {"GET", "/flows/²/runs/²", "a=%zz;b", ""},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3])
	}
	f.Fuzz(func(t *testing.T, method, path, query, body string) {
		if strings.ContainsAny(method, " \t\r\n") || method == "" {
			return
		}
		r := httptest.NewRequest("GET", "http://service/", strings.NewReader(body))
		u, err := r.URL.Parse("/" + strings.TrimPrefix(path, "/"))
		if err != nil {
			return
		}
		u.RawQuery = query
		r.Method, r.URL = method, u
		a := newAPI(t, Config{DB: newMemDB(), Store: newMemStore()})
		started(a)
		s := httptest.NewRecorder()
		a.h.ServeHTTP(s, r)
		if s.Code > 500 || s.Code < 200 {
			t.Fatalf("status %d: %s", s.Code, s.Body)
		}
		if strings.Contains(s.Body.String(), "log tells more") {
			t.Fatalf("an internal error: %s", s.Body)
		}
		if !utf8.Valid(s.Body.Bytes()) {
			t.Fatalf("no UTF-8: %q", s.Body)
		}
		if s.Code == 200 && !strings.HasPrefix(u.Path, "/version") && !strings.HasPrefix(u.Path, "/metrics") && !strings.HasPrefix(u.Path, "/ping") && !json.Valid(s.Body.Bytes()) {
			t.Fatalf("no JSON: %s", s.Body)
		}
	})
}

// FuzzScan holds the scanner of bodies to encoding/json.
func FuzzScan(f *testing.F) {
	for _, seed := range []string{`{"a":1,"b":[true,null],"c":"x\"y\\","d":{"e":-1.5e3}}`, `[1,"a",[2,{"b":3}]]`, ` [ ] `, `{}`, `"\u00fc\ud83d\ude00"`, `{"a":1,"a":2}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		body := []byte(text)
		if checkJSON(body) != nil {
			eachElement(body, func([]byte) bool { return true }) // comes to an end
			eachMember(body, func(string, []byte) {})
			return
		}
		var object map[string]json.RawMessage
		if json.Unmarshal(body, &object) == nil && object != nil {
			got := map[string]json.RawMessage{}
			eachMember(body, func(name string, v []byte) { got[name] = v })
			if diff := cmp.Diff(object, got); diff != "" {
				t.Fatal(diff)
			}
		}
		var array []json.RawMessage
		if json.Unmarshal(body, &array) == nil && len(array) > 0 {
			var got []json.RawMessage
			eachElement(body, func(v []byte) bool { got = append(got, v); return true })
			if diff := cmp.Diff(array, got); diff != "" {
				t.Fatal(diff)
			}
		}
		var s string
		if raw := skipSpace(body); kind(raw) == '"' && json.Unmarshal(body, &s) == nil {
			value, _ := cutValue(body)
			if got := unquote(value); got != s {
				t.Fatalf("%q, want %q", got, s)
			}
		}
	})
}

// FuzzString holds the encoder of texts to encoding/json.
func FuzzString(f *testing.F) {
	f.Add("a\"b\\c\n\t\x01ü\xff\u2028")
	f.Fuzz(func(t *testing.T, text string) {
		var got string
		if err := json.Unmarshal(appendString(nil, text), &got); err != nil || got != strings.ToValidUTF8(text, "\ufffd") && utf8.ValidString(text) {
			t.Fatalf("%q became %q: %v", text, got, err)
		}
	})
}
