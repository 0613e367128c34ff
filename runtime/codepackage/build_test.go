package codepackage

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
)

// options are those of a small flow.
func options(t *testing.T) Options {
	return Options{Entry: "flow.py", IR: []byte(`{"version": 1}`), MFVersion: "1.2.3", SDKDigest: "0123456789abcdef",
		Info: Info{EnvironmentType: "local", MetaflowVersion: "2.19.39"}, TempDir: t.TempDir()}
}

// build packages a folder on disk.
func build(t *testing.T, dir string) *Package {
	t.Helper()
	folder, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	p, err := Build(t.Context(), folder, options(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// entries lists an archive's members: mode, name and content.
func entries(t *testing.T, file string) []string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zip, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for r := tar.NewReader(zip); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if !h.ModTime.Equal(epoch) || h.Uid != 0 || h.Gid != 0 || h.Uname != "" || h.Gname != "" {
			t.Errorf("%s has an owner or a time: %+v", h.Name, h)
		}
		list = append(list, h.FileInfo().Mode().String()+" "+h.Name+" "+string(data))
	}
}

// TestArchiveIsDeterministic: neither time, owner, permissions but the executable bit, order nor place show in the
// bytes. The digest is pinned: where a new version of a dependency compresses in another way, all packages are stored
// anew, which is then a decision.
func TestArchiveIsDeterministic(t *testing.T) {
	files := map[string]string{"flow.py": strings.Repeat("print('hello')\n", 100), "b.py": "b", "a/c.sh": "#!/bin/sh\n", ".gitignore": "*.log\n"}
	one, two := tree(t, t.TempDir(), files), tree(t, t.TempDir(), files)
	for name, perm := range map[string]os.FileMode{"flow.py": 0o600, "b.py": 0o444, "a/c.sh": 0o700} {
		if err := os.Chmod(filepath.Join(one, name), perm); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(filepath.Join(one, name), time.Unix(1, 0), time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(two, "a/c.sh"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(two, "x.log"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	first, second := build(t, one), build(t, two)
	const want = "01ea552eb12a439742bfe8df5122a14bd8566810"
	if first.Digest != want || second.Digest != want {
		t.Errorf("digests %s and %s, want %s", first.Digest, second.Digest, want)
	}
	wantMembers := []string{
		`-rw-r--r-- .mf_install {"version": 1, "module_files": []}`, "-rw-r--r-- .mf_meta/CONFIG {}",
		`-rw-r--r-- .mf_meta/INFO {"environment_type":"local","use_r":false,"metaflow_version":"2.19.39","script":"flow.py"}`,
		`-rw-r--r-- .mf_meta/ir.json {"version": 1}`,
		`-rw-r--r-- .mf_meta/mf.json {"version":1,"mf":"1.2.3","sdk":"0123456789abcdef","entry":"flow.py"}`,
		"-rw-r--r-- .gitignore *.log\n", "-rwxr-xr-x a/c.sh #!/bin/sh\n", "-rw-r--r-- b.py b", "-rw-r--r-- flow.py " + files["flow.py"],
	}
	if diff := gocmp.Diff(wantMembers, entries(t, first.Path())); diff != "" {
		t.Errorf("-want +members:\n%s", diff)
	}
	if info, err := os.Stat(first.Path()); err != nil || info.Size() != first.Size {
		t.Errorf("size %d, of %v: %v", first.Size, info, err)
	}
}

func TestOddNamesComeBack(t *testing.T) {
	files := map[string]string{
		"flow.py": "x", "ü/日本.txt": "u", "new\nline": "n", "a b": "s", strings.Repeat("long/", 60) + "x": "l", strings.Repeat("n", 200): "n",
		"back\\slash": "b", "-rf": "d", "~": "t", "empty": "", "a:b": "c", "PaxHeaders.0/x": "p",
	}
	out := filepath.Join(t.TempDir(), "out")
	p := build(t, tree(t, t.TempDir(), files))
	f, err := os.Open(p.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := Extract(t.Context(), f, out); err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		if got, err := os.ReadFile(filepath.Join(out, name)); err != nil || string(got) != want {
			t.Errorf("%q: %q, %v", name, got, err)
		}
	}
	if got, want := len(p.Listing.Files), len(files); got != want {
		t.Errorf("%d files, want %d", got, want)
	}
}

// TestBuildHoldsLittle: what is packaged goes through a few buffers.
func TestBuildHoldsLittle(t *testing.T) {
	dir := tree(t, t.TempDir(), map[string]string{"flow.py": "x"})
	f, err := os.Create(filepath.Join(dir, "big.bin"))
	if err != nil {
		t.Fatal(err)
	}
	random := rand.NewChaCha8([32]byte{})
	if _, err := io.CopyN(f, random, 32<<20); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(200 << 20); err != nil {
		t.Fatal(err)
	}
	f.Close()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	p := build(t, dir)
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 16<<20 {
		t.Errorf("%d MiB were allocated", used>>20)
	}
	if p.Size < 32<<20 {
		t.Errorf("the archive has %d bytes", p.Size)
	}
	in, err := os.Open(p.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	runtime.ReadMemStats(&before)
	if err := Extract(t.Context(), in, filepath.Join(t.TempDir(), "out")); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 16<<20 {
		t.Errorf("unpacking allocated %d MiB", used>>20)
	}
}

// shrunk is a folder whose files are shorter than it says.
type shrunk struct{ fstest.MapFS }

type shrunkInfo struct{ os.FileInfo }

func (i shrunkInfo) Size() int64 { return i.FileInfo.Size() + 1 }

func (s shrunk) Stat(name string) (os.FileInfo, error) {
	info, err := s.MapFS.Stat(name)
	return shrunkInfo{info}, err
}

func TestBuildFails(t *testing.T) {
	plain := fstest.MapFS{"flow.py": {Data: []byte("x")}, "sub/other.py": {}}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, test := range []struct {
		name   string
		folder *Folder
		change func(*Options)
		ctx    context.Context
		want   string
	}{
		{name: "no entry", change: func(o *Options) { o.Entry = "absent.py" }, want: `there is no file "absent.py"`},
		{name: "entry in a folder", change: func(o *Options) { o.Entry = "sub" }, want: `there is no file "sub"`},
		{name: "entry left out", folder: NewFolder(fstest.MapFS{"flow.py": {}, ".gitignore": {Data: []byte("*.py")}}), want: ".gitignore says *.py; the line !flow.py in .mfignore"},
		{name: "entry left out by the caller", change: func(o *Options) { o.LeaveOut = []string{"flow.py"} }, want: "flow.py itself would stay behind"},
		{name: "shrunk", folder: NewFolder(shrunk{plain}), want: "flow.py: the file shrank"},
		{name: "large IR", change: func(o *Options) { o.IR = make([]byte, maxExtras) }, want: "64 MiB as JSON"},
		{name: "no folder for the archive", change: func(o *Options) { o.TempDir = filepath.Join(o.TempDir, "absent") }, want: "no such file"},
		{name: "canceled", ctx: canceled, want: "context canceled"},
	} {
		t.Run(test.name, func(t *testing.T) {
			opt := options(t)
			temp := opt.TempDir
			if test.change != nil {
				test.change(&opt)
			}
			if test.folder == nil {
				test.folder = NewFolder(plain)
			}
			if test.ctx == nil {
				test.ctx = t.Context()
			}
			_, err := Build(test.ctx, test.folder, opt)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
			if left, _ := os.ReadDir(temp); len(left) > 0 {
				t.Errorf("%v is left", left)
			}
		})
	}
}

func TestLeaveOut(t *testing.T) {
	opt := options(t)
	opt.LeaveOut = []string{"out.tgz"}
	p, err := Build(t.Context(), NewFolder(fstest.MapFS{"flow.py": {}, "out.tgz": {}, "sub/out.tgz": {}}), opt)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if diff := gocmp.Diff([]string{"flow.py", "sub/out.tgz"}, paths(p.Listing.Files)); diff != "" {
		t.Error(diff)
	}
}
