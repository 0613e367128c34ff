package gs

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/transfer"
)

// Put implements datastore.Backend.
func (b *Backend) Put(ctx context.Context, key string, body io.Reader, opt datastore.PutOptions) error {
	if err := datastore.CheckKey(key); err != nil {
		return err
	}
	return b.doing("writing", key, b.put(ctx, key, body, opt))
}

// resource is the description of an object that is written.
type resource struct {
	Name        string            `json:"name"`
	ContentType string            `json:"contentType"`
	CRC32C      string            `json:"crc32c,omitempty"`
	Metadata    map[string]string `json:"metadata,omitempty"`
}

func (b *Backend) put(ctx context.Context, key string, body io.Reader, opt datastore.PutOptions) error {
	res := resource{Name: b.name(key), ContentType: "application/octet-stream"}
	if opt.Meta != nil {
		text, err := transfer.HeaderJSON(opt.Meta)
		if err != nil {
			return err
		}
		res.Metadata = map[string]string{metaKey: text}
	}
	query := url.Values{"fields": {"crc32c,generation"}}
	if opt.IfAbsent {
		query.Set("ifGenerationMatch", "0")
	}
	parts := b.writes.Body(body)
	part, last, err := parts.Next(ctx)
	if err != nil {
		return err
	}
	if last {
		defer part.Release()
		return b.putWhole(ctx, res, query, part.Data, opt.IfAbsent)
	}
	u := upload{b: b, key: key, ifAbsent: opt.IfAbsent}
	started, err := u.start(ctx, res, query)
	if err != nil || !started {
		part.Release()
		return err
	}
	// Each chunk waits for the one before; the next is read meanwhile.
	if _, err := parts.Send(ctx, part, false, 1, u.send); err != nil {
		u.abandon(ctx)
		return err
	}
	return nil
}

func encodeCRC(sum uint32) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, sum))
}

// putWhole writes a small object in one request.
func (b *Backend) putWhole(ctx context.Context, res resource, query url.Values, data []byte, ifAbsent bool) error {
	res.CRC32C = encodeCRC(crc32.Checksum(data, castagnoli())) // the server refuses what does not match
	description, err := json.Marshal(res)
	if err != nil {
		return err
	}
	boundary := fmt.Sprintf("mf-%016x%016x", rand.Uint64(), rand.Uint64())
	query.Set("uploadType", "multipart")
	req := transfer.Request{
		Method: http.MethodPost, URL: b.url("/upload"+b.bucketPath()+"/o", query),
		Header: http.Header{"Content-Type": {"multipart/related; boundary=" + boundary}},
		Body: [][]byte{
			[]byte("--" + boundary + "\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n"), description,
			[]byte("\r\n--" + boundary + "\r\nContent-Type: " + res.ContentType + "\r\n\r\n"), data,
			[]byte("\r\n--" + boundary + "--\r\n"),
		},
	}
	return b.client.Do(ctx, req, func(resp *http.Response) error {
		switch {
		case resp.StatusCode == http.StatusOK, resp.StatusCode == http.StatusPreconditionFailed && ifAbsent:
			b.seen.Store(true)
			return nil
		}
		return b.refused(resp)
	})
}

// upload is the writing of a large object, in a session that takes chunk after chunk. What was sent shows when the last
// chunk is there.
type upload struct {
	b        *Backend
	key      string
	ifAbsent bool
	session  string
	crc      uint32
}

// start opens the session; false if there is nothing to do because the object is there.
func (u *upload) start(ctx context.Context, res resource, query url.Values) (bool, error) {
	description, err := json.Marshal(res)
	if err != nil {
		return false, err
	}
	query.Set("uploadType", "resumable")
	req := transfer.Request{
		Method: http.MethodPost, URL: u.b.url("/upload"+u.b.bucketPath()+"/o", query),
		Header: http.Header{"Content-Type": {"application/json; charset=UTF-8"}, "X-Upload-Content-Type": {res.ContentType}},
		Body:   [][]byte{description},
	}
	err = u.b.client.Do(ctx, req, func(resp *http.Response) error {
		u.session = ""
		switch {
		case resp.StatusCode == http.StatusPreconditionFailed && u.ifAbsent:
			return nil
		case resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusCreated:
			return u.b.refused(resp)
		}
		where, err := url.Parse(resp.Header.Get("Location"))
		if err != nil || where.Host == "" {
			return fmt.Errorf("the server opened an upload but does not say where")
		}
		u.session = where.String()
		if u.b.ownEndpoint { // an emulator may know itself by another name
			u.session = u.b.base + where.RequestURI()
		}
		u.b.seen.Store(true)
		return nil
	})
	return u.session != "", err
}

// send sends one chunk, and what is left of it again after asking how much of it has arrived.
func (u *upload) send(ctx context.Context, p transfer.Part) error {
	u.crc = crc32.Update(u.crc, castagnoli(), p.Data)
	end := p.Offset + int64(len(p.Data))
	arrived, done := p.Offset, false // arrived is how far the server has the object
	handle := func(resp *http.Response) (err error) {
		switch {
		case resp.StatusCode == http.StatusOK, resp.StatusCode == http.StatusCreated:
			done = true
			return u.verify(ctx, resp)
		case resp.StatusCode == http.StatusPreconditionFailed && u.ifAbsent:
			done = true
			return nil
		case resp.StatusCode == http.StatusPermanentRedirect:
			arrived, err = committed(resp.Header.Get("Range"))
			if err == nil && (arrived < p.Offset || arrived > end) {
				err = fmt.Errorf("the server has %d bytes of an upload of which it confirmed %d", arrived, p.Offset)
			}
			return err
		case resp.StatusCode == http.StatusNotFound, resp.StatusCode == http.StatusGone:
			return fmt.Errorf("the server has dropped the upload; write the object again")
		}
		return u.b.refused(resp)
	}
	return u.b.client.Loop(ctx, func(try int) error {
		if try > 0 {
			if err := u.b.client.Once(ctx, u.request("bytes */*", nil), handle); err != nil {
				return err
			}
		}
		if done || (arrived == end && !p.Last) {
			return nil
		}
		rest := p.Data[arrived-p.Offset:]
		var span string
		switch {
		case p.Last && len(rest) == 0:
			span = fmt.Sprintf("bytes */%d", end)
		case p.Last:
			span = fmt.Sprintf("bytes %d-%d/%d", arrived, end-1, end)
		default:
			span = fmt.Sprintf("bytes %d-%d/*", arrived, end-1)
		}
		req := u.request(span, rest)
		if p.Last {
			req.Header.Set("X-Goog-Hash", "crc32c="+encodeCRC(u.crc))
		}
		if err := u.b.client.Once(ctx, req, handle); err != nil {
			return err
		}
		if !done && (p.Last || arrived < end) {
			return transfer.Transient(fmt.Errorf("it has taken %d of %d bytes", arrived, end))
		}
		return nil
	})
}

func (u *upload) request(span string, data []byte) transfer.Request {
	return transfer.Request{
		Method: http.MethodPut, URL: u.session, Header: http.Header{"Content-Range": {span}}, Body: [][]byte{data},
	}
}

// committed is the number of bytes that a session's Range header confirms; without one it is none.
func committed(header string) (int64, error) {
	if header == "" {
		return 0, nil
	}
	_, last, _ := strings.Cut(header, "-")
	n, err := strconv.ParseInt(last, 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("the server confirms %q of an upload", header)
	}
	return n + 1, nil
}

// verify compares the checksum of the finished object; one that differs is removed.
func (u *upload) verify(ctx context.Context, resp *http.Response) error {
	var stored struct {
		CRC32C     string `json:"crc32c"`
		Generation string `json:"generation"`
	}
	if err := decode(resp, &stored); err != nil {
		return err
	}
	if want := encodeCRC(u.crc); stored.CRC32C != "" && stored.CRC32C != want {
		req := transfer.Request{Method: http.MethodDelete, URL: u.b.url(u.b.objectPath(u.key), url.Values{"generation": {stored.Generation}})}
		_ = u.b.client.Once(ctx, req, func(*http.Response) error { return nil })
		return fmt.Errorf("the stored bytes have crc32c %s, those that were sent %s: %w", stored.CRC32C, want, datastore.ErrCorrupt)
	}
	return nil
}

// abandon tells the server to drop the session, which it otherwise keeps for a week.
func (u *upload) abandon(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	req := transfer.Request{Method: http.MethodDelete, URL: u.session}
	_ = u.b.client.Once(ctx, req, func(*http.Response) error { return nil })
}
