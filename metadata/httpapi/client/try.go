package client

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/mf-run/mf/metadata/httpapi"
)

// compressFrom is the size in bytes from which on a body is worth compressing.
const compressFrom = 4 << 10

// maxError bounds what is read of an error's body, in bytes.
const maxError = 64 << 10

// try sends a call's request once. Errors: *awayError if it may go through later, *refusal if the service refuses it.
func (c *Client) try(ctx context.Context, k call, again bool) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	req, err := c.request(ctx, k, again)
	if err != nil {
		return answer{}, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{}, c.transportError(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		// What cannot be read of an error's body is missing in a message, at worst.
		body, _ := io.ReadAll(io.LimitReader(resp.Body, maxError))
		return answer{header: resp.Header}, c.refused(ctx, k, resp, body)
	}
	got := answer{header: resp.Header}
	if k.into == nil {
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxError)) // so that the connection can be used again
		return got, nil
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return got, &awayError{cause: err, delivered: true}
	}
	if err := json.Unmarshal(body, k.into); err != nil {
		return got, fmt.Errorf("%s does not answer as a metadata service does: %w: %s", c.base, err, excerpt(body))
	}
	return got, nil
}

// request makes a call's request.
func (c *Client) request(ctx context.Context, k call, again bool) (*http.Request, error) {
	target := c.base + k.path
	if len(k.query) > 0 {
		target += "?" + k.query.Encode()
	}
	var body []byte
	compressed := false
	if k.body != nil {
		var err error
		if body, err = json.Marshal(k.body(again)); err != nil {
			return nil, fmt.Errorf("bug in mf: encoding a request: %w", err)
		}
		if k.compress && len(body) > compressFrom {
			body, compressed = compress(body), true
		}
	}
	req, err := http.NewRequestWithContext(ctx, k.method, target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header = c.headers.Clone()
	req.Host = c.host
	if k.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if compressed {
		req.Header.Set("Content-Encoding", "gzip")
	}
	return req, nil
}

var compressors = sync.Pool{New: func() any {
	w, err := gzip.NewWriterLevel(nil, gzip.BestSpeed)
	if err != nil {
		panic(err) // the level is valid
	}
	return w
}}

func compress(body []byte) []byte {
	var out bytes.Buffer
	w := compressors.Get().(*gzip.Writer)
	defer compressors.Put(w)
	w.Reset(&out)
	// Writing to memory cannot fail.
	_, _ = w.Write(body)
	_ = w.Close()
	return out.Bytes()
}

// transportError tells what keeps a request from being answered. Before the service has ever answered, a certificate that
// is not trusted is taken for a mistake in the configuration.
func (c *Client) transportError(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err // the wrapper repeats the URL
	}
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.Is(err, http.ErrSchemeMismatch):
		return fmt.Errorf("the metadata service %s does not speak TLS: its URL should begin with http://", c.base)
	case errors.As(err, &certificate) && !c.outage.hasAnswered():
		return fmt.Errorf("the metadata service %s is not trusted: %w (a CA of one's own is given as a CA file)", c.base, err)
	case errors.Is(err, context.DeadlineExceeded):
		return &awayError{cause: errors.New("no answer in time"), delivered: true}
	}
	var op *net.OpError
	dial := errors.As(err, &op) && op.Op == "dial"
	return &awayError{cause: err, plain: dial, delivered: !dial && certificate == nil}
}

// awayError: the service gave no answer that counts; it may later.
type awayError struct {
	cause error
	// plain is set where a second try would not bring another answer at once.
	plain bool
	// delivered is set when the request may have come through all the same.
	delivered bool
	// retryAfter is how long the service asks to wait; 0 if it says nothing.
	retryAfter time.Duration
}

func (e *awayError) Error() string { return e.cause.Error() }
func (e *awayError) Unwrap() error { return e.cause }

// refused tells what an answer other than success means.
func (c *Client) refused(ctx context.Context, k call, resp *http.Response, body []byte) error {
	status := resp.StatusCode
	r := &refusal{
		status: status, base: c.base, secrets: c.secrets, location: resp.Header.Get("Location"),
		size: resp.Request.ContentLength,
	}
	r.code, r.message = problem(resp.Header, body)
	switch status {
	case http.StatusInternalServerError:
		if !c.databaseAway(ctx, body) {
			return r
		}
		r.message = "its database is away"
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported:
		return r
	default:
		if status < 500 && !k.patiently {
			return r
		}
	}
	return &awayError{
		cause: errors.New(r.text()), delivered: true, retryAfter: retryAfter(resp.Header, c.now()),
	}
}

// retryAfter reads the header of that name.
func retryAfter(h http.Header, now time.Time) time.Duration {
	text := h.Get("Retry-After")
	if n, err := strconv.Atoi(text); err == nil && n > 0 && n < 1e6 {
		return time.Duration(n) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

// problem reads an error's body: httpapi.Problem, or one of the shapes that Metaflow's service and proxies answer with.
func problem(h http.Header, body []byte) (code, message string) {
	var p httpapi.Problem
	if json.Unmarshal(body, &p) == nil && p.Message != "" {
		return p.Code, excerpt([]byte(p.Message))
	}
	var text string
	if json.Unmarshal(body, &text) == nil {
		return "", excerpt([]byte(text))
	}
	var document struct{ Detail string }
	if json.Unmarshal(body, &document) == nil && document.Detail != "" {
		return "", excerpt([]byte(document.Detail))
	}
	if strings.HasPrefix(h.Get("Content-Type"), "text/html") || string(body) == "{}" {
		return "", ""
	}
	return "", excerpt(body)
}

// databaseAway reports whether an error 500 is Metaflow's service's way to say that it cannot reach its database. If the
// answer leaves that open, the service is asked.
func (c *Client) databaseAway(ctx context.Context, body []byte) bool {
	if k, _ := c.service.get(); k != metaflow {
		return false
	}
	away, sure := tellsDatabaseAway(body)
	if sure {
		return away
	}
	req, err := c.request(ctx, call{method: http.MethodGet, path: "/healthcheck"}, false)
	if err != nil {
		return false
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return true
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxError))
	return resp.StatusCode >= 500
}

// tellsDatabaseAway reads an error 500 of Metaflow's service: of psycopg2's errors, only those that are no answer of the
// database have no code. sure is false for other errors, some of which follow from one that was overlooked.
func tellsDatabaseAway(body []byte) (away, sure bool) {
	var text string
	if json.Unmarshal(body, &text) == nil {
		body = []byte(text) // encoded twice
	}
	var e struct {
		Err struct {
			Type string          `json:"type"`
			Code string          `json:"pgcode"`
			Diag json.RawMessage `json:"diag"`
		} `json:"err_msg"`
	}
	switch {
	case json.Unmarshal(body, &e) != nil || e.Err.Type == "" && e.Err.Diag == nil:
		return false, false
	case e.Err.Type == "timeout error":
		return true, true
	case e.Err.Code == "":
		return e.Err.Diag != nil, true
	}
	switch e.Err.Code[:min(2, len(e.Err.Code))] {
	case "08", "53", "57", "40": // connection, resources, operator's intervention, rolled back
		return true, true
	}
	return false, true
}

// excerpt returns the beginning of a text in one line.
func excerpt(body []byte) string {
	const most = 300
	text := strings.Join(strings.Fields(strings.ToValidUTF8(string(body), "\ufffd")), " ")
	if utf8.RuneCountInString(text) > most {
		text = string([]rune(text)[:most]) + "..."
	}
	return text
}
