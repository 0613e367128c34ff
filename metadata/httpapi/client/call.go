package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/mf-run/mf/metadata"
)

// call is one request and how to go about it.
type call struct {
	// doing begins the errors, such as "registering a run".
	doing        string
	method, path string
	query        url.Values
	// body returns what is sent as JSON; nil for nothing. again is set when an earlier try may have come through.
	body func(again bool) any
	// into is where the answer's JSON goes; nil drops it.
	into any
	// compress allows a compressed body.
	compress bool
	// repair is the run whose metadata is incomplete if the call fails for good, as "flow/run"; empty for none.
	repair string
	// once, if positive, bounds the call, which is then tried once.
	once time.Duration
	// conflicts is set where any 409 says to try again.
	conflicts bool
	// patiently is set where the answer is known to come, so that any refusal is waited out like an outage.
	patiently bool
}

// answer is what a call brought beside its body.
type answer struct {
	header http.Header
	// again is set when an earlier try may have come through too.
	again bool
}

// The bounds of trying again.
const (
	// maxInternal is how often a request is tried that the service answers with an error of its own: it mostly answers the
	// same one the same way.
	maxInternal = 3
	// maxConflicts is how often a change is tried that others get in the way of.
	maxConflicts = 30
)

// tries is the state of a call over its tries.
type tries struct {
	start                time.Time
	outages, conflicts   *backoff.ExponentialBackOff
	count                int
	internal, conflicted int
	again                bool
}

func newTries(start time.Time) *tries {
	return &tries{
		start: start,
		outages: &backoff.ExponentialBackOff{
			InitialInterval: 200 * time.Millisecond, RandomizationFactor: 0.5, Multiplier: 1.7, MaxInterval: 10 * time.Second,
		},
		conflicts: &backoff.ExponentialBackOff{
			InitialInterval: 20 * time.Millisecond, RandomizationFactor: 0.5, Multiplier: 1.5, MaxInterval: 2 * time.Second,
		},
	}
}

// do makes a call and waits out an outage.
func (c *Client) do(ctx context.Context, k call) (answer, error) {
	outer := ctx
	if k.once > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, k.once)
		defer cancel()
	}
	t := newTries(c.now())
	for {
		t.count++
		got, err := c.try(ctx, k, t.again)
		got.again = t.again
		if err != nil && outer.Err() != nil {
			return got, fmt.Errorf("%s: %w (%w)", k.doing, context.Cause(outer), err)
		}
		wait, final, err := c.next(&k, t, err)
		if final {
			return got, err
		}
		if cause := c.sleep(ctx, wait); cause != nil {
			return got, fmt.Errorf("%s: waiting for the metadata service %s: %w", k.doing, c.base, cause)
		}
	}
}

// next says how long to wait before the next try, or that there is none.
func (c *Client) next(k *call, t *tries, err error) (wait time.Duration, final bool, _ error) {
	var away *awayError
	if errors.As(err, &away) {
		return c.outlast(k, t, away)
	}
	var refused *refusal
	if err == nil || errors.As(err, &refused) && refused.counts() {
		c.outage.succeeded(c.now())
	}
	switch {
	case err == nil:
		return 0, true, nil
	case refused == nil || k.once > 0 || c.patience < 0:
	case refused.status == http.StatusInternalServerError && t.internal < maxInternal-1:
		t.internal++
		t.again = true
		return t.outages.NextBackOff(), false, nil
	case refused.status == http.StatusConflict && (k.conflicts || refused.code == "conflict") && t.conflicted < maxConflicts-1:
		t.conflicted++
		return t.conflicts.NextBackOff(), false, nil
	}
	return 0, true, fmt.Errorf("%s: %w", k.doing, err)
}

// outlast says how long to wait for a service that is away, or that patience is over.
func (c *Client) outlast(k *call, t *tries, away *awayError) (wait time.Duration, final bool, _ error) {
	now := c.now()
	t.again = t.again || away.delivered
	if k.once > 0 {
		return 0, true, fmt.Errorf("%s: the metadata service %s is %w (%w)", k.doing, c.base, metadata.ErrUnavailable, away)
	}
	outage := now.Sub(c.outage.failed(now, away, away.plain || t.count > 1))
	left := c.patience - max(outage, now.Sub(t.start))
	if left > 0 {
		return min(max(t.outages.NextBackOff(), away.retryAfter), left), false, nil
	}
	advice := ""
	if k.repair != "" {
		advice = fmt.Sprintf("; once it is back, `mf repair %s` rebuilds the metadata from the datastore", k.repair)
	}
	return 0, true, fmt.Errorf("%s: the metadata service %s is %w; waited %s, tried %d times (%w)%s", k.doing, c.base,
		metadata.ErrUnavailable, max(outage, now.Sub(t.start)).Round(time.Second), t.count, away, advice)
}
