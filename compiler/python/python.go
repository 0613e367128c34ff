// Package python is the frontend for Python flows: it has the user's interpreter execute the flow file with mf's SDK,
// and turns the description that the SDK gives into a flow.
//
// What goes in is the path of a flow file; what comes out is an ir.Flow and what the SDK found wrong with the file:
// whatever needs Python to know, such as errors while the file was loaded and malformed calls of self.next. It checks
// nothing that the compiler's passes check, and leaves Start and End to them. It does not change the file.
package python

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

// Options are what Load needs besides the path.
type Options struct {
	// Interpreter is the Python to run: a path or a name on the PATH; empty means "python3".
	Interpreter string
	// SDKDir is the folder that sdk.Unpack returned.
	SDKDir string
	// Class picks one of several flows of the file; empty takes the only one.
	Class string
	// With lists decorators for every step, as "name:attribute=value,…".
	With []string
	// Configs are files of configs by the config's name, ConfigValues texts of them.
	Configs, ConfigValues map[string]string
	// Stubs lets a stub stand in for a third-party module that is missing, with a note.
	Stubs bool
	// Evaluate has functions that compute defaults called, as at deployment.
	Evaluate bool
	// Env is the environment of the interpreter, as "NAME=value"; nil is this process's own.
	Env []string
	// Stderr receives what the flow file prints while it is executed; nil drops it.
	Stderr io.Writer
}

// request is the input of mf_describe.py. Its fields are those of the "describe" message of docs/step-protocol.md.
type request struct {
	Path         string            `json:"path"`
	With         []string          `json:"with,omitempty"`
	Configs      map[string]string `json:"configs,omitempty"`
	ConfigValues map[string]string `json:"config_values,omitempty"`
	Stubs        bool              `json:"stubs"`
	Evaluate     bool              `json:"evaluate"`
	Class        *string           `json:"class"`
}

const (
	// script is the program of the SDK that describes a flow.
	script = "mf_describe.py"
	// exitTooOld is its exit code where the interpreter is older than the SDK can do with.
	exitTooOld = 3
	// lingering is how long a process that the flow file left behind may keep the output open.
	lingering = 2 * time.Second
	// tailSize bounds how much of what the interpreter printed an error repeats.
	tailSize = 2000
)

// ErrInterpreter: what is there to run Python flows cannot.
var ErrInterpreter = errors.New("Python flows need Python 3.9 or newer") //nolint:staticcheck // Python is a name

// Load executes the flow file and returns its flow, with every finding about it. The flow is nil where there are errors that
// leave nothing to describe. An error is returned where the file does not exist or the interpreter does not do its work.
func Load(ctx context.Context, path string, opt Options) (*ir.Flow, diag.List, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, nil, err
	}
	if info, err := os.Stat(absolute); err != nil {
		return nil, nil, err
	} else if info.IsDir() {
		return nil, nil, fmt.Errorf("%s is a folder, not a flow file", path)
	}
	req := request{
		Path: absolute, With: opt.With, Configs: opt.Configs, ConfigValues: opt.ConfigValues,
		Stubs: opt.Stubs, Evaluate: opt.Evaluate,
	}
	if opt.Class != "" {
		req.Class = &opt.Class
	}
	input, err := json.Marshal(req)
	if err != nil {
		return nil, nil, fmt.Errorf("writing the request to the interpreter: %w", err)
	}
	answer, err := run(ctx, input, opt)
	if err != nil {
		return nil, nil, err
	}
	return Decode(answer)
}

// run executes the SDK's script and returns its answer.
func run(ctx context.Context, input []byte, opt Options) ([]byte, error) {
	interpreter := opt.Interpreter
	if interpreter == "" {
		interpreter = "python3"
	}
	var answer bytes.Buffer
	printed := &tail{to: opt.Stderr}
	cmd := exec.CommandContext(ctx, interpreter, filepath.Join(opt.SDKDir, script))
	cmd.Stdin = bytes.NewReader(input)
	cmd.Stdout = &answer
	cmd.Stderr = printed
	cmd.Env = environment(cmd.Environ(), opt)
	cmd.WaitDelay = lingering
	err := cmd.Run()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("loading the flow: %w", context.Cause(ctx))
	}
	var exit *exec.ExitError
	switch {
	case err == nil || errors.Is(err, exec.ErrWaitDelay):
		if !bytes.HasPrefix(answer.Bytes(), []byte("{")) {
			return nil, fmt.Errorf("%s does not behave like Python; %w", interpreter, ErrInterpreter)
		}
		return answer.Bytes(), nil
	case errors.As(err, &exit) && exit.ExitCode() == exitTooOld:
		return nil, tooOld(interpreter, answer.Bytes())
	case errors.As(err, &exit):
		return nil, fmt.Errorf("%s failed while it loaded the flow (%w)%s", interpreter, exit, printed)
	}
	return nil, fmt.Errorf("%s cannot be run: %w; %w", interpreter, err, ErrInterpreter)
}

// environment puts the SDK first on PYTHONPATH.
func environment(own []string, opt Options) []string {
	env := own
	if opt.Env != nil {
		env = opt.Env
	}
	const name = "PYTHONPATH="
	path := opt.SDKDir
	result := make([]string, 0, len(env)+1)
	for _, entry := range env {
		if rest, ok := strings.CutPrefix(entry, name); !ok {
			result = append(result, entry)
		} else if rest != "" {
			path = opt.SDKDir + string(os.PathListSeparator) + rest
		}
	}
	return append(result, name+path)
}

func tooOld(interpreter string, answer []byte) error {
	var found struct{ Python string }
	if err := json.Unmarshal(answer, &found); err != nil || found.Python == "" {
		found.Python = "of an unknown version"
	}
	return fmt.Errorf("%s is Python %s; %w", interpreter, found.Python, ErrInterpreter)
}

// Decode reads a description as the SDK gives it, by mf_describe.py or in the zygote's "described" message: the flow and
// the findings, sorted. It is strict: what this version of the SDK does not write is an error. The flow is nil where
// the findings hold an error that left nothing to describe.
func Decode(raw []byte) (*ir.Flow, diag.List, error) {
	var answer struct {
		Op          string            `json:"op"`
		Flow        json.RawMessage   `json:"flow"`
		Diagnostics []diag.Diagnostic `json:"diagnostics"`
		Python      string            `json:"python"`
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&answer); err != nil {
		return nil, nil, broken("%w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, nil, broken("there is text after it")
	}
	if answer.Op != "" && answer.Op != "described" {
		return nil, nil, broken("it is a message %q", answer.Op)
	}
	found := diag.List(answer.Diagnostics)
	for _, d := range found {
		if d.Code == "" || d.Summary == "" {
			return nil, nil, broken("a diagnostic has no code or no summary")
		}
	}
	found.Sort()
	found = slices.CompactFunc(found, func(a, b diag.Diagnostic) bool {
		return a.Span == b.Span && a.Severity == b.Severity && a.Code == b.Code && a.Summary == b.Summary
	})
	if len(answer.Flow) == 0 || string(answer.Flow) == "null" {
		if !found.HasErrors() {
			return nil, nil, broken("it has neither a flow nor an error")
		}
		return nil, found, nil
	}
	flow, err := ir.Unmarshal(answer.Flow)
	if err != nil {
		return nil, nil, broken("%w", err)
	}
	if err := check(flow); err != nil {
		return nil, nil, broken("%w", err)
	}
	return flow, found, nil
}

func broken(format string, args ...any) error {
	return fmt.Errorf("bug in mf: the Python SDK's description of the flow is not valid: %w", fmt.Errorf(format, args...))
}

// check looks for what the SDK promises and ir.Unmarshal does not ask for.
func check(f *ir.Flow) error {
	if f.Name == "" || f.Source.Language != ir.Python || f.Source.Class == "" {
		return errors.New("the flow has no name or no class")
	}
	for _, s := range f.Steps {
		if s.Name == "" {
			return errors.New("a step has no name")
		}
		if s.Command != nil || s.Inputs != nil || s.Outputs != nil {
			return fmt.Errorf("step %s has what only command steps have", s.Name)
		}
		if s.Next == nil {
			continue
		}
		if len(s.Next.Targets) == 0 {
			return fmt.Errorf("step %s goes on to no step", s.Name)
		}
		if one := s.Next.Kind != ir.Split && s.Next.Kind != ir.Switch; one && len(s.Next.Targets) > 1 {
			return fmt.Errorf("step %s goes on to %d steps, as %s", s.Name, len(s.Next.Targets), s.Next.Kind)
		}
	}
	return nil
}

// tail passes on what is written to it and keeps the end.
type tail struct {
	to   io.Writer
	kept []byte
}

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p...)
	if len(t.kept) > 2*tailSize {
		t.kept = slices.Clone(t.kept[len(t.kept)-tailSize:])
	}
	if t.to == nil {
		return len(p), nil
	}
	return t.to.Write(p)
}

// String returns what was kept, as the end of an error message.
func (t *tail) String() string {
	text := strings.TrimSpace(strings.ToValidUTF8(string(t.kept[max(0, len(t.kept)-tailSize):]), "\uFFFD"))
	if text == "" {
		return ""
	}
	return ":\n" + text
}
