package gs

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // the checksum that the store has
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"net/http"
	"strings"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/transfer"
)

// castagnoli is the table of crc32c, which is made when it is first needed.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

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
	u := b.base + "/" + b.bucket + "/" + transfer.EscapePath(b.name(key), true)
	if generation != "" {
		u += "?generation=" + generation
	}
	return u
}

// asStored asks for the bytes as they are stored, an object that was stored compressed included.
var asStored = http.Header{"Accept-Encoding": {"gzip"}}

// first reads an object's first range, all of it if it is small.
func (b *Backend) first(ctx context.Context, key string) (*transfer.Buffer, object, error) {
	req := transfer.Request{Method: http.MethodGet, URL: b.objectURL(key, ""), Header: asStored}
	head, h, size, err := b.reads.First(ctx, &b.client, req, func(resp *http.Response) error {
		if resp.StatusCode == http.StatusNotFound {
			return b.absent(ctx, resp)
		}
		return b.refused(resp)
	})
	if err != nil {
		return nil, object{}, err
	}
	b.seen.Store(true)
	o := describe(h, size)
	if o.size > int64(len(head.Data)) && o.generation == "" {
		head.Release()
		return nil, o, errors.New("the server names no generation, without which a large object cannot be read safely")
	}
	return head, o, nil
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
		{"crc32c", func() hash.Hash { return crc32.New(castagnoli()) }},
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
	req := transfer.Request{Method: http.MethodGet, URL: b.objectURL(key, generation), Header: asStored}
	return b.client.Range(ctx, req, offset, buf, func(resp *http.Response) error {
		switch resp.StatusCode {
		case http.StatusNotFound, http.StatusRequestedRangeNotSatisfiable:
			return errors.New("it was replaced or removed while it was read")
		}
		return b.refused(resp)
	})
}
