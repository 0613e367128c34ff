package metadata

import "context"

// Flow is a flow that has been run.
type Flow struct {
	FlowID string
	// TsEpoch is the time of its first run in milliseconds since 1970.
	TsEpoch int64
}

// Lookup is a Reader that finds objects without reading long lists. Lists are in no order; a missing parent gives an empty
// one, a missing single object ErrNotFound.
type Lookup interface {
	Flows(ctx context.Context) ([]Flow, error)
	Flow(ctx context.Context, flow string) (Flow, error)
	Steps(ctx context.Context, flow, run string) ([]Step, error)
	Step(ctx context.Context, flow, run, step string) (Step, error)
	Task(ctx context.Context, t TaskRef) (Task, error)
}
