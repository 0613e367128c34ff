package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/tables"
)

// The numbers that are given rather than minted may be this far beyond the sequence, which is then moved past them.
// Greater ones are kept as names, so that nobody can use up the numbers.
const (
	runWindow  = 100_000
	taskWindow = 10_000_000
)

// passNumber moves a sequence past a number, if that is in reach.
func passNumber(sequence string, window string) string {
	return "SELECT setval('" + sequence + "', $1::bigint) FROM " + sequence +
		" WHERE (last_value < $1 OR last_value = $1 AND NOT is_called) AND $1 - last_value <= " + window
}

var (
	passRun  = passNumber("runs_v3_run_number_seq", fmt.Sprint(runWindow))
	passTask = passNumber("tasks_v3_task_id_seq", fmt.Sprint(taskWindow))
)

// createRun is the statement that adds a run, its flow before it, and what mf knows of it; for a number that is given, its
// column, its value, what that is compared with, and how.
func createRun(column, value, from, more string) string {
	return `WITH f AS (INSERT INTO flows_v3 (flow_id, ts_epoch) VALUES ($1, $3) ON CONFLICT DO NOTHING RETURNING 1),
		r AS (INSERT INTO runs_v3 (flow_id, user_name, ts_epoch, tags, system_tags, run_id, last_heartbeat_ts` + column + `)
			SELECT $1, $2, $3::bigint, $4::jsonb, $5::jsonb, $6, $7::bigint` + value + from + " WHERE (SELECT count(*) FROM f) >= 0" + more + `
			RETURNING run_number),
		m AS (INSERT INTO mf.runs (flow_id, run_number, status, finished, origin, failure)
			SELECT $1, run_number, $8::text, $9::bigint, $10::text, $11::text FROM r WHERE $8::text <> '' OR $9::bigint <> 0 OR $10::text <> '' OR $11::text <> ''
			ON CONFLICT (flow_id, run_number) DO UPDATE SET status = excluded.status, finished = excluded.finished,
				origin = excluded.origin, failure = excluded.failure)
		SELECT run_number FROM r`
}

var (
	createRunMinted   = createRun("", "", "", "")
	createRunNumbered = createRun(", run_number", ", $12::integer", " FROM runs_v3_run_number_seq",
		" AND $12::integer <= last_value ON CONFLICT DO NOTHING")
)

// CreateRun implements metadata.Recorder. A minted id is the next number of the database's runs.
func (s *Store) CreateRun(ctx context.Context, run metadata.Run) (metadata.Run, error) {
	if err := metadata.CheckRun(run); err != nil {
		return metadata.Run{}, err
	}
	if run.TsEpoch == 0 {
		run.TsEpoch = s.now().UnixMilli()
	}
	var name *string
	if run.RunID != "" {
		name = &run.RunID
	}
	args := []any{
		run.FlowID, orNull(run.UserName), run.TsEpoch, tagsJSON(run.Tags), tagsJSON(run.SystemTags), name,
		zeroNull(run.LastHeartbeat), string(run.Status), run.FinishedMs, run.Origin, run.Failure,
	}
	var number int64
	err := s.write(ctx, "creating a run of "+run.FlowID, func(ctx context.Context, c *pgx.Conn) error {
		if n, ok := parseNumber(run.RunID); ok && n <= maxRun {
			done, err := createNumbered(ctx, c, n, run, args)
			if done || err != nil {
				return err
			}
		}
		err := minting(ctx, c, func() error { return c.QueryRow(ctx, createRunMinted, args...).Scan(&number) })
		if hasCode(err, tables.UniqueViolation) {
			return fmt.Errorf("run %s/%s: %w", run.FlowID, run.RunID, metadata.ErrExists)
		}
		return err
	})
	if err != nil {
		return metadata.Run{}, err
	}
	run.RunID = idText(number, name)
	return run, nil
}

// createNumbered adds a run under the number given. It reports whether it did; if not, the number is to be a name.
func createNumbered(ctx context.Context, c *pgx.Conn, n int64, run metadata.Run, args []any) (bool, error) {
	args = append(append([]any(nil), args...), n)
	args[5] = (*string)(nil)
	var got int64
	var named *string
	taken := false
	var b pgx.Batch
	b.Queue("SELECT run_id FROM runs_v3 WHERE flow_id = $1 AND run_number = $2", run.FlowID, n).QueryRow(func(r pgx.Row) error {
		err := r.Scan(&named)
		taken = err == nil
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		return err
	})
	b.Queue(passRun, n)
	b.Queue(createRunNumbered, args...).QueryRow(func(r pgx.Row) error {
		err := r.Scan(&got)
		if errors.Is(err, pgx.ErrNoRows) {
			got = -1
			return nil
		}
		return err
	})
	err := c.SendBatch(ctx, &b).Close()
	switch {
	case err != nil:
		return false, err
	case got == n:
		return true, nil
	case taken && named == nil:
		return false, fmt.Errorf("run %s/%s: %w", run.FlowID, run.RunID, metadata.ErrExists)
	}
	return false, nil
}

const updateRun = `WITH r AS (` + runRow + `),
	h AS (UPDATE runs_v3 u SET last_heartbeat_ts = $7::bigint FROM r
		WHERE u.flow_id = $1 AND u.run_number = r.run_number AND $7::bigint <> 0)
	INSERT INTO mf.runs (flow_id, run_number, status, finished, origin, failure)
	SELECT $1, r.run_number, $4::text, $5::bigint, '', $6::text FROM r
	ON CONFLICT (flow_id, run_number) DO UPDATE
	SET status = excluded.status, finished = excluded.finished, failure = excluded.failure`

// UpdateRun implements metadata.Recorder.
func (s *Store) UpdateRun(ctx context.Context, run metadata.Run) error {
	args := append(runArgs(run.FlowID, run.RunID), string(run.Status), run.FinishedMs, run.Failure, run.LastHeartbeat)
	return s.write(ctx, "updating a run", func(ctx context.Context, c *pgx.Conn) error {
		tag, err := c.Exec(ctx, updateRun, args...)
		if err == nil && tag.RowsAffected() == 0 {
			return absent(pgx.ErrNoRows, run.FlowID, run.RunID)
		}
		return err
	})
}

// ownColumns are what mf knows of a run beyond Metaflow's columns.
const (
	ownColumns = ", coalesce(o.status, ''), coalesce(o.finished, 0), coalesce(o.origin, ''), coalesce(o.failure, '')"
	withOwn    = " FROM runs_v3 r LEFT JOIN mf.runs o ON o.flow_id = r.flow_id AND o.run_number = r.run_number"
)

func scanOwnRun(r pgx.Row, run *metadata.Run) error {
	var row tables.Run
	err := scanRun(r, &row, (*string)(&run.Status), &run.FinishedMs, &run.Origin, &run.Failure)
	if err != nil {
		return err
	}
	run.FlowID, run.RunID, run.UserName = row.FlowID, idText(row.RunNumber, row.RunID), orEmpty(row.UserName)
	run.TsEpoch, run.LastHeartbeat = row.TsEpoch, orZero(row.LastHeartbeat)
	if run.Tags, err = tagList(row.Tags); err != nil {
		return err
	}
	run.SystemTags, err = tagList(row.SystemTags)
	return err
}

const selectOwnRun = "SELECT " + runColumns + ownColumns + withOwn + " WHERE r.flow_id = $1 AND r.run_number = " + runNumber

// Run implements metadata.Reader.
func (s *Store) Run(ctx context.Context, flow, run string) (metadata.Run, error) {
	return single(ctx, s, "reading a run", []string{flow, run}, selectOwnRun, runArgs(flow, run), scanOwnRun)
}

// Runs implements metadata.Reader.
func (s *Store) Runs(ctx context.Context, q metadata.RunQuery) ([]metadata.Run, error) {
	b := builder{text: "SELECT " + runColumns + ownColumns + withOwn}
	if q.FlowID != "" {
		b.where("r.flow_id = " + b.bind(q.FlowID))
	}
	if q.Status != "" {
		b.where("o.status = " + b.bind(string(q.Status)))
	}
	if len(q.Tags) > 0 {
		b.where("(r.tags || r.system_tags) ?& " + b.bind(q.Tags) + "::text[]")
	}
	b.text += " ORDER BY r.ts_epoch DESC, r.run_number DESC"
	if q.Limit > 0 {
		b.text += " LIMIT " + b.bind(int64(q.Limit))
	}
	return query(ctx, s, "listing runs", b.text, b.args, scanOwnRun)
}
