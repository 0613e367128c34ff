//go:build e2e

package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/s3"
	"github.com/mf-run/mf/internal/testserver"
	"github.com/mf-run/mf/ir"
)

// contained plays the engine with containers: each task is mf-task in a container of its own, which shares nothing with
// the next but the team's service and bucket.
type contained struct {
	*engine
	*team
	docker *testserver.Docker
	image  string
	digest string
	starts []time.Duration
}

// TestContainers runs a Python flow in containers that have Python and nothing else, and a flow of commands in containers
// that have nothing at all. The real client reads both.
func TestContainers(t *testing.T) {
	docker := testserver.StartDocker(t)
	m := newTeam(t)
	t.Run("python", func(t *testing.T) {
		c := newContained(t, m, docker, "mf-test/python", newPlace(t, "testdata/contained"), "squares.py")
		c.walk(c.graph.Start(), nil, "")
		v := m.read("SquaresFlow", "prod-1")
		if end := v.Tasks["end"]; !v.Successful || end["total"].Repr != "5" || end["text"].Repr != "'grüße'" || v.Stdout["end"] != "total 5 grüße\n" {
			t.Errorf("successful %v, %v, printed %q", v.Successful, end, v.Stdout["end"])
		}
		if v.Code.Script != "squares.py" || !strings.Contains(v.Code.Flowspec, "class SquaresFlow") {
			t.Errorf("code %+v", v.Code)
		}
		for i, took := range c.starts {
			t.Logf("start %d: %s from the start of the container to the first line of user code", i, took)
		}
	})
	t.Run("commands", func(t *testing.T) {
		p := newPlace(t, "testdata/contained-commands")
		build := exec.Command("go", "build", "-ldflags", "-s -w", "-o", filepath.Join(p.dir, "count"), "./testdata/contained-commands/counter")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		c := newContained(t, m, docker, "mf-test/empty", p, "count.yaml")
		c.walk(c.graph.Start(), nil, "")
		v := m.read("CountFlow", "prod-1")
		if !v.Successful || v.Tasks["end"]["total"].Repr != "14" || v.Stdout["end"] != "total 14\n" {
			t.Errorf("successful %v, total %s, printed %q", v.Successful, v.Tasks["end"]["total"].Repr, v.Stdout["end"])
		}
	})
}

// newContained puts the flow's code package into the bucket.
func newContained(t *testing.T, m *team, docker *testserver.Docker, image string, p place, file string) *contained {
	t.Helper()
	e := newEngine(t, p, file)
	if err := os.RemoveAll(filepath.Join(p.dir, ".mf_meta")); err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(t.TempDir(), "code.tgz")
	p.must(m.env(p), mfBinary(t), "package", "save", file, "-o", archive)
	data, err := os.ReadFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	c := &contained{engine: e, team: m, docker: docker, image: image}
	if c.digest, err = m.store(t).SaveRaw(t.Context(), e.flow.Name, data); err != nil {
		t.Fatal(err)
	}
	e.exec = c.run
	return c
}

// run runs one task in a container.
func (c *contained) run(out string, inv ir.TaskInvocation) (string, error) {
	t := c.engine.t
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	name := "mf-" + strings.ToLower(strconv.FormatInt(time.Now().UnixNano(), 36))
	args := []string{"run", "--name", name, "--network", "host", "--volume", repo(t, "bin", "mf-task") + ":/mf/mf-task:ro", "--volume", out + ":/out"}
	env := append(c.bucket.Environ(), ir.EnvDatastore+"="+c.team.root(), ir.EnvServiceURL+"="+c.url, "MF_SERVICE_TOKEN="+c.token,
		ir.EnvPackage+"="+c.digest, ir.EnvOutputs+"=/out", ir.EnvUser+"=tester", ir.EnvRuntime+"=argo-workflows")
	for _, e := range env {
		args = append(args, "--env", e)
	}
	args = append(append(args, c.image, "/mf/mf-task"), inv.Args()...)
	stdout, stderr, err := c.docker.Run(ctx, args...)
	if m := regexp.MustCompile(`first line at ([\d.]+)`).FindStringSubmatch(stdout); m != nil {
		c.starts = append(c.starts, c.since(name, m[1]))
	}
	c.docker.Must("rm", name)
	return stdout + stderr, err
}

// since is the time from the start of a container to the given one, in seconds since 1970.
func (c *contained) since(name, text string) time.Duration {
	t := c.engine.t
	started, err := time.Parse(time.RFC3339Nano, strings.TrimSpace(c.docker.Must("inspect", "--format", "{{.State.StartedAt}}", name)))
	if err != nil {
		t.Fatal(err)
	}
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.Fatal(err)
	}
	return time.UnixMicro(int64(seconds * 1e6)).Sub(started)
}

// store opens the team's datastore.
func (m *team) store(t *testing.T) *datastore.Store {
	t.Helper()
	backend, err := s3.Open(t.Context(), m.root(), s3.Options{Endpoint: m.bucket.Endpoint, Region: m.bucket.Region,
		Credentials: credentials.NewStaticCredentialsProvider(m.bucket.AccessKey, m.bucket.SecretKey, "")})
	if err != nil {
		t.Fatal(err)
	}
	return datastore.New(backend)
}
