//go:build unix

// Command compile measures how long compiling takes for flows of 10 to 10,000 steps and each target, beside what Metaflow
// needs to read and check the same flow (its own compilers need a cloud to write to). A target that cannot hold a flow of
// that size says so; the time is then that of the diagnostic.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/mf-run/mf/bench/internal/measure"
)

func main() {
	mf := flag.String("mf", "bin/mf", "the mf program")
	python := flag.String("python", ".cache/venv-metaflow/bin/python", "a Python that has Metaflow")
	largest := flag.Int("metaflow-steps", 1000, "largest flow given to Metaflow")
	flag.Parse()
	if err := run(*mf, *python, *largest); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// pythonFlow is a chain of n steps.
func pythonFlow(n int) string {
	var b strings.Builder
	b.WriteString("from metaflow import FlowSpec, step\n\n\nclass ChainFlow(FlowSpec):\n")
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
		fmt.Fprintf(&b, "    @step\n    def %s(self):\n        self.x%d = %d\n", name(i), i%10, i)
		if i < n-1 {
			fmt.Fprintf(&b, "        self.next(self.%s)\n", name(i+1))
		}
		b.WriteByte('\n')
	}
	b.WriteString("\nif __name__ == \"__main__\":\n    ChainFlow()\n")
	return b.String()
}

// yamlFlow is the same chain of commands.
func yamlFlow(n int) string {
	var b strings.Builder
	b.WriteString("flow: Chain\nsteps:\n")
	for i := range n {
		name, next := fmt.Sprintf("s%d", i), fmt.Sprintf("s%d", i+1)
		if i == 0 {
			name = "start"
		}
		if i == n-2 {
			next = "end"
		}
		if i == n-1 {
			fmt.Fprintf(&b, "  end: {run: echo done}\n")
			break
		}
		fmt.Fprintf(&b, "  %s: {run: echo %d, next: %s}\n", name, i, next)
	}
	return b.String()
}

func run(mf, python string, largest int) error {
	dir, err := os.MkdirTemp("", "mf-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	mf, errMf := filepath.Abs(mf)
	python, errPy := filepath.Abs(python)
	if err := errors.Join(errMf, errPy); err != nil {
		return err
	}
	env := measure.Environment(dir, "MF_PYTHON="+python)
	targets := []string{"ir", "argo", "step-functions", "airflow"}
	fmt.Printf("%-7s %-7s", "steps", "source")
	for _, t := range targets {
		fmt.Printf(" %16s", t)
	}
	fmt.Printf(" %16s %8s\n", "Metaflow check", "ratio")
	for _, n := range []int{10, 100, 1000, 10000} {
		for _, source := range []struct{ name, file, text string }{
			{"yaml", "chain.yaml", yamlFlow(n)}, {"python", "chain.py", pythonFlow(n)},
		} {
			if err := os.WriteFile(filepath.Join(dir, source.file), []byte(source.text), 0o644); err != nil {
				return err
			}
			fmt.Printf("%-7d %-7s", n, source.name)
			var argo measure.Cost
			for _, target := range targets {
				c, err := measure.Median(3, func() (measure.Cost, error) {
					return measure.Run(dir, env, true, mf, "compile", source.file, "--target", target, "-o", "out")
				})
				if err != nil {
					return err
				}
				if target == "argo" {
					argo = c
				}
				fmt.Printf(" %7.3f/%6.3f s", c.Wall.Seconds(), c.CPU.Seconds())
			}
			if source.name == "python" && n <= largest {
				c, err := measure.Run(dir, env, false, python, source.file, "--quiet", "--no-pylint", "check")
				if err != nil {
					// From about a thousand steps in a row on, its traversal exceeds Python's recursion limit.
					fmt.Printf(" %16s", "fails")
				} else {
					fmt.Printf(" %7.3f/%6.3f s %7.1fx", c.Wall.Seconds(), c.CPU.Seconds(), c.Wall.Seconds()/argo.Wall.Seconds())
				}
			}
			fmt.Println()
		}
	}
	fmt.Println("wall/CPU seconds; the ratio is Metaflow's check to mf's compile for argo, wall")
	return nil
}
