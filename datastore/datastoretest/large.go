package datastoretest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mf-run/mf/datastore"
)

// pattern yields n bytes that depend on their position and on seed.
type pattern struct {
	pos, n int64
	seed   byte
}

func (p *pattern) Read(buf []byte) (int, error) {
	if p.pos == p.n {
		return 0, io.EOF
	}
	buf = buf[:min(int64(len(buf)), p.n-p.pos)]
	for i := range buf {
		buf[i] = byte((p.pos+int64(i))*31>>8) + p.seed
	}
	p.pos += int64(len(buf))
	return len(buf), nil
}

// checkPattern reads r and reports where it differs from the expected bytes.
func checkPattern(r io.Reader, expect *pattern) error {
	got, wanted := make([]byte, 1<<16), make([]byte, 1<<16)
	for {
		at := expect.pos
		n, err := io.ReadFull(r, got)
		ended := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !ended {
			return err
		}
		m, _ := io.ReadFull(expect, wanted)
		if !bytes.Equal(got[:n], wanted[:m]) {
			return fmt.Errorf("the object differs in the block at %d, where %d bytes were read and %d written", at, n, m)
		}
		if ended {
			return nil
		}
	}
}

// mustHold reports an object that is not the pattern.
func mustHold(t *testing.T, b datastore.Backend, key string, expect *pattern) {
	t.Helper()
	r, _, err := b.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := checkPattern(r, expect); err != nil {
		t.Errorf("%s of %d bytes: %v", key, expect.n, err)
	}
}

// testLargeObject streams an object. A backend whose Type is "memory" may hold it. Local disk may allocate a quarter of
// it; object stores, which send and fetch parts at once, move one of twice the size both ways in less than it takes once.
func testLargeObject(t *testing.T, b datastore.Backend) {
	size, limit := int64(64<<20), uint64(16<<20)
	if b.Type() != "local" && b.Type() != "memory" {
		size, limit = 128<<20, 128<<20
	}
	if raceDetector {
		limit *= 2
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := b.Put(t.Context(), "d/large", &pattern{n: size}, datastore.PutOptions{Meta: []byte(`{"a": 1}`)}); err != nil {
		t.Fatal(err)
	}
	r, meta, err := b.Get(t.Context(), "d/large")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if string(meta) != `{"a": 1}` {
		t.Errorf("metadata %q", meta)
	}
	if err := checkPattern(r, &pattern{n: size}); err != nil {
		t.Error(err)
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; b.Type() != "memory" && grown > limit {
		t.Errorf("moving %d bytes allocated %d, at most %d are allowed", size, grown, limit)
	}
}

// testLargeParallel has several writers of one large object: one of them wins, and with IfAbsent it stays the first.
func testLargeParallel(t *testing.T, b datastore.Backend) {
	const size, writers = 18<<20 + 3, 3
	for _, opt := range []datastore.PutOptions{{IfAbsent: true}, {}} {
		key := fmt.Sprintf("d/absent-%v", opt.IfAbsent)
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				if err := b.Put(t.Context(), key, &pattern{n: size, seed: byte(w)}, opt); err != nil {
					t.Errorf("writer %d of %d, %+v: %v", w, writers, opt, err)
				}
			})
		}
		wg.Wait()
		r, _, err := b.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		first := make([]byte, 1)
		if _, err := io.ReadFull(r, first); err != nil {
			t.Fatal(err)
		}
		if err := checkPattern(r, &pattern{n: size, seed: first[0], pos: 1}); err != nil {
			t.Errorf("after %d writers at once, %+v: %v", writers, opt, err)
		}
		r.Close()
	}
}

// testSizes moves bodies of unknown length around the sizes at which a store changes its way of writing.
func testSizes(t *testing.T, b datastore.Backend) {
	for _, size := range []int64{0, 1, 1 << 16, 1<<20 - 1, 1 << 20, 4<<20 - 1, 4 << 20, 4<<20 + 1, 8<<20 - 1, 8 << 20, 8<<20 + 1, 16 << 20, 20<<20 + 7} {
		key := fmt.Sprintf("sizes/%d", size)
		// Without Len, Seek and WriteTo, and in small pieces.
		body := io.LimitReader(&pattern{n: size}, size)
		if err := b.Put(t.Context(), key, body, datastore.PutOptions{IfAbsent: size%2 == 1}); err != nil {
			t.Fatalf("Put of %d bytes: %v", size, err)
		}
		mustHold(t, b, key, &pattern{n: size})
	}
	for e, err := range b.List(t.Context(), "sizes") {
		if err != nil {
			t.Fatal(err)
		}
		if e.Key != fmt.Sprintf("sizes/%d", e.Size) {
			t.Errorf("%s is listed with %d bytes", e.Key, e.Size)
		}
	}
}

// endless yields bytes until n were read, and calls then once half of them were.
type endless struct {
	pos, n int64
	half   func()
}

func (e *endless) Read(buf []byte) (int, error) {
	if e.pos >= e.n {
		return 0, io.EOF
	}
	if e.pos >= e.n/2 && e.half != nil {
		e.half()
		e.half = nil
	}
	n := min(len(buf), 1<<16)
	e.pos += int64(n)
	return n, nil
}

func testCancelMidway(t *testing.T, b datastore.Backend) {
	for _, opt := range []datastore.PutOptions{{}, {IfAbsent: true}} {
		ctx, cancel := context.WithCancel(t.Context())
		err := b.Put(ctx, "d/k", &endless{n: 48 << 20, half: cancel}, opt)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Put that is cancelled midway: %v", err)
		}
		if ok, err := b.Exists(t.Context(), "d/k"); ok || err != nil {
			t.Errorf("Exists = %v, %v after a cancelled Put", ok, err)
		}
		if got := keys(t, b, "d"); got != nil {
			t.Errorf("a cancelled Put left %q", got)
		}
	}
	const size = 40 << 20
	if err := b.Put(t.Context(), "d/k", &pattern{n: size}, datastore.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, _, err := b.Get(ctx, "d/k")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	start, err := io.ReadFull(r, make([]byte, 1<<16))
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	began := time.Now()
	n, err := io.Copy(io.Discard, r)
	// What needs no connection, such as a file, may still be read to its end.
	if whole := n+int64(start) == size; (err == nil && !whole) || (err != nil && !errors.Is(err, context.Canceled)) {
		t.Errorf("reading after cancelling: %d of %d bytes, %v", n+int64(start), size, err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("a cancelled reader took %v to end", took)
	}
}

// testCloseEarly leaves readers of a large object at its start; what they held must not be missing later.
func testCloseEarly(t *testing.T, b datastore.Backend) {
	const size = 24 << 20
	if err := b.Put(t.Context(), "d/k", &pattern{n: size}, datastore.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, read := range []int64{0, 1, 1 << 20, 9 << 20} {
		for range 5 {
			r, _, err := b.Get(t.Context(), "d/k")
			if err != nil {
				t.Fatal(err)
			}
			if err := checkPattern(io.LimitReader(r, read), &pattern{n: read}); err != nil {
				t.Error(err)
			}
			if err := r.Close(); err != nil {
				t.Errorf("closing early: %v", err)
			}
		}
	}
	mustHold(t, b, "d/k", &pattern{n: size})
}

// testLargeOverwritten replaces an object of several parts while it is read: a reader sees one of its versions whole, or
// an error, never a mixture.
func testLargeOverwritten(t *testing.T, b datastore.Backend) {
	const size, versions = 20 << 20, 4
	write := func(seed byte) {
		if err := b.Put(t.Context(), "d/k", &pattern{n: size, seed: seed}, datastore.PutOptions{}); err != nil {
			t.Errorf("Put: %v", err)
		}
	}
	write(0)
	var done atomic.Bool
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for !done.Load() {
				readVersion(t, b, size)
			}
		})
	}
	for v := range versions {
		write(byte(v))
	}
	done.Store(true)
	wg.Wait()
	mustHold(t, b, "d/k", &pattern{n: size, seed: versions - 1})
}

// readVersion reads an object of testLargeOverwritten and checks that what could be read is of one version.
func readVersion(t *testing.T, b datastore.Backend, size int64) {
	r, _, err := b.Get(t.Context(), "d/k")
	if err != nil {
		t.Errorf("Get while it is written: %v", err)
		return
	}
	defer r.Close()
	first := make([]byte, 1)
	if _, err := io.ReadFull(r, first); err != nil {
		return // replaced in between
	}
	// The first byte of the pattern is its seed.
	got, wanted := make([]byte, 1<<16), make([]byte, 1<<16)
	expect := &pattern{n: size, seed: first[0], pos: 1}
	for total := int64(1); ; {
		n, err := io.ReadFull(r, got)
		_, _ = io.ReadFull(expect, wanted)
		if !bytes.Equal(got[:n], wanted[:n]) {
			t.Errorf("an object that was replaced while it was read is a mixture, in the block at %d", total)
			return
		}
		total += int64(n)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			if total != size {
				t.Errorf("an object of %d bytes ended after %d", size, total)
			}
			return
		}
		if err != nil {
			return
		}
	}
}
