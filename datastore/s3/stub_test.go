package s3_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/s3"
)

// stub opens the datastore on a server that answers as the test wants, as stores do that no test can have.
func stub(t *testing.T, answer http.HandlerFunc) *s3.Backend {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	b, err := s3.Open(t.Context(), "s3://bucket/root", s3.Options{
		Endpoint: server.URL, Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider("key", "top-secret", ""),
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", code, message)
}

// What AWS says, and what the user reads.
func TestExplainedErrors(t *testing.T) {
	for _, c := range []struct {
		status        int
		code, message string
		region        string
		want          string
	}{
		{301, "PermanentRedirect", "The bucket you are attempting to access must be addressed using the specified endpoint.", "eu-west-1", `in region eu-west-1, the requests went to us-east-1: set AWS_REGION=eu-west-1`},
		{301, "PermanentRedirect", "elsewhere", "", "set AWS_REGION to the bucket's"},
		{400, "AuthorizationHeaderMalformed", "The authorization header is malformed; the region 'us-east-1' is wrong; expecting 'ap-south-1'", "", "set AWS_REGION=ap-south-1"},
		{400, "ExpiredToken", "The provided token has expired.", "", "log in again"},
		{403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.", "", "AWS_ACCESS_KEY_ID"},
		{403, "SignatureDoesNotMatch", "The request signature we calculated does not match", "", "AWS_SECRET_ACCESS_KEY"},
		{403, "InvalidToken", "The provided token is malformed", "", "AWS_SESSION_TOKEN"},
		{403, "AccessDenied", "User: arn:x is not authorized to perform: s3:PutObject", "", "s3:PutObject"},
		{403, "RequestTimeTooSkewed", "The difference between the request time and the current time is too large.", "", "clock"},
		{404, "NoSuchBucket", "The specified bucket does not exist", "", `there is no bucket "bucket"`},
		{403, "", "", "", "refuses the credentials"},
	} {
		b := stub(t, func(w http.ResponseWriter, r *http.Request) {
			if c.region != "" {
				w.Header().Set("X-Amz-Bucket-Region", c.region)
			}
			if c.code == "" {
				w.WriteHeader(c.status)
				return
			}
			refuse(w, c.status, c.code, c.message)
		})
		err := b.Put(t.Context(), "k", strings.NewReader("x"), datastore.PutOptions{})
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "writing s3://bucket/root/k: ") || strings.Contains(err.Error(), "top-secret") {
			t.Errorf("%s: %v, want %q", c.code, err, c.want)
		}
	}
}

// An overloaded store is asked again.
func TestPassingErrors(t *testing.T) {
	for _, c := range []struct {
		status int
		code   string
	}{{503, "SlowDown"}, {500, "InternalError"}, {400, "RequestTimeout"}, {409, "OperationAborted"}, {429, ""}, {502, ""}} {
		var asked atomic.Int32
		b := stub(t, func(w http.ResponseWriter, r *http.Request) {
			if asked.Add(1) < 4 {
				refuse(w, c.status, c.code, "later")
			}
		})
		if err := b.Put(t.Context(), "k", strings.NewReader("x"), datastore.PutOptions{}); err != nil || asked.Load() != 4 {
			t.Errorf("%d %s: %v after %d requests", c.status, c.code, err, asked.Load())
		}
	}
}

// plain is a store without conditions and checksums: it refuses or ignores them.
type plain struct {
	refuse  bool
	mu      sync.Mutex
	objects map[string][]byte
}

func (p *plain) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch r.Method {
	case http.MethodPut:
		body, _ := io.ReadAll(r.Body)
		if strings.Contains(r.Header.Get("Content-Encoding"), "aws-chunked") {
			refuse(w, 501, "NotImplemented", "chunked")
			return
		}
		if p.refuse && (r.Header.Get("If-None-Match") != "" || r.Header.Get("X-Amz-Checksum-Crc32") != "") {
			refuse(w, 501, "NotImplemented", "A header you provided implies functionality that is not implemented.")
			return
		}
		p.objects[r.URL.Path] = body
	case http.MethodGet:
		body, ok := p.objects[r.URL.Path]
		if !ok {
			refuse(w, 404, "NoSuchKey", "")
			return
		}
		_, _ = w.Write(body) // without regard to ranges
	}
}

func TestPlainStores(t *testing.T) {
	for _, refuses := range []bool{false, true} {
		p := &plain{refuse: refuses, objects: map[string][]byte{}}
		b := stub(t, p.ServeHTTP)
		for _, body := range []string{"one", "two"} {
			if err := b.Put(t.Context(), "k", strings.NewReader(body), datastore.PutOptions{IfAbsent: true}); err != nil {
				t.Fatalf("Put on a store that refuses (%v): %v", refuses, err)
			}
		}
		r, _, err := b.Get(t.Context(), "k")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || string(got) != "one" {
			t.Errorf("the object holds %q, %v", got, err)
		}
	}
}

// A connection that breaks in the middle of a body is taken up where it was.
func TestBrokenConnectionIsResumed(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789"), 2<<20)
	var asked atomic.Int32
	b := stub(t, func(w http.ResponseWriter, r *http.Request) {
		var from, to int
		if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &from, &to); err != nil {
			t.Errorf("range %q", r.Header.Get("Range"))
		}
		to = min(to, len(body)-1)
		if n := asked.Add(1); n > 1 && r.Header.Get("If-Match") != `"tag"` {
			t.Error("a part was asked for whatever the object is by now")
		}
		w.Header().Set("ETag", `"tag"`)
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to, len(body)))
		w.Header().Set("Content-Length", fmt.Sprint(to-from+1))
		w.WriteHeader(http.StatusPartialContent)
		if to-from > 3<<20 {
			_, _ = w.Write(body[from : from+1<<20])
			panic(http.ErrAbortHandler)
		}
		_, _ = w.Write(body[from : to+1])
	})
	r, _, err := b.Get(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, body) {
		t.Errorf("read %d bytes of %d, %v", len(got), len(body), err)
	}
	if asked.Load() < 10 {
		t.Errorf("%d requests", asked.Load())
	}
}
