//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mf-run/mf/internal/testserver"
)

// outage is how long what was killed stays away.
const outage = 60 * time.Second

// TestOutages kills, each during a run of 200 tasks, the service, Postgres, the S3 server and one of two services. No task
// may fail or run twice, and all that the tasks made has to be there in the end.
func TestOutages(t *testing.T) {
	type parts struct {
		*team
		postgres *testserver.Postgres
		s3       *testserver.S3
	}
	cases := []struct {
		name       string
		kill, heal func(p parts)
	}{
		{"service", func(p parts) { p.stop(syscall.SIGKILL) }, func(p parts) { p.start() }},
		{"postgres", func(p parts) { p.postgres.Stop() }, func(p parts) { p.postgres.Start() }},
		{"s3", func(p parts) { p.s3.Stop() }, func(p parts) { p.s3.Start() }},
		{"one of two services", func(p parts) { p.stop(syscall.SIGKILL) }, func(parts) {}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			postgres, s3 := testserver.StartPostgres(t), testserver.StartS3(t)
			p := parts{newTeamOn(t, postgres.URL(), s3.Bucket(t)), postgres, s3}
			if c.name == "one of two services" {
				other := newService(t, p.database)
				p.url = balance(t, p.url, other.url)
			}
			r := p.begin(t)
			r.wait(t, 40)
			c.kill(p)
			if c.name == "one of two services" {
				time.Sleep(outage)
			} else {
				r.outlast(t, outage)
			}
			c.heal(p)
			r.finish(t)
			p.verify(t, r)
		})
	}
}

// running is a run of OutageFlow.
type running struct {
	place
	trace, file string
	output      bytes.Buffer
	done        chan error
}

func (m *team) begin(t *testing.T) *running {
	t.Helper()
	r := &running{place: newPlace(t, "testdata/outage.py"), done: make(chan error, 1)}
	r.trace, r.file = filepath.Join(r.dir, "trace"), filepath.Join(r.dir, "id")
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	cmd := exec.CommandContext(ctx, mfBinary(t), "run", "outage.py", "--max-workers", "4", "--max-splits", "200", "--run-id-file", r.file)
	cmd.Dir, cmd.Env = r.dir, m.env(r.place, "TRACE="+r.trace)
	cmd.Stdout, cmd.Stderr = &r.output, &r.output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer cancel()
		r.done <- cmd.Wait()
	}()
	return r
}

// wait waits until so many tasks have started.
func (r *running) wait(t *testing.T, tasks int) {
	t.Helper()
	for {
		data, err := os.ReadFile(r.trace)
		if err == nil && bytes.Count(data, []byte("\n")) >= tasks {
			return
		}
		select {
		case err := <-r.done:
			t.Fatalf("the run ended early: %v\n%s", err, tail(r.output.String()))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// outlast waits for a time in which the run cannot end: what it needs for that is away.
func (r *running) outlast(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case err := <-r.done:
		t.Fatalf("the run ended (%v) before what was killed came back\n%s", err, tail(r.output.String()))
	case <-time.After(d):
	}
}

func (r *running) finish(t *testing.T) {
	t.Helper()
	if err := <-r.done; err != nil {
		t.Fatalf("the run failed: %v\n%s", err, tail(r.output.String()))
	}
}

// verify reads the run with the real client.
func (m *team) verify(t *testing.T, r *running) {
	t.Helper()
	lines := strings.Fields(strings.ReplaceAll(r.read(r.trace), "work ", ""))
	seen := map[string]int{}
	for _, l := range lines {
		seen[l]++
	}
	if len(lines) != 200 || len(seen) != 200 {
		t.Errorf("%d tasks were run, %d different ones, of 200", len(lines), len(seen))
	}
	v := m.read("OutageFlow", r.read(r.file))
	if !v.Successful || v.Tasks["join"]["total"].Repr != "2646700" {
		t.Errorf("successful %v, total %s", v.Successful, v.Tasks["join"]["total"].Repr)
	}
	for i := range 200 {
		key := fmt.Sprintf("work[%d]", i)
		if got, want := v.Tasks[key]["square"].Repr, fmt.Sprint(i*i); got != want {
			t.Errorf("%s: square is %q, want %s", key, got, want)
		}
		if got, want := v.Stdout[key], fmt.Sprintf("squared %d\n", i); got != want {
			t.Errorf("%s: printed %q, want %q", key, got, want)
		}
	}
}

// balance is a balancer in front of services: each connection goes to one that takes it.
func balance(t *testing.T, urls ...string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	var next atomic.Int64
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer from.Close()
				for range urls {
					to, err := net.Dial("tcp", strings.TrimPrefix(urls[int(next.Add(1))%len(urls)], "http://"))
					if err != nil {
						continue
					}
					go func() {
						_, _ = io.Copy(to, from)
						to.Close()
					}()
					_, _ = io.Copy(from, to)
					return
				}
			}()
		}
	}()
	return "http://" + l.Addr().String()
}
