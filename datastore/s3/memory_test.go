package s3_test

import (
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"testing"
	"time"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/internal/testserver"
)

// TestMemoryIsBounded moves 256 MiB through a store and watches what the process holds.
func TestMemoryIsBounded(t *testing.T) {
	const size, limit = 256 << 20, 160 << 20
	file := filepath.Join(t.TempDir(), "large")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(5, 6))
	for buf := make([]byte, 0, 1<<20); rng != nil; {
		for buf = buf[:0]; len(buf) < cap(buf); {
			buf = binary.LittleEndian.AppendUint64(buf, rng.Uint64())
		}
		if _, err := f.Write(buf); err != nil {
			t.Fatal(err)
		}
		if info, err := f.Stat(); err != nil || info.Size() >= size {
			rng = nil
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	debug.FreeOSMemory() // what earlier tests held
	var peak uint64
	stop := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		sample := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
		for {
			metrics.Read(sample)
			peak = max(peak, sample[0].Value.Uint64()-sample[1].Value.Uint64())
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	})
	s := datastore.New(open(t, testserver.NewBucket(t)))
	digest, n, err := s.SaveFile(t.Context(), "F", file)
	if err != nil || n != size {
		t.Fatalf("SaveFile = %d, %v", n, err)
	}
	r, err := s.Open(t.Context(), "F", digest)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if n, err := out.ReadFrom(r); err != nil || n != size {
		t.Errorf("read %d bytes back, %v", n, err)
	}
	close(stop)
	watch.Wait()
	if peak > limit {
		t.Errorf("the process held %d MiB, at most %d are allowed", peak>>20, limit>>20)
	}
	t.Logf("peak %d MiB", peak>>20)
}
