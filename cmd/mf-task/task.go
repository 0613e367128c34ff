package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/mf-run/mf/cmd/internal/stores"
	"github.com/mf-run/mf/cmd/internal/tasktool"
	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/ir"
	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/runtime"
)

// noMetadata drops metadata rows: without a metadata service the datastore alone says what ran.
type noMetadata struct{}

func (noMetadata) Add(metadata.Batch) error { return nil }

// request is what the command line asks for.
type request struct {
	ir.TaskInvocation
	paths []ir.SplitPath
	// clip: the paths are those of a pack, of which the last may not exist.
	clip bool
	// round is the first of as many rounds; ir.NoIteration and 1 for a step that does not loop.
	round, rounds int
	// pack is the size of the packs in which splits are run; 0 for none.
	pack    int
	attempt int
}

func parseRequest(args []string) (r request, err error) {
	r.TaskInvocation, err = ir.ParseTaskInvocation(args)
	if err == nil {
		r.paths, r.clip, err = r.Paths()
	}
	if err == nil {
		r.round, r.rounds, err = r.Rounds()
	}
	if err == nil {
		r.pack, err = r.PackSize()
	}
	if err != nil {
		return r, &tasktool.UsageError{Message: err.Error()}
	}
	if r.attempt, err = strconv.Atoi(r.Attempt); err != nil || r.attempt < 0 {
		return r, &tasktool.UsageError{Message: fmt.Sprintf("--attempt %q is not an attempt (0, 1, 2 …)", r.Attempt)}
	}
	return r, nil
}

// task runs what one invocation stands for.
func (p *program) task(ctx context.Context, args []string) (err error) {
	req, err := parseRequest(args)
	if err != nil {
		return err
	}
	s, err := p.settings()
	if err != nil {
		return &tasktool.UsageError{Message: err.Error()}
	}
	tmp, err := tempDir()
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	w := &work{program: p, set: s, req: req, tmp: tmp}
	defer func() {
		if err == nil {
			w.publish(ctx)
		}
	}()
	defer w.close(ctx)
	if err := w.open(ctx); err != nil {
		return err
	}
	return w.executeAll(ctx)
}

// tempDir makes a folder of the task's own, and where a container has no folder for such, that too.
func tempDir() (string, error) {
	dir, err := os.MkdirTemp("", "mf-task-")
	if errors.Is(err, os.ErrNotExist) {
		if err = os.MkdirAll(os.TempDir(), 0o777); err == nil {
			dir, err = os.MkdirTemp("", "mf-task-")
		}
	}
	if err != nil {
		return "", fmt.Errorf("making a temporary folder (TMPDIR names where): %w", err)
	}
	return dir, nil
}

// work is one invocation with all that it has opened.
type work struct {
	*program
	set settings
	req request
	tmp string

	store   *datastore.Store
	flow    *ir.Flow
	invoked *runtime.Invocation
	python  *interpreter
	tracker *tracker
}

// execute runs one task and says what that means for the run. The result is nil exactly where there is an error.
func (w *work) execute(ctx context.Context, path ir.SplitPath, round int) (*runtime.Result, error) {
	out, err := w.invoked.Execute(ctx, w.req.Step, path, round, w.req.attempt)
	if w.tracker != nil {
		w.tracker.ended(w.taskRef(path, round))
	}
	at := w.name(path)
	switch {
	case err != nil:
		w.failed(ctx.Err() != nil, at+": "+err.Error())
		return nil, err
	case out.Result == nil:
		w.failed(out.Failure.Stopped, at+": "+out.Failure.Summary())
		w.warn("step %s failed: %s", at, out.Failure.Summary())
		return nil, errFailed
	case w.req.Step == w.flow.End && w.tracker != nil && out.Result.Next == nil:
		w.tracker.decide(metadata.Succeeded, "")
	}
	return out.Result, nil
}

// name names a task for people, such as "work[3,0]".
func (w *work) name(path ir.SplitPath) string {
	if len(path) == 0 {
		return w.req.Step
	}
	return w.req.Step + "[" + path.String() + "]"
}

func (w *work) taskRef(path ir.SplitPath, iteration int) metadata.TaskRef {
	if step := w.invoked.Run.Graph.Step(w.req.Step); step != nil && step.Recursive() {
		iteration = max(iteration, 0)
	}
	return metadata.TaskRef{Flow: w.req.Flow, Run: w.req.Run, Step: w.req.Step, Task: runtime.TaskID(path, iteration)}
}

// failed says that the run has failed, unless the task has attempts left.
func (w *work) failed(stopped bool, why string) {
	step := w.invoked.Run.Graph.Step(w.req.Step)
	if w.tracker == nil || step == nil {
		return
	}
	if _, attempts := step.Attempts(); w.req.attempt+1 < attempts {
		return
	}
	why, _, _ = strings.Cut(why, "\n")
	if stopped {
		w.tracker.decide(metadata.Interrupted, "")
	} else {
		w.tracker.decide(metadata.Failed, why)
	}
}

func (w *work) storeOptions() stores.Options {
	return stores.Options{Patience: w.set.patience, Now: w.now, Notify: func(message string) { w.warn("%s", message) }}
}

func (w *work) openStore(ctx context.Context) error {
	backend, err := stores.OpenDatastore(ctx, w.set.datastore, w.env, w.storeOptions())
	if err != nil {
		return fmt.Errorf("opening the datastore (%s): %w", ir.EnvDatastore, err)
	}
	w.store = datastore.New(backend)
	return nil
}

// open reads the flow and prepares what its tasks share.
func (w *work) open(ctx context.Context) error {
	if err := w.openStore(ctx); err != nil {
		return err
	}
	if err := w.readFlow(ctx); err != nil {
		return err
	}
	r, err := w.newRun()
	if err != nil {
		return err
	}
	if w.flow.Source.Language == ir.Python {
		w.python = w.startPython(ctx, w.set, w.flow, filepath.Join(w.set.code, filepath.FromSlash(w.flow.Source.File)), w.tmp)
		r.Python = w.python
	} else if err := w.linkTaskTool(r); err != nil {
		return err
	}
	if w.set.service != "" {
		client, err := stores.OpenService(w.set.service, w.env, w.storeOptions())
		if err != nil {
			return fmt.Errorf("opening the metadata service (%s): %w", ir.EnvServiceURL, err)
		}
		w.track(client, r)
	}
	given := func(ctx context.Context) (map[string]string, error) {
		return runtime.GivenFromEnv(w.flow, w.environ, runtime.ParameterBlobs(ctx, w.store, w.flow.Name))
	}
	w.invoked = &runtime.Invocation{Run: r, Given: given, Outputs: runtime.Outputs{
		Folder: w.env(ir.EnvOutputs), File: w.env(ir.EnvOutputsFile), SplitList: w.env(ir.EnvSplitList),
		Pack: w.req.pack,
	}}
	pythonKnown := sync.OnceFunc(func() {
		if w.python != nil {
			r.PythonVersion = w.python.ready()
			r.Rows.PythonVersion, _, _ = strings.Cut(r.PythonVersion, " ")
		}
	})
	w.invoked.Ready = func(t *runtime.Task) {
		pythonKnown()
		if w.tracker != nil {
			w.tracker.started(metadata.TaskRef(t.Ref))
			if t.Attempt != w.req.attempt {
				w.tracker.revived.Store(true)
			}
		}
	}
	return nil
}

// track has the metadata service hear of the run.
func (w *work) track(s service, r *runtime.Run) {
	w.tracker = newTracker(s, w.req.Flow, w.req.Run, w.req.Step == w.flow.Start)
	w.tracker.row = func() metadata.Run { return r.Rows.Run(w.req.Flow, w.req.Run) }
	w.tracker.warn, w.tracker.now = w.warn, w.now
	r.Sink = w.tracker
}

// close ends what is still open.
func (w *work) close(stop context.Context) {
	if w.python != nil {
		w.python.close()
	}
	if w.tracker != nil {
		w.tracker.close(stop)
	}
}
