package datastore

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
)

const (
	// gzipLevel is the level that Metaflow packs with.
	gzipLevel = 3
	// maxStored is the size up to which a blob is put into its gzip envelope without being compressed: the file would
	// take one block of the disk either way, and setting up a compressor costs more than all the rest.
	maxStored = 1 << 10
	// maxExpansion is the most bytes that deflate makes of one.
	maxExpansion = 1032
	// maxInMemory is the size up to which a blob is packed in memory, as one gzip member, before it is written.
	maxInMemory = memberSize
)

// Compressors hold almost a megabyte of tables, so they are used again.
var (
	packers = sync.Pool{New: func() any {
		w, err := gzip.NewWriterLevel(io.Discard, gzipLevel)
		if err != nil {
			panic(fmt.Sprintf("bug in mf: gzip level %d: %v", gzipLevel, err))
		}
		return w
	}}
	unpackers   = sync.Pool{New: func() any { return new(gzip.Reader) }}
	packBuffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}
)

// pack appends the gzip stream of data to buf.
func pack(buf *bytes.Buffer, data []byte) {
	if len(data) <= maxStored {
		packStored(buf, data)
		return
	}
	w := packers.Get().(*gzip.Writer)
	defer packers.Put(w)
	w.Reset(buf)
	_, err := w.Write(data)
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic(fmt.Sprintf("bug in mf: packing to memory: %v", err))
	}
}

// packStored writes a gzip stream of one stored (RFC 1951, 3.2.4) block.
func packStored(buf *bytes.Buffer, data []byte) {
	buf.Write([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff}) // no name, no time, unknown system
	b := buf.AvailableBuffer()
	b = append(b, 1) // last block, stored
	b = binary.LittleEndian.AppendUint16(b, uint16(len(data)))
	b = binary.LittleEndian.AppendUint16(b, ^uint16(len(data)))
	b = append(b, data...)
	b = binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(data))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(data)))
	buf.Write(b)
}

// simpleHeader is the length of a gzip header without optional fields.
const simpleHeader = 10

// unpackWhole unpacks a gzip stream of one member without optional fields.
func unpackWhole(packed []byte) ([]byte, bool) {
	if len(packed) < simpleHeader+memberTrailer || packed[0] != 0x1f || packed[1] != 0x8b || packed[2] != 8 || packed[3] != 0 {
		return nil, false
	}
	body, trailer := packed[simpleHeader:len(packed)-memberTrailer], packed[len(packed)-memberTrailer:]
	size := binary.LittleEndian.Uint32(trailer[4:])
	if size > maxMember || int(size) > maxExpansion*len(body) {
		return nil, false
	}
	data := make([]byte, size)
	if len(body) == 5+len(data) && body[0] == 1 && binary.LittleEndian.Uint16(body[1:]) == uint16(size) { // as packStored writes
		copy(data, body[5:])
	} else {
		t := toolboxes.Get().(*tools)
		defer toolboxes.Put(t)
		if t.inflater.inflate(data, body) != nil {
			return nil, false
		}
	}
	return data, crc32.ChecksumIEEE(data) == binary.LittleEndian.Uint32(trailer)
}

// packReader reads as the gzip file of a large blob, which it packs ahead of its reader, a bounded number of members at a
// time.
type packReader struct {
	p       pipeline
	started bool
	current *block
	rest    []byte // of current
	err     error
}

// packBytes packs data, which must not change meanwhile.
func packBytes(data []byte) *packReader {
	r := &packReader{}
	r.p.produce = func(b *block) error {
		if len(data) == 0 {
			return io.EOF
		}
		n := min(len(data), memberSize)
		b.data, data = data[:n], data[n:]
		return nil
	}
	r.p.work = func(b *block, t *tools) error {
		b.sum = crc32.ChecksumIEEE(b.data)
		b.packed = t.packMember(b.packed, b.data, b.sum)
		return nil
	}
	return r
}

// errChanged says that a file is not what its digest was made of.
var errChanged = errors.New("the file was changed while it was stored")

// packFile packs a large file, from where it stands, and fails if it is not the one that was summed. The CRCs, which the
// members need in any case, stand in for a second digest: they show an accident, if not a forgery.
func packFile(src io.Reader, sum fileSum) *packReader {
	r := &packReader{}
	var read int64
	r.p.produce = func(b *block) error {
		n, err := readFull(src, b.space)
		read += int64(n)
		switch {
		case err != nil:
			return err
		case read > sum.size || n < len(b.space) && read != sum.size:
			return errChanged
		case n == 0:
			return io.EOF
		}
		b.data = b.space[:n]
		return nil
	}
	r.p.work = func(b *block, t *tools) error {
		b.sum = crc32.ChecksumIEEE(b.data)
		if b.sum != sum.sums[b.index] {
			return errChanged
		}
		b.packed = t.packMember(b.packed, b.data, b.sum)
		return nil
	}
	return r
}

// fill makes sure that there is something to read.
func (r *packReader) fill() error {
	if r.err != nil {
		return r.err
	}
	if !r.started {
		r.started = true
		r.p.start()
	}
	for len(r.rest) == 0 {
		if r.current != nil {
			r.p.give(r.current)
			r.current = nil
		}
		b, err := r.p.next()
		if err != nil {
			r.err = err
			return err
		}
		r.current, r.rest = b, b.packed
	}
	return nil
}

func (r *packReader) Read(p []byte) (int, error) {
	if err := r.fill(); err != nil {
		return 0, err
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// WriteTo implements io.WriterTo.
func (r *packReader) WriteTo(w io.Writer) (written int64, err error) {
	for {
		if err := r.fill(); err != nil {
			if errors.Is(err, io.EOF) {
				return written, nil
			}
			return written, err
		}
		n, err := w.Write(r.rest)
		written += int64(n)
		r.rest = r.rest[n:]
		if err != nil {
			return written, err
		}
	}
}

// Close ends the packing. Afterwards, the source is not used any more.
func (r *packReader) Close() {
	if r.err == nil || errors.Is(r.err, io.EOF) {
		r.err = errors.New("read after close")
	}
	if r.current != nil {
		r.p.give(r.current)
		r.current = nil
	}
	if r.started {
		r.started = false
		r.p.close()
	}
	r.rest = nil
}

// fileSum is what a first reading of a file finds out.
type fileSum struct {
	digest string
	size   int64    // in bytes
	sums   []uint32 // the CRC of each member to be
	small  []byte   // the file, if it is packed in memory
}

// sumFile reads a file to its end.
func sumFile(ctx context.Context, f io.Reader) (fileSum, error) {
	start := make([]byte, 4<<10)
	n, err := readFull(f, start)
	if err == nil && n == len(start) {
		start = append(start, make([]byte, maxInMemory+1-n)...)
		var more int
		more, err = readFull(f, start[n:])
		n += more
	}
	if err != nil {
		return fileSum{}, err
	}
	if n <= maxInMemory {
		return fileSum{digest: Digest(start[:n]), size: int64(n), small: start[:n]}, ctx.Err()
	}
	return sumLarge(ctx, io.MultiReader(bytes.NewReader(start), f))
}

// readFull is io.ReadFull without an error at the end of the file.
func readFull(r io.Reader, p []byte) (int, error) {
	n, err := io.ReadFull(r, p)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return n, err
}

// sumLarge is sumFile where reading and the digest, which takes most of the time, go side by side.
func sumLarge(ctx context.Context, f io.Reader) (s fileSum, err error) {
	p := pipeline{
		produce: func(b *block) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			n, err := readFull(f, b.space)
			if b.data = b.space[:n]; n == 0 && err == nil {
				err = io.EOF
			}
			return err
		},
		work: func(b *block, _ *tools) error {
			b.sum = crc32.ChecksumIEEE(b.data)
			return nil
		},
	}
	p.start()
	defer p.close()
	total := sha1.New()
	for {
		b, err := p.next()
		if errors.Is(err, io.EOF) {
			s.digest = hex.EncodeToString(total.Sum(nil))
			return s, nil
		}
		if err != nil {
			return fileSum{}, err
		}
		total.Write(b.data)
		s.sums = append(s.sums, b.sum)
		s.size += int64(len(b.data))
		p.give(b)
	}
}
