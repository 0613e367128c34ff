package python_test

import (
	"path/filepath"
	"testing"

	"github.com/mf-run/mf/compiler/python"
	"github.com/mf-run/mf/ir"
)

// tutorials are those that the metaflow package ships, with what they are made of.
var tutorials = map[string]struct {
	class      string
	steps      int
	parameters int
}{
	"00-helloworld/helloworld.py":   {"HelloFlow", 3, 0},
	"01-playlist/playlist.py":       {"PlayListFlow", 5, 3},
	"02-statistics/stats.py":        {"MovieStatsFlow", 4, 1},
	"03-playlist-redux/playlist.py": {"PlayListFlow", 5, 2},
	"04-playlist-plus/playlist.py":  {"PlayListFlow", 5, 3},
	"05-hello-cloud/hello-cloud.py": {"HelloCloudFlow", 3, 0},
}

// TestTutorials loads Metaflow's tutorials, unmodified, from the Metaflow that scripts/test-setup.sh installs.
func TestTutorials(t *testing.T) {
	const pattern = "../../.cache/venv-metaflow/lib/python3*/site-packages/metaflow/tutorials"
	folders, err := filepath.Glob(pattern)
	if err != nil || len(folders) != 1 {
		t.Fatalf("%s: %d folders (%v); make setup installs what the tests need", pattern, len(folders), err)
	}
	folder := folders[0]
	dir := unpacked(t)
	for name, want := range tutorials {
		t.Run(name, func(t *testing.T) {
			flow, found, err := python.Load(t.Context(), filepath.Join(folder, filepath.FromSlash(name)),
				python.Options{SDKDir: dir, Interpreter: interpreter(), Stubs: true})
			if err != nil || len(found) > 0 {
				t.Fatal(err, found)
			}
			if flow.Name != want.class || len(flow.Steps) != want.steps || len(flow.Parameters) != want.parameters {
				t.Errorf("%s has %d steps and %d parameters", flow.Name, len(flow.Steps), len(flow.Parameters))
			}
			if start, end := ir.Endpoints(flow); start != "start" || end != "end" {
				t.Errorf("endpoints %q and %q", start, end)
			}
		})
	}
}
