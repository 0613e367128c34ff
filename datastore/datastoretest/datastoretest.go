// Package datastoretest holds the tests that every datastore.Backend has to pass.
package datastoretest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/mf-run/mf/datastore"
)

// Test runs the suite. open returns an empty backend; it is called once for each test.
func Test(t *testing.T, open func(t *testing.T) datastore.Backend) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T, b datastore.Backend)
	}{
		{"PutGet", testPutGet},
		{"Absent", testAbsent},
		{"Overwrite", testOverwrite},
		{"IfAbsent", testIfAbsent},
		{"FailedPut", testFailedPut},
		{"Cancelled", testCancelled},
		{"CancelMidway", testCancelMidway},
		{"BadKeys", testBadKeys},
		{"AwkwardNames", testAwkwardNames},
		{"UserMetadata", testUserMetadata},
		{"List", testList},
		{"ListOrder", testListOrder},
		{"ListMany", testListMany},
		{"ReaderKeepsItsObject", testReaderKeepsItsObject},
		{"ParallelWritersOfOneKey", testParallelWriters},
		{"ParallelIfAbsent", testParallelIfAbsent},
		{"ParallelKeys", testParallelKeys},
		{"Sizes", testSizes},
		{"CloseEarly", testCloseEarly},
		{"LargeObject", testLargeObject},
		{"LargeOverwritten", testLargeOverwritten},
		{"LargeParallel", testLargeParallel},
		{"Copy", testCopy},
		{"Append", testAppend},
		{"Remove", testRemove},
		{"Store", testStore},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
	}
}

func put(t *testing.T, b datastore.Backend, key, body string, opt datastore.PutOptions) {
	t.Helper()
	if err := b.Put(t.Context(), key, strings.NewReader(body), opt); err != nil {
		t.Fatalf("Put(%q): %v", key, err)
	}
}

// get returns an object and its metadata as text.
func get(t *testing.T, b datastore.Backend, key string) (body, meta string) {
	t.Helper()
	r, m, err := b.Get(t.Context(), key)
	if err != nil {
		t.Fatalf("Get(%q): %v", key, err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("reading %q: %v", key, err)
	}
	return string(data), string(m)
}

func want(t *testing.T, b datastore.Backend, key, body, meta string) {
	t.Helper()
	gotBody, gotMeta := get(t, b, key)
	if gotBody != body || gotMeta != meta {
		t.Errorf("Get(%q) = %q with metadata %q, want %q with %q", key, gotBody, gotMeta, body, meta)
	}
}

func testPutGet(t *testing.T, b datastore.Backend) {
	if b.Type() == "" || b.Root() == "" {
		t.Errorf("Type() = %q, Root() = %q", b.Type(), b.Root())
	}
	meta := `{"cas_raw": false}`
	put(t, b, "F/data/ab/abc", "body", datastore.PutOptions{Meta: []byte(meta)})
	put(t, b, "top", "", datastore.PutOptions{})
	put(t, b, "F/Ünïcode ☃/a b+%41", "x", datastore.PutOptions{})
	want(t, b, "F/data/ab/abc", "body", meta)
	want(t, b, "top", "", "")
	want(t, b, "F/Ünïcode ☃/a b+%41", "x", "")
	if _, m, _ := b.Get(t.Context(), "top"); m != nil {
		t.Errorf("metadata %q of an object without any, want nil", m)
	}
	for key, expect := range map[string]bool{"top": true, "F/data/ab/abc": true, "F/data/ab": false, "F": false} {
		if ok, err := b.Exists(t.Context(), key); err != nil || ok != expect {
			t.Errorf("Exists(%q) = %v, %v, want %v", key, ok, err, expect)
		}
	}
}

func testAbsent(t *testing.T, b datastore.Backend) {
	put(t, b, "a/b", "x", datastore.PutOptions{})
	for _, key := range []string{"no", "a/no", "no/no/no", "a", "a/b/c"} {
		if _, _, err := b.Get(t.Context(), key); !errors.Is(err, datastore.ErrNotFound) {
			t.Errorf("Get(%q) of nothing: %v, want ErrNotFound", key, err)
		}
		if ok, err := b.Exists(t.Context(), key); ok || err != nil {
			t.Errorf("Exists(%q) = %v, %v", key, ok, err)
		}
	}
}

func testOverwrite(t *testing.T, b datastore.Backend) {
	put(t, b, "k", "one", datastore.PutOptions{Meta: []byte(`{"n": 1}`)})
	put(t, b, "k", "two", datastore.PutOptions{Meta: []byte(`{"n": 2}`)})
	want(t, b, "k", "two", `{"n": 2}`)
	put(t, b, "k", "3", datastore.PutOptions{})
	want(t, b, "k", "3", "")
}

func testIfAbsent(t *testing.T, b datastore.Backend) {
	put(t, b, "d/k", "one", datastore.PutOptions{IfAbsent: true, Meta: []byte(`1`)})
	put(t, b, "d/k", "two", datastore.PutOptions{IfAbsent: true, Meta: []byte(`2`)})
	want(t, b, "d/k", "one", "1")
}

func testFailedPut(t *testing.T, b datastore.Backend) {
	boom := errors.New("boom")
	body := io.MultiReader(strings.NewReader(strings.Repeat("x", 3<<20)), iotest.ErrReader(boom))
	if err := b.Put(t.Context(), "d/k", body, datastore.PutOptions{}); !errors.Is(err, boom) {
		t.Errorf("Put of a body that fails: %v", err)
	}
	if ok, _ := b.Exists(t.Context(), "d/k"); ok {
		t.Error("a failed Put left an object")
	}
	put(t, b, "d/k", "old", datastore.PutOptions{})
	if err := b.Put(t.Context(), "d/k", iotest.ErrReader(boom), datastore.PutOptions{}); !errors.Is(err, boom) {
		t.Errorf("Put of a body that fails: %v", err)
	}
	want(t, b, "d/k", "old", "")
	if got := keys(t, b, "d"); !slices.Equal(got, []string{"d/k"}) {
		t.Errorf("failed Puts left %q", got)
	}
}

func testCancelled(t *testing.T, b datastore.Backend) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Put(ctx, "k", strings.NewReader("x"), datastore.PutOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Put after cancelling: %v", err)
	}
	if ok, _ := b.Exists(t.Context(), "k"); ok {
		t.Error("a cancelled Put left an object")
	}
}

func testBadKeys(t *testing.T, b datastore.Backend) {
	bad := []string{"/abs", "..", "../x", "a/../b", "a/..", ".", "a/./b", "a//b", "a/", "nul\x00", `a\b`, strings.Repeat("n", 300)}
	for _, key := range append(bad, "", "a/x_meta", "_meta", "a/"+datastore.TempPrefix+"x") {
		if err := b.Put(t.Context(), key, strings.NewReader("x"), datastore.PutOptions{}); err == nil {
			t.Errorf("Put(%q) was accepted", key)
		}
		if _, _, err := b.Get(t.Context(), key); err == nil || errors.Is(err, datastore.ErrNotFound) {
			t.Errorf("Get(%q): %v, want a complaint about the key", key, err)
		}
		if _, err := b.Exists(t.Context(), key); err == nil {
			t.Errorf("Exists(%q) was accepted", key)
		}
	}
	for _, prefix := range bad {
		if _, err := collect(t.Context(), b, prefix); err == nil {
			t.Errorf("List(%q) was accepted", prefix)
		}
	}
}

func collect(ctx context.Context, b datastore.Backend, prefix string) ([]datastore.Entry, error) {
	var list []datastore.Entry
	for e, err := range b.List(ctx, prefix) {
		if err != nil {
			return list, err
		}
		list = append(list, e)
	}
	return list, nil
}

// keys lists a folder; folders in it end in a slash.
func keys(t *testing.T, b datastore.Backend, prefix string) []string {
	t.Helper()
	list, err := collect(t.Context(), b, prefix)
	if err != nil {
		t.Fatalf("List(%q): %v", prefix, err)
	}
	var names []string
	for _, e := range list {
		if e.Dir {
			e.Key += "/"
		}
		names = append(names, e.Key)
	}
	return names
}

func testList(t *testing.T, b datastore.Backend) {
	for _, key := range []string{"F/10/s", "F/9/a/1/0.DONE.lock", "F/9/a/1/0.data.json", "F/9/_x/1", "F/9/ab", "F/9/a-b", "F/9/_meta/_self.json", "F/a_meta/x", "G", "FF/x"} {
		put(t, b, key, "12345", datastore.PutOptions{Meta: []byte(`{}`)})
	}
	for prefix, expect := range map[string][]string{
		"":        {"F/", "FF/", "G"},
		"F":       {"F/10/", "F/9/", "F/a_meta/"},
		"F/9":     {"F/9/_x/", "F/9/a/", "F/9/a-b", "F/9/ab"},
		"F/9/a/1": {"F/9/a/1/0.DONE.lock", "F/9/a/1/0.data.json"},
		"F/9/no":  nil,
		"no":      nil,
	} {
		if got := keys(t, b, prefix); !slices.Equal(got, expect) {
			t.Errorf("List(%q) = %q, want %q", prefix, got, expect)
		}
	}
	list, err := collect(t.Context(), b, "F/9/a/1")
	if err != nil || len(list) != 2 || list[0].Size != 5 || list[0].Dir {
		t.Errorf("List = %+v, %v", list, err)
	}
	for range b.List(t.Context(), "F/9") {
		break // stopping early is allowed
	}
}

func testReaderKeepsItsObject(t *testing.T, b datastore.Backend) {
	body := strings.Repeat("old", 100_000)
	put(t, b, "k", body, datastore.PutOptions{})
	r, _, err := b.Get(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	put(t, b, "k", "new", datastore.PutOptions{})
	data, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(data, []byte(body)) {
		t.Errorf("a reader saw %d bytes, %v, want the %d it opened", len(data), err, len(body))
	}
	want(t, b, "k", "new", "")
}

func testStore(t *testing.T, b datastore.Backend) {
	ctx := t.Context()
	s := datastore.New(b)
	ref := datastore.TaskRef{Flow: "F", Run: "1", Step: "start", Task: "1"}
	digest, err := s.SaveBytes(ctx, "F", []byte("\x80\x04K\x01."))
	if err != nil {
		t.Fatal(err)
	}
	rec := datastore.Record{Artifacts: map[string]datastore.Artifact{
		"x": {Digest: digest, Size: 5, Type: "<class 'int'>", Encoding: datastore.PickleV4},
	}}
	if err := s.Begin(ctx, ref, 0, epoch); err != nil {
		t.Fatal(err)
	}
	if err := s.Finish(ctx, ref, rec); err != nil {
		t.Fatal(err)
	}
	got, done, err := datastore.New(b).Latest(ctx, ref)
	if err != nil || !done || got.Artifacts["x"] != rec.Artifacts["x"] {
		t.Errorf("Latest = %+v, %v, %v", got, done, err)
	}
	data, err := datastore.New(b).Load(ctx, "F", digest)
	if err != nil || string(data) != "\x80\x04K\x01." {
		t.Errorf("Load = %q, %v", data, err)
	}
}
