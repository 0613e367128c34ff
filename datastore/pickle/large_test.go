package pickle

import (
	"bytes"
	"strings"
	"testing"
	"testing/iotest"
)

func TestLarge(t *testing.T) {
	for _, n := range []int{LargeMin, LargeMin + 1, 1 << 20} {
		data := bytes.Repeat([]byte{'x'}, n)
		for text, value := range map[bool]any{false: data, true: string(data)} {
			want, err := Marshal(value)
			if err != nil {
				t.Fatal(err)
			}
			before, after := Large(int64(n), text)
			if got := bytes.Join([][]byte{before, data, after}, nil); !bytes.Equal(got, want) {
				t.Errorf("%d bytes, text %t: %x … %x, want %x …", n, text, before, after, want[:16])
			}
		}
	}
	before, _ := Large(5<<30, false)
	if want := []byte{0x80, 4, 0x8e, 0, 0, 0, 0x40, 1, 0, 0, 0}; !bytes.Equal(before, want) {
		t.Errorf("5 GiB: %x, want %x", before, want)
	}
}

// FuzzCheckText holds CheckText to what Marshal takes, wherever the pieces that are read end.
func FuzzCheckText(f *testing.F) {
	for _, s := range []string{"", "a", "ä€😀", "\xed\xa0\x80", "\xed", "\xff", "\x80\x80\x80\x80\x80", "a\xf0\x9f\x98"} {
		f.Add(s, 3)
		f.Add(s, 64<<10-1)
	}
	f.Fuzz(func(t *testing.T, s string, pad int) {
		text := strings.Repeat("a", max(0, pad)%(130<<10)) + s
		_, err := Marshal(text)
		for name, got := range map[string]error{
			"at once":      CheckText(strings.NewReader(text)),
			"byte by byte": CheckText(iotest.OneByteReader(strings.NewReader(text))),
		} {
			if (got == nil) != (err == nil) {
				t.Errorf("%s: %v, Marshal says %v", name, got, err)
			}
		}
	})
}
