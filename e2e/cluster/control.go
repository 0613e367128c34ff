//go:build linux

package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// The owner takes orders from other processes on a Unix socket.

func controlSocket(root string) string { return filepath.Join(root, "cluster", "control.sock") }

// listen starts to take orders: POST /down, /start/PART and /stop/PART?how=kill.
func (o *owner) listen() (err error) {
	if o.listener, err = net.Listen("unix", controlSocket(o.root)); err != nil {
		return err
	}
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, err error) {
		if err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
		}
	}
	mux.HandleFunc("POST /down", func(http.ResponseWriter, *http.Request) {
		select {
		case <-o.ended:
		default:
			close(o.ended)
		}
	})
	mux.HandleFunc("POST /start/{part}", func(w http.ResponseWriter, r *http.Request) {
		answer(w, o.run(r.Context(), r.PathValue("part")))
	})
	mux.HandleFunc("POST /stop/{part}", func(w http.ResponseWriter, r *http.Request) {
		sig := syscall.SIGTERM
		if r.URL.Query().Get("how") == "kill" {
			sig = syscall.SIGKILL
		}
		answer(w, o.stop(r.PathValue("part"), sig))
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(o.listener) }()
	return nil
}

// control sends an order to the owner.
func (c *Cluster) control(ctx context.Context, order string) error {
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", controlSocket(c.root))
	}}}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://owner/"+order, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", order, strings.TrimSpace(string(text)))
	}
	return err
}

// Stop has a part of the cluster end in good order.
func (c *Cluster) Stop(ctx context.Context, part string) error { return c.control(ctx, "stop/"+part) }

// Kill ends a part of the cluster the hard way.
func (c *Cluster) Kill(ctx context.Context, part string) error {
	return c.control(ctx, "stop/"+part+"?how=kill")
}

// Start starts a part that has ended, and waits until it is of use.
func (c *Cluster) Start(ctx context.Context, part string) error { return c.control(ctx, "start/"+part) }

// KillController ends Argo's controller the hard way, as a node that is lost does.
func (c *Cluster) KillController(ctx context.Context) error { return c.Kill(ctx, partArgo) }

// StartController starts Argo's controller again.
func (c *Cluster) StartController(ctx context.Context) error { return c.Start(ctx, partArgo) }

// RestartController ends Argo's controller the hard way and starts it again.
func (c *Cluster) RestartController(ctx context.Context) error {
	if err := c.KillController(ctx); err != nil {
		return err
	}
	return c.StartController(ctx)
}

// Serve brings a cluster up and keeps it until the context ends, somebody takes it down, or input is at its end; nil is no
// input. The last makes a cluster go with the process that holds the other end of a pipe, however that process ends.
func Serve(ctx context.Context, opt Options, input io.Reader) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if input != nil {
		go func() {
			_, _ = io.Copy(io.Discard, input)
			cancel()
		}()
	}
	c, err := Up(ctx, opt)
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-c.own.ended:
	}
	return c.own.down()
}

// Started waits until a cluster that another process brings up is of use; done is closed when that process has ended.
func Started(ctx context.Context, repo string, done <-chan struct{}) (*Cluster, error) {
	for {
		c, err := Attach(repo)
		if !errors.Is(err, ErrNotUp) {
			return c, err
		}
		select {
		case <-done:
			return nil, errors.New("the cluster did not come up")
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}
