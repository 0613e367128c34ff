package runtime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/mf-run/mf/datastore"
)

// maxLine is the longest line kept whole; a longer one is cut into several.
const maxLine = 64 << 10

// drainGrace is how long output may still arrive after the process has ended, from a child of its own that holds the
// pipe open.
const drainGrace = 500 * time.Millisecond

const truncated = "[TRUNCATED - MAXIMUM LOG FILE SIZE REACHED]"

// logWriter writes the lines of one stream to the datastore as they come, and to the run's Output. Where the datastore
// cannot append, it is an uploader that stores them now and then.
type logWriter struct {
	run    *Run
	task   *Task
	stream datastore.Stream
	source string

	mu     sync.Mutex
	ctx    context.Context
	dest   io.WriteCloser // nil until the first line
	upload *uploader      // nil where dest appends
	size   int64
	full   bool
	err    error
	buf    []byte
}

func (a *attempt) openLogs(ctx context.Context) {
	ctx = context.WithoutCancel(ctx)
	source := "runtime"
	if a.run.Contained {
		source = "task"
	}
	a.logs = map[datastore.Stream]*logWriter{}
	for _, stream := range []datastore.Stream{datastore.Stdout, datastore.Stderr} {
		a.logs[stream] = &logWriter{run: a.run, task: a.task, stream: stream, source: source, ctx: ctx}
	}
}

// closeLogs stores the rest of both logs.
func (a *attempt) closeLogs() error {
	var stdout error
	var other sync.WaitGroup
	other.Go(func() { stdout = a.logs[datastore.Stdout].close() })
	stderr := a.logs[datastore.Stderr].close()
	other.Wait()
	return errors.Join(stdout, stderr)
}

// note writes a text of the runtime's own to the task's stderr log.
func (a *attempt) note(format string, args ...any) {
	for line := range strings.SplitSeq(fmt.Sprintf(format, args...), "\n") {
		a.logs[datastore.Stderr].line([]byte(line), true)
	}
	a.logs[datastore.Stderr].flush()
}

// line writes one line, without its newline.
func (w *logWriter) line(text []byte, message bool) {
	now := w.run.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.run.Output != nil {
		w.run.Output(Line{Task: w.task, Stream: w.stream, Time: now, Text: string(text), Message: message})
	}
	if w.err != nil || w.full {
		return
	}
	if limit := w.run.MaxLogSize; limit > 0 && w.size+int64(len(text)) > limit {
		w.full = true
		text = []byte(truncated)
	}
	w.size += int64(len(text)) + 1
	w.buf = datastore.AppendLogLine(w.buf, now, w.source, text)
}

// flush hands what has been collected to the datastore.
func (w *logWriter) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.buf) == 0 || w.err != nil {
		return
	}
	if w.dest == nil {
		w.dest, w.err = w.run.Store.StartLog(w.ctx, w.task.Ref, w.task.Attempt, w.source, w.stream)
		if w.err != nil {
			return
		}
		if f, ok := w.dest.(datastore.Flusher); ok {
			w.upload = startUploader(f, func(err error) {
				w.run.warn("the %s log of %s could not be stored, which is tried again: %v", w.stream, w.task.Ref, err)
			})
		}
	}
	_, w.err = w.dest.Write(w.buf)
	w.buf = w.buf[:0]
}

// close stores the rest of the log. That an upload fails is no error of the task's: its work is done.
func (w *logWriter) close() error {
	w.flush()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.upload != nil {
		w.upload.stop()
	}
	if w.dest != nil {
		err := w.dest.Close()
		if err != nil && w.upload != nil {
			w.run.warn("the %s log of %s is not stored whole: %v", w.stream, w.task.Ref, err)
			err = nil
		}
		if w.err == nil {
			w.err = err
		}
	}
	if w.err != nil {
		return fmt.Errorf("writing the log of %s: %w", w.task.Ref, w.err)
	}
	return nil
}

// pump copies lines from a pipe until it ends.
func (w *logWriter) pump(r io.Reader) {
	buf := make([]byte, 0, 4096)
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, make([]byte, len(buf))...)[:len(buf)]
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		rest := buf
		for {
			i := bytes.IndexByte(rest, '\n')
			if i < 0 && len(rest) < maxLine {
				break
			}
			if i < 0 || i > maxLine {
				w.line(rest[:maxLine], false)
				rest = rest[maxLine:]
				continue
			}
			w.line(bytes.TrimSuffix(rest[:i], []byte("\r")), false)
			rest = rest[i+1:]
		}
		buf = append(buf[:0], rest...)
		if err != nil {
			break
		}
		w.flush()
	}
	if len(buf) > 0 {
		w.line(buf, false)
	}
	w.flush()
}

// pipes are the two output streams of a process.
type pipes struct {
	readers [2]*os.File
	done    sync.WaitGroup
}

// openPipes starts collecting; the write ends go to the process.
func (a *attempt) openPipes() (p *pipes, stdout, stderr *os.File, err error) {
	outR, outW, err := os.Pipe()
	if err != nil {
		return nil, nil, nil, fmt.Errorf("making a pipe: %w", err)
	}
	errR, errW, err := os.Pipe()
	if err != nil {
		outR.Close()
		outW.Close()
		return nil, nil, nil, fmt.Errorf("making a pipe: %w", err)
	}
	p = &pipes{readers: [2]*os.File{outR, errR}}
	p.done.Go(func() { a.logs[datastore.Stdout].pump(outR) })
	p.done.Go(func() { a.logs[datastore.Stderr].pump(errR) })
	return p, outW, errW, nil
}

// drain waits for the rest of the output after the process has ended.
func (p *pipes) drain() {
	for _, r := range p.readers {
		// Something the step left running in the background may hold the pipe: it does not hold up the run.
		_ = r.SetReadDeadline(time.Now().Add(drainGrace))
	}
	p.done.Wait()
	for _, r := range p.readers {
		r.Close()
	}
}
