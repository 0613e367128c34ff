package datastore

import (
	"errors"
	"io"
	"runtime"
	"sync"

	"github.com/klauspost/compress/flate"
)

// block is a piece of a blob in both its forms.
type block struct {
	index  int    // from 0, in the order of the blob
	data   []byte // unpacked; it may lie outside of space
	packed []byte // a whole gzip member
	sum    uint32 // the CRC of data
	space  []byte // of memberSize bytes
	err    error
	done   chan struct{} // gets a value when the block has been worked on
}

// tools are what one worker needs. The deflater is made when it is first used.
type tools struct {
	deflater *flate.Writer
	inflater inflater
}

// Blocks and tools are used again: they are large, and a blob needs several.
var (
	blocks = sync.Pool{New: func() any {
		return &block{space: make([]byte, memberSize), packed: make([]byte, 0, memberSize+1<<10), done: make(chan struct{}, 1)}
	}}
	toolboxes = sync.Pool{New: func() any { return new(tools) }}
)

// maxWorkers bounds the memory of a pipeline: each worker holds about 2 MB.
const maxWorkers = 8

// pipeline works on the blocks of a blob on several cores and yields them in order.
type pipeline struct {
	// produce fills the next block; io.EOF means that there is none. It is called by one goroutine at a time.
	produce func(b *block) error
	// work does the rest, many blocks at once.
	work func(b *block, t *tools) error
	// inOrder, if not nil, sees each block that was worked on, in order, in a goroutine of its own.
	inOrder func(b *block)

	todo, order, out chan *block
	free             chan *block // one for each further block that may be under way; nil for one that is not made yet
	quit             chan struct{}
	running          sync.WaitGroup
}

func (p *pipeline) start() {
	workers := min(runtime.GOMAXPROCS(0), maxWorkers)
	depth := 2*workers + 2
	p.todo, p.order = make(chan *block, depth), make(chan *block, depth)
	p.free, p.quit = make(chan *block, depth), make(chan struct{})
	for range depth {
		p.free <- nil
	}
	p.running.Go(p.feed)
	for range workers {
		p.running.Go(func() {
			t := toolboxes.Get().(*tools)
			defer toolboxes.Put(t)
			for b := range p.todo {
				if b.err == nil {
					b.err = p.work(b, t)
				}
				b.done <- struct{}{}
			}
		})
	}
	p.out = p.order
	if p.inOrder == nil {
		return
	}
	p.out = make(chan *block, depth)
	p.running.Go(func() {
		defer close(p.out)
		for b := range p.order {
			<-b.done
			if b.err == nil {
				p.inOrder(b)
			}
			b.done <- struct{}{}
			p.out <- b // has room for all there are
		}
	})
}

// feed produces blocks until there are no more, one fails or the pipeline is closed.
func (p *pipeline) feed() {
	defer close(p.todo)
	defer close(p.order)
	for i := 0; ; i++ {
		var b *block
		select {
		case b = <-p.free:
		case <-p.quit:
			return
		}
		if b == nil {
			b = blocks.Get().(*block)
		}
		b.index, b.err, b.data, b.packed, b.sum = i, nil, nil, b.packed[:0], 0
		err := p.produce(b)
		if errors.Is(err, io.EOF) {
			p.free <- b
			return
		}
		b.err = err
		p.todo <- b // both have room for all blocks there are
		p.order <- b
		if err != nil {
			return
		}
	}
}

// next returns the next block, which the caller gives back, or its error; io.EOF after the last.
func (p *pipeline) next() (*block, error) {
	b, ok := <-p.out
	if !ok {
		return nil, io.EOF
	}
	<-b.done
	if err := b.err; err != nil {
		p.give(b)
		return nil, err
	}
	return b, nil
}

func (p *pipeline) give(b *block) {
	b.data = nil
	p.free <- b
}

// close ends the pipeline; when it returns, nothing is read or written any more.
func (p *pipeline) close() {
	close(p.quit)
	for {
		b, ok := <-p.out
		if !ok {
			break
		}
		<-b.done
		p.give(b)
	}
	p.running.Wait()
	for range len(p.free) {
		if b := <-p.free; b != nil {
			blocks.Put(b)
		}
	}
}
