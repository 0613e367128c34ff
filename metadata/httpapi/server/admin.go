package server

import (
	"context"
	"net/http"
	"time"

	"github.com/mf-run/mf/metadata/httpapi"
)

func (s *Server) ping(x *exchange) { x.out = append(x.out, "pong"...) }

func (s *Server) version(x *exchange) { x.out = append(x.out, httpapi.ServiceVersion...) }

// healthTime is how long the database has to answer.
const healthTime = 5 * time.Second

// healthcheck asks the database. A server that is shutting down is no longer healthy, so that a balancer sends requests
// elsewhere.
func (s *Server) healthcheck(x *exchange) {
	ctx, cancel := context.WithTimeout(x.ctx, healthTime)
	defer cancel()
	x.contentType = typeJSON
	err := s.conf.DB.Ping(ctx)
	if err == nil && !s.draining.Load() {
		x.out = append(x.out, `"{\"status\": \"UP\"}"`...)
		return
	}
	if err != nil {
		s.stats.dbErrors.WithLabelValues("unavailable").Inc()
	}
	x.cause, x.wait = err, soonText
	x.reset(http.StatusServiceUnavailable)
	x.out = append(x.out, `"{\"status\": \"DOWN\"}"`...)
}

// authToken answers as Metaflow's service does without a role to assume: the route is for its hosted sandbox.
func (s *Server) authToken(x *exchange) {
	x.reset(http.StatusInternalServerError)
	x.out = append(x.out, `{"err_msg":"no role is configured","traceback":""}`...)
}
