package metadata_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/memory"
)

// recorder notes the batches that reach it, and can be made to wait or fail.
type recorder struct {
	metadata.Recorder // for the methods that a queue must not call

	mu      sync.Mutex
	batches [][]string
	gate    chan struct{} // if set, each Record takes one token
	fail    func(n int) error
}

func (r *recorder) Record(_ context.Context, b metadata.Batch) error {
	if r.gate != nil {
		<-r.gate
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var values []string
	for _, m := range b.Metadata {
		values = append(values, m.Value)
	}
	r.batches = append(r.batches, values)
	if r.fail != nil {
		return r.fail(len(r.batches))
	}
	return nil
}

// flat returns the values in the order in which they arrived, and the number of batches.
func (r *recorder) flat() (values []string, batches int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range r.batches {
		values = append(values, b...)
	}
	return values, len(r.batches)
}

func value(v string) metadata.Batch {
	return metadata.Batch{Metadata: []metadata.Metadatum{{Value: v}}}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestQueueKeepsOrder(t *testing.T) {
	r := &recorder{}
	q := metadata.NewQueue(r, metadata.QueueOptions{MaxRows: 7})
	const workers, each = 4, 200
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				if err := q.Add(value(fmt.Sprint(w, " ", i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	must(t, q.Flush(t.Context()))
	values, _ := r.flat()
	if len(values) != workers*each {
		t.Fatalf("%d values after Flush", len(values))
	}
	next := map[int]int{}
	for _, v := range values {
		var w, i int
		if _, err := fmt.Sscan(v, &w, &i); err != nil || i != next[w] {
			t.Fatalf("%s, expected %d: %v", v, next[w], err)
		}
		next[w]++
	}
	must(t, q.Close())
}

// TestQueueGathers: while the writer is busy, what comes in is gathered to one batch.
func TestQueueGathers(t *testing.T) {
	r := &recorder{gate: make(chan struct{})}
	q := metadata.NewQueue(r, metadata.QueueOptions{MaxRows: 1})
	must(t, q.Add(value("first")))
	for i := range 50 {
		must(t, q.Add(value(strconv.Itoa(i))))
	}
	close(r.gate)
	must(t, q.Close())
	if values, batches := r.flat(); len(values) != 51 || batches > 3 {
		t.Errorf("%d values in %d batches", len(values), batches)
	}
}

// TestQueueWritesUnasked: neither many rows nor a flush is needed.
func TestQueueWritesUnasked(t *testing.T) {
	r := &recorder{}
	q := metadata.NewQueue(r, metadata.QueueOptions{MaxDelay: time.Millisecond})
	for i := range 3 {
		must(t, q.Add(value(strconv.Itoa(i))))
		for deadline := time.Now().Add(10 * time.Second); ; {
			if values, _ := r.flat(); len(values) == i+1 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("nothing was written")
			}
			time.Sleep(time.Millisecond)
		}
	}
	must(t, q.Close())
}

// TestQueueIsBounded: Add waits while the queue is full, and no longer.
func TestQueueIsBounded(t *testing.T) {
	r := &recorder{gate: make(chan struct{})}
	q := metadata.NewQueue(r, metadata.QueueOptions{MaxRows: 1, Capacity: 10})
	added := make(chan int, 100)
	go func() {
		for i := range 60 {
			if err := q.Add(value(strconv.Itoa(i))); err != nil {
				t.Error(err)
			}
			added <- i
		}
		close(added)
	}()
	time.Sleep(20 * time.Millisecond)
	if n := len(added); n > 20 {
		t.Errorf("%d were added to a queue of 10", n)
	}
	close(r.gate)
	last := -1
	for last = range added {
		continue
	}
	must(t, q.Close())
	if values, _ := r.flat(); last != 59 || len(values) != 60 {
		t.Errorf("%d added, %d written", last+1, len(values))
	}
}

func TestQueueKeepsTheFirstError(t *testing.T) {
	first := errors.New("first")
	r := &recorder{fail: func(n int) error {
		switch n {
		case 2:
			return first
		case 3:
			return errors.New("second")
		}
		return nil
	}}
	q := metadata.NewQueue(r, metadata.QueueOptions{})
	for i, want := range []error{nil, first, first, first} {
		_ = q.Add(value(strconv.Itoa(i))) // reports what was known before
		if err := q.Flush(t.Context()); !errors.Is(err, want) {
			t.Errorf("flush %d: %v", i, err)
		}
	}
	if err := q.Add(value("4")); !errors.Is(err, first) {
		t.Errorf("Add: %v", err)
	}
	for range 2 {
		if err := q.Close(); !errors.Is(err, first) {
			t.Errorf("Close: %v", err)
		}
	}
	if err := q.Add(value("5")); !errors.Is(err, first) || !errors.Is(err, metadata.ErrClosed) {
		t.Errorf("Add after Close: %v", err)
	}
	if values, _ := r.flat(); len(values) != 5 {
		t.Errorf("written: %q", values)
	}
}

func TestQueueFlushGivesUp(t *testing.T) {
	r := &recorder{gate: make(chan struct{})}
	q := metadata.NewQueue(r, metadata.QueueOptions{MaxRows: 1})
	must(t, q.Flush(t.Context()))
	must(t, q.Add(value("x")))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	if err := q.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("flush: %v", err)
	}
	close(r.gate)
	must(t, q.Flush(t.Context()))
	must(t, q.Close())
}

func TestQueueIntoAStore(t *testing.T) {
	store := memory.New(func() time.Time { return time.UnixMilli(1000) })
	run, err := store.CreateRun(t.Context(), metadata.Run{FlowID: "F"})
	must(t, err)
	q := metadata.NewQueue(store, metadata.QueueOptions{})
	env := metadata.Env{User: "u"}
	for i := range 100 {
		ref := metadata.TaskRef{Flow: "F", Run: run.RunID, Step: "s", Task: strconv.Itoa(i)}
		must(t, q.Add(env.TaskRegistered(ref, 0, time.UnixMilli(5))))
		must(t, q.Add(env.TaskStarted(ref, 0, nil, time.UnixMilli(6))))
		must(t, q.Add(env.TaskFinished(ref, 0, true, nil, time.UnixMilli(7))))
	}
	must(t, q.Close())
	tasks, err := store.Tasks(t.Context(), "F", run.RunID, "s")
	must(t, err)
	if len(tasks) != 100 {
		t.Errorf("%d tasks", len(tasks))
	}
}

// outage plays a recorder with some patience in front of a store that is away at times.
type outage struct {
	metadata.Recorder
	mu   sync.Mutex
	away bool
}

func (o *outage) set(away bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.away = away
}

func (o *outage) Record(ctx context.Context, b metadata.Batch) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.away {
		return fmt.Errorf("trying: %w", metadata.ErrUnavailable)
	}
	return o.Recorder.Record(ctx, b)
}

// TestQueueAfterAnOutage: what could not be written is dropped and counted, what comes later is written, and what lacks its
// parents since then does not take anything else with it.
func TestQueueAfterAnOutage(t *testing.T) {
	store := memory.New(func() time.Time { return time.UnixMilli(1000) })
	for _, run := range []string{"1", "2"} {
		_, err := store.CreateRun(t.Context(), metadata.Run{FlowID: "F", RunID: run})
		must(t, err)
	}
	o := &outage{Recorder: store}
	q := metadata.NewQueue(o, metadata.QueueOptions{})
	env := metadata.Env{User: "u"}
	ref := func(run, task string) metadata.TaskRef {
		return metadata.TaskRef{Flow: "F", Run: run, Step: "s", Task: task}
	}
	o.set(true)
	must(t, q.Add(env.TaskRegistered(ref("1", "0"), 0, time.UnixMilli(5))))
	must(t, q.Add(env.TaskRegistered(ref("2", "0"), 0, time.UnixMilli(5))))
	if err := q.Flush(t.Context()); !errors.Is(err, metadata.ErrUnavailable) {
		t.Fatalf("flush: %v", err)
	}
	o.set(false)
	lost := env.TaskStarted(ref("1", "0"), 0, nil, time.UnixMilli(6))
	for _, b := range []metadata.Batch{
		env.TaskRegistered(ref("1", "1"), 0, time.UnixMilli(6)), lost, env.TaskStarted(ref("1", "1"), 0, nil, time.UnixMilli(7)),
		env.TaskRegistered(ref("1", "2"), 0, time.UnixMilli(8)),
	} {
		must(t, q.Add(b)) // an outage is no reason to stop
	}
	if err := q.Close(); !errors.Is(err, metadata.ErrUnavailable) {
		t.Errorf("close: %v", err)
	}
	tasks, err := store.Tasks(t.Context(), "F", "1", "")
	must(t, err)
	values, err := store.Metadata(t.Context(), "F", "1", "s", "1")
	must(t, err)
	if len(tasks) != 2 || len(values) < 5 {
		t.Errorf("%d tasks, %d values", len(tasks), len(values))
	}
	if got := fmt.Sprint(q.Dropped()); got != "[F/1/s/0 F/2/s/0]" {
		t.Errorf("dropped: %s", got)
	}
	registered := env.TaskRegistered(ref("1", "0"), 0, time.UnixMilli(5))
	if got, want := q.Undelivered(), 2*(2+len(registered.Metadata))+len(lost.Metadata); got != want {
		t.Errorf("%d undelivered, want %d", got, want)
	}
}

// TestQueueDoesNotBlockInAnOutage: thousands of tasks go on while the recorder waits.
func TestQueueDoesNotBlockInAnOutage(t *testing.T) {
	r := &recorder{gate: make(chan struct{})}
	q := metadata.NewQueue(r, metadata.QueueOptions{})
	added := make(chan struct{})
	const n = 150_000
	go func() {
		defer close(added)
		for i := range n {
			if err := q.Add(value(strconv.Itoa(i))); err != nil {
				t.Error(err)
			}
		}
	}()
	select {
	case <-added:
	case <-time.After(30 * time.Second):
		t.Fatal("Add waits")
	}
	close(r.gate)
	must(t, q.Close())
	values, batches := r.flat()
	if len(values) != n || batches < n/2000 || batches > n/1000 {
		t.Fatalf("%d values in %d batches", len(values), batches)
	}
	for i, v := range values {
		if v != strconv.Itoa(i) {
			t.Fatalf("value %d is %s", i, v)
		}
	}
}

// TestQueueBoundsMemory: long values fill the queue as many do.
func TestQueueBoundsMemory(t *testing.T) {
	r := &recorder{gate: make(chan struct{})}
	q := metadata.NewQueue(r, metadata.QueueOptions{MaxRows: 1, MaxBytes: 100_000})
	added := make(chan int, 100)
	go func() {
		defer close(added)
		long := strings.Repeat("x", 10_000)
		for i := range 60 {
			if err := q.Add(value(long)); err != nil {
				t.Error(err)
			}
			added <- i
		}
	}()
	time.Sleep(20 * time.Millisecond)
	if n := len(added); n > 22 { // as many may be with the writer
		t.Errorf("%d were added", n)
	}
	close(r.gate)
	for range added {
		continue
	}
	must(t, q.Close())
	if values, _ := r.flat(); len(values) != 60 {
		t.Errorf("%d written", len(values))
	}
}

// waiting is a recorder that waits until its context ends.
type waiting struct{ metadata.Recorder }

func (waiting) Record(ctx context.Context, _ metadata.Batch) error {
	<-ctx.Done()
	return fmt.Errorf("waiting: %w", context.Cause(ctx))
}

func TestQueueCloseGivesUp(t *testing.T) {
	q := metadata.NewQueue(waiting{}, metadata.QueueOptions{MaxRows: 1})
	for i := range 5 {
		must(t, q.Add(value(strconv.Itoa(i))))
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := q.CloseContext(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("close: %v", err)
	}
	if n := q.Undelivered(); n != 5 {
		t.Errorf("%d undelivered", n)
	}
	if err := q.Add(value("late")); !errors.Is(err, metadata.ErrClosed) {
		t.Errorf("add: %v", err)
	}
}
