package tables_test

import (
	"errors"
	"strconv"
	"testing"

	"github.com/mf-run/mf/metadata/tables"
)

func TestNumbers(t *testing.T) {
	for text, want := range map[string]bool{
		"7": true, "007": true, "²": true, "٣": true, "½": true, "99999999999999999999": true,
		"": false, "-5": false, "+5": false, "1.5": false, " 7": false, "7a": false, "a": false, "1_0": false,
	} {
		if tables.IsNumber(text) != want {
			t.Errorf("%q is a number: %v", text, !want)
		}
	}
	for text, want := range map[string]string{
		"9223372036854775808": "22003", "99999999999999999999": "22003", "²": "22P02", "1²": "22P02",
	} {
		_, err := tables.ParseNumber(text)
		var e *tables.Error
		if !errors.As(err, &e) || e.Code != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func FuzzParseNumber(f *testing.F) {
	for _, s := range []string{"", "0", "007", "²", "9223372036854775807", "9223372036854775808", "-1", "1e3", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !tables.IsNumber(s) {
			return
		}
		n, err := tables.ParseNumber(s)
		var e *tables.Error
		if err != nil && !errors.As(err, &e) {
			t.Fatalf("%q: %v", s, err)
		}
		if again, _ := strconv.ParseInt(s, 10, 64); err == nil && (n < 0 || n != again) {
			t.Fatalf("%q was read as %d", s, n)
		}
	})
}
