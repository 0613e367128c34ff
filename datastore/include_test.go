package datastore_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/memory"
)

func TestInclude(t *testing.T) {
	ctx := t.Context()
	b := openLocal(t)
	s := datastore.New(b)
	data := randomBytes(3 << 20)
	file := filepath.Join(t.TempDir(), "f.csv")
	check(t, os.WriteFile(file, data, 0o600))
	d, err := s.SaveInclude(ctx, "F", file, true, "utf-8")
	check(t, err)
	again, err := s.SaveInclude(ctx, "F", file, true, "utf-8")
	check(t, err)
	digest := datastore.Digest(data)
	want := `{"encoding":"utf-8","is_text":true,"note":"Internal representation of IncludeFile","size":3145728,"sub-type":"uploaded","type":"uploader-v2","url":"local://` + b.Root() + `/data/F/` + digest + `"}`
	for _, d := range []map[string]any{d, again} {
		if text, err := json.Marshal(d); err != nil || string(text) != want {
			t.Errorf("descriptor\n%s, want\n%s", text, want)
		}
	}
	names, err := os.ReadDir(filepath.Join(b.Root(), "data", "F"))
	if err != nil || len(names) != 1 || names[0].Name() != digest {
		t.Errorf("files %v, %v", names, err)
	}
	r, err := s.OpenInclude(ctx, d)
	check(t, err)
	got, err := io.ReadAll(r)
	check(t, err, r.Close())
	if !bytes.Equal(got, data) {
		t.Errorf("read %d bytes back", len(got))
	}
	if root, err := datastore.IncludeRoot(d); err != nil || root != "local://"+b.Root() {
		t.Errorf("IncludeRoot = %q, %v", root, err)
	}
	if _, err := datastore.New(openLocal(t)).OpenInclude(ctx, d); !errors.Is(err, datastore.ErrNotFound) || !strings.Contains(err.Error(), "outside") {
		t.Errorf("from another datastore: %v", err)
	}
	stored := filepath.Join(b.Root(), "data", "F", digest)
	check(t, os.Truncate(stored, 1000))
	r, err = s.OpenInclude(ctx, d)
	check(t, err)
	if _, err := io.ReadAll(r); !errors.Is(err, datastore.ErrCorrupt) {
		t.Errorf("a cut file: %v", err)
	}
	check(t, r.Close())
}

func TestIncludeDescriptors(t *testing.T) {
	ctx := t.Context()
	b := memory.New(nil)
	s := datastore.New(b)
	check(t, b.Put(ctx, "data/F/plain", strings.NewReader("plain"), datastore.PutOptions{}))
	const url = "memory:///memory/data/F/plain"
	for _, c := range []struct {
		d    map[string]any
		say  string
		want error
	}{
		{map[string]any{"type": "external", "url": url}, "", nil},
		{map[string]any{"type": "uploader-v2", "sub-type": "external", "url": url}, "", nil},
		{map[string]any{"type": "uploader-v3", "url": url}, "uploader-v3", datastore.ErrNewer},
		{map[string]any{"type": "external"}, "no url", nil},
		{map[string]any{"type": "external", "url": "memory:///memory/data/F/no"}, "data/F/no", datastore.ErrNotFound},
		{map[string]any{"type": "external", "url": "memory:///memory/../x"}, "invalid key", nil},
		{map[string]any{"type": "external", "url": "/etc/passwd"}, "outside", datastore.ErrNotFound},
		{nil, "no url", nil},
	} {
		r, err := s.OpenInclude(ctx, c.d)
		if c.say == "" {
			check(t, err)
			if data, err := io.ReadAll(r); err != nil || string(data) != "plain" {
				t.Errorf("%v: %q, %v", c.d, data, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.say) || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%v: %v, want %q", c.d, err, c.say)
		}
		if root, err := datastore.IncludeRoot(c.d); err == nil {
			t.Errorf("%v: root %q", c.d, root)
		}
	}
	if _, err := s.SaveInclude(ctx, "F", filepath.Join(t.TempDir(), "no"), false, ""); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}
