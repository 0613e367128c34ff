package runtime

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/ir"
)

// Outputs says where a task leaves its small outputs; empty fields are nowhere.
type Outputs struct {
	// Folder receives one file each (ir.EnvOutputs), File all as a JSON object (ir.EnvOutputsFile).
	Folder, File string
	// SplitList is a key of the datastore that receives the indices of the splits (ir.EnvSplitList).
	SplitList string
	// Pack is how many splits run in one container (ir.TaskInvocation.Pack); 0 for one. With it, SplitList receives the
	// numbers of the packs.
	Pack int
}

// OutputsError is that tasks of one invocation have small outputs that do not go together: an engine reads one value.
type OutputsError struct {
	// Message is one line.
	Message string
}

// Error implements error.
func (e *OutputsError) Error() string { return e.Message }

// Leave writes the small outputs of the tasks of a step, all of one invocation, that have succeeded: for a loop, the last
// round of each. The error is an *OutputsError where they differ in what the engine has to know.
func (i *Invocation) Leave(ctx context.Context, step string, results ...*Result) error {
	s := i.Run.Graph.Step(step)
	if s == nil || s.Next == nil || len(results) == 0 || results[0].Next == nil {
		return nil
	}
	outputs := map[string]any{}
	switch s.Next.Kind {
	case ir.Foreach, ir.Parallel:
		if len(results) > 1 {
			return &OutputsError{fmt.Sprintf("step %s splits, so that each of its tasks needs an invocation of its own", step)}
		}
		if err := i.leaveSplits(ctx, outputs, results[0].Next.Splits); err != nil {
			return fmt.Errorf("leaving the list of splits: %w", err)
		}
	case ir.Switch:
		branch, err := commonBranch(step, results)
		if err != nil {
			return err
		}
		outputs[ir.OutputBranch] = branch
	}
	if err := i.leaveFiles(outputs); err != nil {
		return fmt.Errorf("leaving outputs for the engine: %w", err)
	}
	return nil
}

// commonBranch is the step that all tasks chose. As long as one of them loops, it is the step itself.
func commonBranch(step string, results []*Result) (string, error) {
	branch, by := "", results[0]
	for _, res := range results {
		switch chosen := res.Next.Targets[0]; {
		case chosen == step:
			return step, nil
		case branch == "":
			branch, by = chosen, res
		case chosen != branch:
			return "", &OutputsError{fmt.Sprintf("step %s chose %s at path %q and %s at path %q: tasks that choose differently cannot share a container",
				step, branch, by.Path, chosen, res.Path)}
		}
	}
	return branch, nil
}

func (i *Invocation) leaveSplits(ctx context.Context, outputs map[string]any, splits int) error {
	outputs[ir.OutputSplits] = splits
	if pack := i.Outputs.Pack; pack > 0 {
		splits = (splits + pack - 1) / pack
		outputs[ir.OutputPacks] = splits
	}
	if i.Outputs.SplitList == "" {
		return nil
	}
	indices := make([]int, splits)
	for n := range indices {
		indices[n] = n
	}
	data, err := json.Marshal(indices)
	if err != nil {
		return err
	}
	return i.Run.Store.Backend().Put(ctx, i.Outputs.SplitList, bytes.NewReader(data), datastore.PutOptions{})
}

func (i *Invocation) leaveFiles(outputs map[string]any) error {
	if folder := i.Outputs.Folder; folder != "" {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
		for name, value := range outputs {
			if err := os.WriteFile(filepath.Join(folder, name), fmt.Append(nil, value), 0o644); err != nil {
				return err
			}
		}
	}
	if i.Outputs.File == "" {
		return nil
	}
	data, err := json.Marshal(outputs)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(i.Outputs.File), 0o755); err != nil {
		return err
	}
	return os.WriteFile(i.Outputs.File, data, 0o644)
}
