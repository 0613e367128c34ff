package metaflowdir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/mf-run/mf/metadata"
)

// Record implements metadata.Recorder.
func (d *Dir) Record(ctx context.Context, b metadata.Batch) error {
	r := recording{d: d, now: d.now().UnixMilli(), runs: map[[2]string]bool{}, index: map[metadata.TaskRef]int{}}
	for i := range b.Steps {
		if err := errors.Join(ctx.Err(), r.step(&b.Steps[i])); err != nil {
			return fmt.Errorf("writing the metadata of a step: %w", err)
		}
	}
	r.group(&b)
	for i := range r.tasks {
		if err := errors.Join(ctx.Err(), r.task(&r.tasks[i])); err != nil {
			return fmt.Errorf("writing the metadata of a task: %w", err)
		}
	}
	return nil
}

// recording is the writing of one batch.
type recording struct {
	d   *Dir
	now int64
	// runs are those known to exist.
	runs  map[[2]string]bool
	tasks []taskRows
	index map[metadata.TaskRef]int
	buf   []byte
}

// taskRows are a batch's rows of one task, which go into one folder.
type taskRows struct {
	ref       metadata.TaskRef
	self      *metadata.Task
	metadata  []*metadata.Metadatum
	artifacts []*metadata.Artifact
}

// group sorts rows by task, in the order in which the tasks first occur.
func (r *recording) group(b *metadata.Batch) {
	of := func(flow, run, step, task string) *taskRows {
		ref := metadata.TaskRef{Flow: flow, Run: run, Step: step, Task: task}
		if n := len(r.tasks); n > 0 && r.tasks[n-1].ref == ref {
			return &r.tasks[n-1]
		}
		i, ok := r.index[ref]
		if !ok {
			i = len(r.tasks)
			r.index[ref] = i
			r.tasks = append(r.tasks, taskRows{ref: ref})
		}
		return &r.tasks[i]
	}
	for i := range b.Tasks {
		t := &b.Tasks[i]
		if rows := of(t.FlowID, t.RunID, t.StepName, t.TaskID); rows.self == nil {
			rows.self = t
		}
	}
	for i := range b.Metadata {
		m := &b.Metadata[i]
		rows := of(m.FlowID, m.RunID, m.StepName, m.TaskID)
		rows.metadata = append(rows.metadata, m)
	}
	for i := range b.Artifacts {
		a := &b.Artifacts[i]
		rows := of(a.FlowID, a.RunID, a.StepName, a.TaskID)
		rows.artifacts = append(rows.artifacts, a)
	}
}

func (r *recording) stamp(ts int64) int64 {
	if ts == 0 {
		return r.now
	}
	return ts
}

func (r *recording) needRun(flow, run string) error {
	if r.runs[[2]string{flow, run}] {
		return nil
	}
	err := r.d.needRun(flow, run)
	r.runs[[2]string{flow, run}] = err == nil
	return err
}

func (r *recording) step(s *metadata.Step) error {
	folder, err := r.d.path(s.FlowID, s.RunID, s.StepName)
	if err == nil {
		err = r.needRun(s.FlowID, s.RunID)
	}
	if err != nil {
		return err
	}
	row := *s
	row.TsEpoch = r.stamp(row.TsEpoch)
	if err := r.d.writeSelf(folder, stepJSON(&row)); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// task writes the rows of one task, with one handle of its folder. "attempt-done" opens an attempt's artifacts to
// readers, so metadata comes after artifacts.
func (r *recording) task(rows *taskRows) error {
	meta, err := r.taskFolder(rows)
	if err != nil {
		return err
	}
	h, err := openFolder(meta)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("task %s: %w", rows.ref, metadata.ErrNotFound)
	}
	if err != nil {
		return err
	}
	return errors.Join(r.taskFiles(h, rows), h.close())
}

// taskFolder returns the folder for a task's rows; it makes it if the task itself is among them.
func (r *recording) taskFolder(rows *taskRows) (string, error) {
	ref := rows.ref
	folder, err := r.d.path(ref.Flow, ref.Run, ref.Step, ref.Task)
	if err != nil {
		return "", err
	}
	if err := r.needRun(ref.Flow, ref.Run); err != nil {
		return "", err
	}
	meta := filepath.Join(folder, metaDir)
	if rows.self == nil {
		return meta, nil
	}
	if _, err := os.Lstat(filepath.Join(filepath.Dir(folder), metaDir, selfFile)); errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("step %s/%s/%s: %w", ref.Flow, ref.Run, ref.Step, metadata.ErrNotFound)
	}
	return meta, os.MkdirAll(meta, 0o755)
}

func (r *recording) taskFiles(h folder, rows *taskRows) error {
	temp := &r.d.temp
	if rows.self != nil {
		row := *rows.self
		row.TsEpoch = r.stamp(row.TsEpoch)
		r.buf = appendTask(r.buf[:0], &row)
		if err := h.place(temp.next(), r.buf, once(selfFile)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	for _, a := range rows.artifacts {
		if strings.ContainsAny(a.Name, "/\\\x00") {
			return fmt.Errorf("%q, an artifact of %s, cannot be the name of a file", a.Name, rows.ref)
		}
		row := *a
		row.TsEpoch = r.stamp(row.TsEpoch)
		r.buf = appendArtifact(r.buf[:0], &row)
		name := strconv.Itoa(a.AttemptID) + "_artifact_" + a.Name + ".json"
		if err := h.place(temp.next(), r.buf, once(name)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	for _, m := range rows.metadata {
		row := *m
		row.TsEpoch = r.stamp(row.TsEpoch)
		r.buf = appendMetadatum(r.buf[:0], &row)
		prefix := "sysmeta_" + fieldName(m.FieldName) + "_"
		name := func(try int) string { return prefix + strconv.FormatInt(row.TsEpoch+int64(try), 10) + ".json" }
		if err := h.place(temp.next(), r.buf, name); err != nil {
			return err
		}
	}
	return nil
}

// maxFieldName keeps a file's name below the 255 bytes that file systems allow.
const maxFieldName = 200

// fieldName returns a field's name as a part of a file's name. Readers take the name from the content.
func fieldName(field string) string {
	field = strings.Map(func(c rune) rune {
		if strings.ContainsRune("/\\\x00", c) {
			return '_'
		}
		return c
	}, field)
	if len(field) > maxFieldName {
		field = strings.ToValidUTF8(field[:maxFieldName], "")
	}
	return field
}
