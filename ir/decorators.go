package ir

import (
	"fmt"
	"strconv"
	"time"
)

// What Metaflow gives a task that asks for nothing.
const (
	DefaultCPU      = 1.0
	DefaultMemoryMB = 4096
	DefaultDiskMB   = 10240
)

// MaxAttempts is the most attempts of one task that readers of the datastore format see: numbers 0 to 5.
const MaxAttempts = 6

// CatchFallbacks is the number of further attempts that @catch adds behind the retries: they do not run the user's code
// but record that it never ended by itself (it crashed, or was killed).
const CatchFallbacks = 3

// Retry returns how often a failed attempt of the step is tried again, and the pause before. Without @retry it is 0, 0.
func (s *Step) Retry() (times int, pause time.Duration) {
	d := s.Decorator("retry")
	if d == nil {
		return 0, 0
	}
	times = int(max(d.Attributes.Int("times", 3), 0))
	minutes := max(d.Attributes.Float("minutes_between_retries", 2), 0)
	return times, duration(minutes, time.Minute)
}

// Attempts returns the number of attempts of a task that run the user's code (at least 1), and the number of those
// that there may be in all, with the fallbacks of @catch; never more than MaxAttempts.
func (s *Step) Attempts() (user, all int) {
	times, _ := s.Retry()
	user = min(1+times, MaxAttempts)
	all = user
	if s.Decorator("catch") != nil {
		all = min(user+CatchFallbacks, MaxAttempts)
	}
	return user, all
}

// Timeout returns the longest that one attempt of the step may take; 0 is no limit.
func (s *Step) Timeout() time.Duration {
	d := s.Decorator("timeout")
	if d == nil {
		return 0
	}
	return max(duration(d.Attributes.Float("seconds", 0), time.Second)+
		duration(d.Attributes.Float("minutes", 0), time.Minute)+
		duration(d.Attributes.Float("hours", 0), time.Hour), 0)
}

// duration multiplies without overflow: what is longer than a century is a century.
func duration(n float64, unit time.Duration) time.Duration {
	const century = 100 * 365 * 24 * time.Hour
	if n > float64(century/unit) {
		return century
	}
	if n < -float64(century/unit) {
		return -century
	}
	return time.Duration(n * float64(unit))
}

// Catch returns the artifact in which @catch stores the exception (empty for none), and whether it prints it. Without
// @catch, ok is false.
func (s *Step) Catch() (variable string, print, ok bool) {
	d := s.Decorator("catch")
	if d == nil {
		return "", false, false
	}
	return d.Attributes.String("var", ""), d.Attributes.Bool("print_exception", true), true
}

// Environment returns the variables that @environment sets for the step; nil for none.
func (s *Step) Environment() map[string]string {
	d := s.Decorator("environment")
	if d == nil {
		return nil
	}
	vars, _ := d.Attributes["vars"].(map[string]any)
	if len(vars) == 0 {
		return nil
	}
	env := make(map[string]string, len(vars))
	for name, value := range vars {
		env[name] = plainText(value)
	}
	return env
}

// plainText writes a value as Python's str does for plain values.
func plainText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case bool:
		if v {
			return "True"
		}
		return "False"
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	case nil:
		return "None"
	default:
		return fmt.Sprint(v)
	}
}

// Image returns the container image that the step asks for: its command's, else that of @kubernetes, else that of
// @batch; empty for the target's default.
func (s *Step) Image() string {
	if s.Command != nil && s.Command.Image != "" {
		return s.Command.Image
	}
	for _, name := range []string{"kubernetes", "batch"} {
		if d := s.Decorator(name); d != nil {
			if image := d.Attributes.String("image", ""); image != "" {
				return image
			}
		}
	}
	return ""
}

// Resources is what a task of a step needs.
type Resources struct {
	// CPU is in cores.
	CPU float64
	// MemoryMB, DiskMB and SharedMemoryMB are in megabytes; SharedMemoryMB is 0 for the target's default.
	MemoryMB, DiskMB, SharedMemoryMB int64
	// GPU is the number of GPUs.
	GPU int64
}

// Resources merges @resources with @kubernetes and @batch: of two values the larger counts, but for GPU and shared
// memory @resources wins over @kubernetes, as in Metaflow. Defaults are filled in.
func (s *Step) Resources() Resources {
	value := func(attribute string, def float64, overrides bool) float64 {
		result, given := 0.0, false
		for _, name := range []string{"resources", "kubernetes", "batch"} {
			d := s.Decorator(name)
			if d == nil || d.Attributes[attribute] == nil {
				continue
			}
			if given && overrides && name == "kubernetes" {
				continue
			}
			result, given = max(result, d.Attributes.Float(attribute, 0)), true
		}
		if !given {
			return def
		}
		return result
	}
	whole := func(attribute string, def float64, overrides bool) int64 {
		n := value(attribute, def, overrides)
		if up := int64(min(n, 1<<53)); float64(up) < n {
			return up + 1
		} else {
			return up
		}
	}
	return Resources{
		CPU:            value("cpu", DefaultCPU, false),
		MemoryMB:       whole("memory", DefaultMemoryMB, false),
		DiskMB:         whole("disk", DefaultDiskMB, false),
		GPU:            whole("gpu", 0, true),
		SharedMemoryMB: whole("shared_memory", 0, true),
	}
}

// Project is the namespace of a deployment.
type Project struct {
	Name string
	// Branch and Production are as written in the source; the command line may set others.
	Branch     string
	Production bool
}

// Project returns what @project says; ok is false without it.
func (f *Flow) Project() (p Project, ok bool) {
	d := f.Decorator("project")
	if d == nil {
		return Project{}, false
	}
	return Project{d.Attributes.String("name", ""), d.Attributes.String("branch", ""),
		d.Attributes.Bool("production", false)}, true
}
