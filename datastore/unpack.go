package datastore

import (
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/klauspost/compress/gzip"
)

// blobReader unpacks a blob and checks it at its end.
type blobReader struct {
	body   *sourceReader
	gz     *gzip.Reader // nil before the first Read, and for a raw blob
	raw    bool
	sum    hash.Hash
	key    string
	digest string // empty: not checked
	err    error
}

func newBlobReader(body io.ReadCloser, key, digest string, raw bool) *blobReader {
	return &blobReader{body: &sourceReader{ReadCloser: body}, raw: raw, sum: sha1.New(), key: key, digest: digest}
}

func (r *blobReader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.unpack(p)
	r.sum.Write(p[:n])
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
	return n, r.err
}

func (r *blobReader) corrupt(why string) error {
	return fmt.Errorf("blob %s is %w (%s); delete it, and resume the run that made it or copy it from a backup", r.key, ErrCorrupt, why)
}

// unpack reads the next unpacked bytes.
func (r *blobReader) unpack(p []byte) (int, error) {
	if r.raw {
		return r.body.Read(p)
	}
	if r.gz == nil {
		gz := unpackers.Get().(*gzip.Reader)
		if err := gz.Reset(r.body); err != nil {
			unpackers.Put(gz)
			return 0, noEOF(err)
		}
		r.gz = gz
	}
	return r.gz.Read(p)
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
	if r.gz != nil {
		unpackers.Put(r.gz)
		r.gz = nil
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
