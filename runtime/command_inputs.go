package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/pickle"
)

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
	// Root is the root of the datastore, Type its kind.
	Root string `json:"root"`
	Type string `json:"type"`
	// Inputs and Outputs are the folders of input and output files.
	Inputs  string `json:"inputs"`
	Outputs string `json:"outputs"`
	// Artifacts are the digests by name; Branches those of a join's inputs, by branch or split index.
	Artifacts map[string]string            `json:"artifacts"`
	Branches  map[string]map[string]string `json:"branches,omitempty"`
}

// URL is the root as a URL, or as a path.
func (m *Manifest) URL() string {
	if m.Type == "local" || m.Type == "" || strings.Contains(m.Root, "://") {
		return m.Root
	}
	return m.Type + "://" + m.Root // as Azure's, which Metaflow writes without
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
	backend := c.run.Store.Backend()
	m := Manifest{Flow: c.run.Flow.Name, Root: backend.Root(), Type: backend.Type(), Inputs: c.inputs(), Outputs: c.outputs(),
		Artifacts: digests(available)}
	c.fetchInputs(ctx, available)
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

// fetchInputs brings the inputs of the step into the run's cache, where each would take an object store's time to answer.
func (c *command) fetchInputs(ctx context.Context, available map[string]datastore.Artifact) {
	if !c.run.Contained {
		return
	}
	var arts []datastore.Artifact
	from := func(all map[string]datastore.Artifact) {
		for _, use := range c.task.Step.Inputs {
			if art, ok := all[use.Name]; ok {
				arts = append(arts, art)
			}
		}
	}
	from(available)
	if c.task.Step.Join {
		for _, in := range c.task.Inputs {
			from(in.Artifacts)
		}
	}
	c.run.loadAll(ctx, c.run.missing(arts), nil)
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
