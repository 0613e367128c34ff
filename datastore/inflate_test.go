package datastore

import (
	"bytes"
	stdflate "compress/flate"
	"io"
	"os"
	"testing"
)

func deflated(t testing.TB, data []byte, level int) []byte {
	var out bytes.Buffer
	w, err := stdflate.NewWriter(&out, level)
	if err == nil {
		_, err = w.Write(data)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestInflate(t *testing.T) {
	source, err := os.ReadFile("store.go")
	if err != nil {
		t.Fatal(err)
	}
	var d inflater
	for _, data := range [][]byte{nil, []byte("a"), []byte("abcabcabcabc"), source, bytes.Repeat(source, 20), mixed(1 << 20), make([]byte, 1<<18)} {
		for level := stdflate.HuffmanOnly; level <= 9; level++ {
			file := deflated(t, data, level)
			got := make([]byte, len(data))
			if err := d.inflate(got, file); err != nil || !bytes.Equal(got, data) {
				t.Errorf("level %d of %d bytes: %v, equal: %v", level, len(data), err, bytes.Equal(got, data))
			}
			for _, wrong := range []int{len(data) - 1, len(data) + 1} {
				if wrong >= 0 && d.inflate(make([]byte, wrong), file) == nil {
					t.Errorf("level %d: %d bytes were unpacked to %d", level, len(data), wrong)
				}
			}
			if d.inflate(got, append(bytes.Clone(file), 0)) == nil || d.inflate(got, file[:len(file)-1]) == nil {
				t.Errorf("level %d: a byte more or less goes unnoticed", level)
			}
		}
	}
}

// FuzzInflate holds our decoder to the standard library's.
func FuzzInflate(f *testing.F) {
	f.Add([]byte{3, 0}, 0)
	f.Add(deflated(f, bytes.Repeat([]byte("ab"), 400), 6), 800) // ends in the longest matches
	for level := stdflate.HuffmanOnly; level <= 9; level++ {
		f.Add(deflated(f, mixed(3000), level), 3000)
	}
	f.Fuzz(func(t *testing.T, file []byte, size int) {
		src := bytes.NewReader(file)
		want, theirErr := io.ReadAll(io.LimitReader(stdflate.NewReader(src), 1<<20))
		if theirErr == nil {
			size = len(want)
		}
		got := make([]byte, max(0, min(size, 1<<20)))
		err := new(inflater).inflate(got, file)
		if err == nil && (theirErr != nil || !bytes.Equal(got, want)) {
			t.Errorf("we read %d bytes, they %d, %v", len(got), len(want), theirErr)
		}
		if err != nil && theirErr == nil && src.Len() == 0 && len(want) < 1<<20 {
			t.Errorf("they read %d bytes, we fail: %v", len(want), err)
		}
	})
}

func BenchmarkInflate(b *testing.B) {
	source, err := os.ReadFile("store.go")
	if err != nil {
		b.Fatal(err)
	}
	data := source
	file := deflated(b, data, memberLevel)
	got := make([]byte, len(data))
	var d inflater
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if err := d.inflate(got, file); err != nil {
			b.Fatal(err)
		}
	}
}
