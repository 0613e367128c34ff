//go:build unix

package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mf-run/mf/cmd/internal/stores"
	"github.com/mf-run/mf/compiler"
	"github.com/mf-run/mf/compiler/python"
	"github.com/mf-run/mf/compiler/yaml"
	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/internal/testserver"
	"github.com/mf-run/mf/ir"
	"github.com/mf-run/mf/metadata/httpapi/server"
	"github.com/mf-run/mf/metadata/sqlite"
	"github.com/mf-run/mf/runtime"
	"github.com/mf-run/mf/runtime/codepackage"
	"github.com/mf-run/mf/sdk"
)

// envAsProgram makes the test binary the program itself.
const envAsProgram = "MF_TASK_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(envAsProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

// site is a deployed flow: its code package in a bucket, and what a container of it is told.
type site struct {
	t      *testing.T
	bucket testserver.Bucket
	root   string
	env    []string
	flow   *ir.Flow
	store  *datastore.Store
	digest string
	id     string // the run's id; prod-1 if empty
	// requests are those that went to the datastore, as "METHOD path?query"; they are counted where count was called.
	requests *recorder
}

// deploy puts a flow's files, names and contents, into a bucket. The first of them is the flow.
func deploy(t *testing.T, bucket testserver.Bucket, files ...string) *site {
	t.Helper()
	return deployChanged(t, bucket, func(*ir.Flow) {}, files...)
}

// deployChanged does so with a flow that was changed after it was compiled.
func deployChanged(t *testing.T, bucket testserver.Bucket, change func(*ir.Flow), files ...string) *site {
	t.Helper()
	s := &site{t: t, bucket: bucket, root: "s3://" + bucket.Name + "/team"}
	dir := t.TempDir()
	for i := 0; i < len(files); i += 2 {
		if err := os.WriteFile(filepath.Join(dir, files[i]), []byte(files[i+1]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s.flow = compile(t, filepath.Join(dir, files[0]))
	change(s.flow)
	for _, kv := range bucket.Environ() {
		name, value, _ := strings.Cut(kv, "=")
		t.Setenv(name, value)
	}
	s.open()
	data, err := ir.Marshal(s.flow)
	if err != nil {
		t.Fatal(err)
	}
	p, err := codepackage.Publish(t.Context(), s.store, s.flow.Name, dir, codepackage.Options{Entry: files[0], IR: data, MFVersion: "test"})
	if err != nil {
		t.Fatal(err)
	}
	s.digest = p.Code.Sha
	// Nothing of this machine's environment: a container has what it is told.
	s.env = append(bucket.Environ(), envAsProgram+"=1", ir.EnvDatastore+"="+s.root, ir.EnvPackage+"="+s.digest,
		envPython+"="+interpreterPath(t), envPatience+"=20s", "TMPDIR="+t.TempDir())
	return s
}

// open opens the datastore anew, so that it remembers nothing.
func (s *site) open() {
	s.t.Helper()
	backend, err := stores.OpenDatastore(s.t.Context(), s.root, func(string) string { return "" }, stores.Options{})
	if err != nil {
		s.t.Fatal(err)
	}
	s.store = datastore.New(backend)
}

// interpreterPath is the real file of python3, which works without any environment.
func interpreterPath(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("python3", "-c", "import sys; print(sys.executable)").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func compile(t *testing.T, path string) *ir.Flow {
	t.Helper()
	dir, err := sdk.Unpack(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	flow, found, err := compiler.Load(t.Context(), path, compiler.Options{Frontends: map[string]compiler.Frontend{
		".yaml": compiler.FrontendFunc(yaml.Load),
		".py": compiler.FrontendFunc(func(ctx context.Context, path string) (*ir.Flow, diag.List, error) {
			return python.Load(ctx, path, python.Options{SDKDir: dir})
		}),
	}})
	if err != nil || found.HasErrors() {
		t.Fatal(err, found)
	}
	return flow
}

// task is one run of the program.
type task struct {
	*exec.Cmd
	t              *testing.T
	stdout, stderr bytes.Buffer
	ended          chan struct{}
}

// start starts the program for a task, with more of an environment.
func (s *site) start(step, path string, attempt int, more ...string) *task {
	s.t.Helper()
	return s.invoke(ir.TaskInvocation{Step: step, Path: path, Attempt: strconv.Itoa(attempt)}, more...)
}

// invoke starts the program for an invocation, whose flow and run are the site's.
func (s *site) invoke(inv ir.TaskInvocation, more ...string) *task {
	s.t.Helper()
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	inv.Flow, inv.Run = s.flow.Name, s.runID()
	t := &task{Cmd: exec.Command(self, inv.Args()...), t: s.t, ended: make(chan struct{})}
	t.Env = append(slices.Clone(s.env), more...)
	t.Dir = s.t.TempDir()
	t.Stdout, t.Stderr = &t.stdout, &t.stderr
	if err := t.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() {
		_ = t.Wait() // the code says it
		close(t.ended)
	}()
	s.t.Cleanup(func() { _ = t.Process.Kill() })
	return t
}

// code waits for the end and returns the exit code.
func (t *task) code() int {
	t.t.Helper()
	select {
	case <-t.ended:
	case <-time.After(time.Minute):
		_ = t.Process.Kill()
		<-t.ended
		t.t.Fatalf("the task did not end\n%s%s", &t.stdout, &t.stderr)
	}
	return t.ProcessState.ExitCode()
}

// signal sends SIGTERM.
func (t *task) signal() {
	t.t.Helper()
	if err := t.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.t.Fatal(err)
	}
}

// run runs a task to its end and checks the exit code.
func (s *site) run(want int, step, path string, attempt int, more ...string) *task {
	s.t.Helper()
	t := s.start(step, path, attempt, more...)
	if got := t.code(); got != want {
		s.t.Fatalf("%s: exit code %d, want %d\n%s%s", step, got, want, &t.stdout, &t.stderr)
	}
	return t
}

func (s *site) ref(step, task string) datastore.TaskRef {
	return datastore.TaskRef{Flow: s.flow.Name, Run: s.runID(), Step: step, Task: task}
}

func (s *site) runID() string { return cmp.Or(s.id, "prod-1") }

// state reads how a task stands.
func (s *site) state(step, task string) runtime.State {
	s.t.Helper()
	s.open()
	state, err := runtime.NewLoader(s.store, s.flow.Name).State(s.t.Context(), s.ref(step, task))
	if err != nil {
		s.t.Fatal(err)
	}
	return state
}

// log reads an attempt's log.
func (s *site) log(step, task string, attempt int) string {
	s.t.Helper()
	var b strings.Builder
	for l, err := range s.store.ReadLog(s.t.Context(), s.ref(step, task), attempt) {
		if err != nil {
			s.t.Fatal(err)
		}
		if l.Source != "task" {
			s.t.Errorf("a line is from %q, want task", l.Source)
		}
		b.WriteString(l.Text + "\n")
	}
	return b.String()
}

// eventually waits until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("in vain: %s", what)
		}
	}
}

// recorder passes requests on and keeps them.
type recorder struct {
	mu   sync.Mutex
	list []string
}

// record puts a recorder in front of a server and returns its URL.
func record(t *testing.T, target string) (*recorder, string) {
	t.Helper()
	to, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{}
	proxy := &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(to)
		p.Out.Host = p.In.Host // which is signed
	}}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		r.list = append(r.list, req.Method+" "+req.URL.RequestURI())
		r.mu.Unlock()
		proxy.ServeHTTP(w, req)
	}))
	t.Cleanup(s.Close)
	return r, s.URL
}

// take returns what came since the last time.
func (r *recorder) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := r.list
	r.list = nil
	return list
}

// count has the site's requests go through a recorder.
func (s *site) count() {
	s.t.Helper()
	var url string
	s.requests, url = record(s.t, s.bucket.Endpoint)
	s.env = append(s.env, "AWS_ENDPOINT_URL_S3="+url)
}

// serve starts a metadata service.
func serve(t *testing.T) (*sqlite.Store, *httptest.Server) {
	t.Helper()
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "metadata.db"), sqlite.Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	s := httptest.NewServer(server.New(server.Config{DB: db.Tables(), Store: db, Version: "test"}).Handler())
	t.Cleanup(s.Close)
	return db, s
}
