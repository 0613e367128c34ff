package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/httpapi"
)

// kind is what a service understands.
type kind int

const (
	unknown kind = iota
	own          // mf's own routes, beside Metaflow's
	metaflow
)

// service is what is known of the service.
type service struct {
	mu   sync.Mutex
	kind kind
	// known is set once the kind was known, even if it was forgotten since.
	known bool
	// probing has room for the one who asks.
	probing chan struct{}
}

func (s *service) get() (k kind, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kind, s.known
}

func (s *service) set(k kind) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kind, s.known = k, s.known || k != unknown
}

// via calls the function that fits the service. A service that does not know mf's routes any more, as it was replaced or
// stands behind one balancer with another, is asked again what it is.
func (c *Client) via(ctx context.Context, ours, theirs func() error) error {
	for again := false; ; again = true {
		k, err := c.kind(ctx, 0)
		switch {
		case err != nil:
			return err
		case k == metaflow:
			return theirs()
		}
		err = ours()
		if r := refusedAs(err, http.StatusNotFound, http.StatusMethodNotAllowed); again || r == nil || r.code != "" {
			return err
		}
		c.service.set(unknown)
	}
}

// kind returns what the service is, and asks it if that is not known. once is as in call.
func (c *Client) kind(ctx context.Context, once time.Duration) (kind, error) {
	if k, _ := c.service.get(); k != unknown {
		return k, nil
	}
	if once > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, once, metadata.ErrUnavailable)
		defer cancel()
	}
	select {
	case c.service.probing <- struct{}{}:
		defer func() { <-c.service.probing }()
	case <-ctx.Done():
		return unknown, fmt.Errorf("waiting for the metadata service %s: %w", c.base, context.Cause(ctx))
	}
	k, known := c.service.get()
	if k != unknown {
		return k, nil
	}
	k, err := c.probe(ctx, known, once)
	if err == nil {
		c.service.set(k)
	}
	return k, err
}

// probe asks the service what it is. known is whether there was a service before, so that whoever answers in its place is
// taken for an outage.
func (c *Client) probe(ctx context.Context, known bool, once time.Duration) (kind, error) {
	const doing = "asking for the metadata service"
	var info httpapi.Info
	_, err := c.do(ctx, call{
		doing: doing, method: http.MethodGet, path: httpapi.Prefix + "/info", into: &info, once: once,
	})
	var r *refusal
	switch {
	case err == nil && info.API >= 1:
		return own, nil
	case err == nil:
		return unknown, fmt.Errorf("%s: what answers at %s is no metadata service", doing, c.base)
	case !errors.As(err, &r) || r.status < 400 || r.code == "unauthorized" || r.code == "forbidden":
		return unknown, err
	}
	// Gateways answer 403 as well as 404 where they have no route. Every version of Metaflow's service has this one.
	_, err = c.do(ctx, call{
		doing: doing, method: http.MethodGet, path: "/ping", patiently: known, once: once,
	})
	if refusedAs(err, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusBadRequest) != nil {
		return unknown, fmt.Errorf("%s: %s is no metadata service: it has neither /ping nor %s/info", doing, c.base, httpapi.Prefix)
	}
	return metaflow, err
}

// route joins the segments of a path, escaped.
func route(segments ...string) string {
	var b strings.Builder
	for _, s := range segments {
		b.WriteByte('/')
		switch s {
		case ".", "..": // would be taken for folders
			b.WriteString(strings.ReplaceAll(s, ".", "%2E"))
		default:
			b.WriteString(url.PathEscape(s))
		}
	}
	return b.String()
}

// runRoute is Metaflow's route of a run, continued by segments.
func runRoute(flow, run string, more ...string) string {
	return route("flows", flow, "runs", run) + route(more...)
}

// taskRoute is Metaflow's route of a task, continued by segments.
func taskRoute(t metadata.TaskRef, more ...string) string {
	return runRoute(t.Flow, t.Run, append([]string{"steps", t.Step, "tasks", t.Task}, more...)...)
}

// sending returns a body that is the same at every try.
func sending(v any) func(bool) any { return func(bool) any { return v } }
