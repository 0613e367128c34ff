package datastore

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"sync"
	"sync/atomic"
)

// Store lays Metaflow's scheme over a Backend. It is safe for concurrent use. Several stores, in several processes, may
// share a backend.
//
// A blob that the store has seen is taken to stay: blobs must not be collected while something else writes.
type Store struct {
	b        Backend
	stamped  atomic.Bool // mf.json has been checked
	mu       sync.Mutex
	known    map[string]struct{}      // keys of blobs that are surely there
	inflight map[string]chan struct{} // keys of blobs being saved; closed when that is over
	gzipMeta []byte                   // the metadata of blobs in gzip packing; nil where its absence says the same
}

// maxKnown bounds the memory of the known keys to about 100 MB.
const maxKnown = 1 << 20

// New returns a store over b.
func New(b Backend) *Store {
	s := &Store{b: b, known: map[string]struct{}{}, inflight: map[string]chan struct{}{}, gzipMeta: metaGzip}
	if m, ok := b.(MetaSplitter); ok && m.SplitsMeta() {
		s.gzipMeta = nil
	}
	return s
}

// Backend returns what the store lies on.
func (s *Store) Backend() Backend { return s.b }

// The metadata of the two packings of blobs, as Metaflow writes it.
var (
	metaGzip = []byte(`{"cas_raw": false, "cas_version": 1}`)
	metaRaw  = []byte(`{"cas_raw": true, "cas_version": 1}`)
)

// casVersion is the version of the packing that this package reads and writes.
const casVersion = 1

// Digest returns the key under which data is stored: the lower-case hex SHA-1 of its bytes, before any packing.
func Digest(data []byte) string {
	sum := sha1.Sum(data)
	return hex.EncodeToString(sum[:])
}

// SaveBytes stores data in gzip packing, as artifacts are, and returns its digest. What is there already is not
// written again.
func (s *Store) SaveBytes(ctx context.Context, flow string, data []byte) (string, error) {
	digest := Digest(data)
	return digest, s.save(ctx, flow, digest, len(data), func(key string) error { return s.putBytes(ctx, key, data, s.gzipMeta) })
}

// putBytes packs data into an object.
func (s *Store) putBytes(ctx context.Context, key string, data, meta []byte) error {
	if len(data) > maxInMemory {
		r := packBytes(data)
		defer r.Close()
		return s.b.Put(ctx, key, r, PutOptions{Meta: meta})
	}
	buf := packBuffers.Get().(*bytes.Buffer)
	defer packBuffers.Put(buf)
	buf.Reset()
	pack(buf, data)
	return s.putSmall(ctx, key, buf.Bytes(), meta)
}

// putSmall writes a small object whose key stands for its bytes.
func (s *Store) putSmall(ctx context.Context, key string, body, meta []byte) error {
	if o, ok := s.b.(OncePutter); ok {
		return o.PutOnce(ctx, key, body, meta)
	}
	return s.b.Put(ctx, key, bytes.NewReader(body), PutOptions{Meta: meta})
}

// SaveRaw stores data as it is, as code packages are, and returns its digest.
func (s *Store) SaveRaw(ctx context.Context, flow string, data []byte) (string, error) {
	digest := Digest(data)
	return digest, s.save(ctx, flow, digest, len(data), func(key string) error {
		if len(data) <= maxInMemory {
			return s.putSmall(ctx, key, data, metaRaw)
		}
		return s.b.Put(ctx, key, bytes.NewReader(data), PutOptions{Meta: metaRaw})
	})
}

// SaveFile is SaveBytes for the content of a file. It also returns the file's size in bytes. A file of over 256 KiB is
// read twice and never held in memory; that it changes meanwhile is an error.
func (s *Store) SaveFile(ctx context.Context, flow, path string) (digest string, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, fmt.Errorf("storing a file: %w", err)
	}
	defer f.Close()
	digest, size, err = s.SaveReader(ctx, flow, func() io.Reader { return whole(f) })
	if err != nil {
		return "", 0, fmt.Errorf("storing %s: %w", path, err)
	}
	return digest, size, nil
}

// whole reads a file from its start.
func whole(f io.ReaderAt) io.Reader { return io.NewSectionReader(f, 0, math.MaxInt64) }

// SaveReader is SaveFile for what open reads, from the start each time.
func (s *Store) SaveReader(ctx context.Context, flow string, open func() io.Reader) (digest string, size int64, err error) {
	sum, err := sumFile(ctx, open())
	if err != nil {
		return "", 0, err
	}
	err = s.save(ctx, flow, sum.digest, int(sum.size), func(key string) error { return s.putFile(ctx, key, open, sum, s.gzipMeta) })
	return sum.digest, sum.size, err
}

// putFile packs what open reads, which was summed, into an object.
func (s *Store) putFile(ctx context.Context, key string, open func() io.Reader, sum fileSum, meta []byte) error {
	if sum.size <= maxInMemory {
		return s.putBytes(ctx, key, sum.small, meta)
	}
	r := packFile(open(), sum)
	defer r.Close()
	return s.b.Put(ctx, key, r, PutOptions{Meta: meta})
}

// save makes sure that a blob of size bytes is there; put writes it under its key. Two saves of the same blob wait for
// each other, so that it is written, with one kind of metadata, once.
func (s *Store) save(ctx context.Context, flow, digest string, size int, put func(key string) error) error {
	key, err := blobKey(flow, digest)
	if err != nil {
		return err
	}
	for {
		s.mu.Lock()
		if _, ok := s.known[key]; ok {
			s.mu.Unlock()
			return nil
		}
		other, busy := s.inflight[key]
		if !busy {
			done := make(chan struct{})
			s.inflight[key] = done
			s.mu.Unlock()
			defer func() {
				s.mu.Lock()
				delete(s.inflight, key)
				s.mu.Unlock()
				close(done)
			}()
			break
		}
		s.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return fmt.Errorf("saving blob %s: %w", digest, ctx.Err())
		}
	}
	if err := s.ensureFormat(ctx); err != nil {
		return err
	}
	exists, err := false, error(nil)
	if _, once := s.b.(OncePutter); !once || size > maxInMemory {
		exists, err = s.b.Exists(ctx, key)
	}
	if err == nil && !exists {
		err = put(key)
	}
	if err != nil {
		return fmt.Errorf("saving blob %s: %w", digest, err)
	}
	s.remember(key)
	return nil
}

func (s *Store) remember(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.known) >= maxKnown {
		clear(s.known)
	}
	s.known[key] = struct{}{}
}

func (s *Store) isKnown(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.known[key]
	return ok
}

// Has reports whether a blob is there.
func (s *Store) Has(ctx context.Context, flow, digest string) (bool, error) {
	key, err := blobKey(flow, digest)
	if err != nil {
		return false, err
	}
	if s.isKnown(key) {
		return true, nil
	}
	ok, err := s.b.Exists(ctx, key)
	if ok && err == nil {
		s.remember(key)
	}
	return ok, err
}

// Load returns the unpacked bytes of a blob, checked against its digest. Errors: ErrNotFound, ErrCorrupt, ErrNewer.
func (s *Store) Load(ctx context.Context, flow, digest string) ([]byte, error) {
	r, err := s.open(ctx, flow, digest)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if data, ok := r.inMemory(); ok {
		return data, nil
	}
	return io.ReadAll(r)
}

// Open returns a reader of the unpacked bytes of a blob. Bytes that do not match the digest show as ErrCorrupt in place
// of io.EOF, so what was read counts only when the end was reached. Other errors: ErrNotFound, ErrNewer.
func (s *Store) Open(ctx context.Context, flow, digest string) (io.ReadCloser, error) {
	r, err := s.open(ctx, flow, digest)
	if err != nil {
		return nil, err
	}
	return r, nil
}

func (s *Store) open(ctx context.Context, flow, digest string) (*blobReader, error) {
	key, err := blobKey(flow, digest)
	if err != nil {
		return nil, err
	}
	r, err := s.openBlob(ctx, key, digest, parseBlobMeta)
	if err != nil {
		return nil, fmt.Errorf("loading blob %s: %w", digest, err)
	}
	return r, nil
}

// parseBlobMeta reports whether a blob with this metadata is stored as it is. No metadata means gzip.
func parseBlobMeta(meta []byte) (raw bool, err error) {
	if meta == nil {
		return false, nil
	}
	var m struct {
		Raw     bool `json:"cas_raw"`
		Version *int `json:"cas_version"`
	}
	if err := json.Unmarshal(meta, &m); err != nil {
		return false, fmt.Errorf("its metadata is not the expected JSON (%w): %w", ErrCorrupt, err)
	}
	switch {
	case m.Version == nil && !m.Raw:
		return false, fmt.Errorf("its metadata has no cas_version: %w", ErrCorrupt)
	case m.Version != nil && *m.Version != casVersion:
		return false, fmt.Errorf("it is packed in version %d, this mf knows version %d; use a newer mf: %w", *m.Version, casVersion, ErrNewer)
	}
	return m.Raw, nil
}

// Import makes a blob of another store available in this one: by a link where the backends can, otherwise by copying
// its packed bytes. ErrNotFound if from does not have it.
func (s *Store) Import(ctx context.Context, from *Store, flow, digest string) error {
	if from == s {
		return nil
	}
	return s.save(ctx, flow, digest, math.MaxInt, func(key string) error {
		if l, ok := s.b.(Linker); ok {
			if ok, err := l.LinkFrom(ctx, from.b, key); ok || err != nil {
				return err
			}
		}
		body, meta, err := from.b.Get(ctx, key)
		if err != nil {
			return err
		}
		defer body.Close()
		if raw, err := parseBlobMeta(meta); err != nil {
			return err
		} else if !raw {
			meta = s.gzipMeta
		}
		return s.b.Put(ctx, key, body, PutOptions{Meta: meta})
	})
}

// blobKey returns the key of a blob: "<Flow>/data/<first two digits>/<digest>".
func blobKey(flow, digest string) (string, error) {
	if err := checkName("flow", flow); err != nil {
		return "", err
	}
	if !isDigest(digest) {
		return "", fmt.Errorf("invalid digest %q: want 40 lower-case hex digits", digest)
	}
	return flow + "/data/" + digest[:2] + "/" + digest, nil
}

func isDigest(s string) bool {
	return len(s) == 40 && strings.Trim(s, "0123456789abcdef") == ""
}

// checkName says what is wrong with one part of a pathspec.
func checkName(what, name string) error {
	switch {
	case name == "":
		return fmt.Errorf("the name of the %s is empty", what)
	case strings.Contains(name, "/"):
		return fmt.Errorf("invalid %s %q: it must not hold a slash", what, name)
	}
	return CheckPrefix(name)
}
