package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/mf-run/mf/datastore"
)

// Get implements datastore.Backend. The first request brings the first part; the others are fetched ahead, several at
// once, when reading begins. An object that is replaced meanwhile is an error where its bytes would be mixed.
func (b *Backend) Get(ctx context.Context, key string) (io.ReadCloser, []byte, error) {
	if err := datastore.CheckKey(key); err != nil {
		return nil, nil, err
	}
	o := &object{b: b, key: key}
	first, meta, err := o.open(ctx)
	if err != nil {
		return nil, nil, err
	}
	if o.size <= int64(b.partSize) {
		return &stream{o: o, ctx: ctx, body: first, end: o.size}, meta, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	return &parts{o: o, ctx: ctx, cancel: cancel, first: first}, meta, nil
}

// object is one version of an object.
type object struct {
	b    *Backend
	key  string
	size int64
	etag *string
}

// open asks for the first part and learns what there is to know.
func (o *object) open(ctx context.Context) (first io.ReadCloser, meta []byte, err error) {
	b := o.b
	whole := false
	err = b.do(ctx, "reading", o.key, func(ctx context.Context) error {
		in := &awss3.GetObjectInput{Bucket: &b.bucket, Key: b.object(o.key)}
		if !whole {
			in.Range = aws.String(byteRange(0, int64(b.partSize)))
		}
		out, err := b.client.GetObject(ctx, in)
		if !whole && statusOf(err) == http.StatusRequestedRangeNotSatisfiable { // it is empty
			whole = true
			in.Range = nil
			out, err = b.client.GetObject(ctx, in)
		}
		if err != nil {
			return err
		}
		first, o.etag = out.Body, out.ETag
		o.size = aws.ToInt64(out.ContentLength)
		if _, total, ok := strings.Cut(aws.ToString(out.ContentRange), "/"); ok {
			if o.size, err = strconv.ParseInt(total, 10, 64); err != nil {
				first.Close()
				return fmt.Errorf("the store answered with the range %q", *out.ContentRange)
			}
		}
		for name, value := range out.Metadata {
			if strings.EqualFold(name, metaKey) {
				meta = []byte(value)
			}
		}
		return nil
	})
	return first, meta, err
}

func byteRange(from, to int64) string { return fmt.Sprintf("bytes=%d-%d", from, to-1) }

// fetch opens the bytes from and up to, without, to.
func (o *object) fetch(ctx context.Context, from, to int64) (body io.ReadCloser, err error) {
	b := o.b
	out, err := b.client.GetObject(ctx, &awss3.GetObjectInput{
		Bucket: &b.bucket, Key: b.object(o.key), Range: aws.String(byteRange(from, to)), IfMatch: o.etag,
	})
	if err != nil {
		return nil, err
	}
	if want := fmt.Sprintf("bytes %d-%d/%d", from, to-1, o.size); aws.ToString(out.ContentRange) != want {
		out.Body.Close()
		return nil, fmt.Errorf("the store answered with the range %q to a request for %q", aws.ToString(out.ContentRange), want)
	}
	return out.Body, nil
}

// brokenBody is a connection that broke while a body was read.
type brokenBody struct{ err error }

func (e *brokenBody) Error() string { return "the connection broke: " + e.err.Error() }
func (e *brokenBody) Unwrap() error { return e.err }

// stream reads a range of an object, going on where it was when a connection breaks.
type stream struct {
	o        *object
	ctx      context.Context
	body     io.ReadCloser // nil while there is no connection
	pos, end int64
	wait     waiter
	err      error
}

func (s *stream) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	for {
		if s.pos == s.end {
			s.err = io.EOF
			return 0, s.err
		}
		if s.body == nil {
			if err := s.reopen(); err != nil {
				s.err = err
				return 0, err
			}
		}
		n, err := s.body.Read(p[:min(int64(len(p)), s.end-s.pos)])
		s.pos += int64(n)
		if err == nil || s.pos == s.end {
			if n > 0 {
				s.wait.reset()
			}
			return n, nil
		}
		s.body.Close()
		s.body = nil
		if n > 0 {
			s.wait.reset()
			return n, nil
		}
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if s.err = s.pause(&brokenBody{err}); s.err != nil {
			return 0, s.err
		}
	}
}

// pause waits before the next attempt, or says why there is none.
func (s *stream) pause(err error) error {
	s.wait.b = s.o.b
	again := s.ctx.Err() == nil && s.wait.wait(s.ctx, err)
	if s.ctx.Err() != nil {
		return fmt.Errorf("reading %s: %w", s.o.b.urlOf(s.o.key), s.ctx.Err())
	}
	if !again {
		return s.o.b.explain("reading", s.o.key, &outageError{s.o.b.patience, err})
	}
	return nil
}

func (s *stream) reopen() error {
	err := s.o.b.do(s.ctx, "reading", s.o.key, func(ctx context.Context) (err error) {
		s.body, err = s.o.fetch(ctx, s.pos, s.end)
		return err
	})
	if statusOf(err) == http.StatusPreconditionFailed || errors.Is(err, datastore.ErrNotFound) {
		return fmt.Errorf("reading %s: the object was replaced or removed while it was read; read it again", s.o.b.urlOf(s.o.key))
	}
	return err
}

// Close implements io.Closer.
func (s *stream) Close() error {
	if s.body != nil {
		if s.end-s.pos <= drainable {
			drain(s.body)
		} else {
			s.body.Close()
		}
		s.body = nil
	}
	if s.err == nil {
		s.err = errClosed
	}
	return nil
}

// drainable is the rest of an answer that is cheaper to read than a new connection.
const drainable = 64 << 10

var errClosed = errors.New("read after close")

// part is a part that is being fetched, or was.
type part struct {
	buf  *[]byte
	data []byte
	err  error
	done chan struct{}
}

// parts reads a large object part by part, with others on their way.
type parts struct {
	o      *object
	ctx    context.Context
	cancel context.CancelFunc
	first  io.ReadCloser // the answer to the first request, until it is taken
	extra  int           // buffers beyond the first that this reader may use
	began  bool
	next   int64 // the first byte that is not asked for yet
	queue  []*part
	err    error
}

// begin settles how many parts are fetched at once: what the backend has left, and one in any case.
func (p *parts) begin() {
	p.began = true
	for p.extra < p.o.b.concurrency-1 && int64(p.extra+1)*int64(p.o.b.partSize) < p.o.size {
		select {
		case p.o.b.fetching <- struct{}{}:
			p.extra++
			continue
		default:
		}
		break
	}
	for range p.extra + 1 {
		p.ask()
	}
}

// ask starts fetching the next part, if there is one.
func (p *parts) ask() {
	if p.next == p.o.size {
		return
	}
	from, to := p.next, min(p.next+int64(p.o.b.partSize), p.o.size)
	p.next = to
	f := &part{buf: p.o.b.buffers.Get().(*[]byte), done: make(chan struct{})}
	s := &stream{o: p.o, ctx: p.ctx, body: p.first, pos: from, end: to}
	p.first = nil
	p.queue = append(p.queue, f)
	go func() {
		defer close(f.done)
		defer s.Close()
		var n int
		n, f.err = io.ReadFull(s, (*f.buf)[:to-from])
		f.data = (*f.buf)[:n]
	}()
}

func (p *parts) Read(buf []byte) (int, error) {
	if p.err != nil {
		return 0, p.err
	}
	if !p.began {
		p.begin()
	}
	for len(p.queue) > 0 {
		f := p.queue[0]
		<-f.done // ends soon after a cancel
		if len(f.data) > 0 {
			n := copy(buf, f.data)
			f.data = f.data[n:]
			return n, nil
		}
		if p.err = f.err; p.err != nil {
			return 0, p.err
		}
		p.queue = p.queue[1:]
		p.o.b.buffers.Put(f.buf)
		p.ask()
	}
	p.err = io.EOF
	return 0, p.err
}

// Close implements io.Closer. It waits until nothing is fetched any more.
func (p *parts) Close() error {
	p.cancel()
	if p.first != nil {
		p.first.Close()
		p.first = nil
	}
	for _, f := range p.queue {
		<-f.done
		p.o.b.buffers.Put(f.buf)
	}
	p.queue = nil
	for range p.extra {
		<-p.o.b.fetching
	}
	p.extra = 0
	if p.err == nil || errors.Is(p.err, io.EOF) {
		p.err = errClosed
	}
	return nil
}
