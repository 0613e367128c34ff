package server

import (
	"cmp"
	"context"
	"regexp"
	"slices"
	"strconv"

	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/tables"
)

func (m *memDB) CreateStep(ctx context.Context, k tables.Key, s tables.Step) (tables.Step, error) {
	if err := m.enter(ctx); err != nil {
		return s, err
	}
	defer m.mu.Unlock()
	r, err := m.run(k)
	if err != nil {
		return s, err
	}
	if r == nil {
		return s, tables.ErrNoParent
	}
	if err := tooLong(s.StepName, opt(s.UserName)); err != nil {
		return s, err
	}
	for _, o := range m.steps {
		if o.RunNumber == r.RunNumber && o.StepName == s.StepName {
			return s, violation(tables.UniqueViolation, `duplicate key value violates unique constraint "steps_v3_pkey"`)
		}
	}
	s.FlowID, s.RunNumber, s.RunID, s.TsEpoch = r.FlowID, r.RunNumber, r.RunID, m.stamp()
	m.steps = append(m.steps, &s)
	s.Tags, s.SystemTags = r.Tags, r.SystemTags
	return s, nil
}

func (m *memDB) Step(ctx context.Context, k tables.Key) (tables.Step, error) {
	rows, err := m.Steps(ctx, k)
	for _, s := range rows {
		if s.StepName == k.Step {
			return s, nil
		}
	}
	return tables.Step{}, cmp.Or(err, metadata.ErrNotFound)
}

func (m *memDB) Steps(ctx context.Context, k tables.Key) (rows []tables.Step, err error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	r, err := m.run(k)
	for _, s := range m.steps {
		if r != nil && s.RunNumber == r.RunNumber {
			row := *s
			row.Tags, row.SystemTags = r.Tags, r.SystemTags
			rows = append(rows, row)
		}
	}
	return rows, err
}

func (m *memDB) CreateTask(ctx context.Context, k tables.Key, t tables.Task) (tables.Task, error) {
	if err := m.enter(ctx); err != nil {
		return t, err
	}
	defer m.mu.Unlock()
	r, err := m.run(k)
	if err != nil {
		return t, err
	}
	if r == nil {
		return t, tables.ErrNoParent
	}
	if err := tooLong(opt(t.TaskName), opt(t.UserName)); err != nil {
		return t, err
	}
	if !slices.ContainsFunc(m.steps, func(s *tables.Step) bool { return s.RunNumber == r.RunNumber && s.StepName == k.Step }) {
		return t, violation(tables.ForeignKeyViolation, `insert or update on table "tasks_v3" violates foreign key constraint`)
	}
	for _, o := range m.tasks {
		if t.TaskName != nil && o.RunNumber == r.RunNumber && o.StepName == k.Step && o.TaskName != nil && *o.TaskName == *t.TaskName {
			return t, violation(tables.UniqueViolation, `duplicate key value violates unique constraint "tasks_v3_flow_id_run_number_step_name_task_name_key"`)
		}
	}
	t.FlowID, t.RunNumber, t.RunID, t.StepName = r.FlowID, r.RunNumber, r.RunID, k.Step
	t.TaskID, t.TsEpoch = int64(len(m.tasks)+1), m.stamp()
	m.tasks = append(m.tasks, &t)
	if t.LastHeartbeat != nil {
		_, _ = m.beatRun(k, *t.LastHeartbeat)
	}
	t.Tags, t.SystemTags = r.Tags, r.SystemTags
	return t, nil
}

// task finds a task; nil if absent.
func (m *memDB) task(k tables.Key) (*tables.Task, *tables.Run, error) {
	r, err := m.run(k)
	if err != nil || r == nil {
		return nil, r, err
	}
	if tables.IsNumber(k.Task) {
		number, err := tables.ParseNumber(k.Task)
		if err != nil {
			return nil, r, err
		}
		if number < 1 || number > int64(len(m.tasks)) {
			return nil, r, nil
		}
		if t := m.tasks[number-1]; t.RunNumber == r.RunNumber && t.StepName == k.Step {
			return t, r, nil
		}
		return nil, r, nil
	}
	for _, t := range m.tasks {
		if t.RunNumber == r.RunNumber && t.StepName == k.Step && t.TaskName != nil && *t.TaskName == k.Task {
			return t, r, nil
		}
	}
	return nil, r, nil
}

func (m *memDB) Task(ctx context.Context, k tables.Key) (tables.Task, error) {
	if err := m.enter(ctx); err != nil {
		return tables.Task{}, err
	}
	defer m.mu.Unlock()
	t, r, err := m.task(k)
	if err != nil {
		return tables.Task{}, err
	}
	if t == nil {
		return tables.Task{}, metadata.ErrNotFound
	}
	row := *t
	row.Tags, row.SystemTags = r.Tags, r.SystemTags
	return row, nil
}

func (m *memDB) Tasks(ctx context.Context, k tables.Key, q tables.Query) (rows []tables.Task, err error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	r, err := m.run(k)
	for _, t := range m.tasks {
		if r == nil || t.RunNumber != r.RunNumber || t.StepName != k.Step {
			continue
		}
		ts := strconv.FormatInt(t.TsEpoch, 10)
		id := strconv.FormatInt(t.TaskID, 10)
		if !fits(map[string]*string{"task_id": &id, "task_name": t.TaskName, "user_name": t.UserName, "ts_epoch": &ts}, q.Filters) {
			continue
		}
		row := *t
		row.Tags, row.SystemTags = r.Tags, r.SystemTags
		rows = append(rows, row)
	}
	return paged(rows, q.Page, func(t tables.Task) tables.Cursor { return tables.Cursor{TsEpoch: t.TsEpoch, ID: t.TaskID} }), err
}

func (m *memDB) FilteredTasks(ctx context.Context, k tables.Key, field, pattern *string) ([]tables.Task, error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	r, err := m.run(k)
	if err != nil || r == nil {
		return nil, err
	}
	re, err := regexp.Compile(opt(pattern))
	if err != nil {
		return nil, violation("2201B", "invalid regular expression")
	}
	var rows []tables.Task
	for _, t := range m.tasks {
		if t.RunNumber == r.RunNumber && t.StepName == k.Step && slices.ContainsFunc(m.metadata, func(d *tables.Metadatum) bool {
			return d.TaskID == t.TaskID && (field == nil || d.FieldName == *field) && (pattern == nil || re.MatchString(d.Value))
		}) {
			rows = append(rows, *t)
		}
	}
	return rows, nil
}

func (m *memDB) HeartbeatTask(ctx context.Context, k tables.Key, now int64) (bool, error) {
	if err := m.enter(ctx); err != nil {
		return false, err
	}
	defer m.mu.Unlock()
	_, _ = m.beatRun(k, now)
	t, _, err := m.task(k)
	if err != nil || t == nil || t.LastHeartbeat != nil && *t.LastHeartbeat > now-10 {
		return false, err
	}
	t.LastHeartbeat = &now
	return true, nil
}

func (m *memDB) AddMetadata(ctx context.Context, k tables.Key, rows []tables.Metadatum) (n int, err error) {
	if err := m.enter(ctx); err != nil {
		return 0, err
	}
	defer m.mu.Unlock()
	t, _, err := m.task(k)
	if err != nil {
		return 0, err
	}
	if t == nil {
		return 0, tables.ErrNoParent
	}
	for _, row := range rows {
		if tooLong(row.FieldName, row.Type, opt(row.UserName)) != nil {
			continue
		}
		row.FlowID, row.RunNumber, row.RunID, row.StepName = t.FlowID, t.RunNumber, t.RunID, t.StepName
		row.TaskID, row.TaskName, row.ID, row.TsEpoch = t.TaskID, t.TaskName, int64(len(m.metadata)+1), m.stamp()
		m.metadata = append(m.metadata, &row)
		n++
	}
	return n, nil
}

func (m *memDB) TaskMetadata(ctx context.Context, k tables.Key, page *tables.Page) ([]tables.Metadatum, error) {
	return m.listMetadata(ctx, k, page)
}

func (m *memDB) RunMetadata(ctx context.Context, k tables.Key, page *tables.Page) ([]tables.Metadatum, error) {
	return m.listMetadata(ctx, k, page)
}

func (m *memDB) listMetadata(ctx context.Context, k tables.Key, page *tables.Page) (rows []tables.Metadatum, err error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	r, err := m.run(k)
	if err != nil || r == nil {
		return nil, err
	}
	var only *tables.Task
	if k.Task != "" {
		if only, _, err = m.task(k); err != nil || only == nil {
			return nil, err
		}
	}
	for _, d := range m.metadata {
		if d.RunNumber == r.RunNumber && (only == nil || only.TaskID == d.TaskID) {
			rows = append(rows, *d)
		}
	}
	all := &tables.Page{Limit: len(rows)}
	return paged(rows, cmp.Or(page, all), func(d tables.Metadatum) tables.Cursor { return tables.Cursor{TsEpoch: d.TsEpoch, ID: d.ID} }), nil
}

func (m *memDB) AddArtifacts(ctx context.Context, k tables.Key, rows []tables.Artifact) (n int, err error) {
	if err := m.enter(ctx); err != nil {
		return 0, err
	}
	defer m.mu.Unlock()
	t, _, err := m.task(k)
	if err != nil {
		return 0, err
	}
	if t == nil {
		return 0, tables.ErrNoParent
	}
	for _, row := range rows {
		row.FlowID, row.RunNumber, row.RunID, row.StepName = t.FlowID, t.RunNumber, t.RunID, t.StepName
		row.TaskID, row.TaskName, row.TsEpoch = t.TaskID, t.TaskName, m.stamp()
		dup := slices.ContainsFunc(m.artifacts, func(a *tables.Artifact) bool {
			return a.TaskID == row.TaskID && a.AttemptID == row.AttemptID && a.Name == row.Name
		})
		if dup || tooLong(row.Name, row.Location, row.DsType, opt(row.Sha)) != nil {
			continue
		}
		m.artifacts = append(m.artifacts, &row)
		n++
	}
	return n, nil
}

// below lists the artifacts below a key, with the run's tags.
func (m *memDB) below(k tables.Key) (rows []tables.Artifact, err error) {
	r, err := m.run(k)
	if err != nil || r == nil {
		return nil, err
	}
	var only *tables.Task
	if k.Task != "" {
		if only, _, err = m.task(k); err != nil || only == nil {
			return nil, err
		}
	}
	for _, a := range m.artifacts {
		if a.RunNumber == r.RunNumber && (k.Step == "" || a.StepName == k.Step) && (only == nil || only.TaskID == a.TaskID) {
			row := *a
			row.Tags, row.SystemTags = r.Tags, r.SystemTags
			rows = append(rows, row)
		}
	}
	return rows, nil
}

func (m *memDB) Artifacts(ctx context.Context, k tables.Key, page *tables.Page) ([]tables.Artifact, error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	rows, err := m.below(k)
	if page == nil {
		last := map[int64]int64{}
		for _, a := range rows {
			last[a.TaskID] = max(last[a.TaskID], a.AttemptID)
		}
		return slices.DeleteFunc(rows, func(a tables.Artifact) bool { return a.AttemptID != last[a.TaskID] }), err
	}
	slices.Reverse(rows)
	seen := map[string]bool{}
	rows = slices.DeleteFunc(rows, func(a tables.Artifact) bool {
		id := strconv.FormatInt(a.TaskID, 10) + "/" + a.Name
		old := seen[id]
		seen[id] = true
		return old
	})
	return paged(rows, page, func(a tables.Artifact) tables.Cursor {
		return tables.Cursor{TsEpoch: a.TsEpoch, ID: a.TaskID, Name: a.Name}
	}), err
}

func (m *memDB) ArtifactsOfAttempt(ctx context.Context, k tables.Key, attempt int64) ([]tables.Artifact, error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	rows, err := m.below(k)
	return slices.DeleteFunc(rows, func(a tables.Artifact) bool { return a.AttemptID != attempt }), err
}

func (m *memDB) Artifact(ctx context.Context, k tables.Key, name string, attempt *int64) (tables.Artifact, error) {
	if err := m.enter(ctx); err != nil {
		return tables.Artifact{}, err
	}
	defer m.mu.Unlock()
	rows, err := m.below(k)
	if err != nil {
		return tables.Artifact{}, err
	}
	if attempt == nil {
		attempt = new(int64)
		for _, a := range rows {
			if a.Name == "name" {
				*attempt = a.AttemptID
			}
		}
	}
	for _, a := range rows {
		if a.Name == name && a.AttemptID == *attempt {
			return a, nil
		}
	}
	return tables.Artifact{}, metadata.ErrNotFound
}
