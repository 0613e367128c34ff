package main

import (
	"github.com/spf13/cobra"

	"github.com/mf-run/mf/cmd/internal/tasktool"
)

// taskCommand is what a command step calls as mf-task: it reads and writes artifacts that the step did not declare.
func (a *app) taskCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "__task", Hidden: true, Short: "Read and write artifacts from inside a command step"}
	tool := &tasktool.Tool{Stdin: a.stdin, Stdout: a.stdout, Dir: a.env("MF_TASK_DIR"), Env: a.env}
	return group(cmd, tool.Commands()...)
}
