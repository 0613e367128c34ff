// Package backends is what every target has in common: the Backend interface, the options of a compile, and the
// readings of a flow's decorators (retries, timeout, resources, image, environment, schedule, project) that all
// targets share, so that the same flow means the same everywhere.
//
// A backend turns a checked flow into the files that its target reads. It knows the IR and nothing of source
// languages; it never imports a sibling. The list of backends is in backends/registry.
package backends

import (
	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

// Defaults that several targets share.
const (
	// DefaultImage is the container image of steps that name none.
	DefaultImage = "python:3.12-slim"
	// DefaultTaskImage is the repository of the image that carries mf-task; the version of mf is its tag.
	DefaultTaskImage = "ghcr.io/mf-run/mf-task"
	// TaskProgram is where that image holds mf-task.
	TaskProgram = "/mf-task"
	// DefaultMaxWorkers bounds how many tasks of a run work at once.
	DefaultMaxWorkers = 100
	// DefaultDatastore stands in for the datastore's URL in what was compiled without one. It is no working address:
	// whoever deploys replaces it, and deploying refuses it.
	DefaultDatastore = "s3://REPLACE-WITH-BUCKET/mf"
	// DefaultTimeoutSeconds bounds a task without @timeout: five days, as Metaflow has it.
	DefaultTimeoutSeconds = 5 * 24 * 60 * 60
)

// Options are what a compile is told besides the flow. The zero value is usable: every field has a default, which
// WithDefaults fills in.
type Options struct {
	// Name is the deployed name; empty: derived from the flow's (and its project's) by the backend's own rule.
	Name string
	// Image is the container image of steps that name none; empty: DefaultImage.
	Image string
	// TaskImage is the image that carries mf-task; empty: DefaultTaskImage with Version as tag.
	TaskImage string
	// MaxWorkers bounds how many tasks work at once; 0: DefaultMaxWorkers.
	MaxWorkers int
	// Branch and Production are those of @project; see Project.
	Branch     string
	Production bool
	// User is who compiles; it names the branch of a @project flow that is given neither Branch nor Production. Empty:
	// "unknown".
	User string
	// Datastore is the root of the datastore as a URL, such as s3://bucket/prefix; empty: DefaultDatastore.
	Datastore string
	// ServiceURL is the address of the metadata service as tasks reach it; empty: none.
	ServiceURL string
	// Package is the digest of the code package; empty when compiled offline.
	Package string
	// Pack is how many splits of a foreach one container runs, for foreaches that PackSteps does not name and whose bodies
	// can be packed; 0 or 1: one each.
	Pack int
	// PackSteps is Pack for single foreaches, by the first step of the body; for a recursive step it is how many rounds one
	// container runs.
	PackSteps map[string]int
	// Origin is the id of the run that the runs of this compile resume; empty for ordinary ones.
	Origin string
	// Instance makes this compile one of its own beside the deployment, for a single run: it is appended to the name after a
	// "-", and nothing that would start runs (schedules, triggers) is emitted. Empty for a deployment.
	Instance string
	// Done is what the run of this compile has taken over, so that nothing need be started for it; nil: nothing. It has a
	// meaning together with Instance only. A backend may leave it alone: what has succeeded is not run again anyway.
	Done *Done
	// Token is Metaflow's production token of the deployment; empty: none. It is no secret: it says whose runs they are.
	Token string
	// Tags are the user's tags of every run.
	Tags []string
	// Version is mf's own, for the header and the tag of TaskImage; empty: "dev".
	Version string
	// Env is set in every container, below @environment and what mf itself sets.
	Env map[string]string
	// Settings are the target's own, by the names that Backend.Settings lists, such as "argo.namespace". Those of
	// other targets (another word before the dot) are left alone.
	Settings map[string]string
}

// File is one emitted file.
type File struct {
	// Path is relative to the output folder, slash-separated.
	Path string
	Data []byte
}

// Setting describes one of a target's own settings.
type Setting struct {
	// Name is "<prefix>.<word>", the prefix being the same for all settings of one backend.
	Name string
	// Default is the value where none is given; empty where there is none.
	Default string
	// Help is one sentence without a full stop.
	Help string
}

// Backend emits the files of one target.
type Backend interface {
	// Features says what the target can do; its Target is the name that users give. The compiler refuses what is
	// missing before Emit is asked. The result is the caller's to keep and not to change.
	Features() ir.Features
	// Settings lists the target's own settings in the order of its documentation.
	Settings() []Setting
	// Emit returns the target's files, the most important first. It is pure (offline, no clock, no environment) and
	// safe for concurrent use; the same flow and options give the same bytes. It changes neither. The flow has passed
	// the compiler's checks; Emit still answers a flow that the target cannot run with diagnostics, not with a file
	// that is wrong. Where the list holds an error there are no files.
	Emit(f *ir.Flow, opt Options) ([]File, diag.List)
}

// Deployer is a Backend whose files can be put on a running engine.
type Deployer interface {
	Backend
	// DeployedName returns the name under which the flow is deployed, or the findings that keep it from having one.
	DeployedName(f *ir.Flow, opt Options) (string, diag.List)
	// RunID returns the run's id in datastore and metadata for the engine's own name of the run.
	RunID(run string) string
	// Runtime is Metaflow's name of the engine (ir.EnvRuntime).
	Runtime() string
}
