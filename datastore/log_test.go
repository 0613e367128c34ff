package datastore_test

import (
	"context"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/memory"
)

var noon = time.Date(2026, 2, 3, 12, 0, 0, 123_456_789, time.UTC)

func TestLogLine(t *testing.T) {
	line := datastore.AppendLogLine(nil, noon.In(time.FixedZone("", 3600)), "runtime", []byte("a]|b \xff"))
	const head = "[MFLOG|0|2026-02-03T12:00:00.123456Z|runtime|"
	if !strings.HasPrefix(string(line), head) || !strings.HasSuffix(string(line), "]a]|b \xff\n") || len(line) != len(head)+36+len("]a]|b \xff\n") {
		t.Errorf("line %q", line)
	}
	got, ok := datastore.ParseLogLine(line)
	want := datastore.LogLine{Time: noon.Truncate(time.Microsecond), Source: "runtime", ID: got.ID, Text: "a]|b \xff"}
	if !ok || got != want || len(got.ID) != 36 {
		t.Errorf("parsed %+v, %v, want %+v", got, ok, want)
	}
	if persist, ok := datastore.ParseLogLine(append([]byte("[!"), line...)); !ok || persist != want {
		t.Errorf("with the mark to keep it: %+v, %v", persist, ok)
	}
	later := datastore.AppendLogLine(nil, noon.Add(100), "runtime", nil)
	if string(later[:len(head)+8]) <= string(line[:len(head)+8]) {
		t.Errorf("ids of the same microsecond are out of order: %q after %q", later, line)
	}
}

func TestParseLogLineRefuses(t *testing.T) {
	for _, line := range []string{
		"", "text", "[MFLOG|0|", "[MFLOG|1|2026-02-03T12:00:00.1Z|task|1]x", "[MFLOG|0|2026-02-03T12:00:00Z|task|1]x",
		"[MFLOG|0|2026-02-03T12:00:00.1234567Z|task|1]x", "[MFLOG|0|2026-02-30T12:00:00.1Z|task|1]x", "[MFLOG|0|2026-02-03T12:00:00.1Z|task|1",
		"[MFLOG|0|2026-02-03T12:00:00.1Z|task]x", "[MFLOG|0|2026-02-03 12:00:00.1Z|task|1]x", " [MFLOG|0|2026-02-03T12:00:00.1Z|task|1]x",
		"[MFLOG|0|2026-02-03T12:00:60.1Z|task|1]x", "[MFLOG|0|0000-02-03T12:00:00.1Z|task|1]x",
	} {
		if l, ok := datastore.ParseLogLine([]byte(line + "\n")); ok || l.Text != line || !l.Time.IsZero() {
			t.Errorf("%q: %+v, %v", line, l, ok)
		}
	}
}

func FuzzParseLogLine(f *testing.F) {
	f.Add([]byte("[MFLOG|0|2026-02-03T12:00:00.1Z|task|1]x\n"))
	f.Add(datastore.AppendLogLine([]byte("[!"), noon, "runtime", []byte("text")))
	f.Add([]byte("[MFLOG|0|Z|Z||]]"))
	f.Fuzz(func(t *testing.T, line []byte) {
		l, ok := datastore.ParseLogLine(line)
		if !ok {
			if l.Text != strings.TrimSuffix(string(line), "\n") {
				t.Fatalf("%q became %q", line, l.Text)
			}
			return
		}
		if !strings.Contains(string(line), l.Source+"|"+l.ID+"]"+l.Text) {
			t.Fatalf("%q became %+v", line, l)
		}
		if strings.Contains(l.Source, "|") {
			return // not a source that is ever written
		}
		again, ok := datastore.ParseLogLine(datastore.AppendLogLine(nil, l.Time, l.Source, []byte(l.Text)))
		if again.ID = l.ID; !ok || again != l {
			t.Fatalf("%+v became %+v", l, again)
		}
	})
}

// noAppend hides that a backend can append.
type noAppend struct{ datastore.Backend }

func texts(t *testing.T, s *datastore.Store, attempt int, streams ...datastore.Stream) []string {
	t.Helper()
	var got []string
	for l, err := range s.ReadLog(t.Context(), task, attempt, streams...) {
		check(t, err)
		got = append(got, l.Text)
	}
	return got
}

func appendLines(t *testing.T, s *datastore.Store, source string, stream datastore.Stream, lines ...string) {
	t.Helper()
	w, err := s.AppendLog(t.Context(), task, 0, source, stream)
	check(t, err)
	for _, line := range lines {
		if seconds, text, ok := strings.Cut(line, " "); ok {
			d, err := time.ParseDuration(seconds)
			check(t, err)
			line = string(datastore.AppendLogLine(nil, noon.Add(d), source, []byte(text)))
		}
		_, err := io.WriteString(w, line)
		check(t, err)
	}
	check(t, w.Close())
}

func TestReadLog(t *testing.T) {
	for _, b := range []datastore.Backend{openLocal(t), memory.New(nil), noAppend{memory.New(nil)}} {
		s := datastore.New(b)
		if got := texts(t, s, 0); got != nil {
			t.Errorf("lines of no log: %q", got)
		}
		appendLines(t, s, "runtime", datastore.Stdout, "1s a", "3s c", "plain\n", "2s b", "3s c2")
		appendLines(t, s, "runtime", datastore.Stdout, "9s i") // opened once more
		appendLines(t, s, "task", datastore.Stdout, "3s C", "0s A", "noise\n", "[MFLOG|0|2026-02-03T12:")
		appendLines(t, s, "task", datastore.Stderr, "2500ms err")
		if got, want := texts(t, s, 0, datastore.Stdout), strings.Fields("A a b c c2 C i plain noise"); !reflect.DeepEqual(got, want) {
			t.Errorf("stdout %q, want %q", got, want)
		}
		if got, want := texts(t, s, 0), strings.Fields("A a b err c c2 C i plain noise"); !reflect.DeepEqual(got, want) {
			t.Errorf("both streams %q, want %q", got, want)
		}
		for l, err := range s.ReadLog(t.Context(), task, 0, datastore.Stderr) {
			check(t, err)
			want := datastore.LogLine{Time: noon.Add(2500 * time.Millisecond).Truncate(time.Microsecond), Source: "task", Stream: datastore.Stderr, ID: l.ID, Text: "err"}
			if l != want {
				t.Errorf("line %+v, want %+v", l, want)
			}
		}
		for l, err := range s.ReadLog(t.Context(), task, 0) {
			check(t, err)
			if l.Text != "A" {
				t.Errorf("first line %q", l.Text)
			}
			break
		}
		err := b.Put(t.Context(), "F/12/start/3/1.stderr.log", strings.NewReader("old\n\ntwo"), datastore.PutOptions{})
		check(t, err)
		if got, want := texts(t, s, 1), []string{"old", "", "two"}; !reflect.DeepEqual(got, want) {
			t.Errorf("old form %q, want %q", got, want)
		}
	}
}

func TestLongAndManyLines(t *testing.T) {
	s := datastore.New(openLocal(t))
	w, err := s.AppendLog(t.Context(), task, 0, "runtime", datastore.Stdout)
	check(t, err)
	const n = 20_000
	var buf []byte
	for i := range n { // pairs are swapped
		buf = datastore.AppendLogLine(buf, noon.Add(time.Duration(i^1)*time.Millisecond), "runtime", fmt.Append(nil, i^1))
	}
	buf = datastore.AppendLogLine(buf, noon.Add(time.Hour), "runtime", []byte(strings.Repeat("x", 9<<20)))
	_, err = w.Write(buf)
	check(t, err, w.Close())
	got := texts(t, s, 0)
	if len(got) != n+1 {
		t.Fatalf("%d lines", len(got))
	}
	for i, text := range got[:n] {
		if text != fmt.Sprint(i) {
			t.Fatalf("line %d is %q", i, text)
		}
	}
	if size := len(got[n]); size < 4_000_000 || size > 4<<20 {
		t.Errorf("a line of 9 MiB was cut to %d bytes", size)
	}
}

func TestLogRefuses(t *testing.T) {
	s := datastore.New(memory.New(nil))
	if _, err := s.AppendLog(t.Context(), task, 0, "other", datastore.Stdout); err == nil {
		t.Error("source \"other\" was accepted")
	}
	if _, err := s.AppendLog(t.Context(), task, 0, "task", "stdin"); err == nil {
		t.Error("stream \"stdin\" was accepted")
	}
	for _, err := range s.ReadLog(t.Context(), datastore.TaskRef{}, 0) {
		if err == nil {
			t.Error("no error for a task without names")
		}
	}
}

func TestFlushWithoutAppend(t *testing.T) {
	s := datastore.New(noAppend{memory.New(nil)})
	w, err := s.AppendLog(context.Background(), task, 0, "task", datastore.Stdout)
	check(t, err)
	for i, want := range []int{1, 2} {
		_, err := w.Write(datastore.AppendLogLine(nil, noon, "task", fmt.Append(nil, i)))
		check(t, err, w.(datastore.Flusher).Flush())
		if got := texts(t, s, 0); len(got) != want {
			t.Errorf("%d lines after %d", len(got), want)
		}
	}
}
