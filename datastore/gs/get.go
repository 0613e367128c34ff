package gs

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/transfer"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// object is what the answer to a read says of an object.
type object struct {
	size       int64
	generation string
	meta       []byte
	hashes     map[string]string
}

// Get implements datastore.Backend. The first range comes with the object's metadata; further ones are of the same
// generation. The bytes are checked against the stored checksum, if there is one: datastore.ErrCorrupt at the end.
func (b *Backend) Get(ctx context.Context, key string) (io.ReadCloser, []byte, error) {
	if err := datastore.CheckKey(key); err != nil {
		return nil, nil, err
	}
	head, o, err := b.first(ctx, key)
	if err != nil {
		return nil, nil, b.doing("reading", key, err)
	}
	ranges := transfer.Ranges{
		Size: o.size, Parallel: parallel(),
		Fetch: func(ctx context.Context, offset int64, buf []byte) error {
			return b.doing("reading", key, b.fetch(ctx, key, o.generation, offset, buf))
		},
	}
	ranges.Sum, ranges.Check = o.check(b.Root() + "/" + key)
	return b.reads.NewReader(ctx, head, ranges), o.meta, nil
}

// objectURL is the object's URL in the XML API.
func (b *Backend) objectURL(key, generation string) string {
	u := b.base + "/" + b.bucket + "/" + escape(b.name(key), true)
	if generation != "" {
		u += "?generation=" + generation
	}
	return u
}

// first reads an object's first range, all of it if it is small.
func (b *Backend) first(ctx context.Context, key string) (head *transfer.Buffer, o object, err error) {
	req := transfer.Request{Method: http.MethodGet, URL: b.objectURL(key, "")}
	// gzip: an object that is stored compressed comes as it is stored.
	req.Header = http.Header{"Accept-Encoding": {"gzip"}, "Range": {fmt.Sprintf("bytes=0-%d", b.reads.Part()-1)}}
	handle := func(resp *http.Response) error {
		n, size := resp.ContentLength, resp.ContentLength
		switch resp.StatusCode {
		case http.StatusOK: // without a range, or from a server that knows none
			if n > int64(b.reads.Part()) {
				return fmt.Errorf("the server does not serve ranges, which an object of %d bytes needs", n)
			}
		case http.StatusPartialContent:
			if size, err = total(resp); err != nil {
				return err
			}
		case http.StatusRequestedRangeNotSatisfiable: // it is empty
			return errEmpty
		case http.StatusNotFound:
			return b.absent(ctx, resp)
		default:
			return b.refused(resp)
		}
		b.seen.Store(true)
		if n < 0 {
			return fmt.Errorf("the answer has no Content-Length")
		}
		buf, err := b.reads.Head(ctx, int(n))
		if err != nil {
			return err
		}
		if _, err := io.ReadFull(resp.Body, buf.Data); err != nil {
			buf.Release()
			return err
		}
		head, o = buf, describe(resp.Header, size)
		return nil
	}
	err = b.client.Do(ctx, req, handle)
	if err == errEmpty { //nolint:errorlint // it is this package's own and not wrapped
		delete(req.Header, "Range")
		err = b.client.Do(ctx, req, handle)
	}
	if err != nil {
		return nil, o, err
	}
	if o.size > int64(len(head.Data)) && o.generation == "" {
		head.Release()
		return nil, o, fmt.Errorf("the server names no generation, without which a large object cannot be read safely")
	}
	return head, o, nil
}

var errEmpty = fmt.Errorf("the server says that the object is empty, and then that it is not")

// total is the object's size by the Content-Range of a part of it.
func total(resp *http.Response) (int64, error) {
	r := resp.Header.Get("Content-Range")
	_, size, _ := strings.Cut(r, "/")
	n, err := strconv.ParseInt(size, 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("the answer's Content-Range %q has no size", r)
	}
	return n, nil
}

func describe(h http.Header, size int64) object {
	o := object{size: size, generation: h.Get("X-Goog-Generation"), hashes: map[string]string{}}
	if values := h.Values("X-Goog-Meta-" + metaKey); len(values) > 0 {
		o.meta = []byte(values[0])
	}
	for _, line := range h.Values("X-Goog-Hash") {
		for part := range strings.SplitSeq(line, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
			o.hashes[name] = value
		}
	}
	return o
}

// check returns what the object's bytes are checked with; nil for nothing.
func (o object) check(name string) (hash.Hash, func(sum []byte) error) {
	for _, kind := range []struct {
		name string
		new  func() hash.Hash
	}{
		{"crc32c", func() hash.Hash { return crc32.New(castagnoli) }},
		{"md5", md5.New},
	} {
		want, err := base64.StdEncoding.DecodeString(o.hashes[kind.name])
		if err != nil || len(want) == 0 {
			continue
		}
		return kind.new(), func(sum []byte) error {
			if bytes.Equal(sum, want) {
				return nil
			}
			return fmt.Errorf("reading %s: its %s is %x, the store has %x: %w", name, kind.name, sum, want, datastore.ErrCorrupt)
		}
	}
	return nil, nil
}

// fetch fills buf with a range of one generation of an object.
func (b *Backend) fetch(ctx context.Context, key, generation string, offset int64, buf []byte) error {
	req := transfer.Request{Method: http.MethodGet, URL: b.objectURL(key, generation)}
	req.Header = http.Header{"Accept-Encoding": {"gzip"}, "Range": {fmt.Sprintf("bytes=%d-%d", offset, offset+int64(len(buf))-1)}}
	return b.client.Do(ctx, req, func(resp *http.Response) error {
		switch resp.StatusCode {
		case http.StatusPartialContent:
		case http.StatusNotFound, http.StatusRequestedRangeNotSatisfiable:
			return fmt.Errorf("it was replaced or removed while it was read")
		default:
			return b.refused(resp)
		}
		if resp.ContentLength != int64(len(buf)) {
			return fmt.Errorf("the server sent %d bytes where %d were asked for", resp.ContentLength, len(buf))
		}
		_, err := io.ReadFull(resp.Body, buf)
		return err
	})
}
