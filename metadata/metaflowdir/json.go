package metaflowdir

import (
	"encoding/json"
	"strconv"
	"unicode/utf16"

	"github.com/mf-run/mf/metadata"
)

// The functions below write the objects as Metaflow does, by Python's json.dumps: the same keys in the same order,
// ", " and ": " between them, and ASCII only, for the client opens the files in the locale's encoding.

func flowJSON(flow string, ts int64) []byte {
	b := append([]byte(nil), '{')
	b = appendText(b, "flow_id", flow)
	return append(appendInt(b, "ts_epoch", ts), '}')
}

func runJSON(r *metadata.Run) []byte {
	b := append([]byte(nil), '{')
	b = appendText(b, "run_number", r.RunID)
	b = appendBase(b, base{r.FlowID, r.UserName, r.Tags, r.SystemTags, r.TsEpoch})
	return append(b, '}')
}

func stepJSON(s *metadata.Step) []byte {
	b := append([]byte(nil), '{')
	b = appendText(b, "run_number", s.RunID)
	b = appendText(b, "step_name", s.StepName)
	b = appendBase(b, base{s.FlowID, s.UserName, s.Tags, s.SystemTags, s.TsEpoch})
	return append(b, '}')
}

func appendTask(b []byte, t *metadata.Task) []byte {
	b = append(b, '{')
	b = appendText(b, "run_number", t.RunID)
	b = appendText(b, "step_name", t.StepName)
	b = appendText(b, "task_id", t.TaskID)
	b = appendBase(b, base{t.FlowID, t.UserName, t.Tags, t.SystemTags, t.TsEpoch})
	return append(b, '}')
}

func appendArtifact(b []byte, a *metadata.Artifact) []byte {
	b = append(b, '{')
	b = appendText(b, "run_number", a.RunID)
	b = appendText(b, "step_name", a.StepName)
	b = appendText(b, "task_id", a.TaskID)
	b = appendInt(b, "attempt_id", int64(a.AttemptID))
	b = appendText(b, "name", a.Name)
	b = appendText(b, "content_type", a.ContentType)
	b = appendText(b, "type", a.Type)
	b = appendText(b, "sha", a.Sha)
	b = appendText(b, "ds_type", a.DsType)
	b = appendText(b, "location", a.Location)
	b = appendBase(b, base{a.FlowID, a.UserName, a.Tags, a.SystemTags, a.TsEpoch})
	return append(b, '}')
}

func appendMetadatum(b []byte, m *metadata.Metadatum) []byte {
	b = append(b, '{')
	b = appendText(b, "flow_id", m.FlowID)
	b = appendText(b, "run_number", m.RunID)
	b = appendText(b, "step_name", m.StepName)
	b = appendText(b, "task_id", m.TaskID)
	b = appendText(b, "field_name", m.FieldName)
	b = appendText(b, "type", m.Type)
	if list, ok := stackValue(m); ok {
		b = appendTexts(b, "value", list)
	} else {
		b = appendText(b, "value", m.Value)
	}
	b = appendTexts(b, "tags", m.Tags)
	b = appendText(b, "user_name", m.UserName)
	return append(appendInt(b, "ts_epoch", m.TsEpoch), '}')
}

// stackValue returns the value of "foreach-stack", which alone is a list here rather than a text.
func stackValue(m *metadata.Metadatum) ([]string, bool) {
	if m.FieldName != "foreach-stack" {
		return nil, false
	}
	var list []string
	err := json.Unmarshal([]byte(m.Value), &list)
	return list, err == nil
}

// base is what runs, steps, tasks and artifacts have in common.
type base struct {
	flow, user   string
	tags, system []string
	ts           int64
}

func appendBase(b []byte, o base) []byte {
	b = appendText(b, "flow_id", o.flow)
	b = appendText(b, "user_name", o.user)
	b = appendTexts(b, "tags", o.tags)
	b = appendTexts(b, "system_tags", o.system)
	return appendInt(b, "ts_epoch", o.ts)
}

// appendKey begins a member. A key needs no escaping.
func appendKey(b []byte, key string) []byte {
	if b[len(b)-1] != '{' {
		b = append(b, ", "...)
	}
	b = append(b, '"')
	b = append(b, key...)
	return append(b, `": `...)
}

func appendText(b []byte, key, value string) []byte { return appendQuoted(appendKey(b, key), value) }

func appendInt(b []byte, key string, value int64) []byte {
	return strconv.AppendInt(appendKey(b, key), value, 10)
}

func appendTexts(b []byte, key string, list []string) []byte {
	b = append(appendKey(b, key), '[')
	for i, s := range list {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = appendQuoted(b, s)
	}
	return append(b, ']')
}

const hexDigits = "0123456789abcdef"

// appendQuoted appends a JSON string in ASCII. A byte that is no UTF-8 becomes U+FFFD.
func appendQuoted(b []byte, s string) []byte {
	b = append(b, '"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', byte(c))
		case c >= ' ' && c <= '~':
			b = append(b, byte(c))
		case c == '\n':
			b = append(b, `\n`...)
		case c == '\r':
			b = append(b, `\r`...)
		case c == '\t':
			b = append(b, `\t`...)
		case c == '\b':
			b = append(b, `\b`...)
		case c == '\f':
			b = append(b, `\f`...)
		case c <= 0xFFFF:
			b = appendUnit(b, c)
		default:
			high, low := utf16.EncodeRune(c)
			b = appendUnit(appendUnit(b, high), low)
		}
	}
	return append(b, '"')
}

func appendUnit(b []byte, c rune) []byte {
	return append(b, '\\', 'u', hexDigits[c>>12&15], hexDigits[c>>8&15], hexDigits[c>>4&15], hexDigits[c&15])
}
