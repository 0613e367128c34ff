package transfer

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"
)

// Ranges says how an object is read in ranges.
type Ranges struct {
	// Size is the object's length in bytes.
	Size int64
	// Parallel is how many ranges are fetched at once.
	Parallel int
	// Fetch fills buf with the object's bytes from offset on.
	Fetch func(ctx context.Context, offset int64, buf []byte) error
	// Sum, if not nil, takes all bytes, and Check is called with it at the end of the object.
	Sum   hash.Hash
	Check func(sum []byte) error
}

// NewReader returns a reader of an object whose first bytes are in head; what follows is fetched, from the first Read on,
// in ranges of the pool's size. It ends with ctx's error when ctx does. The reader releases head.
func (p *Pool) NewReader(ctx context.Context, head *Buffer, r Ranges) io.ReadCloser {
	ctx, cancel := context.WithCancel(ctx)
	return &objectReader{
		ctx: ctx, cancel: cancel, r: r, pool: p, lease: p.lease(),
		next: int64(len(head.Data)), cur: head, rest: head.Data,
	}
}

// head returns a buffer of n bytes for the first range of an object.
func (p *Pool) head(ctx context.Context, n int) (*Buffer, error) {
	if n > p.part {
		return nil, fmt.Errorf("a first range of %d bytes, over a part's %d", n, p.part)
	}
	size := 0
	for p.sizes[size] < n {
		size++
	}
	b, err := p.lease().get(ctx, size)
	if err != nil {
		return nil, err
	}
	b.Data = b.Data[:n]
	return b, nil
}

// flight is a range on its way.
type flight struct {
	buf  *Buffer
	done chan struct{}
	err  error // once done
}

type objectReader struct {
	ctx    context.Context
	cancel context.CancelFunc
	r      Ranges
	pool   *Pool
	lease  lease

	mu     sync.Mutex
	cur    *Buffer
	rest   []byte // what is unread of cur
	next   int64  // where the next range to fetch starts
	queue  []*flight
	err    error
	closed bool
}

var errClosed = errors.New("read of a closed object")

// Read implements io.Reader.
func (o *objectReader) Read(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for {
		switch {
		case o.closed:
			return 0, errClosed
		case len(o.rest) > 0:
			if len(p) == 0 {
				return 0, nil
			}
			o.launch()
			n := copy(p, o.rest)
			if o.r.Sum != nil {
				o.r.Sum.Write(p[:n])
			}
			o.rest = o.rest[n:]
			return n, nil
		case o.err != nil:
			return 0, o.err
		}
		o.advance()
	}
}

// advance makes the next range the current one, or sets the error that ends reading.
func (o *objectReader) advance() {
	o.cur.Release()
	o.cur = nil
	o.launch()
	if len(o.queue) == 0 {
		o.err = io.EOF
		if o.r.Sum != nil {
			if err := o.r.Check(o.r.Sum.Sum(nil)); err != nil {
				o.err = err
			}
		}
		return
	}
	f := o.queue[0]
	o.queue = o.queue[1:]
	<-f.done // ends with ctx too
	if f.err != nil {
		f.buf.Release()
		o.err = f.err
		return
	}
	o.cur, o.rest = f.buf, f.buf.Data
}

// launch fetches ranges ahead, as many as there may be and buffers are to be had.
func (o *objectReader) launch() {
	for o.err == nil && o.next < o.r.Size && len(o.queue) < o.r.Parallel {
		buf := o.lease.try(len(o.pool.sizes) - 1)
		if buf == nil {
			if len(o.queue) > 0 || len(o.rest) > 0 {
				return
			}
			var err error
			if buf, err = o.lease.get(o.ctx, len(o.pool.sizes)-1); err != nil {
				o.err = err
				return
			}
		}
		buf.Data = buf.Data[:min(int64(o.pool.part), o.r.Size-o.next)]
		f := &flight{buf: buf, done: make(chan struct{})}
		offset := o.next
		o.next += int64(len(buf.Data))
		o.queue = append(o.queue, f)
		go func() {
			f.err = o.r.Fetch(o.ctx, offset, f.buf.Data)
			close(f.done)
		}()
	}
}

// Close implements io.Closer. It ends what is on its way.
func (o *objectReader) Close() error {
	o.cancel() // a Read that waits returns
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	for _, f := range o.queue {
		<-f.done
		f.buf.Release()
	}
	o.cur.Release()
	o.queue, o.cur, o.rest = nil, nil, nil
	return nil
}
