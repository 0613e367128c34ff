package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"math"
	"strings"

	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/tables"
)

// The tables of rows that are added many at a time, with the columns that come after the shared ones. Unlike what mf
// itself records, these rows keep their tags.
var (
	datumTable = &table{"metadata_v3", []string{
		"step_name", "task_id", "task_name", "field_name", "value", "type", "user_name", "ts_epoch", "tags", "system_tags",
	}}
	fileTable = &table{"artifact_v3", []string{
		"step_name", "task_id", "task_name", "name", "location", "ds_type", "sha", "type", "content_type", "user_name",
		"attempt_id", "ts_epoch",
	}}
)

// addRows adds rows below a task, and returns how many are new. values returns the columns of a row from its fourth on,
// or an error for one that is refused.
func addRows[R any](ctx context.Context, t *Tables, doing string, k tables.Key, to *table, rows []R,
	values func(*R) ([]any, error),
) (int, error) {
	good := make([][]any, 0, len(rows))
	for i := range rows {
		if v, err := values(&rows[i]); err == nil {
			good = append(good, v)
		}
	}
	var added int64
	err := t.s.write(ctx, doing, func(w *writer) error {
		added = 0
		p, err := findRun(ctx, w.queryRow, k)
		if err != nil {
			return needParent(err)
		}
		task, name, err := findTask(ctx, w.queryRow, p, k)
		if err != nil {
			return needParent(err)
		}
		for rest := good; len(rest) > 0; {
			size := 1
			for _, s := range bulkSizes {
				if size = s; len(rest) >= s {
					break
				}
			}
			args := make([]any, 0, 3+size*len(to.columns))
			args = append(args, p.flow, p.number, nullable(p.name))
			for _, v := range rest[:size] {
				args = append(append(args, k.Step, task, nullable(name)), v...)
			}
			n, err := w.insertBulk(ctx, to, size, args)
			if err != nil {
				return err
			}
			added += n
			rest = rest[size:]
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return int(added), nil
}

// AddMetadata implements tables.DB.
func (t *Tables) AddMetadata(ctx context.Context, k tables.Key, rows []tables.Metadatum) (int, error) {
	now := t.s.now().UnixMilli()
	return addRows(ctx, t, "adding metadata", k, datumTable, rows, func(m *tables.Metadatum) ([]any, error) {
		tags, err := checkAll(m.Tags, m.SystemTags)
		err = errors.Join(err, checkNames(m.FieldName, m.Type), checkText(m.Value), checkOptional(m.UserName))
		if err != nil {
			return nil, err
		}
		return []any{m.FieldName, m.Value, m.Type, column(m.UserName), now, tags[0], tags[1]}, nil
	})
}

// AddArtifacts implements tables.DB.
func (t *Tables) AddArtifacts(ctx context.Context, k tables.Key, rows []tables.Artifact) (int, error) {
	now := t.s.now().UnixMilli()
	return addRows(ctx, t, "adding artifacts", k, fileTable, rows, func(a *tables.Artifact) ([]any, error) {
		_, err := checkAll(a.Tags, a.SystemTags) // no answer ever shows them
		err = errors.Join(err, checkNames(a.Name, a.Location, a.DsType),
			checkOptional(a.Sha, a.Type, a.ContentType, a.UserName))
		if err == nil && (a.AttemptID > greatestAttempt || a.AttemptID < math.MinInt16) {
			err = refuse(outOfRange, "smallint out of range")
		}
		if err != nil {
			return nil, err
		}
		return []any{
			a.Name, a.Location, a.DsType, column(a.Sha), column(a.Type), column(a.ContentType), column(a.UserName), a.AttemptID,
			now,
		}, nil
	})
}

// scope says how far a key goes.
type scope int

const (
	ofRun scope = iota
	ofStep
	ofTask
)

// below finds what a list is of, and returns the condition for it. The parent is nil where nothing can be below it.
func (t *Tables) below(ctx context.Context, k tables.Key, to scope) (p *parent, where string, args []any, err error) {
	p, err = findRun(ctx, t.s.readRow, k)
	if err != nil {
		return nil, "", nil, unlessMissing(err)
	}
	where, args = " WHERE flow_id = ? AND run_number = ?", []any{p.flow, p.number}
	if to >= ofStep {
		where, args = where+" AND step_name = ?", append(args, k.Step)
	}
	if to >= ofTask {
		task, _, err := findTask(ctx, t.s.readRow, p, k)
		if err != nil {
			return nil, "", nil, unlessMissing(err)
		}
		where, args = where+" AND task_id = ?", append(args, task)
	}
	return p, where, args, nil
}

// TaskMetadata implements tables.DB.
func (t *Tables) TaskMetadata(ctx context.Context, k tables.Key, page *tables.Page) ([]tables.Metadatum, error) {
	return t.metadata(ctx, k, ofTask, page)
}

// RunMetadata implements tables.DB.
func (t *Tables) RunMetadata(ctx context.Context, k tables.Key, page *tables.Page) ([]tables.Metadatum, error) {
	return t.metadata(ctx, k, ofRun, page)
}

func (t *Tables) metadata(ctx context.Context, k tables.Key, to scope, page *tables.Page) ([]tables.Metadatum, error) {
	const doing = "listing metadata"
	p, where, args, err := t.below(ctx, k, to)
	if err != nil || p == nil {
		return nil, t.none(doing, err)
	}
	if page != nil && page.After != nil {
		where, args = where+" AND (ts_epoch, id) < (?, ?)", append(args, page.After.TsEpoch, page.After.ID)
	}
	if page != nil || to == ofTask {
		where += " ORDER BY ts_epoch DESC, id DESC"
	}
	end, args := pageEnd(page, args)
	return all(ctx, t, doing, `SELECT step_name, task_id, task_name, id, field_name, value, type, user_name, ts_epoch, tags,
		system_tags FROM metadata_v3`+where+end, args, func(r row) (tables.Metadatum, error) {
		m := tables.Metadatum{FlowID: p.flow, RunNumber: p.number, RunID: p.runID()}
		var name, user, tags, system sql.NullString
		err := r.Scan(&m.StepName, &m.TaskID, &name, &m.ID, &m.FieldName, &m.Value, &m.Type, &user, &m.TsEpoch, &tags, &system)
		m.TaskName, m.UserName, m.Tags, m.SystemTags = optional(name), optional(user), jsonOf(tags), jsonOf(system)
		return m, err
	})
}

const artifactColumns = `step_name, task_id, task_name, name, location, ds_type, sha, type, content_type, user_name,
	attempt_id, ts_epoch`

func scanTableArtifact(r row, p *parent) (tables.Artifact, error) {
	a := tables.Artifact{FlowID: p.flow, RunNumber: p.number, RunID: p.runID()}
	a.Tags, a.SystemTags = p.jsonTags()
	var name, sha, typ, content, user sql.NullString
	err := r.Scan(&a.StepName, &a.TaskID, &name, &a.Name, &a.Location, &a.DsType, &sha, &typ, &content, &user, &a.AttemptID,
		&a.TsEpoch)
	a.TaskName, a.Sha, a.Type, a.ContentType, a.UserName = optional(name), optional(sha), optional(typ), optional(content),
		optional(user)
	return a, err
}

// Artifacts implements tables.DB.
func (t *Tables) Artifacts(ctx context.Context, k tables.Key, page *tables.Page) ([]tables.Artifact, error) {
	const doing = "listing artifacts"
	to := ofRun
	if k.Task != "" {
		to = ofTask
	} else if k.Step != "" {
		to = ofStep
	}
	p, where, args, err := t.below(ctx, k, to)
	if err != nil || p == nil {
		return nil, t.none(doing, err)
	}
	if page != nil {
		return t.newestArtifacts(ctx, p, where, args, page)
	}
	// The rows of a task come highest attempt first, and the others are left out.
	var last tables.Artifact
	return filtered(ctx, t, doing, "SELECT "+artifactColumns+" FROM artifact_v3"+where+
		" ORDER BY step_name DESC, task_id DESC, attempt_id DESC, name DESC", args, nil,
		func(r row) (tables.Artifact, bool, error) {
			a, err := scanTableArtifact(r, p)
			same := a.StepName == last.StepName && a.TaskID == last.TaskID
			if !same {
				last = a
			}
			return a, err == nil && (!same || a.AttemptID == last.AttemptID), err
		})
}

// newestArtifacts returns, of each task and name, the newest row.
func (t *Tables) newestArtifacts(ctx context.Context, p *parent, where string, args []any, page *tables.Page,
) ([]tables.Artifact, error) {
	var text strings.Builder
	text.WriteString("SELECT " + artifactColumns + " FROM (SELECT *, row_number() OVER (PARTITION BY step_name, task_id, name " +
		"ORDER BY ts_epoch DESC, attempt_id DESC) AS age FROM artifact_v3" + where + ") WHERE age = 1")
	if c := page.After; c != nil {
		text.WriteString(" AND (ts_epoch, task_id, name) < (?, ?, ?)")
		args = append(args, c.TsEpoch, c.ID, c.Name)
	}
	end, args := pageEnd(page, args)
	text.WriteString(" ORDER BY ts_epoch DESC, task_id DESC, name DESC, step_name DESC" + end)
	return all(ctx, t, "listing artifacts", text.String(), args,
		func(r row) (tables.Artifact, error) { return scanTableArtifact(r, p) })
}

// ArtifactsOfAttempt implements tables.DB.
func (t *Tables) ArtifactsOfAttempt(ctx context.Context, k tables.Key, attempt int64) ([]tables.Artifact, error) {
	const doing = "listing artifacts"
	p, where, args, err := t.below(ctx, k, ofTask)
	if err != nil || p == nil {
		return nil, t.none(doing, err)
	}
	return all(ctx, t, doing, "SELECT "+artifactColumns+" FROM artifact_v3"+where+" AND attempt_id = ? ORDER BY name",
		append(args, attempt), func(r row) (tables.Artifact, error) { return scanTableArtifact(r, p) })
}

// Artifact implements tables.DB.
func (t *Tables) Artifact(ctx context.Context, k tables.Key, name string, attempt *int64) (tables.Artifact, error) {
	const doing = "reading an artifact"
	p, where, args, err := t.below(ctx, k, ofTask)
	if err == nil && p == nil {
		err = metadata.ErrNotFound
	}
	if err != nil {
		return tables.Artifact{}, t.s.describe(doing, err)
	}
	if attempt == nil {
		attempt = new(int64)
		err := t.s.readRow(ctx, "SELECT attempt_id FROM artifact_v3"+where+
			" AND name = 'name' ORDER BY ts_epoch DESC, attempt_id DESC LIMIT 1", args, attempt)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return tables.Artifact{}, t.s.describe(doing, err)
		}
	}
	var found tables.Artifact
	err = t.one(ctx, doing, "SELECT "+artifactColumns+" FROM artifact_v3"+where+" AND attempt_id = ? AND name = ?",
		append(args, *attempt, name), func(r row) (err error) {
			found, err = scanTableArtifact(r, p)
			return err
		})
	return found, err
}
