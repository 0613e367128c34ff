//go:build unix

package testserver

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Docker is a container engine of one test, without networks of its own: containers share the machine's.
type Docker struct {
	t    TB
	host string
}

// StartDocker starts an engine that has the images of scripts/e2e-setup.sh: "mf-test/python", Debian with python3, and
// "mf-test/empty". It needs root.
func StartDocker(t TB) *Docker {
	t.Helper()
	if _, err := exec.LookPath("dockerd"); err != nil {
		t.Fatal("there is no Docker: run scripts/e2e-setup.sh")
	}
	dir, err := folder(nil)
	if err != nil {
		t.Fatal(err)
	}
	d := &Docker{t, "unix://" + filepath.Join(dir, "sock")}
	p, err := start(spec{
		dir: dir, signal: "TERM",
		args: []string{"dockerd", "--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "exec"),
			"--pidfile", filepath.Join(dir, "pid"), "--host", d.host, "--iptables=false", "--bridge=none"},
		ready: func(ctx context.Context) error { return d.command(ctx, "version").Run() },
	})
	if err != nil {
		t.Fatalf("starting Docker: %v", err)
	}
	t.Cleanup(func() {
		p.stop(false)
		os.RemoveAll(dir)
	})
	for _, name := range []string{"python", "empty"} {
		d.Must("import", tool(t, "roots", name+".tar"), "mf-test/"+name)
	}
	return d
}

func (d *Docker) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "docker", args...)
	cmd.Env = append(os.Environ(), "DOCKER_HOST="+d.host)
	return cmd
}

// Run runs docker with these arguments and returns what it printed. Safe for concurrent use.
func (d *Docker) Run(ctx context.Context, args ...string) (stdout, stderr string, err error) {
	var out, errOut bytes.Buffer
	cmd := d.command(ctx, args...)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err = cmd.Run()
	return out.String(), errOut.String(), err
}

// Must is Run where a failure ends the test.
func (d *Docker) Must(args ...string) string {
	d.t.Helper()
	stdout, stderr, err := d.Run(d.t.Context(), args...)
	if err != nil {
		d.t.Fatal(fmt.Errorf("docker %s: %w\n%s", args[0], err, stderr))
	}
	return stdout
}
