// Package memory keeps metadata in memory: for tests, and as the plainest statement of what metadata.Recorder and
// metadata.Reader promise.
package memory

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/mf-run/mf/metadata"
)

// Store implements metadata.Recorder, metadata.TaskMinter and metadata.Reader. It is safe for concurrent use.
type Store struct {
	now func() time.Time

	mu   sync.Mutex
	runs []*run // in order of creation
}

// run is a run with everything below it.
type run struct {
	row       metadata.Run
	steps     map[string]bool
	tasks     []metadata.Task
	metadata  []metadata.Metadatum
	artifacts []metadata.Artifact
}

var (
	_ metadata.Recorder   = (*Store)(nil)
	_ metadata.TaskMinter = (*Store)(nil)
	_ metadata.Reader     = (*Store)(nil)
)

// New returns an empty store that tells the time by now.
func New(now func() time.Time) *Store { return &Store{now: now} }

func (s *Store) find(flow, id string) *run {
	for _, r := range s.runs {
		if r.row.FlowID == flow && r.row.RunID == id {
			return r
		}
	}
	return nil
}

func (s *Store) get(flow, id string) (*run, error) {
	if r := s.find(flow, id); r != nil {
		return r, nil
	}
	return nil, fmt.Errorf("run %s/%s: %w", flow, id, metadata.ErrNotFound)
}

// CreateRun implements metadata.Recorder.
func (s *Store) CreateRun(_ context.Context, row metadata.Run) (metadata.Run, error) {
	if err := metadata.CheckRun(row); err != nil {
		return metadata.Run{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if row.RunID == "" {
		n := now.UnixMicro()
		for s.find(row.FlowID, strconv.FormatInt(n, 10)) != nil {
			n++
		}
		row.RunID = strconv.FormatInt(n, 10)
	} else if s.find(row.FlowID, row.RunID) != nil {
		return metadata.Run{}, fmt.Errorf("run %s/%s: %w", row.FlowID, row.RunID, metadata.ErrExists)
	}
	if row.TsEpoch == 0 {
		row.TsEpoch = now.UnixMilli()
	}
	s.runs = append(s.runs, &run{row: copyRun(row), steps: map[string]bool{}})
	return row, nil
}

// copyRun returns a run that shares no memory with r.
func copyRun(r metadata.Run) metadata.Run {
	r.Tags, r.SystemTags = slices.Clone(r.Tags), slices.Clone(r.SystemTags)
	return r
}

// UpdateRun implements metadata.Recorder.
func (s *Store) UpdateRun(_ context.Context, row metadata.Run) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.get(row.FlowID, row.RunID)
	if err != nil {
		return err
	}
	r.row.Status, r.row.FinishedMs, r.row.Failure = row.Status, row.FinishedMs, row.Failure
	if row.LastHeartbeat != 0 {
		r.row.LastHeartbeat = row.LastHeartbeat
	}
	return nil
}

// MutateTags implements metadata.Recorder.
func (s *Store) MutateTags(_ context.Context, flow, id string, add, remove []string) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.get(flow, id)
	if err != nil {
		return nil, err
	}
	tags, _, err := metadata.ApplyTags(r.row.Tags, r.row.SystemTags, add, remove)
	if err != nil {
		return nil, err
	}
	r.row.Tags = tags
	return slices.Clone(tags), nil
}

// CreateTask implements metadata.TaskMinter.
func (s *Store) CreateTask(_ context.Context, t metadata.Task) (metadata.Task, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.get(t.FlowID, t.RunID)
	if err != nil {
		return metadata.Task{}, err
	}
	if t.TaskID == "" {
		next := int64(0)
		for _, other := range r.tasks {
			if n, err := strconv.ParseInt(other.TaskID, 10, 64); err == nil && strconv.FormatInt(n, 10) == other.TaskID {
				next = max(next, n+1)
			}
		}
		t.TaskID = strconv.FormatInt(next, 10)
	} else if r.hasTask(t.StepName, t.TaskID) {
		return metadata.Task{}, fmt.Errorf("task %s/%s/%s/%s: %w", t.FlowID, t.RunID, t.StepName, t.TaskID,
			metadata.ErrExists)
	}
	if t.TsEpoch == 0 {
		t.TsEpoch = s.now().UnixMilli()
	}
	r.steps[t.StepName] = true
	r.tasks = append(r.tasks, t)
	return t, nil
}

func (r *run) hasTask(step, id string) bool {
	return slices.ContainsFunc(r.tasks, func(t metadata.Task) bool { return t.StepName == step && t.TaskID == id })
}

// Record implements metadata.Recorder.
func (s *Store) Record(_ context.Context, b metadata.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.check(&b); err != nil {
		return err
	}
	stamp := func(ts *int64) {
		if *ts == 0 {
			*ts = s.now().UnixMilli()
		}
	}
	for _, row := range b.Steps {
		s.find(row.FlowID, row.RunID).steps[row.StepName] = true
	}
	for _, row := range b.Tasks {
		r := s.find(row.FlowID, row.RunID)
		if !r.hasTask(row.StepName, row.TaskID) {
			stamp(&row.TsEpoch)
			r.tasks = append(r.tasks, row)
		}
	}
	for _, row := range b.Metadata {
		r := s.find(row.FlowID, row.RunID)
		stamp(&row.TsEpoch)
		row.Tags = slices.Clone(row.Tags)
		r.metadata = append(r.metadata, row)
	}
	for _, row := range b.Artifacts {
		r := s.find(row.FlowID, row.RunID)
		if !slices.ContainsFunc(r.artifacts, func(a metadata.Artifact) bool {
			return a.StepName == row.StepName && a.TaskID == row.TaskID && a.AttemptID == row.AttemptID && a.Name == row.Name
		}) {
			stamp(&row.TsEpoch)
			r.artifacts = append(r.artifacts, row)
		}
	}
	return nil
}

// check makes sure that every row of a batch has its parents, so that a batch is written whole or not at all.
func (s *Store) check(b *metadata.Batch) error {
	type stepKey struct{ flow, run, step string }
	newSteps, newTasks := map[stepKey]bool{}, map[metadata.TaskRef]bool{}
	for _, row := range b.Steps {
		if _, err := s.get(row.FlowID, row.RunID); err != nil {
			return err
		}
		newSteps[stepKey{row.FlowID, row.RunID, row.StepName}] = true
	}
	for _, row := range b.Tasks {
		r, err := s.get(row.FlowID, row.RunID)
		if err != nil {
			return err
		}
		if row.TaskID == "" {
			return fmt.Errorf("a task of %s/%s/%s has no id", row.FlowID, row.RunID, row.StepName)
		}
		if !newSteps[stepKey{row.FlowID, row.RunID, row.StepName}] && !r.steps[row.StepName] {
			return fmt.Errorf("step %s/%s/%s: %w", row.FlowID, row.RunID, row.StepName, metadata.ErrNotFound)
		}
		newTasks[metadata.TaskRef{Flow: row.FlowID, Run: row.RunID, Step: row.StepName, Task: row.TaskID}] = true
	}
	need := func(t metadata.TaskRef) error {
		r, err := s.get(t.Flow, t.Run)
		if err != nil || newTasks[t] || r.hasTask(t.Step, t.Task) {
			return err
		}
		return fmt.Errorf("task %s: %w", t, metadata.ErrNotFound)
	}
	for _, row := range b.Metadata {
		if err := need(metadata.TaskRef{Flow: row.FlowID, Run: row.RunID, Step: row.StepName, Task: row.TaskID}); err != nil {
			return err
		}
	}
	for _, row := range b.Artifacts {
		if err := need(metadata.TaskRef{Flow: row.FlowID, Run: row.RunID, Step: row.StepName, Task: row.TaskID}); err != nil {
			return err
		}
	}
	return nil
}

// Runs implements metadata.Reader.
func (s *Store) Runs(_ context.Context, q metadata.RunQuery) ([]metadata.Run, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []metadata.Run
	for _, r := range slices.Backward(s.runs) {
		wanted := (q.FlowID == "" || r.row.FlowID == q.FlowID) && (q.Status == "" || r.row.Status == q.Status)
		for _, t := range q.Tags {
			wanted = wanted && (slices.Contains(r.row.Tags, t) || slices.Contains(r.row.SystemTags, t))
		}
		if wanted {
			list = append(list, copyRun(r.row))
		}
	}
	slices.SortStableFunc(list, func(a, b metadata.Run) int { return cmp.Compare(b.TsEpoch, a.TsEpoch) })
	if q.Limit > 0 && len(list) > q.Limit {
		list = list[:q.Limit]
	}
	return list, nil
}

// Run implements metadata.Reader.
func (s *Store) Run(_ context.Context, flow, id string) (metadata.Run, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.get(flow, id)
	if err != nil {
		return metadata.Run{}, err
	}
	return copyRun(r.row), nil
}

// Tasks implements metadata.Reader.
func (s *Store) Tasks(_ context.Context, flow, id, step string) ([]metadata.Task, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.find(flow, id)
	if r == nil {
		return nil, nil
	}
	var list []metadata.Task
	for _, t := range slices.Backward(r.tasks) {
		if step == "" || t.StepName == step {
			t.Tags, t.SystemTags = slices.Clone(r.row.Tags), slices.Clone(r.row.SystemTags)
			list = append(list, t)
		}
	}
	slices.SortStableFunc(list, func(a, b metadata.Task) int { return cmp.Compare(b.TsEpoch, a.TsEpoch) })
	return list, nil
}

// Metadata implements metadata.Reader.
func (s *Store) Metadata(_ context.Context, flow, id, step, task string) ([]metadata.Metadatum, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.find(flow, id)
	if r == nil {
		return nil, nil
	}
	var list []metadata.Metadatum
	for _, m := range r.metadata {
		if (step == "" || m.StepName == step) && (task == "" || m.TaskID == task) {
			m.Tags = slices.Clone(m.Tags)
			list = append(list, m)
		}
	}
	slices.SortStableFunc(list, func(a, b metadata.Metadatum) int { return cmp.Compare(a.TsEpoch, b.TsEpoch) })
	return list, nil
}

// Artifacts implements metadata.Reader.
func (s *Store) Artifacts(_ context.Context, flow, id, step, task string) ([]metadata.Artifact, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.find(flow, id)
	if r == nil {
		return nil, nil
	}
	var list []metadata.Artifact
	for _, a := range r.artifacts {
		if (step == "" || a.StepName == step) && (task == "" || a.TaskID == task) {
			a.Tags, a.SystemTags = slices.Clone(r.row.Tags), slices.Clone(r.row.SystemTags)
			list = append(list, a)
		}
	}
	slices.SortStableFunc(list, func(a, b metadata.Artifact) int {
		return cmp.Or(cmp.Compare(a.StepName, b.StepName), cmp.Compare(a.TaskID, b.TaskID),
			cmp.Compare(a.AttemptID, b.AttemptID), cmp.Compare(a.Name, b.Name))
	})
	return list, nil
}
