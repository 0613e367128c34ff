package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/tables"
)

var (
	readTags = variants(ofRun, func(k *key) string {
		return "SELECT r.tags, r.system_tags, r.run_number FROM runs_v3 r WHERE " + k.where("r", ofRun)
	})
	writeTags = "UPDATE runs_v3 SET tags = $3 WHERE flow_id = $1 AND run_number = $2"
)

// MutateTags implements tables.DB.
func (d *Tables) MutateTags(ctx context.Context, id tables.Key, add, remove []string) ([]string, error) {
	k, err := parse(id, ofRun, true)
	if err != nil {
		return nil, err
	}
	var tags []string
	err = d.s.write(ctx, "changing the tags of a run", func(ctx context.Context, c *pgx.Conn) error {
		err := changeTags(ctx, c, "BEGIN ISOLATION LEVEL SERIALIZABLE", readTags.of(&k), k.args,
			func(user, system []string, known bool) ([]string, bool, error) {
				if !known {
					return nil, false, tables.ErrNullTags
				}
				var err error
				var changed bool
				tags, changed, err = mutate(user, system, add, remove)
				return tags, changed, err
			})
		if hasCode(err, serializationFailure) || hasCode(err, deadlock) {
			return fmt.Errorf("%w: run %s/%s", tables.ErrConflict, id.Flow, id.Run)
		}
		return absent(err, id.Flow, id.Run)
	})
	if err != nil {
		return nil, err
	}
	return tags, nil
}

// mutate is the rule of Metaflow's service: first removed, then added, system tags left alone.
func mutate(user, system, add, remove []string) (tags []string, changed bool, err error) {
	for _, t := range remove {
		if slices.Contains(system, t) {
			return nil, false, &tables.SystemTagError{Tag: t}
		}
	}
	in := func(list []string) map[string]bool {
		set := make(map[string]bool, len(list))
		for _, t := range list {
			set[t] = true
		}
		return set
	}
	away, fixed, have := in(remove), in(system), map[string]bool{}
	for _, t := range add {
		delete(away, t)
	}
	tags = make([]string, 0, len(user)+len(add))
	for _, t := range user {
		switch {
		case have[t]:
		case away[t]:
			changed = true
		default:
			have[t] = true
			tags = append(tags, t)
		}
	}
	for _, t := range add {
		if !have[t] && !fixed[t] {
			have[t], changed = true, true
			tags = append(tags, t)
		}
	}
	return tags, changed, nil
}

// MutateTags implements metadata.Recorder. It waits for other changes of the run's tags, where Tables' reports them.
func (s *Store) MutateTags(ctx context.Context, flow, run string, add, remove []string) ([]string, error) {
	var tags []string
	err := s.write(ctx, "changing the tags of a run", func(ctx context.Context, c *pgx.Conn) error {
		err := changeTags(ctx, c, "BEGIN ISOLATION LEVEL READ COMMITTED", `SELECT r.tags, r.system_tags, r.run_number FROM runs_v3 r
			WHERE r.flow_id = $1 AND r.run_number = `+runNumber+` FOR NO KEY UPDATE`, runArgs(flow, run),
			func(user, system []string, _ bool) ([]string, bool, error) {
				var err error
				var changed bool
				tags, changed, err = metadata.ApplyTags(user, system, add, remove)
				return tags, changed, err
			})
		return absent(err, flow, run)
	})
	if err != nil {
		return nil, err
	}
	return tags, nil
}

// changeTags reads and writes a run's tags in a transaction, a round trip for each statement: clients of Metaflow's service
// expect to see that changes at the same time conflict, which they hardly ever would in fewer. known is false for null tags.
func changeTags(ctx context.Context, c *pgx.Conn, begin, read string, args []any,
	f func(user, system []string, known bool) (tags []string, changed bool, err error),
) (err error) {
	defer func() {
		if err != nil && !c.IsClosed() && c.PgConn().TxStatus() != 'I' {
			_, e := c.Exec(context.WithoutCancel(ctx), "ROLLBACK")
			if e != nil {
				err = errors.Join(err, e)
			}
		}
	}()
	var userJSON, systemJSON tables.JSON
	var number int64
	if _, err := c.Exec(ctx, begin); err != nil {
		return err
	}
	if err := c.QueryRow(ctx, read, args...).Scan(raw(&userJSON), raw(&systemJSON), &number); err != nil {
		return err
	}
	tidy(&userJSON, &systemJSON)
	user, err := tagList(userJSON)
	if err != nil {
		return err
	}
	system, err := tagList(systemJSON)
	if err != nil {
		return err
	}
	tags, changed, err := f(user, system, userJSON != nil && systemJSON != nil)
	if err != nil {
		return err
	}
	if changed {
		if _, err := c.Exec(ctx, writeTags, args[0], number, tagsJSON(tags)); err != nil {
			return err
		}
	}
	_, err = c.Exec(ctx, "COMMIT")
	return err
}

func tagList(j tables.JSON) ([]string, error) {
	if j == nil || string(j) == "[]" {
		return nil, nil
	}
	var tags []string
	if err := json.Unmarshal(j, &tags); err != nil {
		return nil, fmt.Errorf("%w: tags are no JSON list of texts", metadata.ErrCorrupt)
	}
	return tags, nil
}

// tagsJSON returns tags as a JSON array.
func tagsJSON(tags []string) string {
	if len(tags) == 0 {
		return "[]"
	}
	text, err := json.Marshal(tags)
	if err != nil {
		panic("bug in mf: encoding tags: " + err.Error()) // texts always encode
	}
	return string(text)
}
