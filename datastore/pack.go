package datastore

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
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
	// maxInMemory is the size up to which a blob is packed in memory before it is written.
	maxInMemory = 1 << 20
	// packChunk is the piece in which larger blobs are packed.
	packChunk = 128 << 10
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

// packReader reads as the gzip stream of its source, of which it holds a piece at a time.
type packReader struct {
	src   io.Reader
	gz    *gzip.Writer
	out   bytes.Buffer
	chunk []byte
	done  bool
}

func newPackReader(src io.Reader) *packReader {
	r := &packReader{src: src, gz: packers.Get().(*gzip.Writer), chunk: make([]byte, packChunk)}
	r.gz.Reset(&r.out)
	return r
}

func (r *packReader) Read(p []byte) (int, error) {
	for r.out.Len() == 0 {
		if r.done {
			return 0, io.EOF
		}
		r.out.Reset()
		n, err := r.src.Read(r.chunk)
		if _, err := r.gz.Write(r.chunk[:n]); err != nil {
			return 0, err
		}
		switch {
		case errors.Is(err, io.EOF):
			r.done = true
			if err := r.gz.Close(); err != nil {
				return 0, err
			}
		case err != nil:
			return 0, err
		}
	}
	return r.out.Read(p)
}

// Close gives the compressor back. The reader must not be used after it.
func (r *packReader) Close() {
	packers.Put(r.gz)
	r.gz = nil
}

// expectReader fails at the end of r if the bytes are not those of digest.
type expectReader struct {
	r      io.Reader
	sum    hash.Hash
	digest string
}

func (e *expectReader) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	e.sum.Write(p[:n])
	if errors.Is(err, io.EOF) && hex.EncodeToString(e.sum.Sum(nil)) != e.digest {
		err = errors.New("the file was changed while it was stored")
	}
	return n, err
}
