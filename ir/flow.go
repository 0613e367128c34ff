// Package ir is the intermediate representation of a flow: what the frontends produce, the passes check and the
// backends and the runtime read.
//
// It models the whole of Metaflow's flow language, decorators that mf does not act on included, so that nothing is
// lost between source and target. It also owns the task command line (TaskInvocation) and the vocabulary in which a
// target says what it can do (Features). It imports diag and the standard library only.
package ir

import (
	"encoding/json"

	"github.com/mf-run/mf/diag"
)

// Version is the version of the JSON form. A reader refuses a newer one.
const Version = 1

// Flow is one flow.
type Flow struct {
	// Version is the version of the JSON form this flow was read from or will be written in.
	Version int    `json:"version"`
	Name    string `json:"name"`
	// Doc is the flow's documentation: a docstring or a description.
	Doc    string    `json:"doc,omitempty"`
	Source Source    `json:"source"`
	Span   diag.Span `json:"span,omitzero"`
	// Start and End name the two endpoints. They are empty when the source does not have exactly one of each; the
	// compiler's endpoints pass reports that.
	Start string `json:"start,omitempty"`
	End   string `json:"end,omitempty"`

	Parameters []Parameter `json:"parameters,omitempty"`
	Configs    []Config    `json:"configs,omitempty"`
	Constants  []Constant  `json:"constants,omitempty"`
	// Decorators are the flow's own: schedule, project, trigger and so on.
	Decorators []Decorator `json:"decorators,omitempty"`
	// Steps are in source order.
	Steps []*Step `json:"steps"`
}

// Source says where a flow came from.
type Source struct {
	// Language is "python" or "yaml".
	Language string `json:"language"`
	// File is the base name of the flow file.
	File string `json:"file"`
	// Class is the Python class; empty for YAML.
	Class string `json:"class,omitempty"`
}

// The source languages.
const (
	Python = "python"
	YAML   = "yaml"
)

// ParameterType is the type of a parameter's value.
type ParameterType string

// The parameter types.
const (
	StringType ParameterType = "string"
	IntType    ParameterType = "int"
	FloatType  ParameterType = "float"
	BoolType   ParameterType = "bool"
	// JSONType is any JSON value, given as text.
	JSONType ParameterType = "json"
	// FileType is the content of a file that is stored with the run (Metaflow's IncludeFile).
	FileType ParameterType = "file"
)

// Parameter is an input of the flow, fixed for one run.
type Parameter struct {
	// Name is the variable under which the value is stored as an artifact.
	Name string `json:"name"`
	// Option is the name on the command line and in an engine's own parameters.
	Option string        `json:"option"`
	Type   ParameterType `json:"type"`
	// Default is the JSON text of the default value; nil when there is none. For FileType it is the path as text.
	Default json.RawMessage `json:"default,omitempty"`
	// DefaultFunc names the function that computes the default when the flow is run or deployed; empty when there
	// is none. Default is nil until it has been evaluated.
	DefaultFunc string `json:"default_func,omitempty"`
	Required    bool   `json:"required,omitempty"`
	Help        string `json:"help,omitempty"`
	// Separator, when set, splits a string value into a list.
	Separator string `json:"separator,omitempty"`
	// HideDefault is set where the source asked not to show the default in help texts.
	HideDefault bool `json:"hide_default,omitempty"`
	// Binary (FileType) says that the content is bytes, not text.
	Binary bool `json:"binary,omitempty"`
	// Encoding (FileType) is the text encoding, by its Python name; empty means utf-8.
	Encoding string `json:"encoding,omitempty"`
	// Parser (FileType) names the function applied to the content.
	Parser string    `json:"parser,omitempty"`
	Span   diag.Span `json:"span,omitzero"`
}

// Config is a value known before the graph is built; it can shape decorators, parameters and switch keys.
type Config struct {
	Name   string `json:"name"`
	Option string `json:"option"`
	// Value is the JSON text of the value this IR was made with; nil when none was given.
	Value json.RawMessage `json:"value,omitempty"`
	// DefaultFile is the path of the default file, as written in the source; empty when there is none.
	DefaultFile string    `json:"default_file,omitempty"`
	Required    bool      `json:"required,omitempty"`
	Plain       bool      `json:"plain,omitempty"`
	Parser      string    `json:"parser,omitempty"`
	Help        string    `json:"help,omitempty"`
	Span        diag.Span `json:"span,omitzero"`
}

// Constant is a class-level value of a Python flow, stored once per run.
type Constant struct {
	Name string `json:"name"`
	// Type is the Python type as str(type(x)) prints it, such as "<class 'int'>".
	Type string `json:"type"`
	// Value is the JSON text of the value where it is plain data, else nil.
	Value json.RawMessage `json:"value,omitempty"`
	Span  diag.Span       `json:"span,omitzero"`
}

// Origin says how a decorator came to be on a step or flow.
type Origin string

// The origins.
const (
	// Static: written in the source. It is the zero value.
	Static Origin = ""
	// With: added on the command line by --with.
	With Origin = "with"
	// Mutator: added by a user's mutator.
	Mutator Origin = "mutator"
)

// Decorator is a step or flow decorator with its attributes, defaults filled in. A YAML flow's retry, resources and
// so on become the decorators of the same name, so that passes, backends and the runtime read one form only.
type Decorator struct {
	Name       string     `json:"name"`
	Attributes Attributes `json:"attributes,omitempty"`
	Origin     Origin     `json:"origin,omitempty"`
	// Unknown is set when no installed package provides the decorator: it is carried, not acted on.
	Unknown bool      `json:"unknown,omitempty"`
	Span    diag.Span `json:"span,omitzero"`
}

// Step is one step.
type Step struct {
	Name string    `json:"name"`
	Doc  string    `json:"doc,omitempty"`
	Span diag.Span `json:"span,omitzero"`
	// MarkedStart and MarkedEnd are set by @step(start=True) and @step(end=True), or by YAML's start and end.
	MarkedStart bool `json:"marked_start,omitempty"`
	MarkedEnd   bool `json:"marked_end,omitempty"`
	// Join is set when the step takes the inputs of several tasks.
	Join bool `json:"join,omitempty"`
	// Decorators are in the order of the source, outermost first.
	Decorators []Decorator `json:"decorators,omitempty"`
	// Next is the step's transition; nil for the end step.
	Next *Transition `json:"next,omitempty"`
	// Command is the command to run; nil for a Python step, whose body is the method of the same name.
	Command *Command `json:"command,omitempty"`
	// Inputs and Outputs are the artifacts that a command step declares; nil for a Python step.
	Inputs  []Use `json:"inputs,omitempty"`
	Outputs []Use `json:"outputs,omitempty"`
	// Reads and Writes are the artifacts that a Python step's body is seen to read and write (self.x).
	Reads  []Use `json:"reads,omitempty"`
	Writes []Use `json:"writes,omitempty"`
	// WritesUnknown is set when the body may write artifacts that could not be seen (setattr, merge_artifacts, a
	// method of another class that is handed self).
	WritesUnknown bool `json:"writes_unknown,omitempty"`
}

// Use is a mention of an artifact.
type Use struct {
	Name string    `json:"name"`
	Span diag.Span `json:"span,omitzero"`
}

// Command is what a command step executes: exactly one of Shell and Args is set.
type Command struct {
	// Shell is a line for sh -c.
	Shell string `json:"shell,omitempty"`
	// Args is an argument vector; "{item}" and "{parameter}" in an element are replaced.
	Args []string `json:"args,omitempty"`
	// Image is the container image; empty for the target's default.
	Image string    `json:"image,omitempty"`
	Span  diag.Span `json:"span,omitzero"`
}

// TransitionKind says how a step goes on.
type TransitionKind string

// The kinds of transition.
const (
	// Linear goes on to one step.
	Linear TransitionKind = "linear"
	// Split starts several different steps, which a join brings together.
	Split TransitionKind = "split"
	// Foreach starts one task per item of an artifact.
	Foreach TransitionKind = "foreach"
	// Switch goes on to exactly one of several steps, chosen by an artifact's value.
	Switch TransitionKind = "switch"
	// Parallel starts a gang of cooperating tasks.
	Parallel TransitionKind = "parallel"
)

// Transition is how a step goes on.
type Transition struct {
	Kind TransitionKind `json:"kind"`
	// Targets are the steps gone on to: one for Linear, Foreach and Parallel; two or more for Split; for Switch the
	// distinct steps of the cases in order.
	Targets []Target `json:"targets"`
	// Foreach names the artifact that is split over.
	Foreach string `json:"foreach,omitempty"`
	// NumParallel is the gang's size where it is a literal; 0 when it is computed by the step.
	NumParallel int `json:"num_parallel,omitempty"`
	// Condition names the artifact that a Switch decides by.
	Condition string    `json:"condition,omitempty"`
	Cases     []Case    `json:"cases,omitempty"`
	Span      diag.Span `json:"span,omitzero"`
}

// Target is a mention of a step in a transition.
type Target struct {
	Step string    `json:"step"`
	Span diag.Span `json:"span,omitzero"`
}

// Case is one case of a switch.
type Case struct {
	// Value is the case's key as JSON text: a string, number or bool; a key taken from a config is resolved.
	Value json.RawMessage `json:"value"`
	Step  string          `json:"step"`
	Span  diag.Span       `json:"span,omitzero"`
}

// Step returns the step of that name, or nil.
func (f *Flow) Step(name string) *Step {
	for _, s := range f.Steps {
		if s.Name == name {
			return s
		}
	}
	return nil
}

// Parameter returns the parameter stored under that name, or nil.
func (f *Flow) Parameter(name string) *Parameter {
	for i := range f.Parameters {
		if f.Parameters[i].Name == name {
			return &f.Parameters[i]
		}
	}
	return nil
}

// Decorator returns the first flow decorator of that name, or nil.
func (f *Flow) Decorator(name string) *Decorator { return find(f.Decorators, name) }

// Decorator returns the first decorator of that name on the step, or nil.
func (s *Step) Decorator(name string) *Decorator { return find(s.Decorators, name) }

func find(ds []Decorator, name string) *Decorator {
	for i := range ds {
		if ds[i].Name == name {
			return &ds[i]
		}
	}
	return nil
}

// Successors returns the names of the steps that s may go on to, each once, in source order. A recursive step is a
// successor of itself.
func (s *Step) Successors() []string {
	if s.Next == nil {
		return nil
	}
	names := make([]string, 0, len(s.Next.Targets))
	for _, t := range s.Next.Targets {
		names = append(names, t.Step)
	}
	return names
}

// Recursive reports whether the step is a switch that can go back to itself.
func (s *Step) Recursive() bool {
	if s.Next == nil || s.Next.Kind != Switch {
		return false
	}
	for _, t := range s.Next.Targets {
		if t.Step == s.Name {
			return true
		}
	}
	return false
}
