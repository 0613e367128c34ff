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
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/httpapi/client"
)

// result is what one case cost.
type result struct {
	requests  int
	took, cpu time.Duration
	p50, p99  time.Duration
}

var connections = []int{1, 8, 64}

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
	name    string
	request func(f fixture, n int64) (method, path string, body []byte)
}

func (c benchCase) key(connections int) string { return c.name + "/" + strconv.Itoa(connections) }

var cases = []benchCase{
	{"POST run", func(f fixture, _ int64) (string, string, []byte) {
		return "POST", "/flows/" + f.flow + "/run", common(nil)
	}},
	{"POST task", func(f fixture, _ int64) (string, string, []byte) { return "POST", f.stepPath() + "/task", common(nil) }},
	{"POST 20 artifacts", func(f fixture, n int64) (string, string, []byte) {
		return "POST", f.taskPath() + "/artifact", artifacts(20, n)
	}},
	{"POST 10 metadata", func(f fixture, _ int64) (string, string, []byte) {
		return "POST", f.taskPath() + "/metadata", values(10)
	}},
	{"GET run", func(f fixture, _ int64) (string, string, []byte) { return "GET", f.runPath(), nil }},
	{"GET task's artifacts", func(f fixture, _ int64) (string, string, []byte) {
		return "GET", "/flows/" + f.flow + "/runs/" + f.run + "/steps/read/tasks/" + f.task + "/artifacts", nil
	}},
}

var systemTags = []string{"runtime:dev", "python_version:3.11.7", "user:bench", "metaflow_version:2.19.39"}

// common is a body as Metaflow's client sends it.
func common(more map[string]any) []byte {
	body := map[string]any{"user_name": "bench", "tags": []string{"nightly"}, "system_tags": systemTags, "ts_epoch": 1700000000000}
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

func artifacts(n int, unique int64) []byte {
	rows := make([]map[string]any, n)
	for i := range rows {
		rows[i] = map[string]any{"name": fmt.Sprintf("artifact_%d_%d", unique, i), "attempt_id": 0, "content_type": "pickle-v4",
			"type": "metaflow.artifact", "sha": fmt.Sprintf("%040x", i), "ds_type": "s3", "location": ":root:s3://bucket/prefix",
			"user_name": "bench", "tags": []string{"nightly"}, "system_tags": systemTags}
	}
	return encode(rows)
}

func values(n int) []byte {
	rows := make([]map[string]any, n)
	for i := range rows {
		rows[i] = map[string]any{"field_name": fmt.Sprintf("field-%d", i), "value": "some value", "type": "text",
			"tags": []string{"attempt_id:0"}, "user_name": "bench"}
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
	c.call("POST", f.runPath()+"/steps/read/tasks/"+f.task+"/artifact", artifacts(20, 0))
	return f
}

func measure(subjects []*subject, duration time.Duration) {
	fixtures := map[*subject]fixture{}
	for _, s := range subjects {
		fixtures[s] = prepare(newCaller(s.url, 1), "BenchFlow")
	}
	var serial atomic.Int64
	for _, c := range cases {
		for _, n := range connections {
			for _, s := range subjects {
				s.results[c.key(n)] = s.load(c, fixtures[s], n, duration, &serial)
			}
		}
		log.Printf("measured %s", c.name)
	}
	for _, s := range subjects {
		s.results[wholeRun] = s.timed(func() { s.wholeRun(8) })
		if s != subjects[len(subjects)-1] || len(subjects) == 1 {
			s.results[wholeRunBatched] = s.timed(s.batchedRun)
		}
		log.Printf("measured the whole run of %s", s.name)
		caller := newCaller(s.url, 8)
		parallel(8, 10_000, func(int) { caller.call("POST", fixtures[s].runPath()+"/steps/long/task", common(nil)) })
		s.results[longList] = s.timed(func() { caller.call("GET", fixtures[s].runPath()+"/steps/long/tasks", nil) })
	}
}

func (s *subject) timed(f func()) result {
	cpu, started := s.cpu(), time.Now()
	f()
	return result{requests: 1, took: time.Since(started), cpu: s.cpu() - cpu}
}

// load sends one kind of request for a while.
func (s *subject) load(c benchCase, f fixture, connections int, duration time.Duration, serial *atomic.Int64) result {
	target := f
	if c.name != cases[5].name {
		// Rows are added to a task of this case's own, whose size then does not depend on the cases before.
		target.task = id(newCaller(s.url, 1).call("POST", f.stepPath()+"/task", common(nil)), "task_id")
	}
	caller := newCaller(s.url, connections)
	var mu sync.Mutex
	var times []time.Duration
	run := func(until time.Time) {
		var wg sync.WaitGroup
		for range connections {
			wg.Go(func() {
				var own []time.Duration
				for time.Now().Before(until) {
					method, path, body := c.request(target, serial.Add(1))
					started := time.Now()
					caller.call(method, path, body)
					own = append(own, time.Since(started))
				}
				mu.Lock()
				defer mu.Unlock()
				times = append(times, own...)
			})
		}
		wg.Wait()
	}
	run(time.Now().Add(duration / 10))
	times = nil
	cpu, started := s.cpu(), time.Now()
	run(started.Add(duration))
	r := result{requests: len(times), took: time.Since(started), cpu: s.cpu() - cpu}
	slices.Sort(times)
	r.p50, r.p99 = times[len(times)/2], times[len(times)*99/100]
	return r
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
	flow := "WideFlow"
	c.call("POST", "/flows/"+flow, encode(map[string]any{"flow_id": flow}))
	f := fixture{flow: flow, step: "work", run: id(c.call("POST", "/flows/"+flow+"/run", common(nil)), "run_number")}
	c.call("POST", f.stepPath()+"/step", common(nil))
	parallel(width, 1000, func(int) {
		c.call("GET", f.stepPath(), nil)
		t := f
		t.task = id(c.call("POST", f.stepPath()+"/task", common(nil)), "task_id")
		c.call("POST", t.taskPath()+"/metadata", values(6))
		c.call("POST", t.taskPath()+"/metadata", values(6))
		c.call("POST", t.taskPath()+"/metadata", values(6))
		c.call("GET", "/ping", nil)
		c.call("POST", t.taskPath()+"/metadata", values(1))
		c.call("POST", t.taskPath()+"/metadata", values(1))
		c.call("POST", t.taskPath()+"/artifact", artifacts(20, 0))
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
