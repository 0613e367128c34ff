package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/mf-run/mf/internal/testserver"
)

// service is a metadata service: the built program in a process of its own.
type service struct {
	t    *testing.T
	url  string
	args []string
	cmd  *exec.Cmd
	done chan struct{}
	log  *os.File
}

// newService starts a service on a database.
func newService(t *testing.T, database string) *service {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	log, err := os.Create(filepath.Join(t.TempDir(), "service.log"))
	if err != nil {
		t.Fatal(err)
	}
	s := &service{t: t, url: "http://" + address, args: []string{"service", "--db", database, "--listen", address}, log: log}
	s.start()
	t.Cleanup(func() {
		s.stop(syscall.SIGTERM)
		if t.Failed() {
			if data, err := os.ReadFile(log.Name()); err == nil {
				t.Logf("the service said:\n%s", tail(string(data)))
			}
		}
		log.Close()
	})
	return s
}

// start starts the process and waits until it answers.
func (s *service) start() {
	s.t.Helper()
	s.cmd = exec.Command(mfBinary(s.t), s.args...)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	s.done = make(chan struct{})
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func(cmd *exec.Cmd, done chan struct{}) {
		_ = cmd.Wait()
		close(done)
	}(s.cmd, s.done)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		resp, err := http.Get(s.url + "/healthcheck")
		if err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-s.done:
			data, _ := os.ReadFile(s.log.Name())
			s.t.Fatalf("the service ended at once:\n%s", tail(string(data)))
		default:
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("the service does not answer: %v", err)
		}
	}
}

// stop ends the process.
func (s *service) stop(sig os.Signal) {
	_ = s.cmd.Process.Signal(sig)
	<-s.done
}

// team is what several machines share: a service on Postgres, with a token, and a bucket.
type team struct {
	*service
	database, token string
	bucket          testserver.Bucket
}

func newTeam(t *testing.T) *team {
	t.Helper()
	return newTeamOn(t, testserver.Database(t), testserver.NewBucket(t))
}

func newTeamOn(t *testing.T, database string, bucket testserver.Bucket) *team {
	t.Helper()
	p := place{t, t.TempDir()}
	p.must(p.env(), mfBinary(t), "service", "migrate", "--db", database)
	token := strings.TrimSpace(p.must(p.env(), mfBinary(t), "service", "token", "create", "test", "--db", database))
	return &team{newService(t, database), database, token, bucket}
}

// root is the root of the shared datastore.
func (m *team) root() string { return "s3://" + m.bucket.Name + "/team/flows" }

// env is the environment of one machine of the team, all of it in Metaflow's own settings.
func (m *team) env(p place, more ...string) []string {
	env := append(withoutSysroot(p.env()), m.bucket.Environ()...)
	env = append(env, "METAFLOW_DEFAULT_METADATA=service", "METAFLOW_SERVICE_URL="+m.url, "METAFLOW_SERVICE_AUTH_KEY="+m.token,
		"METAFLOW_DEFAULT_DATASTORE=s3", "METAFLOW_DATASTORE_SYSROOT_S3="+m.root(), "METAFLOW_S3_ENDPOINT_URL="+m.bucket.Endpoint,
		"MF_PYTHON="+metaflowPython(m.t))
	return append(env, more...)
}

// read reads a run with the real client.
func (m *team) read(flow, run string) view {
	m.t.Helper()
	p := place{m.t, m.t.TempDir()}
	list, err := json.Marshal([]runRef{{"service@" + m.url, flow, run}})
	if err != nil {
		m.t.Fatal(err)
	}
	file := filepath.Join(p.dir, "runs.json")
	if err := os.WriteFile(file, list, 0o644); err != nil {
		m.t.Fatal(err)
	}
	out := p.must(m.env(p), metaflowPython(m.t), repo(m.t, "e2e", "testdata", "read_run.py"), file)
	var views []view
	if err := json.Unmarshal([]byte(out[strings.Index(out, "\x1e")+1:]), &views); err != nil {
		m.t.Fatalf("%v in %s", err, tail(out))
	}
	return views[0]
}

const wantResults = "['ITEM 0', 'ITEM 1', 'ITEM 2', 'ITEM 3']"

// TestMetaflowInATeam has the real Metaflow run a flow with our service and S3, and mf read it and take it up.
func TestMetaflowInATeam(t *testing.T) {
	m := newTeam(t)
	p := newPlace(t, "testdata/resumable.py")
	trace, file := filepath.Join(p.dir, "trace"), filepath.Join(p.dir, "id")
	env := m.env(p, "TRACE="+trace)
	metaflow := func(env []string, args ...string) error {
		_, stderr, err := p.output(env, metaflowPython(t), append([]string{"resumable.py", "--quiet", "--no-pylint", "--metadata", "service",
			"--datastore", "s3", "run", "--run-id-file", file, "--tag", "by:metaflow"}, args...)...)
		if err != nil {
			t.Logf("%s", tail(stderr))
		}
		return err
	}
	if err := metaflow(env); err != nil {
		t.Fatal(err)
	}
	path := "ResumableFlow/" + p.read(file)
	if got := p.must(env, mfBinary(t), "dump", path+"/end"); !strings.Contains(got, "results = "+wantResults) {
		t.Errorf("mf dump: %s", got)
	}
	if got := p.must(env, mfBinary(t), "logs", path+"/end"); !strings.Contains(got, "results: "+wantResults) {
		t.Errorf("mf logs: %s", got)
	}
	p.must(env, mfBinary(t), "tag", "add", path, "by:mf")
	if got := p.must(env, mfBinary(t), "tag", "list", path); got != "by:metaflow\nby:mf\n" {
		t.Errorf("tags %q", got)
	}
	if got := p.must(env, mfBinary(t), "runs"); !strings.Contains(got, path+"  succeeded  tester") {
		t.Errorf("mf runs does not list %s as succeeded: %s", path, got)
	}
	if v := m.read("ResumableFlow", p.read(file)); !v.Successful {
		t.Error("to its own client, Metaflow's run did not succeed")
	}

	if err := metaflow(append(env, "FAIL=1")); err == nil {
		t.Fatal("the run did not fail")
	}
	failed := p.read(file)
	if err := os.Remove(trace); err != nil {
		t.Fatal(err)
	}
	p.must(env, mfBinary(t), "resume", "resumable.py", "--origin", failed, "--run-id-file", file)
	if got := p.read(trace); !strings.Contains(got, "work 2") || strings.Contains(got, "work 0") {
		t.Errorf("run again: %q", got)
	}
	if v := m.read("ResumableFlow", p.read(file)); !v.Successful || v.Tasks["end"]["results"].Repr != wantResults {
		t.Errorf("resumed: successful %v, results %s", v.Successful, v.Tasks["end"]["results"].Repr)
	}
}

// TestTeam has mf run on one machine what another lists, reads and takes up; the real client reads both runs.
func TestTeam(t *testing.T) {
	m := newTeam(t)
	here, there := newPlace(t, "testdata/resumable.py"), newPlace(t, "testdata/resumable.py")
	trace, file := filepath.Join(t.TempDir(), "trace"), filepath.Join(here.dir, "id")
	if _, _, err := here.output(m.env(here, "TRACE="+trace, "FAIL=1"), mfBinary(t), "run", "resumable.py", "--tag", "nightly",
		"--run-id-file", file); err == nil {
		t.Fatal("the run did not fail")
	}
	run := here.read(file)
	env := m.env(there, "TRACE="+trace)
	var listed []struct{ Flow, Run, Status, Failure string }
	if err := json.Unmarshal([]byte(there.must(env, mfBinary(t), "runs", "--json")), &listed); err != nil {
		t.Fatal(err)
	}
	if len(listed) != 1 || listed[0].Run != run || listed[0].Status != "failed" || !strings.Contains(listed[0].Failure, "asked to fail") {
		t.Errorf("mf runs lists %+v", listed)
	}
	if got := there.must(env, mfBinary(t), "logs", run); !strings.Contains(got, "ValueError: asked to fail") {
		t.Errorf("mf logs: %s", got)
	}
	before := there.read(trace)
	there.must(env, mfBinary(t), "resume", "resumable.py", "--run-id-file", file)
	after := strings.TrimPrefix(there.read(trace), before)
	if !strings.Contains(after, "work 2") || strings.Contains(after, "work 0") {
		t.Errorf("run again: %q", after)
	}
	v := m.read("ResumableFlow", there.read(file))
	if !v.Successful || !v.Finished || v.Tasks["end"]["results"].Repr != wantResults {
		t.Errorf("resumed: successful %v, finished %v, results %s", v.Successful, v.Finished, v.Tasks["end"]["results"].Repr)
	}
	if got, want := v.Stdout["end"], "results: "+wantResults+" size: 4\n"; got != want {
		t.Errorf("stdout %q, want %q", got, want)
	}
	if got, want := fmt.Sprint(v.Children["start"]), "[work[0] work[1] work[2] work[3]]"; got != want {
		t.Errorf("children of start: %s", got)
	}
	source, err := os.ReadFile("testdata/resumable.py")
	if err != nil {
		t.Fatal(err)
	}
	if v.Code.Script != "resumable.py" || v.Code.Flowspec != string(source) {
		t.Errorf("code: %+v", v.Code)
	}
	if v := m.read("ResumableFlow", run); v.Successful || fmt.Sprint(v.Tags) != "[nightly]" || !strings.Contains(v.Exceptions["work[2]"], "asked to fail") {
		t.Errorf("the failed run: successful %v, tags %v, exceptions %v", v.Successful, v.Tags, v.Exceptions)
	}
}

// TestStrangers has requests without a token, with a wrong one and with one for reading refused.
func TestStrangers(t *testing.T) {
	m := newTeam(t)
	p := newPlace(t, "testdata/resumable.py")
	reader := strings.TrimSpace(p.must(p.env(), mfBinary(t), "service", "token", "create", "reader", "--role", "read", "--db", m.database))
	for _, c := range []struct{ token, want string }{
		{"", "wants a token"}, {m.token[:len(m.token)-1] + "!", "does not accept the token"}, {reader, "the token's role is read"},
	} {
		_, stderr, err := p.output(append(m.env(p), "METAFLOW_SERVICE_AUTH_KEY="+c.token, "TRACE=/dev/null"), mfBinary(t), "run", "resumable.py")
		if err == nil || !strings.Contains(stderr, c.want) || c.token != "" && strings.Contains(stderr, c.token) {
			t.Errorf("want %q: %v, %s", c.want, err, tail(stderr))
		}
	}
	if got := p.must(append(m.env(p), "METAFLOW_SERVICE_AUTH_KEY="+reader), mfBinary(t), "runs", "--json"); got != "[]\n" {
		t.Errorf("runs: %s", got)
	}
	id := strings.Split(reader, "_")[1]
	p.must(p.env(), mfBinary(t), "service", "token", "revoke", id, "--db", m.database)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		_, _, err := p.output(append(m.env(p), "METAFLOW_SERVICE_AUTH_KEY="+reader), mfBinary(t), "runs")
		if err != nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatal("a revoked token is still taken after 20 s")
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// TestRepairInATeam takes from the service what it knows of a run, and has mf make it anew from the bucket.
func TestRepairInATeam(t *testing.T) {
	m := newTeam(t)
	p := newPlace(t, "testdata/resumable.py")
	file := filepath.Join(p.dir, "id")
	env := m.env(p, "TRACE="+filepath.Join(p.dir, "trace"))
	p.must(env, mfBinary(t), "run", "resumable.py", "--run-id-file", file)
	run := p.read(file)
	conn, err := pgx.Connect(t.Context(), m.database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	for _, table := range []string{"artifact_v3", "metadata_v3", "tasks_v3", "steps_v3"} {
		if _, err := conn.Exec(t.Context(), "DELETE FROM "+table+" WHERE run_number = $1", run); err != nil {
			t.Fatal(err)
		}
	}
	if got := p.must(env, mfBinary(t), "repair", "ResumableFlow/"+run); got == "" {
		t.Error("mf repair says nothing")
	}
	v := m.read("ResumableFlow", run)
	if !v.Successful || v.Tasks["end"]["results"].Repr != wantResults || v.Stdout["end"] != "results: "+wantResults+" size: 4\n" {
		t.Errorf("repaired: successful %v, results %s, stdout %q", v.Successful, v.Tasks["end"]["results"].Repr, v.Stdout["end"])
	}
	if fmt.Sprint(v.Children["start"]) != "[work[0] work[1] work[2] work[3]]" || v.Code.Script != "resumable.py" {
		t.Errorf("repaired: children %v, code %v", v.Children["start"], v.Code.Script)
	}
}

// TestBucketGone has the bucket disappear in the middle of a run.
func TestBucketGone(t *testing.T) {
	s3 := testserver.StartS3(t)
	m := newTeamOn(t, testserver.Database(t), s3.Bucket(t))
	p := newPlace(t, "testdata/resumable.py")
	bucket, away := filepath.Join(s3.Root, m.bucket.Name), filepath.Join(t.TempDir(), "away")
	flow, err := os.ReadFile(filepath.Join(p.dir, "resumable.py"))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(flow), "self.result =", "os.path.exists(os.environ['AWAY']) or os.rename(os.environ['BUCKET'], os.environ['AWAY']); self.result =", 1)
	if err := os.WriteFile(filepath.Join(p.dir, "gone.py"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(p.dir, "id")
	_, stderr, err := p.output(m.env(p, "TRACE="+filepath.Join(p.dir, "trace"), "BUCKET="+bucket, "AWAY="+away), mfBinary(t),
		"run", "gone.py", "--max-workers", "1", "--run-id-file", file)
	if err == nil || !strings.Contains(stderr, m.bucket.Name) || !strings.Contains(stderr, "bucket") {
		t.Fatalf("%v: %s", err, tail(stderr))
	}
	if err := os.Rename(away, bucket); err != nil {
		t.Fatal(err)
	}
	p.must(m.env(p, "TRACE="+filepath.Join(p.dir, "trace")), mfBinary(t), "resume", "resumable.py", "--run-id-file", file)
	if v := m.read("ResumableFlow", p.read(file)); !v.Successful {
		t.Error("the resumed run did not succeed")
	}
}

// TestOtherStores keeps runs in Google's and in Azure's kind of store; metadata stays here.
func TestOtherStores(t *testing.T) {
	gcs, azure := testserver.NewGCSBucket(t), testserver.NewAzureContainer(t)
	for root, settings := range map[string][]string{
		"gs://" + gcs.Bucket + "/flows": {"STORAGE_EMULATOR_HOST=" + gcs.Endpoint},
		"azure://" + azure.Container + "/flows": {"METAFLOW_AZURE_STORAGE_BLOB_SERVICE_ENDPOINT=" + azure.Endpoint,
			"AZURE_STORAGE_ACCOUNT=" + azure.Account, "AZURE_STORAGE_KEY=" + azure.Key},
	} {
		kind, _, _ := strings.Cut(root, "://")
		t.Run(kind, func(t *testing.T) {
			p := newPlace(t, "testdata/resumable.py")
			trace := filepath.Join(p.dir, "trace")
			env := append(withoutSysroot(p.env()), append(settings, "MF_DATASTORE="+root, "MF_PYTHON="+metaflowPython(t), "TRACE="+trace)...)
			if _, stderr, err := p.output(append(env, "FAIL=1"), mfBinary(t), "run", "resumable.py"); err == nil || !strings.Contains(stderr, "asked to fail") {
				t.Fatalf("%v: %s", err, tail(stderr))
			}
			before := p.read(trace)
			p.must(env, mfBinary(t), "resume", "resumable.py")
			if after := strings.TrimPrefix(p.read(trace), before); !strings.Contains(after, "work 2") || strings.Contains(after, "work 0") {
				t.Errorf("run again: %q", after)
			}
			if got := p.must(env, mfBinary(t), "dump", "ResumableFlow/latest/end"); !strings.Contains(got, "results = "+wantResults) {
				t.Errorf("mf dump: %s", got)
			}
			if got := p.must(env, mfBinary(t), "logs", "ResumableFlow/latest/end"); !strings.Contains(got, "results: "+wantResults) {
				t.Errorf("mf logs: %s", got)
			}
			if _, err := os.Stat(filepath.Join(p.dir, ".mf", ".metaflow")); err == nil {
				t.Error("artifacts were kept here as well")
			}
		})
	}
}
