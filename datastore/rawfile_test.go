package datastore_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/memory"
)

func TestSaveRawFile(t *testing.T) {
	ctx := context.Background()
	backend := memory.New(time.Now)
	s := datastore.New(backend)
	data := bytes.Repeat([]byte("package "), 100_000)
	path := filepath.Join(t.TempDir(), "package.tgz")
	check(t, os.WriteFile(path, data, 0o600))
	digest := datastore.Digest(data)
	wrong := datastore.Digest([]byte("else"))

	if err := s.SaveRawFile(ctx, "F", wrong, path); err == nil {
		t.Error("bytes of another digest were stored")
	}
	if there, err := s.Has(ctx, "F", wrong); there || err != nil {
		t.Errorf("stored under a wrong digest: %v, %v", there, err)
	}
	check(t, s.SaveRawFile(ctx, "F", digest, path))
	got, err := s.Load(ctx, "F", digest)
	check(t, err)
	if !bytes.Equal(got, data) {
		t.Errorf("%d bytes came back", len(got))
	}
	_, meta, err := backend.Get(ctx, "F/data/"+digest[:2]+"/"+digest)
	check(t, err)
	if string(meta) != `{"cas_raw": true, "cas_version": 1}` {
		t.Errorf("metadata %s", meta)
	}
	// What is there is not read again.
	check(t, os.Remove(path))
	check(t, s.SaveRawFile(ctx, "F", digest, path))
	if err := datastore.New(memory.New(time.Now)).SaveRawFile(ctx, "F", digest, path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an absent file: %v", err)
	}
}
