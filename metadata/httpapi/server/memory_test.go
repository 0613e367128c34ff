package server

import (
	"cmp"
	"context"
	"encoding/json"
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
