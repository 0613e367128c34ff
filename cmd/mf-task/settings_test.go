package main

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mf-run/mf/ir"
	"github.com/mf-run/mf/runtime"
)

// TestDocumentation holds docs/mf-task.md to the variables, and the variables to the sources.
func TestDocumentation(t *testing.T) {
	page, err := os.ReadFile("../../docs/mf-task.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([A-Z][A-Z0-9_]+)` \\|[^|]+\\|([^|]*)\\|").FindAllStringSubmatch(string(page), -1) {
		rows[m[1]] = strings.TrimSpace(m[2])
	}
	known := map[string]bool{}
	for _, v := range variables() {
		known[v.Name] = true
		byDefault, ok := rows[v.Name]
		if !ok {
			t.Errorf("the page has no row for %s", v.Name)
		}
		if !strings.Contains(strings.ReplaceAll(byDefault, "`", ""), v.Default) {
			t.Errorf("by the page the default of %s is %q, want %q", v.Name, byDefault, v.Default)
		}
	}
	for name := range rows {
		if !known[name] {
			t.Errorf("the page has a row for %s, which nothing reads", name)
		}
	}
	name := regexp.MustCompile(`(?:Env|env)\w+ += "([A-Z][A-Z0-9]*_[A-Z0-9_]+)"`)
	count := 0
	for _, pattern := range []string{"*.go", "../internal/stores/*.go", "../../ir/engine.go", "../../ir/invocation.go", "../../ir/surroundings.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatal(pattern, err)
		}
		for _, file := range files {
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range name.FindAllStringSubmatch(string(source), -1) {
				count++
				if !known[m[1]] && !known[m[1]+"NAME"] && !strings.HasPrefix(m[1], "MF_TASK_TEST_") {
					t.Errorf("%s names %s, which is no variable of the table", file, m[1])
				}
			}
		}
	}
	if count < len(known)-2 {
		t.Errorf("the sources name %d variables, the table %d", count, len(known))
	}
}

func TestSettings(t *testing.T) {
	read := func(environ ...string) (settings, error) {
		p := &program{environ: append([]string{ir.EnvDatastore + "=s3://b"}, environ...)}
		return p.settings()
	}
	digest := strings.Repeat("0123456789", 4)
	s, err := read("MF_PACKAGE=s3://b/F/data/01/"+digest, `MF_TAGS=["a, b", "c"]`, "MF_PATIENCE=0", "MF_GRACE=1.5", "MF_MAX_LOG_SIZE=0")
	if err != nil || s.packaged != digest || !reflect.DeepEqual(s.tags, []string{"a, b", "c"}) || s.patience >= 0 ||
		s.grace != 1500*time.Millisecond || s.maxLog != 0 || s.namespace() != "user:unknown" {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err = read("MF_TAGS= a,, b "); err != nil || !reflect.DeepEqual(s.tags, []string{"a", "b"}) || s.patience != 0 || s.maxLog != 10<<20 {
		t.Errorf("%+v, %v", s, err)
	}
	for _, bad := range []string{
		"MF_DATASTORE=", "MF_PACKAGE=" + digest + "0", "MF_PACKAGE=" + strings.ToUpper(digest[:39]) + "G", "MF_TAGS=[1]", "MF_TAGS=[",
		"MF_PATIENCE=-1s", "MF_PATIENCE=x", "MF_GRACE=1 m", "MF_MAX_LOG_SIZE=-1", "MF_MAX_LOG_SIZE=9999999999",
	} {
		if s, err := read(bad); err == nil || !strings.Contains(err.Error(), bad[:strings.IndexByte(bad, '=')]) {
			t.Errorf("%s: %+v, %v", bad, s, err)
		}
	}
}

func TestProject(t *testing.T) {
	flow := &ir.Flow{Name: "F", Decorators: []ir.Decorator{{Name: "project", Attributes: ir.Attributes{"name": "p"}}}}
	for branch, want := range map[string]runtime.Project{
		"":          {Name: "p", Branch: "user.ann", FlowName: "p.user.ann.F", IsUserBranch: true},
		"user.bob":  {Name: "p", Branch: "user.bob", FlowName: "p.user.bob.F", IsUserBranch: true},
		"prod":      {Name: "p", Branch: "prod", FlowName: "p.prod.F", IsProduction: true},
		"prod.blue": {Name: "p", Branch: "prod.blue", FlowName: "p.prod.blue.F", IsProduction: true},
		"test.x":    {Name: "p", Branch: "test.x", FlowName: "p.test.x.F"},
	} {
		s := settings{user: "ann", branch: branch}
		if got, err := s.project(flow); err != nil || *got != want {
			t.Errorf("%q: %+v, %v; want %+v", branch, got, err, want)
		}
	}
	for _, branch := range []string{"main", "test", "user.", "prod.", ".x"} {
		s := settings{user: "ann", branch: branch}
		if got, err := s.project(flow); err == nil {
			t.Errorf("%q: %+v", branch, got)
		}
	}
	if got, err := (&settings{branch: "prod"}).project(&ir.Flow{Name: "F"}); got != nil || err != nil {
		t.Errorf("without @project: %+v, %v", got, err)
	}
}
