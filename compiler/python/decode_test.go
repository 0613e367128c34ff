package python_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mf-run/mf/compiler/python"
	"github.com/mf-run/mf/ir"
)

const minimal = `{"op":"described","flow":{"version":1,"name":"F","source":{"language":"python","file":"f.py","class":"F"},"steps":[{"name":"s"}]},"diagnostics":[]}`

func TestDecodeRefuses(t *testing.T) {
	if f, found, err := python.Decode([]byte(minimal)); err != nil || len(found) > 0 || f.Name != "F" {
		t.Fatalf("the valid one: %v %v", err, found)
	}
	for name, change := range map[string][2]string{
		"unknown field":          {`"op"`, `"opp"`},
		"other message":          {`described`, `forked`},
		"unknown flow field":     {`"name":"F"`, `"nam":"F"`},
		"no name":                {`"name":"F"`, `"name":""`},
		"newer version":          {`"version":1`, `"version":99`},
		"other language":         {`"python"`, `"yaml"`},
		"nameless step":          {`"name":"s"`, `"name":""`},
		"null step":              {`{"name":"s"}`, `null`},
		"command step":           {`"name":"s"`, `"name":"s","command":{"shell":"x"}`},
		"unknown kind":           {`"name":"s"`, `"name":"s","next":{"kind":"jump","targets":[{"step":"s"}]}`},
		"no targets":             {`"name":"s"`, `"name":"s","next":{"kind":"linear","targets":[]}`},
		"two targets":            {`"name":"s"`, `"name":"s","next":{"kind":"foreach","targets":[{"step":"s"},{"step":"t"}]}`},
		"no flow and no error":   {`"flow":{`, `"diagnostics":[],"flow":null,"x":{`},
		"diagnostic of no code":  {`[]}`, `[{"severity":"error","code":"","span":{},"summary":"x"}]}`},
		"diagnostic of no sense": {`[]}`, `[{"severity":"fatal","code":"c","span":{},"summary":"x"}]}`},
		"trailing text":          {`[]}`, `[]} x`},
		"cut off":                {`[]}`, ``},
	} {
		text := strings.Replace(minimal, change[0], change[1], 1)
		if _, _, err := python.Decode([]byte(text)); err == nil || !strings.HasPrefix(err.Error(), "bug in mf: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDecodeNoFlow(t *testing.T) {
	f, found, err := python.Decode([]byte(`{"flow":null,"diagnostics":[{"severity":"error","code":"c","span":{},"summary":"s"},{"severity":"error","code":"c","span":{},"summary":"s"}]}`))
	if f != nil || err != nil || len(found) != 1 {
		t.Errorf("got %v %v %v", f, found, err)
	}
}

// FuzzDecode: whatever is accepted is a flow that can be written and read again.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(minimal))
	files, err := filepath.Glob("testdata/good/*.golden")
	if err != nil || len(files) == 0 {
		f.Fatal("no goldens", err)
	}
	for _, file := range files {
		flow, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		text, err := json.Marshal(map[string]any{"flow": json.RawMessage(flow), "diagnostics": []any{}})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		flow, found, err := python.Decode(raw)
		if err != nil {
			return
		}
		if flow == nil {
			if !found.HasErrors() {
				t.Fatal("neither a flow nor an error")
			}
			return
		}
		out, err := ir.Marshal(flow)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ir.Unmarshal(out); err != nil {
			t.Fatal(err)
		}
	})
}
