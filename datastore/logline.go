package datastore

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"time"
)

// LogLine is one line of a task's output.
type LogLine struct {
	// Time is when the line was written, in UTC, to the microsecond; zero if the log does not say.
	Time time.Time
	// Source is what wrote the line down: "runtime", outside the task's process, or "task", inside a container. Empty
	// if the log does not say.
	Source string
	// Stream is the stream that ReadLog found the line in; ParseLogLine leaves it empty.
	Stream Stream
	// ID tells apart lines of the same time.
	ID string
	// Text is the line without its end. It is what the task wrote, which need not be UTF-8.
	Text string
}

// logTime is the layout of a line's time, always in UTC.
const logTime = "2006-01-02T15:04:05.000000"

// The parts of a line: "[MFLOG|0|<time>Z|<source>|<id>]<text>".
const (
	logHead    = "[MFLOG|0|"
	logPersist = "[!" // in front of logHead: ask the receiver to keep the line
)

// AppendLogLine appends one line of a log, with its end, in Metaflow's form. source holds no "|"; text no newline. The
// line's id begins with the nanoseconds of now, so that readers that order lines of the same microsecond by id, as
// Metaflow's do, keep their order.
func AppendLogLine(b []byte, now time.Time, source string, text []byte) []byte {
	b = append(b, logHead...)
	b = now.UTC().AppendFormat(b, logTime)
	b = append(b, "Z|"...)
	b = append(b, source...)
	hi, lo := rand.Uint64(), rand.Uint64()
	// The shape is that of a version 4 UUID.
	b = fmt.Appendf(b, "|%08x-%04x-4%03x-a%03x-%012x]", now.Nanosecond(), hi>>48, hi>>36&0xfff, hi>>24&0xfff, lo>>16)
	b = append(b, text...)
	return append(b, '\n')
}

// ParseLogLine reads a line of a log, with or without its end. ok is false if it is not in Metaflow's form; Text is then
// the whole line.
func ParseLogLine(line []byte) (l LogLine, ok bool) {
	line = bytes.TrimSuffix(line, []byte("\n"))
	plain := LogLine{Text: string(line)}
	rest, ok := bytes.CutPrefix(bytes.TrimPrefix(line, []byte(logPersist)), []byte(logHead))
	if !ok {
		return plain, false
	}
	stamp, rest, ok := cutField(rest, "Z|")
	if !ok {
		return plain, false
	}
	source, rest, ok := cutField(rest, "|")
	if !ok {
		return plain, false
	}
	id, text, ok := cutField(rest, "]")
	if !ok {
		return plain, false
	}
	t, ok := parseLogTime(string(stamp))
	if !ok {
		return plain, false
	}
	if i := bytes.IndexByte(text, '\n'); i >= 0 {
		text = text[:i]
	}
	return LogLine{Time: t, Source: string(source), ID: string(id), Text: string(text)}, true
}

// cutField splits b at the first sep that has at least one byte in front of it, all on the first line.
func cutField(b []byte, sep string) (field, rest []byte, ok bool) {
	if len(b) == 0 {
		return nil, nil, false
	}
	i := bytes.Index(b[1:], []byte(sep))
	if i < 0 || bytes.IndexByte(b[:i+1], '\n') >= 0 {
		return nil, nil, false
	}
	return b[:i+1], b[i+1+len(sep):], true
}

// parseLogTime reads a time with a fraction of one to six digits.
func parseLogTime(s string) (time.Time, bool) {
	for i := range len(s) {
		if s[i] != '.' {
			continue
		}
		if n := len(s) - i - 1; n < 1 || n > 6 {
			return time.Time{}, false
		}
		t, err := time.Parse("2006-1-2T15:4:5", s)
		return t, err == nil && t.Year() > 0
	}
	return time.Time{}, false
}
