package metadata

import (
	"context"
	"errors"
	"sync"
	"time"
)

// QueueOptions tune a Queue. A zero field takes its default.
type QueueOptions struct {
	// MaxRows is the number of rows from which on they are written at once; 1000 by default.
	MaxRows int
	// MaxDelay is the longest that a row waits for company; 20 ms by default.
	MaxDelay time.Duration
	// Capacity is the number of waiting rows at which Add waits for the writer; 20,000 by default.
	Capacity int
}

// Queue writes batches to a Recorder in the background, many in one transaction and in the order they were added. It
// is safe for concurrent use. A batch that could not be written is dropped; the first error is kept, and every later
// call returns it.
type Queue struct {
	rec Recorder
	opt QueueOptions

	mu sync.Mutex
	// moved is signalled when rows have left the queue or were written, and when it was closed.
	moved   *sync.Cond
	pending Batch
	rows    int
	// added and written count the batches that came in and that have been dealt with.
	added, written uint64
	closed         bool
	err            error

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
		opt.Capacity = 20_000
	}
	q := &Queue{
		rec: r, opt: opt,
		wake: make(chan struct{}, 1), urgent: make(chan struct{}, 1), stopped: make(chan struct{}),
	}
	q.moved = sync.NewCond(&q.mu)
	go q.run()
	return q
}

// Add takes a batch over; its slices must not be changed afterwards. It waits only while the queue is full. The error
// is the first one of any batch so far, or ErrClosed.
func (q *Queue) Add(b Batch) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.rows >= q.opt.Capacity && !q.closed {
		q.moved.Wait()
	}
	if q.closed {
		return errors.Join(q.err, ErrClosed)
	}
	if b.Empty() {
		return q.err
	}
	q.pending.Add(b)
	q.rows += b.rows()
	q.added++
	signal(q.wake)
	if q.rows >= q.opt.MaxRows {
		signal(q.urgent)
	}
	return q.err
}

// Flush waits until everything added before is written, or ctx ends. The error is the first one so far.
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

// Close writes what is waiting and ends the queue. It returns the first error of the queue's life. Idempotent.
func (q *Queue) Close() error {
	q.mu.Lock()
	q.closed = true
	q.moved.Broadcast()
	q.mu.Unlock()
	signal(q.wake)
	signal(q.urgent)
	<-q.stopped
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.err
}

// run is the writer.
func (q *Queue) run() {
	defer close(q.stopped)
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
		batch, upTo := q.pending, q.added
		q.pending, q.rows = Batch{}, 0
		q.moved.Broadcast()
		q.mu.Unlock()
		err := q.rec.Record(context.Background(), batch)
		q.mu.Lock()
		q.written = upTo
		if err != nil && q.err == nil {
			q.err = err
		}
		q.moved.Broadcast()
		if q.rows < q.opt.MaxRows && !q.closed {
			break
		}
	}
	return !q.closed
}

// signal makes a one-place channel ready without waiting.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
