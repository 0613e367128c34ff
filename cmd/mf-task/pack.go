package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/mf-run/mf/cmd/internal/tasktool"
	"github.com/mf-run/mf/ir"
	"github.com/mf-run/mf/runtime"
)

// pack is the tasks of an invocation while they run.
type pack struct {
	paths   []ir.SplitPath
	results []*runtime.Result
	errs    []error
	begun   int // how many have begun; the others never did
}

// executeAll runs the tasks side by side, as many at a time as there are CPUs. The failure of one does not stop the others.
func (w *work) executeAll(ctx context.Context) error {
	paths, err := w.paths(ctx)
	if err != nil {
		return err
	}
	p := &pack{paths: paths, results: make([]*runtime.Result, len(paths)), errs: make([]error, len(paths))}
	var wg sync.WaitGroup
	slots := make(chan struct{}, w.atOnce(len(paths)))
	for n, path := range paths {
		slots <- struct{}{} // told to stop, the tasks that run end soon
		if n > 0 && ctx.Err() != nil {
			break
		}
		p.begun++
		wg.Go(func() {
			defer func() { <-slots }()
			p.results[n], p.errs[n] = w.executeRounds(ctx, path)
			if len(paths) > 1 && p.errs[n] != nil && !errors.Is(p.errs[n], errFailed) {
				w.warn("%s: %v", w.name(path), p.errs[n])
			}
		})
	}
	wg.Wait()
	if err := p.failure(w); err != nil {
		return err
	}
	if err := w.invoked.Leave(context.WithoutCancel(ctx), w.req.Step, p.results...); err != nil {
		w.failed(false, w.req.Step+": "+err.Error())
		return err
	}
	return nil
}

// paths are those of the invocation that exist.
func (w *work) paths(ctx context.Context) ([]ir.SplitPath, error) {
	paths := w.req.paths
	if w.req.clip {
		var err error
		if paths, err = w.invoked.Clip(ctx, w.req.Step, paths); err != nil {
			return nil, err
		}
	}
	s := w.flow.Step(w.req.Step)
	if len(paths) > 1 && s != nil && s.Next != nil && (s.Next.Kind == ir.Foreach || s.Next.Kind == ir.Parallel) && w.leaves() {
		return nil, &tasktool.UsageError{Message: fmt.Sprintf(
			"step %s splits, so that each of its tasks needs an invocation of its own; --path %s stands for %d", s.Name, w.req.Path, len(paths))}
	}
	return paths, nil
}

// leaves reports whether an engine reads small outputs.
func (w *work) leaves() bool {
	out := w.invoked.Outputs
	return out.Folder != "" || out.File != "" || out.SplitList != ""
}

// atOnce is how many of n tasks run at a time. Those of a gang wait for each other.
func (w *work) atOnce(n int) int {
	if split, first := w.invoked.Run.Graph.FirstOfBody(w.req.Step); first {
		if s := w.flow.Step(split); s.Next.Kind == ir.Parallel {
			if gangs := &w.invoked.Run.Gangs; n > 1 {
				gangs.Address = cmp.Or(gangs.Address, "127.0.0.1") // they are all here
			}
			return n
		}
	}
	if w.set.workers > 0 {
		return w.set.workers
	}
	return cpus()
}

// executeRounds runs one task or, of a step that loops, rounds one after the other until the loop is left.
func (w *work) executeRounds(ctx context.Context, path ir.SplitPath) (*runtime.Result, error) {
	for k := w.req.round; ; k++ {
		res, err := w.execute(ctx, path, k)
		last := k+1 >= w.req.round+w.req.rounds
		if err != nil || last || res.Next == nil || res.Next.Targets[0] != w.req.Step {
			return res, err
		}
	}
}

// maxNamed is how many tasks the last line about a pack names.
const maxNamed = 5

// failure says which tasks have failed; nil if none has.
func (p *pack) failure(w *work) error {
	if len(p.paths) == 1 {
		return p.errs[0]
	}
	failed, names := 0, []string(nil)
	for n, err := range p.errs {
		if err == nil {
			continue
		}
		if failed++; failed <= maxNamed {
			names = append(names, w.name(p.paths[n]))
		}
	}
	if more := failed - len(names); more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	again := "run the same invocation again: what has succeeded is not run twice"
	switch {
	case failed > 0:
		w.warn("%d of %d tasks failed: %s; %s", failed, len(p.paths), strings.Join(names, ", "), again)
	case p.begun < len(p.paths):
		w.warn("stopped after %d of %d tasks; %s", p.begun, len(p.paths), again)
	default:
		return nil
	}
	return errFailed
}
