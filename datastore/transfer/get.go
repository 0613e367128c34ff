package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

var errEmpty = errors.New("the server says that the object is empty, and then that it is not")

// First reads an object's first range, which is all of it if it fits a part, with the answer's header and the object's
// size. req has no Range. refused gives the error of an answer without bytes.
func (p *Pool) First(ctx context.Context, c *Client, req Request, refused func(*http.Response) error) (head *Buffer, h http.Header, size int64, err error) {
	handle := func(resp *http.Response) (err error) {
		n := resp.ContentLength
		size = n
		switch resp.StatusCode {
		case http.StatusOK: // no range was asked for, or the server knows none
			if n > int64(p.part) {
				return fmt.Errorf("the server does not serve ranges, which an object of %d bytes needs", n)
			}
		case http.StatusPartialContent:
			if size, err = total(resp.Header.Get("Content-Range")); err != nil {
				return err
			}
		case http.StatusRequestedRangeNotSatisfiable:
			return errEmpty
		default:
			return refused(resp)
		}
		if n < 0 || n > size || n < min(size, int64(p.part)) {
			return fmt.Errorf("the server sent %d bytes of an object of %d", n, size)
		}
		buf, err := p.head(ctx, int(n))
		if err != nil {
			return err
		}
		if _, err := io.ReadFull(resp.Body, buf.Data); err != nil {
			buf.Release()
			return err
		}
		head, h = buf, resp.Header
		return nil
	}
	err = c.Do(ctx, ranged(req, 0, p.part), handle)
	if errors.Is(err, errEmpty) {
		err = c.Do(ctx, req, handle)
	}
	return head, h, size, err
}

// Range fills buf with an object's bytes from offset on. refused gives the error of an answer without bytes.
func (c *Client) Range(ctx context.Context, req Request, offset int64, buf []byte, refused func(*http.Response) error) error {
	return c.Do(ctx, ranged(req, offset, len(buf)), func(resp *http.Response) error {
		if resp.StatusCode != http.StatusPartialContent {
			return refused(resp)
		}
		if resp.ContentLength != int64(len(buf)) {
			return fmt.Errorf("the server sent %d bytes where %d were asked for", resp.ContentLength, len(buf))
		}
		_, err := io.ReadFull(resp.Body, buf)
		return err
	})
}

func ranged(req Request, offset int64, n int) Request {
	if req.Header = req.Header.Clone(); req.Header == nil {
		req.Header = http.Header{}
	}
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", offset, offset+int64(n)-1))
	return req
}

// total is the object's size by the Content-Range of a part of it.
func total(header string) (int64, error) {
	_, size, _ := strings.Cut(header, "/")
	n, err := strconv.ParseInt(size, 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("the answer's Content-Range %q has no size", header)
	}
	return n, nil
}

// EscapePath writes name for the path of a URL: only what no server reads in two ways stays as it is, and slashes do
// where keepSlash is set.
func EscapePath(name string, keepSlash bool) string {
	const hex = "0123456789ABCDEF"
	var s strings.Builder
	for i := range len(name) {
		c := name[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.', c == '~', c == '/' && keepSlash:
			s.WriteByte(c)
		default:
			s.WriteByte('%')
			s.WriteByte(hex[c>>4])
			s.WriteByte(hex[c&15])
		}
	}
	return s.String()
}
