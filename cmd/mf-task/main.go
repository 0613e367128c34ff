// Command mf-task runs one task of a flow: it is what an engine starts inside each container.
//
// All it is told is which task (its arguments) and where things are (its environment); inputs, attempts and what has
// succeeded already follow from the flow's graph and the datastore.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
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

// The exit codes.
const (
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}

// program is the surroundings of one invocation.
type program struct {
	environ        []string
	stdout, stderr io.Writer
	now            func() time.Time
	printing       sync.Mutex
}

func (p *program) env(name string) string {
	for i := len(p.environ) - 1; i >= 0; i-- {
		if v, ok := strings.CutPrefix(p.environ[i], name+"="); ok {
			return v
		}
	}
	return ""
}

// errFailed says that the step failed and everything has been printed.
var errFailed = errors.New("the step failed")

// run is the whole program.
func run(ctx context.Context, args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	p := &program{environ: environ, stdout: stdout, stderr: stderr, now: time.Now}
	root := &cobra.Command{Use: "mf-task", Short: "Run one task of a flow", SilenceUsage: true, SilenceErrors: true, Version: version}
	tool := &tasktool.Tool{Stdin: stdin, Stdout: stdout, Dir: p.env("MF_TASK_DIR")}
	root.AddCommand(tool.Commands()...)
	root.AddCommand(&cobra.Command{
		Use: "run", Short: "Run one task, or the tasks of a range of splits", DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.task(cmd.Context(), append([]string{"run"}, args...))
		},
	}, &cobra.Command{
		Use: ir.InstallArgs("")[0] + " PATH", Short: "Copy this program to a path", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return install(args[0]) },
	})
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	var usage *tasktool.UsageError
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errFailed):
		return exitFailed
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "mf-task: %v\n", err)
		return exitUsage
	}
	fmt.Fprintf(stderr, "mf-task: %v\n", err)
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
