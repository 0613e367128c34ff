// Package hook runs the exit hooks of a flow: functions of a Python flow in processes of its interpreter, commands of a
// YAML flow. What they print goes on as it comes.
package hook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/mf-run/mf/ir"
	"github.com/mf-run/mf/runtime"
	"github.com/mf-run/mf/runtime/worker"
)

// Runner runs hooks of one run, one after the other.
type Runner struct {
	Flow, Run string
	// Python starts a process that has loaded the flow; nil for a flow of commands.
	Python runtime.Launcher
	// Dir is the folder of the flow's code, Environ the environment of commands.
	Dir     string
	Environ []string
	// Env is added to the environment of each hook.
	Env map[string]string
	// Stdout and Stderr receive what hooks print.
	Stdout, Stderr io.Writer
	// Grace is how long a hook may take to end when ctx is done.
	Grace time.Duration
}

// outputGrace is how long output is waited for that something a hook has left running may still write.
const outputGrace = 2 * time.Second

// job is what the Python process is asked for.
type job struct {
	Op       string            `json:"op"`
	Use      int               `json:"use"`
	Success  bool              `json:"success"`
	Index    int               `json:"index"`
	Pathspec string            `json:"pathspec"`
	Env      map[string]string `json:"env"`
}

// Call runs one hook to its end.
func (r *Runner) Call(ctx context.Context, h ir.ExitHook) error {
	var err error
	if h.Command != nil {
		err = r.command(ctx, h.Command)
	} else {
		err = r.function(ctx, h)
	}
	if err != nil {
		return fmt.Errorf("the exit hook %s failed: %w", h.Name(), err)
	}
	return nil
}

func (r *Runner) function(ctx context.Context, h ir.ExitHook) error {
	if r.Python == nil {
		return errors.New("there is no Python to call it")
	}
	var out outputs
	defer out.close()
	stdout, err := out.pipe(r.Stdout)
	if err != nil {
		return err
	}
	stderr, err := out.pipe(r.Stderr)
	if err != nil {
		stdout.Close()
		return err
	}
	p, err := r.Python.Launch(ctx, stdout, stderr)
	if err != nil {
		return err
	}
	defer p.Conn.Close()
	defer r.stopWith(ctx, p)()
	message := ""
	err = p.Conn.Send(job{Op: "hook", Use: h.Use, Success: h.Success, Index: h.Index, Pathspec: r.Flow + "/" + r.Run, Env: r.Env}, nil)
	if err == nil {
		message = ending(p.Conn)
	}
	exit := p.Wait()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case exit.Err == nil && exit.Signal == 0 && exit.Code == 0:
		return nil
	case message != "":
		return errors.New(message)
	}
	return fmt.Errorf("its process %s", exit)
}

// ending reads to the end and returns what the hook failed with; empty if it did not, or could not say.
func ending(conn *worker.Conn) string {
	text := ""
	for {
		message, err := conn.Recv()
		if err != nil {
			return text
		}
		var done struct {
			Exception *struct{ Type, Message string } `json:"exception"`
		}
		if message.Op == "done" && json.Unmarshal(message.JSON, &done) == nil && done.Exception != nil {
			text = done.Exception.Type + ": " + done.Exception.Message
		}
	}
}

// stopWith ends the process when ctx is done: politely, and after the grace not.
func (r *Runner) stopWith(ctx context.Context, p *worker.Process) (release func()) {
	stop := context.AfterFunc(ctx, func() {
		p.Terminate()
		select {
		case <-p.Done():
		case <-time.After(r.Grace):
			p.Kill()
		}
	})
	return func() { stop() }
}

func (r *Runner) command(ctx context.Context, c *ir.Command) error {
	args := c.Args
	if c.Shell != "" {
		args = []string{"sh", "-c", c.Shell}
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = r.Dir, r.Stdout, r.Stderr
	cmd.Env = slices.Clone(r.Environ)
	for _, name := range slices.Sorted(maps.Keys(r.Env)) {
		cmd.Env = append(cmd.Env, name+"="+r.Env[name])
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = r.Grace + outputGrace
	if err := cmd.Run(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		return err
	}
	return nil
}

// outputs passes on what comes through pipes.
type outputs struct {
	reading sync.WaitGroup
	pipes   []*os.File
}

// pipe returns the write end of a pipe to w.
func (o *outputs) pipe(w io.Writer) (*os.File, error) {
	r, end, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("making a pipe: %w", err)
	}
	o.pipes = append(o.pipes, r)
	o.reading.Go(func() { _, _ = io.Copy(w, r) })
	return end, nil
}

// close waits for the end of the output, but not long for what a hook has left running.
func (o *outputs) close() {
	timer := time.AfterFunc(outputGrace, o.shut)
	o.reading.Wait()
	timer.Stop()
	o.shut()
}

func (o *outputs) shut() {
	for _, r := range o.pipes {
		r.Close()
	}
}
