// Package same says where two runs of one flow differ: made by two engines, they must not.
//
// What comes in is two runs in their datastores; what comes out is every difference. Tasks are brought together by their
// place in the flow (step, foreach indices, round of a recursive step), not by their ids, which each engine makes in its own
// way. Two artifacts are the same if they have the same digest. It changes nothing.
package same

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/pickle"
	"github.com/mf-run/mf/ir"
	"github.com/mf-run/mf/runtime"
)

// Run names a run in a datastore.
type Run struct {
	Store    *datastore.Store
	Flow, ID string
}

// View is what a run left behind.
type View struct {
	// Tasks are by place: "score[3 0].2" is round 2 of step score in item 0 of the inner and 3 of the outer foreach.
	Tasks map[string]Task
	// Unplaced are tasks of which the datastore does not say where they belong, by step and id: they have begun, but
	// nothing of them has come to its end.
	Unplaced []string
	run      Run
}

// Task is what one task left behind.
type Task struct {
	// ID is that of the engine.
	ID string
	// Status and Failure are those of runtime.State.
	Status, Failure string
	// Attempt is the number of the last one.
	Attempt int
	// Digests are those of its artifacts, by name, the format's own included.
	Digests map[string]string
}

// reading bounds the tasks that are read at a time.
const reading = 16

// Read reads a run. A run that does not exist has no tasks.
func Read(ctx context.Context, run Run) (*View, error) {
	refs, err := runtime.Tasks(ctx, run.Store, run.Flow, run.ID, "")
	if err != nil {
		return nil, fmt.Errorf("listing the tasks of %s/%s: %w", run.Flow, run.ID, err)
	}
	loader := runtime.NewLoader(run.Store, run.Flow)
	places, tasks := make([]string, len(refs)), make([]Task, len(refs))
	var g errgroup.Group
	g.SetLimit(reading)
	for i, ref := range refs {
		g.Go(func() (err error) {
			places[i], tasks[i], err = readTask(ctx, run, loader, ref)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	v := &View{Tasks: map[string]Task{}, run: run}
	for i, place := range places {
		if place == "" {
			v.Unplaced = append(v.Unplaced, refs[i].Step+"/"+refs[i].Task)
			continue
		}
		if other, taken := v.Tasks[place]; taken {
			return nil, fmt.Errorf("tasks %s and %s of %s/%s are both %s", other.ID, tasks[i].ID, run.Flow, run.ID, place)
		}
		v.Tasks[place] = tasks[i]
	}
	slices.Sort(v.Unplaced)
	return v, nil
}

func readTask(ctx context.Context, run Run, loader *runtime.Loader, ref datastore.TaskRef) (place string, t Task, err error) {
	t.ID = ref.Task
	rec, done, err := run.Store.Latest(ctx, ref)
	if errors.Is(err, datastore.ErrNotFound) || err == nil && !done {
		return "", t, nil
	}
	if err != nil {
		return "", t, err
	}
	t.Attempt, t.Digests = rec.Attempt, make(map[string]string, len(rec.Artifacts))
	for name, art := range rec.Artifacts {
		t.Digests[name] = art.Digest
	}
	if ref.Step == runtime.ParametersStep {
		t.Status = "succeeded"
		return ref.Step, t, nil
	}
	state, err := loader.State(ctx, ref)
	if err != nil {
		return "", t, err
	}
	t.Status, t.Failure = state.Status, state.Failure
	iteration, err := round(ctx, run, t)
	if err != nil {
		return "", t, err
	}
	return placeOf(ref.Step, state.Path, iteration), t, nil
}

// round reads which round of a recursive step the task is.
func round(ctx context.Context, run Run, t Task) (int, error) {
	v, err := load(ctx, run, t.Digests["_iteration_stack"])
	if err != nil {
		return 0, err
	}
	if list, _ := v.([]any); len(list) > 0 {
		if k, ok := list[len(list)-1].(int64); ok {
			return int(k), nil
		}
	}
	return ir.NoIteration, nil
}

func placeOf(step string, path ir.SplitPath, iteration int) string {
	place := step
	if len(path) > 0 {
		place += fmt.Sprint([]int(path))
	}
	if iteration != ir.NoIteration {
		place += fmt.Sprintf(".%d", iteration)
	}
	return place
}

func load(ctx context.Context, run Run, digest string) (any, error) {
	if digest == "" {
		return nil, nil
	}
	data, err := run.Store.Load(ctx, run.Flow, digest)
	if err != nil {
		return nil, err
	}
	return pickle.UnmarshalPartly(data)
}

// Rules say what may differ.
type Rules struct {
	// Varying are names of artifacts that are expected in both runs, with whatever value: clocks, random numbers, ids.
	Varying []string
	// Attempts: the number of a task's last attempt must be the same.
	Attempts bool
	// Metaflow: one of the runs is Metaflow's. Of the format's own artifacts, which begin with "_", only those are compared
	// that the real client reads, and a failure that was caught is not.
	Metaflow bool
}

// facts are the format's own artifacts that Metaflow's client reads.
var facts = []string{"_task_ok", "_success", "_transition", "_foreach_num_splits", "_foreach_var", "_current_step"}

// compared reports whether an artifact of a task is compared.
func (r Rules) compared(place, name string) bool {
	own := strings.HasPrefix(name, "_")
	return !own || !r.Metaflow || place != runtime.ParametersStep && slices.Contains(facts, name)
}

// byValue are artifacts of the format whose bytes depend on which of their texts happen to be one object in memory; their
// values must be the same.
func byValue(name string) bool { return strings.HasPrefix(name, "_") }

// ofTheRun are artifacts of the format that hold what each run has of its own: _control_mapper_tasks the ids of a gang's
// tasks, the others the text of a traceback and so the paths of files. What failed is compared by Task.Failure.
var ofTheRun = []string{"_control_mapper_tasks", "_exception", "_catch_exception"}

// Difference is one that was found.
type Difference struct {
	// Place is that of the task; What is "task", "status", "attempt" or the name of an artifact.
	Place, What string
	// Want and Got are the two runs' sides, "" where it is absent.
	Want, Got string
}

// String implements fmt.Stringer.
func (d Difference) String() string {
	side := func(s string) string {
		if s == "" {
			return "nothing"
		}
		return s
	}
	return fmt.Sprintf("%s: %s is %s, want %s", d.Place, d.What, side(d.Got), side(d.Want))
}

// Compare returns what got has otherwise than want, in the order of the places.
func Compare(ctx context.Context, want, got *View, rules Rules) ([]Difference, error) {
	var all []Difference
	if !slices.Equal(want.Unplaced, got.Unplaced) {
		all = append(all, Difference{"run", "tasks that have not come to an end", strings.Join(want.Unplaced, " "), strings.Join(got.Unplaced, " ")})
	}
	places := maps.Clone(want.Tasks)
	maps.Copy(places, got.Tasks)
	for _, place := range slices.Sorted(maps.Keys(places)) {
		w, inWant := want.Tasks[place]
		g, inGot := got.Tasks[place]
		if !inWant || !inGot {
			all = append(all, Difference{place, "task", presence(w, inWant), presence(g, inGot)})
			continue
		}
		found, err := rules.tasks(ctx, place, side{want.run, w}, side{got.run, g})
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

func presence(t Task, there bool) string {
	if !there {
		return ""
	}
	return t.Status
}

// side is one of two tasks that are compared.
type side struct {
	run  Run
	task Task
}

func (r Rules) tasks(ctx context.Context, place string, want, got side) (all []Difference, err error) {
	add := func(what, w, g string) {
		if w != g {
			all = append(all, Difference{place, what, w, g})
		}
	}
	add("status", want.task.Status, got.task.Status)
	if !r.Metaflow || want.task.Status == "failed" {
		add("failure", want.task.Failure, got.task.Failure)
	}
	if r.Attempts {
		add("attempt", fmt.Sprint(want.task.Attempt), fmt.Sprint(got.task.Attempt))
	}
	names := maps.Clone(want.task.Digests)
	maps.Copy(names, got.task.Digests)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		w, g := want.task.Digests[name], got.task.Digests[name]
		switch {
		case w == g || !r.compared(place, name):
			continue
		case w == "" || g == "":
			// below
		case slices.Contains(r.Varying, name) || slices.Contains(ofTheRun, name):
			continue
		}
		wantText, wantFile, wantErr := want.text(ctx, w)
		gotText, gotFile, gotErr := got.text(ctx, g)
		if err := errors.Join(wantErr, gotErr); err != nil {
			return nil, fmt.Errorf("%s: artifact %s: %w", place, name, err)
		}
		if w != "" && g != "" && (byValue(name) || wantFile && gotFile) && wantText == gotText {
			continue
		}
		if wantText == gotText {
			// Equal to a reader, with other bytes.
			wantText, gotText = wantText+" ("+w+")", gotText+" ("+g+")"
		}
		add("artifact "+name, wantText, gotText)
	}
	return all, nil
}

// longest is how much of a value a difference shows.
const longest = 400

// text is the value as a person reads it; "" for none. Of an included file, where in which datastore it is kept is left
// out, but for its digest.
func (s side) text(ctx context.Context, digest string) (text string, isFile bool, err error) {
	if digest == "" {
		return "", false, nil
	}
	v, err := load(ctx, s.run, digest)
	var opaque *pickle.OpaqueError
	if errors.As(err, &opaque) {
		return "an object " + digest, false, nil
	}
	if err != nil {
		return "", false, err
	}
	if file, ok := v.(pickle.IncludedFile); ok {
		url, _ := file.Descriptor["url"].(string)
		descriptor := maps.Clone(file.Descriptor)
		descriptor["url"] = path.Base(url)
		return pickle.Repr(descriptor), true, nil
	}
	return pickle.Repr(v), false, nil
}

// Report writes differences for people, one a line, at most most of them and long values cut; "" for none.
func Report(all []Difference, most int) string {
	var b strings.Builder
	for i, d := range all {
		if i == most {
			fmt.Fprintf(&b, "and %d more\n", len(all)-most)
			break
		}
		d.Want, d.Got = cut(d.Want, d.Got), cut(d.Got, d.Want)
		fmt.Fprintln(&b, d)
	}
	return b.String()
}

// cut shortens s around the first place where it differs from other.
func cut(s, other string) string {
	if len(s) <= longest {
		return s
	}
	same := 0
	for same < min(len(s), len(other)) && s[same] == other[same] {
		same++
	}
	start, before := max(0, min(same-longest/4, len(s)-longest)), ""
	if start > 0 {
		before = "…"
	}
	part, after := s[start:], ""
	if len(part) > longest {
		part, after = part[:longest], "…"
	}
	return before + strings.ToValidUTF8(part, "") + after
}
