package server

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// smallBody is the size up to which any number of requests may be sending at once; of larger ones only Config.MaxLarge
// may, so that the memory they take is bounded.
const smallBody = 1 << 20

// errTooLarge: a body is longer than the limit, packed or unpacked.
var errTooLarge = errors.New("the body is too large")

// readBody reads the request's body, unpacked, into x.body. When it returns false x holds the answer.
func (x *exchange) readBody() bool {
	limit := x.server.conf.MaxBody
	if x.r.ContentLength > limit {
		x.tooLarge()
		return false
	}
	body := &boundedReader{from: x.r.Body, left: limit, free: smallBody, x: x}
	var from io.Reader = body
	switch encoding := strings.ToLower(x.r.Header.Get("Content-Encoding")); encoding {
	case "", "identity":
	case "gzip":
		unpacked, err := gzip.NewReader(body)
		if err != nil {
			return x.badBody(err)
		}
		from = &boundedReader{from: unpacked, left: limit, free: smallBody, x: x}
	default:
		x.refuse(http.StatusUnsupportedMediaType, "invalid", fmt.Sprintf("the body's encoding %q is unknown: send it as it is, or gzip", encoding))
		return false
	}
	buffer := bytes.NewBuffer(x.body[:0])
	if n := x.r.ContentLength; n > 0 && n <= smallBody {
		buffer.Grow(int(n) + bytes.MinRead)
	}
	_, err := buffer.ReadFrom(from)
	x.body = buffer.Bytes()
	if err != nil {
		return x.badBody(err)
	}
	return true
}

func (x *exchange) badBody(err error) bool {
	switch {
	case errors.Is(err, errTooLarge):
		x.tooLarge()
	case errors.Is(err, errBusy):
		x.busy()
	default:
		x.closing, x.cause = true, err
		x.refuse(http.StatusBadRequest, "invalid", "the body could not be read to its end")
	}
	return false
}

func (x *exchange) tooLarge() {
	x.closing = true
	x.refuse(http.StatusRequestEntityTooLarge, "too_large",
		fmt.Sprintf("the body is larger than %d bytes, which is the limit: send it in parts", x.server.conf.MaxBody))
}

// boundedReader ends with errTooLarge past its limit, and takes one of the places for large bodies before it goes on
// past smallBody.
type boundedReader struct {
	from       io.Reader
	left, free int64
	x          *exchange
}

// Read implements io.Reader.
func (b *boundedReader) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, errTooLarge
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.from.Read(p)
	b.left -= int64(n)
	if b.left < 0 {
		return 0, errTooLarge
	}
	if b.free -= int64(n); b.free < 0 {
		if placeErr := b.place(); placeErr != nil {
			return 0, placeErr
		}
	}
	return n, err
}

// place takes a place for a large body, once.
func (b *boundedReader) place() error {
	if b.x.large {
		return nil
	}
	if err := b.x.server.large.enter(b.x.ctx); err != nil {
		return err
	}
	b.x.large = true // until the answer is complete
	return nil
}
