// Command again does what Argo's own "argo retry" and "argo resubmit" do before they talk to the server: it reads a
// Workflow as JSON and prints the one that starts it again.
//
//	again retry    {"workflow": …, "pods": [names of those to delete]}
//	again resubmit {"workflow": …}
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/argoproj/argo-workflows/v3/workflow/util"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "again:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	var w wfv1.Workflow
	if err := json.NewDecoder(os.Stdin).Decode(&w); err != nil {
		return fmt.Errorf("reading the workflow: %w", err)
	}
	var out struct {
		Workflow *wfv1.Workflow `json:"workflow"`
		Pods     []string       `json:"pods,omitempty"`
	}
	var err error
	switch {
	case len(args) == 1 && args[0] == "retry":
		out.Workflow, out.Pods, err = util.FormulateRetryWorkflow(ctx, &w, false, "", nil)
	case len(args) == 1 && args[0] == "resubmit":
		out.Workflow, err = util.FormulateResubmitWorkflow(ctx, &w, false, nil)
	default:
		err = fmt.Errorf("it takes retry or resubmit")
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}
