package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/mf-run/mf/metadata"
)

// beats refreshes the heartbeats of a run and some of its tasks. One of less than five seconds ago stays: many tasks beat
// for one run.
var beats = withRunRow + `, h AS (UPDATE runs_v3 u SET last_heartbeat_ts = $4::bigint FROM r
		WHERE u.flow_id = $1 AND u.run_number = r.run_number AND (u.last_heartbeat_ts IS NULL OR u.last_heartbeat_ts <= $4::bigint - 5))
	UPDATE tasks_v3 t SET last_heartbeat_ts = $4::bigint
	FROM (SELECT ` + taskNumber("r.run_number", "x.step", "x.number", "x.id") + ` AS number
		FROM r, unnest($5::text[], $6::bigint[], $7::text[]) AS x (step, number, id) ORDER BY 1) AS n
	WHERE t.task_id = n.number AND (t.last_heartbeat_ts IS NULL OR t.last_heartbeat_ts <= $4::bigint - 5)`

// wait is how long those who beat are told to wait.
const wait = 10 * time.Second

// Beat implements metadata.Heart.
func (s *Store) Beat(ctx context.Context, flow, run string, refs []metadata.TaskRef) (time.Duration, error) {
	var set taskSet
	for _, t := range refs {
		set.place(t.Step, t.Task)
	}
	args := append(runArgs(flow, run), s.now().Unix(), set.step, set.number, set.id)
	err := s.write(ctx, "refreshing heartbeats", func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, beats, args...)
		return err
	})
	if err != nil {
		return 0, err
	}
	return wait, nil
}
