package client_test

import (
	"fmt"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/mf-run/mf/internal/testserver"
	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/httpapi/client"
	"github.com/mf-run/mf/metadata/httpapi/server"
	"github.com/mf-run/mf/metadata/postgres"
	"github.com/mf-run/mf/metadata/sqlite"
)

// serve answers on an address until stop, which cuts the connections that there are. As when a process ends, nothing goes
// on afterwards.
func serve(t *testing.T, address string, h http.Handler) (at string, stop func()) {
	t.Helper()
	var l net.Listener
	var err error
	for range 100 { // the port may still be taken by what was there before
		if l, err = net.Listen("tcp", address); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	must(t, err)
	var working sync.RWMutex
	ended := false
	s := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		working.RLock()
		defer working.RUnlock()
		if ended {
			panic(http.ErrAbortHandler)
		}
		h.ServeHTTP(w, r)
	})}
	go func() { _ = s.Serve(l) }()
	return l.Addr().String(), func() {
		_ = s.Close()
		working.Lock()
		defer working.Unlock()
		ended = true
	}
}

// life records the life of many tasks through queues, several at once, with a heartbeat beside it, and returns how to check
// that nothing was lost.
func life(t *testing.T, c *client.Client, long time.Duration) (wait func()) {
	t.Helper()
	env := metadata.Env{User: "ada", Tags: []string{"a"}}
	run, err := c.CreateRun(t.Context(), env.Run("F", ""))
	must(t, err)
	const workers = 4
	counts := make([]int, workers)
	var wg sync.WaitGroup
	end := time.Now().Add(long)
	for w := range workers {
		wg.Go(func() {
			q := metadata.NewQueue(c, metadata.QueueOptions{})
			for i := 0; time.Now().Before(end); i++ {
				ref := metadata.TaskRef{Flow: "F", Run: run.RunID, Step: "s", Task: fmt.Sprint("t-", w, "-", i)}
				for _, b := range []metadata.Batch{
					env.TaskRegistered(ref, 0, time.Now()), env.TaskStarted(ref, 0, nil, time.Now()),
					env.TaskFinished(ref, 0, true, map[string]metadata.ArtifactRef{"x": {Sha: "y"}}, time.Now()),
				} {
					if err := q.Add(b); err != nil {
						t.Error(err)
					}
				}
				counts[w]++
				time.Sleep(2 * time.Millisecond)
			}
			if err := q.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	return func() {
		t.Helper()
		wg.Wait()
		total := 0
		for _, n := range counts {
			total += n
		}
		tasks, err := c.Tasks(t.Context(), "F", run.RunID, "")
		must(t, err)
		arts, err := c.Artifacts(t.Context(), "F", run.RunID, "", "")
		must(t, err)
		rows, err := c.Metadata(t.Context(), "F", run.RunID, "", "")
		must(t, err)
		ref := metadata.TaskRef{Flow: "F"}
		each := len(env.TaskRegistered(ref, 0, end).Metadata) + len(env.TaskStarted(ref, 0, nil, end).Metadata) + 2
		if len(tasks) != total || len(arts) != total || len(rows) != total*each || total < 50 {
			t.Errorf("of %d tasks there are %d, %d artifacts, %d metadata instead of %d", total, len(tasks), len(arts), len(rows),
				total*each)
		}
		if err := c.UpdateRun(t.Context(), metadata.Run{FlowID: "F", RunID: run.RunID, Status: metadata.Succeeded}); err != nil {
			t.Error(err)
		}
	}
}

// patient returns a client and counts the outages it tells of.
func patient(t *testing.T, url string) (c *client.Client, said *[]string) {
	t.Helper()
	said = new([]string)
	var mu sync.Mutex
	c, err := client.New(client.Options{URL: url, Patience: time.Minute, Notify: func(text string) {
		mu.Lock()
		defer mu.Unlock()
		*said = append(*said, text)
	}})
	must(t, err)
	return c, said
}

// TestServiceRestarts: a service that is killed in the middle of its work, and away for a while, loses nothing, and no row
// is written twice.
func TestServiceRestarts(t *testing.T) {
	h := overSQLite(t, sqlite.Options{Now: time.Now})
	address, stop := serve(t, "127.0.0.1:0", h)
	c, said := patient(t, "http://"+address)
	wait := life(t, c, 2500*time.Millisecond)
	for range 2 {
		time.Sleep(400 * time.Millisecond)
		stop()
		time.Sleep(600 * time.Millisecond)
		_, stop = serve(t, address, h)
	}
	wait()
	stop()
	if n := len(*said); n < 2 || n%2 != 0 {
		t.Errorf("said: %q", *said)
	}
}

// TestDatabaseRestarts: neither does a database.
func TestDatabaseRestarts(t *testing.T) {
	pg := testserver.StartPostgres(t)
	url := pg.URL()
	m, err := postgres.OpenForMigration(t.Context(), url, postgres.Options{Now: time.Now})
	must(t, err)
	must(t, m.Migrate(t.Context(), nil))
	must(t, m.Close())
	store, err := postgres.Open(t.Context(), url, postgres.Options{Now: time.Now})
	must(t, err)
	defer store.Close()
	address, stop := serve(t, "127.0.0.1:0", server.New(server.Config{DB: store.Tables(), Store: store, Now: time.Now}).Handler())
	defer stop()
	c, said := patient(t, "http://"+address)
	wait := life(t, c, 2500*time.Millisecond)
	time.Sleep(500 * time.Millisecond)
	pg.Stop()
	time.Sleep(time.Second)
	pg.Start()
	wait()
	if len(*said) > 2 {
		t.Errorf("said: %q", *said)
	}
}
