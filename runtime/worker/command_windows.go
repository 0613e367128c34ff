package worker

import "os/exec"

// StartCommand starts cmd.
func StartCommand(cmd *exec.Cmd) (*Process, error) { return start(cmd) }
