package yaml

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	yamlv3 "gopkg.in/yaml.v3"
)

// compileSchema compiles the published schema, which also checks it against its own metaschema.
func compileSchema(t *testing.T) *jsonschema.Schema {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("flow.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("flow.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// asJSON decodes YAML as editors do before they apply a schema: into JSON data.
func asJSON(src []byte) (any, error) {
	var v any
	if err := yamlv3.Unmarshal(src, &v); err != nil {
		return nil, err
	}
	return jsonData(v), nil
}

func jsonData(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, item := range v {
			v[key] = jsonData(item)
		}
		return v
	case map[any]any:
		m := map[string]any{}
		for key, item := range v {
			m[fmt.Sprint(key)] = jsonData(item)
		}
		return m
	case []any:
		for i, item := range v {
			v[i] = jsonData(item)
		}
		return v
	case time.Time:
		return v.Format(time.DateOnly)
	}
	return v
}

// beyondSchema are the flows that only this package refuses, and why a schema cannot.
var beyondSchema = map[string]string{
	"yaml-bad-anchor":        "anchors are gone when a schema is applied",
	"yaml-bad-alias":         "as are aliases",
	"yaml-bad-cron-fields":   "the fields of a cron expression are not checked",
	"yaml-bad-placeholders":  "what a placeholder may name depends on the parameters",
	"yaml-bad-switch-keys":   "a schema sees keys as texts",
	"yaml-bad-merge-key":     "merge keys are merged by then",
	"yaml-bad-tag":           "tags have been applied by then",
	"yaml-bad-utf-16":        "UTF-16 is YAML, but no text for other tools to search and compare",
	"yaml-bad-too-deep":      "a schema does not count levels",
	"yaml-bad-two-documents": "editors apply the schema to each document",
	"yaml-bad-octal":         "YAML readers turn octal numbers into numbers",
}

func TestSchemaAgainstCorpus(t *testing.T) {
	schema := compileSchema(t)
	for folder, src := range corpusFiles(t) {
		t.Run(folder, func(t *testing.T) {
			v, err := asJSON(src)
			if err != nil {
				if isFlow(folder) {
					t.Fatal(err)
				}
				return // no YAML at all: nothing to apply a schema to
			}
			err = schema.Validate(v)
			_, beyond := beyondSchema[folder]
			switch {
			case isFlow(folder) && err != nil:
				t.Errorf("the schema refuses a flow:\n%v", err)
			case !isFlow(folder) && !beyond && err == nil:
				t.Error("the schema accepts what is no flow")
			case beyond && err != nil:
				t.Errorf("the schema does refuse it; take it out of beyondSchema:\n%v", err)
			}
		})
	}
}

// TestSchemaAgainstStructs holds the schema's properties and the decoder's fields together.
func TestSchemaAgainstStructs(t *testing.T) {
	var schema map[string]any
	if err := json.Unmarshal(Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	at := func(path string) map[string]any {
		var v any = schema
		for part := range strings.SplitSeq(path, "/") {
			switch in := v.(type) {
			case map[string]any:
				v = in[part]
			case []any:
				i := slices.IndexFunc(in, func(form any) bool { _, ok := form.(map[string]any)["properties"]; return ok })
				if i < 0 {
					t.Fatalf("%s: no form with properties", path)
				}
				v = in[i].(map[string]any)[part]
			}
		}
		m, ok := v.(map[string]any)
		if !ok {
			t.Fatalf("the schema has nothing at %s", path)
		}
		return m
	}
	for path, v := range map[string]any{
		"properties":                      document{},
		"properties/defaults/properties":  defaults{},
		"$defs/step/properties":           step{},
		"$defs/parameter/properties":      parameter{},
		"$defs/resources/properties":      resources{},
		"$defs/retry/anyOf/properties":    retry{},
		"$defs/catch/anyOf/properties":    catch{},
		"$defs/secrets/anyOf/properties":  secrets{},
		"$defs/schedule/anyOf/properties": schedule{},
		"$defs/project/anyOf/properties":  project{},
		"$defs/transition/properties":     transition{},
	} {
		fields := fieldNames(reflect.TypeOf(v))
		var properties []string
		for name, p := range at(path) {
			properties = append(properties, name)
			if !described(schema, p) {
				t.Errorf("%s/%s has no description", path, name)
			}
		}
		slices.Sort(fields)
		slices.Sort(properties)
		if !slices.Equal(fields, properties) {
			t.Errorf("%s: the decoder knows %v, the schema %v", path, fields, properties)
		}
	}
}

// described reports whether a property has a description, its own or that of what it refers to.
func described(schema map[string]any, p any) bool {
	m, _ := p.(map[string]any)
	if m["description"] != nil {
		return true
	}
	name, ok := m["$ref"].(string)
	if !ok {
		return false
	}
	return described(schema, schema["$defs"].(map[string]any)[strings.TrimPrefix(name, "#/$defs/")])
}
