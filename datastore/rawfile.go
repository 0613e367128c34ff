package datastore

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
)

// SaveRawFile is SaveRaw for the content of a file whose digest is known. It is read once, and not at all where the blob
// is there already; it is never held in memory. A file whose bytes have another digest is an error, and nothing is
// stored.
func (s *Store) SaveRawFile(ctx context.Context, flow, digest, path string) error {
	key, err := blobKey(flow, digest)
	if err == nil {
		err = s.ensureFormat(ctx)
	}
	if err != nil {
		return fmt.Errorf("storing %s: %w", path, err)
	}
	exists, err := s.Has(ctx, flow, digest)
	if err == nil && !exists {
		err = s.putRawFile(ctx, key, digest, path)
	}
	if err != nil {
		return fmt.Errorf("storing %s: %w", path, err)
	}
	s.remember(key)
	return nil
}

func (s *Store) putRawFile(ctx context.Context, key, digest, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return s.b.Put(ctx, key, &digestReader{r: f, sum: sha1.New(), digest: digest}, PutOptions{Meta: metaRaw})
}

// digestReader ends with an error if what was read has another digest.
type digestReader struct {
	r      io.Reader
	sum    hash.Hash
	digest string
}

// Read implements io.Reader.
func (d *digestReader) Read(p []byte) (int, error) {
	n, err := d.r.Read(p)
	d.sum.Write(p[:n])
	if errors.Is(err, io.EOF) && hex.EncodeToString(d.sum.Sum(nil)) != d.digest {
		err = errors.New("the file was changed before it was stored")
	}
	return n, err
}
