package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/compiler"
	"github.com/mf-run/mf/compiler/python"
	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/metaflowdir"
	"github.com/mf-run/mf/runtime"
	"github.com/mf-run/mf/runtime/local"
	"github.com/mf-run/mf/runtime/worker"
)

// session is one flow loaded to be run.
type session struct {
	app    *app
	arg    flowArg
	flags  runFlags
	config *config
	flow   *ir.Flow
	graph  *ir.Graph

	worker        worker.Options
	zygote        *worker.Zygote
	pythonVersion string

	*site
	recorder metadata.Recorder
	// ship is what goes to a cluster; nil where all runs here.
	ship *shipping
}

// openFlow reads and checks the flow. For a Python flow the process that read it goes on to run it.
func (a *app) openFlow(ctx context.Context, flow string, flags runFlags) (*session, error) {
	arg, err := parseFlowArg(flow)
	if err != nil {
		return nil, err
	}
	s := &session{app: a, arg: arg, flags: flags}
	if s.config, err = a.loadConfig(arg.dir()); err != nil {
		return nil, err
	}
	if !arg.python() {
		s.flow, err = a.mustLoad(ctx, s.config, arg, flags.flow, nil, false)
	} else {
		err = s.openPython(ctx)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	s.graph = ir.NewGraph(s.flow)
	notes, err := s.chooseCluster()
	if err == nil && s.ship == nil && flags.on.target == "" && len(s.shippingSet()) > 0 {
		err = usagef("--set is about steps that run on Kubernetes, and none does here")
	}
	if err != nil {
		s.close()
		return nil, err
	}
	notes = append(notes, carriedNotes(s.flow, true)...)
	notes.Sort()
	a.printDiagnostics(arg, notes)
	return s, nil
}

func (s *session) openPython(ctx context.Context) error {
	opt, err := s.app.pythonOptions(s.config, s.arg, s.flags.flow)
	if err != nil {
		return err
	}
	path, err := filepath.Abs(s.arg.path)
	if err != nil {
		return err
	}
	s.worker = worker.Options{Interpreter: opt.Interpreter, SDKDir: opt.SDKDir, FlowFile: path, Class: s.arg.class,
		Env: s.readerEnv(s.app.pythonEnv())}
	if s.zygote, err = worker.StartZygote(s.worker, fileOf(s.app.stderr), fileOf(s.app.stderr)); err != nil {
		if errors.Is(err, worker.ErrUnsupported) {
			return err
		}
		return s.explainPython(ctx, opt, err)
	}
	raw, err := s.zygote.Describe(ctx, worker.DescribeRequest{With: opt.With, Configs: opt.Configs, ConfigValues: opt.ConfigValues})
	if err != nil {
		return s.explainPython(ctx, opt, fmt.Errorf("reading %s: %w", s.arg.path, err))
	}
	flow, list, err := python.Decode(raw)
	if err != nil {
		return fmt.Errorf("reading %s: %w", s.arg.path, err)
	}
	if flow != nil && !list.HasErrors() {
		var found diag.List
		flow, found = compiler.Check(flow, nil)
		list = append(list, found...)
	}
	list.Sort()
	s.app.printDiagnostics(s.arg, list)
	if flow == nil || list.HasErrors() {
		return failed
	}
	s.flow = flow
	var described struct {
		Python string `json:"python"`
	}
	if err := json.Unmarshal(raw, &described); err != nil {
		return fmt.Errorf("reading %s: %w", s.arg.path, err)
	}
	s.pythonVersion = described.Python
	return nil
}

// explainPython looks for the reason why the Python process did not read the flow, which mf check would tell; err if
// there is no better one.
func (s *session) explainPython(ctx context.Context, opt python.Options, err error) error {
	if ctx.Err() != nil {
		return err
	}
	if _, _, reason := python.Load(ctx, s.arg.path, opt); reason != nil {
		err = reason
	}
	return interpreterHint(err)
}

// fileOf returns w as a file; nil, which is /dev/null for a process, where it is none.
func fileOf(w any) *os.File {
	f, _ := w.(*os.File)
	return f
}

// Launch implements runtime.Launcher.
func (s *session) Launch(ctx context.Context, stdout, stderr *os.File) (*worker.Process, error) {
	if s.flags.isolate {
		return worker.Spawn(s.worker, stdout, stderr)
	}
	return s.zygote.Fork(ctx, stdout, stderr)
}

// findStore finds the datastore of this folder. It makes nothing.
func (s *session) findStore(ctx context.Context) (err error) {
	if s.site, err = s.config.site(s.arg.dir()); err != nil {
		return err
	}
	return s.app.openStore(ctx, s.config, s.site)
}

// openStores opens the datastore and the metadata of this folder, making them where they are not there yet.
func (s *session) openStores(ctx context.Context) error {
	if s.site == nil {
		if err := s.findStore(ctx); err != nil {
			return err
		}
	}
	if s.meta == nil {
		if err := s.app.openMeta(ctx, s.config, s.site); err != nil {
			return err
		}
	}
	s.recorder = s.meta
	if s.service != "" || !s.here() {
		return nil
	}
	files, err := s.config.metaflowFiles()
	if files {
		s.recorder = metadata.Tee(s.meta, metaflowdir.New(s.root, s.app.now))
	}
	return err
}

func (s *session) close() {
	if s.zygote != nil {
		s.zygote.Close()
	}
	s.ship.close()
	if s.site != nil {
		s.site.close()
	}
}

// newRun is what the tasks of the run share.
func (s *session) newRun(tmp string, opt local.Options) (*runtime.Run, error) {
	dir, err := filepath.Abs(s.arg.dir())
	if err != nil {
		return nil, err
	}
	logMiB, err := strconv.ParseInt(s.config.get("max-log-size"), 10, 64)
	if err != nil || logMiB < 0 {
		return nil, s.config.wrong("max-log-size", "a number of MiB")
	}
	user := s.app.userName(s.config)
	namespace := s.flags.namespace
	if namespace == "" {
		namespace = "user:" + user
	}
	version, _, _ := strings.Cut(s.pythonVersion, " ")
	r := &runtime.Run{
		Flow: s.flow, Graph: s.graph, Store: s.store, User: user, Namespace: namespace, Tags: s.flags.tags,
		PythonVersion: s.pythonVersion, TempDir: tmp, Dir: dir, Environ: s.app.environ,
		TaskEnv: s.taskEnv(s.config, user), MaxLogSize: logMiB << 20, Now: s.app.now, Grace: 5 * time.Second,
		Rows: metadata.Env{User: user, PythonVersion: version, MetaflowVersion: runtime.MetaflowVersion, Tags: s.flags.tags,
			DsType: s.store.Backend().Type(), DsRoot: s.store.Backend().Root(), ScriptName: filepath.Base(s.arg.path)},
	}
	if s.zygote != nil {
		r.Python = s
	}
	if err := s.setProject(r, user); err != nil {
		return nil, err
	}
	if opt.Origin != nil {
		r.Origin = opt.Origin.RunID
		r.Rows.OriginRun = opt.Origin.RunID
	}
	if s.flow.Source.Language == ir.YAML {
		if err := s.linkTaskTool(r, tmp); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// setProject reads @project.
func (s *session) setProject(r *runtime.Run, user string) error {
	project, list := backends.ProjectOf(s.flow, backends.Options{Branch: s.flags.branch, Production: s.flags.production, User: user})
	s.app.printDiagnostics(s.arg, list)
	if list.HasErrors() {
		return failed
	}
	if project == nil {
		return nil
	}
	r.Project = &runtime.Project{Name: project.Name, Branch: project.Branch, FlowName: project.FlowName,
		IsUserBranch: project.UserBranch, IsProduction: project.Production}
	r.Rows.SystemTags = append(r.Rows.SystemTags, "project:"+project.Name, "project_branch:"+project.Branch)
	return nil
}

// linkTaskTool puts this program into the PATH of command steps under the name mf-task.
func (s *session) linkTaskTool(r *runtime.Run, tmp string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding mf itself: %w", err)
	}
	bin := filepath.Join(tmp, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		return err
	}
	if err := os.Symlink(self, filepath.Join(bin, "mf-task")); err != nil {
		return err
	}
	r.TaskEnv["PATH"] = bin + string(filepath.ListSeparator) + s.app.env("PATH")
	return nil
}
