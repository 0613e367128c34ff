package datastore

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
)

// inlineBytes is how much of a blob is unpacked by its reader itself. What comes after it, of a large blob, is unpacked
// and digested ahead, on other cores.
const inlineBytes = 512 << 10

// blobReader unpacks a blob and checks it at its end.
type blobReader struct {
	body   *sourceReader
	cancel context.CancelFunc // ends a read of body that hangs
	src    *bufio.Reader      // of body; nil before the first Read
	gz     *gzip.Reader       // nil before the first Read, and for a raw blob
	raw    bool
	sum    hash.Hash
	inline int // bytes that were unpacked by the reader itself
	key    string
	digest string // empty: not checked

	ahead   *pipeline // nil until the rest is worth it
	current *block
	rest    []byte // of current
	err     error
}

// openBlob opens an object as a blob. isRaw reads its metadata.
func (s *Store) openBlob(ctx context.Context, key, digest string, isRaw func(meta []byte) (bool, error)) (*blobReader, error) {
	ctx, cancel := context.WithCancel(ctx)
	body, meta, err := s.b.Get(ctx, key)
	if err != nil {
		cancel()
		return nil, err
	}
	raw, err := isRaw(meta)
	if err != nil {
		cancel()
		body.Close()
		return nil, err
	}
	return &blobReader{body: &sourceReader{ReadCloser: body}, cancel: cancel, raw: raw, sum: sha1.New(), key: key, digest: digest}, nil
}

// inMemory returns the blob, checked, if its packed bytes are in memory already and it is as simple as small ones are: as
// it is, or one gzip member that is wholly sound. The reader serves all others, and says what is wrong with them.
func (r *blobReader) inMemory() ([]byte, bool) {
	body, ok := r.body.ReadCloser.(interface{ Bytes() []byte })
	if !ok {
		return nil, false
	}
	data := body.Bytes()
	if !r.raw {
		if data, ok = unpackWhole(data); !ok {
			return nil, false
		}
	}
	return data, r.digest == "" || Digest(data) == r.digest
}

// sources are used again.
var sources = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 64<<10) }}

func (r *blobReader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if err := r.begin(); err != nil {
		return 0, r.end(err)
	}
	if r.ahead == nil {
		n, err := r.source().Read(p)
		r.sum.Write(p[:n])
		if r.inline += n; r.inline >= inlineBytes && err == nil {
			r.start(r.inflate)
		}
		return n, r.end(err)
	}
	if err := r.fill(); err != nil {
		return 0, err
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// WriteTo implements io.WriterTo.
func (r *blobReader) WriteTo(w io.Writer) (written int64, err error) {
	if r.err != nil && !errors.Is(r.err, io.EOF) {
		return 0, r.err
	}
	if err := r.begin(); err != nil {
		return 0, r.end(err)
	}
	var buf []byte
	for {
		piece := r.rest
		if r.ahead == nil {
			if buf == nil {
				buf = make([]byte, 32<<10)
			}
			var n int
			n, err = r.Read(buf)
			piece = buf[:n]
		} else if err = r.fill(); err == nil {
			piece, r.rest = r.rest, nil
		}
		if len(piece) > 0 {
			n, writeErr := w.Write(piece)
			written += int64(n)
			if writeErr != nil {
				return written, writeErr
			}
		}
		if errors.Is(err, io.EOF) {
			return written, nil
		}
		if err != nil {
			return written, err
		}
	}
}

// fill makes sure that there is something of what was unpacked ahead.
func (r *blobReader) fill() error {
	for len(r.rest) == 0 && r.err == nil {
		if r.current != nil {
			r.ahead.give(r.current)
			r.current = nil
		}
		b, err := r.ahead.next()
		if err != nil {
			return r.end(err)
		}
		r.current, r.rest = b, b.data
	}
	return r.err
}

// end notes how reading went; at the end of the blob its digest counts.
func (r *blobReader) end(err error) error {
	switch {
	case err == nil:
	case r.body.err != nil: // not the blob's fault
		r.err = fmt.Errorf("reading blob %s: %w", r.key, r.body.err)
	case !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		r.err = r.corrupt(fmt.Sprintf("not a whole gzip stream: %v", err))
	case r.digest != "" && hex.EncodeToString(r.sum.Sum(nil)) != r.digest:
		r.err = r.corrupt("its bytes have another digest")
	default:
		r.err = io.EOF
	}
	return r.err
}

func (r *blobReader) corrupt(why string) error {
	return fmt.Errorf("blob %s is %w (%s); delete it, and resume the run that made it or copy it from a backup", r.key, ErrCorrupt, why)
}

// begin finds out how the blob is packed. One of members that say how long they are is unpacked ahead from its start.
func (r *blobReader) begin() error {
	if r.raw || r.src != nil {
		return nil
	}
	r.src = sources.Get().(*bufio.Reader)
	r.src.Reset(r.body)
	if head, _ := r.src.Peek(memberHeader); bytes.HasPrefix(head, memberStart) {
		r.start(r.member)
		return nil
	}
	return noEOF(r.openStream())
}

// source is what the blob's bytes are read from, in one stream.
func (r *blobReader) source() io.Reader {
	if r.raw {
		return r.body
	}
	return r.gz
}

// openStream begins to read members that do not say how long they are.
func (r *blobReader) openStream() error {
	gz := unpackers.Get().(*gzip.Reader)
	if err := gz.Reset(r.src); err != nil {
		unpackers.Put(gz)
		return err
	}
	r.gz = gz
	return nil
}

// start leaves the rest of the blob to other goroutines; produce is called by one of them.
func (r *blobReader) start(produce func(*block) error) {
	r.ahead = &pipeline{
		produce: produce,
		work: func(b *block, t *tools) error {
			if len(b.packed) == 0 {
				return nil
			}
			return t.unpackMember(b)
		},
		inOrder: func(b *block) { r.sum.Write(b.data) },
	}
	r.ahead.start()
}

// member reads a member. Where members end that say how long they are, what follows is read as a stream.
func (r *blobReader) member(b *block) error {
	if r.gz != nil {
		return r.inflate(b)
	}
	head, err := r.src.Peek(memberHeader)
	if len(head) == 0 {
		return err
	}
	n, ok := memberLength(head)
	if !ok {
		if err := r.openStream(); err != nil {
			return noEOF(err)
		}
		return r.inflate(b)
	}
	if n > cap(b.packed) {
		b.packed = make([]byte, 0, n)
	}
	b.packed = b.packed[:n]
	_, err = io.ReadFull(r.src, b.packed)
	return noEOF(err)
}

// inflate unpacks the next bytes of a stream, or takes those of a raw blob.
func (r *blobReader) inflate(b *block) error {
	n, err := io.ReadFull(r.source(), b.space[:memberSize])
	b.data = b.space[:n]
	if n > 0 && errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil // the next one ends it, or says what is wrong
	}
	return err
}

// noEOF turns an end of file at a place where there should be more into an error.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Close implements io.Closer.
func (r *blobReader) Close() error {
	if r.ahead != nil && !errors.Is(r.err, io.EOF) {
		r.cancel()
	}
	defer r.cancel()
	if r.current != nil {
		r.ahead.give(r.current)
		r.current, r.rest = nil, nil
	}
	if r.ahead != nil {
		r.ahead.close()
		r.ahead = nil
	}
	if r.gz != nil {
		unpackers.Put(r.gz)
		r.gz = nil
	}
	if r.src != nil {
		r.src.Reset(nil)
		sources.Put(r.src)
		r.src = nil
	}
	if r.err == nil {
		r.err = errors.New("read after close")
	}
	return r.body.Close()
}

// sourceReader remembers an error of reading, to tell it from an error in what was read.
type sourceReader struct {
	io.ReadCloser
	err error
}

func (s *sourceReader) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}
