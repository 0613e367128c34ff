package main

import (
	"strings"
	"testing"
	"time"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/runtime"
)

// TestShownLog: of a log some of whose lines were shown the others are, once.
func TestShownLog(t *testing.T) {
	// A line is its text and when it was printed; lines of one moment are not rare.
	const log = "a1 b2 c2 c2 d3 e4 e4 f5 g5 h6"
	for _, test := range []struct{ shown, want string }{ // | is a gap
		{"", log},
		{log, ""},
		{"a1 b2 c2", "c2 d3 e4 e4 f5 g5 h6"},
		{"a1 | e4 e4 f5", "b2 c2 c2 d3 g5 h6"},
		{"a1 b2 | g5 h6", "c2 c2 d3 e4 e4 f5"},
		{"a1 | c2 c2 d3 | g5", "b2 e4 e4 f5 h6"},
		{"| d3", "a1 b2 c2 c2 e4 e4 f5 g5 h6"},
		{"a1 |", "b2 c2 c2 d3 e4 e4 f5 g5 h6"},
	} {
		moment := func(line string) time.Time {
			l, ok := runtime.ParseLine(string(runtime.AppendLine(nil, runtime.Line{
				Stream: datastore.Stdout, Time: time.Date(2026, 5, 4, 3, 2, 1, int(line[1]-'0')*1000, time.UTC), Text: line})))
			if !ok {
				t.Fatal("no line")
			}
			return l.Time
		}
		var s shownLog
		for _, line := range strings.Fields(test.shown) {
			if line == "|" {
				s.tear()
			} else {
				s.add(moment(line), line)
			}
		}
		var got []string
		for _, line := range strings.Fields(log) {
			if s.missing(moment(line), line) {
				got = append(got, line)
			}
		}
		if text := strings.Join(got, " "); text != test.want {
			t.Errorf("shown %q, then %q, want %q", test.shown, text, test.want)
		}
	}
}
