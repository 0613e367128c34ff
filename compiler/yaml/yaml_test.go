package yaml

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const minimal = "flow: Hello\nsteps:\n  start:\n    run: echo hello\n"

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hello.yaml")
	if err := os.WriteFile(path, []byte(minimal), 0o600); err != nil {
		t.Fatal(err)
	}
	flow, diags, err := Load(t.Context(), path)
	if err != nil || len(diags) != 0 {
		t.Fatalf("Load: %v, %v", diags, err)
	}
	if flow.Name != "Hello" || flow.Source.File != "hello.yaml" || flow.Start != "start" || flow.End != "start" {
		t.Errorf("got %+v", flow)
	}
	if _, diags, err = Load(t.Context(), path+":Hello"); err != nil || len(diags) != 0 {
		t.Errorf("Load with the flow's name: %v, %v", diags, err)
	}
	flow, diags, err = Load(t.Context(), path+":Other")
	if flow != nil || err != nil || len(diags) != 1 || diags[0].Code != "unknown-flow" {
		t.Errorf("Load with another name: %v, %v, %v", flow, diags, err)
	}
	if _, _, err = Load(t.Context(), path+"x"); err == nil {
		t.Error("Load of a file that does not exist succeeds")
	}
}

func TestTooLarge(t *testing.T) {
	path := filepath.Join(t.TempDir(), "large.yaml")
	text := minimal + strings.Repeat("# filler\n", MaxSize/9)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	flow, diags, err := Load(t.Context(), path)
	if flow != nil || err != nil || len(diags) != 1 || diags[0].Code != "yaml-too-large" {
		t.Errorf("Load of %d bytes: %v, %v, %v", len(text), flow, diags, err)
	}
	if flow, diags = Parse("a.yaml", []byte(text[:MaxSize])); flow == nil {
		t.Errorf("Parse of %d bytes: %v", MaxSize, diags)
	}
}
