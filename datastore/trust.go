package datastore

import "context"

// Trust notes that the blobs of an index that was read are there, as Finish promises, so that saving the same bytes again
// asks nothing of the backend.
func (s *Store) Trust(flow string, artifacts map[string]Artifact) {
	for _, a := range artifacts {
		if key, err := blobKey(flow, a.Digest); err == nil {
			s.remember(key)
		}
	}
}

// Prepare does ahead of the first write what that would do first: it checks the datastore's format, and sets the mark
// where there is none. The error is as for CheckFormat.
func (s *Store) Prepare(ctx context.Context) error { return s.ensureFormat(ctx) }
