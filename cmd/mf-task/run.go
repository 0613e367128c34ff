package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/ir"
	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/runtime"
	"github.com/mf-run/mf/runtime/codepackage"
)

// readFlow brings the flow's code into a folder, where it is not in one, and reads the flow.
func (w *work) readFlow(ctx context.Context) error {
	if w.set.packaged != "" {
		if err := w.fetch(ctx); err != nil {
			return err
		}
	}
	var err error
	if w.set.code, err = filepath.Abs(cmp.Or(w.set.code, ".")); err != nil {
		return err
	}
	data, err := os.ReadFile(filepath.Join(w.set.code, filepath.FromSlash(codepackage.IRFile)))
	if err != nil {
		return fmt.Errorf("reading the flow (%s names its code package, %s the folder of its code): %w", ir.EnvPackage, envCode, err)
	}
	if w.flow, err = ir.Unmarshal(data); err != nil {
		return fmt.Errorf("reading the flow: %w", err)
	}
	if w.flow.Name != w.req.Flow {
		return fmt.Errorf("the code in %s is that of flow %s, not %s", w.set.code, w.flow.Name, w.req.Flow)
	}
	return nil
}

// fetch unpacks the code package: into a folder that is kept under its digest, where one is named, else into one that is
// gone with the task. The datastore's format is checked meanwhile.
func (w *work) fetch(ctx context.Context) error {
	into := filepath.Join(w.tmp, "code")
	if w.set.code != "" {
		into = filepath.Join(w.set.code, w.set.packaged)
	}
	w.set.code = into
	var g errgroup.Group
	g.Go(func() error { return w.store.Prepare(ctx) })
	g.Go(func() error {
		if _, err := os.Stat(into); err == nil {
			return nil // whole, for it is moved there at the end
		}
		err := codepackage.Fetch(ctx, w.store, w.req.Flow, w.set.packaged, into)
		if err != nil && isFolder(into) {
			return nil // another task was faster
		}
		return err
	})
	err := g.Wait()
	if errors.Is(err, datastore.ErrNotFound) {
		err = fmt.Errorf("%w; %s names it in %s", err, ir.EnvPackage, w.set.datastore)
	}
	return err
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// newRun is what the tasks of the invocation share.
func (w *work) newRun() (*runtime.Run, error) {
	project, err := w.set.project(w.flow)
	if err != nil {
		return nil, err
	}
	backend := w.store.Backend()
	r := &runtime.Run{
		Flow: w.flow, Graph: ir.NewGraph(w.flow), ID: w.req.Run, Origin: w.set.origin, Store: w.store, Sink: noMetadata{},
		User: w.set.user, Namespace: w.set.namespace(), Tags: w.set.tags, Project: project,
		TempDir: w.tmp, Dir: w.set.code, Environ: w.environ, TaskEnv: w.withReader(w.taskEnv()),
		Contained: true, Warn: func(message string) { w.warn("%s", message) }, MaxLogSize: w.set.maxLog,
		Gangs:  runtime.Gangs{Address: w.set.address, Timeout: w.set.gangTimeout},
		Output: w.outputOf(w.env(ir.EnvMarkLines) != ""), Now: w.now, Grace: w.set.grace, Abort: w.abort,
		Rows: metadata.Env{
			User: w.set.user, Runtime: w.set.runtime, ProductionToken: w.set.token, MetaflowVersion: runtime.MetaflowVersion, Tags: w.set.tags,
			DsType: backend.Type(), DsRoot: backend.Root(), OriginRun: w.set.origin, ScriptName: filepath.Base(w.flow.Source.File),
		},
	}
	if w.req.Step == w.flow.Start {
		r.Rows.Triggers = w.triggers()
	}
	if project != nil {
		r.Rows.SystemTags = append(r.Rows.SystemTags, "project:"+project.Name, "project_branch:"+project.Branch)
	}
	if w.set.packaged != "" {
		code := codepackage.Located(w.store, w.req.Flow, w.set.packaged)
		r.Rows.CodePackage, r.Code = &code, codepackage.TaskCode(code)
	}
	return r, nil
}

// taskEnv lets Metaflow's own client, used inside a step, find this run. What the container says itself stays.
func (w *work) taskEnv() map[string]string {
	backend := w.store.Backend()
	root := backend.Root()
	env := map[string]string{
		"METAFLOW_DEFAULT_DATASTORE": backend.Type(),
		"METAFLOW_USER":              w.set.user,
	}
	switch backend.Type() {
	case "local":
		env["METAFLOW_DATASTORE_SYSROOT_LOCAL"] = filepath.Dir(root)
	case "s3":
		env["METAFLOW_DATASTORE_SYSROOT_S3"] = root
	case "gs":
		env["METAFLOW_DATASTORE_SYSROOT_GS"] = root
	case "azure":
		env["METAFLOW_DATASTORE_SYSROOT_AZURE"] = root
	}
	if w.set.service != "" {
		env["METAFLOW_DEFAULT_METADATA"], env["METAFLOW_SERVICE_URL"] = "service", w.set.service
	}
	for name := range env {
		if w.env(name) != "" {
			delete(env, name)
		}
	}
	return env
}

// defaultPath is where programs are found in a container whose environment does not say so.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// linkTaskTool puts this program into the PATH of command steps under its name, whatever that is here.
func (w *work) linkTaskTool(r *runtime.Run) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding the program itself: %w", err)
	}
	bin := filepath.Join(w.tmp, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		return err
	}
	if err := os.Symlink(self, filepath.Join(bin, "mf-task")); err != nil {
		return err
	}
	r.TaskEnv["PATH"] = bin + string(filepath.ListSeparator) + cmp.Or(w.env("PATH"), defaultPath)
	return nil
}

// outputOf returns what repeats what a step prints, for the engine's own log or, marked, for a scheduler.
func (p *program) outputOf(marked bool) func(runtime.Line) {
	if !marked {
		return p.output
	}
	return func(l runtime.Line) {
		p.printing.Lock()
		defer p.printing.Unlock()
		_, _ = p.stdout.Write(runtime.AppendLine(nil, l))
	}
}

func (p *program) output(l runtime.Line) {
	w := p.stdout
	if l.Stream == datastore.Stderr {
		w = p.stderr
	}
	p.printing.Lock()
	defer p.printing.Unlock()
	fmt.Fprintln(w, l.Text)
}
