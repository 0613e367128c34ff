package datastore

import (
	"bufio"
	"bytes"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
)

// The sources of log lines, in the order in which lines of the same time are read. The empty one stands for logs from
// before there were sources.
var logSources = []string{"", "runtime", "task"}

// Flusher is what AppendLog returns where the backend cannot append: the log is collected in memory and written as a
// whole by each Flush and by Close. What is written to it meanwhile does not wait; what a failed Flush left over goes with
// the next one.
type Flusher interface {
	Flush() error
}

// AppendLog opens a log of an attempt for appending lines made by AppendLogLine. source is "runtime" or "task". On a
// backend that cannot append, the writer is a Flusher and holds the whole log in memory.
func (s *Store) AppendLog(ctx context.Context, t TaskRef, attempt int, source string, stream Stream) (io.WriteCloser, error) {
	key, err := logKey(t, attempt, source, stream)
	if err != nil {
		return nil, err
	}
	if err := s.ensureFormat(ctx); err != nil {
		return nil, err
	}
	if a, ok := s.b.(Appender); ok {
		return a.Append(ctx, key)
	}
	old, err := s.read(ctx, key)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	return &logBuffer{ctx: ctx, b: s.b, key: key, data: old, saved: len(old)}, nil
}

// StartLog is AppendLog for a log that is surely not there yet, as that of a new attempt: nothing is read.
func (s *Store) StartLog(ctx context.Context, t TaskRef, attempt int, source string, stream Stream) (io.WriteCloser, error) {
	if _, ok := s.b.(Appender); ok {
		return s.AppendLog(ctx, t, attempt, source, stream)
	}
	key, err := logKey(t, attempt, source, stream)
	if err != nil {
		return nil, err
	}
	return &logBuffer{ctx: ctx, b: s.b, key: key}, s.ensureFormat(ctx)
}

// logKey returns the key of a log; an empty source means the form before there were sources.
func logKey(t TaskRef, attempt int, source string, stream Stream) (string, error) {
	if stream != Stdout && stream != Stderr {
		return "", fmt.Errorf("task %s: invalid log stream %q", t, stream)
	}
	switch source {
	case "":
		return attemptKey(t, attempt, string(stream)+".log")
	case "runtime", "task":
		return attemptKey(t, attempt, source+"_"+string(stream)+".log")
	}
	return "", fmt.Errorf("task %s: invalid log source %q", t, source)
}

// logBuffer is a log on a backend that cannot append.
type logBuffer struct {
	ctx context.Context
	b   Backend
	key string

	flushing sync.Mutex // held while the log is written
	saved    int        // how much of data has been written

	mu   sync.Mutex
	data []byte // only grows: a part of it may be read without mu
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.data = append(l.data, p...)
	return len(p), nil
}

// Flush implements Flusher.
func (l *logBuffer) Flush() error {
	l.flushing.Lock()
	defer l.flushing.Unlock()
	l.mu.Lock()
	data := l.data
	l.mu.Unlock()
	if l.saved == len(data) {
		return nil
	}
	if err := l.b.Put(l.ctx, l.key, bytes.NewReader(data), PutOptions{}); err != nil {
		return err
	}
	l.saved = len(data)
	return nil
}

func (l *logBuffer) Close() error { return l.Flush() }

// ReadLog yields the lines of an attempt's streams by time; without streams, those of both. Lines in no known form come
// last, and so do all lines of a log from before lines had times. An attempt without a log yields nothing. A log that is
// still growing reads as far as it goes.
func (s *Store) ReadLog(ctx context.Context, t TaskRef, attempt int, streams ...Stream) iter.Seq2[LogLine, error] {
	if len(streams) == 0 {
		streams = []Stream{Stdout, Stderr}
	}
	return func(yield func(LogLine, error) bool) {
		err := s.readLog(ctx, t, attempt, streams, yield)
		if err != nil && !errors.Is(err, errStop) {
			yield(LogLine{}, fmt.Errorf("reading the log of task %s: %w", t, err))
		}
	}
}

func (s *Store) readLog(ctx context.Context, t TaskRef, attempt int, streams []Stream, yield func(LogLine, error) bool) error {
	var files []*logFile
	defer func() {
		for _, f := range files {
			f.close()
		}
	}()
	for _, stream := range streams {
		for _, source := range logSources {
			key, err := logKey(t, attempt, source, stream)
			if err != nil {
				return err
			}
			f, err := s.openLog(ctx, key, stream)
			if errors.Is(err, ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			files = append(files, f)
		}
	}
	if err := mergeLogs(files, yield); err != nil {
		return err
	}
	for _, f := range files {
		if err := s.plainLines(ctx, f, yield); err != nil {
			return err
		}
	}
	return nil
}

// errStop says that the reader wants no more lines.
var errStop = errors.New("stop")

// mergeLogs yields the lines that have a time.
func mergeLogs(files []*logFile, yield func(LogLine, error) bool) error {
	for {
		var first *logFile
		for _, f := range files {
			if err := f.fill(); err != nil {
				return err
			}
			if len(f.ahead) > 0 && (first == nil || f.ahead[0].Time.Before(first.ahead[0].Time)) {
				first = f
			}
		}
		if first == nil {
			return nil
		}
		l := heap.Pop(&first.ahead).(numberedLine).LogLine
		l.Stream = first.stream
		if !yield(l, nil) {
			return errStop
		}
	}
}

// plainLines reads a file once more for its lines that have no time.
func (s *Store) plainLines(ctx context.Context, f *logFile, yield func(LogLine, error) bool) error {
	if f.plain == 0 {
		return nil
	}
	again, err := s.openLog(ctx, f.key, f.stream)
	if err != nil {
		return err
	}
	defer again.close()
	for again.count < f.count {
		line, err := again.line()
		if errors.Is(err, io.EOF) {
			return nil // rewritten in the meantime
		}
		if err != nil {
			return err
		}
		l, ok := ParseLogLine(line)
		l.Stream = f.stream
		if !ok && !again.isTorn(line) && !yield(l, nil) {
			return errStop
		}
	}
	return nil
}

const (
	// logWindow is how many lines of a file are held to bring those into order that were written out of it.
	logWindow = 4096
	// maxLogLine is what is kept of a line, in bytes.
	maxLogLine = 4 << 20
)

// logFile reads one file of a log.
type logFile struct {
	key    string
	stream Stream
	body   io.Closer
	r      *bufio.Reader
	count  int // lines read
	plain  int // of them, those without a time
	ahead  lineHeap
	ended  bool
}

func (s *Store) openLog(ctx context.Context, key string, stream Stream) (*logFile, error) {
	body, _, err := s.b.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	return &logFile{key: key, stream: stream, body: body, r: bufio.NewReaderSize(body, 64<<10)}, nil
}

func (f *logFile) close() { f.body.Close() }

// fill reads ahead.
func (f *logFile) fill() error {
	for !f.ended && len(f.ahead) < logWindow {
		line, err := f.line()
		if errors.Is(err, io.EOF) {
			f.ended = true
			return nil
		}
		if err != nil {
			return err
		}
		if l, ok := ParseLogLine(line); ok {
			heap.Push(&f.ahead, numberedLine{l, f.count})
		} else if !f.isTorn(line) {
			f.plain++
		}
	}
	return nil
}

// line returns the next line with its end, if it has one; io.EOF after the last.
func (f *logFile) line() ([]byte, error) {
	var line []byte
	for {
		part, err := f.r.ReadSlice('\n')
		line = append(line, part[:min(len(part), maxLogLine-len(line))]...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && len(line) == 0, err != nil && !errors.Is(err, io.EOF):
			return nil, err
		}
		f.count++
		return line, nil
	}
}

// isTorn reports whether line is the beginning of one that is just being written.
func (f *logFile) isTorn(line []byte) bool {
	return bytes.HasPrefix(line, []byte(logHead)) && !bytes.HasSuffix(line, []byte("\n")) && len(line) < maxLogLine
}

// numberedLine is a line and its place in its file.
type numberedLine struct {
	LogLine
	number int
}

// lineHeap orders lines by time, then by place.
type lineHeap []numberedLine

func (h lineHeap) Len() int { return len(h) }
func (h lineHeap) Less(i, j int) bool {
	if c := h[i].Time.Compare(h[j].Time); c != 0 {
		return c < 0
	}
	return h[i].number < h[j].number
}
func (h lineHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *lineHeap) Push(x any) { *h = append(*h, x.(numberedLine)) }

// Pop implements heap.Interface.
func (h *lineHeap) Pop() any {
	last := len(*h) - 1
	l := (*h)[last]
	*h = (*h)[:last]
	return l
}
