package server

import (
	"encoding/json"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/mf-run/mf/metadata/tables"
)

const hexDigits = "0123456789abcdef"

// appendString appends a text as a JSON string. What is not UTF-8 becomes the replacement character.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				b = append(append(b, s[start:i]...), "\ufffd"...)
				start = i + 1
			}
			i += size
			continue
		}
		if c >= 0x20 && c != '"' && c != '\\' {
			i++
			continue
		}
		b = append(b, s[start:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xf])
		}
		i++
		start = i
	}
	return append(append(b, s[start:]...), '"')
}

func appendNullable(b []byte, s *string) []byte {
	if s == nil {
		return append(b, "null"...)
	}
	return appendString(b, *s)
}

// appendRaw splices a column of JSON text in.
func appendRaw(b []byte, raw tables.JSON) []byte {
	if len(raw) == 0 {
		return append(b, "null"...)
	}
	return append(b, raw...)
}

// appendID appends what a run or task is called by: its name, or its number where it has none.
func appendID(b []byte, number int64, name *string) []byte {
	if name != nil {
		return appendString(b, *name)
	}
	return strconv.AppendInt(b, number, 10)
}

func appendTime(b []byte, ms int64) []byte {
	return strconv.AppendInt(append(b, `,"ts_epoch":`...), ms, 10)
}

func appendTags(b []byte, tags, system tables.JSON) []byte {
	b = appendRaw(append(b, `,"tags":`...), tags)
	return appendRaw(append(b, `,"system_tags":`...), system)
}

func appendHeartbeat(b []byte, at *int64) []byte {
	b = append(b, `,"last_heartbeat_ts":`...)
	if at == nil {
		return append(b, "null"...)
	}
	return strconv.AppendInt(b, *at, 10)
}

func appendFlow(b []byte, f *tables.Flow) []byte {
	b = appendString(append(b, `{"flow_id":`...), f.FlowID)
	b = appendNullable(append(b, `,"user_name":`...), f.UserName)
	b = appendTime(b, f.TsEpoch)
	return append(appendTags(b, f.Tags, f.SystemTags), '}')
}

// appendRun appends a run. verified adds the member "user" where the system tags vouch for the user's name: answers to
// GET have it.
func appendRun(b []byte, r *tables.Run, verified bool) []byte {
	b = appendString(append(b, `{"flow_id":`...), r.FlowID)
	b = appendID(append(b, `,"run_number":`...), r.RunNumber, r.RunID)
	b = appendNullable(append(b, `,"user_name":`...), r.UserName)
	b = appendTime(b, r.TsEpoch)
	b = appendTags(b, r.Tags, r.SystemTags)
	b = appendHeartbeat(b, r.LastHeartbeat)
	if verified && r.UserName != nil && hasTag(r.SystemTags, "user:", *r.UserName) {
		b = appendString(append(b, `,"user":`...), *r.UserName)
	}
	if r.Status != "" {
		b = appendString(append(b, `,"status":`...), r.Status)
	}
	return append(b, '}')
}

// appendStep appends a step, whose run_number is a string even where that of the run is a number.
func appendStep(b []byte, s *tables.Step) []byte {
	b = appendString(append(b, `{"flow_id":`...), s.FlowID)
	b = append(b, `,"run_number":`...)
	if s.RunID != nil {
		b = appendString(b, *s.RunID)
	} else {
		b = append(strconv.AppendInt(append(b, '"'), s.RunNumber, 10), '"')
	}
	b = appendString(append(b, `,"step_name":`...), s.StepName)
	b = appendNullable(append(b, `,"user_name":`...), s.UserName)
	b = appendTime(b, s.TsEpoch)
	return append(appendTags(b, s.Tags, s.SystemTags), '}')
}

// taskIDs are the members that say which task a row is of.
type taskIDs struct {
	flow     string
	run      int64
	runName  *string
	step     string
	task     int64
	taskName *string
}

func (t *taskIDs) append(b []byte) []byte {
	b = appendString(append(b, `"flow_id":`...), t.flow)
	b = appendID(append(b, `,"run_number":`...), t.run, t.runName)
	b = appendString(append(b, `,"step_name":`...), t.step)
	return appendID(append(b, `,"task_id":`...), t.task, t.taskName)
}

func appendTask(b []byte, t *tables.Task) []byte {
	ids := taskIDs{t.FlowID, t.RunNumber, t.RunID, t.StepName, t.TaskID, t.TaskName}
	b = ids.append(append(b, '{'))
	b = appendNullable(append(b, `,"user_name":`...), t.UserName)
	b = appendTime(b, t.TsEpoch)
	b = appendTags(b, t.Tags, t.SystemTags)
	return append(appendHeartbeat(b, t.LastHeartbeat), '}')
}

func appendMetadatum(b []byte, m *tables.Metadatum) []byte {
	b = strconv.AppendInt(append(b, `{"id":`...), m.ID, 10)
	ids := taskIDs{m.FlowID, m.RunNumber, m.RunID, m.StepName, m.TaskID, m.TaskName}
	b = ids.append(append(b, ','))
	b = appendString(append(b, `,"field_name":`...), m.FieldName)
	b = appendString(append(b, `,"value":`...), m.Value)
	b = appendString(append(b, `,"type":`...), m.Type)
	b = appendNullable(append(b, `,"user_name":`...), m.UserName)
	b = appendTime(b, m.TsEpoch)
	return append(appendTags(b, m.Tags, m.SystemTags), '}')
}

func appendArtifact(b []byte, a *tables.Artifact) []byte {
	ids := taskIDs{a.FlowID, a.RunNumber, a.RunID, a.StepName, a.TaskID, a.TaskName}
	b = ids.append(append(b, '{'))
	b = appendString(append(b, `,"name":`...), a.Name)
	b = appendString(append(b, `,"location":`...), a.Location)
	b = appendString(append(b, `,"ds_type":`...), a.DsType)
	b = appendNullable(append(b, `,"sha":`...), a.Sha)
	b = appendNullable(append(b, `,"type":`...), a.Type)
	b = appendNullable(append(b, `,"content_type":`...), a.ContentType)
	b = appendNullable(append(b, `,"user_name":`...), a.UserName)
	b = strconv.AppendInt(append(b, `,"attempt_id":`...), a.AttemptID, 10)
	b = appendTime(b, a.TsEpoch)
	return append(appendTags(b, a.Tags, a.SystemTags), '}')
}

// longList is the number of rows from which the size of a list is told in advance.
const longList = 64

// appendList appends rows as an array.
func appendList[T any](b []byte, rows []T, one func([]byte, *T) []byte) []byte {
	b = append(b, '[')
	before := len(b)
	for i := range rows {
		if i == longList { // room for all at once, by those so far
			b = slices.Grow(b, (len(b)-before)/longList*(len(rows)-longList)*9/8)
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = one(b, &rows[i])
	}
	return append(b, ']')
}

// appendTwice appends JSON text as a JSON string: some bodies are encoded twice.
func appendTwice(b, text []byte) []byte { return appendString(b, string(text)) }

// hasTag reports whether a column of tags holds the tag prefix+rest.
func hasTag(tags tables.JSON, prefix, rest string) bool {
	found := false
	eachElement(tags, func(v []byte) bool {
		if len(v) > 0 && v[0] == '"' {
			text := unquote(v)
			found = len(text) == len(prefix)+len(rest) && text[:len(prefix)] == prefix && text[len(prefix):] == rest
		}
		return !found
	})
	return found
}

// unquote reads a valid JSON string.
func unquote(raw []byte) string {
	if len(raw) < 2 {
		return ""
	}
	for _, c := range raw[1 : len(raw)-1] {
		if c == '\\' {
			var s string
			_ = json.Unmarshal(raw, &s) // valid, as the caller has checked
			return s
		}
	}
	return string(raw[1 : len(raw)-1])
}
