package transfer

import (
	"context"
	"errors"
	"io"
	"sync"

	"golang.org/x/sync/errgroup"
)

// Pool hands out the buffers of parts. Each transfer always gets one, and more while the pool has spare ones, so that
// any number of transfers moves and memory stays within that number plus the spare ones.
type Pool struct {
	part  int
	spare chan struct{}
	// One pool per size: a body that ends early does not hold a whole part's buffer.
	sizes [3]int
	free  [3]sync.Pool
}

// NewPool returns a pool of buffers of part bytes, spare of them above one for each transfer.
func NewPool(part, spare int) *Pool {
	return &Pool{part: part, spare: make(chan struct{}, spare), sizes: [3]int{min(64<<10, part), min(1<<20, part), part}}
}

// Buffer is a buffer of a pool. Data may be shortened.
type Buffer struct {
	Data []byte

	pool  *Pool
	size  int
	lease chan struct{}
}

// Release gives the buffer back; it must not be used afterwards. A nil Buffer is nothing.
func (b *Buffer) Release() {
	if b == nil || b.pool == nil {
		return
	}
	data := b.Data[:cap(b.Data)]
	b.pool.free[b.size].Put(&data)
	b.Data = nil
	<-b.lease
	b.pool = nil
}

// grow exchanges the buffer's memory for the next larger one, and keeps its bytes.
func (b *Buffer) grow() {
	old, size := b.Data, b.size
	b.size++
	b.Data = b.pool.memory(b.size)
	copy(b.Data, old)
	old = old[:cap(old)]
	b.pool.free[size].Put(&old)
}

func (p *Pool) memory(size int) []byte {
	if data, ok := p.free[size].Get().(*[]byte); ok {
		return *data
	}
	return make([]byte, p.sizes[size])
}

// lease is one transfer's right to buffers: its own one, and the spare ones.
type lease struct {
	pool *Pool
	own  chan struct{}
}

func (p *Pool) lease() lease { return lease{p, make(chan struct{}, 1)} }

// get waits for a buffer of the given size class.
func (l lease) get(ctx context.Context, size int) (*Buffer, error) {
	if b := l.try(size); b != nil {
		return b, nil
	}
	select {
	case l.own <- struct{}{}:
		return l.buffer(size, l.own), nil
	case l.pool.spare <- struct{}{}:
		return l.buffer(size, l.pool.spare), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// try returns a buffer, or nil where none can be had now.
func (l lease) try(size int) *Buffer {
	for _, from := range []chan struct{}{l.own, l.pool.spare} {
		select {
		case from <- struct{}{}:
			return l.buffer(size, from)
		default:
		}
	}
	return nil
}

func (l lease) buffer(size int, from chan struct{}) *Buffer {
	return &Buffer{Data: l.pool.memory(size), pool: l.pool, size: size, lease: from}
}

// Body is what is written, read in parts.
type Body struct {
	r     io.Reader
	lease lease
	pool  *Pool
}

// Body returns the parts of r.
func (p *Pool) Body(r io.Reader) *Body { return &Body{r: r, lease: p.lease(), pool: p} }

// readChunk is what is read of a body between two looks at the context.
const readChunk = 1 << 20

// Next reads the next part; last is set if the body ended with it. A part that is not the last one is full.
func (b *Body) Next(ctx context.Context) (part *Buffer, last bool, err error) {
	part, err = b.lease.get(ctx, 0)
	if err != nil {
		return nil, false, err
	}
	n, idle := 0, 0
	for {
		if err := ctx.Err(); err != nil {
			part.Release()
			return nil, false, err
		}
		if n == len(part.Data) {
			if n == b.pool.part {
				return part, false, nil
			}
			part.grow()
		}
		m, err := b.r.Read(part.Data[n:min(n+readChunk, len(part.Data))])
		n += m
		if m > 0 {
			idle = 0
		} else if idle++; idle > 100 && err == nil {
			err = io.ErrNoProgress
		}
		if errors.Is(err, io.EOF) {
			part.Data = part.Data[:n]
			return part, true, nil
		}
		if err != nil {
			part.Release()
			return nil, false, err
		}
	}
}

// Part is one part of a body on its way.
type Part struct {
	Index  int
	Offset int64
	Data   []byte
	// Last is set if the body is known to end with it. A body that fills its parts exactly ends with an empty one.
	Last bool
}

// Send reads the body from its part first on and gives each part to send, up to parallel of them at once, in order where
// that is 1. It returns the body's length. After an error nothing is sent any more; all sends have returned by then.
func (b *Body) Send(ctx context.Context, first *Buffer, last bool, parallel int, send func(ctx context.Context, p Part) error) (size int64, err error) {
	group, sending := errgroup.WithContext(ctx)
	slots := make(chan struct{}, parallel)
	part := first
	for i := 0; ; i++ {
		select {
		case slots <- struct{}{}:
		case <-sending.Done():
			part.Release()
			return 0, firstError(group.Wait(), ctx.Err())
		}
		p := Part{Index: i, Offset: size, Data: part.Data, Last: last}
		size += int64(len(part.Data))
		sent := part
		group.Go(func() error {
			defer func() { sent.Release(); <-slots }()
			return send(sending, p)
		})
		if last {
			return size, group.Wait()
		}
		part, last, err = b.Next(sending)
		if err != nil {
			return 0, firstError(group.Wait(), err)
		}
	}
}

// firstError is a if that is an error, else b.
func firstError(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// Part is the size of the pool's parts in bytes.
func (p *Pool) Part() int { return p.part }
