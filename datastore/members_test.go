package datastore

import (
	"bytes"
	stdgzip "compress/gzip"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"
)

// mixed is n bytes of which stretches compress well, badly and not at all.
func mixed(n int) []byte {
	rng := rand.New(rand.NewPCG(7, uint64(n)))
	data := make([]byte, 0, n+1<<16)
	for len(data) < n {
		switch rng.IntN(3) {
		case 0:
			data = append(data, strings.Repeat("compressible ", rng.IntN(20_000))...)
		case 1:
			for range rng.IntN(200_000) {
				data = append(data, byte(rng.Uint32()))
			}
		case 2:
			for range rng.IntN(200_000) {
				data = append(data, "abcdefgh"[rng.IntN(8)])
			}
		}
	}
	return data[:n]
}

func packed(t testing.TB, data []byte) []byte {
	t.Helper()
	r := packBytes(data)
	defer r.Close()
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

type closer struct{ io.Reader }

func (closer) Close() error { return nil }

func reader(file []byte, digest string) *blobReader {
	return &blobReader{body: &sourceReader{ReadCloser: closer{bytes.NewReader(file)}}, cancel: func() {}, sum: sha1.New(), key: "k", digest: digest}
}

func TestMembersAreOneGzipStream(t *testing.T) {
	for _, n := range []int{1, memberSize - 1, memberSize, memberSize + 1, 3 * memberSize, 5<<20 + 7} {
		data := mixed(n)
		file := packed(t, data)
		gz, err := stdgzip.NewReader(bytes.NewReader(file))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(gz); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes: Go's gzip reads %d, %v", n, len(got), err)
		}
		for _, ours := range []io.Reader{reader(file, Digest(data)), struct{ io.Reader }{reader(file, Digest(data))}} {
			var got bytes.Buffer
			if _, err := io.Copy(&got, ours); err != nil || !bytes.Equal(got.Bytes(), data) {
				t.Errorf("%d bytes: we read %d, %v", n, got.Len(), err)
			}
		}
	}
}

// The same blob is the same file, whatever was packed before and on however many cores.
func TestPackingIsDeterministic(t *testing.T) {
	data := mixed(6 << 20)
	want := packed(t, data)
	for _, cores := range []int{1, 2, 7} {
		before := runtime.GOMAXPROCS(cores)
		packed(t, mixed(2<<20+cores))
		got := packed(t, data)
		runtime.GOMAXPROCS(before)
		if !bytes.Equal(got, want) {
			t.Errorf("on %d cores the file differs", cores)
		}
	}
}

func TestIncompressibleMembersAreStored(t *testing.T) {
	data := make([]byte, 4*memberSize)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := 0; i < len(data); i += 8 {
		binary.LittleEndian.PutUint64(data[i:], rng.Uint64())
	}
	if file := packed(t, data); len(file) < len(data) || len(file) > len(data)+len(data)/1000 {
		t.Errorf("%d random bytes take %d", len(data), len(file))
	}
	if file := packed(t, make([]byte, 4*memberSize)); len(file) > len(data)/100 {
		t.Errorf("%d zeroes take %d", len(data), len(file))
	}
}

// Members may be followed by what another program appended; all is one stream.
func TestMembersFollowedByAStream(t *testing.T) {
	a, b := mixed(memberSize*2+5), mixed(3<<20)
	var file bytes.Buffer
	file.Write(packed(t, a))
	gz := stdgzip.NewWriter(&file)
	if _, err := gz.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := gz.Close(); err != nil {
		t.Fatal(err)
	}
	whole := append(bytes.Clone(a), b...)
	if got, err := io.ReadAll(reader(file.Bytes(), Digest(whole))); err != nil || !bytes.Equal(got, whole) {
		t.Errorf("read %d bytes of %d, %v", len(got), len(whole), err)
	}
}

func TestDamagedMembers(t *testing.T) {
	data := mixed(5*memberSize + 100)
	good := packed(t, data)
	for _, n := range []uint32{0, 27, 1 << 31, 0xffffffff} { // a length that cannot be is not used
		file := bytes.Clone(good)
		binary.LittleEndian.PutUint32(file[16:], n)
		if got, err := io.ReadAll(reader(file, Digest(data))); err != nil || !bytes.Equal(got, data) {
			t.Errorf("length %d: read %d bytes, %v", n, len(got), err)
		}
	}
	second, _ := memberLength(good) // where the second member starts
	change := func(at int, with ...byte) []byte {
		bad := bytes.Clone(good)
		copy(bad[at:], with)
		return bad
	}
	for name, file := range map[string][]byte{
		"cut in a header":             good[:second+10],
		"cut in a member":             good[:second+1000],
		"cut between members":         good[:second],
		"cut in the last checksum":    good[:len(good)-5],
		"length too short":            change(second+16, 40, 0, 0, 0),
		"length of two members":       change(16, binary.LittleEndian.AppendUint32(nil, uint32(second+1))...),
		"unpacked length too long":    change(second-4, 0xff, 0xff, 0xff, 0xff),
		"unpacked length too short":   change(second-4, 1, 0, 0, 0),
		"other checksum":              change(second-8, 1, 2, 3, 4),
		"other bytes":                 change(second/2, 1, 2, 3, 4, 5, 6, 7, 8),
		"rubbish behind":              append(bytes.Clone(good), "rubbish rubbish rubbish rubbish"...),
		"a member twice":              append(bytes.Clone(good), good[:second]...),
		"no member where one must be": append(bytes.Clone(good[:second]), "rubbish rubbish rubbish rubbish"...),
	} {
		r := reader(file, Digest(data))
		_, err := io.Copy(io.Discard, r)
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
		if _, again := r.Read(make([]byte, 1)); !errors.Is(again, ErrCorrupt) {
			t.Errorf("%s: reading on: %v", name, again)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A reader that is left early, in whatever state, gives back what it holds and starts nothing more.
func TestLeavingEarly(t *testing.T) {
	file := packed(t, mixed(4<<20))
	before := runtime.NumGoroutine()
	for _, n := range []int64{0, 1, memberSize, 1 << 20} {
		r := reader(file, "")
		if _, err := io.CopyN(io.Discard, r, n); err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Read(make([]byte, 1)); err == nil {
			t.Error("read after close")
		}
		p := packBytes(mixed(4 << 20))
		if _, err := io.CopyN(io.Discard, p, n); err != nil {
			t.Fatal(err)
		}
		p.Close()
	}
	for deadline := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, before there were %d", runtime.NumGoroutine(), before)
		}
	}
}

// FuzzUnpack holds our reader of large blobs to the standard library's.
func FuzzUnpack(f *testing.F) {
	small := new(tools).packMember(nil, []byte("abc"), crc32.ChecksumIEEE([]byte("abc")))
	f.Add(small)
	f.Add(append(bytes.Clone(small), small...))
	f.Add(append(bytes.Clone(small), "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff\x01\x00\x00\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00"...))
	f.Fuzz(func(t *testing.T, file []byte) {
		ours := reader(file, "")
		got, err := io.ReadAll(io.LimitReader(ours, 1<<20))
		ours.Close()
		gz, theirErr := stdgzip.NewReader(bytes.NewReader(file))
		var want []byte
		if theirErr == nil {
			want, theirErr = io.ReadAll(io.LimitReader(gz, 1<<20))
		}
		if theirErr == nil && err == nil && !bytes.Equal(got, want) {
			t.Errorf("we read %q, gzip %q", got, want)
		}
		if err == nil && theirErr != nil {
			t.Errorf("we read %q, gzip says %v", got, theirErr)
		}
	})
}
