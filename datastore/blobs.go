package datastore

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"path"
	"time"
)

// Blob is a blob as a listing sees it.
type Blob struct {
	Digest string
	// Size is what the blob takes in the store, packed, in bytes.
	Size int64
	// Modified is when it was written; one that is younger than the oldest running task may not be referred to yet.
	Modified time.Time
}

// Blobs yields a flow's blobs by digest. Included files are not among them.
func (s *Store) Blobs(ctx context.Context, flow string) iter.Seq2[Blob, error] {
	return func(yield func(Blob, error) bool) {
		if err := checkName("flow", flow); err != nil {
			yield(Blob{}, err)
			return
		}
		for dir, err := range s.b.List(ctx, flow+"/data") {
			if err != nil {
				yield(Blob{}, err)
				return
			}
			if !dir.Dir {
				continue
			}
			for e, err := range s.b.List(ctx, dir.Key) {
				if err != nil {
					yield(Blob{}, err)
					return
				}
				digest := path.Base(e.Key)
				if !e.Dir && isDigest(digest) && !yield(Blob{Digest: digest, Size: e.Size, Modified: e.Modified}, nil) {
					return
				}
			}
		}
	}
}

// RemoveBlob deletes a blob. An absent one is no error; errors.ErrUnsupported if the backend cannot delete. Nothing may
// write to the flow meanwhile, in any process: a store that has seen the blob takes it to be there.
func (s *Store) RemoveBlob(ctx context.Context, flow, digest string) error {
	key, err := blobKey(flow, digest)
	if err != nil {
		return err
	}
	r, ok := s.b.(Remover)
	if !ok {
		return fmt.Errorf("removing blob %s from a %s datastore: %w", digest, s.b.Type(), errors.ErrUnsupported)
	}
	s.mu.Lock()
	delete(s.known, key)
	s.mu.Unlock()
	return r.Remove(ctx, key)
}
