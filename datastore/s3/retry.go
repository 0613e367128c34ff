package s3

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"time"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

const (
	firstDelay = 100 * time.Millisecond
	maxDelay   = 5 * time.Second
	// tellAfter is how long an outage lasts before it is told of.
	tellAfter = 2 * time.Second
)

// do calls op, which sends one request, until it succeeds, fails for good, or has failed for as long as the patience
// lasts. The error is explained; doing and key say what was done to what.
func (b *Backend) do(ctx context.Context, doing, key string, op func(ctx context.Context) error) error {
	w := waiter{b: b}
	for {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%s %s: %w", doing, b.urlOf(key), err)
		}
		err := op(ctx)
		if err == nil || statusOf(err) != 0 {
			b.reached.Store(true)
		}
		if err == nil {
			b.back()
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s %s: %w", doing, b.urlOf(key), ctx.Err())
		}
		if !b.passing(err) {
			return b.explain(doing, key, err)
		}
		if !w.wait(ctx, err) {
			if ctx.Err() != nil {
				return fmt.Errorf("%s %s: %w", doing, b.urlOf(key), ctx.Err())
			}
			return b.explain(doing, key, &outageError{b.patience, err})
		}
	}
}

// waiter waits between the attempts of one call.
type waiter struct {
	b     *Backend
	since time.Time // of the first failure
	delay time.Duration
}

// reset is called when something came through, which ends an outage.
func (w *waiter) reset() { w.since, w.delay = time.Time{}, 0 }

// wait reports whether to try again, after having waited.
func (w *waiter) wait(ctx context.Context, err error) bool {
	now := time.Now()
	if w.since.IsZero() {
		w.since, w.delay = now, firstDelay
	}
	failing := now.Sub(w.since)
	if failing >= w.b.patience {
		return false
	}
	if failing >= tellAfter && !w.b.down.Swap(true) {
		w.b.tell(fmt.Sprintf("datastore %s does not answer (%s); waiting up to %v for it", w.b.root, reason(err), w.b.patience))
	}
	delay := time.Duration((0.5 + rand.Float64()/2) * float64(w.delay))
	w.delay = min(2*w.delay, maxDelay)
	timer := time.NewTimer(min(delay, w.b.patience-failing))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// back tells that an outage is over, if one was told of.
func (b *Backend) back() {
	if b.down.Load() && b.down.Swap(false) {
		b.tell("datastore " + b.root + " answers again")
	}
}

func (b *Backend) tell(message string) {
	if b.notify != nil {
		b.notify(message)
	}
}

// passing reports whether an error may go away by itself.
func (b *Backend) passing(err error) bool {
	var noCredentials *credentialsError
	var badCertificate *tls.CertificateVerificationError
	var plainServer tls.RecordHeaderError
	var dns *net.DNSError
	switch {
	case errors.As(err, &noCredentials) || errors.As(err, &badCertificate) || errors.As(err, &plainServer):
		return false
	case errors.As(err, &dns) && dns.IsNotFound:
		return b.reached.Load() // a name that never was is a slip of the pen
	}
	switch codeOf(err) {
	case "RequestTimeout", "RequestTimeoutException", "SlowDown", "Throttling", "ThrottlingException", "TooManyRequests", "InternalError",
		"ServiceUnavailable", "OperationAborted", "ConditionalRequestConflict", "BadDigest", "XAmzContentChecksumMismatch":
		return true
	}
	status := statusOf(err)
	switch status {
	case 0:
		return isTransport(err)
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported:
		return false
	case http.StatusRequestTimeout, http.StatusTooManyRequests:
		return true
	}
	return status >= 500
}

// isTransport reports whether an error without an answer is one of the connection and not of what was asked.
func isTransport(err error) bool {
	var sent *smithyhttp.RequestSendError
	var network net.Error
	var broken *brokenBody
	return errors.As(err, &sent) || errors.As(err, &network) || errors.As(err, &broken)
}

// statusOf returns the HTTP status of the answer that an error stands for, or 0.
func statusOf(err error) int {
	var response *smithyhttp.ResponseError
	if errors.As(err, &response) && response.Response != nil && response.Response.Response != nil {
		return response.Response.StatusCode
	}
	return 0
}

// codeOf returns S3's name for an error, or "".
func codeOf(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}
