// Package tasktool holds the commands that a command step calls as mf-task: get and put. Both binaries have them, since
// a run on this machine needs no second one.
package tasktool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/mf-run/mf/cmd/internal/stores"
	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/pickle"
	"github.com/mf-run/mf/runtime"
)

// UsageError is a mistake in the use of a command.
type UsageError struct{ Message string }

// Error implements error.
func (e *UsageError) Error() string { return e.Message }

func usagef(format string, args ...any) error { return &UsageError{fmt.Sprintf(format, args...)} }

// Tool is the surroundings of the commands.
type Tool struct {
	Stdin  io.Reader
	Stdout io.Writer
	// Dir is the folder that MF_TASK_DIR names; empty outside a command step.
	Dir string
	// Env reads an environment variable; empty means unset. nil is an empty environment, which will do for a datastore on
	// this machine.
	Env func(string) string
}

// Commands returns get and put.
func (a *Tool) Commands() []*cobra.Command {
	return []*cobra.Command{a.getCommand(), a.putCommand()}
}

// manifest reads what the runtime left for the step.
func (a *Tool) manifest() (*runtime.Manifest, error) {
	if a.Dir == "" {
		return nil, usagef("mf-task works inside a command step, where MF_TASK_DIR is set")
	}
	data, err := os.ReadFile(filepath.Join(a.Dir, runtime.ManifestFile))
	if err != nil {
		return nil, fmt.Errorf("reading the task's artifacts: %w", err)
	}
	var m runtime.Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("reading the task's artifacts: %w", err)
	}
	return &m, nil
}

func (a *Tool) getCommand() *cobra.Command {
	var branch string
	cmd := &cobra.Command{
		Use: "get NAME", Short: "Print an artifact: bytes as they are, other values as JSON", Args: cobra.ExactArgs(1),
	}
	cmd.Flags().StringVar(&branch, "branch", "", "at a join: the branch, or the index of the split, to read from")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		m, err := a.manifest()
		if err != nil {
			return err
		}
		names := m.Artifacts
		if branch != "" {
			if names = m.Branches[branch]; names == nil {
				return usagef("there is no branch %q; there are %v", branch, slices.Sorted(maps.Keys(m.Branches)))
			}
		}
		digest, ok := names[args[0]]
		if !ok {
			return fmt.Errorf("there is no artifact %q; there are %v", args[0], slices.Sorted(maps.Keys(names)))
		}
		return a.printArtifact(cmd.Context(), m, args[0], digest)
	}
	return cmd
}

func (a *Tool) printArtifact(ctx context.Context, m *runtime.Manifest, name, digest string) error {
	env := a.Env
	if env == nil {
		env = func(string) string { return "" }
	}
	backend, err := stores.OpenDatastore(ctx, m.URL(), env, stores.Options{})
	if err != nil {
		return fmt.Errorf("opening the datastore: %w", err)
	}
	data, err := datastore.New(backend).Load(ctx, m.Flow, digest)
	if err != nil {
		return fmt.Errorf("reading artifact %s: %w", name, err)
	}
	value, err := pickle.Unmarshal(data)
	if err != nil {
		return fmt.Errorf("reading artifact %s: %w", name, err)
	}
	if raw, ok := value.([]byte); ok {
		_, err = a.Stdout.Write(raw)
		return err
	}
	text, err := pickle.ToJSON(value)
	if err != nil {
		return fmt.Errorf("artifact %s: %w", name, err)
	}
	_, err = a.Stdout.Write(append(text, '\n'))
	return err
}

func (a *Tool) putCommand() *cobra.Command {
	var asText, asBytes bool
	cmd := &cobra.Command{
		Use: "put NAME [FILE]", Short: "Write an artifact from a file or standard input: JSON, unless told otherwise",
		Args: cobra.RangeArgs(1, 2),
	}
	cmd.Flags().BoolVar(&asText, "text", false, "the content is text")
	cmd.Flags().BoolVar(&asBytes, "bytes", false, "the content is bytes")
	cmd.MarkFlagsMutuallyExclusive("text", "bytes")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		m, err := a.manifest()
		if err != nil {
			return err
		}
		in := a.Stdin
		if len(args) == 2 {
			f, err := os.Open(args[1])
			if err != nil {
				return err
			}
			defer f.Close()
			in = f
		}
		data, err := io.ReadAll(in)
		if err != nil {
			return err
		}
		ending := ".json"
		switch {
		case asText:
			ending = ".txt"
		case asBytes:
			ending = ""
		default:
			if _, err := pickle.FromJSON(data); err != nil {
				return usagef("artifact %s: not valid JSON (%v); --text and --bytes take anything", args[0], err)
			}
		}
		return putOutput(m, args[0], ending, data)
	}
	return cmd
}

// putOutput writes the output whole, in place of what was put under that name before.
func putOutput(m *runtime.Manifest, name, ending string, data []byte) error {
	if name != filepath.Base(name) {
		return usagef("%q is not a name for an artifact", name)
	}
	for _, other := range []string{".json", ".txt", ""} {
		if err := os.Remove(filepath.Join(m.Outputs, name+other)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return os.WriteFile(filepath.Join(m.Outputs, name+ending), data, 0o600)
}
