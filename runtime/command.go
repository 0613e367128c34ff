package runtime

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/pickle"
	"github.com/mf-run/mf/ir"
	"github.com/mf-run/mf/runtime/worker"
)

func itoa(n int) string { return strconv.Itoa(n) }

// userError is a failure that is the step's own, as opposed to the machine's.
type userError struct{ msg string }

func (e *userError) Error() string { return e.msg }

func userErrorf(format string, args ...any) error { return &userError{fmt.Sprintf(format, args...)} }

// runCommand runs a command step: inputs as files, the process, outputs from files, then the transition.
func (a *attempt) runCommand(ctx context.Context) error {
	dir, err := os.MkdirTemp(a.run.TempDir, a.task.Step.Name+"-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	c := &command{attempt: a, dir: dir}
	err = c.perform(ctx)
	var fault *userError
	if errors.As(err, &fault) {
		a.failure = &Failure{Type: "mf.CommandFailed", Message: fault.msg}
		a.note("%s", fault.msg)
		err = nil
	}
	if a.failure != nil && ctx.Err() != nil {
		a.failure.Stopped = true
	}
	return err
}

// command is one run of a command step.
type command struct {
	*attempt
	dir  string
	item any // the foreach item; meaningless outside a foreach
}

func (c *command) inputs() string  { return filepath.Join(c.dir, "inputs") }
func (c *command) outputs() string { return filepath.Join(c.dir, "outputs") }

func (c *command) perform(ctx context.Context) error {
	for _, d := range []string{c.inputs(), c.outputs()} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return err
		}
	}
	available := c.available()
	if err := c.writeInputs(ctx, available); err != nil {
		return err
	}
	cmd, err := c.prepare(ctx)
	if err != nil {
		return err
	}
	exit, err := c.execute(ctx, cmd)
	if err != nil {
		return err
	}
	c.usage = exit
	if exit.Signal != 0 || exit.Code != 0 || exit.Err != nil {
		c.commandFailed(ctx, exit)
		return c.readOutputs(context.WithoutCancel(ctx))
	}
	if err := c.readOutputs(ctx); err != nil {
		return err
	}
	if err := c.declaredOutputs(); err != nil {
		return err
	}
	return c.decide(ctx, available)
}

func (c *command) commandFailed(ctx context.Context, exit worker.Exit) {
	f := &Failure{Type: "mf.CommandFailed", Message: "the command " + exit.String(), Signal: exit.Signal}
	limit := c.task.Step.Timeout()
	if exit.Signal != 0 && ctx.Err() == nil && limit > 0 && c.run.Now().Sub(c.started) >= limit {
		f.Timeout, f.Signal = true, 0
		f.Message = fmt.Sprintf("the command ran longer than its timeout of %s", limit)
	}
	c.failure = f
	c.note("%s", f.Message)
}

// available returns the artifacts that the step can read by name. At a join, those that all inputs agree on: the
// others are read per input.
func (c *command) available() map[string]datastore.Artifact {
	t := c.task
	if len(t.Inputs) == 0 {
		return c.run.Parameters.Artifacts
	}
	if !t.Step.Join {
		return t.Inputs[0].Artifacts
	}
	agreed := map[string]datastore.Artifact{}
	for name, art := range t.Inputs[0].Artifacts {
		agreed[name] = art
	}
	for _, in := range t.Inputs[1:] {
		for name, art := range in.Artifacts {
			if have, ok := agreed[name]; ok && have.Digest != art.Digest {
				agreed[name] = datastore.Artifact{}
			} else if !ok {
				agreed[name] = art
			}
		}
	}
	for name, art := range agreed {
		if art.Digest == "" || strings.HasPrefix(name, "_") {
			delete(agreed, name)
		} else {
			// What all branches agree on goes on by itself.
			c.put(name, art)
		}
	}
	return agreed
}

// Manifest tells mf-task, called by a command step, where everything is.
type Manifest struct {
	Flow string `json:"flow"`
	// Root is the root of the datastore.
	Root string `json:"root"`
	// Inputs and Outputs are the folders of input and output files.
	Inputs  string `json:"inputs"`
	Outputs string `json:"outputs"`
	// Artifacts are the digests by name; Branches those of a join's inputs, by branch or split index.
	Artifacts map[string]string            `json:"artifacts"`
	Branches  map[string]map[string]string `json:"branches,omitempty"`
}

func digests(arts map[string]datastore.Artifact) map[string]string {
	m := map[string]string{}
	for name, art := range arts {
		if !strings.HasPrefix(name, "_") {
			m[name] = art.Digest
		}
	}
	return m
}

func (c *command) writeInputs(ctx context.Context, available map[string]datastore.Artifact) error {
	m := Manifest{Flow: c.run.Flow.Name, Root: c.run.Store.Backend().Root(), Inputs: c.inputs(), Outputs: c.outputs(),
		Artifacts: digests(available)}
	for _, use := range c.task.Step.Inputs {
		art, ok := available[use.Name]
		if !ok {
			if c.task.Step.Join {
				continue
			}
			return userErrorf("the step declares the input %q, which no step before it has written", use.Name)
		}
		if err := c.writeInput(ctx, c.inputs(), use.Name, art); err != nil {
			return err
		}
	}
	if c.task.Step.Join {
		m.Branches = map[string]map[string]string{}
		for _, in := range c.task.Inputs {
			label := in.Ref.Step
			if n := len(in.Path); n > len(c.task.Path) {
				label = itoa(in.Path[n-1])
			}
			m.Branches[label] = digests(in.Artifacts)
			if err := c.writeBranch(ctx, label, in); err != nil {
				return err
			}
		}
	}
	if err := c.writeItem(ctx); err != nil {
		return err
	}
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(c.dir, ManifestFile), data, 0o600)
}

// ManifestFile is the name of the file, in the folder that MF_TASK_DIR names, that lists a command step's artifacts.
const ManifestFile = "manifest.json"

func (c *command) writeBranch(ctx context.Context, label string, in *Result) error {
	dir := filepath.Join(c.inputs(), label)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	for _, use := range c.task.Step.Inputs {
		if art, ok := in.Artifacts[use.Name]; ok {
			if err := c.writeInput(ctx, dir, use.Name, art); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeInput writes one artifact as a file: bytes as they are, other plain data as JSON.
func (c *command) writeInput(ctx context.Context, dir, name string, art datastore.Artifact) error {
	value, err := c.run.loadValue(ctx, name, art)
	var opaque *pickle.OpaqueError
	if errors.As(err, &opaque) {
		return userErrorf("the input %q is a Python %s: a command step reads plain data only (null, bool, number, string, "+
			"bytes, list, map); convert it in the Python step that writes it", name, opaque.Class)
	}
	if err != nil {
		return err
	}
	return c.writeValue(ctx, dir, name, value)
}

func (c *command) writeValue(ctx context.Context, dir, name string, value any) error {
	switch v := value.(type) {
	case []byte:
		return os.WriteFile(filepath.Join(dir, name), v, 0o600)
	case pickle.IncludedFile:
		return c.writeIncluded(ctx, filepath.Join(dir, name), v)
	}
	text, err := pickle.ToJSON(value)
	if err != nil {
		return userErrorf("the input %q cannot be written as JSON: %v", name, err)
	}
	return os.WriteFile(filepath.Join(dir, name+".json"), append(text, '\n'), 0o600)
}

func (c *command) writeIncluded(ctx context.Context, path string, file pickle.IncludedFile) error {
	body, err := c.run.Store.OpenInclude(ctx, file.Descriptor)
	if err != nil {
		return err
	}
	defer body.Close()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.ReadFrom(body)
	return errors.Join(err, f.Close())
}

// writeItem writes the foreach item of the innermost split.
func (c *command) writeItem(ctx context.Context) error {
	n := len(c.task.Stack)
	if n == 0 || c.task.Gang != nil {
		return nil
	}
	frame := c.task.Stack[n-1]
	if len(c.task.Inputs) == 0 {
		return nil
	}
	art, ok := c.task.Inputs[0].Artifacts[frame.Var]
	if !ok {
		return nil
	}
	list, err := c.run.loadValue(ctx, frame.Var, art)
	if err != nil {
		return err
	}
	items, err := sequence(list)
	if err != nil || frame.Index >= len(items) {
		return userErrorf("the foreach artifact %q has no item %d", frame.Var, frame.Index)
	}
	c.item = items[frame.Index]
	return c.writeValue(ctx, c.inputs(), "item", c.item)
}

// prepare builds the process.
func (c *command) prepare(ctx context.Context) (*exec.Cmd, error) {
	spec := c.task.Step.Command
	args := []string{"sh", "-c", spec.Shell}
	vars, err := c.placeholders(ctx)
	if err != nil {
		return nil, err
	}
	if spec.Shell == "" {
		if args, err = expandArgs(spec.Args, vars); err != nil {
			return nil, err
		}
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = c.run.Dir
	env := slices.Clone(c.run.Environ)
	add := c.stepEnv()
	add["MF_INPUTS"], add["MF_OUTPUTS"], add["MF_TASK_DIR"] = c.inputs(), c.outputs(), c.dir
	for name, value := range vars {
		switch name {
		case "item":
			add["MF_ITEM"] = value
		case "index":
			add["MF_INDEX"] = value
		default:
			add[ir.EnvParameterPrefix+name] = value
		}
	}
	for _, key := range slices.Sorted(maps.Keys(add)) {
		env = append(env, key+"="+add[key])
	}
	cmd.Env = env
	return cmd, nil
}

// placeholders are the texts for {item}, {index} and {parameter}: a string as it is, other values as JSON.
func (c *command) placeholders(ctx context.Context) (map[string]string, error) {
	vars := map[string]string{}
	for _, p := range c.run.Flow.Parameters {
		art, ok := c.run.Parameters.Artifacts[p.Name]
		if !ok || p.Type == ir.FileType {
			continue
		}
		value, err := c.run.loadValue(ctx, p.Name, art)
		if err != nil {
			return nil, err
		}
		text, err := plainText(value)
		if err != nil {
			return nil, err
		}
		vars[p.Name] = text
	}
	if n := len(c.task.Stack); n > 0 && c.task.Gang == nil {
		text, err := plainText(c.item)
		if err != nil {
			return nil, userErrorf("the foreach item: %v", err)
		}
		vars["item"], vars["index"] = text, itoa(c.task.Stack[n-1].Index)
	}
	return vars, nil
}

func plainText(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case []byte:
		return string(v), nil
	}
	text, err := pickle.ToJSON(v)
	return string(text), err
}

// expandArgs replaces {name}; "{{" and "}}" stand for braces.
func expandArgs(args []string, vars map[string]string) ([]string, error) {
	out := make([]string, len(args))
	for i, arg := range args {
		var b strings.Builder
		for rest := arg; rest != ""; {
			j := strings.IndexAny(rest, "{}")
			if j < 0 {
				b.WriteString(rest)
				break
			}
			b.WriteString(rest[:j])
			if strings.HasPrefix(rest[j:], "{{") || strings.HasPrefix(rest[j:], "}}") {
				b.WriteByte(rest[j])
				rest = rest[j+2:]
				continue
			}
			end := strings.IndexByte(rest[j:], '}')
			name := ""
			if rest[j] == '{' && end > 0 {
				name = rest[j+1 : j+end]
			}
			value, ok := vars[name]
			if !ok {
				// Not one of ours: a brace of the user's own, in JSON or awk.
				b.WriteByte(rest[j])
				rest = rest[j+1:]
				continue
			}
			b.WriteString(value)
			rest = rest[j+end+1:]
		}
		out[i] = b.String()
	}
	return out, nil
}

// execute runs the process to its end.
func (c *command) execute(ctx context.Context, cmd *exec.Cmd) (worker.Exit, error) {
	pipes, stdout, stderr, err := c.openPipes()
	if err != nil {
		return worker.Exit{}, err
	}
	defer pipes.drain()
	cmd.Stdout, cmd.Stderr = stdout, stderr
	p, err := worker.StartCommand(cmd)
	stdout.Close()
	stderr.Close()
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, exec.ErrNotFound) {
		return worker.Exit{}, userErrorf("cannot run %q: no such program in PATH", cmd.Args[0])
	}
	if err != nil {
		return worker.Exit{}, userErrorf("cannot run %q: %v", cmd.Args[0], err)
	}
	stop := c.watch(ctx, p, c.task.Step.Timeout())
	exit := p.Wait()
	stop()
	return exit, nil
}

// readOutputs stores every file below $MF_OUTPUTS as an artifact.
func (c *command) readOutputs(ctx context.Context) error {
	entries, err := os.ReadDir(c.outputs())
	if err != nil {
		return err
	}
	for _, e := range entries {
		name, err := c.readOutput(ctx, e)
		if err != nil {
			return err
		}
		if !validName(name) {
			return userErrorf("the output file %q is not a name for an artifact (letters, digits and _, not starting with a "+
				"digit or _; optionally .json or .txt)", e.Name())
		}
	}
	return nil
}

func (c *command) readOutput(ctx context.Context, e os.DirEntry) (string, error) {
	path := filepath.Join(c.outputs(), e.Name())
	if !e.Type().IsRegular() {
		return "", userErrorf("the output %q is not a regular file", e.Name())
	}
	base := e.Name()
	name, isJSON := strings.CutSuffix(base, ".json")
	name, isText := strings.CutSuffix(name, ".txt")
	if !validName(name) {
		return name, nil
	}
	if c.run.Flow.Parameter(name) != nil {
		return name, userErrorf("the output %q has the name of a parameter, which a step may not change", base)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return name, err
	}
	var value any = data
	switch {
	case isJSON:
		if value, err = pickle.FromJSON(bytes.TrimSpace(data)); err != nil {
			return name, userErrorf("the output file %s is not valid JSON: %v", base, err)
		}
	case isText:
		value = string(data)
	}
	art, err := c.run.saveValue(ctx, value, pickle.TypeName(value))
	if err != nil {
		return name, userErrorf("the output file %s cannot be stored: %v", base, err)
	}
	c.put(name, art)
	return name, nil
}

func validName(name string) bool {
	for i, r := range name {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		if !letter && (i == 0 || r != '_' && (r < '0' || r > '9')) {
			return false
		}
	}
	return name != ""
}

func (c *command) declaredOutputs() error {
	for _, use := range c.task.Step.Outputs {
		if _, ok := c.produced[use.Name]; !ok {
			return userErrorf("the step declares the output %q but wrote no file $MF_OUTPUTS/%s.json (or .txt, or without "+
				"ending for bytes)", use.Name, use.Name)
		}
	}
	return nil
}

// decide works out the transition from the artifacts.
func (c *command) decide(ctx context.Context, available map[string]datastore.Artifact) error {
	next := c.task.Step.Next
	if next == nil {
		return nil
	}
	value := func(name string) (any, error) {
		art, ok := c.produced[name]
		if !ok {
			art, ok = available[name]
		}
		if !ok {
			return nil, userErrorf("the step goes on by the artifact %q, which neither it nor a step before has written", name)
		}
		return c.run.loadValue(ctx, name, art)
	}
	c.taken = &Taken{Targets: c.task.Step.Successors()}
	switch next.Kind {
	case ir.Foreach:
		v, err := value(next.Foreach)
		if err != nil {
			return err
		}
		return c.splitOver(next.Foreach, v)
	case ir.Switch:
		v, err := value(next.Condition)
		if err != nil {
			return err
		}
		return c.choose(next, v)
	case ir.Parallel:
		c.taken.Var, c.taken.Splits = "_parallel_ubf_iter", next.NumParallel
	}
	return nil
}

// MaxForeachValue is the number of characters that are kept of an item's value, as in Metaflow.
const MaxForeachValue = 30

func (c *command) splitOver(name string, v any) error {
	items, err := sequence(v)
	if err != nil {
		return userErrorf("the foreach artifact %q is %s: it must be a list", name, kindOf(v))
	}
	if len(items) == 0 {
		return userErrorf("the foreach artifact %q is empty: a foreach needs at least one item", name)
	}
	values := make([]string, len(items))
	for i, item := range items {
		text, err := plainText(item)
		if err != nil {
			text = pickle.TypeName(item)
		}
		if r := []rune(text); len(r) > MaxForeachValue {
			text = string(r[:MaxForeachValue])
		}
		values[i] = text
	}
	c.taken.Var, c.taken.Splits, c.taken.Values = name, len(items), values
	return nil
}

// choose finds the case whose key equals the value.
func (c *command) choose(next *ir.Transition, v any) error {
	text, err := pickle.ToJSON(v)
	if err != nil {
		return userErrorf("the switch artifact %q is %s: it must be a string, number or bool", next.Condition, kindOf(v))
	}
	keys := make([]string, len(next.Cases))
	for i, cs := range next.Cases {
		if bytes.Equal(bytes.TrimSpace(cs.Value), text) {
			c.taken.Targets = []string{cs.Step}
			return nil
		}
		keys[i] = string(cs.Value)
	}
	return userErrorf("the switch artifact %q is %s, but the cases are %s", next.Condition, text, strings.Join(keys, ", "))
}

func sequence(v any) ([]any, error) {
	switch v := v.(type) {
	case []any:
		return v, nil
	case pickle.Tuple:
		return v, nil
	}
	return nil, errors.New("not a list")
}
