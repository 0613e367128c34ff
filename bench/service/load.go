//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/httpapi/client"
)

// round is what some requests cost: processor time of the service and of the database.
type round struct {
	requests            int
	took, cpu, database time.Duration
}

// result is what one case cost.
type result struct {
	rounds []round
	times  []time.Duration
}

var connections = []int{1, 8, 64}

// rounds is how often the subjects take turns at a case: others that use the machine then disturb all of them.
const rounds = 5

const (
	wholeRun        = "a run of 1,000 tasks, Metaflow's requests, 8 connections"
	wholeRunBatched = "a run of 1,000 tasks, mf's requests"
	longList        = "listing a step of 10,000 tasks"
)

// fixture is what the cases work on: a run with a step, and one finished task.
type fixture struct {
	flow, run, step, task string
}

func (f fixture) runPath() string  { return "/flows/" + f.flow + "/runs/" + f.run }
func (f fixture) stepPath() string { return f.runPath() + "/steps/" + f.step }
func (f fixture) taskPath() string { return f.stepPath() + "/tasks/" + f.task }

// benchCase is one kind of request; n numbers the requests.
type benchCase struct {
	name string
	// read says that it adds no rows. goal is how many times less CPU than Metaflow's service it is to take.
	read bool
	goal float64
	// noted is what Metaflow's service was once seen to do on another machine with two cores, at 8 connections.
	noted   noted
	request func(f fixture, n int64) (method, path string, body []byte)
}

// noted are requests a second and CPU-seconds for 1,000 requests; zero where unknown.
type noted struct{ rate, cpu float64 }

func (c benchCase) key(connections int) string { return c.name + "/" + strconv.Itoa(connections) }

var cases = []benchCase{
	{"POST run", false, 8, noted{}, func(f fixture, _ int64) (string, string, []byte) {
		return "POST", "/flows/" + f.flow + "/run", common(nil)
	}},
	{"POST task", false, 8, noted{422, 1.6}, func(f fixture, _ int64) (string, string, []byte) {
		return "POST", f.stepPath() + "/task", common(map[string]any{"run_number": f.run, "step_name": f.step})
	}},
	{"POST 20 artifacts", false, 8, noted{83, 8.2}, func(f fixture, n int64) (string, string, []byte) {
		return "POST", f.taskPath() + "/artifact", artifacts(f, 20, n)
	}},
	{"POST 10 metadata", false, 8, noted{}, func(f fixture, _ int64) (string, string, []byte) {
		return "POST", f.taskPath() + "/metadata", values(f, 10)
	}},
	{"GET run", true, 10, noted{1581, 0.57}, func(f fixture, _ int64) (string, string, []byte) { return "GET", f.runPath(), nil }},
	{"GET task's artifacts", true, 10, noted{}, func(f fixture, _ int64) (string, string, []byte) {
		return "GET", "/flows/" + f.flow + "/runs/" + f.run + "/steps/read/tasks/" + f.task + "/artifacts", nil
	}},
}

var systemTags = []string{"runtime:dev", "python_version:3.11.7", "user:bench", "metaflow_version:2.19.39"}

// common is a body as Metaflow's client sends it.
func common(more map[string]any) []byte {
	body := map[string]any{"flow_id": "BenchFlow", "user_name": "bench", "tags": []string{"nightly"}, "system_tags": systemTags,
		"ts_epoch": 1700000000000}
	for k, v := range more {
		body[k] = v
	}
	return encode(body)
}

func encode(v any) []byte {
	data, err := json.Marshal(v)
	must(err)
	return data
}

func artifacts(f fixture, n int, unique int64) []byte {
	rows := make([]map[string]any, n)
	for i := range rows {
		rows[i] = map[string]any{"run_number": f.run, "step_name": f.step, "task_id": f.task, "attempt_id": 0,
			"name": fmt.Sprintf("artifact_%d_%d", unique, i), "content_type": "gzip+pickle-v4", "type": "metaflow.artifact",
			"sha": fmt.Sprintf("%040x", i), "ds_type": "s3", "location": ":root:s3://bucket/prefix",
			"flow_id": f.flow, "user_name": "bench", "tags": []string{"nightly"}, "system_tags": systemTags, "ts_epoch": 1700000000000}
	}
	return encode(rows)
}

func values(f fixture, n int) []byte {
	rows := make([]map[string]any, n)
	for i := range rows {
		rows[i] = map[string]any{"flow_id": f.flow, "run_number": f.run, "step_name": f.step, "task_id": f.task,
			"field_name": fmt.Sprintf("field-%d", i), "type": "text", "value": "some value", "tags": []string{"attempt_id:0"},
			"user_name": "bench", "ts_epoch": 1700000000000}
	}
	return encode(rows)
}

// caller sends requests to one service over as many connections as it is asked to keep.
type caller struct {
	base string
	http *http.Client
}

func newCaller(base string, connections int) *caller {
	return &caller{base, &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections, MaxConnsPerHost: connections}}}
}

func (c *caller) call(method, path string, body []byte) []byte {
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	req, err := http.NewRequest(method, c.base+path, reader)
	must(err)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	must(err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	must(err)
	if resp.StatusCode != http.StatusOK {
		log.Fatalf("%s %s: %s %s", method, path, resp.Status, data)
	}
	return data
}

// id reads a minted id out of an answer.
func id(data []byte, key string) string {
	var m map[string]any
	must(json.Unmarshal(data, &m))
	if n, ok := m[key].(float64); ok {
		return strconv.FormatInt(int64(n), 10)
	}
	return fmt.Sprint(m[key])
}

// prepare makes the fixture.
func prepare(c *caller, flow string) fixture {
	f := fixture{flow: flow, step: "work"}
	c.call("POST", "/flows/"+flow, encode(map[string]any{"flow_id": flow}))
	f.run = id(c.call("POST", "/flows/"+flow+"/run", common(nil)), "run_number")
	for _, step := range []string{"work", "read", "long"} {
		c.call("POST", f.runPath()+"/steps/"+step+"/step", common(nil))
	}
	f.task = id(c.call("POST", f.runPath()+"/steps/read/task", common(nil)), "task_id")
	c.call("POST", f.runPath()+"/steps/read/tasks/"+f.task+"/artifact", artifacts(f, 20, 0))
	return f
}

func measureAll(subjects []*subject, duration time.Duration) {
	fixtures := map[*subject]fixture{}
	for _, s := range subjects {
		fixtures[s] = prepare(newCaller(s.url, 1), "BenchFlow")
	}
	for _, c := range cases {
		for _, n := range connections {
			loads := make([]*load, len(subjects))
			for i, s := range subjects {
				loads[i] = s.newLoad(c, fixtures[s], n)
				loads[i].run(duration / 10)
				loads[i].times = nil
			}
			for range rounds {
				for _, l := range loads {
					l.round(duration / rounds)
				}
			}
			for i, s := range subjects {
				s.results[c.key(n)] = loads[i].result
				loads[i].caller.http.CloseIdleConnections()
			}
		}
		log.Printf("measured %s", c.name)
	}
	for _, s := range subjects {
		times := 3
		if s.foreign {
			times = 1
		}
		for range times {
			s.timed(wholeRun, func() { s.wholeRun(8) })
		}
		if !s.foreign {
			for range times {
				s.timed(wholeRunBatched, s.batchedRun)
			}
		}
		log.Printf("measured the whole run of %s", s.name)
		caller := newCaller(s.url, 8)
		parallel(8, 10_000, func(int) { caller.call("POST", fixtures[s].runPath()+"/steps/long/task", common(nil)) })
		for range 3 {
			s.timed(longList, func() { caller.call("GET", fixtures[s].runPath()+"/steps/long/tasks", nil) })
		}
	}
}

// timed adds a round of something that is done once.
func (s *subject) timed(name string, f func()) {
	r := s.results[name]
	r.rounds = append(r.rounds, s.measured(func() int { f(); return 1 }))
	s.results[name] = r
}

// measured tells what f costs, which returns the number of its requests.
func (s *subject) measured(f func() int) round {
	cpu, database, started := s.cpu(), s.postgres.cpu(), time.Now()
	n := f()
	return round{n, time.Since(started), s.cpu() - cpu, s.postgres.cpu() - database}
}

// load is one kind of request, sent over some connections.
type load struct {
	result
	subject *subject
	of      benchCase
	target  fixture
	caller  *caller
	width   int
	serial  atomic.Int64
}

func (s *subject) newLoad(c benchCase, f fixture, connections int) *load {
	l := &load{subject: s, of: c, target: f, caller: newCaller(s.url, connections), width: connections}
	if !c.read {
		// Rows are added to a task of this load's own, whose size then does not depend on those before.
		l.target.task = id(l.caller.call("POST", f.stepPath()+"/task", common(nil)), "task_id")
	}
	return l
}

// run sends requests for a while and returns how many.
func (l *load) run(d time.Duration) int {
	var mu sync.Mutex
	var wg sync.WaitGroup
	before, until := len(l.times), time.Now().Add(d)
	for range l.width {
		wg.Go(func() {
			var own []time.Duration
			for time.Now().Before(until) {
				method, path, body := l.of.request(l.target, l.serial.Add(1))
				started := time.Now()
				l.caller.call(method, path, body)
				own = append(own, time.Since(started))
			}
			mu.Lock()
			defer mu.Unlock()
			l.times = append(l.times, own...)
		})
	}
	wg.Wait()
	return len(l.times) - before
}

func (l *load) round(d time.Duration) {
	l.rounds = append(l.rounds, l.subject.measured(func() int { return l.run(d) }))
}

// parallel calls f with 0 to n-1, some at a time.
func parallel(width, n int, f func(i int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range width {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				f(int(i))
			}
		})
	}
	wg.Wait()
}

// wholeRun registers a run of 1,000 tasks with the requests that Metaflow's scheduler and its tasks send.
func (s *subject) wholeRun(width int) {
	c := newCaller(s.url, width)
	defer c.http.CloseIdleConnections()
	f := fixture{flow: "BenchFlow", step: "work"}
	f.run = id(c.call("POST", "/flows/"+f.flow+"/run", common(nil)), "run_number")
	c.call("POST", f.stepPath()+"/step", common(nil))
	parallel(width, 1000, func(int) {
		c.call("GET", f.stepPath(), nil)
		t := f
		t.task = id(c.call("POST", f.stepPath()+"/task", common(nil)), "task_id")
		for _, n := range []int{6, 6, 6} { // of the scheduler, of the task, of its attempt
			c.call("POST", t.taskPath()+"/metadata", values(t, n))
		}
		c.call("GET", "/ping", nil)
		for range 2 { // that the attempt went well, and that it is done
			c.call("POST", t.taskPath()+"/metadata", values(t, 1))
		}
		c.call("POST", t.taskPath()+"/artifact", artifacts(t, 20, 0))
	})
}

// batchedRun registers such a run as mf does.
func (s *subject) batchedRun() {
	service, err := client.New(client.Options{URL: s.url, Now: time.Now})
	must(err)
	ctx := context.Background()
	env := metadata.Env{User: "bench", PythonVersion: "3.11.7", MetaflowVersion: "2.19.39", Tags: []string{"nightly"}, DsType: "s3", DsRoot: "s3://bucket/prefix"}
	run, err := service.CreateRun(ctx, env.Run("BatchedFlow", ""))
	must(err)
	queue := metadata.NewQueue(service, metadata.QueueOptions{})
	refs := map[string]metadata.ArtifactRef{}
	for i := range 20 {
		refs[fmt.Sprintf("artifact_%d", i)] = metadata.ArtifactRef{Sha: fmt.Sprintf("%040x", i), ContentType: "pickle-v4"}
	}
	for i := range 1000 {
		t := metadata.TaskRef{Flow: "BatchedFlow", Run: run.RunID, Step: "work", Task: fmt.Sprintf("t-%d", i)}
		b := env.TaskRegistered(t, 0, time.Now())
		b.Add(env.TaskStarted(t, 0, nil, time.Now()))
		must(queue.Add(b))
		must(queue.Add(env.TaskFinished(t, 0, true, refs, time.Now())))
	}
	must(queue.Close())
}
