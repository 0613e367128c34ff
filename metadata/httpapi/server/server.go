package server

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/tables"
	"github.com/mf-run/mf/metadata/token"
)

// Store is what mf's own routes need.
type Store interface {
	metadata.Recorder
	metadata.Reader
	metadata.TaskMinter
	metadata.Heart
}

// Config says what a Server serves and within which bounds. Zero values of the bounds mean the defaults.
type Config struct {
	// DB serves Metaflow's routes, Store mf's; both are views of the same tables.
	DB    tables.DB
	Store Store
	// Tokens turns tokens on; nil lets everyone do everything.
	Tokens token.Store
	// Now is the clock; Logger is where requests and errors are told.
	Now    func() time.Time
	Logger *slog.Logger
	// Version is that of mf.
	Version string
	// PathPrefix mounts all routes below a path, such as "/metadata".
	PathPrefix string
	// InactiveCutoff is the number of seconds without a heartbeat after which an unfinished run counts as failed; default 360.
	InactiveCutoff int64

	// MaxBody bounds a body, packed and unpacked, in bytes; default 64 MiB. MaxLarge bounds how many bodies above 1 MiB
	// are held at once; default 8.
	MaxBody  int64
	MaxLarge int
	// MaxInFlight bounds the requests that are at work at once, default 128; others wait up to QueueTime, default 30 s, and
	// are answered 503 then.
	MaxInFlight int
	QueueTime   time.Duration
	// RequestTime bounds the work on one request; default 60 s.
	RequestTime time.Duration
	// Slow is the time from which a request is logged at level info; default 1 s.
	Slow time.Duration
	// BodyTime bounds how long a request takes to arrive, default 2 min; IdleTime how long a connection may idle, default
	// 120 s.
	BodyTime, IdleTime time.Duration
	// Linger is how long a server that is to stop goes on taking requests, so that connections end with an answer that says
	// so; default 500 ms. Grace is how long the requests it has then have to end; default 30 s.
	Linger, Grace time.Duration
}

func defaulted[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

func (c *Config) fill() {
	defaulted(&c.InactiveCutoff, 360)
	defaulted(&c.MaxBody, 64<<20)
	defaulted(&c.MaxLarge, 8)
	defaulted(&c.MaxInFlight, 128)
	defaulted(&c.QueueTime, 30*time.Second)
	defaulted(&c.RequestTime, time.Minute)
	defaulted(&c.Slow, time.Second)
	defaulted(&c.BodyTime, 2*time.Minute)
	defaulted(&c.IdleTime, 120*time.Second)
	defaulted(&c.Linger, 500*time.Millisecond)
	defaulted(&c.Grace, 30*time.Second)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
}

// Server serves metadata. It is safe for concurrent use.
type Server struct {
	conf     Config
	router   *router
	stats    *stats
	tokens   tokenCache
	work     places
	large    places
	draining atomic.Bool
}

// New returns a server.
func New(conf Config) *Server {
	conf.fill()
	s := &Server{
		conf: conf, stats: newStats(),
		work:  newPlaces(conf.MaxInFlight, conf.QueueTime),
		large: newPlaces(conf.MaxLarge, conf.QueueTime),
	}
	routes := append(s.routes(), &route{method: http.MethodGet, pattern: "/metrics", need: token.Read, light: true, plain: true})
	for _, r := range routes {
		r.stats = s.stats.route(r.pattern, r.method)
	}
	s.router = newRouter(conf.PathPrefix, routes)
	return s
}

// Handler returns the routes as a handler, without the bounds on connections that Serve sets.
func (s *Server) Handler() http.Handler { return http.HandlerFunc(s.serve) }

// serve answers one request.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	start := s.conf.Now()
	s.stats.inFlight.Inc()
	x := newExchange(s, r)
	hit := s.router.find(r.Method, r.URL, x.argSpace[:0], x.pathSpace[:0])
	x.route, x.args = hit.route, hit.args
	stats := s.stats.lost
	if x.route != nil {
		stats = x.route.stats
	}
	if x.route != nil && x.route.serve == nil {
		s.metrics(w, x)
	} else {
		s.run(w, x, hit)
		x.closing = x.closing || s.draining.Load()
		x.send(w)
	}
	took := s.conf.Now().Sub(start)
	stats.observe(x.status, took)
	s.stats.inFlight.Dec()
	x.log(took)
	x.release()
}

// run makes the answer. An error of our own becomes a 500.
func (s *Server) run(w http.ResponseWriter, x *exchange, hit found) {
	if x.route == nil {
		if hit.allow != "" {
			w.Header()["Allow"] = []string{hit.allow}
		}
		text := http.StatusText(hit.status)
		if hit.status == http.StatusBadRequest {
			text = "a part of the path is no UTF-8 text"
		}
		x.page(hit.status, text)
		return
	}
	defer func() {
		cause := recover()
		if cause == nil {
			return
		}
		s.stats.panics.Inc()
		s.conf.Logger.Error("panic", "route", x.route.pattern, "method", x.route.method, "cause", cause, "stack", string(debug.Stack()))
		x.cause = nil
		x.contentType = typeText
		if x.route.own {
			x.fault(http.StatusInternalServerError, "internal", "internal error: the service's log tells more")
			return
		}
		x.problem("internal error: the service's log tells more")
	}()
	s.handle(x)
}

// handle takes a request through its stages: token, body, a place, the token's limits, the route itself.
func (s *Server) handle(x *exchange) {
	if !x.admit() {
		return
	}
	x.params = parseQuery(x.params, x.r.URL.RawQuery)
	defer func() {
		if x.large {
			s.large.leave()
		}
	}()
	if x.route.body && !x.readBody() {
		return
	}
	if !x.route.light {
		if err := s.work.enter(x.ctx); errors.Is(err, errBusy) {
			x.busy()
			return
		} else if err != nil {
			x.fail(err)
			return
		}
		defer s.work.leave()
	}
	if x.route.need == token.Write {
		// What was begun is finished though the client has gone: a write that was cut short would leave it in doubt.
		x.ctx = context.WithoutCancel(x.ctx)
	}
	ctx, cancel := context.WithTimeout(x.ctx, s.conf.RequestTime)
	defer cancel()
	x.ctx = ctx
	if x.inScope() {
		x.route.serve(x)
	}
}

// busy answers a request that found no place in time.
func (x *exchange) busy() {
	x.server.stats.busy.Inc()
	x.wait = soonText
	x.refuse(http.StatusServiceUnavailable, "unavailable", "the service is busy: try again")
}

// metrics serves the metrics, to any valid token.
func (s *Server) metrics(w http.ResponseWriter, x *exchange) {
	if !x.admit() {
		x.send(w)
		return
	}
	s.stats.page.ServeHTTP(w, x.r)
}
