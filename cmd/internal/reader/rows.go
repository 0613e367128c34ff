package reader

import (
	"encoding/json"
	"slices"

	"github.com/mf-run/mf/metadata"
)

// row is an object as the client has it: with the columns of Metaflow's tables. Absent ones are left out.
type row map[string]any

// named is an object and its name, the last part of its pathspec.
type named struct {
	Name string
	Row  row
}

// MarshalJSON implements json.Marshaler: a pair.
func (n named) MarshalJSON() ([]byte, error) { return json.Marshal([]any{n.Name, n.Row}) }

// texts makes an empty array of what would be null.
func texts(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

func runRow(r metadata.Run) row {
	return row{
		"flow_id": r.FlowID, "run_number": r.RunID, "user_name": r.UserName, "tags": texts(r.Tags),
		"system_tags": texts(r.SystemTags), "ts_epoch": r.TsEpoch,
	}
}

func stepRow(s metadata.Step) row {
	return row{
		"flow_id": s.FlowID, "run_number": s.RunID, "step_name": s.StepName, "user_name": s.UserName, "tags": texts(s.Tags),
		"system_tags": texts(s.SystemTags), "ts_epoch": s.TsEpoch,
	}
}

func taskRow(t metadata.Task) row {
	return row{
		"flow_id": t.FlowID, "run_number": t.RunID, "step_name": t.StepName, "task_id": t.TaskID, "user_name": t.UserName,
		"tags": texts(t.Tags), "system_tags": texts(t.SystemTags), "ts_epoch": t.TsEpoch,
	}
}

func metadatumRow(m metadata.Metadatum) row {
	var value any = m.Value
	if m.FieldName == "foreach-stack" {
		var list []any
		if json.Unmarshal([]byte(m.Value), &list) == nil {
			value = list
		}
	}
	return row{
		"flow_id": m.FlowID, "run_number": m.RunID, "step_name": m.StepName, "task_id": m.TaskID, "field_name": m.FieldName,
		"value": value, "type": m.Type, "tags": texts(m.Tags), "user_name": m.UserName, "ts_epoch": m.TsEpoch,
	}
}

func artifactRow(a metadata.Artifact) row {
	return row{
		"flow_id": a.FlowID, "run_number": a.RunID, "step_name": a.StepName, "task_id": a.TaskID, "attempt_id": a.AttemptID,
		"name": a.Name, "content_type": a.ContentType, "type": a.Type, "sha": a.Sha, "ds_type": a.DsType,
		"location": a.Location, "user_name": a.UserName, "tags": texts(a.Tags), "system_tags": texts(a.SystemTags),
		"ts_epoch": a.TsEpoch,
	}
}

// stepsOf are the steps that tasks are of: each is as old as its first task.
func stepsOf(tasks []metadata.Task) []metadata.Step {
	var steps []metadata.Step
	for _, t := range tasks {
		i := slices.IndexFunc(steps, func(s metadata.Step) bool { return s.StepName == t.StepName })
		if i < 0 {
			i = len(steps)
			steps = append(steps, metadata.Step{
				FlowID: t.FlowID, RunID: t.RunID, StepName: t.StepName, UserName: t.UserName, Tags: t.Tags,
				SystemTags: t.SystemTags, TsEpoch: t.TsEpoch,
			})
		}
		steps[i].TsEpoch = min(steps[i].TsEpoch, t.TsEpoch)
	}
	return steps
}
