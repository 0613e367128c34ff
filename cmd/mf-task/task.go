package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/mf-run/mf/cmd/internal/tasktool"
	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/local"
	"github.com/mf-run/mf/ir"
	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/runtime"
	"github.com/mf-run/mf/runtime/worker"
	"github.com/mf-run/mf/sdk"
)

// The environment that this program reads beside what ir names.
const (
	// envCode is the folder that holds the flow's code and, in .mf_meta, its IR.
	envCode = "MF_CODE"
	// envPython is the interpreter of Python steps; python3 by default.
	envPython = "MF_PYTHON"
	// envUser is the name under which the run is recorded.
	envUser = "MF_USER"
)

// irFile is where the IR lies in a code package.
const irFile = ".mf_meta/ir.json"

// grace is how long a step may take to end after SIGTERM: engines kill the container soon after.
const grace = 20 * time.Second

// noMetadata drops metadata rows: without a metadata service the datastore alone says what ran.
type noMetadata struct{}

func (noMetadata) Add(metadata.Batch) error { return nil }

// task runs what one invocation stands for.
func (p *program) task(ctx context.Context, args []string) error {
	inv, err := ir.ParseTaskInvocation(args)
	if err != nil {
		return &tasktool.UsageError{Message: err.Error()}
	}
	paths, err := inv.Paths()
	if err != nil {
		return &tasktool.UsageError{Message: err.Error()}
	}
	iteration, attempt := ir.NoIteration, 0
	if inv.Iteration != "" {
		if iteration, err = strconv.Atoi(inv.Iteration); err != nil || iteration < 0 {
			return &tasktool.UsageError{Message: fmt.Sprintf("--iteration %q is not a round (0, 1, 2 …)", inv.Iteration)}
		}
	}
	if attempt, err = strconv.Atoi(inv.Attempt); err != nil || attempt < 0 {
		return &tasktool.UsageError{Message: fmt.Sprintf("--attempt %q is not an attempt (0, 1, 2 …)", inv.Attempt)}
	}
	tmp, err := os.MkdirTemp("", "mf-task-")
	if err != nil {
		return fmt.Errorf("making a temporary folder: %w", err)
	}
	defer os.RemoveAll(tmp)
	i, closer, err := p.open(inv, tmp)
	if err != nil {
		return err
	}
	defer closer()
	return p.executeAll(ctx, i, inv.Step, paths, iteration, attempt)
}

// executeAll runs the tasks of an invocation side by side, as many at a time as there are CPUs.
func (p *program) executeAll(ctx context.Context, i *runtime.Invocation, step string, paths []ir.SplitPath, iteration, attempt int) error {
	var wg sync.WaitGroup
	slots := make(chan struct{}, cpus())
	errs := make([]error, len(paths))
	for n, path := range paths {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			out, err := i.Execute(ctx, step, path, iteration, attempt)
			if err == nil && out.Result == nil {
				fmt.Fprintf(p.stderr, "mf-task: step %s failed: %s\n", step, out.Failure.Summary())
				err = errFailed
			}
			errs[n] = err
		})
		if n == 0 {
			// The first alone makes the parameters, where this is the start step.
			wg.Wait()
		}
	}
	wg.Wait()
	return errors.Join(errs...)
}

// open reads the flow and prepares what its tasks share.
func (p *program) open(inv ir.TaskInvocation, tmp string) (*runtime.Invocation, func(), error) {
	code := cmp.Or(p.env(envCode), ".")
	code, err := filepath.Abs(code)
	if err != nil {
		return nil, nil, err
	}
	data, err := os.ReadFile(filepath.Join(code, irFile))
	if err != nil {
		return nil, nil, fmt.Errorf("reading the flow (%s names the folder of its code): %w", envCode, err)
	}
	flow, err := ir.Unmarshal(data)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the flow: %w", err)
	}
	if flow.Name != inv.Flow {
		return nil, nil, fmt.Errorf("the code in %s is that of flow %s, not %s", code, flow.Name, inv.Flow)
	}
	store, err := openStore(p.env(ir.EnvDatastore))
	if err != nil {
		return nil, nil, err
	}
	given, err := runtime.GivenFromEnv(flow, p.environ)
	if err != nil {
		return nil, nil, err
	}
	user := cmp.Or(p.env(envUser), "unknown")
	r := &runtime.Run{
		Flow: flow, Graph: ir.NewGraph(flow), ID: inv.Run, Store: store, Sink: noMetadata{}, User: user,
		Namespace: "user:" + user, TempDir: tmp, Dir: code, Environ: p.environ, Now: p.now, Grace: grace, Output: p.output,
		Rows: metadata.Env{User: user, DsType: store.Backend().Type(), DsRoot: store.Backend().Root(), ScriptName: flow.Source.File},
	}
	closer := func() {}
	if flow.Source.Language == ir.Python {
		if closer, err = p.python(r, code, tmp); err != nil {
			return nil, nil, err
		}
	}
	return &runtime.Invocation{Run: r, Given: given, Outputs: runtime.Outputs{
		Folder: p.env(ir.EnvOutputs), File: p.env(ir.EnvOutputsFile), SplitList: p.env(ir.EnvSplitList),
	}}, closer, nil
}

// openStore opens the datastore that a URL names.
func openStore(text string) (*datastore.Store, error) {
	u, err := url.Parse(text)
	if err != nil || text == "" {
		return nil, fmt.Errorf("%s=%q is not the URL of a datastore, such as file:///data/.metaflow", ir.EnvDatastore, text)
	}
	if u.Scheme != "file" {
		return nil, fmt.Errorf("%s: this version reaches file:// datastores only, not %s://", ir.EnvDatastore, u.Scheme)
	}
	backend, err := local.Open(filepath.FromSlash(u.Path))
	if err != nil {
		return nil, fmt.Errorf("opening the datastore: %w", err)
	}
	return datastore.New(backend), nil
}

// zygote launches Python tasks.
type zygote struct{ *worker.Zygote }

// Launch implements runtime.Launcher.
func (z zygote) Launch(stdout, stderr *os.File) (*worker.Process, error) {
	return z.Fork(stdout, stderr)
}

func (p *program) python(r *runtime.Run, code, tmp string) (func(), error) {
	dir, err := sdk.Unpack(filepath.Join(tmp, "sdk"))
	if err != nil {
		return nil, fmt.Errorf("unpacking the Python SDK: %w", err)
	}
	z, err := worker.StartZygote(worker.Options{
		Interpreter: cmp.Or(p.env(envPython), "python3"), SDKDir: dir,
		FlowFile: filepath.Join(code, r.Flow.Source.File), Class: r.Flow.Source.Class, Env: p.environ,
	}, os.Stderr, os.Stderr)
	if err != nil {
		return nil, err
	}
	r.Python = zygote{z}
	return func() { z.Close() }, nil
}

// output repeats what a step prints, for the engine's own log.
func (p *program) output(l runtime.Line) {
	w := p.stdout
	if l.Stream == datastore.Stderr {
		w = p.stderr
	}
	p.printing.Lock()
	defer p.printing.Unlock()
	fmt.Fprintln(w, l.Text)
}
