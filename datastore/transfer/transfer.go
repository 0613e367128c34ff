// Package transfer moves objects over HTTP for the datastores that are object stores and have no client library here:
// requests that outlast an outage, bodies that are sent in parts and ranges that are fetched side by side, both in
// bounded memory. It knows no store: what a status means and how a request is signed is its caller's.
package transfer

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Defaults of a Client.
const (
	// DefaultPatience is how long an outage is waited out.
	DefaultPatience = 10 * time.Minute
	// DefaultStall is how long a request may go without a byte sent or received.
	DefaultStall = 2 * time.Minute
)

// unknownHost is how long a host name that nobody knows is retried, where no request has gone through before: a cluster's
// name service may be starting, but a mistyped name stays wrong.
const unknownHost = 20 * time.Second

// maxWait is the longest pause between two tries.
const maxWait = 5 * time.Second

// Client sends requests, again where the store or the way to it fails. It is safe for concurrent use.
type Client struct {
	// HTTP sends; NewHTTP makes one.
	HTTP *http.Client
	// Store is the store's name in messages, such as "Google Cloud Storage at storage.googleapis.com".
	Store string
	// Patience is how long an outage is waited out before a request fails; 0 means DefaultPatience.
	Patience time.Duration
	// Stall is how long a request may go without a byte sent or received; 0 means DefaultStall. A transfer that is slow
	// but moves is never cut.
	Stall time.Duration
	// Notify is told of an outage, in one line, and of its end; nil for nobody.
	Notify func(message string)
	// Sign adds credentials to a request, before every try; nil for none. Its errors end the request, but for those
	// that Transient made.
	Sign func(ctx context.Context, r *http.Request) error

	outage outage
}

// NewHTTP returns a client for object stores: many connections to one host, HTTP/1.1 because parallel ranges on one
// connection would share its window, bytes as they are stored, and no redirects, which would carry a signature elsewhere.
func NewHTTP() *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.Protocols = new(http.Protocols)
	t.Protocols.SetHTTP1(true)
	t.DisableCompression = true
	t.MaxIdleConns, t.MaxIdleConnsPerHost = 0, 64
	t.ReadBufferSize, t.WriteBufferSize = 64<<10, 64<<10
	t.DialContext = (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// Request is one request. It can be sent more than once.
type Request struct {
	Method, URL string
	Header      http.Header
	// Body is the body in pieces.
	Body [][]byte
}

// transientError marks a failure that another try may not meet.
type transientError struct {
	err error
	// after is how long the server asks to wait.
	after time.Duration
}

func (e *transientError) Error() string { return e.err.Error() }
func (e *transientError) Unwrap() error { return e.err }

// Transient marks err, returned by a Client's Sign, by the handler of a response or by one try of a loop, as one that
// another try may not meet.
func Transient(err error) error { return &transientError{err: err} }

// RetryStatus reports whether a response with this status is worth another try.
func RetryStatus(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests:
		return true
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported:
		return false
	}
	return status >= 500
}

// Do sends a request and gives the response to handle, whose error is returned. A request that meets no server, a broken
// connection or a status of RetryStatus is sent again until the client's patience or ctx ends; handle is then called
// again, so it must start over. handle sees no response of RetryStatus and need not close or drain the body.
func (c *Client) Do(ctx context.Context, req Request, handle func(*http.Response) error) error {
	return c.Loop(ctx, func(int) error { return c.Once(ctx, req, handle) })
}

// Loop calls try, with the number of earlier tries, until it succeeds or fails for good, which is with an error that
// Transient did not make, or until the client's patience or ctx ends.
func (c *Client) Loop(ctx context.Context, try func(n int) error) error {
	wait := &backoff.ExponentialBackOff{
		InitialInterval: 200 * time.Millisecond, RandomizationFactor: 0.5, Multiplier: 2, MaxInterval: maxWait,
	}
	wait.Reset()
	var began time.Time
	for n := 0; ; n++ {
		err := try(n)
		var again *transientError
		switch {
		case ctx.Err() != nil && err != nil:
			return ctx.Err()
		case !errors.As(err, &again):
			c.outage.over(c)
			return err
		}
		now := time.Now()
		if began.IsZero() {
			began = now
		}
		down := now.Sub(began)
		left := c.patience(again.err) - down
		if left <= 0 {
			return fmt.Errorf("%s has not answered for %v: %w", c.Store, down.Round(time.Second), again.err)
		}
		c.outage.goesOn(c, now, again.err)
		timer := time.NewTimer(min(max(wait.NextBackOff(), min(again.after, time.Minute)), left))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// patience is how long a failure of this kind is waited out.
func (c *Client) patience(err error) time.Duration {
	patience := c.Patience
	if patience == 0 {
		patience = DefaultPatience
	}
	var unknown *net.DNSError
	if errors.As(err, &unknown) && unknown.IsNotFound && !c.outage.answered.Load() {
		return min(patience, unknownHost)
	}
	return patience
}

// Once sends a request one time; see Do. Errors that another try may not meet are marked as by Transient.
func (c *Client) Once(ctx context.Context, req Request, handle func(*http.Response) error) error {
	ctx, watch := newWatchdog(ctx, c.Stall)
	defer watch.stop()
	r, err := http.NewRequestWithContext(ctx, req.Method, req.URL, http.NoBody)
	if err != nil {
		return cleanURL(err)
	}
	for name, values := range req.Header {
		r.Header[name] = append([]string(nil), values...)
	}
	defer setBody(r, req.Body, watch)()
	if c.Sign != nil {
		if err := c.Sign(ctx, r); err != nil {
			return stalledOr(ctx, err)
		}
	}
	resp, err := c.HTTP.Do(r) //nolint:bodyclose // closed below, in its wrapping
	if err != nil {
		err = cleanURL(stalledOr(ctx, err))
		if permanent(err) {
			return fmt.Errorf("%s cannot be reached: %w", c.Store, err)
		}
		return Transient(err)
	}
	body := &watchedBody{ReadCloser: resp.Body, watch: watch}
	resp.Body = body
	defer func() {
		// What is left is short, such as the end of a listing: taking it keeps the connection.
		_, _ = io.CopyN(io.Discard, body, 4<<10)
		body.Close()
	}()
	if RetryStatus(resp.StatusCode) {
		return &transientError{fmt.Errorf("it answered %s", resp.Status), retryAfter(resp.Header)}
	}
	err = handle(resp)
	if err != nil && body.err != nil {
		return Transient(fmt.Errorf("the connection broke: %w", stalledOr(ctx, body.err)))
	}
	return err
}

// stalledOr is err, or in its place that the watchdog ended the request, which another try may not meet.
func stalledOr(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, errStalled) {
		return Transient(cause)
	}
	return err
}

// setBody gives r a body that can be sent again by net/http too, and the length with it. detach takes the pieces away: a
// connection may still be reading them when the answer is there.
func setBody(r *http.Request, pieces [][]byte, watch *watchdog) (detach func()) {
	var length int64
	for _, p := range pieces {
		length += int64(len(p))
	}
	if length == 0 {
		return func() {}
	}
	gate := &sendGate{watch: watch}
	r.ContentLength = length
	r.GetBody = func() (io.ReadCloser, error) {
		readers := make([]io.Reader, len(pieces))
		for i, p := range pieces {
			readers[i] = bytes.NewReader(p)
		}
		return &sentBody{gate: gate, r: io.MultiReader(readers...)}, nil
	}
	r.Body, _ = r.GetBody()
	return gate.shut
}

// retryAfter is what a Retry-After header in seconds asks for.
func retryAfter(h http.Header) time.Duration {
	seconds, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || seconds < 0 {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

// cleanURL takes the URL out of an error: its query may hold a signature.
func cleanURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// permanent reports whether no later try will fare better.
func permanent(err error) bool {
	var tlsErr *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	if errors.As(err, &tlsErr) || errors.As(err, &record) {
		return true
	}
	return errors.Is(err, http.ErrSchemeMismatch)
}
