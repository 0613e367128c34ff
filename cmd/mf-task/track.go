package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mf-run/mf/metadata"
)

const (
	// firstBeat is when a task says for the first time that it is alive: a shorter one has nothing to say.
	firstBeat = 2 * time.Second
	// beatPause is the time between two heartbeats where the service does not ask for another.
	beatPause = 10 * time.Second
	// stoppedPatience is how long metadata is waited for once the program was told to stop.
	stoppedPatience = 5 * time.Second
)

// service is what a tracker needs of a metadata service.
type service interface {
	metadata.Recorder
	metadata.Heart
}

// tracker keeps the metadata service informed. Nothing that goes wrong there fails a task: the datastore has it all.
type tracker struct {
	service    service
	flow, run  string
	row        func() metadata.Run // what to register the run as
	registers  bool                // whether this invocation comes first in its run
	warn       func(format string, args ...any)
	now        func() time.Time
	queue      *metadata.Queue
	beating    context.CancelFunc
	beats      sync.WaitGroup
	registered bool        // used by the queue's goroutine alone
	revived    atomic.Bool // the run goes on although it had ended

	mu    sync.Mutex
	alive map[metadata.TaskRef]struct{}
	fate  *metadata.Run // what the run has come to; nil if this invocation does not know
}

// newTracker starts to track a run. close ends it.
func newTracker(s service, flow, run string, registers bool) *tracker {
	t := &tracker{service: s, flow: flow, run: run, registers: registers, alive: map[metadata.TaskRef]struct{}{}}
	ctx, cancel := context.WithCancel(context.Background())
	t.beating = cancel
	t.queue = metadata.NewQueue((*registrar)(t), metadata.QueueOptions{})
	t.beats.Go(func() { t.beat(ctx) })
	return t
}

// Add implements runtime.Sink.
func (t *tracker) Add(b metadata.Batch) error {
	_ = t.queue.Add(b) // close returns the first error
	return nil
}

// started and ended say which tasks are alive.
func (t *tracker) started(task metadata.TaskRef) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.alive[task] = struct{}{}
}

func (t *tracker) ended(task metadata.TaskRef) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.alive, task)
}

func (t *tracker) beat(ctx context.Context) {
	for pause := firstBeat; ; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		t.mu.Lock()
		tasks := make([]metadata.TaskRef, 0, len(t.alive))
		for task := range t.alive {
			tasks = append(tasks, task)
		}
		t.mu.Unlock()
		// Best effort: readers see a stale heartbeat at worst.
		var err error
		if pause, err = t.service.Beat(ctx, t.flow, t.run, tasks); err != nil || pause <= 0 {
			pause = beatPause
		}
	}
}

// decide says what the run has come to.
func (t *tracker) decide(status metadata.Status, failure string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.fate == nil || status == metadata.Failed {
		t.fate = &metadata.Run{FlowID: t.flow, RunID: t.run, Status: status, Failure: failure, FinishedMs: t.now().UnixMilli()}
	}
}

// close delivers what is left. Once stop is done it does not wait long.
func (t *tracker) close(stop context.Context) {
	t.beating()
	t.beats.Wait()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer context.AfterFunc(stop, func() { time.AfterFunc(stoppedPatience, cancel) })()
	err := t.queue.CloseContext(ctx)
	if err == nil && t.fate != nil {
		err = t.settle(ctx, *t.fate)
	}
	if err != nil {
		t.warn("the metadata of this task could not be delivered: %v; the datastore has it, and \"mf repair %s/%s\" delivers it from there",
			err, t.flow, t.run)
	}
}

// settle records what the run has come to.
func (t *tracker) settle(ctx context.Context, fate metadata.Run) error {
	err := t.service.UpdateRun(ctx, fate)
	if errors.Is(err, metadata.ErrNotFound) {
		if err = (*registrar)(t).register(ctx); err == nil {
			err = t.service.UpdateRun(ctx, fate)
		}
	}
	return err
}

// registrar is the recorder behind a tracker's queue: it registers the run ahead of its first rows.
type registrar tracker

// Record implements metadata.Recorder.
func (r *registrar) Record(ctx context.Context, b metadata.Batch) error {
	if r.registers && !r.registered {
		if err := r.register(ctx); err != nil {
			return err
		}
	}
	if r.revived.Swap(false) {
		err := r.service.UpdateRun(ctx, metadata.Run{FlowID: r.flow, RunID: r.run, Status: metadata.Running})
		if err != nil && !errors.Is(err, metadata.ErrNotFound) {
			return fmt.Errorf("recording that the run goes on: %w", err)
		}
	}
	err := r.service.Record(ctx, b)
	if errors.Is(err, metadata.ErrNotFound) && !r.registered {
		// Whoever came first could not register it.
		if err = r.register(ctx); err == nil {
			err = r.service.Record(ctx, b)
		}
	}
	return err
}

// register makes the run known; that it is known already is no error.
func (r *registrar) register(ctx context.Context) error {
	row := r.row()
	row.LastHeartbeat = r.now().Unix()
	if _, err := r.service.CreateRun(ctx, row); err != nil && !errors.Is(err, metadata.ErrExists) {
		return fmt.Errorf("registering the run: %w", err)
	}
	r.registered = true
	return nil
}

// CreateRun implements metadata.Recorder.
func (r *registrar) CreateRun(ctx context.Context, run metadata.Run) (metadata.Run, error) {
	return r.service.CreateRun(ctx, run)
}

// UpdateRun implements metadata.Recorder.
func (r *registrar) UpdateRun(ctx context.Context, run metadata.Run) error {
	return r.service.UpdateRun(ctx, run)
}

// MutateTags implements metadata.Recorder.
func (r *registrar) MutateTags(ctx context.Context, flow, run string, add, remove []string) ([]string, error) {
	return r.service.MutateTags(ctx, flow, run, add, remove)
}
