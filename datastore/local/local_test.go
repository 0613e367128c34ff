package local_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/datastoretest"
	"github.com/mf-run/mf/datastore/local"
)

func open(t *testing.T) *local.Backend {
	t.Helper()
	b, err := local.Open(filepath.Join(t.TempDir(), "new", ".metaflow"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func TestContract(t *testing.T) {
	datastoretest.Test(t, func(t *testing.T) datastore.Backend { return open(t) })
}

func TestOpenRefuses(t *testing.T) {
	for _, root := range []string{"", "rel/.metaflow", "/abs", "/abs/.metaflow/x"} {
		if _, err := local.Open(root); err == nil {
			t.Errorf("Open(%q) was accepted", root)
		}
	}
	b, err := local.Open("/x/../y/.metaflow/")
	if err != nil || b.Root() != "/y/.metaflow" || b.Type() != "local" {
		t.Errorf("Open = %v, %v", b, err)
	}
}

func put(t *testing.T, b *local.Backend, key, body string) {
	t.Helper()
	err := b.Put(t.Context(), key, strings.NewReader(body), datastore.PutOptions{Meta: []byte(`{"cas_raw": true}`)})
	if err != nil {
		t.Fatal(err)
	}
}

func TestFilesOnDisk(t *testing.T) {
	b := open(t)
	put(t, b, "F/data/ab/abc", "body")
	dir := filepath.Join(b.Root(), "F", "data", "ab")
	for name, want := range map[string]string{"abc": "body", "abc_meta": `{"cas_raw": true}`} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || string(data) != want {
			t.Errorf("%s holds %q, %v", name, data, err)
		}
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v, want mode 0600", name, info.Mode(), err)
		}
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 2 {
		t.Errorf("the folder holds %v, %v", names, err)
	}
}

func TestListLeavesOutFilesBeingWritten(t *testing.T) {
	b := open(t)
	put(t, b, "F/k", "x")
	put(t, b, "F/tmpabc12345/x", "a folder is none")
	for _, name := range []string{datastore.TempPrefix + "1", "tmpabc12_45"} {
		if err := os.WriteFile(filepath.Join(b.Root(), "F", name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("nowhere", filepath.Join(b.Root(), "F", "dangling")); err != nil {
		t.Fatal(err)
	}
	var got []string
	for e, err := range b.List(t.Context(), "F") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.Key)
	}
	if fmt.Sprint(got) != "[F/k F/tmpabc12345]" {
		t.Errorf("List = %q", got)
	}
}

func TestDeletedFoldersAreMadeAgain(t *testing.T) {
	b := open(t)
	for range 3 {
		put(t, b, "F/data/ab/abc", "x")
		if ok, err := b.Exists(t.Context(), "F/data/ab/abc"); !ok || err != nil {
			t.Fatalf("Exists = %v, %v", ok, err)
		}
		if err := os.RemoveAll(b.Root()); err != nil {
			t.Fatal(err)
		}
		if ok, err := b.Exists(t.Context(), "F/data/ab/abc"); ok || err != nil {
			t.Fatalf("Exists = %v, %v after deleting", ok, err)
		}
	}
	put(t, b, "F/data/ab/abc", "x")
	// Deleted and made by somebody else.
	if err := os.RemoveAll(b.Root()); err != nil {
		t.Fatal(err)
	}
	other, err := local.Open(b.Root())
	if err != nil {
		t.Fatal(err)
	}
	put(t, other, "F/data/ab/abd", "x")
	if ok, err := b.Exists(t.Context(), "F/data/ab/abd"); !ok || err != nil {
		t.Errorf("Exists = %v, %v of an object in a folder made anew", ok, err)
	}
}

func TestManyFolders(t *testing.T) {
	b := open(t)
	for range 2 {
		for i := range 700 {
			put(t, b, fmt.Sprintf("F/%d/k", i), "x")
		}
	}
	open, err := os.ReadDir("/proc/self/fd")
	if err == nil && len(open) > 400 {
		t.Errorf("%d files are open", len(open))
	}
}

func TestSymbolicLinkOutOfTheRoot(t *testing.T) {
	b := open(t)
	put(t, b, "F/k", "x")
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("s"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(b.Root(), "F", "link")); err != nil {
		t.Fatal(err)
	}
	_, _, err := b.Get(t.Context(), "F/link/secret")
	if err == nil || !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("Get = %v", err)
	}
	err = b.Put(t.Context(), "F/link/new", strings.NewReader("x"), datastore.PutOptions{})
	if err == nil || !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("Put = %v", err)
	}
	if _, err := os.Stat(filepath.Join(outside, "new")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file was written outside the root: %v", err)
	}
}

func TestFileInPlaceOfAFolder(t *testing.T) {
	b := open(t)
	put(t, b, "F/k", "x")
	err := b.Put(t.Context(), "F/k/below", strings.NewReader("x"), datastore.PutOptions{})
	if err == nil || !strings.Contains(err.Error(), filepath.Join("F", "k", "below")) {
		t.Errorf("Put = %v", err)
	}
}
