package metaflowdir_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// metaflowPython returns a Python that has the real Metaflow.
func metaflowPython(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("MF_TEST_METAFLOW_PYTHON"); path != "" {
		return path
	}
	path, err := filepath.Abs("../../.cache/venv-metaflow/bin/python")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("no Python with Metaflow: run scripts/test-setup.sh, or set MF_TEST_METAFLOW_PYTHON (%v)", err)
	}
	return path
}

// runPython runs Python with Metaflow's local datastore below home and returns its output. It fails the test unless the
// exit code is 0, or 1 if it is expected to fail.
func runPython(t *testing.T, home string, env []string, fails bool, args ...string) (stdout string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), metaflowPython(t), args...)
	cmd.Dir = home
	cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "METAFLOW_HOME=" + home, "METAFLOW_USER=tester",
		"METAFLOW_DATASTORE_SYSROOT_LOCAL=" + home, "METAFLOW_CLIENT_CACHE_PATH=" + filepath.Join(home, "cache"),
		"PYTHONDONTWRITEBYTECODE=1", "LANG=C.UTF-8",
	}, env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	want := 0
	if fails {
		want = 1
	}
	if code := cmd.ProcessState.ExitCode(); code != want {
		t.Fatalf("%s: exit code %d, expected %d: %v\n%s\n%s", args, code, want, err, out.String(), errs.String())
	}
	return out.String()
}
