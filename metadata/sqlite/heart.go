package sqlite

import (
	"context"
	"errors"
	"time"

	"github.com/mf-run/mf/metadata"
)

// beatEvery is how long a heart waits between its beats.
const beatEvery = 10 * time.Second

// Beat implements metadata.Heart. A heartbeat never goes back.
func (s *Store) Beat(ctx context.Context, flow, run string, tasks []metadata.TaskRef) (time.Duration, error) {
	now := s.now().Unix()
	err := s.write(ctx, "setting heartbeats", func(w *writer) error {
		id, err := w.runID(ctx, flow, run)
		if err != nil {
			return err
		}
		_, err = w.exec(ctx, `UPDATE runs_v3 SET last_heartbeat_ts = ? WHERE flow_id = ? AND run_number = ?
			AND (last_heartbeat_ts IS NULL OR last_heartbeat_ts < ?)`, now, flow, id.number, now)
		if err != nil {
			return err
		}
		for _, t := range tasks {
			task, err := w.taskID(ctx, id, taskKey{flow, run, t.Step, t.Task})
			if errors.Is(err, metadata.ErrNotFound) {
				continue
			} else if err != nil {
				return err
			}
			_, err = w.exec(ctx, `UPDATE tasks_v3 SET last_heartbeat_ts = ?
				WHERE flow_id = ? AND run_number = ? AND step_name = ? AND task_id = ?
				AND (last_heartbeat_ts IS NULL OR last_heartbeat_ts < ?)`, now, flow, id.number, t.Step, task.number, now)
			if err != nil {
				return err
			}
		}
		return nil
	})
	return beatEvery, unlessMissing(err)
}
