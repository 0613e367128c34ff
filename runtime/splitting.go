package runtime

import (
	"context"
	"fmt"
	"sync"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/ir"
)

// splitting keeps what the tasks of one invocation read alike: the tasks whose foreach they lie in, and the values that the
// flow's steps write. Its zero value is ready.
type splitting struct {
	mu     sync.Mutex
	loader *Loader
	found  map[datastore.TaskRef]*sync.Mutex
	tasks  map[datastore.TaskRef]*Result
}

// common returns the loader from which those of the tasks are made.
func (s *splitting) common(r *Run) *Loader {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loader == nil {
		s.loader = NewLoader(r.Store, r.Flow.Name)
		s.loader.expect(r.Flow)
	}
	return s.loader
}

// read returns a task that splits, from the datastore only once.
func (s *splitting) read(f finder, step string, path ir.SplitPath) (*Result, error) {
	loader := s.common(f.run)
	ref := f.ref(step, path, ir.NoIteration)
	s.mu.Lock()
	if s.found == nil {
		s.found, s.tasks = map[datastore.TaskRef]*sync.Mutex{}, map[datastore.TaskRef]*Result{}
	}
	one := s.found[ref]
	if one == nil {
		one = &sync.Mutex{}
		s.found[ref] = one
	}
	s.mu.Unlock()
	one.Lock() // side by side, the tasks of a pack wait for the first
	defer one.Unlock()
	s.mu.Lock()
	res := s.tasks[ref]
	s.mu.Unlock()
	if res != nil {
		return res, nil
	}
	f.loader = loader
	res, err := f.at(step, path, ir.NoIteration)
	if err != nil {
		return nil, err
	}
	if res.Stack, err = loader.stack(f.ctx, res); err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.tasks[ref] = res
	s.mu.Unlock()
	return res, nil
}

// Clip returns those of the paths of a pack that exist: the innermost foreach around the step may have fewer splits. The
// paths have the parent in common. How many there are the record of the task that splits says.
func (i *Invocation) Clip(ctx context.Context, step string, paths []ir.SplitPath) ([]ir.SplitPath, error) {
	g := i.Run.Graph
	if g.Step(step) == nil {
		return nil, fmt.Errorf("flow %s has no step %q", i.Run.Flow.Name, step)
	}
	around := g.Foreachs(step)
	if len(around) == 0 || len(around) != len(paths[0]) {
		return nil, fmt.Errorf("step %s lies in %d foreach, but its split path is %q", step, len(around), paths[0])
	}
	split, parent := around[len(around)-1], paths[0].Parent()
	res, err := i.splitting.read(finder{ctx: ctx, run: i.Run}, split, parent)
	if err != nil {
		return nil, fmt.Errorf("finding the splits of %s: %w", step, err)
	}
	if res.Next == nil {
		return nil, fmt.Errorf("%s has no splits", res.Ref)
	}
	for n, p := range paths {
		if p[len(p)-1] < res.Next.Splits {
			continue
		}
		if n == 0 {
			return nil, fmt.Errorf("%s has %d splits: there is no pack that begins with split %d", res.Ref, res.Next.Splits, p[len(p)-1])
		}
		return paths[:n], nil
	}
	return paths, nil
}
