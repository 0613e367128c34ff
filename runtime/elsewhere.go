package runtime

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/pickle"
	"github.com/mf-run/mf/ir"
	"github.com/mf-run/mf/metadata"
)

// Collect reads from the datastore what came of an attempt that ran elsewhere. Outcome is as Execute would have returned
// it there, but for what no record tells: Usage, and of a Failure Crashed, Signal, Timeout and Stopped. ok is false where
// the attempt left no record. started reports whether it began at all.
func (r *Run) Collect(ctx context.Context, t *Task) (out Outcome, started, ok bool, err error) {
	attempts, err := r.Store.Attempts(ctx, t.Ref)
	if err != nil {
		return out, false, false, fmt.Errorf("reading what came of %s: %w", t.Ref, err)
	}
	last := lastStarted(attempts)
	if last == nil {
		return out, false, false, nil
	}
	if started = last.Number >= t.Attempt; !last.Done {
		return out, started, false, nil
	}
	out, ok, err = r.collect(ctx, t, last.Number)
	if err != nil {
		return out, started, false, fmt.Errorf("reading what came of %s: %w", t.Ref, err)
	}
	if !ok && !started {
		return Outcome{}, false, false, nil // the failure of an attempt before
	}
	return out, started, true, nil
}

// collect reads the record of an attempt; ok reports whether it is one of success.
func (r *Run) collect(ctx context.Context, t *Task, number int) (out Outcome, ok bool, err error) {
	record, err := r.Store.ReadRecord(ctx, t.Ref, number)
	if err != nil {
		return out, false, err
	}
	loader := r.loader()
	res := &Result{Ref: t.Ref, Attempt: number, Path: t.Path, Iteration: t.Iteration, Stack: t.Stack, Artifacts: record.Artifacts}
	good, err := loader.value(ctx, res, "_task_ok")
	if err != nil {
		return out, false, err
	}
	whole, err := loader.value(ctx, res, "_success")
	if err != nil {
		return out, false, err
	}
	ok = good == true
	if !ok || whole == false {
		if out.Failure, err = loader.failure(ctx, res); err != nil {
			return out, false, err
		}
	}
	if ok {
		if err := loader.transition(ctx, res); err != nil {
			return out, false, err
		}
		r.Store.Trust(t.Ref.Flow, res.Artifacts)
		out.Result = res
	}
	return out, ok, nil
}

// loader is one that all the run's tasks share.
func (r *Run) loader() *Loader {
	r.collecting.Do(func() {
		r.collector = NewLoader(r.Store, r.Flow.Name)
		r.collector.expect(r.Flow)
	})
	return r.collector
}

// failure reads why a task failed.
func (l *Loader) failure(ctx context.Context, res *Result) (*Failure, error) {
	v, err := l.value(ctx, res, "_exception")
	if err != nil {
		return nil, err
	}
	e, isExc := v.(pickle.ExceptionWrapper)
	if !isExc {
		return &Failure{Message: "the step failed"}, nil
	}
	f := &Failure{Type: e.Type, Message: e.Exception}
	f.Traceback, _ = e.Stacktrace.(string)
	return f, nil
}

// ended are the words for a process that somebody or something ended; no record tells it in another way. A shell says it by
// the exit codes.
var ended = regexp.MustCompile(`was killed by signal |was lost: |was told to stop|exited with code (137|143)\b|before the step was complete`)

// WasEnded reports whether a failure says no more than that the step's process was ended.
func (f *Failure) WasEnded() bool {
	return strings.HasPrefix(f.Type, "mf.") && ended.MatchString(f.Message)
}

// Abandon records an attempt that ended elsewhere without a record of its own as failed, for the reason given, so that
// readers and a resume see a failed attempt. started is Collect's. The reason is added to the attempt's log.
func (r *Run) Abandon(ctx context.Context, t *Task, f *Failure, started bool) (Outcome, error) {
	a := &attempt{run: r, task: t, produced: map[string]datastore.Artifact{}, started: r.Now(), failure: f}
	a.begun = func() error { return nil }
	if !started {
		a.begin(ctx)
		if err := a.begun(); err != nil {
			return Outcome{}, fmt.Errorf("recording %s: %w", t.Ref, err)
		}
	}
	a.openLogs(ctx)
	a.note("%s", f.Message)
	return a.finish(ctx)
}

// RecordStart hands the metadata of an attempt's start to the Sink, as Execute does at first, and RecordEnd that of its
// end: for attempts elsewhere that could not do so themselves. Abandon does the latter itself.
func (r *Run) RecordStart(t *Task) error { return r.recordStart(t, r.Now()) }

// RecordEnd is described with RecordStart.
func (r *Run) RecordEnd(ctx context.Context, t *Task, out Outcome) error {
	number, artifacts := t.Attempt, map[string]datastore.Artifact(nil)
	if out.Result != nil {
		number, artifacts = out.Result.Attempt, out.Result.Artifacts
	} else if record, err := r.Store.ReadRecord(ctx, t.Ref, number); err == nil {
		artifacts = record.Artifacts
	}
	return r.Sink.Add(r.Rows.TaskFinished(metadata.TaskRef(t.Ref), number, out.Result != nil, ArtifactRefs(artifacts), r.Now()))
}

// Fallback reports whether the attempt only records, under @catch, that all of the step's own attempts crashed. It runs no
// code of the flow.
func (t *Task) Fallback() bool { return t.fallback() }

// Invocation is the attempt as mf-task is asked for it.
func (t *Task) Invocation() ir.TaskInvocation {
	v := ir.TaskInvocation{Flow: t.Ref.Flow, Run: t.Ref.Run, Step: t.Ref.Step, Path: t.Path.String(), Attempt: itoa(t.Attempt)}
	if t.Iteration != ir.NoIteration {
		v.Iteration = itoa(t.Iteration)
	}
	return v
}

// lineMark begins a line that AppendLine wrote; what follows it is the log line in the datastore's form, with the stream
// as its source.
const lineMark = "mf>"

// messageSource stands in for the stream of a message of the runtime's own, which goes to stderr.
const messageSource = "message"

// AppendLine appends a line that a task printed in the form in which a container prints it for a scheduler: unlike a
// container's own output it says which stream the line is of. The text holds no newline.
func AppendLine(b []byte, l Line) []byte {
	source := string(l.Stream)
	if l.Message {
		source = messageSource
	}
	return datastore.AppendLogLine(append(b, lineMark...), l.Time, source, []byte(l.Text))
}

// ParseLine reads what AppendLine wrote, with or without the newline. ok is false for any other line, which is the
// container's own: Text is then the whole of it, and Stream stderr.
func ParseLine(text string) (l Line, ok bool) {
	if rest, marked := strings.CutPrefix(text, lineMark); marked {
		line, whole := datastore.ParseLogLine([]byte(rest))
		l = Line{Stream: datastore.Stream(line.Source), Time: line.Time, Text: line.Text}
		if line.Source == messageSource {
			l.Stream, l.Message = datastore.Stderr, true
		}
		if whole && (l.Stream == datastore.Stdout || l.Stream == datastore.Stderr) {
			return l, true
		}
	}
	return Line{Stream: datastore.Stderr, Text: strings.TrimSuffix(text, "\n"), Message: true}, false
}
