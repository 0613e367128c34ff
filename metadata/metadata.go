// Package metadata records what ran: flows, runs, steps, tasks, their metadata, artifacts and tags.
//
// The model mirrors the tables of Metaflow's metadata service, so that one implementation can sit on SQLite and
// another on Metaflow's own Postgres schema. The datastore is the truth about what a task produced; metadata may lag
// behind it and can be rebuilt from it. A digest is opaque text here.
package metadata

import (
	"context"
	"errors"
	"time"
)

// The errors that callers tell apart with errors.Is.
var (
	ErrNotFound = errors.New("not found")
	// ErrExists: an object with that id is there already.
	ErrExists = errors.New("already exists")
	// ErrNewer: the database was made by a newer version.
	ErrNewer = errors.New("made by a newer version of mf")
	// ErrInvalidTag: a tag breaks the rules (see MutateTags).
	ErrInvalidTag = errors.New("invalid tag")
	// ErrCorrupt: the database is damaged, or none of ours.
	ErrCorrupt = errors.New("damaged metadata")
	// ErrClosed: the store or queue was closed before.
	ErrClosed = errors.New("closed")
	// ErrUnavailable: the store cannot be reached at the moment; the same call may go through later.
	ErrUnavailable = errors.New("not available at the moment")
	// ErrDenied: the store wants other credentials.
	ErrDenied = errors.New("access denied")
)

// Run is one run of a flow. Ids are text as in a pathspec: a decimal number minted by the store, or a name chosen by
// an engine, which never looks like a number.
type Run struct {
	FlowID string
	// RunID is the run's id; empty on CreateRun asks the store to mint a number.
	RunID      string
	UserName   string
	Tags       []string
	SystemTags []string
	// TsEpoch is the time of creation in milliseconds since 1970; CreateRun stamps it when zero.
	TsEpoch int64
	// LastHeartbeat is in seconds since 1970; 0 is never.
	LastHeartbeat int64

	// What follows is mf's own and kept beside Metaflow's columns.

	// Status is how the run stands; empty for a run of Metaflow's own.
	Status Status
	// FinishedMs is when Status became final, in milliseconds since 1970; 0 while running.
	FinishedMs int64
	// Origin is the run that this one resumes; empty for a fresh run.
	Origin string
	// Failure is one line that says why the run failed; empty otherwise.
	Failure string
}

// Status is how a run stands.
type Status string

// The statuses.
const (
	Running     Status = "running"
	Succeeded   Status = "succeeded"
	Failed      Status = "failed"
	Interrupted Status = "interrupted"
)

// Step is a step of a run.
type Step struct {
	FlowID, RunID, StepName string
	UserName                string
	Tags, SystemTags        []string
	TsEpoch                 int64
}

// Task is a task of a step.
type Task struct {
	FlowID, RunID, StepName string
	// TaskID is as RunID: a number or a name; empty on CreateTask asks the store to mint one.
	TaskID           string
	UserName         string
	Tags, SystemTags []string
	TsEpoch          int64
	LastHeartbeat    int64
}

// Metadatum is one named value of a task. Several may share a field name; the newest counts.
type Metadatum struct {
	FlowID, RunID, StepName, TaskID string
	FieldName, Value, Type          string
	// Tags hold "attempt_id:<n>" for a value that belongs to an attempt.
	Tags     []string
	UserName string
	TsEpoch  int64
}

// Artifact says that an attempt of a task has an artifact, and where its bytes are.
type Artifact struct {
	FlowID, RunID, StepName, TaskID string
	AttemptID                       int
	Name                            string
	// Location is ":root:" followed by the root of the datastore.
	Location string
	// DsType is the kind of datastore: "local", "s3", "gs" or "azure".
	DsType string
	Sha    string
	// Type is "metaflow.artifact".
	Type string
	// ContentType is the serialization, such as "pickle-v4".
	ContentType      string
	UserName         string
	Tags, SystemTags []string
	TsEpoch          int64
}

// Batch is a set of rows that are written together, in one transaction. Rows that exist already are left as they are
// (metadata rows are always added).
type Batch struct {
	Steps     []Step
	Tasks     []Task
	Metadata  []Metadatum
	Artifacts []Artifact
}

// Empty reports whether the batch holds nothing.
func (b *Batch) Empty() bool {
	return b.rows() == 0
}

// rows is the number of rows.
func (b *Batch) rows() int {
	return len(b.Steps) + len(b.Tasks) + len(b.Metadata) + len(b.Artifacts)
}

// Add appends the rows of another batch.
func (b *Batch) Add(o Batch) {
	b.Steps = append(b.Steps, o.Steps...)
	b.Tasks = append(b.Tasks, o.Tasks...)
	b.Metadata = append(b.Metadata, o.Metadata...)
	b.Artifacts = append(b.Artifacts, o.Artifacts...)
}

// Recorder writes. Implementations are safe for concurrent use, by several processes too.
type Recorder interface {
	// CreateRun registers a run, and its flow when that is new, and returns it with its id and time. ErrExists if a
	// given id is taken, ErrInvalidTag if a user tag breaks the rules of MutateTags.
	CreateRun(ctx context.Context, run Run) (Run, error)
	// UpdateRun sets the status, finish time and failure of an existing run, and its heartbeat unless that is zero.
	// Idempotent. ErrNotFound if absent.
	UpdateRun(ctx context.Context, run Run) error
	// Record writes a batch, all of it or nothing. Idempotent but for metadata rows. Rows without a time are stamped.
	// A row needs its parents (run, step, task), in the same batch or recorded before: ErrNotFound otherwise.
	Record(ctx context.Context, b Batch) error
	// MutateTags removes, then adds user tags of a run and returns those it has then, in order. At most 50 user tags
	// a run (only growth is refused), 1 to 500 characters each, valid UTF-8; system tags are neither removed nor
	// shadowed. ErrNotFound if the run is absent, ErrInvalidTag for a breach of these rules.
	MutateTags(ctx context.Context, flow, run string, add, remove []string) ([]string, error)
}

// TaskMinter makes tasks whose ids the store chooses. Implementations are safe as a Recorder is.
type TaskMinter interface {
	// CreateTask registers a task, and its step when that is new, and returns it with its id and time. An empty id is
	// replaced by a number greater than all of the run before (a store without a server counts from 0). ErrExists if a given id is taken, ErrNotFound if
	// the run is absent.
	CreateTask(ctx context.Context, task Task) (Task, error)
}

// Heart says that a run and tasks of it are alive. Implementations are safe as a Recorder is.
type Heart interface {
	// Beat refreshes the heartbeats and returns how long to wait before the next time. Tasks may be empty. Unknown ids are
	// ignored: a task may beat before it is registered.
	Beat(ctx context.Context, flow, run string, tasks []TaskRef) (time.Duration, error)
}

// RunQuery selects runs. Zero fields select everything.
type RunQuery struct {
	FlowID string
	Status Status
	// Tags must all be among the run's user or system tags.
	Tags []string
	// Limit bounds the number of runs; 0 is no bound.
	Limit int
}

// Reader reads. Lists are newest first; of rows of one time, the one recorded last comes first. A missing parent gives
// an empty list, a missing single object ErrNotFound. Tasks and artifacts show the tags that their run has now,
// whatever they were recorded with.
type Reader interface {
	Runs(ctx context.Context, q RunQuery) ([]Run, error)
	Run(ctx context.Context, flow, run string) (Run, error)
	// Tasks returns the tasks of a step; with an empty step, those of the whole run.
	Tasks(ctx context.Context, flow, run, step string) ([]Task, error)
	// Metadata returns the rows of one task, oldest first; with an empty task id, those of all tasks of the step;
	// with an empty step as well, those of the whole run.
	Metadata(ctx context.Context, flow, run, step, task string) ([]Metadatum, error)
	// Artifacts returns the artifacts of one task, all attempts, by attempt and name. With an empty task id (and an
	// empty step) those of all tasks of the step (of the run), in no particular order of the tasks.
	Artifacts(ctx context.Context, flow, run, step, task string) ([]Artifact, error)
}
