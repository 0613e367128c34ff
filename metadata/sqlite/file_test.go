package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/metadatatest"
	"github.com/mf-run/mf/metadata/sqlite"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// raw runs statements on a database file, past the Store.
func raw(t *testing.T, path string, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	must(t, err)
	for _, s := range statements {
		_, err := db.ExecContext(t.Context(), s)
		must(t, err)
	}
	must(t, db.Close())
}

func TestReopen(t *testing.T) {
	// Characters that mean something in the address of a database.
	path := filepath.Join(t.TempDir(), "a b?c=d#e%20&é;", "new", "metadata.db")
	if _, err := sqlite.Open(t.Context(), path, sqlite.Options{Now: time.Now, MustExist: true}); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("opening what must exist: %v", err)
	}
	if _, err := os.Stat(filepath.Dir(path)); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("a folder was made: %v", err)
	}
	s, err := sqlite.Open(t.Context(), path, sqlite.Options{Now: metadatatest.NewClock().Now})
	must(t, err)
	want, err := s.CreateRun(t.Context(), metadata.Run{FlowID: "F", Tags: []string{"x"}})
	must(t, err)
	for range 2 {
		must(t, s.Close())
	}
	if _, err := s.CreateRun(t.Context(), metadata.Run{FlowID: "F"}); !errors.Is(err, metadata.ErrClosed) {
		t.Errorf("writing after Close: %v", err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s := open(t, path, sqlite.Options{MustExist: true})
		got, err := s.Run(t.Context(), "F", want.RunID)
		must(t, err)
		if got.Tags[0] != "x" {
			t.Errorf("got %+v", got)
		}
	}
}

func TestFilesThatCannotBeOpened(t *testing.T) {
	good := filepath.Join(t.TempDir(), "good.db")
	s := open(t, good, sqlite.Options{})
	_, err := s.CreateRun(t.Context(), metadata.Run{FlowID: "F"})
	must(t, err)
	must(t, s.Close())
	content, err := os.ReadFile(good)
	must(t, err)

	file := func(b []byte) func(string) {
		return func(path string) { must(t, os.WriteFile(path, b, 0o600)) }
	}
	for name, c := range map[string]struct {
		make func(path string)
		is   error
		says string
	}{
		"newer": {func(path string) {
			file(content)(path)
			raw(t, path, "INSERT INTO mf_schema (version_id, is_applied, tstamp) VALUES (999, 1, '')")
		}, metadata.ErrNewer, "version 999"},
		"text":      {file([]byte(strings.Repeat("not a database\n", 100))), metadata.ErrCorrupt, "move the file away"},
		"truncated": {file(content[:len(content)/2/4096*4096+100]), metadata.ErrCorrupt, "move the file away"},
		"overwritten": {func(path string) {
			b := append([]byte(nil), content...)
			for i := range 4000 {
				b[100+i] = 0xA5
			}
			file(b)(path)
		}, metadata.ErrCorrupt, "move the file away"},
		"another program's": {func(path string) {
			raw(t, path, "CREATE TABLE bookmarks (url TEXT)", "INSERT INTO bookmarks VALUES ('x')")
		}, metadata.ErrCorrupt, "another program"},
		"folder": {func(path string) { must(t, os.Mkdir(path, 0o755)) }, nil, "unable to open"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "m.db")
			c.make(path)
			before, _ := os.ReadFile(path) // none of a folder
			s, err := sqlite.Open(t.Context(), path, sqlite.Options{Now: time.Now})
			if err == nil {
				_, err = s.Runs(t.Context(), metadata.RunQuery{})
				must(t, s.Close())
			}
			if err == nil || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("error: %v", err)
			}
			if !strings.Contains(err.Error(), path) {
				t.Errorf("the error does not name the file: %v", err)
			}
			if after, _ := os.ReadFile(path); string(after) != string(before) {
				t.Error("the file was changed")
			}
		})
	}
}

// TestSchemaMirrorsMetaflow holds the tables against the columns of Metaflow's own schema.
func TestSchemaMirrorsMetaflow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.db")
	must(t, open(t, path, sqlite.Options{}).Close())
	db, err := sql.Open("sqlite", path)
	must(t, err)
	defer func() { must(t, db.Close()) }()
	for table, want := range map[string]string{
		"flows_v3": "flow_id user_name ts_epoch tags system_tags",
		"runs_v3":  "flow_id run_number user_name ts_epoch tags system_tags run_id last_heartbeat_ts",
		"steps_v3": "flow_id run_number step_name user_name ts_epoch tags system_tags run_id",
		"tasks_v3": "flow_id run_number step_name task_id user_name ts_epoch tags system_tags run_id task_name last_heartbeat_ts",
		"metadata_v3": "id flow_id run_number step_name task_id field_name value type user_name ts_epoch tags system_tags " +
			"run_id task_name",
		"artifact_v3": "flow_id run_number step_name task_id name location ds_type sha type content_type user_name attempt_id " +
			"ts_epoch tags system_tags run_id task_name",
		"mf_schema": "id version_id is_applied tstamp",
	} {
		var got string
		must(t, db.QueryRowContext(t.Context(), "SELECT group_concat(name, ' ') FROM pragma_table_info(?)", table).Scan(&got))
		if got != want {
			t.Errorf("%s has columns %s, want %s", table, got, want)
		}
	}
	var mode string
	must(t, db.QueryRowContext(t.Context(), "PRAGMA journal_mode").Scan(&mode))
	if mode != "wal" {
		t.Errorf("journal mode is %s", mode)
	}
}

// TestTextsOfAnyBytes: what Postgres refuses, SQLite keeps.
func TestTextsOfAnyBytes(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "m.db"), sqlite.Options{})
	for _, x := range []string{"a\x00b", "\x00", "a\xffb", strings.Repeat("x", 300_000)} {
		_, err := s.CreateRun(t.Context(), metadata.Run{FlowID: "F", RunID: x, Failure: x})
		must(t, err)
		got, err := s.Run(t.Context(), "F", x)
		must(t, err)
		if got.RunID != x || got.Failure != x {
			t.Errorf("%.20q became %.20q and %.20q", x, got.RunID, got.Failure)
		}
	}
}

func TestManyOpenAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.db")
	var wg sync.WaitGroup
	errs := make([]error, 12)
	for i := range errs {
		wg.Go(func() {
			s, err := sqlite.Open(t.Context(), path, sqlite.Options{Now: time.Now})
			if err == nil {
				_, err = s.CreateRun(t.Context(), metadata.Run{FlowID: "F"})
				err = errors.Join(err, s.Close())
			}
			errs[i] = err
		})
	}
	wg.Wait()
	must(t, errors.Join(errs...))
	list, err := open(t, path, sqlite.Options{}).Runs(t.Context(), metadata.RunQuery{})
	must(t, err)
	if len(list) != len(errs) {
		t.Errorf("%d runs", len(list))
	}
}

// TestLocked: a call waits for another process, until it may not any longer, and leaves nothing half done.
func TestLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.db")
	s := open(t, path, sqlite.Options{BusyTimeout: 10 * time.Millisecond})
	other, err := sql.Open("sqlite", path)
	must(t, err)
	defer func() { must(t, other.Close()) }()
	conn, err := other.Conn(t.Context())
	must(t, err)
	defer func() { must(t, conn.Close()) }()
	_, err = conn.ExecContext(t.Context(), "BEGIN IMMEDIATE")
	must(t, err)
	if _, err := s.CreateRun(t.Context(), metadata.Run{FlowID: "F"}); err == nil || !strings.Contains(err.Error(), "locked for too long") {
		t.Errorf("while locked: %v", err)
	}
	if list, err := s.Runs(t.Context(), metadata.RunQuery{}); err != nil || len(list) != 0 {
		t.Errorf("reading while locked: %v %v", list, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.CreateRun(ctx, metadata.Run{FlowID: "F"}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	_, err = conn.ExecContext(t.Context(), "ROLLBACK")
	must(t, err)
	_, err = s.CreateRun(t.Context(), metadata.Run{FlowID: "F"})
	must(t, err)
}

// TestCancelledWhileWriting: whatever moment a context ends at, a batch is there whole or not at all.
func TestCancelledWhileWriting(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "m.db"), sqlite.Options{})
	_, err := s.CreateRun(t.Context(), metadata.Run{FlowID: "F", RunID: "1"})
	must(t, err)
	env, done := metadata.Env{User: "u"}, 0
	for i := range 40 {
		var b metadata.Batch
		for j := range 50 {
			ref := metadata.TaskRef{Flow: "F", Run: "1", Step: "s" + strconv.Itoa(i), Task: strconv.Itoa(j)}
			b.Add(env.TaskRegistered(ref, 0, time.UnixMilli(1)))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*100*time.Microsecond)
		err := s.Record(ctx, b)
		cancel()
		tasks, readErr := s.Tasks(t.Context(), "F", "1", "s"+strconv.Itoa(i))
		must(t, readErr)
		if err == nil {
			done++
		}
		if n := len(tasks); n != 0 && n != 50 || err == nil && n != 50 {
			t.Fatalf("%d of 50 tasks, error %v", n, err)
		}
	}
	must(t, s.Record(t.Context(), env.TaskRegistered(metadata.TaskRef{Flow: "F", Run: "1", Step: "s", Task: "1"}, 0, time.UnixMilli(1))))
	t.Logf("%d of 40 batches were in time", done)
}

// TestManyProcesses lets this test run itself in several processes, all writing to one file.
func TestManyProcesses(t *testing.T) {
	const workers, each = 4, 15
	if path := os.Getenv("MF_TEST_SQLITE_FILE"); path != "" {
		writeAsProcess(t, path, each)
		return
	}
	path := filepath.Join(t.TempDir(), "m.db")
	var wg sync.WaitGroup
	errs := make([]error, workers)
	for i := range workers {
		wg.Go(func() {
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestManyProcesses$")
			cmd.Env = append(os.Environ(), "MF_TEST_SQLITE_FILE="+path)
			if out, err := cmd.CombinedOutput(); err != nil {
				errs[i] = fmt.Errorf("%w: %s", err, out)
			}
		})
	}
	wg.Wait()
	must(t, errors.Join(errs...))
	s := open(t, path, sqlite.Options{MustExist: true})
	list, err := s.Runs(t.Context(), metadata.RunQuery{FlowID: "F"})
	must(t, err)
	if len(list) != workers*each+1 {
		t.Errorf("%d runs", len(list))
	}
	tasks, err := s.Tasks(t.Context(), "F", "shared", "")
	must(t, err)
	ids := map[string]bool{}
	for _, task := range tasks {
		ids[task.TaskID] = true
	}
	if len(ids) != workers*each {
		t.Errorf("%d task ids", len(ids))
	}
	shared, err := s.Run(t.Context(), "F", "shared")
	must(t, err)
	if len(shared.Tags) != workers {
		t.Errorf("tags: %q", shared.Tags)
	}
}

// writeAsProcess makes runs under one frozen clock, and tasks and a tag of a run that all processes share.
func writeAsProcess(t *testing.T, path string, n int) {
	s := open(t, path, sqlite.Options{})
	_, err := s.CreateRun(t.Context(), metadata.Run{FlowID: "F", RunID: "shared"})
	if err != nil && !errors.Is(err, metadata.ErrExists) {
		t.Fatal(err)
	}
	for range n {
		_, err := s.CreateRun(t.Context(), metadata.Run{FlowID: "F"})
		must(t, err)
		_, err = s.CreateTask(t.Context(), metadata.Task{FlowID: "F", RunID: "shared", StepName: "s"})
		must(t, err)
	}
	_, err = s.MutateTags(t.Context(), "F", "shared", []string{"pid" + strconv.Itoa(os.Getpid())}, nil)
	must(t, err)
}
