package datastore

import (
	"context"
	"crypto/sha1" //nolint:gosec // the format's digest
	"fmt"
	"os"
)

// SaveRawFile is SaveRaw for the content of a file whose digest is known. It is read once, and not at all where the blob
// is there already; it is never held in memory. A file whose bytes have another digest is an error, and nothing is
// stored.
func (s *Store) SaveRawFile(ctx context.Context, flow, digest, path string) error {
	err := s.save(ctx, flow, digest, func(key string) error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		body := &expectReader{r: f, sum: sha1.New(), digest: digest} //nolint:gosec // see above
		return s.b.Put(ctx, key, body, PutOptions{Meta: metaRaw})
	})
	if err != nil {
		return fmt.Errorf("storing %s: %w", path, err)
	}
	return nil
}
