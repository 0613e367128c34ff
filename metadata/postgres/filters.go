package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/mf-run/mf/metadata/tables"
)

// runFields and taskFields are the expressions of the fields of filters.
var (
	runFields = map[string]string{
		"flow_id": "r.flow_id", "run_number": "r.run_number", "run_id": "r.run_id", "user_name": "r.user_name",
		"ts_epoch": "r.ts_epoch", "last_heartbeat_ts": "r.last_heartbeat_ts", "tags": "r.tags", "system_tags": "r.system_tags",
		"user": "(CASE WHEN r.system_tags ? ('user:' || r.user_name) THEN r.user_name END)", "status": "d.status",
	}
	taskFields = map[string]string{
		"task_id": "t.task_id", "task_name": "t.task_name", "user_name": "t.user_name", "ts_epoch": "t.ts_epoch",
		"last_heartbeat_ts": "t.last_heartbeat_ts",
	}
)

// operator is what a filter's name of one stands for: the operator of SQL, and what surrounds the value.
type operator struct{ sql, before, after string }

var operators = map[string]operator{
	"eq": {sql: " = "},
	"ne": {sql: " <> "},
	"lt": {sql: " < "},
	"le": {sql: " <= "},
	"gt": {sql: " > "},
	"ge": {sql: " >= "},
	"co": {sql: " ILIKE ", before: "%", after: "%"},
	"sw": {sql: " ILIKE ", after: "%"},
	"ew": {sql: " ILIKE ", before: "%"},
	"li": {sql: " ILIKE "},
	"is": {sql: " IS "}, // of anything but null Postgres' own error
}

func (b *builder) filter(filters []tables.Filter, fields map[string]string) error {
	for _, f := range filters {
		field, op := fields[f.Field], operators[f.Op]
		if field == "" || op.sql == "" {
			return fmt.Errorf("no filter %q on field %q", f.Op, f.Field)
		}
		text := ""
		for _, v := range f.Values {
			if text != "" {
				text += " OR "
			}
			if v == nil {
				text += field + " IS NULL"
			} else {
				text += field + op.sql + b.bind(op.before+*v+op.after)
			}
		}
		if text != "" {
			b.where("(" + text + ")")
		}
	}
	return nil
}

// tags adds the conditions on a run's user and system tags together.
func (b *builder) tags(filters []tables.TagFilter) error {
	for _, f := range filters {
		switch f.Op {
		case "all":
			b.where("(r.tags || r.system_tags) ?& " + b.bind(f.Values) + "::text[]")
		case "any":
			b.where("(r.tags || r.system_tags) ?| " + b.bind(f.Values) + "::text[]")
		case "likeall", "likeany":
			patterns := make([]string, len(f.Values))
			for i, v := range f.Values {
				patterns[i] = "%" + v + "%"
			}
			quantifier := map[string]string{"likeall": "ALL", "likeany": "ANY"}[f.Op]
			b.where("(r.tags::text || r.system_tags::text) LIKE " + quantifier + " (" + b.bind(patterns) + "::text[])")
		default:
			return fmt.Errorf("no filter %q on tags", f.Op)
		}
	}
	return nil
}

// status joins the derived status of runs: from the newest outcome of step "end" and a newer attempt of it, or else by the
// heartbeat. An outcome that is no boolean is as none.
const status = ` LEFT JOIN LATERAL (
		SELECT m.ts_epoch, CASE WHEN lower(m.value::text) IN ('true', 't', 'yes', 'y', 'on', '1', '"true"') THEN true
			WHEN lower(m.value::text) IN ('false', 'f', 'no', 'n', 'off', '0', '"false"') THEN false END AS ok
		FROM metadata_v3 m
		WHERE m.flow_id = r.flow_id AND m.run_number = r.run_number AND m.step_name = 'end' AND m.field_name = 'attempt_ok'
		ORDER BY m.ts_epoch DESC, m.id DESC LIMIT 1
	) outcome ON true CROSS JOIN LATERAL (SELECT CASE
		WHEN outcome.ok THEN 'completed'
		WHEN NOT outcome.ok AND EXISTS (
			SELECT FROM metadata_v3 m
			WHERE m.flow_id = r.flow_id AND m.run_number = r.run_number AND m.step_name = 'end' AND m.field_name = 'attempt'
				AND m.ts_epoch > outcome.ts_epoch
		) THEN 'running'
		WHEN NOT outcome.ok THEN 'failed'
		WHEN abs(%s::bigint - r.last_heartbeat_ts) <= %s::bigint THEN 'running'
		ELSE 'failed' END AS status
	) d`

// Runs implements tables.DB.
func (d *Tables) Runs(ctx context.Context, flow string, q tables.Query, inactive int64) ([]tables.Run, error) {
	derived := false
	for _, f := range q.Filters {
		derived = derived || f.Field == "status"
	}
	b := builder{text: "SELECT " + runColumns}
	if derived {
		b.text += ", d.status"
	}
	b.text += " FROM runs_v3 r"
	if derived {
		b.text += fmt.Sprintf(status, b.bind(d.s.now().Unix()), b.bind(inactive))
	}
	if flow != "" {
		b.where("r.flow_id = " + b.bind(flow))
	}
	if err := b.filter(q.Filters, runFields); err != nil {
		return nil, err
	}
	if err := b.tags(q.Tags); err != nil {
		return nil, err
	}
	b.page(q.Page, "r.ts_epoch DESC, r.run_number DESC", "(r.ts_epoch, r.run_number)", byID)
	return query(ctx, d.s, "listing runs", b.text, b.args, func(r pgx.Row, run *tables.Run) error {
		if derived {
			return scanRun(r, run, &run.Status)
		}
		return scanRun(r, run)
	})
}
