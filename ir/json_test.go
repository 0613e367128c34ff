package ir_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
	"github.com/mf-run/mf/ir/irtest"
)

// full is a flow that uses every field.
func full() *ir.Flow {
	span := diag.Span{File: "f.py", Line: 3, Col: 5, EndLine: 3, EndCol: 9}
	return &ir.Flow{
		Version: ir.Version, Name: "Full", Doc: "A <flow> & \"all\"\nof it",
		Source: ir.Source{Language: ir.Python, File: "f.py", Class: "Full"}, Span: span, Start: "start", End: "end",
		Parameters: []ir.Parameter{
			{Name: "a", Option: "a-b", Type: ir.JSONType, Default: json.RawMessage(`{"x":[1,2.5,null]}`), Required: true,
				Help: "h", HideDefault: true, Span: span},
			{Name: "s", Option: "s", Type: ir.StringType, Separator: ",", DefaultFunc: "make"},
			{Name: "f", Option: "f", Type: ir.FileType, Binary: true, Encoding: "latin-1", Parser: "json.loads"},
		},
		Configs: []ir.Config{{Name: "c", Option: "c", Value: json.RawMessage(`{"k":1}`), DefaultFile: "c.json",
			Required: true, Plain: true, Parser: "p", Help: "h", Span: span}},
		Constants:  []ir.Constant{{Name: "N", Type: "<class 'int'>", Value: json.RawMessage(`3`), Span: span}},
		Decorators: []ir.Decorator{{Name: "schedule", Attributes: ir.Attributes{"daily": true, "cron": nil}, Span: span}},
		Steps: []*ir.Step{
			{Name: "start", Doc: "d", Span: span, MarkedStart: true, Next: &ir.Transition{Kind: ir.Switch, Condition: "c",
				Targets: []ir.Target{{Step: "end", Span: span}}, Cases: []ir.Case{{Value: json.RawMessage(`true`), Step: "end", Span: span}},
				Span: span},
				Decorators: []ir.Decorator{{Name: "retry", Attributes: ir.Attributes{"times": int64(3), "x": 0.5,
					"l": []any{int64(1), "a"}, "m": map[string]any{"k": false}}, Origin: ir.With, Unknown: true, Span: span}},
				Reads: []ir.Use{{Name: "a", Span: span}}, Writes: []ir.Use{{Name: "b", Span: span}}, WritesUnknown: true},
			{Name: "end", MarkedEnd: true, Join: true, Command: &ir.Command{Args: []string{"a", "{item}"}, Image: "i", Span: span},
				Inputs: []ir.Use{{Name: "a"}}, Outputs: []ir.Use{{Name: "b"}},
				Next: &ir.Transition{Kind: ir.Parallel, NumParallel: 3, Foreach: "x", Targets: []ir.Target{{Step: "start"}}}},
		},
	}
}

func TestJSONRoundTrip(t *testing.T) {
	b, err := ir.Marshal(full())
	if err != nil {
		t.Fatal(err)
	}
	back, err := ir.Unmarshal(b)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(back, full()) {
		t.Errorf("read back\n%+v\nwant\n%+v", back, full())
	}
	again, err := ir.Marshal(back)
	if err != nil || !bytes.Equal(again, b) {
		t.Errorf("written again (%v):\n%s\nwant\n%s", err, again, b)
	}
	if !bytes.Contains(b, []byte("A <flow> & ")) {
		t.Error("the text is escaped for HTML")
	}
}

// TestFullUsesEveryField keeps the round trip honest when the model grows.
func TestFullUsesEveryField(t *testing.T) {
	used := map[string]bool{}
	markUsed(reflect.ValueOf(full()), used)
	for _, v := range []any{ir.Flow{}, ir.Source{}, ir.Parameter{}, ir.Config{}, ir.Constant{}, ir.Decorator{}, ir.Step{},
		ir.Use{}, ir.Command{}, ir.Transition{}, ir.Target{}, ir.Case{}} {
		typ := reflect.TypeOf(v)
		for i := range typ.NumField() {
			name := typ.Name() + "." + typ.Field(i).Name
			if !used[name] && name != "Command.Shell" { // Args excludes it
				t.Errorf("%s is not in the flow of the round trip", name)
			}
		}
	}
}

func markUsed(v reflect.Value, used map[string]bool) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			markUsed(v.Elem(), used)
		}
	case reflect.Slice:
		for i := range v.Len() {
			markUsed(v.Index(i), used)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if !v.Field(i).IsZero() {
				used[v.Type().Name()+"."+v.Type().Field(i).Name] = true
				markUsed(v.Field(i), used)
			}
		}
	}
}

func TestJSONOfRandomFlows(t *testing.T) {
	for seed := range uint64(50) {
		f := irtest.Random(rand.New(rand.NewPCG(seed, 3)), 30).Flow
		b, err := ir.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		back, err := ir.Unmarshal(b)
		if err != nil || !reflect.DeepEqual(back, f) {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

func TestUnmarshalIsStrict(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"empty":            {``, "unexpected end"},
		"no object":        {`[]`, "cannot unmarshal"},
		"no version":       {`{"name":"F","steps":[]}`, `no "version"`},
		"old version":      {`{"version":0,"name":"F"}`, `no "version"`},
		"unknown field":    {`{"version":1,"name":"F","setps":[]}`, `unknown field "setps"`},
		"unknown kind":     {`{"version":1,"steps":[{"name":"a","next":{"kind":"jump","targets":[]}}]}`, `step a: next.kind: unknown value "jump"`},
		"unknown type":     {`{"version":1,"parameters":[{"name":"p","option":"p","type":"complex"}]}`, `parameter p: type: unknown value "complex"`},
		"unknown origin":   {`{"version":1,"decorators":[{"name":"d","origin":"sky"}]}`, `decorator d: origin: unknown value "sky"`},
		"unknown language": {`{"version":1,"source":{"language":"cobol","file":"f"}}`, `source.language: unknown value "cobol"`},
		"null step":        {`{"version":1,"steps":[null]}`, `steps[0] is null`},
		"more after it":    {`{"version":1,"steps":[]} {}`, `after top-level value`},
		"list attributes":  {`{"version":1,"decorators":[{"name":"d","attributes":[1]}]}`, `attributes must be an object`},
	} {
		_, err := ir.Unmarshal([]byte(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
	_, err := ir.Unmarshal([]byte(`{"version":99,"name":"F","future":1}`))
	if !errors.Is(err, ir.ErrNewerVersion) || !strings.Contains(err.Error(), "99") {
		t.Errorf("a newer version: %v", err)
	}
}

func TestMarshalReportsWhatJSONCannotSay(t *testing.T) {
	f := full()
	f.Decorators[0].Attributes["x"] = func() {}
	if _, err := ir.Marshal(f); err == nil || !strings.Contains(err.Error(), "Full") {
		t.Errorf("error %v", err)
	}
}

func FuzzUnmarshal(f *testing.F) {
	b, err := ir.Marshal(full())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"version":1,"steps":[{"name":"a"}],"decorators":[{"name":"d","attributes":{"x":2.0,"y":1e400}}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		flow, err := ir.Unmarshal(b)
		if err != nil {
			return
		}
		first, err := ir.Marshal(flow)
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		again, err := ir.Unmarshal(first)
		if err != nil {
			t.Fatalf("what was written cannot be read: %v\n%s", err, first)
		}
		second, err := ir.Marshal(again)
		if err != nil || !bytes.Equal(first, second) {
			t.Fatalf("written twice (%v):\n%s\n%s", err, first, second)
		}
	})
}
