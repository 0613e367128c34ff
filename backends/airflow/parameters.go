package airflow

import (
	"encoding/json"
	"strings"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/ir"
)

// asText reports whether a parameter's value is a text for Airflow: a JSON value and a file's content are given as such.
func asText(p *ir.Parameter) bool {
	return p.Type == ir.StringType || p.Type == ir.JSONType || p.Type == ir.FileType
}

// schemaTypes are the JSON Schema names of the other types.
var schemaTypes = map[ir.ParameterType]string{ir.IntType: "integer", ir.FloatType: "number", ir.BoolType: "boolean"}

// params returns the DAG's parameters, by the names under which users give them.
func (e *emitter) params() dict {
	var d dict
	for i := range e.flow.Parameters {
		p := &e.flow.Parameters[i]
		kind := "string"
		if !asText(p) {
			kind = schemaTypes[p.Type]
		}
		c := call{function: "Param"}
		fallback, known := backends.DefaultText(p)
		switch {
		case known && asText(p):
			c.arguments = append(c.arguments, entry{"", fallback}, entry{"type", kind})
		case known:
			c.arguments = append(c.arguments, entry{"", pythonJSON(p.Default)}, entry{"type", kind})
		case backends.MustBeGiven(p):
			c.arguments = append(c.arguments, entry{"type", kind})
		default:
			c.arguments = append(c.arguments, entry{"", nil}, entry{"type", list{"null", kind}})
		}
		if p.Help != "" {
			c.arguments = append(c.arguments, entry{"description", p.Help})
		}
		d = append(d, entry{p.Option, c})
	}
	return d
}

// pythonJSON writes a number or a truth value; a value of another type than its parameter's is the compiler's to refuse.
func pythonJSON(value json.RawMessage) any {
	switch text := strings.TrimSpace(string(value)); text {
	case "true":
		return true
	case "false":
		return false
	default:
		var s string
		if json.Unmarshal(value, &s) == nil {
			return s
		}
		return raw(strings.ToLower(text))
	}
}

// parameterTemplate makes Airflow write a parameter's value for the environment: texts as they are, others as JSON,
// nothing for none.
func parameterTemplate(p *ir.Parameter) string {
	name := "params[" + jinjaString(p.Option) + "]"
	value := name
	if !asText(p) {
		value += " | tojson"
	}
	if _, known := backends.DefaultText(p); !known && !backends.MustBeGiven(p) {
		value = "'' if " + name + " is none else " + value
	}
	return "{{ " + value + " }}"
}
