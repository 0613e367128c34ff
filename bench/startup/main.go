//go:build linux

// Command startup measures what it costs to start one task from nothing but a code package in S3 and a metadata service:
// mf-task beside Metaflow's own bootstrap (download, unpack) and step command, on the same step in the same run. Both end
// with the task's artifacts in S3 and its metadata in the service. What Metaflow's bootstrap installs by pip is there
// already, and not counted.
package main

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mf-run/mf/bench/internal/measure"
	"github.com/mf-run/mf/internal/testserver"
)

// start is what one start cost.
type start struct {
	// first is the time until the first line of user code, wall until the end; cpu is that of all processes.
	first, wall, cpu time.Duration
}

// side is one of the two that are compared.
type side struct {
	name   string
	script func(n int) string
	starts []start
}

func main() {
	log.SetFlags(0)
	bin := flag.String("bin", "bin", "folder of mf and mf-task")
	python := flag.String("python", ".cache/venv-metaflow/bin/python", "a Python with Metaflow and boto3")
	source := flag.String("flow", "e2e/testdata/contained/squares.py", "the flow; its start step prints when it begins")
	runs := flag.Int("runs", 7, "how often each is started; the median counts")
	flag.Parse()
	for _, path := range []*string{bin, python, source} {
		var err error
		*path, err = filepath.Abs(*path)
		must(err)
	}
	h := measure.NewHost("startup")
	defer h.Close()
	dir, err := os.MkdirTemp("", "mf-bench-")
	must(err)
	h.Cleanup(func() { os.RemoveAll(dir) })
	bucket := testserver.NewBucket(h)
	root := "s3://" + bucket.Name + "/mf"
	url := measure.Serve(h, *bin+"/mf", testserver.Database(h))
	env := append(measure.Environment(dir, "METAFLOW_DEFAULT_METADATA=service", "METAFLOW_SERVICE_URL="+url, "METAFLOW_DEFAULT_DATASTORE=s3",
		"METAFLOW_DATASTORE_SYSROOT_S3="+root, "METAFLOW_S3_ENDPOINT_URL="+bucket.Endpoint, "MF_DATASTORE="+root, "MF_SERVICE_URL="+url,
		"MF_PYTHON="+*python, "MF_USER=bench", "MF="+*bin+"/mf", "TASK="+*bin+"/mf-task", "PY="+*python, "BUCKET="+bucket.Name,
		"FLOW="+filepath.Base(*source)), bucket.Environ()...)

	// Both packages go into the bucket: ours by a run that leaves it there, Metaflow's by its own command.
	prepare := `mkdir flow && cp ` + *source + ` flow && cd flow && "$MF" run --quiet "$FLOW" >/dev/null &&
		"$MF" package save --quiet "$FLOW" -o ../ours.tgz >/dev/null && "$PY" "$FLOW" --quiet package save ../job.tar >/dev/null && cd .. &&
		"$PY" -c 'import boto3, os; boto3.client("s3", endpoint_url=os.environ["METAFLOW_S3_ENDPOINT_URL"]).upload_file("job.tar", os.environ["BUCKET"], "job.tar")' &&
		sha1sum ours.tgz | cut -d' ' -f1`
	digest := strings.TrimSpace(shell(dir, env, prepare))
	env = append(env, "MF_PACKAGE="+digest[strings.LastIndexByte(digest, '\n')+1:])
	name := strings.TrimSuffix(filepath.Base(*source), ".py")
	sides := []*side{
		{name: "mf-task", script: func(n int) string {
			return fmt.Sprintf(`exec "$TASK" run --flow SquaresFlow --run bench-%d --step start --path "" --attempt 0`, n)
		}},
		{name: "Metaflow", script: func(n int) string {
			return `"$PY" -c 'import boto3, os; boto3.client("s3", endpoint_url=os.environ["METAFLOW_S3_ENDPOINT_URL"]).download_file(os.environ["BUCKET"], "job.tar", "job.tar")' &&
				tar -xzf job.tar && export PYTHONPATH=$PWD/.mf_code && exec "$PY" ` + name + `.py --quiet --metadata service --environment local --datastore s3 \
				--event-logger nullSidecarLogger --monitor nullSidecarMonitor --no-pylint --with retry:times=0 \
				step start --run-id theirs-` + strconv.Itoa(n) + ` --task-id t-start --input-paths theirs-` + strconv.Itoa(n) + `/_parameters/t-params --retry-count 0`
		}},
	}
	for n := range *runs {
		// What Metaflow's scheduler does before: the run's parameters.
		shell(dir, env, fmt.Sprintf(`cd flow && "$PY" "$FLOW" --quiet --no-pylint --metadata service --datastore s3 init --run-id theirs-%d --task-id t-params`, n))
		for _, s := range sides {
			s.starts = append(s.starts, begin(dir, env, s.script(n)))
		}
	}
	report(sides)
}

// begin starts a task in a new folder.
func begin(dir string, env []string, script string) start {
	work, err := os.MkdirTemp(dir, "task-")
	must(err)
	cmd := exec.Command("/bin/sh", "-c", script)
	var out bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = work, env, &out, &out
	began := time.Now()
	err = cmd.Run()
	s := start{wall: time.Since(began)}
	m := regexp.MustCompile(`first line at ([\d.]+)`).FindStringSubmatch(out.String())
	if err != nil || m == nil {
		log.Fatalf("%s: %v\n%s", script, err, out.String())
	}
	seconds, err := strconv.ParseFloat(m[1], 64)
	must(err)
	s.first = time.UnixMicro(int64(seconds * 1e6)).Sub(began)
	s.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return s
}

func report(sides []*side) {
	median := func(s *side, f func(start) time.Duration) float64 {
		slices.SortFunc(s.starts, func(a, b start) int { return cmp.Compare(f(a), f(b)) })
		return f(s.starts[len(s.starts)/2]).Seconds()
	}
	kinds := []struct {
		name string
		of   func(start) time.Duration
	}{
		{"first line of user code", func(s start) time.Duration { return s.first }},
		{"end", func(s start) time.Duration { return s.wall }},
		{"CPU time", func(s start) time.Duration { return s.cpu }},
	}
	for _, k := range kinds {
		a, b := median(sides[0], k.of), median(sides[1], k.of)
		fmt.Printf("%-24s %s %.3f s   %s %.3f s   %.1fx\n", k.name, sides[0].name, a, sides[1].name, b, b/a)
	}
	first, cpu := median(sides[0], kinds[0].of), median(sides[1], kinds[2].of)
	fmt.Printf("first line of %s against the CPU time of %s: %.3f s to %.3f s, %.1fx\n", sides[0].name, sides[1].name, first, cpu, cpu/first)
}

func shell(dir string, env []string, script string) string {
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.Dir, cmd.Env = dir, env
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		log.Fatalf("%s: %v\n%s", script, err, errs.String())
	}
	return string(out)
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
