package server

import (
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// stats are the metrics, of this server alone.
type stats struct {
	registry *prometheus.Registry
	page     http.Handler
	requests *prometheus.CounterVec
	latency  *prometheus.HistogramVec
	inFlight prometheus.Gauge
	dbErrors *prometheus.CounterVec
	panics   prometheus.Counter
	busy     prometheus.Counter
	// lost counts the requests that have no route.
	lost *routeStats
}

// routeStats are the metrics of one route, looked up once.
type routeStats struct {
	pattern, method string
	requests        *prometheus.CounterVec
	latency         prometheus.Observer
	// codes holds the counters of statuses 200 to 599.
	codes [400]atomic.Pointer[prometheus.Counter]
}

func newStats() *stats {
	s := &stats{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mf_service_requests_total", Help: "Requests answered, by route, method and status.",
		}, []string{"route", "method", "status"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "mf_service_request_seconds", Help: "Time from the end of a request's header to the end of its answer.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"route", "method"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "mf_service_requests_in_flight", Help: "Requests that are being answered.",
		}),
		dbErrors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mf_service_database_errors_total", Help: "Errors of the database but for duplicates and missing rows, by SQLSTATE, \"unavailable\" or \"other\".",
		}, []string{"code"}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mf_service_panics_total", Help: "Requests that ended in an error of the service's own.",
		}),
		busy: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mf_service_refused_busy_total", Help: "Requests refused because too many were in flight.",
		}),
	}
	s.registry.MustRegister(s.requests, s.latency, s.inFlight, s.dbErrors, s.panics, s.busy,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s.page = promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{})
	s.lost = s.route("none", "other")
	return s
}

func (s *stats) route(pattern, method string) *routeStats {
	return &routeStats{pattern: pattern, method: method, requests: s.requests, latency: s.latency.WithLabelValues(pattern, method)}
}

// observe counts one answer.
func (r *routeStats) observe(status int, took time.Duration) {
	r.latency.Observe(took.Seconds())
	at := status - 200
	if at < 0 || at >= len(r.codes) {
		return
	}
	counter := r.codes[at].Load()
	if counter == nil {
		c := r.requests.WithLabelValues(r.pattern, r.method, strconv.Itoa(status))
		counter = &c
		r.codes[at].Store(counter)
	}
	(*counter).Inc()
}
