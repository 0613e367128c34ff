//go:build linux

// Command service measures the metadata service: requests a second, latency, CPU time and memory, on a Postgres of its
// own. With -reference it measures Metaflow's service beside it in the same run, on the same Postgres.
//
// The reference is a checkout of Metaflow's service and a Python that has what it needs:
//
//	go run ./bench/service -reference DIR -python DIR/venv/bin/python
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/mf-run/mf/internal/testserver"
)

// host stands in for a test where a server is started.
type host struct{ cleanups []func() }

func (h *host) Helper()                   {}
func (h *host) Fatal(args ...any)         { h.close(); log.Fatal(args...) }
func (h *host) Fatalf(f string, a ...any) { h.close(); log.Fatalf(f, a...) }
func (h *host) Cleanup(f func())          { h.cleanups = append(h.cleanups, f) }
func (h *host) Name() string              { return "bench" }
func (h *host) Context() context.Context  { return context.Background() }
func (h *host) close() {
	for i := len(h.cleanups) - 1; i >= 0; i-- {
		h.cleanups[i]()
	}
	h.cleanups = nil
}

// subject is a service under measurement.
type subject struct {
	name, url string
	cmd       *exec.Cmd
	// results by case; the 1,000-task run and the long list by their names.
	results map[string]result
	rest    uint64 // resident bytes before any load
}

func main() {
	log.SetFlags(0)
	binary := flag.String("mf", "bin/mf", "the program to measure")
	reference := flag.String("reference", "", "checkout of Metaflow's service to measure beside it")
	python := flag.String("python", "python3", "the Python that runs the reference")
	seconds := flag.Float64("seconds", 3, "how long each case is measured")
	sqlite := flag.Bool("sqlite", false, "measure mf on SQLite as well")
	flag.Parse()

	h := &host{}
	defer h.close()
	duration := time.Duration(*seconds * float64(time.Second))
	database := testserver.Database(h)
	must(exec.Command(*binary, "service", "migrate", "--db", database).Run())
	subjects := []*subject{start(h, "mf", nil, "", func(address string) []string {
		return []string{*binary, "service", "--db", database, "--listen", address}
	})}
	if *sqlite {
		dir, err := os.MkdirTemp("", "mf-bench-")
		must(err)
		h.Cleanup(func() { os.RemoveAll(dir) })
		subjects = append(subjects, start(h, "mf on SQLite", nil, "", func(address string) []string {
			return []string{*binary, "service", "--db", filepath.Join(dir, "m.db"), "--listen", address}
		}))
	}
	if *reference != "" {
		other := testserver.Database(h)
		must(exec.Command(*binary, "service", "migrate", "--db", other).Run())
		interpreter, err := filepath.Abs(*python)
		must(err)
		env := []string{"MF_METADATA_DB_DSN=" + strings.Replace(other, "postgres://", "postgresql://", 1), "LOGLEVEL=ERROR"}
		subjects = append(subjects, start(h, "Metaflow's service", env, *reference, func(address string) []string {
			listen, port, _ := net.SplitHostPort(address)
			return []string{"/usr/bin/env", "MF_METADATA_HOST=" + listen, "MF_METADATA_PORT=" + port, interpreter, "-m", "services.metadata_service.server"}
		}))
	}
	measure(subjects, duration)
	report(subjects)
}

// start starts a service and waits until it answers.
func start(h *host, name string, env []string, dir string, args func(address string) []string) *subject {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	address := l.Addr().String()
	l.Close()
	list := args(address)
	cmd := exec.Command(list[0], list[1:]...)
	cmd.Env, cmd.Dir = append(os.Environ(), env...), dir
	cmd.Stderr = os.Stderr
	must(cmd.Start())
	h.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	s := &subject{name: name, url: "http://" + address, cmd: cmd, results: map[string]result{}}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		resp, err := http.Get(s.url + "/ping")
		if err == nil {
			resp.Body.Close()
			break
		}
		if time.Now().After(deadline) {
			h.Fatalf("%s does not answer: %v", name, err)
		}
	}
	time.Sleep(time.Second)
	s.rest = s.resident()
	return s
}

// cpu is the processor time that the service has used.
func (s *subject) cpu() time.Duration {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	must(err)
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+2:]))
	user, err := strconv.Atoi(fields[11])
	must(err)
	system, err := strconv.Atoi(fields[12])
	must(err)
	return time.Duration(user+system) * (time.Second / 100) // clock ticks, 100 a second on Linux
}

// resident is the service's resident memory in bytes, highest the peak of it.
func (s *subject) resident() uint64 { return s.status("VmRSS:") }
func (s *subject) highest() uint64  { return s.status("VmHWM:") }

func (s *subject) status(key string) uint64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	must(err)
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, key); ok {
			n, err := strconv.ParseUint(strings.Fields(rest)[0], 10, 64)
			must(err)
			return n << 10
		}
	}
	return 0
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// report prints what was measured, the subjects below each other and the ratio to the last of them.
func report(subjects []*subject) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "case\tconnections\tservice\trequests/s\tp50 ms\tp99 ms\tCPU-s per 1,000\tCPU ratio\t")
	last := subjects[len(subjects)-1]
	for _, c := range cases {
		for _, n := range connections {
			for _, s := range subjects {
				r, base := s.results[c.key(n)], last.results[c.key(n)]
				ratio := ""
				if s != last {
					ratio = fmt.Sprintf("%.1fx", base.perThousand()/r.perThousand())
				}
				fmt.Fprintf(w, "%s\t%d\t%s\t%.0f\t%.2f\t%.2f\t%.3f\t%s\t\n", c.name, n, s.name, r.rate(), ms(r.p50), ms(r.p99), r.perThousand(), ratio)
			}
		}
	}
	for _, name := range []string{wholeRun, wholeRunBatched, longList} {
		for _, s := range subjects {
			if r, ok := s.results[name]; ok {
				fmt.Fprintf(w, "%s\t\t%s\t%.2f s\t\t\t%.2f CPU-s\t\t\n", name, s.name, r.took.Seconds(), r.cpu.Seconds())
			}
		}
	}
	for _, s := range subjects {
		fmt.Fprintf(w, "resident memory, MiB: at rest, highest\t\t%s\t%d\t\t%d\t\t\t\n", s.name, s.rest>>20, s.highest()>>20)
	}
	must(w.Flush())
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (r result) rate() float64        { return float64(r.requests) / r.took.Seconds() }
func (r result) perThousand() float64 { return r.cpu.Seconds() / float64(cmp.Or(r.requests, 1)) * 1000 }
