package sqlite

import (
	"strconv"
	"testing"
)

func FuzzParseNumber(f *testing.F) {
	for _, s := range []string{"", "0", "7", "007", "-1", "+1", "1_0", "²", "9223372036854775807", "9223372036854775808"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, ok := parseNumber(s)
		if ok && (n < 0 || strconv.FormatInt(n, 10) != s) {
			t.Fatalf("%q was read as %d", s, n)
		}
		if got := makeID(n, s, !ok).text(); got != s {
			t.Fatalf("%q came back as %q", s, got)
		}
	})
}
