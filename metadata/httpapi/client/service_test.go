package client_test

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/httpapi"
	"github.com/mf-run/mf/metadata/httpapi/client"
	"github.com/mf-run/mf/metadata/sqlite"
)

// TestTheServiceIsAskedOnce what it is, however many calls begin at once.
func TestTheServiceIsAskedOnce(t *testing.T) {
	s := &script{body: "[]"}
	w := play(t, s, client.Options{})
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := w.Runs(t.Context(), metadata.RunQuery{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if s.infos != 1 || len(s.requests) != 20 {
		t.Errorf("asked %d times, %d requests", s.infos, len(s.requests))
	}
}

// TestBeatDoesNotWaitForOthers: a heart that cannot beat yet, as another call waits for the service, is given up soon.
func TestBeatDoesNotWaitForOthers(t *testing.T) {
	asked, end := make(chan struct{}), make(chan struct{})
	h := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(asked)
		<-end
	}))
	defer h.Close()
	defer close(end)
	c, err := client.New(client.Options{URL: h.URL})
	must(t, err)
	c.SetBeatTimeout(50 * time.Millisecond)
	go func() { _, _ = c.Runs(t.Context(), metadata.RunQuery{}) }()
	<-asked
	_, err = c.Beat(t.Context(), "F", "1", nil)
	isError(t, err, metadata.ErrUnavailable)
}

// TestPathPrefix: the service may be a part of a site.
func TestPathPrefix(t *testing.T) {
	inner := overSQLite(t, sqlite.Options{Now: time.Now})
	h := httptest.NewServer(nil)
	defer h.Close()
	for _, hidden := range []bool{false, true} {
		handler := inner
		if hidden {
			handler = withoutOwn(inner)
		}
		h.Config.Handler = http.StripPrefix("/data/meta", handler)
		w := newWorld(t, client.Options{URL: h.URL + "/data/meta/"})
		run, err := w.CreateRun(t.Context(), metadata.Run{FlowID: "F", RunID: fmt.Sprint("r/", hidden)})
		must(t, err)
		_, err = w.Run(t.Context(), "F", run.RunID)
		must(t, err)
		if len(w.waits) > 0 {
			t.Errorf("waited %v", w.waits)
		}
	}
}

// TestWhatIsNoService: a wrong URL is found out, whatever answers there.
func TestWhatIsNoService(t *testing.T) {
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		want    string
	}{
		"nothing known": {http.NotFound, "is no metadata service: it has neither /ping nor /mf/v1/info"},
		"a web page for all": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte("<!DOCTYPE html><title>UI</title>"))
		}, "does not answer as a metadata service does"},
		"some other JSON": {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"ok":true}`)) },
			"is no metadata service"},
		"moved": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://new.example"+r.URL.Path, http.StatusMovedPermanently)
		}, "redirects to https://new.example/mf/v1/info: set its URL to where the service is"},
	} {
		h := httptest.NewServer(c.handler)
		w := newWorld(t, client.Options{URL: h.URL})
		_, err := w.CreateRun(t.Context(), metadata.Run{FlowID: "F"})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if len(w.waits) > 0 {
			t.Errorf("%s: waited %v", name, w.waits)
		}
		h.Close()
	}
}

// TestGateways may answer 403 where they have no route: that is no answer to the token.
func TestGateways(t *testing.T) {
	inner := overSQLite(t, sqlite.Options{Now: time.Now})
	c := connect(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, httpapi.Prefix) {
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte(`{"message":"Missing Authentication Token"}`))
			return
		}
		inner.ServeHTTP(w, r)
	}), client.Options{})
	_, err := c.CreateRun(t.Context(), metadata.Run{FlowID: "F"})
	must(t, err)
	for _, status := range []int{401, 403} {
		w := play(t, &script{answers: []int{status}, info: status}, client.Options{APIKey: "x"})
		_, err := w.CreateRun(t.Context(), metadata.Run{FlowID: "F"})
		isError(t, err, metadata.ErrDenied)
	}
}

// TestServiceIsReplaced: a run goes on when mf's service is taken back to Metaflow's, and there is a gap between the two.
func TestServiceIsReplaced(t *testing.T) {
	ours := overSQLite(t, sqlite.Options{Now: time.Now})
	var mode atomic.Int32 // 0 ours, 1 nobody, 2 theirs
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch mode.Load() {
		case 0:
			ours.ServeHTTP(w, r)
		case 1:
			http.NotFound(w, r) // a balancer's default
			mode.CompareAndSwap(1, 2)
		case 2:
			withoutOwn(ours).ServeHTTP(w, r)
		}
	}))
	defer h.Close()
	w := newWorld(t, client.Options{URL: h.URL})
	run, err := w.CreateRun(t.Context(), metadata.Run{FlowID: "F", RunID: "argo-x"})
	must(t, err)
	b := metadata.Env{User: "u"}.TaskRegistered(metadata.TaskRef{Flow: "F", Run: run.RunID, Step: "s", Task: "t-1"}, 0, time.Now())
	mode.Store(1)
	must(t, w.Record(t.Context(), b))
	_, err = w.Beat(t.Context(), "F", run.RunID, nil)
	must(t, err)
	mode.Store(0)
	tasks, err := w.Tasks(t.Context(), "F", run.RunID, "s")
	must(t, err)
	same(t, len(tasks), 1)
}

func TestTLS(t *testing.T) {
	h := httptest.NewTLSServer(&script{t: t, answers: []int{200}, body: "[]"})
	defer h.Close()
	h.Config.ErrorLog = nil
	w := newWorld(t, client.Options{URL: h.URL})
	_, err := w.Runs(t.Context(), metadata.RunQuery{})
	if err == nil || !strings.Contains(err.Error(), "is not trusted") || len(w.waits) > 0 {
		t.Errorf("an unknown CA: %v, waited %v", err, w.waits)
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	must(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.Certificate().Raw}), 0o600))
	w = newWorld(t, client.Options{URL: h.URL, CAFile: ca})
	_, err = w.Runs(t.Context(), metadata.RunQuery{})
	must(t, err)
	plain := httptest.NewServer(nil)
	defer plain.Close()
	w = newWorld(t, client.Options{URL: strings.Replace(plain.URL, "http:", "https:", 1)})
	_, err = w.Runs(t.Context(), metadata.RunQuery{})
	if err == nil || !strings.Contains(err.Error(), "does not speak TLS") || len(w.waits) > 0 {
		t.Errorf("no TLS: %v, waited %v", err, w.waits)
	}
}

// TestRedirectsKeepSecrets: where a service redirects to gets nothing.
func TestRedirectsKeepSecrets(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("the other host was asked: %v", r.Header)
	}))
	defer other.Close()
	h := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	defer h.Close()
	for _, given := range []*http.Client{nil, {}} {
		w := newWorld(t, client.Options{URL: h.URL, Token: "tok", HTTP: given})
		_, err := w.CreateRun(t.Context(), metadata.Run{FlowID: "F"})
		if err == nil || !strings.Contains(err.Error(), "redirects to") {
			t.Error(err)
		}
	}
}
