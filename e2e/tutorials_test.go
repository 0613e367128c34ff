package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// tutorials is the folder of the tutorials that the installed Metaflow ships.
func tutorials(t *testing.T) string {
	t.Helper()
	out, err := exec.Command(metaflowPython(t), "-c", "import metaflow; print(metaflow.__path__[0])").Output()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "tutorials")
}

// TestTutorials runs Metaflow's tutorials, unmodified, and compares the results with Metaflow's own run where there is
// one: 04 wants conda and 05 a Kubernetes cluster there, here they run as they are.
func TestTutorials(t *testing.T) {
	dir := tutorials(t)
	t.Run("00-helloworld", func(t *testing.T) {
		compareRuns(t, filepath.Join(dir, "00-helloworld"), "helloworld.py")
	})
	t.Run("01-playlist", func(t *testing.T) {
		compareRuns(t, filepath.Join(dir, "01-playlist"), "playlist.py", "bonus", "movies", "playlist", "movie_data")
	})
	t.Run("02-statistics", func(t *testing.T) {
		compareRuns(t, filepath.Join(dir, "02-statistics"), "stats.py", "movie_data")
	})
	t.Run("03-playlist-redux", func(t *testing.T) {
		ours, theirs := newPlace(t, filepath.Join(dir, "02-statistics")), newPlace(t, filepath.Join(dir, "02-statistics"))
		ours.mf("run", "stats.py")
		theirs.metaflow("stats.py")
		redux := filepath.Join(dir, "03-playlist-redux", "playlist.py")
		ourRun, theirRun := ours.mf("run", redux), theirs.metaflow(redux)
		sameView(t, ours.client("PlayListFlow", ourRun), theirs.client("PlayListFlow", theirRun), "bonus", "movies", "playlist")
	})
	t.Run("03 beside 02, with nothing set", func(t *testing.T) {
		p := newPlace(t, dir)
		env := withoutSysroot(p.env("MF_PYTHON=" + metaflowPython(t)))
		if err := os.Mkdir(filepath.Join(p.dir, ".mf"), 0o755); err != nil {
			t.Fatal(err)
		}
		p.must(env, mfBinary(t), "run", "02-statistics/stats.py")
		out := p.must(env, mfBinary(t), "run", "03-playlist-redux/playlist.py")
		if !strings.Contains(out, "Pick 1:") {
			t.Errorf("no pick in %s", tail(out))
		}
	})
	t.Run("04-playlist-plus", func(t *testing.T) {
		p := newPlace(t, filepath.Join(dir, "02-statistics"))
		p.mf("run", "stats.py")
		run := p.mf("run", filepath.Join(dir, "04-playlist-plus", "playlist.py"))
		if v := p.client("PlayListFlow", run); !v.Successful {
			t.Error("the run is not successful for the real client")
		}
	})
	t.Run("05-hello-cloud", func(t *testing.T) {
		p := newPlace(t, filepath.Join(dir, "05-hello-cloud"))
		run := p.mf("run", "hello-cloud.py")
		v := p.client("HelloCloudFlow", run)
		if !v.Successful || v.Tasks["hello"]["message"].Repr != "'Hi from the cloud!'" {
			t.Errorf("successful %v, message %v", v.Successful, v.Tasks["hello"]["message"])
		}
	})
}
