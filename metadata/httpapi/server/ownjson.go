package server

import (
	"strconv"

	"github.com/mf-run/mf/metadata"
)

// The rows of mf's routes, as encoding/json encodes them.

func appendTexts(b []byte, list []string) []byte {
	if list == nil {
		return append(b, "null"...)
	}
	return appendList(b, list, func(b []byte, s *string) []byte { return appendString(b, *s) })
}

func appendOwnRun(b []byte, r *metadata.Run) []byte {
	b = appendString(append(b, `{"FlowID":`...), r.FlowID)
	b = appendString(append(b, `,"RunID":`...), r.RunID)
	b = appendString(append(b, `,"UserName":`...), r.UserName)
	b = appendTexts(append(b, `,"Tags":`...), r.Tags)
	b = appendTexts(append(b, `,"SystemTags":`...), r.SystemTags)
	b = strconv.AppendInt(append(b, `,"TsEpoch":`...), r.TsEpoch, 10)
	b = strconv.AppendInt(append(b, `,"LastHeartbeat":`...), r.LastHeartbeat, 10)
	b = appendString(append(b, `,"Status":`...), string(r.Status))
	b = strconv.AppendInt(append(b, `,"FinishedMs":`...), r.FinishedMs, 10)
	b = appendString(append(b, `,"Origin":`...), r.Origin)
	return append(appendString(append(b, `,"Failure":`...), r.Failure), '}')
}

func appendOwnTask(b []byte, t *metadata.Task) []byte {
	b = appendString(append(b, `{"FlowID":`...), t.FlowID)
	b = appendString(append(b, `,"RunID":`...), t.RunID)
	b = appendString(append(b, `,"StepName":`...), t.StepName)
	b = appendString(append(b, `,"TaskID":`...), t.TaskID)
	b = appendString(append(b, `,"UserName":`...), t.UserName)
	b = appendTexts(append(b, `,"Tags":`...), t.Tags)
	b = appendTexts(append(b, `,"SystemTags":`...), t.SystemTags)
	b = strconv.AppendInt(append(b, `,"TsEpoch":`...), t.TsEpoch, 10)
	b = strconv.AppendInt(append(b, `,"LastHeartbeat":`...), t.LastHeartbeat, 10)
	return append(b, '}')
}

func appendOwnMetadatum(b []byte, m *metadata.Metadatum) []byte {
	b = appendString(append(b, `{"FlowID":`...), m.FlowID)
	b = appendString(append(b, `,"RunID":`...), m.RunID)
	b = appendString(append(b, `,"StepName":`...), m.StepName)
	b = appendString(append(b, `,"TaskID":`...), m.TaskID)
	b = appendString(append(b, `,"FieldName":`...), m.FieldName)
	b = appendString(append(b, `,"Value":`...), m.Value)
	b = appendString(append(b, `,"Type":`...), m.Type)
	b = appendTexts(append(b, `,"Tags":`...), m.Tags)
	b = appendString(append(b, `,"UserName":`...), m.UserName)
	return append(strconv.AppendInt(append(b, `,"TsEpoch":`...), m.TsEpoch, 10), '}')
}

func appendOwnArtifact(b []byte, a *metadata.Artifact) []byte {
	b = appendString(append(b, `{"FlowID":`...), a.FlowID)
	b = appendString(append(b, `,"RunID":`...), a.RunID)
	b = appendString(append(b, `,"StepName":`...), a.StepName)
	b = appendString(append(b, `,"TaskID":`...), a.TaskID)
	b = strconv.AppendInt(append(b, `,"AttemptID":`...), int64(a.AttemptID), 10)
	b = appendString(append(b, `,"Name":`...), a.Name)
	b = appendString(append(b, `,"Location":`...), a.Location)
	b = appendString(append(b, `,"DsType":`...), a.DsType)
	b = appendString(append(b, `,"Sha":`...), a.Sha)
	b = appendString(append(b, `,"Type":`...), a.Type)
	b = appendString(append(b, `,"ContentType":`...), a.ContentType)
	b = appendString(append(b, `,"UserName":`...), a.UserName)
	b = appendTexts(append(b, `,"Tags":`...), a.Tags)
	b = appendTexts(append(b, `,"SystemTags":`...), a.SystemTags)
	return append(strconv.AppendInt(append(b, `,"TsEpoch":`...), a.TsEpoch, 10), '}')
}
