package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/backends/live"
	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/ir"
	"github.com/mf-run/mf/runtime/codepackage"
	"github.com/mf-run/mf/runtime/local"
)

// onFlags are the flags of resume that count where the rest runs on an engine.
type onFlags struct {
	target  string
	cluster engineFlags
	name    string
	image   string
	set     []string
	pack    []string
	env     []string
	wait    bool
}

// onlyOn are the flags that say nothing where the rest runs here, onlyHere those that say nothing where it runs elsewhere.
var (
	onlyOn   = []string{"kubeconfig", "context", "name", "image", "pack", "env", "wait"}
	onlyHere = []string{"isolate", "max-splits", "max-num-splits"}
)

func (f *onFlags) register(fs *pflag.FlagSet) {
	fs.StringVar(&f.target, "on", "", "engine to run the rest on, in place of this machine: argo")
	fs.StringVar(&f.cluster.kubeconfig, "kubeconfig", "", "with --on: file that says how to reach the cluster")
	fs.StringVar(&f.cluster.context, "context", "", "with --on: context of that file")
	fs.StringVar(&f.name, "name", "", "with --on: name of the deployment (default: from the flow's)")
	fs.StringVar(&f.image, "image", "", "with --on: container image of steps that name none")
	fs.StringArrayVar(&f.set, "set", nil, "setting of the target, with --on, else of the steps that run on Kubernetes: KEY=VALUE")
	fs.StringArrayVar(&f.pack, "pack", nil, "with --on: splits of a foreach that one container runs: N or STEP=N")
	fs.StringArrayVar(&f.env, "env", nil, "with --on: environment variable of every task: NAME=VALUE")
	fs.BoolVar(&f.wait, "wait", false, "with --on: wait for the run's end, show how it goes, and fail if it does")
}

// check says which of the flags are given in vain.
func (f *onFlags) check(fs *pflag.FlagSet) error {
	if f.target != "" {
		if fs.Changed("namespace") {
			return usagef("--namespace is Metaflow's here, which a run on an engine has from its deployment; for the cluster's, give --set argo.namespace=NAME")
		}
		for _, name := range onlyHere {
			if fs.Changed(name) {
				return usagef("--%s is for a run that is taken up here; leave it out, or --on", name)
			}
		}
		return nil
	}
	for _, name := range onlyOn {
		if fs.Changed(name) {
			return usagef("--%s is for a run that is taken up on an engine: give --on argo, too, or leave it out", name)
		}
	}
	return nil
}

// resuming is a run that is taken up on an engine.
type resuming struct {
	*session
	*compiling
	on       onFlags
	engine   live.Engine
	deployer backends.Deployer
	origin   *local.Origin
	code     *codepackage.Package
	// name is that of the engine's run, which has a deployment of its own under the same name.
	name string
}

// resumeOn has an engine run what is left of a run, with the code as it is now. The deployment that runs come from
// otherwise is left as it is: the run has one of its own, which goes with it.
func (a *app) resumeOn(ctx context.Context, flowPath, step string, flags runFlags) error {
	s, err := a.openFlow(ctx, flowPath, flags)
	if err != nil {
		return err
	}
	defer s.close()
	if step != "" && s.flow.Step(step) == nil {
		return usagef("flow %s has no step %q", s.flow.Name, step)
	}
	r := &resuming{session: s, on: flags.on}
	if err := r.load(ctx, flowPath); err != nil {
		return err
	}
	if err := r.findStores(ctx); err != nil {
		return err
	}
	d := &deploying{compiling: r.compiling, engine: r.engine}
	defer d.close()
	if d.code, err = d.pack(ctx); err != nil {
		return err
	}
	r.code = d.code
	if err := r.nameRun(); err != nil {
		return err
	}
	d.name = r.name
	if tokens, prefix, _ := d.tokenStore(); tokens.Dir != "" {
		if r.opt.Token, err = tokens.Load(prefix); err != nil {
			return err
		}
	}
	if err := d.compare(ctx); err != nil { // the engine judges the files before anything is written
		return err
	}
	r.noteDifferences(ctx)
	report, err := r.ready(ctx, step)
	if err != nil {
		return err
	}
	r.opt.Done = r.done(report)
	if d.files, err = d.emit(); err != nil {
		return err
	}
	if _, err := r.engine.Apply(ctx, d.deployment()); err != nil {
		return engineError(r.engine, err)
	}
	run, err := r.engine.Start(ctx, r.name, live.Start{Name: r.name, User: a.userName(r.session.config), Owns: true})
	if err != nil {
		if run.ID != "" && r.flags.runIDFile != "" {
			err = errors.Join(err, r.writeRunID(run.ID))
		}
		return engineError(r.engine, err)
	}
	return r.started(ctx, run, report)
}

// load reads the flow for the target, and opens the engine.
func (r *resuming) load(ctx context.Context, flowPath string) (err error) {
	f := r.flags
	r.compiling, err = r.session.app.loadCompiling(ctx, flowPath, compileFlags{
		flow: f.flow, target: r.on.target, name: r.on.name, image: r.on.image, maxWorkers: int(f.maxWorkers), branch: f.branch,
		production: f.production, set: r.on.set, pack: r.on.pack, tags: f.tags, env: r.on.env,
	})
	if err != nil {
		return err
	}
	if r.compiling.flow == nil || r.list.HasErrors() {
		_, err := r.emit()
		return err
	}
	if r.engine, err = r.openEngine(r.on.cluster); err != nil {
		return err
	}
	deployer, ok := r.backend.(backends.Deployer)
	if !ok {
		return usagef("nothing can be run on %s", r.on.target)
	}
	r.deployer = deployer
	r.opt.Datastore, err = r.session.config.deployRoot()
	return err
}

// findStores opens the datastore of deployed flows, and finds the run to take up: there or, failing that, here.
func (r *resuming) findStores(ctx context.Context) error {
	s := r.session
	if err := s.findStore(ctx); err != nil {
		return err
	}
	here := s.store
	shared, err := s.app.openDeployStore(ctx, s.config)
	if err != nil {
		return err
	}
	stores := []*datastore.Store{shared}
	if s.root != r.opt.Datastore {
		stores = append(stores, here)
	}
	s.store, s.root = shared, r.opt.Datastore
	r.origin, err = s.originIn(ctx, stores)
	return err
}

// nameRun gives the run a name that no other has.
func (r *resuming) nameRun() error {
	name, list := r.deployer.DeployedName(r.compiling.flow, r.opt)
	if list.HasErrors() {
		return list
	}
	r.opt.Instance = "r" + strings.ToLower(rand.Text()[:5])
	r.opt.Origin = r.origin.RunID
	r.name = name + "-" + r.opt.Instance
	return nil
}

// maxDifferences bounds what is said of them.
const maxDifferences = 5

// noteDifferences says where the run is to be another than the deployment's: flags that it was deployed with are easily
// forgotten. What a mended flow changes is among it. It is no more than a note, so that what hinders it is not told.
func (r *resuming) noteDifferences(ctx context.Context) {
	opt := r.opt
	opt.Instance, opt.Origin = "", ""
	name, _ := r.deployer.DeployedName(r.compiling.flow, opt)
	files, _ := r.backend.Emit(r.compiling.flow, opt)
	plan, err := r.engine.Plan(ctx, live.Deployment{Name: name, Flow: r.compiling.flow.Name, Files: files, Token: opt.Token})
	if err != nil || !plan.Exists {
		return
	}
	var differ []string
	more := 0
	for _, c := range plan.Changes {
		if c.What == "" || c.ByHand != "" || slices.Contains(ofDeploy, c.What) {
			continue
		}
		if len(differ) == maxDifferences {
			more++
			continue
		}
		differ = append(differ, changeText(c, false))
	}
	if more > 0 {
		differ = append(differ, fmt.Sprintf("and %d more", more))
	}
	if len(differ) > 0 {
		fmt.Fprintf(r.session.app.stderr, "%s: this run is not as %s is deployed; flags of the deploy are to be given again\n  %s\n",
			paint(r.session.app.colored(r.session.app.stderr), yellow, "note"), name, strings.Join(differ, "\n  "))
	}
}

// ofDeploy are the differences that every deploy makes.
var ofDeploy = []string{"code package", "owner", "user", "production token", "version of mf"}

// ready uploads the code and makes the run, with what it takes over.
func (r *resuming) ready(ctx context.Context, step string) (local.Report, error) {
	s := r.session
	tmp, err := os.MkdirTemp("", "mf-")
	if err != nil {
		return local.Report{}, fmt.Errorf("making a temporary folder: %w", err)
	}
	defer os.RemoveAll(tmp)
	// How wide a foreach may be is for the engine to say.
	opt := local.Options{Origin: r.origin, RerunStep: step, NamedTasks: true, MaxSplits: math.MaxInt}
	run, err := s.newRun(tmp, opt)
	if err != nil {
		return local.Report{}, err
	}
	run.ID = r.deployer.RunID(r.name)
	run.Rows.Runtime = r.deployer.Runtime()
	code, err := codepackage.Save(ctx, s.store, s.flow.Name, r.code)
	if err != nil {
		return local.Report{}, fmt.Errorf("uploading the code: %w", err)
	}
	run.Rows.CodePackage, run.Code = &code, codepackage.TaskCode(code)
	sess := &local.Session{Run: run, Options: opt}
	if s.service != "" {
		if err := s.app.openMeta(ctx, s.config, s.site); err != nil {
			return local.Report{}, err
		}
		sess.Recorder = s.meta
	}
	report, err := sess.Prepare(ctx)
	if err != nil {
		return report, fmt.Errorf("taking over run %s: %w", r.origin.RunID, err)
	}
	return report, nil
}

// done is what the engine need not start anything for: exactly what was taken over, not what the origin has.
func (r *resuming) done(report local.Report) *backends.Done {
	tasks := make([]backends.DoneTask, len(report.Taken))
	for i, res := range report.Taken {
		tasks[i] = backends.DoneTask{Step: res.Ref.Step, Path: res.Path}
		if res.Next != nil {
			tasks[i].Next, tasks[i].Splits = res.Next.Targets, res.Next.Splits
		}
	}
	return backends.DoneOf(ir.NewGraph(r.compiling.flow), tasks)
}

// started says that the run is on its way.
func (r *resuming) started(ctx context.Context, run live.Run, report local.Report) error {
	a := r.session.app
	if !a.flags.quiet {
		fmt.Fprintf(a.stderr, "run %s/%s resumes %s: %s reused\n", r.session.flow.Name, run.ID, r.origin.RunID, plural(report.Cloned, "task"))
	}
	if file := r.flags.runIDFile; file != "" {
		if err := r.writeRunID(run.ID); err != nil {
			return err
		}
	}
	if r.on.wait {
		return a.watch(ctx, r.engine, run, r.flags.json)
	}
	if r.flags.json {
		return a.writeJSON(run)
	}
	fmt.Fprintln(a.stdout, run.ID)
	if !a.flags.quiet {
		fmt.Fprintf(a.stderr, "see how it goes: mf status %s · mf logs -f %s/%s\n", run.ID, r.session.flow.Name, run.ID)
	}
	return nil
}

// originIn finds the run to take up in the first of the stores that has it.
func (s *session) originIn(ctx context.Context, stores []*datastore.Store) (*local.Origin, error) {
	id := strings.TrimPrefix(s.flags.origin, s.flow.Name+"/")
	if id == "" {
		return nil, usagef("--on needs the run to take up: --origin RUN; mf status and mf runs FLOW show them")
	}
	if strings.Contains(id, "/") {
		return nil, usagef("--origin %s is no run of %s; give its id, or %s/ID", s.flags.origin, s.flow.Name, s.flow.Name)
	}
	for _, store := range stores {
		origin, err := local.LoadOrigin(ctx, store, s.flow.Name, id)
		if !errors.Is(err, datastore.ErrNotFound) {
			return origin, err
		}
	}
	return nil, failedAs("there is no run %s/%s in %s", s.flow.Name, id, s.root)
}
