package gs_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/gs"
)

// fixed is a token source with one answer.
type fixed struct {
	token string
	err   error
}

func (f fixed) Token() (*oauth2.Token, error) {
	if f.err != nil {
		return nil, f.err
	}
	return &oauth2.Token{AccessToken: f.token, Expiry: time.Now().Add(time.Hour)}, nil
}

// open returns a datastore on a server with the given handler.
func open(t *testing.T, source oauth2.TokenSource, handler http.HandlerFunc) *gs.Backend {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	b, err := gs.Open(t.Context(), "gs://the-bucket/p", gs.Options{
		Endpoint: strings.TrimPrefix(s.URL, "http://"), TokenSource: source, Patience: time.Second, PartSize: 256 << 10,
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// every operation of a backend, for errors that all of them meet.
func every(ctx context.Context, b *gs.Backend) map[string]error {
	all := map[string]error{
		"put":       b.Put(ctx, "k", strings.NewReader("x"), datastore.PutOptions{}),
		"put large": b.Put(ctx, "k", bytes.NewReader(make([]byte, 1<<20)), datastore.PutOptions{}),
		"remove":    b.Remove(ctx, "k"),
	}
	_, _, all["get"] = b.Get(ctx, "k")
	_, all["exists"] = b.Exists(ctx, "k")
	_, all["copy"] = b.Copy(ctx, "k", "to")
	for _, err := range b.List(ctx, "") {
		all["list"] = err
	}
	return all
}

func answer(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// jsonError is an error as the JSON API has it.
func jsonError(status int, message string) http.HandlerFunc {
	text, _ := json.Marshal(map[string]any{"error": map[string]any{"code": status, "message": message}})
	return answer(status, string(text))
}

func TestErrorsSayWhatToDo(t *testing.T) {
	for name, c := range map[string]struct {
		source  oauth2.TokenSource
		handler http.HandlerFunc
		want    []string
	}{
		"no bucket":  {fixed{token: "TOKEN"}, jsonError(404, "The specified bucket does not exist."), []string{`no bucket "the-bucket"`, "buckets create gs://the-bucket"}},
		"bare 404":   {fixed{token: "TOKEN"}, answer(404, ""), []string{`no bucket "the-bucket"`}},
		"xml 404":    {fixed{token: "TOKEN"}, answer(404, "<?xml version='1.0'?><Error><Code>NoSuchBucket</Code><Message>The specified bucket does not exist.</Message></Error>"), []string{"no bucket"}},
		"denied":     {fixed{token: "TOKEN"}, jsonError(403, "x@y.iam does not have storage.objects.get access"), []string{"no permission", "x@y.iam", "roles/storage.objectUser", "the-bucket"}},
		"expired":    {fixed{token: "TOKEN"}, jsonError(401, "Invalid Credentials"), []string{"not accepted (Invalid Credentials)", "gcloud auth application-default login"}},
		"anonymous":  {nil, jsonError(401, "Anonymous caller does not have access"), []string{"without credentials", "GOOGLE_APPLICATION_CREDENTIALS"}},
		"no token":   {fixed{err: &oauth2.RetrieveError{Response: &http.Response{StatusCode: 400}, ErrorCode: "invalid_grant", Body: []byte("SECRET")}}, answer(200, ""), []string{"invalid_grant", "gcloud auth"}},
		"token 503":  {fixed{err: &oauth2.RetrieveError{Response: &http.Response{StatusCode: 503}, Body: []byte("SECRET")}}, answer(200, ""), []string{"has not answered for", "the token server of Google answered 503"}},
		"outage":     {fixed{token: "TOKEN"}, answer(503, ""), []string{"has not answered for 1s", "503"}},
		"odd answer": {fixed{token: "TOKEN"}, answer(418, "<html>teapot</html>"), []string{"418"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := open(t, c.source, c.handler)
			for what, err := range every(t.Context(), b) {
				if err == nil {
					t.Errorf("%s gives no error", what)
					continue
				}
				for _, want := range append(c.want, "gs://the-bucket/p") {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("%s: %q does not say %q", what, err, want)
					}
				}
				for _, secret := range []string{"TOKEN", "SECRET"} {
					if strings.Contains(err.Error(), secret) {
						t.Errorf("%s: %q holds a secret", what, err)
					}
				}
			}
		})
	}
}

func TestTokenIsSent(t *testing.T) {
	var seen string
	b := open(t, fixed{token: "abc"}, func(w http.ResponseWriter, r *http.Request) {
		seen = r.Header.Get("Authorization")
		_, _ = io.WriteString(w, `{"generation": "1"}`)
	})
	if ok, err := b.Exists(t.Context(), "k"); !ok || err != nil || seen != "Bearer abc" {
		t.Errorf("Exists = %v, %v with %q", ok, err, seen)
	}
}

func TestAbsentWithoutBucketRights(t *testing.T) {
	// Who may read objects may not be allowed to list them.
	b := open(t, nil, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/o") {
			w.WriteHeader(403)
			return
		}
		w.WriteHeader(404)
	})
	if _, _, err := b.Get(t.Context(), "k"); !errors.Is(err, datastore.ErrNotFound) {
		t.Errorf("Get = %v", err)
	}
}

func TestRoots(t *testing.T) {
	for in, want := range map[string]string{
		"gs://bucket": "gs://bucket", "gs://bucket/": "gs://bucket", "gs://my.bucket_1/a/b/": "gs://my.bucket_1/a/b",
	} {
		b, err := gs.Open(t.Context(), in, gs.Options{Endpoint: "http://localhost:1"})
		if err != nil || b.Root() != want || b.Type() != "gs" {
			t.Errorf("Open(%q) has root %q, %v, want %q", in, b.Root(), err, want)
		}
	}
	for _, bad := range []string{"", "gs://", "bucket/x", "s3://bucket", "gs://B", "gs://ab", "gs://buc ket/x", "gs://bucket/a//b", "gs://bucket/../x", "gs://bucket/a?b", "gs://bucket/a#b"} {
		if _, err := gs.Open(t.Context(), bad, gs.Options{Endpoint: "http://localhost:1"}); err == nil {
			t.Errorf("Open(%q) was accepted", bad)
		}
	}
	for _, bad := range []string{"ftp://x", "http://", "://", "http://a b"} {
		if _, err := gs.Open(t.Context(), "gs://bucket", gs.Options{Endpoint: bad}); err == nil || !strings.Contains(err.Error(), "http://localhost:4443") {
			t.Errorf("endpoint %q: %v", bad, err)
		}
	}
}

func TestNoCredentials(t *testing.T) {
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "/no/such/file")
	if _, err := gs.Open(t.Context(), "gs://bucket", gs.Options{}); err == nil || !strings.Contains(err.Error(), "gcloud auth application-default login") {
		t.Errorf("Open without credentials: %v", err)
	}
}

func TestCorrupt(t *testing.T) {
	b := open(t, nil, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Goog-Hash", "md5=AAAA")
		w.Header().Add("X-Goog-Hash", "crc32c=AAAAAA==")
		_, _ = io.WriteString(w, "bytes")
	})
	r, _, err := b.Get(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if data, err := io.ReadAll(r); !errors.Is(err, datastore.ErrCorrupt) {
		t.Errorf("read %q, %v, want ErrCorrupt", data, err)
	}
}

func TestGenerationIsPinned(t *testing.T) {
	var asked []string
	b := open(t, nil, func(w http.ResponseWriter, r *http.Request) {
		if g := r.URL.Query().Get("generation"); g != "" {
			asked = append(asked, g)
			w.WriteHeader(404) // replaced since
			return
		}
		w.Header().Set("X-Goog-Generation", "77")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(make([]byte, 300<<10)))
	})
	r, _, err := b.Get(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	n, err := io.Copy(io.Discard, r)
	if err == nil || !strings.Contains(err.Error(), "replaced or removed while it was read") || n != 256<<10 {
		t.Errorf("read %d bytes, %v", n, err)
	}
	if fmt.Sprint(asked) != "[77]" {
		t.Errorf("asked for generations %v", asked)
	}
}
