package reader

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/metadata"
)

// server answers questions, one at a time.
type server struct {
	store *datastore.Store
	meta  metadata.Reader
	opt   Options
	// stores are those at other roots.
	stores map[string]*datastore.Store
	// record is the last that was read, that of attempt recordOf.
	record   datastore.Record
	recordOf string
}

// answer writes the answer to a question.
func (s *server) answer(ctx context.Context, q *question, w io.Writer) error {
	if slices.Contains(q.Path, "") {
		return errors.New("a part of the pathspec is empty")
	}
	depths := map[string][2]int{
		"read": {1, 4}, "children": {0, 3}, "runs": {1, 1}, "metadata": {4, 4}, "artifacts": {4, 4}, "info": {4, 4},
		"log": {4, 4}, "value": {1, 1}, "include": {0, 0},
	}
	depth, known := depths[q.Op]
	if !known {
		return fmt.Errorf("there is no question %q", q.Op)
	}
	if len(q.Path) < depth[0] || len(q.Path) > depth[1] {
		return fmt.Errorf("question %q takes a pathspec of %d to %d parts, not %d", q.Op, depth[0], depth[1], len(q.Path))
	}
	switch q.Op {
	case "value":
		return s.value(ctx, q, w)
	case "include":
		return s.include(ctx, q, w)
	case "log":
		return s.log(ctx, q, w)
	}
	found, err := s.rows(ctx, q)
	if err != nil {
		return err
	}
	return json.NewEncoder(w).Encode(found)
}

// rows answers questions about metadata.
func (s *server) rows(ctx context.Context, q *question) (any, error) {
	switch q.Op {
	case "read":
		found, err := s.read(ctx, q.Path)
		if errors.Is(err, metadata.ErrNotFound) {
			return nil, nil
		}
		return found, err
	case "runs":
		return s.runs(ctx, metadata.RunQuery{FlowID: q.Path[0], Tags: q.Tags, Limit: max(q.Limit, 0)})
	case "children":
		return s.children(ctx, q.Path)
	case "metadata":
		return s.metadata(ctx, ref(q.Path))
	case "artifacts":
		return s.artifacts(ctx, ref(q.Path), q.Attempt)
	}
	return s.info(ctx, q)
}

func ref(path []string) metadata.TaskRef {
	return metadata.TaskRef{Flow: path[0], Run: path[1], Step: path[2], Task: path[3]}
}

func (s *server) read(ctx context.Context, path []string) (row, error) {
	switch len(path) {
	case 1:
		return s.flow(ctx, path[0])
	case 2:
		run, err := s.meta.Run(ctx, path[0], path[1])
		if err == nil && run.RunID != path[1] { // such as 05
			err = metadata.ErrNotFound
		}
		return runRow(run), err
	case 3:
		step, err := s.step(ctx, path[0], path[1], path[2])
		return stepRow(step), err
	}
	task, err := s.task(ctx, ref(path))
	if err == nil && task.TaskID != path[3] {
		err = metadata.ErrNotFound
	}
	return taskRow(task), err
}

// flow returns a flow. One without runs need not be found.
func (s *server) flow(ctx context.Context, flow string) (row, error) {
	if lookup, ok := s.meta.(metadata.Lookup); ok {
		found, err := lookup.Flow(ctx, flow)
		return row{"flow_id": found.FlowID, "ts_epoch": found.TsEpoch}, err
	}
	runs, err := s.meta.Runs(ctx, metadata.RunQuery{FlowID: flow})
	if err != nil || len(runs) == 0 {
		return nil, cmp.Or(err, metadata.ErrNotFound)
	}
	return row{"flow_id": flow, "ts_epoch": runs[len(runs)-1].TsEpoch}, nil
}

func (s *server) step(ctx context.Context, flow, run, step string) (metadata.Step, error) {
	if lookup, ok := s.meta.(metadata.Lookup); ok {
		return lookup.Step(ctx, flow, run, step)
	}
	tasks, err := s.meta.Tasks(ctx, flow, run, step)
	if err != nil || len(tasks) == 0 {
		return metadata.Step{}, cmp.Or(err, metadata.ErrNotFound)
	}
	return stepsOf(tasks)[0], nil
}

func (s *server) task(ctx context.Context, t metadata.TaskRef) (metadata.Task, error) {
	if lookup, ok := s.meta.(metadata.Lookup); ok {
		return lookup.Task(ctx, t)
	}
	tasks, err := s.meta.Tasks(ctx, t.Flow, t.Run, t.Step)
	if err != nil {
		return metadata.Task{}, err
	}
	i := slices.IndexFunc(tasks, func(o metadata.Task) bool { return o.TaskID == t.Task })
	if i < 0 {
		return metadata.Task{}, metadata.ErrNotFound
	}
	return tasks[i], nil
}

// children lists what is below an object.
func (s *server) children(ctx context.Context, path []string) ([]named, error) {
	switch len(path) {
	case 0:
		return s.flows(ctx)
	case 1:
		return s.runs(ctx, metadata.RunQuery{FlowID: path[0]})
	case 2:
		steps, err := s.steps(ctx, path[0], path[1])
		return list(steps, func(p metadata.Step) named { return named{p.StepName, stepRow(p)} }), err
	}
	tasks, err := s.meta.Tasks(ctx, path[0], path[1], path[2])
	return list(tasks, func(t metadata.Task) named { return named{t.TaskID, taskRow(t)} }), err
}

// list makes a list of another that is not nil.
func list[T, R any](from []T, convert func(T) R) []R {
	to := make([]R, 0, len(from))
	for _, v := range from {
		to = append(to, convert(v))
	}
	return to
}

func (s *server) steps(ctx context.Context, flow, run string) ([]metadata.Step, error) {
	if lookup, ok := s.meta.(metadata.Lookup); ok {
		return lookup.Steps(ctx, flow, run)
	}
	tasks, err := s.meta.Tasks(ctx, flow, run, "")
	return stepsOf(tasks), err
}

func (s *server) runs(ctx context.Context, q metadata.RunQuery) ([]named, error) {
	runs, err := s.meta.Runs(ctx, q)
	return list(runs, func(r metadata.Run) named { return named{r.RunID, runRow(r)} }), err
}

func (s *server) flows(ctx context.Context) ([]named, error) {
	var flows []metadata.Flow
	if lookup, ok := s.meta.(metadata.Lookup); ok {
		var err error
		if flows, err = lookup.Flows(ctx); err != nil {
			return nil, err
		}
	} else {
		runs, err := s.meta.Runs(ctx, metadata.RunQuery{})
		if err != nil {
			return nil, err
		}
		first := map[string]bool{}
		for _, r := range slices.Backward(runs) { // the oldest first
			if !first[r.FlowID] {
				first[r.FlowID] = true
				flows = append(flows, metadata.Flow{FlowID: r.FlowID, TsEpoch: r.TsEpoch})
			}
		}
	}
	return list(flows, func(f metadata.Flow) named {
		return named{f.FlowID, row{"flow_id": f.FlowID, "ts_epoch": f.TsEpoch}}
	}), nil
}

// metadata lists a task's metadata, newest first; of one moment by field, and of one field what was recorded last.
func (s *server) metadata(ctx context.Context, t metadata.TaskRef) ([]row, error) {
	found, err := s.newest(ctx, t)
	return list(found, metadatumRow), err
}

func (s *server) newest(ctx context.Context, t metadata.TaskRef) ([]metadata.Metadatum, error) {
	found, err := s.meta.Metadata(ctx, t.Flow, t.Run, t.Step, t.Task)
	slices.Reverse(found)
	slices.SortStableFunc(found, func(a, b metadata.Metadatum) int {
		return cmp.Or(cmp.Compare(b.TsEpoch, a.TsEpoch), cmp.Compare(a.FieldName+"_", b.FieldName+"_"))
	})
	return found, err
}

// artifacts lists those of an attempt by name; by default of the last that is finished.
func (s *server) artifacts(ctx context.Context, t metadata.TaskRef, attempt *int) (map[string]row, error) {
	named := map[string]row{}
	if attempt == nil {
		done, err := s.finished(ctx, t)
		if err != nil || done < 0 {
			return named, err
		}
		attempt = &done
	}
	found, err := s.meta.Artifacts(ctx, t.Flow, t.Run, t.Step, t.Task)
	for _, a := range found {
		if a.AttemptID == *attempt {
			named[a.Name] = artifactRow(a)
		}
	}
	return named, err
}

// finished returns the last attempt of a task that is finished; below zero if none is.
func (s *server) finished(ctx context.Context, t metadata.TaskRef) (int, error) {
	found, err := s.newest(ctx, t)
	for _, m := range found {
		if m.FieldName != "attempt-done" {
			continue
		}
		if n, err := strconv.Atoi(m.Value); err == nil {
			return n, nil
		}
		return -1, fmt.Errorf("task %s: attempt-done is %q, which is no number", t, m.Value)
	}
	return -1, err
}

// at returns the datastore at a root; empty for the one served. One of another kind is not opened.
func (s *server) at(ctx context.Context, root string) (*datastore.Store, error) {
	own := s.store.Backend().Root()
	if root == "" || root == own || s.opt.Open == nil || scheme(root) != scheme(own) {
		return s.store, nil
	}
	if s.stores[root] == nil {
		if len(s.stores) >= maxStores {
			clear(s.stores)
		}
		store, err := s.opt.Open(ctx, root)
		if err != nil {
			return nil, err
		}
		s.stores[root] = store
	}
	return s.stores[root], nil
}

// maxStores is how many datastores at other roots are kept open.
const maxStores = 16

func scheme(root string) string {
	kind, _, ok := strings.Cut(root, "://")
	if !ok {
		return "file"
	}
	return kind
}

// either tries the datastore that something was written into, then the one served, where it may have been moved.
func (s *server) either(ctx context.Context, root string, try func(*datastore.Store) error) error {
	store, err := s.at(ctx, root)
	if err != nil {
		return err
	}
	if err = try(store); errors.Is(err, datastore.ErrNotFound) && store != s.store {
		if again := try(s.store); again == nil || !errors.Is(again, datastore.ErrNotFound) {
			return again
		}
	}
	return err
}

// value answers with the serialized bytes of an artifact.
func (s *server) value(ctx context.Context, q *question, w io.Writer) error {
	return s.either(ctx, q.Root, func(store *datastore.Store) error {
		r, err := store.Open(ctx, q.Path[0], q.Digest)
		if err != nil {
			return err
		}
		defer r.Close()
		_, err = io.Copy(w, r)
		return err
	})
}

// include answers with the bytes of an included file.
func (s *server) include(ctx context.Context, q *question, w io.Writer) error {
	root, err := datastore.IncludeRoot(q.Descriptor)
	if err != nil {
		return err
	}
	// A root on disk is a path elsewhere.
	if rest, ok := strings.CutPrefix(root, "local://"); ok {
		root = rest
	}
	store, err := s.at(ctx, root)
	if err != nil {
		return err
	}
	r, err := store.OpenInclude(ctx, q.Descriptor)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(w, r)
	return err
}

// info answers with what the record of an attempt says of its artifacts.
func (s *server) info(ctx context.Context, q *question) (map[string]row, error) {
	t, attempt := datastore.TaskRef(ref(q.Path)), 0
	if q.Attempt != nil {
		attempt = *q.Attempt
	}
	key := fmt.Sprintf("%s/%d %s", t, attempt, q.Root)
	if key != s.recordOf {
		err := s.either(ctx, q.Root, func(store *datastore.Store) (err error) {
			s.record, err = store.ReadRecord(ctx, t, attempt)
			return err
		})
		if errors.Is(err, datastore.ErrNotFound) {
			return map[string]row{}, nil
		}
		if err != nil {
			return nil, err
		}
		s.recordOf = key
	}
	found := make(map[string]row, len(s.record.Artifacts))
	for name, a := range s.record.Artifacts {
		found[name] = row{"size": a.Size, "type": a.Type}
	}
	return found, nil
}

// logTime is the layout of a line's time, as in the log itself.
const logTime = "2006-01-02T15:04:05.000000"

// log answers with the lines of a stream in order, each as its time, which may be empty, a space and its text.
func (s *server) log(ctx context.Context, q *question, w io.Writer) error {
	store, err := s.at(ctx, q.Root)
	if err != nil {
		return err
	}
	attempt := 0
	if q.Attempt != nil {
		attempt = *q.Attempt
	}
	buf := bufio.NewWriter(w)
	for line, err := range store.ReadLog(ctx, datastore.TaskRef(ref(q.Path)), attempt, datastore.Stream(q.Stream)) {
		if err != nil {
			return err
		}
		when := ""
		if !line.Time.IsZero() {
			when = line.Time.UTC().Format(logTime)
		}
		if _, err := fmt.Fprintf(buf, "%s %s\n", when, line.Text); err != nil {
			return err
		}
	}
	return buf.Flush()
}
