//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	goruntime "runtime"
	"strings"
	"testing"

	"github.com/mf-run/mf/internal/testserver"
)

// TestTaskImage has a container engine load the image that scripts/image.sh makes, and bring mf-task into another container
// the way an init container of a hardened pod does: as a user without rights, on a file system that is read-only.
func TestTaskImage(t *testing.T) {
	build := exec.Command("sh", repo(t, "scripts", "image.sh"))
	build.Env = append(os.Environ(), "IMAGE=mf-test/mf-task:1")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	docker := testserver.StartDocker(t)
	docker.Must("load", "--input", repo(t, "dist", "mf-task-image.tar"))
	shared := t.TempDir()
	if err := os.Chmod(shared, 0o777); err != nil {
		t.Fatal(err)
	}
	docker.Must("run", "--rm", "--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
		"--volume", shared+":/mf", "mf-test/mf-task:1-"+goruntime.GOARCH, "install", "/mf/bin/mf-task")
	out := docker.Must("run", "--rm", "--network", "none", "--user", "1234", "--volume", shared+":/mf:ro", "mf-test/empty", "/mf/bin/mf-task", "--version")
	if !strings.HasPrefix(out, "mf-task version ") {
		t.Errorf("mf-task says %q", out)
	}
}
