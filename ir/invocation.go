package ir

import (
	"fmt"
	"math"
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
	// as "{{inputs.parameters.path}}". After the engine has done so it is the text form of a SplitPath. Its last index may
	// stand for several tasks run in one container: a range "3,0..49" (both ends included), or a pack "3,7*50", which is
	// the eighth fifty, 350 to 399, as far as there are splits. A pack spares engines the arithmetic.
	Path string
	// Iteration is the round of a recursive step, from 0, as text like Path; empty for other steps. Like the last index of
	// Path it may be a pack "2*10": rounds 20 to 29, one after the other, until one goes on to another step.
	Iteration string
	// Pack is given to a step that splits where the splits are run in packs: their size, 2 or more, as text. The step then
	// leaves the number of packs (OutputPacks) as well, and its split list is one of packs. Empty for none.
	Pack string
	// Attempt is the engine's own 0-based counter, as text like Path. The datastore decides what it finally is.
	Attempt string
}

// Args returns the command line after the program's name.
func (t TaskInvocation) Args() []string {
	args := []string{"run", "--flow", t.Flow, "--run", t.Run, "--step", t.Step, "--path", t.Path}
	if t.Iteration != "" {
		args = append(args, "--iteration", t.Iteration)
	}
	if t.Pack != "" {
		args = append(args, "--pack", t.Pack)
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
		"--iteration": &t.Iteration, "--attempt": &t.Attempt, "--pack": &t.Pack,
	}
	return t, parseOptions("task", args[1:], fields, "--flow", "--run", "--step", "--attempt")
}

// parseOptions reads "--name value" and "--name=value" into the fields; the required ones must not be empty.
func parseOptions(kind string, args []string, fields map[string]*string, required ...string) error {
	for len(args) > 0 {
		name, value, joined := strings.Cut(args[0], "=")
		field := fields[name]
		if field == nil {
			return fmt.Errorf("unknown %s option %q", kind, args[0])
		}
		args = args[1:]
		if !joined {
			if len(args) == 0 {
				return fmt.Errorf("%s option %s needs a value", kind, name)
			}
			value, args = args[0], args[1:]
		}
		*field = value
	}
	for _, name := range required {
		if *fields[name] == "" {
			return fmt.Errorf("%s option %s is missing", kind, name)
		}
	}
	return nil
}

// Paths returns the split paths that the invocation stands for: one, or several where its last index is a range or a pack.
// clip is set for a pack: those of the paths at the end that are beyond the last split do not exist.
func (t TaskInvocation) Paths() (paths []SplitPath, clip bool, err error) {
	head, last := "", t.Path
	if i := strings.LastIndexByte(t.Path, ','); i >= 0 {
		head, last = t.Path[:i], t.Path[i+1:]
	}
	first, n, clip, err := parseSeveral(last)
	if err != nil {
		return nil, false, fmt.Errorf("split path %q: %w", t.Path, err)
	}
	if n == 0 {
		p, err := ParseSplitPath(t.Path)
		return []SplitPath{p}, false, err
	}
	parent, err := ParseSplitPath(head)
	if err != nil {
		return nil, false, err
	}
	paths = make([]SplitPath, n)
	for i := range paths {
		paths[i] = parent.Child(first + i)
	}
	return paths, clip, nil
}

// Rounds returns the rounds of a recursive step that the invocation stands for, from first, at most n of them. For other
// steps first is NoIteration and n is 1.
func (t TaskInvocation) Rounds() (first, n int, err error) {
	if t.Iteration == "" {
		return NoIteration, 1, nil
	}
	first, n, _, err = parseSeveral(t.Iteration)
	if err == nil && n == 0 {
		n = 1
		first, err = parseIndex(t.Iteration)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("iteration %q: %w", t.Iteration, err)
	}
	return first, n, nil
}

// PackSize returns Pack as a number; 0 for none.
func (t TaskInvocation) PackSize() (int, error) {
	if t.Pack == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(t.Pack)
	if err != nil || n < 2 || n > MaxPack {
		return 0, fmt.Errorf("pack %q is not a number from 2 to %d", t.Pack, MaxPack)
	}
	return n, nil
}

// PackIndex returns the text that stands for pack k of the size n, where k may be an expression of an engine's.
func PackIndex(k string, n int) string { return k + "*" + strconv.Itoa(n) }

// parseSeveral reads a range or a pack. n is 0 for what is neither.
func parseSeveral(text string) (first, n int, pack bool, err error) {
	if lo, hi, ok := strings.Cut(text, ".."); ok {
		end := 0
		if first, err = parseIndex(lo); err == nil {
			end, err = parseIndex(hi)
		}
		n = end - first + 1
	} else if which, size, ok := strings.Cut(text, "*"); ok {
		if first, err = parseIndex(which); err == nil {
			n, err = parseIndex(size)
		}
		pack = true
		if err == nil && first > math.MaxInt32 {
			err = fmt.Errorf("%q is more than a foreach can have", which)
		}
		first *= n
	} else {
		return 0, 0, false, nil
	}
	if err == nil && (n < 1 || n > MaxPack) {
		err = fmt.Errorf("%q stands for none or more than %d", text, MaxPack)
	}
	return first, n, pack, err
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
	// OutputPacks: the number of packs that hold the splits (TaskInvocation.Pack), as a decimal number.
	OutputPacks = "packs"
	// OutputBranch: the step that a switch chose.
	OutputBranch = "branch"
)
