package datastore_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/local"
	"github.com/mf-run/mf/datastore/memory"
)

func openLocal(t testing.TB) *local.Backend {
	t.Helper()
	b, err := local.Open(filepath.Join(t.TempDir(), ".metaflow"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// randomBytes returns the same n bytes each time, half of which compress well.
func randomBytes(n int) []byte {
	rng := rand.New(rand.NewPCG(1, uint64(n)))
	data := make([]byte, n)
	for i := range data {
		if i%2 == 0 {
			data[i] = byte(rng.Uint32())
		}
	}
	return data
}

func TestBlobsOfAllSizes(t *testing.T) {
	ctx := t.Context()
	for _, n := range []int{0, 1, 4, 1023, 1024, 1025, 65536, 1 << 20, 1<<20 + 1, 5 << 20} {
		s := datastore.New(openLocal(t))
		data := randomBytes(n)
		digest, err := s.SaveBytes(ctx, "F", data)
		if err != nil {
			t.Fatal(err)
		}
		if want := datastore.Digest(data); digest != want {
			t.Errorf("size %d: digest %s, want %s", n, digest, want)
		}
		got, err := datastore.New(s.Backend()).Load(ctx, "F", digest)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("size %d: read %d bytes back, %v", n, len(got), err)
		}
		path := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		other := datastore.New(memory.New(nil))
		fileDigest, size, err := other.SaveFile(ctx, "F", path)
		if err != nil || fileDigest != digest || size != int64(n) {
			t.Errorf("size %d: SaveFile = %s, %d, %v", n, fileDigest, size, err)
		}
		got, err = other.Load(ctx, "F", digest)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("size %d: read %d bytes of the file back, %v", n, len(got), err)
		}
	}
}

func TestRawBlob(t *testing.T) {
	ctx := t.Context()
	s := datastore.New(openLocal(t))
	data := []byte("\x1f\x8b looks like gzip but is not")
	digest, err := s.SaveRaw(ctx, "F", data)
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Load(ctx, "F", digest)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("Load = %q, %v", got, err)
	}
	file := filepath.Join(s.Backend().Root(), "F", "data", digest[:2], digest)
	if stored, err := os.ReadFile(file); err != nil || !bytes.Equal(stored, data) {
		t.Errorf("stored %q, %v", stored, err)
	}
	meta, err := os.ReadFile(file + "_meta")
	if want := `{"cas_raw": true, "cas_version": 1}`; err != nil || string(meta) != want {
		t.Errorf("metadata %q, %v, want %q", meta, err, want)
	}
}

// packed is a gzip member of text.
func packed(text string) []byte {
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	_, err := w.Write([]byte(text))
	if err := errors.Join(err, w.Close()); err != nil {
		panic(err)
	}
	return buf.Bytes()
}

// On a disk, metadata is a file more, which gzip packing does without.
func TestNoMetadataForGzipOnDisk(t *testing.T) {
	ctx := t.Context()
	from, b := memory.New(nil), openLocal(t)
	s := datastore.New(b)
	file := func(digest string) string { return filepath.Join(b.Root(), "F", "data", digest[:2], digest) }
	data := []byte("stale")
	stale := datastore.Digest(data)
	check(t, os.MkdirAll(filepath.Dir(file(stale)), 0o700), os.WriteFile(file(stale)+"_meta", []byte(`{"cas_raw": true, "cas_version": 1}`), 0o600))
	if _, err := s.SaveBytes(ctx, "F", data); err != nil { // a writer of the raw blob broke off before
		t.Fatal(err)
	}
	imported, err := datastore.New(from).SaveBytes(ctx, "F", []byte("imported"))
	check(t, err, s.Import(ctx, datastore.New(from), "F", imported))
	large, err := s.SaveBytes(ctx, "F", randomBytes(1<<20))
	check(t, err)
	for _, digest := range []string{stale, imported, large} {
		if _, err := os.Stat(file(digest) + "_meta"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s has metadata: %v", digest, err)
		}
		if _, err := datastore.New(b).Load(ctx, "F", digest); err != nil {
			t.Error(err)
		}
	}
	// Elsewhere metadata costs nothing, and is there.
	back := memory.New(nil)
	check(t, datastore.New(back).Import(ctx, s, "F", large))
	r, meta, err := back.Get(ctx, "F/data/"+large[:2]+"/"+large)
	check(t, err, r.Close())
	if want := `{"cas_raw": false, "cas_version": 1}`; string(meta) != want {
		t.Errorf("metadata %q, want %q", meta, want)
	}
}

// countingBackend counts writes.
type countingBackend struct {
	datastore.Backend
	puts atomic.Int64
}

func (c *countingBackend) Put(ctx context.Context, key string, body io.Reader, opt datastore.PutOptions) error {
	c.puts.Add(1)
	return c.Backend.Put(ctx, key, body, opt)
}

func TestExistingBlobIsNotWrittenAgain(t *testing.T) {
	ctx := t.Context()
	c := &countingBackend{Backend: memory.New(nil)}
	s := datastore.New(c)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if _, err := s.SaveBytes(ctx, "F", []byte("same")); err != nil {
				t.Error(err)
			}
			if _, err := s.SaveRaw(ctx, "F", []byte("same")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if _, err := datastore.New(c).SaveBytes(ctx, "F", []byte("same")); err != nil {
		t.Fatal(err)
	}
	if n := c.puts.Load(); n > 3 { // the blob, and the format mark, which two may write
		t.Errorf("%d writes", n)
	}
}

func TestLoadRefuses(t *testing.T) {
	ctx := t.Context()
	digest := datastore.Digest([]byte("hello"))
	key := "F/data/" + digest[:2] + "/" + digest
	good := func() []byte {
		b := memory.New(nil)
		if _, err := datastore.New(b).SaveBytes(ctx, "F", []byte("hello")); err != nil {
			t.Fatal(err)
		}
		r, _, err := b.Get(ctx, key)
		if err != nil {
			t.Fatal(err)
		}
		data, _ := io.ReadAll(r)
		return data
	}()
	v1 := `{"cas_raw": false, "cas_version": 1}`
	for _, c := range []struct {
		name string
		body []byte
		meta string
		want error
		text string
	}{
		{"good", good, v1, nil, ""},
		{"no metadata means gzip", good, "", nil, ""},
		{"raw without version", []byte("hello"), `{"cas_raw": true}`, nil, ""},
		{"cut", good[:len(good)-9], v1, datastore.ErrCorrupt, "not a whole gzip stream"},
		{"cut in the header", good[:5], v1, datastore.ErrCorrupt, "not a whole gzip stream"},
		{"empty", nil, v1, datastore.ErrCorrupt, "not a whole gzip stream"},
		{"not gzip", []byte("hello"), v1, datastore.ErrCorrupt, "delete it"},
		{"flipped bit", append(bytes.Clone(good[:16]), append([]byte{good[16] ^ 1}, good[17:]...)...), v1, datastore.ErrCorrupt, "not a whole gzip stream"},
		{"other sound bytes", packed("hellO"), v1, datastore.ErrCorrupt, "another digest"},
		{"two members", append(packed("hel"), packed("lo")...), v1, nil, ""},
		{"other bytes", []byte("hellO"), `{"cas_raw": true, "cas_version": 1}`, datastore.ErrCorrupt, "another digest"},
		{"newer", good, `{"cas_raw": false, "cas_version": 2}`, datastore.ErrNewer, "use a newer mf"},
		{"newer raw", good, `{"cas_raw": true, "cas_version": 2}`, datastore.ErrNewer, "version 2"},
		{"no version", good, `{"cas_raw": false}`, datastore.ErrCorrupt, "no cas_version"},
		{"metadata no JSON", good, `{`, datastore.ErrCorrupt, "metadata"},
	} {
		opt := datastore.PutOptions{}
		if c.meta != "" {
			opt.Meta = []byte(c.meta)
		}
		for _, b := range []datastore.Backend{memory.New(nil), openLocal(t)} {
			check(t, b.Put(ctx, key, bytes.NewReader(c.body), opt))
			data, err := datastore.New(b).Load(ctx, "F", digest)
			if !errors.Is(err, c.want) || c.want == nil && string(data) != "hello" {
				t.Errorf("%s: %s: Load = %q, %v, want error %v", b.Type(), c.name, data, err, c.want)
			}
			if err != nil && !strings.Contains(err.Error(), c.text) {
				t.Errorf("%s: %s: error %q does not say %q", b.Type(), c.name, err, c.text)
			}
		}
	}
	_, err := datastore.New(memory.New(nil)).Load(ctx, "F", digest)
	if !errors.Is(err, datastore.ErrNotFound) {
		t.Errorf("absent: %v", err)
	}
	for _, bad := range []string{"", "../../etc/passwd", strings.ToUpper(digest), digest[:39]} {
		if _, err := datastore.New(memory.New(nil)).Load(ctx, "F", bad); err == nil || errors.Is(err, datastore.ErrNotFound) {
			t.Errorf("digest %q: %v", bad, err)
		}
	}
}

func TestImport(t *testing.T) {
	ctx := t.Context()
	for _, c := range []struct {
		name     string
		from, to datastore.Backend
	}{
		{"local to local", openLocal(t), openLocal(t)},
		{"memory to local", memory.New(nil), openLocal(t)},
		{"local to memory", openLocal(t), memory.New(nil)},
	} {
		from, to := datastore.New(c.from), datastore.New(c.to)
		packed, err := from.SaveBytes(ctx, "F", []byte("packed"))
		if err != nil {
			t.Fatal(err)
		}
		raw, err := from.SaveRaw(ctx, "F", []byte("raw"))
		if err != nil {
			t.Fatal(err)
		}
		for digest, want := range map[string]string{packed: "packed", raw: "raw"} {
			for range 2 { // the second time it is there
				if err := to.Import(ctx, from, "F", digest); err != nil {
					t.Fatalf("%s: %v", c.name, err)
				}
			}
			got, err := datastore.New(c.to).Load(ctx, "F", digest)
			if err != nil || string(got) != want {
				t.Errorf("%s: Load = %q, %v, want %q", c.name, got, err, want)
			}
		}
		if err := to.Import(ctx, from, "F", datastore.Digest(nil)); !errors.Is(err, datastore.ErrNotFound) {
			t.Errorf("%s: absent blob: %v", c.name, err)
		}
	}
}

func TestImportLinksOnOneDisk(t *testing.T) {
	ctx := t.Context()
	a, b := openLocal(t), openLocal(t)
	digest, err := datastore.New(a).SaveBytes(ctx, "F", []byte("linked"))
	if err != nil {
		t.Fatal(err)
	}
	if err := datastore.New(b).Import(ctx, datastore.New(a), "F", digest); err != nil {
		t.Fatal(err)
	}
	stat := func(root string) os.FileInfo {
		info, err := os.Stat(filepath.Join(root, "F", "data", digest[:2], digest))
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	if !os.SameFile(stat(a.Root()), stat(b.Root())) {
		t.Error("the blob was copied")
	}
}

func TestFormat(t *testing.T) {
	ctx := t.Context()
	b := openLocal(t)
	s := datastore.New(b)
	if err := s.CheckFormat(ctx); err != nil {
		t.Errorf("empty datastore: %v", err)
	}
	if _, err := os.Stat(b.Root()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("reading made the root: %v", err)
	}
	if _, err := s.SaveBytes(ctx, "F", []byte("x")); err != nil {
		t.Fatal(err)
	}
	mark := filepath.Join(b.Root(), "mf.json")
	if data, err := os.ReadFile(mark); err != nil || string(data) != "{\"format\": 1}\n" {
		t.Errorf("mf.json holds %q, %v", data, err)
	}
	if err := os.WriteFile(mark, []byte(`{"format": 2, "more": []}`), 0o600); err != nil {
		t.Fatal(err)
	}
	later := datastore.New(b)
	if err := later.CheckFormat(ctx); !errors.Is(err, datastore.ErrNewer) || !strings.Contains(err.Error(), "update mf") {
		t.Errorf("CheckFormat = %v", err)
	}
	if _, err := later.SaveBytes(ctx, "F", []byte("y")); !errors.Is(err, datastore.ErrNewer) {
		t.Errorf("SaveBytes into a newer datastore: %v", err)
	}
}

func TestSaveFileIsBoundedInMemory(t *testing.T) {
	ctx := t.Context()
	path := filepath.Join(t.TempDir(), "large")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	const size = 64 << 20
	for i := range size >> 20 {
		if _, err := f.Write(append(randomBytes(1<<20-1), byte(i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	s := datastore.New(openLocal(t))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	digest, n, err := s.SaveFile(ctx, "F", path)
	if err != nil || n != size {
		t.Fatalf("SaveFile = %d, %v", n, err)
	}
	r, err := s.Open(ctx, "F", digest)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if n, err := io.Copy(io.Discard, r); err != nil || n != size {
		t.Errorf("read %d bytes back, %v", n, err)
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > size/4 {
		t.Errorf("storing and reading %d bytes allocated %d", size, grown)
	}
}

// changingBackend changes a file while it is being stored.
type changingBackend struct {
	datastore.Backend
	path    string
	content []byte
}

func (c changingBackend) Put(ctx context.Context, key string, body io.Reader, opt datastore.PutOptions) error {
	if strings.Contains(key, "/data/") {
		if err := os.WriteFile(c.path, c.content, 0o600); err != nil {
			return err
		}
	}
	return c.Backend.Put(ctx, key, body, opt)
}

func TestSaveFileThatChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	large := randomBytes(3 << 20)
	for name, changed := range map[string][]byte{
		"shorter": []byte("changed"), "longer": append(bytes.Clone(large), 0), "other bytes": append(bytes.Clone(large[1:]), 1), "empty": {},
		"cut at a member": large[:2<<20],
	} {
		check(t, os.WriteFile(path, large, 0o600))
		b := changingBackend{memory.New(nil), path, changed}
		_, _, err := datastore.New(b).SaveFile(t.Context(), "F", path)
		if err == nil || !strings.Contains(err.Error(), "changed while") {
			t.Errorf("%s: SaveFile = %v", name, err)
		}
		if ok, err := datastore.New(b).Has(t.Context(), "F", datastore.Digest(large)); ok || err != nil {
			t.Errorf("%s: Has = %v, %v", name, ok, err)
		}
	}
	// A small file is stored as it was read.
	check(t, os.WriteFile(path, []byte("before"), 0o600))
	s := datastore.New(changingBackend{memory.New(nil), path, []byte("after")})
	digest, size, err := s.SaveFile(t.Context(), "F", path)
	if err != nil || digest != datastore.Digest([]byte("before")) || size != 6 {
		t.Errorf("SaveFile = %s, %d, %v", digest, size, err)
	}
	if data, err := s.Load(t.Context(), "F", digest); err != nil || string(data) != "before" {
		t.Errorf("Load = %q, %v", data, err)
	}
	_, _, err = s.SaveFile(t.Context(), "F", filepath.Join(t.TempDir(), "none"))
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

func BenchmarkSaveTinyBlob(b *testing.B) {
	s := datastore.New(memory.New(nil))
	data := make([]byte, 40)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		data[0], data[1], data[2] = byte(i), byte(i>>8), byte(i>>16)
		if _, err := s.SaveBytes(b.Context(), "F", data); err != nil {
			b.Fatal(err)
		}
	}
}

func TestBlobs(t *testing.T) {
	ctx := t.Context()
	for _, b := range []datastore.Backend{openLocal(t), memory.New(nil)} {
		s := datastore.New(b)
		var want []string
		for i := range 20 {
			digest, err := s.SaveBytes(ctx, "F", []byte{byte(i)})
			check(t, err)
			want = append(want, digest)
		}
		slices.Sort(want)
		list := func() (got []string) {
			for blob, err := range s.Blobs(ctx, "F") {
				check(t, err)
				if blob.Size != 24 {
					t.Errorf("%s takes %d bytes", blob.Digest, blob.Size)
				}
				got = append(got, blob.Digest)
			}
			return got
		}
		if got := list(); !slices.Equal(got, want) {
			t.Errorf("%s: blobs %q, want %q", b.Type(), got, want)
		}
		for range 2 { // the second time it is absent
			check(t, s.RemoveBlob(ctx, "F", want[0]))
		}
		if ok, err := s.Has(ctx, "F", want[0]); ok || err != nil {
			t.Errorf("%s: Has = %v, %v after RemoveBlob", b.Type(), ok, err)
		}
		if got := list(); !slices.Equal(got, want[1:]) {
			t.Errorf("%s: blobs %q, want %q", b.Type(), got, want[1:])
		}
	}
	err := datastore.New(noAppend{memory.New(nil)}).RemoveBlob(ctx, "F", datastore.Digest(nil))
	if !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("RemoveBlob on a backend that cannot: %v", err)
	}
}
