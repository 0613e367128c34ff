package yaml

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	yamlv3 "gopkg.in/yaml.v3"

	"github.com/mf-run/mf/diag"
)

// homes says for fields that are often put in the wrong place where they belong.
var homes = []struct {
	in   reflect.Type
	what string
}{
	{reflect.TypeFor[document](), "the flow itself: write it at the top level of the file"},
	{reflect.TypeFor[defaults](), "a step: write it there, or below \"defaults\" for all steps"},
	{reflect.TypeFor[step](), "a step"},
	{reflect.TypeFor[transition](), "\"next\" in its map form"},
	{reflect.TypeFor[parameter](), "a parameter"},
	{reflect.TypeFor[resources](), "\"resources\""},
	{reflect.TypeFor[retry](), "\"retry\""},
	{reflect.TypeFor[schedule](), "\"schedule\""},
}

// synonyms are what people who come from other tools write.
var synonyms = map[string]string{
	"name": "flow", "params": "parameters", "inputs": "parameters", "tasks": "steps", "jobs": "steps", "environment": "env",
	"command": "run", "cmd": "run", "script": "run", "exec": "run", "args": "run", "entrypoint": "run", "needs": "next",
	"depends_on": "next", "then": "next", "container": "image", "retries": "retry", "mem": "memory", "ram": "memory", "cpus": "cpu",
	"gpus": "gpu", "doc": "description", "desc": "description", "expression": "cron", "tz": "timezone", "items": "foreach",
	"delay": "minutes_between", "minutes_between_retries": "minutes_between", "attempts": "times", "count": "times",
	"condition": "switch", "num_parallel": "parallel", "reduce": "join", "short_name": "option",
}

// unknownField reports a key that a struct does not know, with the nearest one that it does or where it belongs.
func (d *decoder) unknownField(key *yamlv3.Node, t reflect.Type, path string) {
	d.errorf(d.span(key), "unknown-field", "unknown field %q in %s", key.Value, d.place(path, t)).
		detail("%s", unknownFieldHint(key.Value, t))
}

func unknownFieldHint(field string, t reflect.Type) string {
	if field == "default" && t == reflect.TypeFor[transition]() {
		return "A switch has no default: give a case for each value that the artifact can have."
	}
	known := fieldNames(t)
	if near := diag.Nearest(field, known); near != "" {
		return fmt.Sprintf("Did you mean %q?", near)
	}
	if near := synonyms[strings.ToLower(field)]; slices.Contains(known, near) {
		return fmt.Sprintf("The field for that is %q.", near)
	}
	for _, home := range homes {
		if home.in != t && slices.Contains(fieldNames(home.in), field) {
			return fmt.Sprintf("%q belongs to %s.", field, home.what)
		}
	}
	if len(known) == 1 {
		return fmt.Sprintf("The only field is %q.", known[0])
	}
	return "The fields are " + strings.Join(known, ", ") + "."
}

// place names what the path points at for a person.
func (d *decoder) place(path string, t reflect.Type) string {
	switch t {
	case reflect.TypeFor[document]():
		return "the flow"
	case reflect.TypeFor[step]():
		return fmt.Sprintf("the step %q", d.entryName(path))
	case reflect.TypeFor[parameter]():
		return fmt.Sprintf("the parameter %q", d.entryName(path))
	case reflect.TypeFor[transition]():
		return `"next"`
	}
	return fmt.Sprintf("%q", lastName(path))
}

// entryName is the key of the entry of an ordered map whose value has the path.
func (d *decoder) entryName(path string) string {
	if key := d.keys[strings.TrimSuffix(path, ".value")]; key != nil {
		return key.Value
	}
	return ""
}

// lastName is the last field in a path, less indices and the entries of maps.
func lastName(path string) string {
	path = strings.TrimSuffix(path, ".value")
	last := path[strings.LastIndexByte(path, '.')+1:]
	last, _, _ = strings.Cut(last, "[")
	return last
}
