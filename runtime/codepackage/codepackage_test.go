package codepackage

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

func paths(files []File) []string {
	var out []string
	for _, f := range files {
		out = append(out, f.Path)
	}
	return out
}

func TestCollectLeavesOut(t *testing.T) {
	folder := fstest.MapFS{
		"flow.py":                 {Data: []byte("x"), Mode: 0o644},
		"run.sh":                  {Data: []byte("x"), Mode: 0o755},
		".gitignore":              {Data: []byte("data/\n*.log\n!keep.log\n")},
		".mfignore":               {Data: []byte("# notes\n/notes.txt\n")},
		"notes.txt":               {Data: []byte("x")},
		"a.log":                   {Data: []byte("x")},
		"keep.log":                {Data: []byte("x")},
		"data/big.bin":            {Data: []byte("x")},
		"lib/util.py":             {Data: []byte("x")},
		"lib/.gitignore":          {Data: []byte("tmp_*\n")},
		"lib/tmp_1":               {Data: []byte("x")},
		"tmp_1":                   {Data: []byte("x")},
		".git/config":             {Data: []byte("x")},
		".env":                    {Data: []byte("SECRET=1")},
		".env.local":              {Data: []byte("SECRET=1")},
		"server.pem":              {Data: []byte("x")},
		"env/pyvenv.cfg":          {Data: []byte("x")},
		"env/lib/a.py":            {Data: []byte("x")},
		"__pycache__/flow.pyc":    {Data: []byte("x")},
		".mf/metadata.db":         {Data: []byte("x")},
		"sub/node_modules/a/b.js": {Data: []byte("x")},
	}
	files, err := Collect(folder)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{".gitignore", ".mfignore", "flow.py", "keep.log", "lib/.gitignore", "lib/util.py", "run.sh", "tmp_1"}
	if got := paths(files); !slices.Equal(got, want) {
		t.Errorf("collected %v, want %v", got, want)
	}
}

func TestLinksStayInside(t *testing.T) {
	dir := t.TempDir()
	inside := filepath.Join(dir, "project")
	if err := os.Mkdir(inside, 0o755); err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{filepath.Join(dir, "secret"): "s", filepath.Join(inside, "real.py"): "r"} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{"out": "../secret", "in.py": "real.py", "gone": "nowhere"} {
		if err := os.Symlink(target, filepath.Join(inside, name)); err != nil {
			t.Fatal(err)
		}
	}
	folder, closer, err := Open(inside)
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close()
	files, err := Collect(folder)
	if err != nil {
		t.Fatal(err)
	}
	if got := paths(files); !slices.Equal(got, []string{"in.py", "real.py"}) {
		t.Errorf("collected %v", got)
	}
}

func TestArchiveIsDeterministic(t *testing.T) {
	folder := fstest.MapFS{"b.py": {Data: []byte("b"), Mode: 0o644}, "a/c.sh": {Data: []byte("c"), Mode: 0o755}}
	archive := func() []byte {
		files, err := Collect(folder)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := Write(&b, folder, files, Extra{".mf_meta/ir.json", []byte("{}")}); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	first := archive()
	if !bytes.Equal(first, archive()) {
		t.Fatal("two archives of the same files differ")
	}
	zip, err := gzip.NewReader(bytes.NewReader(first))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for r := tar.NewReader(zip); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, h.Name+" "+h.FileInfo().Mode().String())
	}
	want := []string{".mf_meta/ir.json -rw-r--r--", "a/c.sh -rwxr-xr-x", "b.py -rw-r--r--"}
	if !slices.Equal(got, want) {
		t.Errorf("members %v, want %v", got, want)
	}
}

func TestTooLargeNamesTheLargest(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "huge.bin"))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(MaxSize + 1); err != nil {
		t.Fatal(err)
	}
	f.Close()
	folder, closer, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close()
	_, err = Collect(folder)
	var tooLarge *TooLargeError
	if !errors.As(err, &tooLarge) || !strings.Contains(err.Error(), "huge.bin") {
		t.Errorf("error %v does not name huge.bin", err)
	}
}
