// Package tables is the row-level view of a metadata database: the rows of Metaflow's schema as its service shows them,
// null columns and hidden numbers included, and the operations that the service's routes are made of.
//
// metadata.Recorder and metadata.Reader are what mf itself needs; DB is what a server needs that every client of
// Metaflow can talk to. Postgres and SQLite implement both, over the same tables.
package tables

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// JSON is a column of JSON text, such as a list of tags; nil is SQL's null.
type JSON = json.RawMessage

// Flow is a row of flows_v3. A pointer that is nil is null, here and below.
type Flow struct {
	FlowID           string
	UserName         *string
	TsEpoch          int64 // milliseconds since 1970, stamped by the database's clock
	Tags, SystemTags JSON
}

// Run is a row of runs_v3.
type Run struct {
	FlowID string
	// RunNumber is the number that every run has, RunID the name that some are called by.
	RunNumber        int64
	RunID            *string
	UserName         *string
	TsEpoch          int64
	Tags, SystemTags JSON
	// LastHeartbeat is in seconds since 1970.
	LastHeartbeat *int64
	// Status is "running", "completed" or "failed", derived from the run's metadata; only Runs with Query.Status sets it.
	Status string
}

// Step is a row of steps_v3.
type Step struct {
	FlowID           string
	RunNumber        int64
	RunID            *string
	StepName         string
	UserName         *string
	TsEpoch          int64
	Tags, SystemTags JSON
}

// Task is a row of tasks_v3.
type Task struct {
	FlowID    string
	RunNumber int64
	RunID     *string
	StepName  string
	// TaskID is the number that every task has, TaskName the name that some are called by.
	TaskID           int64
	TaskName         *string
	UserName         *string
	TsEpoch          int64
	Tags, SystemTags JSON
	LastHeartbeat    *int64
}

// Metadatum is a row of metadata_v3.
type Metadatum struct {
	FlowID           string
	RunNumber        int64
	RunID            *string
	StepName         string
	TaskID           int64
	TaskName         *string
	ID               int64
	FieldName        string
	Value            string
	Type             string
	UserName         *string
	TsEpoch          int64
	Tags, SystemTags JSON
}

// Artifact is a row of artifact_v3.
type Artifact struct {
	FlowID           string
	RunNumber        int64
	RunID            *string
	StepName         string
	TaskID           int64
	TaskName         *string
	Name             string
	Location         string
	DsType           string
	Sha              *string
	Type             *string
	ContentType      *string
	UserName         *string
	AttemptID        int64
	TsEpoch          int64
	Tags, SystemTags JSON
}

// Key names a row by the texts of a path. Flow alone names a flow, Flow and Run a run, and so on. A Run or Task for which
// IsNumber holds is looked up by its number, any other by its name; a named run is found by its hidden number too.
type Key struct {
	Flow, Run, Step, Task string
}

// The errors that a server answers in ways of their own. Beside them, methods return metadata.ErrNotFound where a single
// row is absent, metadata.ErrUnavailable where the database cannot be reached at the moment, and *Error.
var (
	// ErrNoParent: the run or the task that new rows are to belong to is not registered.
	ErrNoParent = errors.New("the parent is not registered")
	// ErrConflict: another change of the same run's tags came in between; try again.
	ErrConflict = errors.New("conflicting concurrent change")
	// ErrNullTags: tags are to be changed of a run whose tag columns are null.
	ErrNullTags = errors.New("the run has null tags")
)

// SystemTagError says that a system tag was to be removed.
type SystemTagError struct{ Tag string }

// Error implements error.
func (e *SystemTagError) Error() string { return fmt.Sprintf("%q is a system tag", e.Tag) }

// Error is the database's refusal of a statement. SQLite's are translated to Postgres' codes.
type Error struct {
	// Code is the SQLSTATE: "23505" for a duplicate, "23503" for a missing parent, "22001" for a text that is too long,
	// "22003" for a number out of range, "2201B" for a bad regular expression, and others.
	Code string
	// Severity is such as "ERROR"; Message has no trailing newline and no values of rows beside what Postgres itself tells.
	Severity, Message string
}

// Error implements error.
func (e *Error) Error() string { return e.Message + " (SQLSTATE " + e.Code + ")" }

// The codes that the server answers in ways of their own.
const (
	UniqueViolation     = "23505"
	ForeignKeyViolation = "23503"
)

// Query selects and orders rows of a list: newest first, ties broken by the number, descending.
type Query struct {
	// Filters must all hold; fields and operators are known ones, the caller has checked them.
	Filters []Filter
	// Tags must all hold; only for runs.
	Tags []TagFilter
	// Page cuts the list; nil returns all rows, in no promised order.
	Page *Page
}

// Page is a piece of a list. Limit+1 rows are returned where there are as many, so that the caller sees that there is
// another page.
type Page struct {
	Limit int
	// After is the last row of the page before; nil for the first page.
	After *Cursor
}

// Cursor is the place of a row in a list.
type Cursor struct {
	TsEpoch int64
	// ID is the run_number, task_id or metadata id of the row; 0 in a list of flows.
	ID int64
	// Name is the flow_id in a list of flows, the artifact's name in a list of artifacts; empty in others.
	Name string
}

// Filter is one condition: any of the values fits.
type Filter struct {
	// Field is a name of RunFields or TaskFields.
	Field string
	// Op is "eq", "ne", "lt", "le", "gt", "ge", "co" (contains), "sw" (starts with), "ew" (ends with), "li" (like) or "is".
	// The four of texts ignore case and take % and _ in the value as wildcards.
	Op string
	// Values are as given; a nil one stands for null, which makes the condition "is null" whatever the operator.
	Values []*string
}

// TagFilter is a condition on a run's user and system tags together; null tags never fit.
type TagFilter struct {
	// Op is "all" or "any" of the values, or "likeall" or "likeany": the values as parts of the list's JSON text.
	Op     string
	Values []string
}

// The fields of filters. "user" is the user name where a system tag "user:<name>" vouches for it, "status" is derived.
var (
	RunFields  = []string{"flow_id", "run_number", "run_id", "user_name", "ts_epoch", "last_heartbeat_ts", "tags", "system_tags", "user", "status"}
	TaskFields = []string{"task_id", "task_name", "user_name", "ts_epoch", "last_heartbeat_ts"}
)

// DB is a metadata database with Metaflow's tables. Implementations are safe for concurrent use, by several processes
// too, and cache no row. What they stamp comes from their own clock. Rows of steps, tasks and artifacts carry, in Tags
// and SystemTags, those that their run has now.
type DB interface {
	// Ping asks the database, not just the connection.
	Ping(ctx context.Context) error

	// CreateFlow adds a flow. *Error with UniqueViolation if it exists.
	CreateFlow(ctx context.Context, f Flow) (Flow, error)
	Flow(ctx context.Context, flow string) (Flow, error)
	Flows(ctx context.Context, page *Page) ([]Flow, error)

	// CreateRun adds a run; its number is minted, whether it has a name or not. *Error with ForeignKeyViolation if the flow
	// is absent, with UniqueViolation if the name is taken.
	CreateRun(ctx context.Context, r Run) (Run, error)
	Run(ctx context.Context, k Key) (Run, error)
	// Runs lists the runs of a flow; an empty flow means all flows'. inactive is the number of seconds without a heartbeat
	// after which an unfinished run's derived status is "failed".
	Runs(ctx context.Context, flow string, q Query, inactive int64) ([]Run, error)
	// HeartbeatRun sets the heartbeat to now (seconds since 1970) unless it is younger than ten seconds, and reports whether
	// it did.
	HeartbeatRun(ctx context.Context, k Key, now int64) (bool, error)
	// MutateTags removes, then adds user tags in one serializable transaction and returns those the run has then. Nothing is
	// written when nothing changes. ErrConflict is returned, not retried. Errors: ErrConflict, ErrNullTags,
	// *SystemTagError, metadata.ErrNotFound. No limit on number and length of tags is kept here.
	MutateTags(ctx context.Context, k Key, add, remove []string) ([]string, error)

	// CreateStep adds a step. ErrNoParent if the run is absent, *Error with UniqueViolation if the step exists.
	CreateStep(ctx context.Context, k Key, s Step) (Step, error)
	Step(ctx context.Context, k Key) (Step, error)
	Steps(ctx context.Context, k Key) ([]Step, error)

	// CreateTask adds a task; its number is minted. With a heartbeat set, the run's is refreshed too, as HeartbeatRun does.
	// ErrNoParent if the run is absent, *Error with ForeignKeyViolation if the step is, with UniqueViolation if the name
	// is taken.
	CreateTask(ctx context.Context, k Key, t Task) (Task, error)
	Task(ctx context.Context, k Key) (Task, error)
	Tasks(ctx context.Context, k Key, q Query) ([]Task, error)
	// FilteredTasks lists, by number, the tasks of a step that have a metadata row with this field name (if not nil) whose
	// value matches this regular expression (if not nil). Only keys and names are filled in.
	FilteredTasks(ctx context.Context, k Key, field, pattern *string) ([]Task, error)
	// HeartbeatTask is HeartbeatRun for a task and, before it, for its run; it reports on the task's.
	HeartbeatTask(ctx context.Context, k Key, now int64) (bool, error)

	// AddMetadata adds rows in one round trip and returns how many were added: a row that the database refuses does not keep
	// the others out. ErrNoParent if run or task is absent. Of the keys of the rows nothing is read.
	AddMetadata(ctx context.Context, k Key, rows []Metadatum) (int, error)
	// TaskMetadata lists newest first, by ts_epoch and id; RunMetadata likewise where paged.
	TaskMetadata(ctx context.Context, k Key, page *Page) ([]Metadatum, error)
	RunMetadata(ctx context.Context, k Key, page *Page) ([]Metadatum, error)

	// AddArtifacts is AddMetadata for artifacts; a row that exists already is not counted.
	AddArtifacts(ctx context.Context, k Key, rows []Artifact) (int, error)
	// Artifacts lists those of a run, a step or a task, as far as k goes. Unpaged: the rows of each task's highest attempt.
	// Paged: of each task and name the newest row by ts_epoch, whatever its attempt; ordered by ts_epoch, task number and
	// name, descending.
	Artifacts(ctx context.Context, k Key, page *Page) ([]Artifact, error)
	// ArtifactsOfAttempt lists a task's artifacts of one attempt.
	ArtifactsOfAttempt(ctx context.Context, k Key, attempt int64) ([]Artifact, error)
	// Artifact returns one; a nil attempt means that of the newest row of the task named "name", or 0 without one.
	Artifact(ctx context.Context, k Key, name string, attempt *int64) (Artifact, error)
}
