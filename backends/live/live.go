// Package live is what the engines that deployments run on have in common: how a deployed flow is compared with what is
// there, put there, started, watched, stopped and taken away. Each target implements Engine in backends/<target>/live; the
// command line knows nothing else of them.
//
// Emitting files is pure and stays in backends/<target>. Everything that opens a connection is here and below.
package live

import (
	"context"
	"errors"
	"time"

	"github.com/mf-run/mf/backends"
)

// The errors that callers tell apart, with errors.Is.
var (
	// ErrNotFound is a deployment or a run that the engine does not have.
	ErrNotFound = errors.New("not found")
	// ErrNotOurs is an object of that name which mf did not make, and does not touch.
	ErrNotOurs = errors.New("was not made by mf")
	// ErrDenied is a missing permission; the error's text names the verb, the kind of object and the namespace.
	ErrDenied = errors.New("permission denied")
	// ErrUnavailable is an engine that cannot be reached.
	ErrUnavailable = errors.New("cannot be reached")
)

// Deployment is a compiled flow as it is to be on the engine.
type Deployment struct {
	// Name is the deployed name, as in the files.
	Name string
	// Flow is the flow's name, and Steps the names of its steps by those they have in the files, where they differ.
	Flow  string
	Steps map[string]string
	// Files are what the backend emitted, the most important first.
	Files []backends.File
	// Token is the production token that the deployment carries; empty: none.
	Token string
}

// Change is one difference between what is on the engine and what is to be there, in words of the flow.
type Change struct {
	// Object is what differs, such as "WorkflowTemplate train".
	Object string `json:"object"`
	// Step is the step concerned; empty for the flow as a whole.
	Step string `json:"step,omitempty"`
	// What names the property, such as "memory", "image", "code package", "waits for"; empty where the whole step or object
	// comes or goes.
	What string `json:"what,omitempty"`
	// From is what is on the engine now, To what will be there; empty for nothing.
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
	// Kind is "add", "change" or "remove".
	Kind ChangeKind `json:"kind"`
	// ByHand is set where the difference is not one of the flow, but something was changed on the engine since mf put it
	// there; it says by whom, as far as the engine knows ("kubectl-edit, 2026-11-02 15:04"). A deploy undoes it.
	ByHand string `json:"by_hand,omitempty"`
}

// ChangeKind is what a change does.
type ChangeKind string

// The kinds of change.
const (
	Add    ChangeKind = "add"
	Modify ChangeKind = "change"
	Remove ChangeKind = "remove"
)

// Plan is what a deploy would do.
type Plan struct {
	// Changes are in the order of the objects and, within one, of the flow's steps. None: nothing would change.
	Changes []Change `json:"changes"`
	// Token is the production token of what is there now; empty where nothing is, or it has none.
	Token string `json:"-"`
	// Owner is who deployed what is there; empty where it does not say.
	Owner string `json:"-"`
	// Exists reports whether the deployment is there now.
	Exists bool `json:"exists"`
	// Notes are what somebody who deploys should know, one sentence each, such as a secret that tasks need and that is
	// not there, or an engine that is too old for something in the files.
	Notes []string `json:"notes,omitempty"`
}

// Phase is how a run or a step stands.
type Phase string

// The phases.
const (
	Pending   Phase = "pending"
	Running   Phase = "running"
	Succeeded Phase = "succeeded"
	Failed    Phase = "failed"
	Stopped   Phase = "stopped"
	Skipped   Phase = "skipped"
)

// Ended reports whether nothing more will happen.
func (p Phase) Ended() bool { return p != Pending && p != Running }

// Run is one run on the engine.
type Run struct {
	// Name is the engine's, ID the run's id in datastore and metadata.
	Name string `json:"name"`
	ID   string `json:"id"`
	// Deployment is the deployed name; Flow the flow's, where the engine knows it.
	Deployment string    `json:"deployment"`
	Flow       string    `json:"flow,omitempty"`
	Phase      Phase     `json:"phase"`
	Started    time.Time `json:"started"`
	// Finished is zero while it runs.
	Finished time.Time `json:"finished"`
	// Message is the engine's word on why, one line; empty for none.
	Message string `json:"message,omitempty"`
	// Steps are in the order in which they began; only Status fills them in.
	Steps []Step `json:"steps,omitempty"`
	// Notes are what Status could not find out, such as for want of a permission, or what Start had to do, one sentence each.
	Notes []string `json:"notes,omitempty"`
}

// Step is how the tasks of one step stand.
type Step struct {
	Name  string `json:"name"`
	Phase Phase  `json:"phase"`
	// Tasks counts containers by phase: with packs one holds several tasks.
	Tasks map[Phase]int `json:"tasks"`
	// Problems say what keeps tasks from running or made them fail, one line each, the first few of them: "pod x: image
	// y cannot be pulled", "secret z is not there".
	Problems []string `json:"problems,omitempty"`
}

// Deployed is what the engine says of a deployment.
type Deployed struct {
	Name string `json:"name"`
	// Flow is the flow's name.
	Flow string `json:"flow"`
	// Parameters are the names of the parameters that a run can be given.
	Parameters []string `json:"parameters"`
	// Token is the production token, Owner who deployed it; empty where there is none.
	Token string `json:"-"`
	Owner string `json:"-"`
}

// Start is how a run is started.
type Start struct {
	// Parameters are the values given, by the names of the command line, in the form that the engine takes (see
	// ir.ParameterBase64).
	Parameters map[string]string
	// Name is the engine's name for the run; empty: the engine makes one of the deployment's.
	Name string
	// User is who starts it.
	User string
	// Owns is set where the deployment is there for this run alone: it is to go when the run's object goes.
	Owns bool
}

// Engine is a running engine. Its methods may be called one after the other; they are no transaction. Every error of a
// connection, a permission or a missing object wraps one of this package's.
type Engine interface {
	// String says what the engine is and where, for messages: "Argo Workflows at https://… (namespace ml)".
	String() string
	// Plan compares the deployment with what is there. It changes nothing, but has the engine itself judge the files as far
	// as that can.
	Plan(ctx context.Context, d Deployment) (Plan, error)
	// Apply puts the deployment there: all of it or, as far as the engine allows, nothing. What an earlier Apply of the same
	// name left and this deployment no longer has is removed. It returns what it changed; a second call changes nothing.
	Apply(ctx context.Context, d Deployment) (Plan, error)
	// Deployed describes a deployment.
	Deployed(ctx context.Context, deployment string) (Deployed, error)
	// Start starts a run of a deployment. With an error and a run that has an ID, the run has been started all the same.
	Start(ctx context.Context, deployment string, s Start) (Run, error)
	// Runs lists the runs of a deployment, the newest first; all of mf's with an empty name.
	Runs(ctx context.Context, deployment string) ([]Run, error)
	// Status returns one run with its steps, by the engine's name for it or by its id.
	Status(ctx context.Context, run string) (Run, error)
	// Stop ends a run: its tasks are told to stop, and the run's exit hooks run. A run that has ended is left alone.
	Stop(ctx context.Context, run string) error
	// Delete removes a deployment and returns the objects removed, as in Change.Object. Runs, and what they wrote, stay.
	Delete(ctx context.Context, deployment string) ([]string, error)
}
