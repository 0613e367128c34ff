package postgres

import (
	"context"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/mf-run/mf/metadata/tables"
)

// one reads the row of a statement; metadata.ErrNotFound without one. args are as in lookup.
func one[R any](ctx context.Context, s *Store, doing string, id []string, text string, args []any, scan func(pgx.Row, *R) error) (R, error) {
	var out, none R
	found := false
	l := &lookup{statements: 1, text: [2]string{text}, args: [2][]any{args}}
	l.row = func(_ int, r *rawRow) error {
		found = true
		return scan(r, &out)
	}
	err := s.lookups.do(ctx, l)
	switch {
	case err == nil && found:
		return out, nil
	case err == nil:
		return none, s.describe(ctx, doing, absent(pgx.ErrNoRows, id...))
	case alone(err):
		return single(ctx, s, doing, id, text, args, scan)
	}
	return none, s.describe(ctx, doing, err)
}

// single is one for a statement that is sent alone.
func single[R any](ctx context.Context, s *Store, doing string, id []string, text string, args []any, scan func(pgx.Row, *R) error) (R, error) {
	var out R
	err := s.read(ctx, doing, func(ctx context.Context, c *pgx.Conn) error {
		var r R
		err := scan(c.QueryRow(ctx, text, args...), &r)
		out = r
		return absent(err, id...)
	})
	return out, err
}

// Flow implements tables.DB.
func (d *Tables) Flow(ctx context.Context, flow string) (tables.Flow, error) {
	return one(ctx, d.s, "reading a flow", []string{flow}, "SELECT "+flowColumns+" FROM flows_v3 f WHERE f.flow_id = $1",
		[]any{flow}, scanFlow)
}

// Flows implements tables.DB.
func (d *Tables) Flows(ctx context.Context, page *tables.Page) ([]tables.Flow, error) {
	b := builder{text: "SELECT " + flowColumns + " FROM flows_v3 f"}
	b.page(page, "f.ts_epoch DESC, f.flow_id DESC", "(f.ts_epoch, f.flow_id)", func(c *tables.Cursor) []any {
		return []any{c.TsEpoch, c.Name}
	})
	return query(ctx, d.s, "listing flows", b.text, b.args, scanFlow)
}

var selectRun = variants(ofRun, func(k *key) string {
	return "SELECT " + runColumns + " FROM runs_v3 r WHERE " + k.where("r", ofRun)
})

// Run implements tables.DB.
func (d *Tables) Run(ctx context.Context, flow tables.Key) (tables.Run, error) {
	k, err := parse(flow, ofRun, true)
	if err != nil {
		return tables.Run{}, err
	}
	return one(ctx, d.s, "reading a run", []string{flow.Flow, flow.Run}, selectRun.of(&k), k.args,
		func(r pgx.Row, run *tables.Run) error { return scanRun(r, run) })
}

// withRun joins the row of the run of an alias's rows.
func withRun(alias string) string {
	return " LEFT JOIN runs_v3 r ON r.flow_id = " + alias + ".flow_id AND r.run_number = " + alias + ".run_number WHERE "
}

var selectStep = variants(ofStep, func(k *key) string {
	return "SELECT " + stepColumns + runTags + " FROM steps_v3 s" + withRun("s") + k.where("s", ofStep)
})

// Step implements tables.DB.
func (d *Tables) Step(ctx context.Context, id tables.Key) (tables.Step, error) {
	k, err := parse(id, ofStep, false)
	if err != nil {
		return tables.Step{}, err
	}
	return one(ctx, d.s, "reading a step", []string{id.Flow, id.Run, id.Step}, selectStep.of(&k), k.args,
		func(r pgx.Row, row *tables.Step) error {
			err := scanStep(r, row, raw(&row.Tags), raw(&row.SystemTags))
			tidy(&row.Tags, &row.SystemTags)
			return err
		})
}

var selectSteps = variants(ofRun, func(k *key) string {
	return "SELECT " + stepColumns + " FROM steps_v3 s WHERE " + k.where("s", ofRun)
})

// Steps implements tables.DB.
func (d *Tables) Steps(ctx context.Context, id tables.Key) ([]tables.Step, error) {
	k, err := parse(id, ofRun, false)
	if err != nil {
		return nil, err
	}
	return below(ctx, d.s, "listing steps", selectSteps.of(&k), &k, k.args,
		func(r pgx.Row, row *tables.Step) error { return scanStep(r, row) },
		func(row *tables.Step, tags, system tables.JSON) { row.Tags, row.SystemTags = tags, system })
}

var selectTask = variants(ofTask, func(k *key) string {
	return "SELECT " + taskColumns + runTags + " FROM tasks_v3 t" + withRun("t") + k.whereTask("t")
})

// Task implements tables.DB.
func (d *Tables) Task(ctx context.Context, id tables.Key) (tables.Task, error) {
	k, err := parse(id, ofTask, false)
	if err != nil {
		return tables.Task{}, err
	}
	return one(ctx, d.s, "reading a task", []string{id.Flow, id.Run, id.Step, id.Task}, selectTask.of(&k), k.args,
		func(r pgx.Row, row *tables.Task) error {
			err := scanTask(r, row, raw(&row.Tags), raw(&row.SystemTags))
			tidy(&row.Tags, &row.SystemTags)
			return err
		})
}

// Tasks implements tables.DB.
func (d *Tables) Tasks(ctx context.Context, id tables.Key, q tables.Query) ([]tables.Task, error) {
	k, err := parse(id, ofStep, false)
	if err != nil {
		return nil, err
	}
	b := builder{text: "SELECT " + taskColumns + " FROM tasks_v3 t", args: k.args}
	b.where(k.where("t", ofStep))
	if err := b.filter(q.Filters, taskFields); err != nil {
		return nil, err
	}
	b.page(q.Page, "t.ts_epoch DESC, t.task_id DESC", "(t.ts_epoch, t.task_id)", byID)
	return below(ctx, d.s, "listing tasks", b.text, &k, b.args,
		func(r pgx.Row, row *tables.Task) error { return scanTask(r, row) },
		func(row *tables.Task, tags, system tables.JSON) { row.Tags, row.SystemTags = tags, system })
}

// FilteredTasks implements tables.DB.
func (d *Tables) FilteredTasks(ctx context.Context, id tables.Key, field, pattern *string) ([]tables.Task, error) {
	k, err := parse(id, ofStep, false)
	if err != nil {
		return nil, err
	}
	b := builder{
		text: "SELECT DISTINCT m.flow_id, m.run_number, m.run_id, m.step_name, m.task_id, m.task_name FROM metadata_v3 m",
		args: k.args,
	}
	b.where(k.where("m", ofStep))
	if field != nil {
		b.where("m.field_name = " + b.bind(*field))
	}
	if pattern != nil {
		b.where("m.value ~ " + b.bind(*pattern))
	}
	b.text += " ORDER BY m.task_id"
	return query(ctx, d.s, "searching for tasks", b.text, b.args, func(r pgx.Row, t *tables.Task) error {
		return r.Scan(&t.FlowID, &t.RunNumber, &t.RunID, &t.StepName, &t.TaskID, &t.TaskName)
	})
}

// TaskMetadata implements tables.DB.
func (d *Tables) TaskMetadata(ctx context.Context, id tables.Key, page *tables.Page) ([]tables.Metadatum, error) {
	return d.metadata(ctx, id, ofTask, page)
}

// RunMetadata implements tables.DB.
func (d *Tables) RunMetadata(ctx context.Context, id tables.Key, page *tables.Page) ([]tables.Metadatum, error) {
	return d.metadata(ctx, id, ofRun, page)
}

func (d *Tables) metadata(ctx context.Context, id tables.Key, want parts, page *tables.Page) ([]tables.Metadatum, error) {
	k, err := parse(id, want, false)
	if err != nil {
		return nil, err
	}
	b := builder{text: "SELECT " + metadataColumns + " FROM metadata_v3 m", args: k.args}
	b.where(k.where("m", want))
	const order = "m.ts_epoch DESC, m.id DESC"
	if page == nil && want == ofTask {
		b.text += " ORDER BY " + order
	}
	b.page(page, order, "(m.ts_epoch, m.id)", byID)
	return query(ctx, d.s, "listing metadata", b.text, b.args, scanMetadatum)
}

var selectArtifacts = map[parts]*texts{ofRun: artifactsOf(ofRun), ofStep: artifactsOf(ofStep), ofTask: artifactsOf(ofTask)}

func artifactsOf(want parts) *texts {
	return variants(want, func(k *key) string {
		return "SELECT " + artifactColumns + " FROM artifact_v3 a WHERE " + k.where("a", want)
	})
}

// Artifacts implements tables.DB.
func (d *Tables) Artifacts(ctx context.Context, id tables.Key, page *tables.Page) ([]tables.Artifact, error) {
	want := scope(id)
	k, err := parse(id, want, false)
	if err != nil {
		return nil, err
	}
	if page == nil {
		list, err := d.artifacts(ctx, selectArtifacts[want].of(&k), &k, k.args)
		return latestAttempts(list), err
	}
	b := builder{
		text: "SELECT " + artifactColumns + " FROM (SELECT DISTINCT ON (a.task_id, a.name) " + artifactColumns +
			" FROM artifact_v3 a WHERE " + k.where("a", want) + " ORDER BY a.task_id, a.name, a.ts_epoch DESC, a.attempt_id DESC) a",
		args: k.args,
	}
	b.page(page, "a.ts_epoch DESC, a.task_id DESC, a.name DESC", "(a.ts_epoch, a.task_id, a.name)", func(c *tables.Cursor) []any {
		return []any{c.TsEpoch, c.ID, c.Name}
	})
	return d.artifacts(ctx, b.text, &k, b.args)
}

func (d *Tables) artifacts(ctx context.Context, text string, k *key, args []any) ([]tables.Artifact, error) {
	return below(ctx, d.s, "listing artifacts", text, k, args,
		func(r pgx.Row, row *tables.Artifact) error { return scanArtifact(r, row) },
		func(row *tables.Artifact, tags, system tables.JSON) { row.Tags, row.SystemTags = tags, system })
}

// latestAttempts keeps, of each task, the rows of its highest attempt.
func latestAttempts(list []tables.Artifact) []tables.Artifact {
	highest := map[int64]int64{}
	same := true
	for i := range list {
		a := &list[i]
		if n, ok := highest[a.TaskID]; !ok || a.AttemptID > n {
			highest[a.TaskID] = a.AttemptID
			same = same && !ok
		} else if a.AttemptID < n {
			same = false
		}
	}
	if same {
		return list
	}
	kept := list[:0]
	for _, a := range list {
		if a.AttemptID == highest[a.TaskID] {
			kept = append(kept, a)
		}
	}
	return kept
}

// ArtifactsOfAttempt implements tables.DB.
func (d *Tables) ArtifactsOfAttempt(ctx context.Context, id tables.Key, attempt int64) ([]tables.Artifact, error) {
	k, err := parse(id, ofTask, false)
	if err != nil {
		return nil, err
	}
	text := "SELECT " + artifactColumns + " FROM artifact_v3 a WHERE " + k.where("a", ofTask) + " AND a.attempt_id = $5::bigint"
	return d.artifacts(ctx, text, &k, append(k.args, attempt))
}

var selectArtifact = variants(ofTask, func(k *key) string {
	return "SELECT " + artifactColumns + runTags + " FROM artifact_v3 a" + withRun("a") + k.where("a", ofTask) +
		" AND a.name = $5 AND a.attempt_id = coalesce($6::bigint, (SELECT b.attempt_id FROM artifact_v3 b WHERE " +
		k.where("b", ofTask) + " AND b.name = 'name' ORDER BY b.ts_epoch DESC, b.attempt_id DESC LIMIT 1), 0)"
})

// Artifact implements tables.DB.
func (d *Tables) Artifact(ctx context.Context, id tables.Key, name string, attempt *int64) (tables.Artifact, error) {
	k, err := parse(id, ofTask, false)
	if err != nil {
		return tables.Artifact{}, err
	}
	return one(ctx, d.s, "reading an artifact", []string{id.Flow, id.Run, id.Step, id.Task, name}, selectArtifact.of(&k),
		append(k.args, name, attempt),
		func(r pgx.Row, row *tables.Artifact) error {
			err := scanArtifact(r, row, raw(&row.Tags), raw(&row.SystemTags))
			tidy(&row.Tags, &row.SystemTags)
			return err
		})
}

// byID are the values of a cursor with a number.
func byID(c *tables.Cursor) []any { return []any{c.TsEpoch, c.ID} }

// builder puts a SELECT together. Values are only ever bound.
type builder struct {
	text  string
	args  []any
	conds int
}

func (b *builder) bind(value any) string {
	b.args = append(b.args, value)
	return "$" + strconv.Itoa(len(b.args))
}

func (b *builder) where(condition string) {
	if b.conds == 0 {
		b.text += " WHERE "
	} else {
		b.text += " AND "
	}
	b.conds++
	b.text += condition
}

// page adds order and bounds of a page; without one, nothing.
func (b *builder) page(p *tables.Page, order, columns string, values func(*tables.Cursor) []any) {
	if p == nil {
		return
	}
	if p.After != nil {
		row := ""
		for i, v := range values(p.After) {
			if i > 0 {
				row += ", "
			}
			row += b.bind(v)
		}
		b.where(columns + " < (" + row + ")")
	}
	b.text += " ORDER BY " + order + " LIMIT " + b.bind(int64(p.Limit)+1)
}
