package ir_test

import (
	"maps"
	"testing"
	"time"

	"github.com/mf-run/mf/ir"
)

func step(decorators ...ir.Decorator) *ir.Step { return &ir.Step{Name: "s", Decorators: decorators} }

func deco(name string, attributes ir.Attributes) ir.Decorator {
	return ir.Decorator{Name: name, Attributes: attributes}
}

func TestRetryAndAttempts(t *testing.T) {
	for _, c := range []struct {
		step      *ir.Step
		times     int
		pause     time.Duration
		user, all int
	}{
		{step(), 0, 0, 1, 1},
		{step(deco("retry", nil)), 3, 2 * time.Minute, 4, 4},
		{step(deco("retry", ir.Attributes{"times": "1", "minutes_between_retries": "0"})), 1, 0, 2, 2},
		{step(deco("retry", ir.Attributes{"times": int64(2), "minutes_between_retries": 0.5})), 2, 30 * time.Second, 3, 3},
		{step(deco("retry", ir.Attributes{"times": int64(-2), "minutes_between_retries": int64(-1)})), 0, 0, 1, 1},
		{step(deco("catch", nil)), 0, 0, 1, 4},
		{step(deco("catch", nil), deco("retry", ir.Attributes{"times": int64(4)})), 4, 2 * time.Minute, 5, 6},
	} {
		times, pause := c.step.Retry()
		user, all := c.step.Attempts()
		if times != c.times || pause != c.pause || user != c.user || all != c.all {
			t.Errorf("%v: %d %v %d %d", c.step.Decorators, times, pause, user, all)
		}
	}
}

func TestTimeout(t *testing.T) {
	for _, c := range []struct {
		attributes ir.Attributes
		want       time.Duration
	}{
		{nil, 0},
		{ir.Attributes{"seconds": int64(5), "minutes": "1", "hours": int64(0)}, 65 * time.Second},
		{ir.Attributes{"hours": int64(-1)}, 0},
		{ir.Attributes{"hours": 1e300}, 100 * 365 * 24 * time.Hour},
	} {
		if got := step(deco("timeout", c.attributes)).Timeout(); got != c.want {
			t.Errorf("%v: %v, want %v", c.attributes, got, c.want)
		}
	}
	if step().Timeout() != 0 {
		t.Error("no @timeout has a timeout")
	}
}

func TestResourcesMerge(t *testing.T) {
	for _, c := range []struct {
		name string
		step *ir.Step
		want ir.Resources
	}{
		{"defaults", step(), ir.Resources{CPU: 1, MemoryMB: 4096, DiskMB: 10240}},
		{"resources alone", step(deco("resources", ir.Attributes{"cpu": "0.5", "memory": int64(256), "disk": nil, "gpu": int64(1)})),
			ir.Resources{CPU: 0.5, MemoryMB: 256, DiskMB: 10240, GPU: 1}},
		{"the larger counts", step(deco("resources", ir.Attributes{"cpu": "4", "memory": "1000"}),
			deco("kubernetes", ir.Attributes{"cpu": "1", "memory": "4096", "disk": "20000"})),
			ir.Resources{CPU: 4, MemoryMB: 4096, DiskMB: 20000}},
		{"gpu of resources wins over kubernetes", step(deco("kubernetes", ir.Attributes{"gpu": int64(4), "shared_memory": int64(9)}),
			deco("resources", ir.Attributes{"gpu": int64(2), "shared_memory": int64(5)})),
			ir.Resources{CPU: 1, MemoryMB: 4096, DiskMB: 10240, GPU: 2, SharedMemoryMB: 5}},
		{"batch takes the larger gpu", step(deco("batch", ir.Attributes{"gpu": int64(4)}), deco("resources", ir.Attributes{"gpu": "2"})),
			ir.Resources{CPU: 1, MemoryMB: 4096, DiskMB: 10240, GPU: 4}},
		{"parts of megabytes are rounded up", step(deco("resources", ir.Attributes{"memory": 100.2})),
			ir.Resources{CPU: 1, MemoryMB: 101, DiskMB: 10240}},
	} {
		if got := c.step.Resources(); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

func TestCatchEnvironmentImage(t *testing.T) {
	if _, _, ok := step().Catch(); ok {
		t.Error("a step without @catch catches")
	}
	if v, show, ok := step(deco("catch", ir.Attributes{"var": "e", "print_exception": false})).Catch(); v != "e" || show || !ok {
		t.Errorf("catch: %q %v %v", v, show, ok)
	}
	if v, show, ok := step(deco("catch", ir.Attributes{"var": nil})).Catch(); v != "" || !show || !ok {
		t.Errorf("catch without var: %q %v %v", v, show, ok)
	}
	env := step(deco("environment", ir.Attributes{"vars": map[string]any{"A": "x", "B": int64(3), "C": true, "D": 0.5, "E": nil}})).Environment()
	if !maps.Equal(env, map[string]string{"A": "x", "B": "3", "C": "True", "D": "0.5", "E": "None"}) {
		t.Errorf("environment %v", env)
	}
	if step().Environment() != nil || step(deco("environment", nil)).Environment() != nil {
		t.Error("an empty environment is not nil")
	}
	s := step(deco("batch", ir.Attributes{"image": "b"}), deco("kubernetes", ir.Attributes{"image": nil}))
	if s.Image() != "b" {
		t.Errorf("image %q", s.Image())
	}
	s.Decorators[1].Attributes["image"] = "k"
	if s.Image() != "k" {
		t.Errorf("image %q", s.Image())
	}
	s.Command = &ir.Command{Image: "c"}
	if s.Image() != "c" || step().Image() != "" {
		t.Errorf("image %q", s.Image())
	}
}

func TestProject(t *testing.T) {
	f := &ir.Flow{Decorators: []ir.Decorator{deco("project", ir.Attributes{"name": "p", "branch": nil, "production": true})}}
	if p, ok := f.Project(); !ok || p != (ir.Project{Name: "p", Production: true}) {
		t.Errorf("project %+v %v", p, ok)
	}
	if _, ok := (&ir.Flow{}).Project(); ok {
		t.Error("a flow without @project has one")
	}
}
