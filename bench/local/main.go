//go:build unix

// Command local compares runs on one machine with Metaflow's own: a flow of three steps, a foreach of 500 trivial tasks, and
// a resume of the latter; and measures the memory of a foreach of 10,000. One run prints both sides and their ratio.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/mf-run/mf/bench/internal/measure"
)

const threeSteps = `
from metaflow import FlowSpec, step
class ThreeFlow(FlowSpec):
    @step
    def start(self):
        self.x = 1
        self.next(self.middle)
    @step
    def middle(self):
        self.x += 1
        self.next(self.end)
    @step
    def end(self):
        print(self.x)
if __name__ == "__main__":
    ThreeFlow()
`

const wide = `
import os
from metaflow import FlowSpec, Parameter, step
class WideFlow(FlowSpec):
    n = Parameter("n", default=500)
    @step
    def start(self):
        self.items = list(range(self.n))
        self.next(self.work, foreach="items")
    @step
    def work(self):
        self.out = self.input * 2
        self.next(self.join)
    @step
    def join(self, inputs):
        self.total = sum(i.out for i in inputs)
        self.next(self.end)
    @step
    def end(self):
        if os.environ.get("FAIL"):
            raise ValueError("asked to fail")
        print(self.total)
if __name__ == "__main__":
    WideFlow()
`

type bench struct {
	dir, mf, python string
	env             []string
}

func main() {
	mf := flag.String("mf", "bin/mf", "the mf program")
	python := flag.String("python", ".cache/venv-metaflow/bin/python", "a Python that has Metaflow")
	splits := flag.Int("splits", 500, "width of the foreach")
	theirs := flag.Int("metaflow-splits", 500, "width of Metaflow's foreach; its figures are per task")
	memory := flag.Int("memory-splits", 10000, "width of the foreach whose memory is measured; 0 leaves it out")
	flag.Parse()
	if err := run(*mf, *python, *splits, *theirs, *memory); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(mf, python string, splits, theirs, memory int) error {
	dir, err := os.MkdirTemp("", "mf-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for name, text := range map[string]string{"three.py": threeSteps, "wide.py": wide} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	if mf, err = filepath.Abs(mf); err != nil {
		return err
	}
	if python, err = filepath.Abs(python); err != nil {
		return err
	}
	b := &bench{dir: dir, mf: mf, python: python, env: measure.Environment(dir, "MF_PYTHON="+python)}
	fmt.Printf("%-34s %12s %12s %8s\n", "", "mf", "Metaflow", "ratio")
	for _, f := range []func() error{
		b.three,
		func() error { return b.wide(splits, theirs) },
		func() error { return b.memory(memory) },
	} {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) row(what, unit string, ours, theirs float64) {
	fmt.Printf("%-34s %9.4f %-2s %9.4f %-2s %7.1fx\n", what, ours, unit, theirs, unit, theirs/ours)
}

func (b *bench) run(mayFail bool, env []string, args ...string) (measure.Cost, error) {
	return measure.Run(b.dir, append(env, b.env...), mayFail, b.mf, args...)
}

func (b *bench) metaflow(mayFail bool, env []string, flow string, args ...string) (measure.Cost, error) {
	all := append([]string{flow, "--quiet", "--no-pylint", "--metadata", "local", "--datastore", "local"}, args...)
	return measure.Run(b.dir, append(env, b.env...), mayFail, b.python, all...)
}

func (b *bench) three() error {
	// The first run unpacks the SDK and lets Python compile it; that is not what is measured.
	if _, err := b.run(false, nil, "run", "three.py"); err != nil {
		return err
	}
	ours, err := measure.Median(9, func() (measure.Cost, error) { return b.run(false, nil, "run", "three.py") })
	if err != nil {
		return err
	}
	theirs, err := measure.Median(3, func() (measure.Cost, error) { return b.metaflow(false, nil, "three.py", "run") })
	if err != nil {
		return err
	}
	b.row("3 steps, wall", "s", ours.Wall.Seconds(), theirs.Wall.Seconds())
	b.row("3 steps, CPU", "s", ours.CPU.Seconds(), theirs.CPU.Seconds())
	return nil
}

// wide measures the foreach and, since its last step fails, the resume.
func (b *bench) wide(splits, theirs int) error {
	fail := []string{"FAIL=1"}
	width := fmt.Sprint(splits)
	ours, err := b.run(true, fail, "run", "wide.py", "--n", width, "--max-splits", width)
	if err != nil {
		return err
	}
	again, err := b.run(false, nil, "resume", "wide.py", "--max-splits", width)
	if err != nil {
		return err
	}
	other := fmt.Sprint(theirs)
	peer, err := b.metaflow(true, fail, "wide.py", "run", "--n", other, "--max-num-splits", other)
	if err != nil {
		return err
	}
	peerAgain, err := b.metaflow(false, nil, "wide.py", "resume", "--max-num-splits", other)
	if err != nil {
		return err
	}
	perTask := func(d time.Duration, n int) float64 { return d.Seconds() / float64(n+3) }
	b.row(fmt.Sprintf("foreach of %d, CPU a task", splits), "s", perTask(ours.CPU, splits), perTask(peer.CPU, theirs))
	b.row(fmt.Sprintf("foreach of %d, wall a task", splits), "s", perTask(ours.Wall, splits), perTask(peer.Wall, theirs))
	b.row("its resume, CPU a task", "s", perTask(again.CPU, splits), perTask(peerAgain.CPU, theirs))
	b.row("its resume, wall a task", "s", perTask(again.Wall, splits), perTask(peerAgain.Wall, theirs))
	return nil
}

func (b *bench) memory(splits int) error {
	if splits == 0 {
		return nil
	}
	n := fmt.Sprint(splits)
	c, err := b.run(false, nil, "run", "wide.py", "--n", n, "--max-splits", n)
	if err != nil {
		return err
	}
	fmt.Printf("foreach of %d: peak memory of one process %d MiB, %.1f s, %.1f CPU-s\n", splits, c.MaxRSS>>20, c.Wall.Seconds(), c.CPU.Seconds())
	return nil
}
