package server

import (
	"cmp"
	"context"
	"encoding/json"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/memory"
	"github.com/mf-run/mf/metadata/tables"
)

// memDB is a tables.DB in memory, for tests of the wire.
type memDB struct {
	now func() time.Time
	// fault, where set, is called first by every method; what it returns is the method's error.
	fault func(ctx context.Context) error

	mu        sync.Mutex
	flows     []*tables.Flow
	runs      []*tables.Run
	steps     []*tables.Step
	tasks     []*tables.Task
	metadata  []*tables.Metadatum
	artifacts []*tables.Artifact
}

var _ tables.DB = (*memDB)(nil)

func newMemDB() *memDB { return &memDB{now: time.Now} }

// memStore is a Store in memory, which counts its heartbeats.
type memStore struct {
	*memory.Store
	mu    sync.Mutex
	beats [][]metadata.TaskRef
}

func newMemStore() *memStore { return &memStore{Store: memory.New(time.Now)} }

func (m *memStore) Beat(_ context.Context, _, _ string, tasks []metadata.TaskRef) (time.Duration, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.beats = append(m.beats, tasks)
	return 25 * time.Second, nil
}

// enter begins a method; the caller unlocks.
func (m *memDB) enter(ctx context.Context) error {
	if m.fault != nil {
		if err := m.fault(ctx); err != nil {
			return err
		}
	}
	m.mu.Lock()
	return nil
}

func (m *memDB) stamp() int64 { return m.now().UnixMilli() }

func violation(code, what string) error {
	return &tables.Error{Code: code, Severity: "ERROR", Message: what}
}

func tooLong(texts ...string) error {
	for _, t := range texts {
		if len([]rune(t)) > 255 {
			return violation("22001", "value too long for type character varying(255)")
		}
		if strings.Contains(t, "\x00") {
			return violation("22021", "invalid byte sequence for encoding")
		}
	}
	return nil
}

func opt(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func (m *memDB) Ping(ctx context.Context) error {
	if err := m.enter(ctx); err != nil {
		return err
	}
	m.mu.Unlock()
	return nil
}

func (m *memDB) CreateFlow(ctx context.Context, f tables.Flow) (tables.Flow, error) {
	if err := m.enter(ctx); err != nil {
		return f, err
	}
	defer m.mu.Unlock()
	if err := tooLong(f.FlowID, opt(f.UserName)); err != nil {
		return f, err
	}
	if m.flow(f.FlowID) != nil {
		return f, violation(tables.UniqueViolation, `duplicate key value violates unique constraint "flows_v3_pkey"`)
	}
	f.TsEpoch = m.stamp()
	m.flows = append(m.flows, &f)
	return f, nil
}

func (m *memDB) flow(id string) *tables.Flow {
	for _, f := range m.flows {
		if f.FlowID == id {
			return f
		}
	}
	return nil
}

func (m *memDB) Flow(ctx context.Context, id string) (tables.Flow, error) {
	if err := m.enter(ctx); err != nil {
		return tables.Flow{}, err
	}
	defer m.mu.Unlock()
	if f := m.flow(id); f != nil {
		return *f, nil
	}
	return tables.Flow{}, metadata.ErrNotFound
}

// paged orders and cuts rows.
func paged[T any](rows []T, page *tables.Page, place func(T) tables.Cursor) []T {
	if page == nil {
		return rows
	}
	order := func(a, b tables.Cursor) int {
		return cmp.Or(cmp.Compare(b.TsEpoch, a.TsEpoch), cmp.Compare(b.ID, a.ID), cmp.Compare(b.Name, a.Name))
	}
	slices.SortFunc(rows, func(a, b T) int { return order(place(a), place(b)) })
	if page.After != nil {
		rows = slices.DeleteFunc(rows, func(r T) bool { return order(place(r), *page.After) <= 0 })
	}
	return rows[:min(len(rows), page.Limit+1)]
}

func (m *memDB) Flows(ctx context.Context, page *tables.Page) ([]tables.Flow, error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	var rows []tables.Flow
	for _, f := range m.flows {
		rows = append(rows, *f)
	}
	return paged(rows, page, func(f tables.Flow) tables.Cursor { return tables.Cursor{TsEpoch: f.TsEpoch, Name: f.FlowID} }), nil
}

func (m *memDB) CreateRun(ctx context.Context, r tables.Run) (tables.Run, error) {
	if err := m.enter(ctx); err != nil {
		return r, err
	}
	defer m.mu.Unlock()
	if err := tooLong(r.FlowID, opt(r.RunID), opt(r.UserName)); err != nil {
		return r, err
	}
	if m.flow(r.FlowID) == nil {
		return r, violation(tables.ForeignKeyViolation, `insert or update on table "runs_v3" violates foreign key constraint`)
	}
	for _, o := range m.runs {
		if r.RunID != nil && o.FlowID == r.FlowID && o.RunID != nil && *o.RunID == *r.RunID {
			return r, violation(tables.UniqueViolation, `duplicate key value violates unique constraint "runs_v3_flow_id_run_id_key"`)
		}
	}
	r.RunNumber, r.TsEpoch = int64(len(m.runs)+1), m.stamp()
	m.runs = append(m.runs, &r)
	return r, nil
}

// run finds a run; nil if absent.
func (m *memDB) run(k tables.Key) (*tables.Run, error) {
	var number int64
	named := !tables.IsNumber(k.Run)
	if !named {
		n, err := tables.ParseNumber(k.Run)
		if err != nil {
			return nil, err
		}
		if number = n; n > 1<<31-1 {
			return nil, violation("22003", "integer out of range")
		}
	}
	if !named && number >= 1 && number <= int64(len(m.runs)) {
		if r := m.runs[number-1]; r.FlowID == k.Flow {
			return r, nil
		}
	}
	for _, r := range m.runs {
		if named && r.FlowID == k.Flow && r.RunID != nil && *r.RunID == k.Run {
			return r, nil
		}
	}
	return nil, nil
}

func (m *memDB) Run(ctx context.Context, k tables.Key) (tables.Run, error) {
	if err := m.enter(ctx); err != nil {
		return tables.Run{}, err
	}
	defer m.mu.Unlock()
	r, err := m.run(k)
	if err != nil {
		return tables.Run{}, err
	}
	if r == nil {
		return tables.Run{}, metadata.ErrNotFound
	}
	return *r, nil
}

func (m *memDB) Runs(ctx context.Context, flow string, q tables.Query, _ int64) ([]tables.Run, error) {
	if err := m.enter(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	var rows []tables.Run
	for _, r := range m.runs {
		if flow != "" && r.FlowID != flow {
			continue
		}
		fields := map[string]*string{"flow_id": &r.FlowID, "run_id": r.RunID, "user_name": r.UserName}
		number, ts, status := strconv.FormatInt(r.RunNumber, 10), strconv.FormatInt(r.TsEpoch, 10), "running"
		fields["run_number"], fields["ts_epoch"], fields["status"] = &number, &ts, &status
		if r.UserName != nil && hasTag(r.SystemTags, "user:", *r.UserName) {
			fields["user"] = r.UserName
		}
		if fits(fields, q.Filters) && tagged(r, q.Tags) {
			row := *r
			for _, f := range q.Filters {
				if f.Field == "status" {
					row.Status = status
				}
			}
			rows = append(rows, row)
		}
	}
	return paged(rows, q.Page, func(r tables.Run) tables.Cursor { return tables.Cursor{TsEpoch: r.TsEpoch, ID: r.RunNumber} }), nil
}

func fits(fields map[string]*string, filters []tables.Filter) bool {
	for _, f := range filters {
		if !slices.ContainsFunc(f.Values, func(v *string) bool { return compare(fields[f.Field], f.Op, v) }) {
			return false
		}
	}
	return true
}

func compare(have *string, op string, want *string) bool {
	if want == nil || have == nil {
		return want == nil && have == nil
	}
	a, errA := strconv.ParseInt(*have, 10, 64)
	b, errB := strconv.ParseInt(*want, 10, 64)
	c := cmp.Compare(*have, *want)
	if errA == nil && errB == nil {
		c = cmp.Compare(a, b)
	}
	lower, part := strings.ToLower(*have), strings.ToLower(*want)
	switch op {
	case "eq", "is", "li":
		return c == 0
	case "ne":
		return c != 0
	case "lt":
		return c < 0
	case "le":
		return c <= 0
	case "gt":
		return c > 0
	case "ge":
		return c >= 0
	case "co":
		return strings.Contains(lower, part)
	case "sw":
		return strings.HasPrefix(lower, part)
	}
	return strings.HasSuffix(lower, part)
}

func tagged(r *tables.Run, filters []tables.TagFilter) bool {
	for _, f := range filters {
		has := func(t string) bool {
			if strings.HasPrefix(f.Op, "like") {
				return strings.Contains(string(r.Tags)+string(r.SystemTags), t)
			}
			return hasTag(r.Tags, "", t) || hasTag(r.SystemTags, "", t)
		}
		any := f.Op == "any" || f.Op == "likeany"
		if slices.ContainsFunc(f.Values, func(t string) bool { return has(t) == any }) != any {
			return false
		}
	}
	return true
}

func (m *memDB) HeartbeatRun(ctx context.Context, k tables.Key, now int64) (bool, error) {
	if err := m.enter(ctx); err != nil {
		return false, err
	}
	defer m.mu.Unlock()
	return m.beatRun(k, now)
}

func (m *memDB) beatRun(k tables.Key, now int64) (bool, error) {
	r, err := m.run(k)
	if err != nil || r == nil || r.LastHeartbeat != nil && *r.LastHeartbeat > now-10 {
		return false, err
	}
	r.LastHeartbeat = &now
	return true, nil
}

func texts(raw tables.JSON) []string {
	var list []string
	_ = json.Unmarshal(raw, &list)
	return list
}

func (m *memDB) MutateTags(ctx context.Context, k tables.Key, add, remove []string) ([]string, error) {
	r, err := m.Run(ctx, k)
	if err != nil {
		return nil, err
	}
	if r.Tags == nil || r.SystemTags == nil {
		return nil, tables.ErrNullTags
	}
	system := texts(r.SystemTags)
	for _, t := range remove {
		if slices.Contains(system, t) {
			return nil, &tables.SystemTagError{Tag: t}
		}
	}
	next := []string{}
	for _, t := range texts(r.Tags) {
		if !slices.Contains(remove, t) && !slices.Contains(next, t) {
			next = append(next, t)
		}
	}
	for _, t := range add {
		if !slices.Contains(system, t) && !slices.Contains(next, t) {
			next = append(next, t)
		}
	}
	runtime.Gosched() // another change may come in between
	raw, _ := json.Marshal(next)
	m.mu.Lock()
	defer m.mu.Unlock()
	row, _ := m.run(k)
	if string(row.Tags) != string(r.Tags) {
		return nil, tables.ErrConflict
	}
	row.Tags = raw
	return next, nil
}

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
	number := int64(-1)
	if tables.IsNumber(k.Task) {
		if number, err = tables.ParseNumber(k.Task); err != nil {
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
