package client

import (
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// TestErrorsOfMetaflow reads what Metaflow's service answers with.
func TestErrorsOfMetaflow(t *testing.T) {
	for _, c := range []struct {
		body       string
		away, sure bool
		message    string
	}{
		{`"{\"err_msg\": {\"pgerror\": null, \"pgcode\": null, \"diag\": {\"severity\": null}}}"`, true, true, ""},
		{`"{\"err_msg\": {\"type\": \"timeout error\"}}"`, true, true, ""},
		{`"{\"err_msg\": {\"pgerror\": \"FATAL\", \"pgcode\": \"57P01\", \"diag\": null}}"`, true, true, ""},
		{`"{\"err_msg\": {\"pgcode\": \"22003\", \"diag\": {}}}"`, false, true, `{"err_msg": {"pgcode": "22003", "diag": {}}}`},
		{`"{\"err_msg\": \"'run_number'\"}"`, false, false, `{"err_msg": "'run_number'"}`},
		{
			`{"traceback":"long","detail":"provided run_id may not be a numeric","status":500,"title":"x"}`, false, false,
			"provided run_id may not be a numeric",
		},
		{`{"message": "need to register run_id and task_id first"}`, false, false, "need to register run_id and task_id first"},
		{`{}`, false, false, ""},
		{"500 Internal Server Error\n\nServer got itself in trouble", false, false, "500 Internal Server Error Server got itself in trouble"},
		{strings.Repeat("ä", 400), false, false, strings.Repeat("ä", 300) + "..."},
	} {
		if away, sure := tellsDatabaseAway([]byte(c.body)); away != c.away || sure != c.sure {
			t.Errorf("%s: away %t, sure %t", c.body, away, sure)
		}
		if _, message := problem(http.Header{}, []byte(c.body)); !c.away && message != c.message {
			t.Errorf("%s: message %q", c.body, message)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "-1": 0, "1e9": 0, "99999999": 0, "soon": 0,
		"Fri, 02 Jan 2026 03:05:05 GMT": time.Minute, "Fri, 02 Jan 2026 03:03:05 GMT": 0,
	} {
		if got := retryAfter(http.Header{"Retry-After": {text}}, now); got != want {
			t.Errorf("%q: %s", text, got)
		}
	}
}

// FuzzErrorBodies: whatever an error's body is, the message is one short line.
func FuzzErrorBodies(f *testing.F) {
	for _, body := range []string{
		`{"code":"invalid","message":"a\nb"}`, `"{\"err_msg\": {\"pgcode\": \"5\"}}"`, "<html>\x00\xff", `{"detail":"x"}`, "null", "[]",
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		tellsDatabaseAway(body)
		_, message := problem(http.Header{}, body)
		if strings.ContainsAny(message, "\r\n\t") || !utf8.ValidString(message) || utf8.RuneCountInString(message) > 303 {
			t.Errorf("%q: %q", body, message)
		}
	})
}
