package client

import (
	"cmp"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/mf-run/mf/metadata"
)

// text is a JSON string; also read from a number, as ids are, and from null, which is empty.
type text string

// UnmarshalJSON implements json.Unmarshaler.
func (t *text) UnmarshalJSON(data []byte) error {
	var s string
	switch {
	case string(data) == "null":
		*t = ""
		return nil
	case len(data) > 0 && data[0] == '"':
		err := json.Unmarshal(data, &s)
		*t = text(s)
		return err
	}
	*t = text(data)
	return nil
}

// metaflowRow is any object of Metaflow's service.
type metaflowRow struct {
	FlowID      text     `json:"flow_id"`
	RunNumber   text     `json:"run_number"`
	StepName    text     `json:"step_name"`
	TaskID      text     `json:"task_id"`
	UserName    text     `json:"user_name"`
	TsEpoch     int64    `json:"ts_epoch"`
	Tags        []string `json:"tags"`
	SystemTags  []string `json:"system_tags"`
	Heartbeat   int64    `json:"last_heartbeat_ts"`
	Status      text     `json:"status"`
	ID          int64    `json:"id"`
	FieldName   text     `json:"field_name"`
	Value       text     `json:"value"`
	Type        text     `json:"type"`
	Name        text     `json:"name"`
	Location    text     `json:"location"`
	DsType      text     `json:"ds_type"`
	Sha         text     `json:"sha"`
	ContentType text     `json:"content_type"`
	AttemptID   int      `json:"attempt_id"`
}

func (r *metaflowRow) run() metadata.Run {
	return metadata.Run{
		FlowID: string(r.FlowID), RunID: string(r.RunNumber), UserName: string(r.UserName), Tags: r.Tags,
		SystemTags: r.SystemTags, TsEpoch: r.TsEpoch, LastHeartbeat: r.Heartbeat, Status: statuses[r.Status],
	}
}

// statuses are the statuses that Metaflow's service derives.
var statuses = map[text]metadata.Status{
	"running": metadata.Running, "completed": metadata.Succeeded, "failed": metadata.Failed,
}

func (r *metaflowRow) task() metadata.Task {
	return metadata.Task{
		FlowID: string(r.FlowID), RunID: string(r.RunNumber), StepName: string(r.StepName), TaskID: string(r.TaskID),
		UserName: string(r.UserName), Tags: r.Tags, SystemTags: r.SystemTags, TsEpoch: r.TsEpoch, LastHeartbeat: r.Heartbeat,
	}
}

func (r *metaflowRow) metadatum() metadata.Metadatum {
	return metadata.Metadatum{
		FlowID: string(r.FlowID), RunID: string(r.RunNumber), StepName: string(r.StepName), TaskID: string(r.TaskID),
		FieldName: string(r.FieldName), Value: string(r.Value), Type: string(r.Type), Tags: r.Tags,
		UserName: string(r.UserName), TsEpoch: r.TsEpoch,
	}
}

func (r *metaflowRow) artifact() metadata.Artifact {
	return metadata.Artifact{
		FlowID: string(r.FlowID), RunID: string(r.RunNumber), StepName: string(r.StepName), TaskID: string(r.TaskID),
		AttemptID: r.AttemptID, Name: string(r.Name), Location: string(r.Location), DsType: string(r.DsType),
		Sha: string(r.Sha), Type: string(r.Type), ContentType: string(r.ContentType), UserName: string(r.UserName),
		Tags: r.Tags, SystemTags: r.SystemTags, TsEpoch: r.TsEpoch,
	}
}

// newObject is the body that makes a flow, run, step or task. Metaflow's service stamps its own time.
type newObject struct {
	FlowID     string   `json:"flow_id"`
	RunNumber  string   `json:"run_number,omitempty"`
	StepName   string   `json:"step_name,omitempty"`
	TaskID     string   `json:"task_id,omitempty"`
	UserName   string   `json:"user_name,omitempty"`
	Tags       []string `json:"tags,omitempty"`
	SystemTags []string `json:"system_tags,omitempty"`
	TsEpoch    int64    `json:"ts_epoch,omitempty"`
}

type newMetadatum struct {
	FlowID    string   `json:"flow_id"`
	RunNumber string   `json:"run_number"`
	StepName  string   `json:"step_name"`
	TaskID    string   `json:"task_id"`
	FieldName string   `json:"field_name"`
	Value     string   `json:"value"`
	Type      string   `json:"type"`
	Tags      []string `json:"tags"`
	UserName  string   `json:"user_name"`
	TsEpoch   int64    `json:"ts_epoch"`
}

type newArtifact struct {
	FlowID      string   `json:"flow_id"`
	RunNumber   string   `json:"run_number"`
	StepName    string   `json:"step_name"`
	TaskID      string   `json:"task_id"`
	AttemptID   int      `json:"attempt_id"`
	Name        string   `json:"name"`
	Location    string   `json:"location"`
	DsType      string   `json:"ds_type"`
	Sha         string   `json:"sha"`
	Type        string   `json:"type"`
	ContentType string   `json:"content_type"`
	UserName    string   `json:"user_name"`
	Tags        []string `json:"tags"`
	SystemTags  []string `json:"system_tags"`
	TsEpoch     int64    `json:"ts_epoch"`
}

// isMinted reports whether an id is a number, which Metaflow's service gives and never takes.
func isMinted(id string) bool {
	return id != "" && strings.Trim(id, "0123456789") == ""
}

// compareIDs orders numbers by value, names after them.
func compareIDs(a, b string) int {
	m, errM := strconv.ParseInt(a, 10, 64)
	n, errN := strconv.ParseInt(b, 10, 64)
	switch {
	case errM == nil && errN == nil:
		return cmp.Compare(m, n)
	case errM == nil:
		return -1
	case errN == nil:
		return 1
	}
	return cmp.Compare(a, b)
}
