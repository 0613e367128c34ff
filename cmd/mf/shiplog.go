package main

import "time"

// shownLog remembers which lines of a task's stream were shown, as spans of its log without a gap.
type shownLog struct {
	spans []shownSpan
	torn  bool // the next line begins a span
	at    int  // of the span that missing has come to
}

// shownSpan is known by its first line and how many lines it has.
type shownSpan struct {
	begin, end time.Time
	text       string // of the first line
	n          int
	found      bool
}

// add notes a line that was shown.
func (s *shownLog) add(t time.Time, text string) {
	if s.torn || len(s.spans) == 0 {
		s.spans = append(s.spans, shownSpan{begin: t, end: t, text: text})
		s.torn = false
	}
	last := &s.spans[len(s.spans)-1]
	last.n++
	if t.After(last.end) {
		last.end = t
	}
}

// tear notes that lines may be missing in front of the next one.
func (s *shownLog) tear() { s.torn = true }

// missing reports whether a line was not shown. It is asked of all lines of the stored log, once each, in order.
func (s *shownLog) missing(t time.Time, text string) bool {
	for ; s.at < len(s.spans); s.at++ {
		p := &s.spans[s.at]
		if !p.found && (t.Before(p.begin) || t.Equal(p.begin) && text != p.text) {
			return true // in front of it
		}
		if p.found = true; p.n > 0 && !t.After(p.end) {
			p.n--
			return false
		}
	}
	return true
}
