package runtime

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/pickle"
	"github.com/mf-run/mf/ir"
)

// readOutputs stores every file below $MF_OUTPUTS as an artifact. The faults are those of files that cannot be one.
func (c *command) readOutputs(ctx context.Context) (faults []*userError, err error) {
	entries, err := os.ReadDir(c.outputs())
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		err := c.readOutput(ctx, e)
		var fault *userError
		switch {
		case errors.As(err, &fault):
			faults = append(faults, fault)
		case err != nil:
			return nil, err
		}
	}
	return faults, nil
}

func (c *command) readOutput(ctx context.Context, e os.DirEntry) error {
	if !e.Type().IsRegular() {
		return userErrorf("the output %q is not a regular file", e.Name())
	}
	base := e.Name()
	name, isJSON := strings.CutSuffix(base, ".json")
	name, isText := strings.CutSuffix(name, ".txt")
	if !validName(name) {
		return userErrorf("the output file %q is not a name for an artifact (letters, digits and _, not starting with a "+
			"digit or _; optionally .json or .txt)", base)
	}
	if c.run.Flow.Parameter(name) != nil {
		return userErrorf("the output %q has the name of a parameter, which a step may not change", base)
	}
	info, err := e.Info()
	if err != nil {
		return err
	}
	var art datastore.Artifact
	path := filepath.Join(c.outputs(), base)
	if info.Size() > inlineMax && !isJSON {
		art, err = c.run.saveLarge(ctx, path, info.Size(), isText)
	} else {
		var value any
		if value, err = readValue(path, isJSON, isText); err != nil {
			return err
		}
		art, err = c.run.saveValue(ctx, value, pickle.TypeName(value))
	}
	if err != nil {
		return userErrorf("the output file %s cannot be stored: %v", base, err)
	}
	c.put(name, art)
	return nil
}

// readValue reads an output file that is small or has to be understood.
func readValue(path string, isJSON, isText bool) (any, error) {
	data, err := os.ReadFile(path)
	switch {
	case err != nil:
		return nil, err
	case isJSON:
		value, err := pickle.FromJSON(bytes.TrimSpace(data))
		if err != nil {
			return nil, userErrorf("the output file %s is not valid JSON: %v", filepath.Base(path), err)
		}
		return value, nil
	case isText:
		return string(data), nil
	}
	return data, nil
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
