//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mf-run/mf/e2e/same"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
)

// ships is what somebody needs whose runs send steps to a cluster.
type ships struct{ *argo }

// newShips makes a namespace for Jobs.
func newShips(t *testing.T) ships { return ships{newArgo(t)} }

// env is the environment of somebody whose runs send steps to the cluster.
func (s ships) env(p place, more ...string) []string {
	env := s.argo.env(p, "MF_KUBERNETES_NAMESPACE="+s.namespace, "MF_KUBERNETES_SECRETS="+argoSecret,
		"MF_KUBERNETES_CPU=0.02", "MF_KUBERNETES_MEMORY=50", "MF_KUBERNETES_DISK=0")
	return append(env, more...)
}

// jobs lists the Jobs that are left, those that failed apart: they are kept to be looked at.
func (s ships) jobs() (left, failed []string) {
	s.t.Helper()
	list, err := s.cluster.Client().BatchV1().Jobs(s.namespace).List(s.t.Context(), metav1.ListOptions{})
	s.check(err)
	for _, j := range list.Items {
		if j.Status.Failed > 0 && j.DeletionTimestamp == nil {
			failed = append(failed, j.Annotations["mf.run/task"])
		} else if j.DeletionTimestamp == nil {
			left = append(left, j.Annotations["mf.run/task"])
		}
	}
	return left, failed
}

// TestShip runs a flow with steps here and on the cluster, and the same flow all here: what they leave is the same.
func TestShip(t *testing.T) {
	s := newShips(t)
	source := repo(t, "e2e", "testdata", "ship")
	here, p := newPlace(t, source), newPlace(t, source)
	want := here.left("ShipFlow", here.mf("run", "flow.py"))
	file := filepath.Join(t.TempDir(), "run-id")
	began := time.Now()
	stdout, stderr, err := p.output(s.env(p), mfBinary(t), "run", "flow.py", "--max-workers", "10", "--run-id-file", file)
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, tail(stdout), tail(stderr))
	}
	t.Logf("a run with 13 shipped attempts took %s", time.Since(began).Round(100*time.Millisecond))
	run := p.read(file)
	found, err := same.Compare(t.Context(), want, s.left("ShipFlow", run), same.Rules{Attempts: true, Varying: []string{"problem"}}) // its traceback names files
	if err != nil || len(found) > 0 {
		t.Errorf("%v\n%s", err, same.Report(found, 20))
	}
	for _, line := range []string{"[square/t-7[7]] squaring 7\n", "[end/t] the total is 285\n"} {
		if !strings.Contains(stdout, line) {
			t.Errorf("standard output lacks %q:\n%s", line, stdout)
		}
	}
	for _, line := range []string{"[square/t-7[7]] in a pod\n", "3 of 5 steps on Kubernetes", "caught risky/t: RuntimeError: caught in the pod",
		"retry square/t-3[3]: ValueError: three is not for the first time; retrying"} {
		if !strings.Contains(stderr, line) {
			t.Errorf("standard error lacks %q:\n%s", line, stderr)
		}
	}
	if strings.Contains(stdout+stderr, "mf>") {
		t.Errorf("marks of lines are shown:\n%s\n%s", stdout, stderr)
	}
	if v := s.read("ShipFlow", run); !v.Successful || !v.Finished {
		t.Errorf("to the real client, successful is %v, finished %v", v.Successful, v.Finished)
	}
	if got := p.must(s.env(p), mfBinary(t), "logs", "ShipFlow/"+run+"/square/t-3"); !strings.Contains(got, "squaring 3") {
		t.Errorf("the log is %q", got)
	}
	if left, failed := s.jobs(); len(left) > 0 || len(failed) != 1 {
		t.Errorf("Jobs left: %q; failed: %q, want only the first attempt of square[3]", left, failed)
	}
}

// TestShipAll runs flows of the corpus with every step on the cluster, recorded on this machine alone.
func TestShipAll(t *testing.T) {
	site := newShips(t)
	for _, c := range []string{"recursion-in-foreach", "split-nested"} {
		t.Run(c, func(t *testing.T) {
			s := ships{site.in(t)}
			source := repo(t, "testdata", "flows", c)
			here, p := newPlace(t, source), newPlace(t, source)
			text, err := os.ReadFile(filepath.Join(source, "flow.py"))
			s.check(err)
			_, rest, _ := strings.Cut(string(text), "\nclass ")
			name, _, _ := strings.Cut(rest, "(")
			want := here.left(name, here.mf("run", "flow.py"))
			file := filepath.Join(t.TempDir(), "run-id")
			env := s.env(p, "METAFLOW_DEFAULT_METADATA=local", "MF_HOME="+filepath.Join(p.dir, ".mf"))
			p.must(env, mfBinary(t), "run", "flow.py", "--with", "kubernetes:cpu=0.02,memory=50,disk=1", "--run-id-file", file)
			run := p.read(file)
			found, err := same.Compare(t.Context(), want, s.left(name, run), same.Rules{Varying: []string{"_graph_info"}}) // which knows of --with
			if err != nil || len(found) > 0 {
				t.Errorf("%v\n%s", err, same.Report(found, 20))
			}
			shown := p.show(env, name+"/"+run)
			for _, task := range shown.Tasks {
				if task.Status != "succeeded" {
					t.Errorf("mf show says that %s is %s", task.Task, task.Status)
				}
			}
			if len(shown.Tasks) == 0 {
				t.Error("mf show knows no task")
			}
			if left, failed := s.jobs(); len(left)+len(failed) > 0 {
				t.Errorf("Jobs left: %q, %q", left, failed)
			}
		})
	}
}

// process is an mf that goes on.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	mu     sync.Mutex
	output bytes.Buffer
	done   chan struct{}
}

// begin starts mf.
func (s ships) begin(p place, env []string, args ...string) *process {
	s.t.Helper()
	r := &process{t: s.t, cmd: exec.Command(mfBinary(s.t), args...), done: make(chan struct{})}
	r.cmd.Dir, r.cmd.Env = p.dir, env
	pipe, err := r.cmd.StdoutPipe()
	s.check(err)
	r.cmd.Stderr = r.cmd.Stdout
	s.check(r.cmd.Start())
	go func() {
		defer close(r.done)
		for lines := bufio.NewScanner(pipe); lines.Scan(); {
			r.mu.Lock()
			r.output.WriteString(lines.Text() + "\n")
			r.mu.Unlock()
		}
		_ = r.cmd.Wait()
	}()
	s.t.Cleanup(func() {
		_ = r.cmd.Process.Kill()
		<-r.done
	})
	return r
}

func (r *process) said() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.output.String()
}

// until waits until all of the texts were printed.
func (r *process) until(texts ...string) {
	r.t.Helper()
	for deadline := time.Now().Add(4 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		said, missing := r.said(), ""
		for _, text := range texts {
			if !strings.Contains(said, text) {
				missing = text
			}
		}
		if missing == "" {
			return
		}
		ended := false
		select {
		case <-r.done:
			ended = !strings.Contains(r.said(), missing)
		default:
		}
		if ended || time.Now().After(deadline) {
			r.t.Fatalf("%q was not printed:\n%s", missing, said)
		}
	}
}

// interrupt is a Ctrl-C.
func (r *process) interrupt() { _ = r.cmd.Process.Signal(syscall.SIGINT) }

// end waits for the end and returns the exit code.
func (r *process) end(limit time.Duration) int {
	r.t.Helper()
	select {
	case <-r.done:
	case <-time.After(limit):
		r.t.Fatalf("it goes on for more than %s:\n%s", limit, r.said())
	}
	return r.cmd.ProcessState.ExitCode()
}

// TestShipStop interrupts a run: nothing is left on the cluster, and the run can be resumed.
func TestShipStop(t *testing.T) {
	s := newShips(t)
	p := newPlace(t, repo(t, "e2e", "testdata", "ship"))
	r := s.begin(p, s.env(p), "run", "slow.py")
	r.until("waiting 0", "waiting 1")
	began := time.Now()
	r.interrupt()
	if code := r.end(time.Minute); code != 130 {
		t.Errorf("exit code %d:\n%s", code, r.said())
	}
	t.Logf("stopping two pods took %s", time.Since(began).Round(100*time.Millisecond))
	if left, failed := s.jobs(); len(left)+len(failed) > 0 {
		t.Errorf("Jobs left: %q, %q", left, failed)
	}
	if !strings.Contains(r.said(), "interrupted") || !strings.Contains(r.said(), "2 stopped") {
		t.Errorf("it says:\n%s", r.said())
	}
	// What is left runs here, or there.
	for _, env := range [][]string{{"MF_KUBERNETES=never"}, nil} {
		stdout, stderr, err := p.output(s.env(p, append(env, "QUICK=1")...), mfBinary(t), "resume", "slow.py")
		if len(env) == 0 {
			continue
		}
		if err != nil || !strings.Contains(stderr, "1 reused") {
			t.Errorf("%v\n%s\n%s", err, stdout, stderr)
		}
	}
}

// TestShipAbort has steps that do not heed to be stopped: the second Ctrl-C ends them at once.
func TestShipAbort(t *testing.T) {
	s := newShips(t)
	p := newPlace(t, repo(t, "e2e", "testdata", "ship"))
	source := filepath.Join(p.dir, "slow.py")
	text, err := os.ReadFile(source)
	s.check(err)
	s.check(os.WriteFile(source, bytes.Replace(text, []byte(`os.environ.get("DEAF")`), []byte("True"), 1), 0o644))
	r := s.begin(p, s.env(p), "run", "slow.py")
	r.until("waiting 0", "waiting 1")
	r.interrupt()
	r.until("stopping:")
	time.Sleep(2 * time.Second)
	began := time.Now()
	r.interrupt()
	if code := r.end(15 * time.Second); code != 130 {
		t.Errorf("exit code %d:\n%s", code, r.said())
	}
	t.Logf("the second Ctrl-C took %s", time.Since(began).Round(100*time.Millisecond))
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		left, failed := s.jobs()
		if len(left)+len(failed) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("Jobs left: %q, %q", left, failed)
		}
	}
}

// TestShipTrouble has what keeps pods from starting, or ends them, said and acted upon.
func TestShipTrouble(t *testing.T) {
	site := newShips(t)
	for name, c := range map[string]struct {
		env  []string
		want string
	}{
		"image":     {[]string{"MF_IMAGE=localhost:1/nothing:1", "MF_KUBERNETES_PATIENCE=20"}, "the image localhost:1/nothing:1 cannot be pulled: "},
		"no image":  {[]string{"MF_TASK_IMAGE=localhost/nothing:1", "MF_KUBERNETES_IMAGE_PULL_POLICY=Never"}, "the setting task-image names another"},
		"secret":    {[]string{"MF_KUBERNETES_SECRETS=missing", "MF_KUBERNETES_PATIENCE=3"}, `secret "missing" not found`},
		"full":      {[]string{"MF_KUBERNETES_NODE_SELECTOR=disk=none", "MF_KUBERNETES_PATIENCE=3"}, "the pod cannot be scheduled: "},
		"datastore": {[]string{"MF_KUBERNETES_SECRETS=", "AWS_EC2_METADATA_DISABLED=true"}, "the task ended with exit code 1 before it could leave a record: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := ships{site.in(t)}
			p := newPlace(t, repo(t, "e2e", "testdata", "ship"))
			source := filepath.Join(p.dir, "slow.py")
			text, err := os.ReadFile(source)
			s.check(err)
			s.check(os.WriteFile(source, bytes.Replace(text, []byte("@retry(times=1"), []byte("@retry(times=0"), 1), 0o644))
			stdout, stderr, err := p.output(s.env(p, append(c.env, "MF_MAX_WORKERS=1")...), mfBinary(t), "run", "slow.py")
			if err == nil || !strings.Contains(stderr, "error: step wait failed") || !strings.Contains(stderr, c.want) {
				t.Errorf("%v\n%s\n%s", err, stdout, stderr)
			}
		})
	}
}

// TestShipDeleted deletes a pod under a task, which is tried again.
func TestShipDeleted(t *testing.T) {
	s := newShips(t)
	p := newPlace(t, repo(t, "e2e", "testdata", "ship"))
	source := filepath.Join(p.dir, "slow.py")
	text, err := os.ReadFile(source)
	s.check(err)
	text = bytes.Replace(text, []byte(`0 if os.environ.get("QUICK")`), []byte(`0 if current.retry_count > 0 or self.input == 1`), 1)
	s.check(os.WriteFile(source, bytes.Replace(text, []byte("import FlowSpec"), []byte("import current, FlowSpec"), 1), 0o644))
	r := s.begin(p, s.env(p), "run", "slow.py")
	r.until("waiting 0", "waiting 1")
	pods := s.cluster.Client().CoreV1().Pods(s.namespace)
	s.check(pods.DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "mf.run/step=wait", FieldSelector: "status.phase=Running"}))
	if code := r.end(2 * time.Minute); code != 0 || !strings.Contains(r.said(), "retry wait/t-0[0]: the pod was deleted; retrying") {
		t.Errorf("exit code %d:\n%s", code, r.said())
	}
}

// TestShipDenied lacks permissions: what is missing is said before anything is made.
func TestShipDenied(t *testing.T) {
	s := newShips(t)
	p := newPlace(t, repo(t, "e2e", "testdata", "ship"))
	access := func(name string, rules []rbacv1.PolicyRule) string {
		config, err := s.cluster.Access(t.Context(), s.namespace, name, rules)
		s.check(err)
		file := filepath.Join(t.TempDir(), name)
		s.check(os.WriteFile(file, config, 0o600))
		return "KUBECONFIG=" + file
	}
	few := []rbacv1.PolicyRule{{APIGroups: []string{"batch"}, Resources: []string{"jobs"}, Verbs: []string{"create", "list", "watch"}}}
	_, stderr, err := p.output(s.env(p, access("few", few)), mfBinary(t), "run", "flow.py")
	if err == nil || !strings.Contains(stderr, "this account may not delete jobs.batch in namespace "+s.namespace+", list pods in namespace") {
		t.Errorf("%v\n%s", err, stderr)
	}
	// Enough, but for logs and events: what tasks print is shown when they end.
	enough := []rbacv1.PolicyRule{
		{APIGroups: []string{"batch"}, Resources: []string{"jobs"}, Verbs: []string{"create", "list", "watch", "delete"}},
		{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"list", "watch"}},
	}
	stdout, stderr, err := p.output(s.env(p, access("enough", enough)), mfBinary(t), "run", "flow.py", "--width", "2")
	if err != nil || !strings.Contains(stdout, "squaring 1") || !strings.Contains(stderr, "may not get pods/log") {
		t.Errorf("%v\n%s\n%s", err, stdout, stderr)
	}
	_, stderr, err = p.output(s.env(p, "KUBECONFIG="+away(t)), mfBinary(t), "run", "flow.py")
	if err == nil || !strings.Contains(stderr, "the Kubernetes API at https://127.0.0.1:1 cannot be reached") || !strings.Contains(stderr, "MF_KUBERNETES=never") {
		t.Errorf("%v\n%s", err, stderr)
	}
}

// away is the kubeconfig of a cluster that does not answer.
func away(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "away")
	text := `{apiVersion: v1, kind: Config, current-context: away, users: [{name: a, user: {token: x}}],
clusters: [{name: away, cluster: {server: "https://127.0.0.1:1"}}], contexts: [{name: away, context: {cluster: away, user: a}}]}`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// proxy stands between mf and the API server, and can be cut.
type proxy struct {
	address string
	to      string

	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]bool
}

func newProxy(t *testing.T, to string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	x := &proxy{address: listener.Addr().String(), to: to, conns: map[net.Conn]bool{}}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go x.serve(conn)
		}
	}()
	return x
}

func (x *proxy) serve(from net.Conn) {
	defer from.Close()
	to, err := net.Dial("tcp", x.to)
	if err != nil {
		return
	}
	defer to.Close()
	x.mu.Lock()
	cut := x.cut
	x.conns[from] = true
	x.mu.Unlock()
	if cut {
		return
	}
	go func() {
		_, _ = io.Copy(to, from)
		to.Close()
	}()
	_, _ = io.Copy(from, to)
}

// set cuts the connection, or mends it.
func (x *proxy) set(cut bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.cut = cut
	for conn := range x.conns {
		if cut {
			conn.Close()
		}
		delete(x.conns, conn)
	}
}

// through returns a kubeconfig that leads through a proxy.
func (s ships) through() (file string, x *proxy) {
	s.t.Helper()
	config, err := clientcmd.LoadFromFile(s.cluster.KubeConfig)
	s.check(err)
	server, err := url.Parse(s.cluster.Config.Host)
	s.check(err)
	x = newProxy(s.t, server.Host)
	for _, c := range config.Clusters {
		c.Server, c.TLSServerName = "https://"+x.address, server.Hostname()
	}
	file = filepath.Join(s.t.TempDir(), "through")
	s.check(clientcmd.WriteToFile(*config, file))
	return file, x
}

// TestShipOutage loses the API server in the middle: the tasks go on, and so does the run.
func TestShipOutage(t *testing.T) {
	s := newShips(t)
	p := newPlace(t, repo(t, "e2e", "testdata", "ship"))
	source := filepath.Join(p.dir, "slow.py")
	text, err := os.ReadFile(source)
	s.check(err)
	s.check(os.WriteFile(source, bytes.Replace(text, []byte("else 600"), []byte("else 120"), 1), 0o644))
	file, x := s.through()
	r := s.begin(p, s.env(p, "KUBECONFIG="+file), "run", "slow.py")
	r.until("waiting 0", "waiting 1")
	x.set(true)
	r.until("Tasks that run go on")
	x.set(false)
	if code := r.end(2 * time.Minute); code != 0 || !strings.Contains(r.said(), "answers again") || strings.Count(r.said(), "waiting 0") != 1 {
		t.Errorf("exit code %d:\n%s", code, r.said())
	}
}
