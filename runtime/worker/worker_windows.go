package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
)

func signalName(n int) string { return fmt.Sprint(n) }

// Zygote is not available on this operating system.
type Zygote struct{}

// StartZygote returns ErrUnsupported.
func StartZygote(Options, *os.File, *os.File) (*Zygote, error) { return nil, ErrUnsupported }

// Describe returns ErrUnsupported.
func (*Zygote) Describe(context.Context, DescribeRequest) (json.RawMessage, error) {
	return nil, ErrUnsupported
}

// Load returns ErrUnsupported.
func (*Zygote) Load(context.Context, LoadRequest) (string, error) { return "", ErrUnsupported }

// Fork returns ErrUnsupported.
func (*Zygote) Fork(context.Context, *os.File, *os.File) (*Process, error) {
	return nil, ErrUnsupported
}

// Close does nothing.
func (*Zygote) Close() error { return nil }

// Spawn returns ErrUnsupported.
func Spawn(Options, *os.File, *os.File) (*Process, error) { return nil, ErrUnsupported }

// WaitExit waits for a started command and says how it ended.
func WaitExit(cmd *exec.Cmd) Exit {
	err := cmd.Wait()
	if cmd.ProcessState == nil {
		return Exit{Err: err}
	}
	return Exit{Code: cmd.ProcessState.ExitCode()}
}

// Terminate ends the process.
func (p *Process) Terminate() { SignalGroup(p.Pid, true) }

// Kill ends the process.
func (p *Process) Kill() { SignalGroup(p.Pid, true) }

// SignalGroup ends the process; there is no gentle way here.
func SignalGroup(pid int, _ bool) {
	if p, err := os.FindProcess(pid); err == nil {
		_ = p.Kill()
	}
}
