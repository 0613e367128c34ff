package worker

import "os/exec"

// StartCommand starts cmd.
func StartCommand(cmd *exec.Cmd) (*Process, error) {
	p := &Process{exit: make(chan struct{})}
	return p, p.start(cmd)
}
