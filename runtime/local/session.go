package local

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/ir"
	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/runtime"
)

// Session is a run from its registration to its end.
type Session struct {
	// Run is what the tasks share; ID, Sink and Parameters are filled in by the session.
	Run *runtime.Run
	// Recorder registers the run and keeps its status.
	Recorder metadata.Recorder
	// Heart keeps the heartbeats of the run and of its running tasks fresh; nil leaves those of tasks out and the run's to
	// the Recorder.
	Heart   metadata.Heart
	Options Options
	// Given holds the texts of the parameters given, by variable name; ignored when resuming.
	Given map[string]string
	// Started is called once the run has an id and can be resumed, before its first task. An error ends the run.
	Started func(id string) error
}

// heartbeat is how often a run says that it is alive.
const heartbeat = 10 * time.Second

// Execute registers the run and runs it. A *runtime.ParameterError leaves nothing behind.
func (s *Session) Execute(ctx context.Context) (Report, error) {
	r := s.Run
	params, err := s.parameters(ctx)
	if err != nil {
		return Report{}, err
	}
	if err := ctx.Err(); err != nil {
		return Report{}, err
	}
	row, err := s.Recorder.CreateRun(ctx, r.Rows.Run(r.Flow.Name, ""))
	if err != nil {
		return Report{}, fmt.Errorf("registering the run: %w", err)
	}
	r.ID = row.RunID
	queue := metadata.NewQueue(s.Recorder, metadata.QueueOptions{})
	r.Sink = queue
	report, err := s.supervise(ctx, row, params)
	closeErr := queue.Close()
	row.Status, row.Failure = outcome(report, err)
	row.FinishedMs = r.Now().UnixMilli()
	updateErr := s.Recorder.UpdateRun(context.WithoutCancel(ctx), row)
	for _, e := range []error{closeErr, updateErr} {
		switch {
		case e == nil:
		case errors.Is(e, metadata.ErrUnavailable):
			report.Unrecorded = e
		case err == nil:
			err = fmt.Errorf("recording metadata: %w", e)
		}
	}
	return report, err
}

// Prepare readies a run, whose id is Run.ID, for an engine to go on with: it writes the parameters and takes over from
// Options.Origin what still holds, and runs nothing. A nil Recorder leaves metadata to the engine's tasks.
func (s *Session) Prepare(ctx context.Context) (Report, error) {
	r := s.Run
	params, err := s.parameters(ctx)
	if err != nil {
		return Report{}, err
	}
	r.Sink = nowhere{}
	var queue *metadata.Queue
	if s.Recorder != nil {
		if _, err := s.Recorder.CreateRun(ctx, r.Rows.Run(r.Flow.Name, r.ID)); err != nil {
			return Report{}, fmt.Errorf("registering the run: %w", err)
		}
		queue = metadata.NewQueue(s.Recorder, metadata.QueueOptions{})
		r.Sink = queue
	}
	var report Report
	if err = s.writeParameters(ctx, params); err == nil {
		opt := s.Options
		opt.CloneOnly = true
		report, err = Execute(ctx, r, opt)
	}
	if queue != nil {
		if closeErr := queue.Close(); err == nil && closeErr != nil {
			err = fmt.Errorf("recording metadata: %w", closeErr)
		}
	}
	return report, err
}

// nowhere drops metadata.
type nowhere struct{}

// Add implements runtime.Sink.
func (nowhere) Add(metadata.Batch) error { return nil }

// supervise runs the tasks while a heartbeat goes.
func (s *Session) supervise(ctx context.Context, row metadata.Run, params map[string]datastore.Artifact) (Report, error) {
	r := s.Run
	if err := s.writeParameters(ctx, params); err != nil {
		return Report{}, err
	}
	// Where others write too, the latest run is nobody's in particular; metadata knows whose is which.
	if s.Heart == nil {
		if err := r.Store.SetLatestRun(ctx, r.Flow.Name, r.ID); err != nil {
			return Report{}, fmt.Errorf("noting the latest run: %w", err)
		}
	}
	if s.Started != nil {
		if err := s.Started(r.ID); err != nil {
			return Report{}, err
		}
	}
	beating, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	opt := s.Options
	if opt.Observer == nil {
		opt.Observer = nobody{}
	}
	alive := &alive{Observer: opt.Observer, tasks: map[metadata.TaskRef]bool{}}
	opt.Observer = alive
	go func() {
		defer close(done)
		s.beat(beating, row, alive)
	}()
	report, err := Execute(ctx, r, opt)
	stop()
	<-done
	return report, err
}

// beat keeps heartbeats fresh. A failure to do so is no failure of the run: readers see a stale run at worst.
func (s *Session) beat(ctx context.Context, row metadata.Run, alive *alive) {
	ticker := time.NewTicker(heartbeat)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			if s.Heart != nil {
				_, _ = s.Heart.Beat(ctx, row.FlowID, row.RunID, alive.list())
				continue
			}
			row.LastHeartbeat = now.Unix()
			_ = s.Recorder.UpdateRun(ctx, row)
		}
	}
}

// alive is an observer that knows which tasks run.
type alive struct {
	Observer
	mu    sync.Mutex
	tasks map[metadata.TaskRef]bool
}

// TaskStarted implements Observer.
func (a *alive) TaskStarted(t *runtime.Task) {
	a.mu.Lock()
	a.tasks[metadata.TaskRef(t.Ref)] = true
	a.mu.Unlock()
	a.Observer.TaskStarted(t)
}

// TaskEnded implements Observer.
func (a *alive) TaskEnded(t *runtime.Task, out runtime.Outcome, took, retry time.Duration) {
	a.mu.Lock()
	delete(a.tasks, metadata.TaskRef(t.Ref))
	a.mu.Unlock()
	a.Observer.TaskEnded(t, out, took, retry)
}

func (a *alive) list() []metadata.TaskRef {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Collect(maps.Keys(a.tasks))
}

func outcome(report Report, err error) (metadata.Status, string) {
	switch {
	case report.Stopped || errors.Is(err, context.Canceled):
		return metadata.Interrupted, ""
	case err != nil:
		return metadata.Failed, err.Error()
	case len(report.Failed) > 0:
		f := report.Failed[0]
		at := f.Task.Ref.Step + "/" + f.Task.Ref.Task
		if len(f.Task.Path) > 0 {
			at += "[" + f.Task.Path.String() + "]"
		}
		return metadata.Failed, at + ": " + f.Failure.Summary()
	case report.End == nil:
		return metadata.Failed, "the run ended before the end step"
	}
	return metadata.Succeeded, ""
}

// parameters makes the artifacts of _parameters: anew, or from the origin.
func (s *Session) parameters(ctx context.Context) (map[string]datastore.Artifact, error) {
	o := s.Options.Origin
	if o == nil {
		if err := runtime.CheckParameters(s.Run.Flow, s.Given); err != nil {
			return nil, err
		}
		return s.Run.MakeParameters(ctx, s.Given)
	}
	params := map[string]datastore.Artifact{}
	for name, art := range o.Parameters.Artifacts {
		if o.Store != s.Run.Store {
			if err := s.Run.Store.Import(ctx, o.Store, s.Run.Flow.Name, art.Digest); err != nil {
				return nil, fmt.Errorf("taking over parameter %s of run %s: %w", name, o.RunID, err)
			}
		}
		params[name] = art
	}
	// The flow may have got parameters or constants since.
	if missing(s.Run.Flow, params) {
		fresh, err := s.Run.MakeParameters(ctx, nil)
		if err != nil {
			return nil, err
		}
		for name, art := range fresh {
			if _, ok := params[name]; !ok {
				params[name] = art
			}
		}
	}
	info, err := s.Run.GraphInfo(ctx)
	if err != nil {
		return nil, err
	}
	params["_graph_info"] = info
	return params, nil
}

func missing(flow *ir.Flow, have map[string]datastore.Artifact) bool {
	for _, p := range flow.Parameters {
		if _, ok := have[p.Name]; !ok {
			return true
		}
	}
	for _, c := range flow.Constants {
		if _, ok := have[c.Name]; !ok {
			return true
		}
	}
	return false
}

// parametersTask is the id of the _parameters task: the first of the run.
const parametersTask = "0"

func (s *Session) writeParameters(ctx context.Context, params map[string]datastore.Artifact) error {
	r := s.Run
	id := parametersTask
	if s.Options.named() {
		id = runtime.ParametersID
	}
	return r.WriteParameters(ctx, runtime.ParametersRef(r.Flow.Name, r.ID, id), params)
}
