package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// headerTime bounds how long the header of a request takes to arrive, maxHeader its size.
const (
	headerTime = 10 * time.Second
	maxHeader  = 64 << 10
)

// Serve serves connections until ctx ends, with TLS where conf is not nil. Then it stops: for Config.Linger it goes on
// taking requests and ends each connection with its answer, /healthcheck says 503, then it takes no more, and within
// Config.Grace it finishes every request that it has. Its error is nil after a stop that left nothing unfinished.
func (s *Server) Serve(ctx context.Context, listener net.Listener, conf *tls.Config) error {
	srv := &http.Server{
		Handler:           s.Handler(),
		TLSConfig:         conf,
		ReadHeaderTimeout: headerTime,
		ReadTimeout:       s.conf.BodyTime,
		WriteTimeout:      s.conf.BodyTime + s.conf.QueueTime + 2*s.conf.RequestTime,
		IdleTimeout:       s.conf.IdleTime,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.conf.Logger.Handler(), slog.LevelDebug),
	}
	ended := make(chan error, 1)
	go func() {
		if conf != nil {
			ended <- srv.ServeTLS(listener, "", "")
			return
		}
		ended <- srv.Serve(listener)
	}()
	select {
	case err := <-ended:
		return fmt.Errorf("serving %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	s.draining.Store(true)
	time.Sleep(s.conf.Linger)
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.conf.Grace)
	defer cancel()
	err := srv.Shutdown(grace)
	if served := <-ended; err == nil && !errors.Is(served, http.ErrServerClosed) {
		return fmt.Errorf("serving %s: %w", listener.Addr(), served)
	}
	if err != nil {
		_ = srv.Close()
		return fmt.Errorf("stopping: requests were still at work after %s: %w", s.conf.Grace, err)
	}
	return nil
}

// CheckListen refuses an address beyond this machine where nothing keeps strangers out: neither tokens nor the
// user's word that this is meant.
func CheckListen(addr string, hasTokens, insecure bool) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("the address %q is not host:port: %w", addr, err)
	}
	if hasTokens || insecure || isLoopback(host) {
		return nil
	}
	return fmt.Errorf("refusing to listen on %s, where others could read and change everything: make a token first "+
		"(mf service token create), listen on 127.0.0.1 only, or say --insecure where the network is trusted", addr)
}

// isLoopback reports whether a host is this machine alone. Names other than localhost are not looked up.
func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
