package codepackage

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/local"
	"github.com/mf-run/mf/datastore/memory"
	"github.com/mf-run/mf/metadata"
)

func TestPublishAndFetch(t *testing.T) {
	dir := tree(t, t.TempDir(), map[string]string{"flow.py": "x", "lib/a.py": "y", "skip.log": "", ".gitignore": "*.log"})
	root := filepath.Join(t.TempDir(), ".metaflow")
	backend, err := local.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	store := datastore.New(backend)
	opt := options(t)
	got, err := Publish(t.Context(), store, "Flow", dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	p := build(t, dir)
	want := metadata.CodePackage{DsType: "local", Sha: p.Digest, Metadata: Format, Location: root + "/Flow/data/" + p.Digest[:2] + "/" + p.Digest}
	if diff := gocmp.Diff(want, got.Code); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if TaskCode(got.Code) != (datastore.CodePackage{Metadata: Format, Digest: p.Digest, StoreType: "local", URL: want.Location}) {
		t.Errorf("a task's code: %+v", TaskCode(got.Code))
	}
	if got.Size != p.Size || len(got.Listing.LeftOut) != 1 {
		t.Errorf("published %+v", got)
	}
	if left, err := os.ReadDir(opt.TempDir); err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
	built, err := os.ReadFile(p.Path())
	if err != nil {
		t.Fatal(err)
	}
	if stored, err := os.ReadFile(want.Location); err != nil || !bytes.Equal(stored, built) {
		t.Errorf("stored are %d bytes: %v", len(stored), err)
	}
	if meta, err := os.ReadFile(want.Location + "_meta"); err != nil || string(meta) != `{"cas_raw": true, "cas_version": 1}` {
		t.Errorf("metadata %s: %v", meta, err)
	}

	absent, empty := filepath.Join(t.TempDir(), "not", "yet"), t.TempDir()
	for _, into := range []string{absent, empty} {
		if err := Fetch(t.Context(), store, "Flow", p.Digest, into); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{"flow.py": "x", "lib/a.py": "y", ".mf_meta/ir.json": `{"version": 1}`} {
			if data, err := os.ReadFile(filepath.Join(into, name)); err != nil || string(data) != text {
				t.Errorf("%s: %q, %v", name, data, err)
			}
		}
		noStaging(t, into)
		noStaging(t, filepath.Dir(into))
		m, flow, err := Load(into)
		if err != nil || m.Entry != "flow.py" || m.SDK != opt.SDKDigest || string(flow) != `{"version": 1}` {
			t.Errorf("loaded %+v, %s, %v", m, flow, err)
		}
		if err := Fetch(t.Context(), store, "Flow", p.Digest, into); err == nil || !strings.Contains(err.Error(), "is not empty") {
			t.Errorf("a second time: %v", err)
		}
	}
}

func noStaging(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), stagingPrefix) {
			t.Errorf("%s is left in %s", e.Name(), dir)
		}
	}
}

// TestFetchRefuses: where the bytes are not those of the digest, or are no package, nothing shows up.
func TestFetchRefuses(t *testing.T) {
	good := pack(t, archive(t, tar.Header{Name: "flow.py", Linkname: strings.Repeat("content ", 100)}))
	other := pack(t, archive(t, tar.Header{Name: "flow.py", Linkname: "evil"}))
	link := pack(t, archive(t, tar.Header{Name: "flow.py", Linkname: "x"}, tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "/etc"}))
	flipped := bytes.Clone(good)
	flipped[len(flipped)/2] ^= 0x40
	digest := datastore.Digest(good)
	for _, test := range []struct {
		name, digest string
		data         []byte
		want         error
	}{
		{"another package", digest, other, datastore.ErrCorrupt},
		{"flipped", digest, flipped, datastore.ErrCorrupt},
		{"cut", digest, good[:len(good)/2], datastore.ErrCorrupt},
		{"longer", digest, append(bytes.Clone(good), "more"...), datastore.ErrCorrupt},
		{"empty", digest, nil, datastore.ErrCorrupt},
		{"a link in place of it", digest, link, datastore.ErrCorrupt},
		{"a link", datastore.Digest(link), link, ErrUnsound},
		{"absent", strings.Repeat("0", 40), nil, datastore.ErrNotFound},
	} {
		t.Run(test.name, func(t *testing.T) {
			backend := memory.New(time.Now)
			store := datastore.New(backend)
			if !errors.Is(test.want, datastore.ErrNotFound) {
				key := "Flow/data/" + test.digest[:2] + "/" + test.digest
				err := backend.Put(t.Context(), key, bytes.NewReader(test.data), datastore.PutOptions{Meta: []byte(`{"cas_raw": true, "cas_version": 1}`)})
				if err != nil {
					t.Fatal(err)
				}
			}
			parent, empty := t.TempDir(), t.TempDir()
			for _, into := range []string{filepath.Join(parent, "new"), empty} {
				if err := Fetch(t.Context(), store, "Flow", test.digest, into); !errors.Is(err, test.want) {
					t.Errorf("error %v, want %v", err, test.want)
				}
			}
			for _, dir := range []string{parent, empty} {
				if got := snapshot(t, dir); len(got) != 1 {
					t.Errorf("left: %v", got)
				}
			}
		})
	}
	if err := Fetch(t.Context(), datastore.New(memory.New(time.Now)), "Flow", "../../x", filepath.Join(t.TempDir(), "new")); err == nil {
		t.Error("no error for what is no digest")
	}
}

func TestSaveChecksTheFile(t *testing.T) {
	store := datastore.New(memory.New(time.Now))
	p := build(t, tree(t, t.TempDir(), map[string]string{"flow.py": "x"}))
	if err := os.WriteFile(p.Path(), []byte("changed"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Save(t.Context(), store, "Flow", p); err == nil || !strings.Contains(err.Error(), "was changed") {
		t.Errorf("changed: %v", err)
	}
	if err := os.Remove(p.Path()); err != nil {
		t.Fatal(err)
	}
	if _, err := Save(t.Context(), store, "Flow", p); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("gone: %v", err)
	}
	if _, err := Publish(t.Context(), store, "Flow", filepath.Join(t.TempDir(), "absent"), options(t)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Publish(ctx, store, "Flow", t.TempDir(), options(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

func TestLoadRefuses(t *testing.T) {
	for want, files := range map[string]map[string]string{
		"mf did not make it":    {"flow.py": "x"},
		"not a sound":           {ManifestFile: "{"},
		"ir.json: no such file": {ManifestFile: `{"version": 1, "entry": "flow.py"}`},
		"is newer than this":    {ManifestFile: `{"version": 7, "mf": "3.0"}`},
		`entry ""`:              {ManifestFile: `{}`},
	} {
		_, _, err := Load(tree(t, t.TempDir(), files))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}
