package client

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"
)

// The bounds of a single try. tryTimeout bounds all of it, the reading of a long list included.
const (
	dialTimeout   = 10 * time.Second
	tlsTimeout    = 10 * time.Second
	headerTimeout = time.Minute
	tryTimeout    = 5 * time.Minute
)

// httpClient returns given, or else a new client, made not to follow redirects: one would turn a POST into a GET, or
// carry credentials elsewhere.
func httpClient(given *http.Client, caFile string) (*http.Client, error) {
	var c http.Client
	switch {
	case given != nil && caFile != "":
		return nil, errors.New("a CA file cannot be combined with an HTTP client")
	case given != nil:
		c = *given
	default:
		t, err := transport(caFile)
		if err != nil {
			return nil, err
		}
		c.Transport = t
	}
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &c, nil
}

func transport(caFile string) (*http.Transport, error) {
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}).DialContext,
		TLSHandshakeTimeout:   tlsTimeout,
		ResponseHeaderTimeout: headerTimeout,
		// Shorter than the 60 s after which the usual load balancers forget a connection.
		IdleConnTimeout:     50 * time.Second,
		MaxIdleConns:        64,
		MaxIdleConnsPerHost: 64,
		ForceAttemptHTTP2:   true,
		// A connection whose other end is gone without a word would hold up every request on it.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second},
	}
	if caFile == "" {
		return t, nil
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("reading the metadata service's CA file: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("the CA file %s has no PEM certificate", caFile)
	}
	t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	return t, nil
}
