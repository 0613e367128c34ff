package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

var errStalled = errors.New("nothing moved on the connection")

// watchdog ends a request on whose connection nothing moves.
type watchdog struct {
	idle   time.Duration
	timer  *time.Timer
	cancel context.CancelCauseFunc
}

func newWatchdog(ctx context.Context, idle time.Duration) (context.Context, *watchdog) {
	if idle == 0 {
		idle = DefaultStall
	}
	ctx, cancel := context.WithCancelCause(ctx)
	w := &watchdog{idle: idle, cancel: cancel}
	w.timer = time.AfterFunc(idle, func() { cancel(fmt.Errorf("%w for %v", errStalled, idle)) })
	return ctx, w
}

func (w *watchdog) moved() { w.timer.Reset(w.idle) }

func (w *watchdog) stop() {
	w.timer.Stop()
	w.cancel(nil)
}

// watchedBody tells the watchdog of every read, and keeps the error that ended reading.
type watchedBody struct {
	io.ReadCloser
	watch *watchdog
	err   error
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.watch.moved()
	}
	if err != nil && !errors.Is(err, io.EOF) {
		b.err = err
	}
	return n, err
}

// sendGate stands between a request's bytes and the connection that takes them.
type sendGate struct {
	watch *watchdog

	mu     sync.Mutex
	closed bool
}

// shut ends all reading; once it returns nobody looks at the bytes.
func (g *sendGate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
}

// sentBody is a request's body.
type sentBody struct {
	gate *sendGate
	r    io.Reader
}

func (b *sentBody) Read(p []byte) (int, error) {
	b.gate.mu.Lock()
	defer b.gate.mu.Unlock()
	if b.gate.closed {
		return 0, errors.New("the request is over")
	}
	n, err := b.r.Read(p)
	if n > 0 {
		b.gate.watch.moved()
	}
	return n, err
}

func (b *sentBody) Close() error { return nil }

// outage is what the requests of a client know together of the store being down, so that its user is told once.
type outage struct {
	answered atomic.Bool
	failing  atomic.Bool

	mu    sync.Mutex
	since time.Time
	told  bool
}

// tellAfter is how long an outage lasts before it is worth a line.
const tellAfter = time.Second

// goesOn notes a failure.
func (o *outage) goesOn(c *Client, now time.Time, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.since.IsZero() {
		o.since = now
	}
	o.failing.Store(true)
	if o.told || now.Sub(o.since) < tellAfter {
		return
	}
	o.told = true
	if c.Notify != nil {
		c.Notify(fmt.Sprintf("%s does not answer (%v); waiting for it, up to %v", c.Store, err, c.patience(err)))
	}
}

// over notes an answer.
func (o *outage) over(c *Client) {
	o.answered.Store(true)
	if !o.failing.Load() {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.told && c.Notify != nil {
		c.Notify(fmt.Sprintf("%s answers again, after %v", c.Store, time.Since(o.since).Round(time.Second)))
	}
	o.since, o.told = time.Time{}, false
	o.failing.Store(false)
}
