package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/mf-run/mf/internal/testserver"
	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/postgres"
	"github.com/mf-run/mf/metadata/tables"
)

// TestManyAtOnce: what goes in one round trip with others is answered as it would be alone, though some of the others are
// refused, give up, or ask for what is not there.
func TestManyAtOnce(t *testing.T) {
	s := open(t, postgres.Options{MaxConns: 3})
	d := s.Tables()
	_, err := d.CreateFlow(t.Context(), tables.Flow{FlowID: "F"})
	must(t, err)
	var group sync.WaitGroup
	for worker := range 40 {
		group.Go(func() {
			for turn := range 15 {
				name := fmt.Sprintf("run-%d-%d", worker, turn)
				if err := atOnce(t.Context(), d, name, (worker+turn)%5); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
	group.Wait()
	runs, err := d.Runs(t.Context(), "F", tables.Query{}, 360)
	must(t, err)
	if len(runs) != 40*15 {
		t.Errorf("there are %d runs", len(runs))
	}
	numbers := map[int64]bool{}
	for _, r := range runs {
		numbers[r.RunNumber] = true
	}
	if len(numbers) != len(runs) {
		t.Errorf("%d runs have %d numbers", len(runs), len(numbers))
	}
}

// atOnce makes a run with a step, a task and artifacts, reads all of that, and does what kind says besides.
func atOnce(ctx context.Context, d *postgres.Tables, name string, kind int) error {
	made, err := d.CreateRun(ctx, tables.Run{FlowID: "F", RunID: &name, UserName: ptr("ann"), Tags: tables.JSON(`["` + name + `"]`)})
	if err != nil {
		return err
	}
	k := tables.Key{Flow: "F", Run: name, Step: "start"}
	switch kind {
	case 0: // a name that is taken
		var e *tables.Error
		if _, err := d.CreateRun(ctx, tables.Run{FlowID: "F", RunID: &name}); !errors.As(err, &e) || e.Code != tables.UniqueViolation {
			return fmt.Errorf("the name was taken twice: %w", err)
		}
	case 1: // a flow that is not there, and a text that Postgres does not take
		var e *tables.Error
		if _, err := d.CreateRun(ctx, tables.Run{FlowID: "none"}); !errors.As(err, &e) || e.Code != tables.ForeignKeyViolation {
			return fmt.Errorf("a run of no flow: %w", err)
		}
		if _, err := d.Run(ctx, tables.Key{Flow: "F", Run: "\xff"}); !errors.As(err, &e) {
			return fmt.Errorf("a text that is none: %w", err)
		}
	case 2: // one who does not wait
		hasty, cancel := context.WithTimeout(ctx, 50*time.Microsecond)
		_, err := d.Run(hasty, k)
		cancel()
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("one who does not wait: %w", err)
		}
	case 3:
		if _, err := d.Run(ctx, tables.Key{Flow: "F", Run: "no-" + name}); !errors.Is(err, metadata.ErrNotFound) {
			return fmt.Errorf("a run that is not there: %w", err)
		}
	}
	if _, err := d.CreateStep(ctx, k, tables.Step{StepName: "start"}); err != nil {
		return err
	}
	task, err := d.CreateTask(ctx, k, tables.Task{StepName: "start"})
	if err != nil {
		return err
	}
	k.Task = strconv.FormatInt(task.TaskID, 10)
	rows := []tables.Artifact{{Name: "a", Location: name, DsType: "s3"}, {Name: "b", Location: name, DsType: "s3", Sha: ptr("s"), AttemptID: 1}}
	if _, err := d.AddArtifacts(ctx, k, rows); err != nil {
		return err
	}
	run, err := d.Run(ctx, k)
	if err != nil || run.RunNumber != made.RunNumber || *run.RunID != name || *run.UserName != "ann" || string(run.Tags) != `["`+name+`"]` || run.SystemTags != nil {
		return fmt.Errorf("the run is %+v: %w", run, err)
	}
	read, err := d.Task(ctx, k)
	if err != nil || read.TaskID != task.TaskID || read.RunNumber != made.RunNumber || read.TaskName != nil {
		return fmt.Errorf("the task is %+v: %w", read, err)
	}
	list, err := d.Artifacts(ctx, k, nil)
	if err != nil || len(list) != 1 || list[0].Name != "b" || list[0].Location != name || list[0].AttemptID != 1 ||
		*list[0].Sha != "s" || list[0].Type != nil || string(list[0].Tags) != string(run.Tags) {
		return fmt.Errorf("the artifacts are %+v: %w", list, err)
	}
	return nil
}

// TestOvertaking: lookups do not wait for one that is held up.
func TestOvertaking(t *testing.T) {
	address := testserver.Database(t)
	migrate(t, address)
	s := openAt(t, address, postgres.Options{MaxConns: 4, QueryTimeout: 20 * time.Second})
	d := s.Tables()
	_, err := d.CreateFlow(t.Context(), tables.Flow{FlowID: "F"})
	must(t, err)
	run, err := d.CreateRun(t.Context(), tables.Run{FlowID: "F"})
	must(t, err)
	admin, err := pgx.Connect(t.Context(), address)
	must(t, err)
	defer func() { must(t, admin.Close(context.Background())) }()
	tx, err := admin.Begin(t.Context())
	must(t, err)
	_, err = tx.Exec(t.Context(), "LOCK TABLE tasks_v3 IN ACCESS EXCLUSIVE MODE")
	must(t, err)
	k := tables.Key{Flow: "F", Run: strconv.FormatInt(run.RunNumber, 10), Step: "s", Task: "7"}
	held := make(chan error, 1)
	go func() {
		_, err := d.Task(t.Context(), k)
		held <- err
	}()
	for range 20 {
		time.Sleep(time.Millisecond)
		start := time.Now()
		_, err := d.Run(t.Context(), k)
		must(t, err)
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("a lookup waited %s for another one", took)
		}
	}
	select {
	case err := <-held:
		t.Errorf("the table was not locked: %v", err)
	default:
	}
	must(t, tx.Rollback(t.Context()))
	if err := <-held; !errors.Is(err, metadata.ErrNotFound) {
		t.Errorf("the one that was held up: %v", err)
	}
}

// TestChangedTable: statements that a connection has prepared are prepared anew when a migration has changed their table.
func TestChangedTable(t *testing.T) {
	address := testserver.Database(t)
	migrate(t, address)
	s := openAt(t, address, postgres.Options{MaxConns: 1})
	d := s.Tables()
	_, err := d.CreateFlow(t.Context(), tables.Flow{FlowID: "F", UserName: ptr("ann")})
	must(t, err)
	admin, err := pgx.Connect(t.Context(), address)
	must(t, err)
	defer func() { must(t, admin.Close(context.Background())) }()
	for _, kind := range []string{"varchar(255)", "text", "varchar(300)"} {
		_, err := admin.Exec(t.Context(), "ALTER TABLE flows_v3 ALTER user_name TYPE "+kind)
		must(t, err)
		for range 2 {
			f, err := d.Flow(t.Context(), "F")
			must(t, err)
			if f.UserName == nil || *f.UserName != "ann" {
				t.Errorf("%+v", f)
			}
		}
	}
}
