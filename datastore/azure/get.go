package azure

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // the checksum that the store has
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/transfer"
)

// Get implements datastore.Backend. Ranges beyond the first are of the same version of the blob, by its ETag. The bytes
// are checked against the blob's MD5, if it has one: datastore.ErrCorrupt at the end.
func (b *Backend) Get(ctx context.Context, key string) (io.ReadCloser, []byte, error) {
	if err := datastore.CheckKey(key); err != nil {
		return nil, nil, err
	}
	req := transfer.Request{Method: http.MethodGet, URL: b.blobURL(key)}
	head, h, size, err := b.pool.First(ctx, &b.client, req, func(resp *http.Response) error {
		if resp.StatusCode == http.StatusNotFound {
			return b.absent(ctx, resp)
		}
		return b.refused(resp)
	})
	if err == nil && isFolder(h) {
		head.Release()
		err = datastore.ErrNotFound
	}
	tag := h.Get("ETag")
	if err == nil && tag == "" && size > int64(len(head.Data)) {
		head.Release()
		err = errors.New("the server names no ETag, without which a large object cannot be read safely")
	}
	if err != nil {
		return nil, nil, b.doing("reading", key, err)
	}
	b.seen.Store(true)
	var meta []byte
	if values := h.Values(metaHeader); len(values) > 0 {
		meta = []byte(values[0])
	}
	req.Header = http.Header{"If-Match": {tag}}
	ranges := transfer.Ranges{
		Size: size, Parallel: parallel(),
		Fetch: func(ctx context.Context, offset int64, buf []byte) error {
			return b.doing("reading", key, b.client.Range(ctx, req, offset, buf, b.changed))
		},
	}
	if want := storedMD5(h, size == int64(len(head.Data))); want != nil {
		ranges.Sum = md5.New()
		ranges.Check = func(sum []byte) error {
			if bytes.Equal(sum, want) {
				return nil
			}
			return b.doing("reading", key, fmt.Errorf("its MD5 is %x, the store has %x: %w", sum, want, datastore.ErrCorrupt))
		}
	}
	return b.pool.NewReader(ctx, head, ranges), meta, nil
}

// changed is the error of an answer without bytes to a range after the first.
func (b *Backend) changed(resp *http.Response) error {
	switch resp.StatusCode {
	case http.StatusPreconditionFailed, http.StatusNotFound, http.StatusRequestedRangeNotSatisfiable:
		return errors.New("it was replaced or removed while it was read")
	}
	return b.refused(resp)
}

// storedMD5 is the MD5 of the whole blob by the header of an answer; nil if it has none. Content-MD5 is that of the
// answer, which is the blob's only where the answer is whole.
func storedMD5(h http.Header, whole bool) []byte {
	text := h.Get("x-ms-blob-content-md5")
	if text == "" && whole {
		text = h.Get("Content-MD5")
	}
	sum, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(sum) != md5.Size {
		return nil
	}
	return sum
}
