// Command mf-task runs one task of a flow: it is what an engine starts inside each container.
//
// All it is told is which task (its arguments) and where things are (its environment, docs/mf-task.md); inputs, attempts
// and what has succeeded already follow from the flow's graph and the datastore.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/mf-run/mf/cmd/internal/tasktool"
	"github.com/mf-run/mf/ir"
)

// version is set by the linker.
var version = "dev"

// The exit codes. Told to stop by a signal, the program exits with exitSignal plus the signal's number: 143 for SIGTERM.
const (
	exitFailed = 1
	exitUsage  = 2
	exitBug    = 70
	exitSignal = 128
)

func main() {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	os.Exit(run(signals, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}

// program is the surroundings of one invocation.
type program struct {
	environ        []string
	stdout, stderr io.Writer
	now            func() time.Time
	// abort is closed when there is no more time for a polite end.
	abort    chan struct{}
	printing sync.Mutex
}

func (p *program) env(name string) string {
	for i := len(p.environ) - 1; i >= 0; i-- {
		if v, ok := strings.CutPrefix(p.environ[i], name+"="); ok {
			return v
		}
	}
	return ""
}

// warn prints a line of the program's own.
func (p *program) warn(format string, args ...any) {
	p.printing.Lock()
	defer p.printing.Unlock()
	fmt.Fprintf(p.stderr, "mf-task: "+format+"\n", args...)
}

// errFailed says that the step failed and everything has been printed.
var errFailed = errors.New("the step failed")

// abortGrace is how long the program may take to end when there is no more time.
const abortGrace = time.Second

// run is the whole program. The first of the signals asks it to end. SIGINT after that, which a person sends, leaves it no time;
// SIGTERM says nothing new: an engine may send it twice for one stop, and has SIGKILL for when the time is over.
func run(signals <-chan os.Signal, args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	p := &program{environ: environ, stdout: stdout, stderr: stderr, now: time.Now, abort: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan int, 1)
	go func() { ended <- p.execute(ctx, args, stdin) }()
	stopped := 0
	var late <-chan time.Time
	for {
		select {
		case code := <-ended:
			if code == exitFailed && stopped != 0 {
				code = stopped
			}
			return code
		case s := <-signals:
			if stopped != 0 {
				if s == os.Interrupt && late == nil {
					close(p.abort)
					late = time.After(abortGrace)
				}
				continue
			}
			cancel()
			stopped = exitSignal + int(syscall.SIGTERM)
			if number, ok := s.(syscall.Signal); ok {
				stopped = exitSignal + int(number)
			}
		case <-late:
			return stopped
		}
	}
}

// execute runs one of the commands and returns the exit code.
func (p *program) execute(ctx context.Context, args []string, stdin io.Reader) (code int) {
	defer func() {
		if fault := recover(); fault != nil {
			p.warn("bug: %v\n%s\nThis is a bug in mf, not in your flow; please report it with the text above.", fault, debug.Stack())
			code = exitBug
		}
	}()
	root := &cobra.Command{Use: "mf-task", Short: "Run one task of a flow", SilenceUsage: true, SilenceErrors: true, Version: version}
	tool := &tasktool.Tool{Stdin: stdin, Stdout: p.stdout, Dir: p.env(envTaskDir), Env: p.env}
	root.AddCommand(append(tool.Commands(), p.readCommand(stdin))...)
	root.AddCommand(&cobra.Command{
		Use: "run", Short: "Run one task, or the tasks of a range of splits", DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.task(cmd.Context(), append([]string{"run"}, args...))
		},
	}, &cobra.Command{
		Use: "exit", Short: "Do what is to be done when a run has ended", DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.exit(cmd.Context(), append([]string{"exit"}, args...))
		},
	}, &cobra.Command{
		Use: ir.InstallArgs("")[0] + " PATH", Short: "Copy this program to a path", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return install(args[0]) },
	})
	root.SetArgs(args)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	err := root.ExecuteContext(ctx)
	var usage *tasktool.UsageError
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errFailed):
		return exitFailed
	case errors.As(err, &usage):
		p.warn("%v", err)
		return exitUsage
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		p.warn("stopped before the step began: %v", err)
		return exitFailed
	}
	p.warn("%v", err)
	return exitFailed
}

// install copies the running program.
func install(path string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding the program itself: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("installing mf-task: %w", err)
	}
	from, err := os.Open(self)
	if err != nil {
		return fmt.Errorf("installing mf-task: %w", err)
	}
	defer from.Close()
	to, err := os.CreateTemp(filepath.Dir(path), ".mf-task-*")
	if err != nil {
		return fmt.Errorf("installing mf-task: %w", err)
	}
	_, err = io.Copy(to, from)
	err = errors.Join(err, to.Chmod(0o755), to.Close())
	if err == nil {
		err = os.Rename(to.Name(), path)
	}
	if err != nil {
		os.Remove(to.Name())
		return fmt.Errorf("installing mf-task: %w", err)
	}
	return nil
}
