package stepfunctions_test

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/mf-run/mf/backends"
)

// node is the process of testdata/node.js, which all tests of a suite share.
type node struct {
	mu  sync.Mutex
	in  *json.Encoder
	out *bufio.Reader
}

type question struct {
	ID         int             `json:"id"`
	Definition json.RawMessage `json:"definition"`
	Execute    *execution      `json:"execute,omitempty"`
}

// execution says how to run a state machine: under which name, with which input, how wide each foreach is, and with which
// errors the first jobs of a step end.
type execution struct {
	Name     string              `json:"name"`
	Input    any                 `json:"input"`
	Widths   map[string]int      `json:"widths"`
	Failures map[string][]string `json:"failures"`
}

type answer struct {
	Error    string          `json:"error"`
	Problems []string        `json:"problems"`
	Jobs     []job           `json:"jobs"`
	Output   json.RawMessage `json:"output"`
}

// job is a SubmitJob request.
type job struct {
	JobName            string
	JobQueue           string
	JobDefinition      string
	ContainerOverrides struct {
		Command     []string
		Environment []struct{ Name, Value string }
	}
}

// startNode starts the process and ends it with the test.
func startNode(t *testing.T) *node {
	t.Helper()
	tools, err := filepath.Abs("../../.cache/asl")
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(tools, "bin", "node")
	if _, err := os.Stat(program); err != nil {
		t.Fatalf("%v\nRun scripts/test-setup.sh, which installs asl-validator and what runs it.", err)
	}
	cmd := exec.Command(program, "testdata/node.js", filepath.Join(tools, "package.json"))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_, _ = io.Copy(io.Discard, out)
		if err := cmd.Wait(); err != nil {
			t.Errorf("node: %v", err)
		}
	})
	return &node{in: json.NewEncoder(in), out: bufio.NewReader(out)}
}

func (n *node) ask(t *testing.T, q question) answer {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.in.Encode(q); err != nil {
		t.Fatal(err)
	}
	line, err := n.out.ReadBytes('\n')
	if err != nil {
		t.Fatalf("node: %v", err)
	}
	var a answer
	if err := json.Unmarshal(line, &a); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	return a
}

// validate returns what asl-validator finds wrong with a state machine.
func (n *node) validate(t *testing.T, definition []byte) []string {
	t.Helper()
	a := n.ask(t, question{Definition: definition})
	if a.Error != "" {
		t.Fatalf("asl-validator: %s", a.Error)
	}
	return a.Problems
}

// execute runs a state machine and returns the jobs it submits, in order, and its output.
func (n *node) execute(t *testing.T, definition []byte, how execution) ([]job, string) {
	t.Helper()
	a := n.ask(t, question{Definition: definition, Execute: &how})
	if a.Error != "" {
		t.Fatalf("running the state machine: %s", a.Error)
	}
	return a.Jobs, string(a.Output)
}

func content(t *testing.T, files []backends.File, path string) []byte {
	t.Helper()
	for _, f := range files {
		if f.Path == path {
			return f.Data
		}
	}
	t.Fatalf("there is no file %s", path)
	return nil
}
