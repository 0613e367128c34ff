//go:build linux

// Command service measures the metadata service: requests a second, latency, CPU time and memory, on a Postgres of its
// own. With -reference it measures Metaflow's service beside it in the same run, on the same Postgres.
//
// The reference is a checkout of Metaflow's service and a Python that has what it needs:
//
//	go run ./bench/service -reference DIR -python DIR/venv/bin/python
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"

	"github.com/mf-run/mf/bench/internal/measure"
	"github.com/mf-run/mf/internal/testserver"
)

// subject is a service under measurement.
type subject struct {
	name, url string
	// foreign marks Metaflow's service, which lacks what mf adds.
	foreign  bool
	cmd      *exec.Cmd
	postgres *postmaster
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

	h := measure.NewHost("bench")
	defer h.Close()
	duration := time.Duration(*seconds * float64(time.Second))
	database := testserver.Database(h)
	server := findPostmaster(database)
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
		theirs := start(h, "Metaflow's service", env, *reference, func(address string) []string {
			listen, port, _ := net.SplitHostPort(address)
			return []string{"/usr/bin/env", "MF_METADATA_HOST=" + listen, "MF_METADATA_PORT=" + port, interpreter, "-m", "services.metadata_service.server"}
		})
		theirs.foreign = true
		subjects = append(subjects, theirs)
	}
	for _, s := range subjects {
		s.postgres = server
	}
	measureAll(subjects, duration)
	report(subjects)
}

// start starts a service and waits until it answers.
func start(h *measure.Host, name string, env []string, dir string, args func(address string) []string) *subject {
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
	var used unix.Timespec
	clock := ^int32(s.cmd.Process.Pid)<<3 | 2 // as clock_getcpuclockid makes it
	must(unix.ClockGettime(clock, &used))
	return time.Duration(used.Nano())
}

// postmaster is the server of the databases, found by its id.
type postmaster struct{ pid string }

// findPostmaster finds the server of a database on this machine.
func findPostmaster(database string) *postmaster {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, database)
	must(err)
	defer conn.Close(ctx)
	var dir string
	must(conn.QueryRow(ctx, "SHOW data_directory").Scan(&dir))
	data, err := os.ReadFile(filepath.Join(dir, "postmaster.pid"))
	must(err)
	return &postmaster{strings.Fields(string(data))[0]}
}

// cpu is the processor time of the server's processes, those that have ended included.
func (p *postmaster) cpu() time.Duration {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	must(err)
	ticks := 0
	for _, path := range stats {
		data, err := os.ReadFile(path)
		if err != nil {
			continue // has ended
		}
		fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+2:]))
		count := fields[11:13] // utime, stime
		if own := path == "/proc/"+p.pid+"/stat"; own {
			count = fields[11:15] // and those of children that have ended
		} else if fields[1] != p.pid {
			continue
		}
		for _, text := range count {
			n, err := strconv.Atoi(text)
			must(err)
			ticks += n
		}
	}
	return time.Duration(ticks) * (time.Second / 100) // 100 a second on Linux
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

// report prints what was measured, the subjects below each other, beside what is to be reached. The ratios are to the last
// subject, and to what was noted of it on another machine.
func report(subjects []*subject) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "case\tconnections\tservice\trequests/s\tp50 ms\tp99 ms\tCPU-s per 1,000\tof Postgres\tless CPU\tto reach\t")
	last := subjects[len(subjects)-1]
	for _, c := range cases {
		for _, n := range connections {
			for _, s := range subjects {
				r, base := s.results[c.key(n)], last.results[c.key(n)]
				ratio, goal := "", ""
				if s != last {
					ratio, goal = fmt.Sprintf("%.1fx", base.cpu()/r.cpu()), fmt.Sprintf("%.0fx", c.goal)
				}
				fmt.Fprintf(w, "%s\t%d\t%s\t%.0f\t%.2f\t%.2f\t%.3f\t%.3f\t%s\t%s\t\n", c.name, n, s.name, r.rate(), ms(r.quantile(50)),
					ms(r.quantile(99)), r.cpu(), r.database(), ratio, goal)
			}
			if n == 8 && c.noted.cpu > 0 {
				fmt.Fprintf(w, "%s\t%d\tnoted elsewhere\t%.0f\t\t\t%.3f\t\t%.1fx\t%.0fx\t\n", c.name, n, c.noted.rate, c.noted.cpu,
					c.noted.cpu/subjects[0].results[c.key(n)].cpu(), c.goal)
			}
		}
	}
	must(w.Flush())
	w = tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\nonce\tservice\tseconds\tCPU-s\tof Postgres\tto reach\t")
	for _, name := range []string{wholeRun, wholeRunBatched, longList} {
		goal := ""
		if name != longList {
			goal = "4 s (39 s noted of Metaflow's)"
		}
		for _, s := range subjects {
			if r, ok := s.results[name]; ok {
				fmt.Fprintf(w, "%s\t%s\t%.2f\t%.3f\t%.3f\t%s\t\n", name, s.name, 1/r.rate(), r.cpu()/1000, r.database()/1000, goal)
			}
		}
	}
	fmt.Fprintln(w, "\nresident memory, MiB\tservice\tat rest\tnow\thighest\tto reach\t")
	for _, s := range subjects {
		goal := "60"
		if s.foreign {
			goal = "(71 noted elsewhere)"
		}
		fmt.Fprintf(w, "\t%s\t%d\t%d\t%d\t%s\t\n", s.name, s.rest>>20, s.resident()>>20, s.highest()>>20, goal)
	}
	must(w.Flush())
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// quantile is the time within which so many of a hundred requests were answered.
func (r result) quantile(percent int) time.Duration {
	if len(r.times) == 0 {
		return 0
	}
	slices.Sort(r.times)
	return r.times[len(r.times)*percent/100]
}

// median is that of the rounds.
func (r result) median(of func(round) float64) float64 {
	values := make([]float64, len(r.rounds))
	for i, one := range r.rounds {
		values[i] = of(one)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// rate is in requests a second.
func (r result) rate() float64 {
	return r.median(func(r round) float64 { return float64(r.requests) / r.took.Seconds() })
}

// cpu and database are in seconds for 1,000 requests.
func (r result) cpu() float64 {
	return r.median(func(r round) float64 { return r.cpu.Seconds() / float64(max(r.requests, 1)) * 1000 })
}

func (r result) database() float64 {
	return r.median(func(r round) float64 { return r.database.Seconds() / float64(max(r.requests, 1)) * 1000 })
}
