package datastoretest

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mf-run/mf/datastore"
)

var epoch = time.Unix(1_700_000_000, 0)

// numbered is a body that names its writer in every line, so that a mix of two shows.
func numbered(writer int) string { return strings.Repeat(fmt.Sprintf("writer %d\n", writer), 5_000) }

// checkWhole reports a body that is not one writer's.
func checkWhole(t *testing.T, body string) (writer int) {
	t.Helper()
	if _, err := fmt.Sscanf(body, "writer %d\n", &writer); err != nil || body != numbered(writer) {
		t.Errorf("an object of %d bytes is torn: %.40q…", len(body), body)
	}
	return writer
}

func testParallelWriters(t *testing.T, b datastore.Backend) {
	const writers, rounds = 8, 20
	put(t, b, "d/k", numbered(0), datastore.PutOptions{})
	stop := make(chan struct{})
	var readers, wg sync.WaitGroup
	readers.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				body, _ := get(t, b, "d/k")
				checkWhole(t, body)
			}
		}
	})
	for w := range writers {
		wg.Go(func() {
			for range rounds {
				put(t, b, "d/k", numbered(w), datastore.PutOptions{})
			}
		})
	}
	wg.Wait()
	close(stop)
	readers.Wait()
	body, _ := get(t, b, "d/k")
	checkWhole(t, body)
	if got := keys(t, b, "d"); !slices.Equal(got, []string{"d/k"}) {
		t.Errorf("the folder holds %q afterwards", got)
	}
}

func testParallelIfAbsent(t *testing.T, b datastore.Backend) {
	for round, writers := range []int{8, 8, 8, 8, 8, 32, 32} {
		key := fmt.Sprintf("d/%d", round)
		seen := make([]int, writers)
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				put(t, b, key, numbered(w), datastore.PutOptions{IfAbsent: true})
				body, _ := get(t, b, key) // whoever returns sees the winner
				seen[w] = checkWhole(t, body)
			})
		}
		wg.Wait()
		if len(slices.Compact(seen)) != 1 {
			t.Errorf("round %d: the object changed after IfAbsent: %v", round, seen)
		}
	}
}

func testParallelKeys(t *testing.T, b datastore.Backend) {
	workers, each := 8, 100
	if b.Type() != "local" && b.Type() != "memory" {
		each = 30 // requests to a server, which is slower
	}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				key := fmt.Sprintf("F/%d/s%d/%d", i, i%7, w) // folders are made by several at once
				put(t, b, key, key, datastore.PutOptions{Meta: []byte(`{}`)})
				if body, _ := get(t, b, key); body != key {
					t.Errorf("%s holds %q", key, body)
				}
			}
		})
	}
	wg.Wait()
	if got := keys(t, b, "F"); len(got) != each {
		t.Errorf("%d folders, want %d", len(got), each)
	}
}

func testAppend(t *testing.T, b datastore.Backend) {
	a, ok := b.(datastore.Appender)
	if !ok {
		t.Logf("%s does not append", b.Type())
		return
	}
	w, err := a.Append(t.Context(), "new/log")
	if err != nil {
		t.Fatal(err)
	}
	want(t, b, "new/log", "", "")
	for _, line := range []string{"one\n", "two\n"} {
		if _, err := io.WriteString(w, line); err != nil {
			t.Fatal(err)
		}
	}
	want(t, b, "new/log", "one\ntwo\n", "") // it can be followed
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	w, err = a.Append(t.Context(), "new/log")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 100 {
				if _, err := io.WriteString(w, "line\n"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	want(t, b, "new/log", "one\ntwo\n"+strings.Repeat("line\n", 400), "")
	if _, err := a.Append(t.Context(), "../log"); err == nil {
		t.Error("Append outside the root was accepted")
	}
}

func testRemove(t *testing.T, b datastore.Backend) {
	r, ok := b.(datastore.Remover)
	if !ok {
		t.Logf("%s does not remove", b.Type())
		return
	}
	put(t, b, "d/k", "x", datastore.PutOptions{Meta: []byte(`{}`)})
	for range 2 { // the second time it is absent
		if err := r.Remove(t.Context(), "d/k"); err != nil {
			t.Fatal(err)
		}
	}
	if ok, err := b.Exists(t.Context(), "d/k"); ok || err != nil {
		t.Errorf("Exists = %v, %v after Remove", ok, err)
	}
	put(t, b, "d/k", "y", datastore.PutOptions{})
	want(t, b, "d/k", "y", "") // the old metadata is gone too
	if err := r.Remove(t.Context(), "../k"); err == nil {
		t.Error("Remove outside the root was accepted")
	}
}

func testCopy(t *testing.T, b datastore.Backend) {
	c, ok := b.(datastore.Copier)
	if !ok {
		t.Logf("%s does not copy", b.Type())
		return
	}
	put(t, b, "d/from ü%+?", "body", datastore.PutOptions{Meta: []byte(`{"a": 1}`)})
	if ok, err := c.Copy(t.Context(), "d/from ü%+?", "e/to #"); !ok || err != nil {
		t.Fatalf("Copy = %v, %v", ok, err)
	}
	body, _ := get(t, b, "e/to #")
	if body != "body" {
		t.Errorf("the copy holds %q", body)
	}
	want(t, b, "d/from ü%+?", "body", `{"a": 1}`)
	if _, err := c.Copy(t.Context(), "../from", "to"); err == nil {
		t.Error("Copy from outside the root was accepted")
	}
	if _, err := c.Copy(t.Context(), "from", "../to"); err == nil {
		t.Error("Copy to outside the root was accepted")
	}
}
