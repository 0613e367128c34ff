package azure

import (
	"context"
	"crypto/md5" //nolint:gosec // the checksum that the store has
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/transfer"
)

// maxBlocks is how many blocks a blob may have.
const maxBlocks = 50_000

// Put implements datastore.Backend.
func (b *Backend) Put(ctx context.Context, key string, body io.Reader, opt datastore.PutOptions) error {
	if err := datastore.CheckKey(key); err != nil {
		return err
	}
	return b.doing("writing", key, b.put(ctx, key, body, opt))
}

func (b *Backend) put(ctx context.Context, key string, body io.Reader, opt datastore.PutOptions) error {
	header := http.Header{"Content-Type": {"application/octet-stream"}}
	if opt.Meta != nil {
		text, err := transfer.HeaderJSON(opt.Meta)
		if err != nil {
			return err
		}
		header[metaHeader] = []string{text} // in lower case on the wire: the name is kept as it is sent
	}
	if opt.IfAbsent {
		header.Set("If-None-Match", "*")
	}
	parts := b.pool.Body(body)
	part, last, err := parts.Next(ctx)
	if err != nil {
		return err
	}
	if last {
		defer part.Release()
		header.Set("x-ms-blob-type", "BlockBlob")
		header.Set("Content-MD5", digest(part.Data)) // the server refuses what does not match, and keeps it
		return b.write(ctx, transfer.Request{
			Method: http.MethodPut, URL: b.blobURL(key), Header: header, Body: [][]byte{part.Data},
		}, opt.IfAbsent)
	}
	u := upload{b: b, url: b.blobURL(key), nonce: rand.Uint64()}
	if _, err := parts.Send(ctx, part, false, parallel(), u.send); err != nil {
		return err // blocks that no list names are dropped by the server after a week
	}
	return u.commit(ctx, header, opt.IfAbsent)
}

func digest(data []byte) string {
	sum := md5.Sum(data)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// write sends a request that makes a blob.
func (b *Backend) write(ctx context.Context, req transfer.Request, ifAbsent bool) error {
	return b.client.Do(ctx, req, func(resp *http.Response) error {
		switch resp.StatusCode {
		case http.StatusCreated:
			b.seen.Store(true)
			return nil
		case http.StatusConflict, http.StatusPreconditionFailed:
			code := resp.Header.Get(codeHeader)
			if ifAbsent && (code == "BlobAlreadyExists" || resp.StatusCode == http.StatusPreconditionFailed) {
				return nil
			}
		case http.StatusBadRequest:
			if resp.Header.Get(codeHeader) == "InvalidBlockList" {
				return errBlocksGone
			}
		}
		return b.refused(resp)
	})
}

// errBlocksGone says that a list names blocks that are not there.
var errBlocksGone = errors.New("the server has dropped blocks of the upload")

// upload is the writing of a large object: blocks, then the list that makes them a blob.
type upload struct {
	b   *Backend
	url string
	// nonce keeps the blocks of writers of one blob apart.
	nonce uint64

	mu    sync.Mutex
	ids   []string
	began time.Time // when the server took the first block, by its clock
}

// blockID is the id of a block. All ids of a blob have to be of one length, those of an upload that somebody gave up
// included, so it is as long as those of the Python client that Metaflow uses.
func (u *upload) blockID(index int) string {
	id := fmt.Sprintf("mf-%016x-%012d", u.nonce, index)
	return base64.StdEncoding.EncodeToString([]byte(id + strings.Repeat("-", idLength-len(id))))
}

// idLength is the length of a block's id in bytes, before base64.
const idLength = 48

// send sends one block.
func (u *upload) send(ctx context.Context, p transfer.Part) error {
	if len(p.Data) == 0 { // the body ended with the block before
		return nil
	}
	if p.Index >= maxBlocks {
		return fmt.Errorf("an object of more than %d parts of %d bytes is too large for the store; write it with larger parts", maxBlocks, u.b.pool.Part())
	}
	id := u.blockID(p.Index)
	req := transfer.Request{
		Method: http.MethodPut, URL: u.url + "?comp=block&blockid=" + url.QueryEscape(id),
		Header: http.Header{"Content-Md5": {digest(p.Data)}}, Body: [][]byte{p.Data},
	}
	return u.b.client.Do(ctx, req, func(resp *http.Response) error {
		if resp.StatusCode != http.StatusCreated {
			return u.b.refused(resp)
		}
		date, _ := http.ParseTime(resp.Header.Get("Date"))
		u.mu.Lock()
		defer u.mu.Unlock()
		if u.began.IsZero() || date.Before(u.began) {
			u.began = date
		}
		for len(u.ids) <= p.Index {
			u.ids = append(u.ids, "")
		}
		u.ids[p.Index] = id
		return nil
	})
}

// commit makes the blocks a blob.
func (u *upload) commit(ctx context.Context, header http.Header, ifAbsent bool) error {
	if slices.Contains(u.ids, "") {
		return errors.New("a block was not sent") // a mistake of this package
	}
	var list strings.Builder
	list.WriteString(`<?xml version="1.0" encoding="utf-8"?><BlockList>`)
	for _, id := range u.ids {
		list.WriteString("<Latest>" + id + "</Latest>")
	}
	list.WriteString("</BlockList>")
	header.Set("x-ms-blob-content-type", header.Get("Content-Type"))
	header.Set("Content-Type", "application/xml")
	err := u.b.write(ctx, transfer.Request{
		Method: http.MethodPut, URL: u.url + "?comp=blocklist", Header: header, Body: [][]byte{[]byte(list.String())},
	}, ifAbsent)
	if !errors.Is(err, errBlocksGone) {
		return err
	}
	// A writer that finished first drops the blocks of all others. Its object is newer than this upload, so this is as if
	// ours had come just before it.
	overtaken := false
	req := transfer.Request{Method: http.MethodHead, URL: u.url}
	asked := u.b.client.Do(ctx, req, func(resp *http.Response) error {
		modified, parseErr := http.ParseTime(resp.Header.Get("Last-Modified"))
		overtaken = resp.StatusCode == http.StatusOK && (ifAbsent || (parseErr == nil && !modified.Before(u.began)))
		return nil
	})
	if asked != nil || overtaken {
		return asked
	}
	return fmt.Errorf("%w: it lost them, or the object was removed meanwhile; write it again", err)
}
