package runtime

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/mf-run/mf/datastore/pickle"
	"github.com/mf-run/mf/ir"
	"github.com/mf-run/mf/runtime/worker"
)

func itoa(n int) string { return strconv.Itoa(n) }

// userError is a failure that is the step's own, as opposed to the machine's.
type userError struct{ msg string }

func (e *userError) Error() string { return e.msg }

func userErrorf(format string, args ...any) error { return &userError{fmt.Sprintf(format, args...)} }

// runCommand runs a command step: inputs as files, the process, outputs from files, then the transition.
func (a *attempt) runCommand(ctx context.Context) error {
	dir, err := os.MkdirTemp(a.run.TempDir, a.task.Step.Name+"-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	c := &command{attempt: a, dir: dir}
	err = c.perform(ctx)
	var fault *userError
	if errors.As(err, &fault) {
		a.failure = &Failure{Type: "mf.CommandFailed", Message: fault.msg}
		a.note("%s", fault.msg)
		err = nil
	}
	if a.failure != nil && ctx.Err() != nil {
		a.failure.Stopped = true
	}
	return err
}

// command is one run of a command step.
type command struct {
	*attempt
	dir  string
	item any // the foreach item; meaningless outside a foreach
}

func (c *command) inputs() string  { return filepath.Join(c.dir, "inputs") }
func (c *command) outputs() string { return filepath.Join(c.dir, "outputs") }

func (c *command) perform(ctx context.Context) error {
	for _, d := range []string{c.inputs(), c.outputs()} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return err
		}
	}
	available := c.available()
	if err := c.writeInputs(ctx, available); err != nil {
		return err
	}
	cmd, err := c.prepare(ctx)
	if err != nil {
		return err
	}
	if err := c.begun(); err != nil {
		return err
	}
	exit, overdue, err := c.execute(ctx, cmd)
	if err != nil {
		return err
	}
	c.usage = exit
	if overdue || exit.Signal != 0 || exit.Code != 0 || exit.Err != nil {
		c.commandFailed(ctx, exit, overdue)
		faults, err := c.readOutputs(context.WithoutCancel(ctx))
		for _, fault := range faults {
			c.note("%s", fault.msg) // half written; why is known
		}
		return err
	}
	faults, err := c.readOutputs(ctx)
	if err != nil {
		return err
	}
	if len(faults) > 0 {
		return faults[0]
	}
	if err := c.declaredOutputs(); err != nil {
		return err
	}
	return c.decide(ctx, available)
}

// commandFailed makes a failure of how the command ended; overdue is watch's.
func (c *command) commandFailed(ctx context.Context, exit worker.Exit, overdue bool) {
	f := &Failure{Type: "mf.CommandFailed", Message: "the command " + exit.String(), Signal: exit.Signal,
		Crashed: exit.Signal != 0 || exit.Err != nil}
	if overdue {
		f.Timeout, f.Crashed, f.Signal = true, false, 0
		f.Message = fmt.Sprintf("the command ran longer than its timeout of %s", c.task.Step.Timeout())
	} else if f.Crashed && toldToStop(ctx, exit) {
		f.Message = "the task was told to stop, and the command ended"
	}
	c.failure = f
	c.note("%s", f.Message)
}

// prepare builds the process.
func (c *command) prepare(ctx context.Context) (*exec.Cmd, error) {
	spec := c.task.Step.Command
	args := []string{"sh", "-c", spec.Shell}
	vars, err := c.placeholders(ctx)
	if err != nil {
		return nil, err
	}
	if spec.Shell == "" {
		if args, err = expandArgs(spec.Args, vars); err != nil {
			return nil, err
		}
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = c.run.Dir
	if cmd.Env, err = c.environment(ctx, args, vars); err != nil {
		return nil, err
	}
	lookUp(cmd)
	return cmd, nil
}

// lookUp finds the program in the PATH that it is going to have, which is not this process's own.
func lookUp(cmd *exec.Cmd) {
	if strings.ContainsAny(cmd.Args[0], `/\`) {
		return
	}
	for _, kv := range slices.Backward(cmd.Env) {
		path, ok := strings.CutPrefix(kv, "PATH=")
		if !ok {
			continue
		}
		for _, dir := range filepath.SplitList(path) {
			file := filepath.Join(dir, cmd.Args[0])
			info, err := os.Stat(file)
			if err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 && filepath.IsAbs(file) {
				cmd.Path, cmd.Err = file, nil
				return
			}
		}
		return
	}
}

// placeholders are the texts for {item}, {index} and {parameter}: a string as it is, other values as JSON.
func (c *command) placeholders(ctx context.Context) (map[string]string, error) {
	vars := map[string]string{}
	for _, p := range c.run.Flow.Parameters {
		art, ok := c.run.Parameters.Artifacts[p.Name]
		if !ok || p.Type == ir.FileType {
			continue
		}
		value, err := c.run.loadValue(ctx, p.Name, art)
		if err != nil {
			return nil, err
		}
		text, err := plainText(value)
		if err != nil {
			return nil, err
		}
		vars[p.Name] = text
	}
	if n := len(c.task.Stack); n > 0 && c.task.Gang == nil {
		text, err := plainText(c.item)
		if err != nil {
			return nil, userErrorf("the foreach item: %v", err)
		}
		vars["item"], vars["index"] = text, itoa(c.task.Stack[n-1].Index)
	}
	return vars, nil
}

func plainText(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case []byte:
		return string(v), nil
	}
	text, err := pickle.ToJSON(v)
	return string(text), err
}

// expandArgs replaces {name}; "{{" and "}}" stand for braces.
func expandArgs(args []string, vars map[string]string) ([]string, error) {
	out := make([]string, len(args))
	for i, arg := range args {
		var b strings.Builder
		for rest := arg; rest != ""; {
			j := strings.IndexAny(rest, "{}")
			if j < 0 {
				b.WriteString(rest)
				break
			}
			b.WriteString(rest[:j])
			if strings.HasPrefix(rest[j:], "{{") || strings.HasPrefix(rest[j:], "}}") {
				b.WriteByte(rest[j])
				rest = rest[j+2:]
				continue
			}
			end := strings.IndexByte(rest[j:], '}')
			name := ""
			if rest[j] == '{' && end > 0 {
				name = rest[j+1 : j+end]
			}
			value, ok := vars[name]
			if !ok {
				// Not one of ours: a brace of the user's own, in JSON or awk.
				b.WriteByte(rest[j])
				rest = rest[j+1:]
				continue
			}
			b.WriteString(value)
			rest = rest[j+end+1:]
		}
		out[i] = b.String()
	}
	return out, nil
}

// execute runs the process to its end; overdue is watch's.
func (c *command) execute(ctx context.Context, cmd *exec.Cmd) (exit worker.Exit, overdue bool, err error) {
	pipes, stdout, stderr, err := c.openPipes()
	if err != nil {
		return exit, false, err
	}
	defer pipes.drain()
	cmd.Stdout, cmd.Stderr = stdout, stderr
	p, err := worker.StartCommand(cmd)
	stdout.Close()
	stderr.Close()
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, exec.ErrNotFound) {
		return exit, false, userErrorf("cannot run %q: no such program in PATH", cmd.Args[0])
	}
	if errors.Is(err, syscall.E2BIG) {
		return exit, false, userErrorf("cannot run %q: its arguments and environment are larger than the system allows; read large "+
			"values from the files in $MF_INPUTS", cmd.Args[0])
	}
	if err != nil {
		return exit, false, userErrorf("cannot run %q: %v", cmd.Args[0], err)
	}
	stop := c.watch(ctx, p, c.task.Step.Timeout())
	exit = p.Wait()
	return exit, stop(), nil
}
