package s3_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/s3"
	"github.com/mf-run/mf/internal/testserver"
)

// messages collects what a backend tells.
type messages struct {
	mu   sync.Mutex
	list []string
}

func (m *messages) add(text string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.list = append(m.list, text)
}

func (m *messages) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return strings.Join(m.list, "\n")
}

// What is under way when the store goes away, and what comes while it is away, ends well once it is back.
func TestOutageIsWaitedOut(t *testing.T) {
	ctx := t.Context()
	server := testserver.StartS3(t)
	var told messages
	b := open(t, server.Bucket(t), func(o *s3.Options) { o.Notify = told.add })
	large := bytes.Repeat([]byte("0123456789abcdef"), 40<<20/16)
	if err := b.Put(ctx, "large", bytes.NewReader(large), datastore.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	reader, _, err := b.Get(ctx, "large")
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	var wg sync.WaitGroup
	// A body that the outage meets half way.
	pr, pw := io.Pipe()
	wg.Go(func() {
		if err := b.Put(ctx, "piped", pr, datastore.PutOptions{IfAbsent: true}); err != nil {
			t.Errorf("Put that was under way: %v", err)
		}
	})
	half := len(large) / 2
	if _, err := pw.Write(large[:half]); err != nil {
		t.Fatal(err)
	}
	server.Stop()
	wg.Go(func() {
		_, err := pw.Write(large[half:])
		pw.CloseWithError(err)
	})
	wg.Go(func() {
		if data, err := io.ReadAll(reader); err != nil || !bytes.Equal(data, large) {
			t.Errorf("a reader that was open read %d bytes, %v", len(data), err)
		}
	})
	for i := range 8 {
		wg.Go(func() {
			key := fmt.Sprint("small/", i)
			if err := b.Put(ctx, key, strings.NewReader(key), datastore.PutOptions{}); err != nil {
				t.Errorf("Put during the outage: %v", err)
			}
			if ok, err := b.Exists(ctx, key); err != nil || !ok {
				t.Errorf("Exists during the outage = %v, %v", ok, err)
			}
		})
	}
	for deadline := time.Now().Add(time.Minute); told.String() == "" && time.Now().Before(deadline); {
		time.Sleep(50 * time.Millisecond)
	}
	server.Start()
	wg.Wait()
	for key, want := range map[string][]byte{"piped": large, "small/3": []byte("small/3")} {
		r, _, err := b.Get(ctx, key)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v, want %d", key, len(got), err, len(want))
		}
		r.Close()
	}
	if text := told.String(); strings.Count(text, "does not answer") != 1 || strings.Count(text, "answers again") != 1 || !strings.Contains(text, "refused") {
		t.Errorf("told:\n%s", text)
	}
}

func TestPatienceEnds(t *testing.T) {
	server := testserver.StartS3(t)
	bucket := server.Bucket(t)
	b := open(t, bucket, func(o *s3.Options) { o.Patience = 700 * time.Millisecond })
	if err := b.Put(t.Context(), "k", strings.NewReader("x"), datastore.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	server.Stop()
	began := time.Now()
	_, err := b.Exists(t.Context(), "k")
	if err == nil || !strings.Contains(err.Error(), "has not answered for 700ms") || !strings.Contains(err.Error(), "refused") {
		t.Errorf("Exists = %v", err)
	}
	if took := time.Since(began); took < 700*time.Millisecond || took > 30*time.Second {
		t.Errorf("gave up after %v", took)
	}
	// A cancel ends the waiting at once.
	patient := open(t, bucket)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(200*time.Millisecond, cancel)
	began = time.Now()
	err = patient.Put(ctx, "k", strings.NewReader("y"), datastore.PutOptions{})
	if !errors.Is(err, context.Canceled) || time.Since(began) > 5*time.Second {
		t.Errorf("Put that is cancelled while it waits: %v after %v", err, time.Since(began))
	}
}

// What waiting does not mend is said at once, with a way out, and without secrets.
func TestErrorsThatStay(t *testing.T) {
	bucket := testserver.NewBucket(t)
	server := testserver.StartS3(t)
	gone := server.Bucket(t)
	for _, c := range []struct {
		name   string
		bucket testserver.Bucket
		change func(*s3.Options)
		want   []string
	}{
		{"missing bucket", func() testserver.Bucket { b := bucket; b.Name = "not-there"; return b }(), nil,
			[]string{"NoSuchBucket", `there is no bucket "not-there"`, "create it"}},
		{"bucket that disappears", gone, nil, []string{"NoSuchBucket", "or no more"}},
		{"unknown key", func() testserver.Bucket { b := bucket; b.AccessKey = "someone"; return b }(), nil, []string{"InvalidAccessKeyId", "AWS_ACCESS_KEY_ID"}},
		{"wrong secret", func() testserver.Bucket { b := bucket; b.SecretKey = "wrong-secret"; return b }(), nil, []string{"SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY"}},
		{"wrong region", func() testserver.Bucket { b := bucket; b.Region = "eu-west-1"; return b }(), nil, []string{"AuthorizationHeaderMalformed", "set AWS_REGION=us-east-1"}},
		{"no credentials", bucket, func(o *s3.Options) {
			o.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
				return aws.Credentials{}, errors.New("dial tcp 169.254.169.254:80: no route")
			})
		}, []string{"no credentials could be had", "AWS_PROFILE"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := open(t, c.bucket, func(o *s3.Options) {
				if c.change != nil {
					c.change(o)
				}
			})
			if c.bucket == gone {
				if err := b.Put(t.Context(), "k", strings.NewReader("x"), datastore.PutOptions{}); err != nil {
					t.Fatal(err)
				}
				if err := os.RemoveAll(filepath.Join(server.Root, gone.Name)); err != nil {
					t.Fatal(err)
				}
			}
			began := time.Now()
			_, existsErr := b.Exists(t.Context(), "k")
			_, _, getErr := b.Get(t.Context(), "k")
			var listErr error
			for _, listErr = range b.List(t.Context(), "") {
				break
			}
			for what, err := range map[string]error{
				"Exists": existsErr, "Get": getErr, "List": listErr,
				"Put":       b.Put(t.Context(), "k", strings.NewReader("x"), datastore.PutOptions{}),
				"large Put": b.Put(t.Context(), "k", bytes.NewReader(make([]byte, 20<<20)), datastore.PutOptions{}),
				"PutOnce":   b.PutOnce(t.Context(), "k", []byte("x"), nil),
			} {
				if err == nil || errors.Is(err, datastore.ErrNotFound) {
					t.Errorf("%s: %v", what, err)
					continue
				}
				for _, want := range c.want {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("%s: %q does not say %q", what, err, want)
					}
				}
				for _, secret := range []string{c.bucket.SecretKey, "Signature=", "X-Amz-", "http://"} {
					if strings.Contains(err.Error(), secret) {
						t.Errorf("%s: %q gives away %q", what, err, secret)
					}
				}
			}
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	for root, want := range map[string]string{
		"": "s3://BUCKET", "bucket/prefix": "s3://BUCKET", "s3://": "s3://BUCKET", "s3:///x": "s3://BUCKET", "s3://a b/x": "s3://BUCKET",
		"gs://bucket": "s3://BUCKET", "s3://bucket/a/../b": "prefix", "s3://bucket/a//b": "prefix",
	} {
		if _, err := s3.Open(t.Context(), root, s3.Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Open(%q): %v", root, err)
		}
	}
	for _, endpoint := range []string{"localhost:9000", "ftp://host", "http://user:secret@host", "http://"} {
		_, err := s3.Open(t.Context(), "s3://bucket", s3.Options{Endpoint: endpoint})
		if err == nil || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "endpoint") {
			t.Errorf("endpoint %q: %v", endpoint, err)
		}
	}
	if _, err := s3.Open(t.Context(), "s3://bucket", s3.Options{PartSize: 1 << 20}); err == nil {
		t.Error("a part size that S3 refuses was accepted")
	}
	b, err := s3.Open(t.Context(), "s3://bucket/", s3.Options{Credentials: credentials.NewStaticCredentialsProvider("a", "b", "")})
	if err != nil || b.Root() != "s3://bucket" || b.Type() != "s3" {
		t.Errorf("Open = %v, %v", b, err)
	}
}
