package ir

import (
	"fmt"
	"strconv"
	"strings"
)

// SplitPath is the list of foreach indices from the outermost to the innermost split around a task; empty outside
// any foreach. Its text form is "3,0"; the empty path is the empty text.
type SplitPath []int

// String returns the text form.
func (p SplitPath) String() string {
	parts := make([]string, len(p))
	for i, n := range p {
		parts[i] = strconv.Itoa(n)
	}
	return strings.Join(parts, ",")
}

// Child returns the path of split i below p. The result does not share memory with p.
func (p SplitPath) Child(i int) SplitPath {
	return append(append(make(SplitPath, 0, len(p)+1), p...), i)
}

// Parent returns the path less its last index.
func (p SplitPath) Parent() SplitPath {
	if len(p) == 0 {
		return p
	}
	return p[: len(p)-1 : len(p)-1]
}

// ParseSplitPath reads the text form.
func ParseSplitPath(text string) (SplitPath, error) {
	if text == "" {
		return nil, nil
	}
	var p SplitPath
	for part := range strings.SplitSeq(text, ",") {
		n, err := parseIndex(part)
		if err != nil {
			return nil, fmt.Errorf("split path %q: %w", text, err)
		}
		p = append(p, n)
	}
	return p, nil
}

func parseIndex(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || strconv.Itoa(n) != s {
		return 0, fmt.Errorf("%q is not a foreach index (0, 1, 2 …)", s)
	}
	return n, nil
}

// NoIteration is the Iteration of a task of a step that does not recurse.
const NoIteration = -1

// TaskInvocation is all that an engine has to say to run a task: the rest is configuration by environment and the
// flow's IR in the code package. Backends emit it with Args, mf-task reads it with ParseTaskInvocation.
type TaskInvocation struct {
	Flow string
	Run  string
	Step string
	// Path is the task's split path, as text because engines fill in a part of it with an expression of theirs, such
	// as "{{inputs.parameters.path}}". After the engine has done so it is the text form of a SplitPath; its last
	// index may be a range "3,0..49" (both ends included) that stands for several tasks run in one container.
	Path string
	// Iteration is the round of a recursive step, from 0, as text like Path; empty for other steps.
	Iteration string
	// Attempt is the engine's own 0-based counter, as text like Path. The datastore decides what it finally is.
	Attempt string
}

// Args returns the command line after the program's name.
func (t TaskInvocation) Args() []string {
	args := []string{"run", "--flow", t.Flow, "--run", t.Run, "--step", t.Step, "--path", t.Path}
	if t.Iteration != "" {
		args = append(args, "--iteration", t.Iteration)
	}
	return append(args, "--attempt", t.Attempt)
}

// ParseTaskInvocation reads what Args wrote.
func ParseTaskInvocation(args []string) (TaskInvocation, error) {
	var t TaskInvocation
	if len(args) == 0 || args[0] != "run" {
		return t, fmt.Errorf("a task invocation starts with \"run\"")
	}
	fields := map[string]*string{
		"--flow": &t.Flow, "--run": &t.Run, "--step": &t.Step, "--path": &t.Path,
		"--iteration": &t.Iteration, "--attempt": &t.Attempt,
	}
	rest := args[1:]
	for len(rest) > 0 {
		name, value, joined := strings.Cut(rest[0], "=")
		field := fields[name]
		if field == nil {
			return t, fmt.Errorf("unknown task option %q", rest[0])
		}
		rest = rest[1:]
		if !joined {
			if len(rest) == 0 {
				return t, fmt.Errorf("task option %s needs a value", name)
			}
			value, rest = rest[0], rest[1:]
		}
		*field = value
	}
	for _, name := range []string{"--flow", "--run", "--step", "--attempt"} {
		if *fields[name] == "" {
			return t, fmt.Errorf("task option %s is missing", name)
		}
	}
	return t, nil
}

// Paths returns the split paths that the invocation stands for: one, or several where its last index is a range.
func (t TaskInvocation) Paths() ([]SplitPath, error) {
	head, last := "", t.Path
	if i := strings.LastIndexByte(t.Path, ','); i >= 0 {
		head, last = t.Path[:i], t.Path[i+1:]
	}
	lo, hi, ranged := strings.Cut(last, "..")
	if !ranged {
		p, err := ParseSplitPath(t.Path)
		return []SplitPath{p}, err
	}
	parent, err := ParseSplitPath(head)
	if err != nil {
		return nil, err
	}
	first, err := parseIndex(lo)
	if err != nil {
		return nil, fmt.Errorf("split path %q: %w", t.Path, err)
	}
	end, err := parseIndex(hi)
	if err != nil {
		return nil, fmt.Errorf("split path %q: %w", t.Path, err)
	}
	if end < first || end-first >= MaxPack {
		return nil, fmt.Errorf("split path %q: a range holds 1 to %d indices", t.Path, MaxPack)
	}
	paths := make([]SplitPath, 0, end-first+1)
	for i := first; i <= end; i++ {
		paths = append(paths, parent.Child(i))
	}
	return paths, nil
}

// MaxPack is the largest number of tasks that one invocation may stand for.
const MaxPack = 100_000

// What backends put into a container's environment and mf-task reads. Values are text.
const (
	// EnvParameterPrefix + a parameter's variable name holds the value given for this run: for a string or file
	// parameter the text itself, for other types JSON text. Unset means the default.
	EnvParameterPrefix = "MF_PARAM_"
	// EnvDatastore is the root of the datastore as a URL: file:///…, s3://bucket/prefix, gs://…, azure://….
	EnvDatastore = "MF_DATASTORE"
	// EnvServiceURL is the address of the metadata service; unset means none.
	EnvServiceURL = "MF_SERVICE_URL"
	// EnvPackage is the digest (hex SHA-1) of the code package in the datastore.
	EnvPackage = "MF_PACKAGE"
	// EnvOutputs is the folder in which the task leaves its small outputs for the engine.
	EnvOutputs = "MF_ENGINE_OUTPUTS"
)

// The small outputs a task leaves for its engine, as file names below the folder EnvOutputs. Contents are text
// without a newline.
const (
	// OutputSplits: the number of splits of a foreach or the size of a gang, as a decimal number.
	OutputSplits = "splits"
	// OutputBranch: the step that a switch chose.
	OutputBranch = "branch"
)
