package codepackage

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
)

// archive packs members; a header without a type is a file with its Linkname as content.
func archive(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		content := ""
		if h.Typeflag == 0 {
			h.Typeflag, content, h.Linkname = tar.TypeReg, h.Linkname, ""
			h.Size = int64(len(content))
		}
		if h.Mode == 0 && h.Typeflag != tar.TypeXGlobalHeader {
			h.Mode = 0o644
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// pack compresses.
func pack(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// snapshot is everything below a folder: path, mode and content.
func snapshot(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		all[rel] = d.Type().String()
		if d.Type().IsRegular() {
			data, err := os.ReadFile(path)
			all[rel] += " " + string(data)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// hostile are archives that must not be unpacked, by what is wrong with them.
func hostile(t testing.TB) map[string][]byte {
	file := tar.Header{Name: "flow.py", Linkname: "x"}
	named := func(name string) []byte { return pack(t, archive(t, file, tar.Header{Name: name, Linkname: "evil"})) }
	typed := func(flag byte) []byte {
		return pack(t, archive(t, file, tar.Header{Name: "evil", Typeflag: flag, Linkname: "../canary"}))
	}
	good := pack(t, archive(t, file))
	flipped := slices.Clone(good)
	flipped[len(flipped)-6] ^= 1 // in the checksum
	return map[string][]byte{
		"up": named("../evil"), "up in the middle": named("a/../../evil"), "up and down": named("a/../flow2.py"), "dots": named(".."),
		"absolute": named("/tmp/evil"), "absolute twice": named("//tmp/evil"), "up after a dot": named("./../evil"),
		"empty part": named("a//b"), "dot part": named("a/./b"), "a name that is a dot": named("."), "very long": named(strings.Repeat("a/b/", 1500) + "x"),
		"very deep": named(strings.Repeat("a/", 300) + "x"),
		"symlink":   typed(tar.TypeSymlink), "hard link": typed(tar.TypeLink), "device": typed(tar.TypeBlock), "character device": typed(tar.TypeChar), "pipe": typed(tar.TypeFifo),
		"through a link": pack(t, archive(t, tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: ".."}, tar.Header{Name: "l/evil", Linkname: "x"})),
		"same twice":     pack(t, archive(t, file, file)), "same twice, with a dot": pack(t, archive(t, file, tar.Header{Name: "./flow.py"})),
		"file and folder": pack(t, archive(t, file, tar.Header{Name: "flow.py/x", Linkname: "x"})),
		"folder and file": pack(t, archive(t, tar.Header{Name: "a/b", Linkname: "x"}, tar.Header{Name: "a", Linkname: "x"})),
		"file as folder":  pack(t, archive(t, file, tar.Header{Name: "flow.py/", Typeflag: tar.TypeDir})),
		"not gzip":        []byte("hello"), "empty": {}, "not tar": pack(t, bytes.Repeat([]byte("hello"), 300)), "cut": good[:len(good)-12], "flipped": flipped,
		"trailing rubbish": append(slices.Clone(good), "rubbish"...), "half a member": pack(t, archive(t, file)[:512]),
	}
}

func TestExtractRefuses(t *testing.T) {
	for name, data := range hostile(t) {
		t.Run(name, func(t *testing.T) {
			outer := tree(t, t.TempDir(), map[string]string{"canary": "c", "other/x": "x"})
			before := snapshot(t, outer)
			err := Extract(t.Context(), bytes.NewReader(data), filepath.Join(outer, "in", "here"))
			if !errors.Is(err, ErrUnsound) {
				t.Errorf("error %v", err)
			}
			after := snapshot(t, outer)
			for path := range after {
				if path == "in" || strings.HasPrefix(path, "in"+string(filepath.Separator)) {
					delete(after, path)
				}
			}
			if diff := gocmp.Diff(before, after); diff != "" {
				t.Errorf("outside the folder: -before +after\n%s", diff)
			}
			if strings.Contains(name, "twice") || strings.Contains(name, "folder") {
				return // only a disk tells
			}
			if _, err := Inspect(t.Context(), bytes.NewReader(data)); !errors.Is(err, ErrUnsound) {
				t.Errorf("Inspect: error %v", err)
			}
		})
	}
}

// zeros is an endless source of them.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// bomb streams an archive that is small and unpacks to much.
func bomb(t *testing.T, write func(w *tar.Writer) error) io.Reader {
	r, w := io.Pipe()
	t.Cleanup(func() { r.Close() })
	go func() {
		zip, err := gzip.NewWriterLevel(w, 1)
		if err == nil {
			archive := tar.NewWriter(zip)
			err = errors.Join(write(archive), archive.Close(), zip.Close())
		}
		w.CloseWithError(err)
	}()
	return r
}

func TestBombs(t *testing.T) {
	t.Run("size", func(t *testing.T) {
		dir := t.TempDir()
		err := Extract(t.Context(), bomb(t, func(w *tar.Writer) error {
			for i := range 10 {
				size := int64(100 << 40)
				if i == 0 {
					size = 1 << 20
				}
				if err := w.WriteHeader(&tar.Header{Name: fmt.Sprint("f", i), Size: size, Mode: 0o644}); err != nil {
					return err
				}
				if _, err := io.CopyN(w, zeros{}, size); err != nil {
					return err
				}
			}
			return nil
		}), dir)
		if !errors.Is(err, ErrUnsound) || !strings.Contains(err.Error(), "more than 576 MiB") {
			t.Errorf("error %v", err)
		}
		if got := snapshot(t, dir); len(got) != 2 {
			t.Errorf("%d files and folders were written", len(got))
		}
	})
	t.Run("files", func(t *testing.T) {
		_, err := Inspect(t.Context(), bomb(t, func(w *tar.Writer) error {
			for i := range maxEntries + 1 {
				if err := w.WriteHeader(&tar.Header{Name: fmt.Sprint(i), Mode: 0o644}); err != nil {
					return err
				}
			}
			return nil
		}))
		if !errors.Is(err, ErrUnsound) || !strings.Contains(err.Error(), "more than 101000 files") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("rest", func(t *testing.T) {
		_, err := io.Copy(io.Discard, &limitReader{r: zeros{}, left: 1 << 20})
		if !errors.Is(err, errLimit) {
			t.Errorf("error %v", err)
		}
	})
}

// TestExtractIntoWhatIsThere: neither files nor links that are in the folder already are written over or through.
func TestExtractIntoWhatIsThere(t *testing.T) {
	outer := tree(t, t.TempDir(), map[string]string{"canary": "c", "in/kept": "k", "in/link": "-> ../canary", "in/dir": "-> .."})
	before := snapshot(t, outer)
	for _, name := range []string{"kept", "link", "dir/evil", "dir/canary", "link/x"} {
		data := pack(t, archive(t, tar.Header{Name: name, Linkname: "evil"}))
		if err := Extract(t.Context(), bytes.NewReader(data), filepath.Join(outer, "in")); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if diff := gocmp.Diff(before, snapshot(t, outer)); diff != "" {
		t.Errorf("-before +after\n%s", diff)
	}
}

func TestExtractTakes(t *testing.T) {
	dir := t.TempDir()
	data := pack(t, archive(t,
		tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o700}, tar.Header{Name: "./a/", Typeflag: tar.TypeDir, Mode: 0o500}, tar.Header{Name: "a/", Typeflag: tar.TypeDir},
		tar.Header{Name: "./a/x", Linkname: "1", Mode: 0o6777}, tar.Header{Name: "a/y", Linkname: "2", Mode: 0o200},
		tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "of git archive"}},
	))
	if err := Extract(t.Context(), bytes.NewReader(data), dir); err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(map[string]string{".": "d---------", "a": "d---------", "a/x": "---------- 1", "a/y": "---------- 2"}, snapshot(t, dir)); diff != "" {
		t.Error(diff)
	}
	for name, want := range map[string]fs.FileMode{"a": fs.ModeDir | 0o700, "a/x": 0o700, "a/y": 0o600} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode()&^0o077 != want {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}

// broken fails after some bytes.
type broken struct {
	io.Reader
	err error
}

func (b broken) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		err = b.err
	}
	return n, err
}

// TestSourceErrors: an error of the source is not blamed on the archive, wherever it shows.
func TestSourceErrors(t *testing.T) {
	lost := errors.New("connection lost")
	data := pack(t, archive(t, tar.Header{Name: "flow.py", Linkname: strings.Repeat("content", 1000)}))
	for n := 0; n <= len(data); n++ {
		err := Extract(t.Context(), broken{bytes.NewReader(data[:n]), lost}, filepath.Join(t.TempDir(), "out"))
		if !errors.Is(err, lost) || errors.Is(err, ErrUnsound) {
			t.Fatalf("after %d bytes: %v", n, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Extract(ctx, bytes.NewReader(data), t.TempDir()); !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnsound) {
		t.Errorf("canceled: %v", err)
	}
	if err := Extract(t.Context(), bytes.NewReader(data), os.DevNull); err == nil || errors.Is(err, ErrUnsound) {
		t.Errorf("into a file: %v", err)
	}
}

func TestInspect(t *testing.T) {
	p := build(t, tree(t, t.TempDir(), map[string]string{"flow.py": "x", "metaflow/mine.py": "y"}))
	f, err := os.Open(p.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c, err := Inspect(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	want := &Contents{
		Layout: 1, Info: map[string]any{"environment_type": "local", "use_r": false, "metaflow_version": "2.19.39", "script": "flow.py"},
		Manifest: &Manifest{Version: 1, MF: "1.2.3", SDK: "0123456789abcdef", Entry: "flow.py"}, IR: []byte(`{"version": 1}`),
		Files: []File{{Path: "flow.py", Size: 1}, {Path: "metaflow/mine.py", Size: 1}},
	}
	if diff := gocmp.Diff(want, c); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for name, test := range map[string]struct {
		members []tar.Header
		want    string
	}{
		"a newer layout":     {[]tar.Header{{Name: marker, Linkname: `{"version": 2}`}}, "layout 2, this mf knows layouts 0 and 1"},
		"a newer mf":         {[]tar.Header{{Name: ManifestFile, Linkname: `{"version": 2, "mf": "9"}`}}, "made by mf 9, which is newer"},
		"an entry elsewhere": {[]tar.Header{{Name: ManifestFile, Linkname: `{"version": 1, "entry": "../x"}`}}, `entry "../x"`},
		"no JSON":            {[]tar.Header{{Name: marker, Linkname: `{`}}, ".mf_install: unexpected end"},
		"no info":            {[]tar.Header{{Name: "INFO", Linkname: `[]`}}, "INFO: json"},
	} {
		_, err := Inspect(t.Context(), bytes.NewReader(pack(t, archive(t, test.members...))))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzExtract: whatever the archive, nothing outside its folder is written, and nothing in it that is no plain file or
// folder. The bytes are a tar archive that is yet to be compressed, unless they are to be taken as they are.
func FuzzExtract(f *testing.F) {
	f.Add(archive(f, tar.Header{Name: "flow.py", Linkname: "x"}, tar.Header{Name: "a/b", Linkname: "y"}), true)
	for _, data := range hostile(f) {
		f.Add(data, false)
		if zip, err := gzip.NewReader(bytes.NewReader(data)); err == nil {
			if plain, err := io.ReadAll(zip); err == nil && len(plain) < 1<<16 {
				f.Add(plain, true)
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, compress bool) {
		if compress {
			data = pack(t, data)
		}
		// A size that is large but allowed would only fill the disk.
		var size int64
		_ = members(t.Context(), bytes.NewReader(data), func(m member, _ io.Reader) error { size += m.Size; return nil })
		if size > 1<<20 {
			return
		}
		outer := t.TempDir()
		err := Extract(t.Context(), bytes.NewReader(data), filepath.Join(outer, "in"))
		files := 0
		for path, kind := range snapshot(t, outer) {
			if path != "." && path != "in" && !strings.HasPrefix(path, "in"+string(filepath.Separator)) {
				t.Errorf("%s was written", path)
			}
			if strings.HasPrefix(kind, "-") {
				files++
			} else if !strings.HasPrefix(kind, "d") {
				t.Errorf("%s is %s", path, kind)
			}
		}
		if _, inspectErr := Inspect(t.Context(), bytes.NewReader(data)); err == nil && inspectErr != nil && errors.Is(inspectErr, ErrUnsound) &&
			!strings.Contains(inspectErr.Error(), marker) && !strings.Contains(inspectErr.Error(), metaDir) && !strings.Contains(inspectErr.Error(), oldInfo) {
			t.Errorf("unpacked, but not read: %v", inspectErr)
		}
	})
}
