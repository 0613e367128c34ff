//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"golang.org/x/sync/errgroup"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/local"
	"github.com/mf-run/mf/datastore/s3"
)

const (
	// smallAtOnce is how many small artifacts are under way at once, largeAtOnce the bare client's parts of a large one.
	smallAtOnce, largeAtOnce = 32, 4
	partSize                 = 8 << 20
)

// work is one measurement.
type work struct {
	what, kind, root, keys, file string
	count                        int
}

// child does one measurement and prints its cost: SIDE put|get local|s3 ROOT KEYS FILE COUNT.
func child(args []string) error {
	if len(args) != 7 {
		return fmt.Errorf("%d arguments", len(args))
	}
	count, err := strconv.Atoi(args[6])
	if err != nil {
		return err
	}
	w := work{what: args[1], kind: args[2], root: args[3], keys: args[4], file: args[5], count: count}
	did := w.mf
	if p, ok := plains[args[0]]; ok {
		did = func(ctx context.Context) (int64, error) { return w.raw(ctx, p) }
	} else if args[0] != ours {
		return fmt.Errorf("there is no side %q", args[0])
	}
	began, used := time.Now(), cpu()
	n, err := did(context.Background())
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(cost{Wall: time.Since(began).Seconds(), CPU: cpu() - used, Bytes: n, RSS: peak()})
}

// peak is the process's peak resident memory in bytes.
func peak() int64 {
	status, _ := os.ReadFile("/proc/self/status")
	var kib int64
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			_, _ = fmt.Sscan(rest, &kib)
		}
	}
	return kib << 10
}

func cpu() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

// pieces calls do for each small artifact, several at once.
func (w work) pieces(ctx context.Context, do func(ctx context.Context, i int, data []byte) error) (int64, error) {
	var data []byte
	if w.what == "put" {
		var err error
		if data, err = os.ReadFile(w.file); err != nil {
			return 0, err
		}
	}
	piece := len(data) / w.count
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(smallAtOnce)
	for i := range w.count {
		g.Go(func() error { return do(ctx, i, data[i*piece:(i+1)*piece]) })
	}
	return int64(len(data)), g.Wait()
}

// mf measures this project's datastore.
func (w work) mf(ctx context.Context) (int64, error) {
	var b datastore.Backend
	var err error
	if w.kind == "s3" {
		b, err = s3.Open(ctx, w.root, s3.Options{Endpoint: os.Getenv("METAFLOW_S3_ENDPOINT_URL")})
	} else {
		b, err = local.Open(w.root)
	}
	if err != nil {
		return 0, err
	}
	s := datastore.New(b)
	switch {
	case w.what == "put" && w.count == 1:
		digest, n, err := s.SaveFile(ctx, "F", w.file)
		return n, errors.Join(err, os.WriteFile(w.keys, []byte(digest), 0o600))
	case w.what == "put":
		digests := make([]string, w.count)
		n, err := w.pieces(ctx, func(ctx context.Context, i int, data []byte) (err error) {
			digests[i], err = s.SaveBytes(ctx, "F", data)
			return err
		})
		return n, errors.Join(err, os.WriteFile(w.keys, []byte(strings.Join(digests, "\n")), 0o600))
	}
	text, err := os.ReadFile(w.keys)
	if err != nil {
		return 0, err
	}
	digests := strings.Fields(string(text))
	if w.count == 1 {
		r, err := s.Open(ctx, "F", digests[0])
		if err != nil {
			return 0, err
		}
		defer r.Close()
		return io.Copy(io.Discard, r)
	}
	sizes := make([]int64, w.count)
	_, err = w.pieces(ctx, func(ctx context.Context, i int, _ []byte) error {
		data, err := s.Load(ctx, "F", digests[i])
		sizes[i] = int64(len(data))
		return err
	})
	return total(sizes), err
}

func total(sizes []int64) (n int64) {
	for _, s := range sizes {
		n += s
	}
	return n
}

// plain is how a bare HTTP client moves the bytes of an artifact as they are: large ones in parts at once or as one stream,
// and with their SHA-1 taken, before sending and while receiving, or without.
type plain struct{ stream, sum bool }

// raw measures a bare HTTP client.
func (w work) raw(ctx context.Context, p plain) (int64, error) {
	c := &client{
		http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: smallAtOnce, WriteBufferSize: 128 << 10, ReadBufferSize: 128 << 10}},
		base: os.Getenv("METAFLOW_S3_ENDPOINT_URL") + "/" + strings.TrimPrefix(w.root, "s3://"),
	}
	switch {
	case w.count > 1:
		return w.rawSmall(ctx, c)
	case w.what == "put":
		return c.putLarge(ctx, w.file, p)
	}
	info, err := os.Stat(w.file)
	if err != nil {
		return 0, err
	}
	return info.Size(), c.getLarge(ctx, info.Size(), p)
}

func (w work) rawSmall(ctx context.Context, c *client) (int64, error) {
	sizes := make([]int64, w.count)
	n, err := w.pieces(ctx, func(ctx context.Context, i int, data []byte) error {
		if w.what == "put" {
			return c.do(ctx, http.MethodPut, fmt.Sprint("/small/", i), bytes.NewReader(data), nil, nil)
		}
		return c.do(ctx, http.MethodGet, fmt.Sprint("/small/", i), nil, nil, func(r *http.Response) (err error) {
			sizes[i], err = io.Copy(io.Discard, r.Body)
			return err
		})
	})
	return n + total(sizes), err
}

// getLarge fetches the large object and drops its bytes.
func (c *client) getLarge(ctx context.Context, size int64, p plain) error {
	var sum io.Writer = struct{ io.Writer }{io.Discard}
	if p.sum {
		sum = sha1.New()
	}
	if p.stream {
		return c.do(ctx, http.MethodGet, "/large", nil, nil, func(r *http.Response) error {
			_, err := io.CopyBuffer(sum, r.Body, make([]byte, 256<<10))
			return err
		})
	}
	g, ctx := errgroup.WithContext(ctx)
	buffers := make(chan []byte, largeAtOnce+1)
	for range cap(buffers) {
		buffers <- make([]byte, partSize)
	}
	parts := make(chan chan []byte, largeAtOnce-1)
	g.Go(func() error { // the digest, in order
		for part := range parts {
			select {
			case data := <-part:
				if data != nil {
					_, _ = sum.Write(data)
					buffers <- data[:partSize]
				}
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	for at := int64(0); at < size && ctx.Err() == nil; at += partSize {
		part := make(chan []byte, 1)
		select {
		case parts <- part:
		case <-ctx.Done():
			continue
		}
		g.Go(func() error {
			end := min(at+partSize, size)
			header := http.Header{"Range": {fmt.Sprintf("bytes=%d-%d", at, end-1)}}
			return c.do(ctx, http.MethodGet, "/large", nil, header, func(r *http.Response) error {
				if !p.sum {
					_, err := io.CopyBuffer(sum, r.Body, make([]byte, 128<<10))
					part <- nil
					return err
				}
				buf := <-buffers
				_, err := io.ReadFull(r.Body, buf[:end-at])
				part <- buf[:end-at]
				return err
			})
		})
	}
	close(parts)
	return g.Wait()
}

// client signs requests and sends them.
type client struct {
	http *http.Client
	base string
}

func (c *client) do(ctx context.Context, method, path string, body io.Reader, header http.Header, read func(*http.Response) error) error {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return err
	}
	if f, ok := body.(*os.File); ok {
		info, err := f.Stat()
		if err != nil {
			return err
		}
		req.ContentLength = info.Size()
	}
	for k, v := range header {
		req.Header[k] = v
	}
	const unsigned = "UNSIGNED-PAYLOAD"
	req.Header.Set("X-Amz-Content-Sha256", unsigned)
	keys := aws.Credentials{AccessKeyID: os.Getenv("AWS_ACCESS_KEY_ID"), SecretAccessKey: os.Getenv("AWS_SECRET_ACCESS_KEY")}
	if err := v4.NewSigner().SignHTTP(ctx, keys, req, unsigned, "s3", os.Getenv("AWS_REGION"), time.Now()); err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		text, _ := io.ReadAll(resp.Body)
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, text)
	}
	if read != nil {
		return read(resp)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

func (c *client) putLarge(ctx context.Context, file string, p plain) (int64, error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if p.sum {
		_, err := io.CopyBuffer(struct{ io.Writer }{sha1.New()}, struct{ io.Reader }{f}, make([]byte, 256<<10))
		if _, seekErr := f.Seek(0, io.SeekStart); err != nil || seekErr != nil {
			return 0, errors.Join(err, seekErr)
		}
	}
	if p.stream {
		return info.Size(), c.do(ctx, http.MethodPut, "/large", f, nil, nil)
	}
	var upload struct{ UploadId string }
	err = c.do(ctx, http.MethodPost, "/large?uploads=", nil, nil, func(r *http.Response) error { return xml.NewDecoder(r.Body).Decode(&upload) })
	if err != nil {
		return 0, err
	}
	tags := make([]string, (info.Size()+partSize-1)/partSize)
	buffers := make(chan []byte, largeAtOnce)
	for range largeAtOnce {
		buffers <- make([]byte, partSize)
	}
	g, each := errgroup.WithContext(ctx)
	g.SetLimit(largeAtOnce)
	for i := range tags {
		g.Go(func() error {
			buf := <-buffers
			defer func() { buffers <- buf }()
			n, err := f.ReadAt(buf, int64(i)*partSize)
			if err != nil && !errors.Is(err, io.EOF) {
				return err
			}
			return c.do(each, http.MethodPut, fmt.Sprintf("/large?partNumber=%d&uploadId=%s", i+1, upload.UploadId), bytes.NewReader(buf[:n]), nil, func(r *http.Response) error {
				tags[i] = r.Header.Get("ETag")
				return nil
			})
		})
	}
	if err := g.Wait(); err != nil {
		return 0, err
	}
	var complete strings.Builder
	complete.WriteString("<CompleteMultipartUpload>")
	for i, tag := range tags {
		fmt.Fprintf(&complete, "<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", i+1, tag)
	}
	complete.WriteString("</CompleteMultipartUpload>")
	return info.Size(), c.do(ctx, http.MethodPost, "/large?uploadId="+upload.UploadId, strings.NewReader(complete.String()), nil, nil)
}
