package yaml

import (
	"bytes"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/mf-run/mf/compiler"
	"github.com/mf-run/mf/diag"
)

func readDocs(t *testing.T) string {
	text, err := os.ReadFile("../../docs/yaml.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestDocumentedFlows compiles every example of the documentation and applies the schema to it.
func TestDocumentedFlows(t *testing.T) {
	schema := compileSchema(t)
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(readDocs(t), -1)
	if len(blocks) < 8 {
		t.Fatalf("the documentation has %d examples", len(blocks))
	}
	for _, block := range blocks {
		src := []byte(block[1])
		title, _, _ := strings.Cut(block[1], "\n")
		t.Run(title, func(t *testing.T) {
			flow, diags := Parse("flow.yaml", src)
			if flow == nil || len(diags) > 0 {
				t.Fatalf("%s\n%v", src, diags)
			}
			if _, diags = compiler.Check(flow, nil); len(diags) > 0 {
				t.Errorf("%s\n%v", src, diags)
			}
			v, err := asJSON(src)
			if err != nil {
				t.Fatal(err)
			}
			if err := schema.Validate(v); err != nil {
				t.Errorf("%s\n%v", src, err)
			}
		})
	}
}

// TestDocumentedError holds the error in the documentation to the real one.
func TestDocumentedError(t *testing.T) {
	src := []byte("flow: A\nsteps:\n  start:\n    retrys: 3\n")
	_, diags := Parse("flow.yaml", src)
	var out bytes.Buffer
	if err := diag.WriteText(&out, diags, diag.Printer{Source: func(string) []byte { return src }}); err != nil {
		t.Fatal(err)
	}
	shown := strings.TrimSuffix(out.String(), "\n1 error\n")
	if !strings.Contains(readDocs(t), "```text\n"+shown+"```") {
		t.Errorf("the documentation does not show:\n%s", shown)
	}
}

// TestDocumentedFields finds every field of the language in the documentation.
func TestDocumentedFields(t *testing.T) {
	docs := readDocs(t)
	for _, v := range []any{document{}, defaults{}, step{}, parameter{}, resources{}, retry{}, catch{}, secrets{}, schedule{}, project{}} {
		for _, field := range fieldNames(reflect.TypeOf(v)) {
			if !strings.Contains(docs, "`"+field+"`") {
				t.Errorf("the documentation does not have the field `%s` of %T", field, v)
			}
		}
	}
	for _, field := range fieldNames(reflect.TypeFor[transition]()) {
		if !strings.Contains(docs, field+": ") {
			t.Errorf("the documentation does not have the field %s of next", field)
		}
	}
}
