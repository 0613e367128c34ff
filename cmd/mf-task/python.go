package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/mf-run/mf/ir"
	"github.com/mf-run/mf/runtime"
	"github.com/mf-run/mf/runtime/worker"
	"github.com/mf-run/mf/sdk"
)

// interpreter is the Python process of the flow. It starts and loads the flow while the task's inputs are read.
type interpreter struct {
	name    string
	started chan struct{} // closed when zygote, version and err are set
	zygote  *worker.Zygote
	version string
	err     error
	output  tail
	reading sync.WaitGroup
	pipes   []*os.File // the read ends
}

// startPython starts it in the background. What the flow prints while it is loaded goes to the container's output.
func (p *program) startPython(ctx context.Context, s settings, flow *ir.Flow, file, tmp string) *interpreter {
	py := &interpreter{name: s.python, started: make(chan struct{})}
	go func() {
		defer close(py.started)
		py.err = py.start(ctx, p, s, flow, file, tmp)
	}()
	return py
}

func (py *interpreter) start(ctx context.Context, p *program, s settings, flow *ir.Flow, file, tmp string) error {
	cache := s.cache
	if cache == "" {
		cache = filepath.Join(tmp, "sdk")
	}
	dir, err := sdk.Unpack(cache)
	if err != nil {
		return err
	}
	stdout, err := py.pipe(p.stdout, &p.printing)
	if err != nil {
		return err
	}
	defer stdout.Close()
	stderr, err := py.pipe(p.stderr, &p.printing)
	if err != nil {
		return err
	}
	defer stderr.Close()
	py.zygote, err = worker.StartZygote(worker.Options{
		Interpreter: s.python, SDKDir: dir, FlowFile: file, Class: flow.Source.Class, Dir: filepath.Dir(file), Env: p.environ,
	}, stdout, stderr)
	if err != nil {
		return err
	}
	configs := map[string]json.RawMessage{}
	for _, c := range flow.Configs {
		if c.Value != nil {
			configs[c.Option] = c.Value
		}
	}
	py.version, err = py.zygote.Load(ctx, worker.LoadRequest{ConfigData: configs})
	return err
}

// pipe returns the write end of a pipe whose lines go to w, the last of them to the tail too.
func (py *interpreter) pipe(w io.Writer, printing *sync.Mutex) (*os.File, error) {
	r, end, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("making a pipe: %w", err)
	}
	py.pipes = append(py.pipes, r)
	py.reading.Go(func() {
		buf := make([]byte, 4096)
		for {
			n, err := r.Read(buf)
			py.output.add(buf[:n])
			printing.Lock()
			_, _ = w.Write(buf[:n])
			printing.Unlock()
			if err != nil {
				return
			}
		}
	})
	return end, nil
}

// ready waits until Python runs and returns its sys.version; empty where it does not.
func (py *interpreter) ready() string {
	<-py.started
	return py.version
}

// Launch implements runtime.Launcher.
func (py *interpreter) Launch(ctx context.Context, stdout, stderr *os.File) (*worker.Process, error) {
	<-py.started
	if py.err != nil {
		stdout.Close()
		stderr.Close()
		return nil, py.explain(py.err)
	}
	process, err := py.zygote.Fork(ctx, stdout, stderr)
	if err != nil {
		return nil, py.explain(err)
	}
	return process, nil
}

// explain says why there is no process for the step.
func (py *interpreter) explain(err error) error {
	if errors.Is(err, worker.ErrUnsupported) {
		return err
	}
	e := &runtime.StartError{Message: fmt.Sprintf("%s could not be started: %v", py.name, err), Output: py.printed()}
	var exit *exec.ExitError
	switch {
	case errors.Is(err, context.Canceled):
		e.Message, e.Err = "the task was told to stop while the flow's code was being loaded", context.Canceled
	case errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist):
		e.Message = fmt.Sprintf("the container has no %s, which the flow's Python steps need; %s names another interpreter", py.name, envPython)
	case errors.As(err, &exit) && exit.ExitCode() == tooOld:
		e.Message = fmt.Sprintf("%s is too old: mf's Python steps need 3.9 or newer", py.name)
	case py.zygote != nil:
		e.Message = fmt.Sprintf("the flow's code ended its process while it was loaded: %v", err)
	}
	return e
}

// outputGrace is how long what an ended process has printed may take to arrive, and what it has left running may hold that up.
const outputGrace = 500 * time.Millisecond

// printed is the last of what the process has printed, which has ended.
func (py *interpreter) printed() string {
	all := make(chan struct{})
	go func() {
		py.reading.Wait()
		close(all)
	}()
	select {
	case <-all:
	case <-time.After(outputGrace):
	}
	return py.output.String()
}

// tooOld is the exit code with which the SDK says that its interpreter is too old.
const tooOld = 3

// close ends the process.
func (py *interpreter) close() {
	<-py.started
	if py.zygote != nil {
		py.zygote.Close()
	}
	for _, r := range py.pipes {
		// Something that the flow left running may hold the pipe.
		r.Close()
	}
	py.reading.Wait()
}

// tail keeps the last of what is added to it.
type tail struct {
	mu   sync.Mutex
	data []byte
}

const maxTail = 16 << 10

func (t *tail) add(b []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.data = append(t.data, b...)
	if over := len(t.data) - maxTail; over > 0 {
		t.data = append(t.data[:0], t.data[over:]...)
	}
}

// String returns it as text.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.ToValidUTF8(string(bytes.TrimSpace(t.data)), "�")
}
