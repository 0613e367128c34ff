package metadata

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"
)

// QueueOptions tune a Queue. A zero field takes its default.
type QueueOptions struct {
	// MaxRows is the number of rows from which on they are written at once; 1000 by default.
	MaxRows int
	// MaxDelay is the longest that a row waits for company; 20 ms by default.
	MaxDelay time.Duration
	// Capacity is the number of waiting rows at which Add waits for the writer; 200,000 by default, the rows of some
	// thousand tasks.
	Capacity int
	// MaxBytes is likewise the memory of the waiting rows, in bytes, as estimated; 64 MiB by default.
	MaxBytes int
}

// maxWrite is the number of rows that are written together, unless one batch has more.
const maxWrite = 2000

// Queue writes batches to a Recorder in the background, many in one transaction and in the order they were added. It
// is safe for concurrent use.
//
// A Recorder that waits out an outage makes the queue wait with it, and what is added meanwhile is kept. A batch that
// could not be written is dropped and counted; the ones after it are written all the same. The first error is kept.
type Queue struct {
	rec Recorder
	opt QueueOptions
	// ctx is the recorder's; giveUp ends it.
	ctx    context.Context
	giveUp context.CancelCauseFunc

	mu sync.Mutex
	// moved is signalled when rows have left the queue or were written, and when it was closed.
	moved   *sync.Cond
	pending []Batch
	// rows and bytes are those of pending.
	rows, bytes int
	// added and written count the batches that came in and that have been dealt with.
	added, written uint64
	closed         bool
	// err is the first error; refused the first that is no consequence of an outage.
	err, refused error
	dropped      []TaskRef
	isDropped    map[TaskRef]bool
	undelivered  int

	// wake tells the writer that something is waiting, urgent that it is not to wait for more.
	wake, urgent chan struct{}
	stopped      chan struct{}
}

// NewQueue starts a queue in front of r. Close ends it.
func NewQueue(r Recorder, opt QueueOptions) *Queue {
	if opt.MaxRows <= 0 {
		opt.MaxRows = 1000
	}
	if opt.MaxDelay <= 0 {
		opt.MaxDelay = 20 * time.Millisecond
	}
	if opt.Capacity <= 0 {
		opt.Capacity = 200_000
	}
	if opt.MaxBytes <= 0 {
		opt.MaxBytes = 64 << 20
	}
	q := &Queue{
		rec: r, opt: opt, isDropped: map[TaskRef]bool{},
		wake: make(chan struct{}, 1), urgent: make(chan struct{}, 1), stopped: make(chan struct{}),
	}
	q.ctx, q.giveUp = context.WithCancelCause(context.Background())
	q.moved = sync.NewCond(&q.mu)
	go q.run()
	return q
}

// Add takes a batch over; its slices must not be changed afterwards. It waits only while the queue is full. The error
// is ErrClosed, or the first one with which the recorder has refused a batch so far: that it was not available, or lacks
// what was to be written while it was not, is no reason to stop, and told by Flush and Close.
func (q *Queue) Add(b Batch) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for (q.rows >= q.opt.Capacity || q.bytes >= q.opt.MaxBytes) && !q.closed {
		q.moved.Wait()
	}
	if q.closed {
		return errors.Join(q.err, ErrClosed)
	}
	if b.Empty() {
		return q.refused
	}
	q.pending = append(q.pending, b)
	q.rows += b.rows()
	q.bytes += b.bytes()
	q.added++
	signal(q.wake)
	if q.rows >= q.opt.MaxRows {
		signal(q.urgent)
	}
	return q.refused
}

// Flush waits until everything added before is written or dropped, or ctx ends. The error is the first one so far.
func (q *Queue) Flush(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.moved.Broadcast()
	})
	defer stop()
	q.mu.Lock()
	defer q.mu.Unlock()
	for target := q.added; q.written < target; {
		if err := ctx.Err(); err != nil {
			return errors.Join(q.err, err)
		}
		signal(q.urgent)
		q.moved.Wait()
	}
	return q.err
}

// Close writes what is waiting and ends the queue, which takes as long as the recorder's patience. It returns the first
// error of the queue's life. Idempotent.
func (q *Queue) Close() error { return q.CloseContext(context.Background()) }

// CloseContext is Close that ends when ctx does: what is not written then is dropped, and counted so.
func (q *Queue) CloseContext(ctx context.Context) error {
	q.mu.Lock()
	q.closed = true
	q.moved.Broadcast()
	q.mu.Unlock()
	signal(q.wake)
	signal(q.urgent)
	select {
	case <-q.stopped:
	case <-ctx.Done():
		q.giveUp(context.Cause(ctx))
		<-q.stopped
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.err
}

// Undelivered returns how many rows were dropped so far.
func (q *Queue) Undelivered() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.undelivered
}

// Dropped returns the tasks of which rows were dropped so far, in the order of the first ones. A step's row counts for a
// TaskRef without task. What a store lacks of a run can be rebuilt from the datastore.
func (q *Queue) Dropped() []TaskRef {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.dropped)
}

// run is the writer.
func (q *Queue) run() {
	defer close(q.stopped)
	defer q.giveUp(nil)
	timer := time.NewTimer(q.opt.MaxDelay)
	defer timer.Stop()
	for {
		<-q.wake
		timer.Reset(q.opt.MaxDelay)
		select {
		case <-timer.C:
		case <-q.urgent:
		}
		if !q.write() {
			return
		}
	}
}

// write records what is waiting and reports whether to go on.
func (q *Queue) write() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.rows > 0 {
		parts := q.take()
		left := len(q.pending) > 0 // of a long queue, which is not kept waiting for company
		q.moved.Broadcast()
		q.mu.Unlock()
		q.deliver(parts)
		q.mu.Lock()
		q.written += uint64(len(parts))
		q.moved.Broadcast()
		if !left && q.rows < q.opt.MaxRows && !q.closed {
			break
		}
	}
	return !q.closed
}

// take removes from the front what is written together.
func (q *Queue) take() []Batch {
	n, rows := 0, 0
	for n < len(q.pending) {
		more := q.pending[n].rows()
		if n > 0 && rows+more > max(maxWrite, q.opt.MaxRows) {
			break
		}
		rows += more
		q.bytes -= q.pending[n].bytes()
		n++
	}
	q.rows -= rows
	parts := slices.Clone(q.pending[:n])
	clear(q.pending[:n]) // for the garbage collector
	if q.pending = q.pending[n:]; len(q.pending) == 0 {
		q.pending = nil
	}
	return parts
}

// merge returns the rows of all batches.
func merge(parts []Batch) Batch {
	if len(parts) == 1 {
		return parts[0]
	}
	var all Batch
	for _, b := range parts {
		all.Add(b)
	}
	return all
}

// deliver records batches together. Where that is refused, each is tried for itself, so that one does not sink the others.
func (q *Queue) deliver(parts []Batch) {
	err := q.record(merge(parts))
	switch {
	case err == nil:
		return
	case len(parts) == 1, errors.Is(err, ErrUnavailable), errors.Is(err, ErrDenied), q.ctx.Err() != nil:
		q.drop(err, parts...)
		return
	}
	for _, b := range parts {
		if err := q.record(b); err != nil {
			q.drop(err, b)
		}
	}
}

func (q *Queue) record(b Batch) error {
	if q.ctx.Err() != nil {
		return fmt.Errorf("metadata was not written any more: %w", context.Cause(q.ctx))
	}
	return q.rec.Record(q.ctx, b)
}

// drop notes batches that could not be written.
func (q *Queue) drop(err error, parts ...Batch) {
	q.mu.Lock()
	defer q.mu.Unlock()
	consequence := errors.Is(err, ErrUnavailable) || errors.Is(err, ErrNotFound) && q.undelivered > 0 || q.ctx.Err() != nil
	if q.refused == nil && !consequence {
		q.refused = err
	}
	if q.err == nil {
		q.err = err
	}
	for i := range parts {
		q.undelivered += parts[i].rows()
		for t := range parts[i].refs() {
			if !q.isDropped[t] {
				q.isDropped[t] = true
				q.dropped = append(q.dropped, t)
			}
		}
	}
}

// bytes estimates the memory of a batch. Tags are shared by the rows of a run, and so are most names: they do not count.
func (b *Batch) bytes() int {
	const row = 250 // about the size of the greatest of the structs
	n := row * b.rows()
	for i := range b.Metadata {
		n += len(b.Metadata[i].Value)
	}
	for i := range b.Artifacts {
		n += len(b.Artifacts[i].Name) + len(b.Artifacts[i].Sha)
	}
	return n
}

// refs yields the tasks that a batch has rows of, some repeatedly; the steps if it has no other rows.
func (b *Batch) refs() iter.Seq[TaskRef] {
	return func(yield func(TaskRef) bool) {
		for i := range b.Tasks {
			if r := &b.Tasks[i]; !yield(TaskRef{r.FlowID, r.RunID, r.StepName, r.TaskID}) {
				return
			}
		}
		for i := range b.Metadata {
			if r := &b.Metadata[i]; !yield(TaskRef{r.FlowID, r.RunID, r.StepName, r.TaskID}) {
				return
			}
		}
		for i := range b.Artifacts {
			if r := &b.Artifacts[i]; !yield(TaskRef{r.FlowID, r.RunID, r.StepName, r.TaskID}) {
				return
			}
		}
		for i := range b.Steps {
			if r := &b.Steps[i]; len(b.Steps) < b.rows() || !yield(TaskRef{r.FlowID, r.RunID, r.StepName, ""}) {
				return
			}
		}
	}
}

// signal makes a one-place channel ready without waiting.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
