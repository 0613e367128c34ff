package stepfunctions

import (
	"bytes"
	"encoding/json"
)

// The parts of the Amazon States Language that are emitted. The order of the fields is that of the file: what a state is,
// what it does, what comes next.

// machine is a state machine, or the part of one that a branch or a Map state runs.
type machine struct {
	Comment         string           `json:"Comment,omitempty"`
	QueryLanguage   string           `json:"QueryLanguage,omitempty"`
	ProcessorConfig *processorConfig `json:"ProcessorConfig,omitempty"`
	StartAt         string           `json:"StartAt"`
	States          states           `json:"States"`
}

// states keeps its order, which is that of execution.
type states []namedState

type namedState struct {
	name  string
	state any // *task, *parallel or *mapState
	// then is the state's own, to be filled in.
	then *transition
}

// MarshalJSON writes an object.
func (s states) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, named := range s {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := writeJSON(&b, named.name); err != nil {
			return nil, err
		}
		b.WriteByte(':')
		if err := writeJSON(&b, named.state); err != nil {
			return nil, err
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// flow of control, the last fields of each state.
type transition struct {
	Output any    `json:"Output,omitempty"`
	Next   string `json:"Next,omitempty"`
	End    bool   `json:"End,omitempty"`
}

type task struct {
	Type      string    `json:"Type"`
	Comment   string    `json:"Comment,omitempty"`
	Resource  string    `json:"Resource"`
	Arguments submitJob `json:"Arguments"`
	Retry     []retrier `json:"Retry,omitempty"`
	transition
}

type parallel struct {
	Type     string    `json:"Type"`
	Branches []machine `json:"Branches"`
	Retry    []retrier `json:"Retry,omitempty"`
	transition
}

type mapState struct {
	Type           string            `json:"Type"`
	Comment        string            `json:"Comment,omitempty"`
	Items          []int             `json:"Items,omitempty"`
	ItemReader     *itemReader       `json:"ItemReader,omitempty"`
	ItemSelector   map[string]string `json:"ItemSelector"`
	MaxConcurrency int               `json:"MaxConcurrency"`
	// ToleratedFailureCount is for Distributed Maps only.
	ToleratedFailureCount *int    `json:"ToleratedFailureCount,omitempty"`
	ItemProcessor         machine `json:"ItemProcessor"`
	transition
}

type processorConfig struct {
	Mode          string `json:"Mode"`
	ExecutionType string `json:"ExecutionType,omitempty"`
}

type itemReader struct {
	Resource     string            `json:"Resource"`
	ReaderConfig map[string]string `json:"ReaderConfig"`
	Arguments    struct {
		Bucket string `json:"Bucket"`
		Key    string `json:"Key"`
	} `json:"Arguments"`
}

type retrier struct {
	ErrorEquals     []string `json:"ErrorEquals"`
	IntervalSeconds int64    `json:"IntervalSeconds,omitempty"`
	MaxAttempts     int      `json:"MaxAttempts"`
	BackoffRate     float64  `json:"BackoffRate,omitempty"`
	MaxDelaySeconds int      `json:"MaxDelaySeconds,omitempty"`
	JitterStrategy  string   `json:"JitterStrategy,omitempty"`
}

// submitJob is Batch's SubmitJob request, with capitals as Step Functions has them.
type submitJob struct {
	JobName            string      `json:"JobName"`
	JobQueue           string      `json:"JobQueue"`
	JobDefinition      string      `json:"JobDefinition"`
	ContainerOverrides overrides   `json:"ContainerOverrides"`
	Timeout            *jobTimeout `json:"Timeout,omitempty"`
}

type overrides struct {
	Command              []string      `json:"Command"`
	Environment          []keyValue    `json:"Environment,omitempty"`
	ResourceRequirements []requirement `json:"ResourceRequirements,omitempty"`
}

type keyValue struct {
	Name  string `json:"Name"`
	Value string `json:"Value"`
}

type requirement struct {
	Type  string `json:"Type"`
	Value string `json:"Value"`
}

type jobTimeout struct {
	AttemptDurationSeconds int64 `json:"AttemptDurationSeconds"`
}

// writeJSON writes v on one line, leaving <, > and & as they are.
func writeJSON(b *bytes.Buffer, v any) error {
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	b.Truncate(b.Len() - 1) // the line feed
	return nil
}
