package datastore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Format is the version of mf's own conventions in a datastore that this package reads and writes. Metaflow's layout
// has versions of its own.
const Format = 1

// formatKey is the object, beside the flows, that says which format a datastore has. Metaflow does not look at it.
const formatKey = "mf.json"

// formatMark is the content of formatKey.
var formatMark = fmt.Appendf(nil, "{\"format\": %d}\n", Format)

// CheckFormat returns ErrNewer, with a text that says what to do, if the datastore was written by a newer mf. A
// datastore without a mark, an empty one or Metaflow's, is fine.
func (s *Store) CheckFormat(ctx context.Context) error {
	_, err := s.readFormat(ctx)
	return err
}

// readFormat checks the mark and reports whether there is one.
func (s *Store) readFormat(ctx context.Context) (marked bool, err error) {
	data, err := s.read(ctx, formatKey)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("checking the datastore's format: %w", err)
	}
	var mark struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(data, &mark); err != nil {
		return false, fmt.Errorf("checking the datastore's format: %s in %s is %w: %w", formatKey, s.b.Root(), ErrCorrupt, err)
	}
	if mark.Format > Format {
		return false, fmt.Errorf("the datastore %s was %w of mf: it has format %d, this mf knows formats up to %d; update mf",
			s.b.Root(), ErrNewer, mark.Format, Format)
	}
	return true, nil
}

// ensureFormat checks the mark before the first write, and sets it where there is none.
func (s *Store) ensureFormat(ctx context.Context) error {
	if s.stamped.Load() {
		return nil
	}
	marked, err := s.readFormat(ctx)
	if err == nil && !marked {
		err = s.b.Put(ctx, formatKey, bytes.NewReader(formatMark), PutOptions{IfAbsent: true})
	}
	if err != nil {
		return err
	}
	s.stamped.Store(true)
	return nil
}

// maxSmallObject bounds the objects that are read as a whole other than blobs and logs.
const maxSmallObject = 256 << 20

// read returns the content of a small object.
func (s *Store) read(ctx context.Context, key string) ([]byte, error) {
	body, _, err := s.b.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	data, err := io.ReadAll(io.LimitReader(body, maxSmallObject+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", key, err)
	}
	if len(data) > maxSmallObject {
		return nil, fmt.Errorf("reading %s: over %d bytes: %w", key, maxSmallObject, ErrCorrupt)
	}
	return data, nil
}
