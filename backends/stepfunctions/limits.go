package stepfunctions

import (
	"bytes"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

// The limits of Step Functions and Batch.
const (
	// maxDefinition is the largest state machine, in bytes. Layout does not count: what is deployed stands on one line.
	maxDefinition  = 1 << 20
	warnDefinition = maxDefinition / 5 * 4
	// maxOverrides is the most characters in the container overrides of a job.
	maxOverrides = 8192
	// roomForCommand is what of them the command and the names of variables may take.
	roomForCommand = 2048
	// maxJobDefinition is the largest job definition, in bytes.
	maxJobDefinition = 24 << 10
	// maxEvents is the length of an execution's history at which it fails.
	maxEvents  = 25_000
	warnEvents = maxEvents / 5 * 4
	// inlineEvents is how much of it one inline Map may take.
	inlineEvents = maxEvents / 10
	// maxSplits is the widest foreach: a Map's output is a list of its children's empty outputs, and has at most 256 KiB.
	maxSplits = 80_000
)

// What states add to the history of an execution.
const (
	eventsOfExecution = 2 // started, succeeded
	eventsOfTask      = 6 // entered, scheduled, started, submitted, succeeded, exited
	eventsOfRetry     = 4 // failed, scheduled, started, submitted
	eventsOfParallel  = 4 // entered, started, succeeded, exited
	eventsOfMap       = 4 // the same, or a Map Run's
	eventsOfIteration = 2 // started, succeeded
)

// load counts events of a history: those of a run without failures, and those that retries can add.
type load struct{ sure, retries int }

func (l load) plus(o load) load { return load{l.sure + o.sure, l.retries + o.retries} }

func (l load) times(n int) load { return load{l.sure * n, l.retries * n} }

// checkHistory compares the events of one execution with what a history holds.
func (e *emitter) checkHistory(span diag.Span, what string, l load) {
	l.sure += eventsOfExecution
	const wayOut = "Split the flow in two, or use a foreach where steps repeat: each split has a history of its own."
	switch {
	case l.sure > maxEvents:
		e.list = append(e.list, diag.Errorf(span, "history-too-long",
			"%s records %d events, but Step Functions ends an execution at %d", what, l.sure, maxEvents).WithDetail(wayOut))
	case l.sure+l.retries > warnEvents:
		e.list = append(e.list, diag.Warningf(span, "history-long",
			"%s records up to %d events of the %d at which Step Functions ends an execution", what, l.sure+l.retries, maxEvents).
			WithDetail(wayOut))
	}
}

// checkDefinition compares the state machine's size with what Step Functions takes.
func (e *emitter) checkDefinition(m machine) {
	var b bytes.Buffer
	if writeJSON(&b, m) != nil {
		return // render has said so
	}
	const wayOut = "Split the flow in two, or use a foreach where steps repeat."
	switch span, n := backends.FlowSpan(e.flow), b.Len(); {
	case n > maxDefinition:
		e.list = append(e.list, diag.Errorf(span, "definition-too-large",
			"the state machine of %d steps has %d bytes, but Step Functions takes %d", len(e.flow.Steps), n, maxDefinition).
			WithDetail(wayOut))
	case n > warnDefinition:
		e.list = append(e.list, diag.Warningf(span, "definition-large",
			"the state machine of %d steps has %d bytes of the %d that Step Functions takes", len(e.flow.Steps), n, maxDefinition).
			WithDetail(wayOut))
	}
}

// checkOverrides compares what a job is told with what Batch takes. Expressions count as they are written, which is
// longer than most of what they become.
func (e *emitter) checkOverrides(s *ir.Step, o overrides) {
	var b bytes.Buffer
	if writeJSON(&b, o) != nil || b.Len() <= maxOverrides {
		return
	}
	e.list = append(e.list, diag.Errorf(s.Span, "overrides-too-long",
		"step %s tells its job %d characters, but Batch takes %d", s.Name, b.Len(), maxOverrides).
		WithDetail("They are its command, its environment and, in the start step, the parameters. "+
			"Keep long values in a file of the code package or an artifact."))
}

func (e *emitter) checkJobDefinition(s *ir.Step, size int) {
	if size > maxJobDefinition {
		e.list = append(e.list, diag.Errorf(s.Span, "job-definition-too-large",
			"the job definition of step %s has %d bytes, but Batch takes %d", s.Name, size, maxJobDefinition).
			WithDetail("Most of it is the environment that all steps share. Keep long values in a file of the code package."))
	}
}
