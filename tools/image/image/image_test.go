package image_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/mf-run/mf/tools/image/image"
)

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// spec is an image of two platforms with a program, a folder and a root layer.
func spec(t *testing.T) image.Spec {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, "amd64", "for amd64")
	write(t, dir, "arm64", "for arm64")
	var root bytes.Buffer
	w := tar.NewWriter(&root)
	if err := w.WriteHeader(&tar.Header{Name: "./etc/issue", Typeflag: tar.TypeReg, Mode: 0o644, Size: 4}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("root")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return image.Spec{
		Platforms: []string{"linux/amd64", "linux/arm64"},
		Root:      write(t, dir, "root.tar", root.String()),
		Files: []image.File{
			{Source: filepath.Join(dir, "{arch}"), Target: "/opt/bin/program", Mode: 0o755}, {Target: "/tmp", Mode: 0o1777},
		},
		Entrypoint: []string{"/opt/bin/program"}, User: "65532:65532", Env: []string{"PATH=/opt/bin"},
		Labels: map[string]string{"b": "2", "a": "1"}, Created: time.Unix(1_700_000_000, 0),
	}
}

func build(t *testing.T, s image.Spec) v1.ImageIndex {
	t.Helper()
	index, err := image.Build(s)
	if err != nil {
		t.Fatal(err)
	}
	return index
}

// entries returns what an image's file system holds: contents of files, and modes.
func entries(t *testing.T, img v1.Image) map[string]string {
	t.Helper()
	in := mutate.Extract(img)
	defer in.Close()
	found := map[string]string{}
	for r := tar.NewReader(in); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		found["/"+strings.Trim(h.Name, "/.")] = h.FileInfo().Mode().String() + " " + string(data)
	}
}

// TestRegistry pushes to a registry and pulls what a node of each kind would.
func TestRegistry(t *testing.T) {
	server := httptest.NewServer(registry.New())
	defer server.Close()
	ref := strings.TrimPrefix(server.URL, "http://") + "/team/mf-task:1"
	pushed, err := image.Push(t.Context(), ref, build(t, spec(t)), image.PushOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, from := range []string{ref, pushed} {
		for _, arch := range []string{"amd64", "arm64"} {
			at, err := name.ParseReference(from)
			if err != nil {
				t.Fatal(err)
			}
			img, err := remote.Image(at, remote.WithPlatform(v1.Platform{OS: "linux", Architecture: arch}))
			if err != nil {
				t.Fatal(err)
			}
			if err := validate.Image(img); err != nil {
				t.Error(err)
			}
			got := entries(t, img)
			want := map[string]string{
				"/etc/issue": "-rw-r--r-- root", "/opt": "drwxr-xr-x ", "/opt/bin": "drwxr-xr-x ", "/tmp": "dtrwxrwxrwx ",
				"/opt/bin/program": "-rwxr-xr-x for " + arch,
			}
			for path, entry := range want {
				if got[path] != entry {
					t.Errorf("%s: %s is %q, want %q", arch, path, got[path], entry)
				}
			}
			if len(got) != len(want) {
				t.Errorf("the image holds %v", got)
			}
			config, err := img.ConfigFile()
			if err != nil {
				t.Fatal(err)
			}
			if config.Architecture != arch || config.Config.User != "65532:65532" || len(config.Config.Labels) != 2 ||
				!config.Created.Equal(time.Unix(1_700_000_000, 0)) {
				t.Errorf("configuration %+v", config)
			}
		}
	}
}

// TestSameBytes builds twice, from copies of the files made at another time.
func TestSameBytes(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a.tar", "b.tar"} {
		if err := image.WriteArchive(filepath.Join(dir, name), "acme/tool:1", build(t, spec(t))); err != nil {
			t.Fatal(err)
		}
	}
	a, err := os.ReadFile(filepath.Join(dir, "a.tar"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "b.tar"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Error("two builds differ")
	}
}

// TestLayout writes over a layout, reads it back, and leaves other folders alone.
func TestLayout(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "layout")
	s := spec(t)
	for range 2 {
		if err := image.WriteLayout(dir, "acme/tool:1", build(t, s)); err != nil {
			t.Fatal(err)
		}
	}
	index, err := image.ReadLayout(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(index); err != nil {
		t.Error(err)
	}
	want, errWant := image.Digest(build(t, s))
	if got, err := image.Digest(index); err != nil || errWant != nil || got != want {
		t.Errorf("read %s, wrote %s: %v %v", got, want, err, errWant)
	}
	top, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := top.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if got := manifest.Manifests[0].Annotations["io.containerd.image.name"]; got != "docker.io/acme/tool:1" {
		t.Errorf("containerd would name it %q", got)
	}
	other := t.TempDir()
	write(t, other, "mine", "mine")
	if err := image.WriteLayout(other, "acme/tool:1", index); err == nil || !strings.Contains(err.Error(), "holds something else") {
		t.Errorf("a folder of somebody's: %v", err)
	}
}

// TestOnePlatform has an image, not an index of one, in the layout, the registry and what Docker loads.
func TestOnePlatform(t *testing.T) {
	s := spec(t)
	s.Platforms = s.Platforms[:1]
	dir := t.TempDir()
	if err := image.WriteLayout(filepath.Join(dir, "layout"), "acme/tool:1", build(t, s)); err != nil {
		t.Fatal(err)
	}
	index, err := image.ReadLayout(filepath.Join(dir, "layout"))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(registry.New())
	defer server.Close()
	pushed, err := image.Push(t.Context(), strings.TrimPrefix(server.URL, "http://")+"/tool:1", index, image.PushOptions{})
	if err != nil {
		t.Fatal(err)
	}
	at, err := name.ParseReference(pushed)
	if err != nil {
		t.Fatal(err)
	}
	got, err := remote.Get(at)
	if err != nil {
		t.Fatal(err)
	}
	if !got.MediaType.IsImage() {
		t.Errorf("the registry has a %s", got.MediaType)
	}
	if err := image.WriteArchive(filepath.Join(dir, "x.tar"), "acme/tool:1", index); err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag("docker.io/acme/tool:1")
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := tarball.ImageFromPath(filepath.Join(dir, "x.tar"), &tag)
	if err != nil {
		t.Fatal(err)
	}
	if got := entries(t, loaded)["/opt/bin/program"]; !strings.HasSuffix(got, "for amd64") {
		t.Errorf("Docker would load %q", got)
	}
}

func TestMistakes(t *testing.T) {
	good := spec(t)
	for want, change := range map[string]func(s *image.Spec){
		"needs a platform":           func(s *image.Spec) { s.Platforms = nil },
		`"amd64" is not a platform`:  func(s *image.Spec) { s.Platforms = []string{"amd64"} },
		"no such file":               func(s *image.Spec) { s.Files[0].Source = filepath.Join(t.TempDir(), "none") },
		"reading /none.tar":          func(s *image.Spec) { s.Root = "/none.tar" },
		"is not an absolute path":    func(s *image.Spec) { s.Files[0].Target = "opt" },
		"/tmp is given twice":        func(s *image.Spec) { s.Files[0].Target = "/tmp/../tmp/" },
		"/a is a file and cannot":    func(s *image.Spec) { s.Files[0].Target, s.Files[1].Target = "/a", "/a/b" },
		"\"/\" is not an absolute p": func(s *image.Spec) { s.Files[1].Target = "/" },
	} {
		s := good
		s.Files = append([]image.File(nil), good.Files...)
		change(&s)
		if _, err := image.Build(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if err := image.WriteArchive(filepath.Join(t.TempDir(), "x.tar"), "Not A Name", build(t, good)); err == nil {
		t.Error("a bad name was taken")
	}
	if _, err := image.Push(t.Context(), "localhost:1/tool:1", build(t, good), image.PushOptions{}); err == nil ||
		!strings.Contains(err.Error(), "pushing localhost:1/tool:1") {
		t.Errorf("pushing to nowhere: %v", err)
	}
}
