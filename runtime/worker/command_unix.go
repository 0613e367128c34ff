//go:build unix

package worker

import (
	"os/exec"
	"syscall"
)

// StartCommand starts cmd as the leader of a process group of its own.
func StartCommand(cmd *exec.Cmd) (*Process, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p := &Process{exit: make(chan struct{})}
	return p, p.start(cmd)
}
