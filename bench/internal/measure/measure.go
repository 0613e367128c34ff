//go:build unix

// Package measure runs a command and says what it cost.
package measure

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"time"
)

// Cost is what a command used, with all processes it waited for.
type Cost struct {
	Wall, CPU time.Duration
	// MaxRSS is the peak resident memory of the largest single process, in bytes.
	MaxRSS int64
}

// Run runs a command in dir. A command that fails is an error unless mayFail is set.
func Run(dir string, env []string, mayFail bool, name string, args ...string) (Cost, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = dir, env
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	started := time.Now()
	err := cmd.Run()
	wall := time.Since(started)
	if err != nil && !mayFail {
		text := out.String()
		if len(text) > 2000 {
			text = "…" + text[len(text)-2000:]
		}
		return Cost{}, fmt.Errorf("%s %v: %w\n%s", name, args, err, text)
	}
	c := Cost{Wall: wall}
	if state := cmd.ProcessState; state != nil {
		c.CPU = state.UserTime() + state.SystemTime()
		if usage, ok := state.SysUsage().(*syscall.Rusage); ok {
			c.MaxRSS = usage.Maxrss * 1024
		}
	}
	return c, nil
}

// Median returns the cost with the median wall time of n runs.
func Median(n int, run func() (Cost, error)) (Cost, error) {
	var costs []Cost
	for range n {
		c, err := run()
		if err != nil {
			return Cost{}, err
		}
		costs = append(costs, c)
	}
	slices.SortFunc(costs, func(a, b Cost) int { return int(a.Wall - b.Wall) })
	return costs[len(costs)/2], nil
}

// Environment is a small environment with home as the home folder.
func Environment(home string, more ...string) []string {
	return append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "LANG=C.UTF-8", "USER=bench", "METAFLOW_USER=bench",
		"XDG_CACHE_HOME=" + home + "/cache"}, more...)
}
