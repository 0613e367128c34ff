//go:build linux

// Command deploy measures mf beside real Metaflow on the way to Argo Workflows, on the same flows in the same run:
//
//   - mf compile beside "argo-workflows create --only-json", which deploys nothing, for flows of 3, 50 and 500 steps: wall
//     time, CPU time, and the bytes of the manifest for each step, as JSON without spaces;
//   - mf deploy beside "argo-workflows create": a first time, and again without a change;
//   - what a task costs in its pod beyond its own code: from the start of the container to the first line of user code, and from
//     the last one to the container's end.
//
// The datastore is an S3 server, and metadata are in mf's service. The last two need a cluster, the one of "make e2e-up"
// unless -kubeconfig names another; without one they are left out. The pods' times are those of containerd's own events, so
// its socket has to be on this machine, beside the kubeconfig.
//
//	make bench                                     this among all others, on the cluster that is up
//	go run ./bench/deploy                          this alone, after "make build", "bash scripts/test-setup.sh bench" for its
//	                                               Metaflow, "make e2e-up" and "sh scripts/e2e-stack.sh namespace mf-bench"
//	go run ./bench/deploy -kubeconfig ""           only compiling
//	go run ./bench/deploy -steps 3 -repeat 9       more of less
//
// Metaflow's own bootstrap installs boto3 in each pod by pip. Here the image has it already, and that part is left out.
package main

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/mf-run/mf/bench/internal/measure"
	"github.com/mf-run/mf/internal/testserver"
)

// bench is what all parts share.
type bench struct {
	host *measure.Host
	// repo is the top of the repository, dir a folder for flows and what is made of them.
	repo, dir             string
	mf, python            string
	kubeconfig, namespace string
	repeat                int
	env                   []string
	bucket                testserver.Bucket
	service               string
}

func main() {
	log.SetFlags(0)
	b := bench{host: measure.NewHost("deploy")}
	defer finish(b.host)
	mf := flag.String("mf", "bin/mf", "the mf program")
	python := flag.String("python", ".cache/venv-metaflow-argo/bin/python", "a Python with Metaflow, boto3 and kubernetes")
	kubeconfig := flag.String("kubeconfig", ".cache/e2e/cluster/admin.kubeconfig", "a cluster with Argo Workflows; empty for none")
	steps := flag.String("steps", "3,50,500", "the lengths of the flows")
	flag.StringVar(&b.namespace, "namespace", "mf-bench", "a namespace of the cluster for this, whose pods may report to Argo")
	flag.IntVar(&b.repeat, "repeat", 3, "how often each is done; the median counts")
	tasks := flag.Int("tasks", 12, "how many tasks are run in pods; 0 for none")
	flag.Parse()
	for path, given := range map[*string]string{&b.mf: *mf, &b.python: *python, &b.repo: "."} {
		*path = must(filepath.Abs(given))
	}
	if *kubeconfig != "" {
		b.kubeconfig = must(filepath.Abs(*kubeconfig))
		if _, err := os.Stat(b.kubeconfig); err != nil {
			fmt.Println("no cluster is up (make e2e-up), so nothing is deployed")
			b.kubeconfig = ""
		}
	}
	b.dir = must(os.MkdirTemp("", "mf-bench-"))
	b.host.Cleanup(func() { os.RemoveAll(b.dir) })
	b.start()
	b.compile(lengths(*steps))
	if b.kubeconfig != "" {
		b.deploy(lengths(*steps))
		if *tasks > 0 {
			b.pods(*tasks)
		}
	}
}

func lengths(text string) []int {
	var all []int
	for part := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(part)
		if err != nil || n < 2 {
			log.Fatalf("-steps: %q is not a number of steps", part)
		}
		all = append(all, n)
	}
	return all
}

// start starts the servers, and sets the environment of both sides.
func (b *bench) start() {
	b.bucket = testserver.NewBucket(b.host)
	b.service = measure.Serve(b.host, b.mf, testserver.Database(b.host))
	root := "s3://" + b.bucket.Name + "/metaflow"
	b.env = append(measure.Environment(b.dir, "METAFLOW_DEFAULT_METADATA=service", "METAFLOW_SERVICE_URL="+b.service,
		"METAFLOW_SERVICE_INTERNAL_URL="+b.service, "METAFLOW_DEFAULT_DATASTORE=s3", "METAFLOW_DATASTORE_SYSROOT_S3="+root,
		"METAFLOW_S3_ENDPOINT_URL="+b.bucket.Endpoint, "MF_DATASTORE="+root, "MF_SERVICE_URL="+b.service, "MF_PYTHON="+b.python,
		"MF_USER=bench", "KUBECONFIG="+b.kubeconfig, "MF_ARGO_NAMESPACE="+b.namespace, "METAFLOW_KUBERNETES_NAMESPACE="+b.namespace),
		b.bucket.Environ()...)
}

// chain writes a flow of n steps in a row, and returns its folder.
func (b *bench) chain(n int) string {
	var text strings.Builder
	text.WriteString("from metaflow import FlowSpec, step\n\n\nclass ChainFlow(FlowSpec):\n")
	name := func(i int) string {
		switch i {
		case 0:
			return "start"
		case n - 1:
			return "end"
		}
		return fmt.Sprintf("s%d", i)
	}
	for i := range n {
		fmt.Fprintf(&text, "    @step\n    def %s(self):\n        self.x%d = %d\n", name(i), i%10, i)
		if i < n-1 {
			fmt.Fprintf(&text, "        self.next(self.%s)\n", name(i+1))
		}
		text.WriteByte('\n')
	}
	text.WriteString("\nif __name__ == \"__main__\":\n    ChainFlow()\n")
	dir := filepath.Join(b.dir, fmt.Sprintf("chain%d", n))
	check(os.MkdirAll(dir, 0o755))
	check(os.WriteFile(filepath.Join(dir, "chain.py"), []byte(text.String()), 0o644))
	return dir
}

// theirs is Metaflow's command line before the verb.
func (b *bench) theirs(name string) []string {
	return []string{b.python, "chain.py", "--quiet", "--no-pylint", "argo-workflows", "--name", name}
}

// compile compares what a flow's manifest costs to make, and its size.
func (b *bench) compile(steps []int) {
	fmt.Println("compiling: wall s / CPU s, and bytes of manifest for each step")
	for _, n := range steps {
		dir := b.chain(n)
		ours := b.median(dir, b.mf, "compile", "chain.py", "--target", "argo", "--name", "chain", "-o", "out")
		manifest := filepath.Join(b.dir, "theirs.json")
		only := `exec "$@" >"$0"`
		theirs := b.median(dir, "/bin/sh", append([]string{"-c", only, manifest}, append(b.theirs("chain"), "create", "--only-json")...)...)
		a, z := compactSize(must(filepath.Glob(filepath.Join(dir, "out", "*.yaml")))...), compactSize(manifest)
		fmt.Printf("%5d steps   %s   bytes/step: mf %d  Metaflow %d  %.1fx\n", n, ratios(ours, theirs), a/n, z/n, float64(z)/float64(a))
	}
}

// compactSize is the size of manifests as JSON without spaces, which is how they are sent and kept.
func compactSize(files ...string) int {
	size := 0
	for _, file := range files {
		var value any
		check(yaml.Unmarshal(must(os.ReadFile(file)), &value))
		size += len(must(json.Marshal(value)))
	}
	return size
}

// deploy compares deploying a flow for the first time, and again. Each time counts with all that the command does: the
// code package, its upload, the token, the objects.
func (b *bench) deploy(steps []int) {
	fmt.Println("deploying: wall s / CPU s")
	for _, n := range steps {
		dir := b.chain(n)
		ours := func(name string) []string {
			return []string{b.mf, "deploy", "chain.py", "--target", "argo", "--yes", "--quiet", "--name", name}
		}
		theirs := func(name string) []string { return append(b.theirs(name), "create") }
		kind := []string{"new", "again"}
		for again := range 2 {
			a, errA := b.deployments(dir, fmt.Sprintf("ours-%d", n), again, ours)
			z, errZ := b.deployments(dir, fmt.Sprintf("theirs-%d", n), again, theirs)
			fmt.Printf("%5d steps   %-6s", n, kind[again])
			if err := cmp.Or(errA, errZ); err != nil {
				fmt.Printf("%.3f / %.3f   Metaflow: %s\n", a.Wall.Seconds(), a.CPU.Seconds(), lastLine(errZ))
				check(errA)
				continue
			}
			fmt.Println(ratios(a, z))
		}
		for i := range b.repeat {
			_, _ = measure.Run(dir, b.env, true, b.mf, "undeploy", fmt.Sprintf("ours-%d-%d", n, i), "--target", "argo", "--yes")
			_, _ = measure.Run(dir, b.env, true, b.python, append(b.theirs(fmt.Sprintf("theirs-%d-%d", n, i))[1:], "delete")...)
		}
	}
}

// deployments returns the median of deployments under new names or, again, under those names.
func (b *bench) deployments(dir, name string, again int, args func(name string) []string) (measure.Cost, error) {
	i := 0
	return measure.Median(b.repeat, func() (measure.Cost, error) {
		words := args(fmt.Sprintf("%s-%d", name, i*(1-again)))
		i++
		return measure.Run(dir, b.env, false, words[0], words[1:]...)
	})
}

// lastLine is the last line that a failed command printed.
func lastLine(err error) string {
	if err == nil {
		return ""
	}
	text := strings.TrimSpace(err.Error())
	line := strings.TrimSpace(text[strings.LastIndexByte(text, '\n')+1:])
	return line[:min(len(line), 200)]
}

func (b *bench) median(dir, name string, args ...string) measure.Cost {
	return must(measure.Median(b.repeat, func() (measure.Cost, error) { return measure.Run(dir, b.env, false, name, args...) }))
}

func ratios(ours, theirs measure.Cost) string {
	return fmt.Sprintf("mf %.3f / %.3f   Metaflow %.3f / %.3f   %.1fx / %.1fx", ours.Wall.Seconds(), ours.CPU.Seconds(),
		theirs.Wall.Seconds(), theirs.CPU.Seconds(), theirs.Wall.Seconds()/ours.Wall.Seconds(), theirs.CPU.Seconds()/ours.CPU.Seconds())
}

func must[T any](value T, err error) T {
	check(err)
	return value
}

// failure is what check ends main with, so that the servers are ended, too.
type failure struct{ error }

func check(err error) {
	if err != nil {
		panic(failure{err})
	}
}

// finish ends the servers and, after a failure, the program.
func finish(h *measure.Host) {
	reason := recover()
	h.Close()
	if f, ok := reason.(failure); ok {
		log.Fatal(f)
	}
	if reason != nil {
		panic(reason)
	}
}
