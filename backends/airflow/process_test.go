package airflow_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/mf-run/mf/backends"
)

// process is testdata/answers.py, run by a real Airflow. All tests ask the same one, for Airflow takes seconds to start.
type process struct {
	name   string
	folder string
	cmd    *exec.Cmd
	mu     sync.Mutex
	stdin  io.Closer
	in     *json.Encoder
	out    *bufio.Reader
	stderr *messages
}

// messages keeps what the process says on the side.
type messages struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (m *messages) Write(b []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.text.Write(b)
}

// String returns the last part of it.
func (m *messages) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	text := m.text.Bytes()
	return string(text[max(0, len(text)-8000):])
}

type question struct {
	Load   string         `json:"load,omitempty"`
	Run    string         `json:"run,omitempty"`
	Conf   map[string]any `json:"conf"`
	Widths map[string]int `json:"widths"`
	// Apart asks for a process of its own, for a file that may leave something behind.
	Apart bool `json:"apart"`
}

type answer struct {
	Error  string            `json:"error"`
	Errors map[string]string `json:"errors"`
	DAGs   map[string]dag    `json:"dags"`
	// Opened lists the files and connections that importing the file opens.
	Opened []string `json:"opened"`
	State  string   `json:"state"`
	Told   []told   `json:"told"`
}

type dag struct {
	Tasks          map[string]task `json:"tasks"`
	Schedule       *string         `json:"schedule"`
	Timezone       string          `json:"timezone"`
	MaxActiveTasks int             `json:"max_active_tasks"`
	Catchup        bool            `json:"catchup"`
	Doc            string          `json:"doc"`
	Params         map[string]any  `json:"params"`
}

type task struct {
	Operator         string   `json:"operator"`
	Downstream       []string `json:"downstream"`
	Group            string   `json:"group"`
	Retries          int      `json:"retries"`
	RetryDelay       float64  `json:"retry_delay"`
	ExecutionTimeout float64  `json:"execution_timeout"`
}

// told is what a pod was told.
type told struct {
	Command     []string          `json:"command"`
	Environment map[string]string `json:"environment"`
	RunID       string            `json:"run_id"`
}

// airflows are the virtual environments of scripts/test-setup.sh: the newest Airflow, and the oldest that is promised.
var airflows = []string{"venv-airflow", "venv-airflow2"}

// processes are started by the first test that asks, and ended after the last.
var processes = struct {
	sync.Mutex
	folder string
	byName map[string]*process
}{byName: map[string]*process{}}

func TestMain(m *testing.M) {
	code := m.Run()
	for _, p := range processes.byName {
		_ = p.stdin.Close()
		if err := p.cmd.Wait(); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n%s\n", p.name, err, p.stderr)
			code = max(code, 1)
		}
	}
	if processes.folder != "" {
		_ = os.RemoveAll(processes.folder)
	}
	os.Exit(code)
}

// airflowOf returns the process of one Airflow.
func airflowOf(t *testing.T, name string) *process {
	t.Helper()
	processes.Lock()
	defer processes.Unlock()
	if p := processes.byName[name]; p != nil {
		return p
	}
	environment, err := filepath.Abs(filepath.Join("../../.cache", name))
	if err != nil {
		t.Fatal(err)
	}
	database, err := os.ReadFile(filepath.Join(environment, "home", "airflow.db"))
	if err != nil {
		t.Fatalf("%v\nRun scripts/test-setup.sh, which installs Airflow.", err)
	}
	if processes.folder == "" {
		if processes.folder, err = os.MkdirTemp("", "mf-airflow-"); err != nil {
			t.Fatal(err)
		}
	}
	folder := filepath.Join(processes.folder, name)
	p := &process{name: name, folder: filepath.Join(folder, "files"), stderr: &messages{}}
	home, dags := filepath.Join(folder, "home"), filepath.Join(folder, "dags")
	for _, dir := range []string{home, dags, p.folder} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(home, "airflow.db"), database, 0o600); err != nil {
		t.Fatal(err)
	}
	p.cmd = exec.Command(filepath.Join(environment, "bin", "python"), "testdata/answers.py")
	p.cmd.Env = append(os.Environ(), "AIRFLOW_HOME="+home, "AIRFLOW__CORE__DAGS_FOLDER="+dags,
		"AIRFLOW__CORE__LOAD_EXAMPLES=False", "AIRFLOW__LOGGING__LOGGING_LEVEL=ERROR")
	p.cmd.Stderr = p.stderr
	in, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.stdin, p.in, p.out = in, json.NewEncoder(in), bufio.NewReader(out)
	processes.byName[name] = p
	return p
}

func (p *process) ask(t *testing.T, q question) answer {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.in.Encode(q); err != nil {
		t.Fatalf("%s: %v", p.name, err)
	}
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		t.Fatalf("%s: %v\n%s", p.name, err, p.stderr)
	}
	var a answer
	if err := json.Unmarshal(line, &a); err != nil {
		t.Fatalf("%s: %v: %s", p.name, err, line)
	}
	if a.Error != "" {
		t.Fatalf("%s: %s\n%s", p.name, a.Error, p.stderr)
	}
	return a
}

// write keeps a DAG file where the process finds it, in a folder of its own.
func (p *process) write(t *testing.T, f backends.File) string {
	t.Helper()
	folder, err := os.MkdirTemp(p.folder, "")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, f.Path)
	if err := os.WriteFile(path, f.Data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// load returns the only DAG of a file, which must load without an error and open nothing.
func (p *process) load(t *testing.T, f backends.File) (string, dag) {
	t.Helper()
	a := p.ask(t, question{Load: p.write(t, f)})
	for path, text := range a.Errors {
		t.Errorf("%s: %s: %s", p.name, filepath.Base(path), text)
	}
	if len(a.Opened) > 0 {
		t.Errorf("%s: importing the file opens %q", p.name, a.Opened)
	}
	if len(a.DAGs) != 1 {
		t.Fatalf("%s: the file has %d DAGs", p.name, len(a.DAGs))
	}
	for id, d := range a.DAGs {
		return id, d
	}
	return "", dag{}
}
