package postgres_test

import (
	"context"
	"errors"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/mf-run/mf/internal/testserver"
	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/postgres"
	"github.com/mf-run/mf/metadata/tables"
)

// calls are one of each kind, which all have to fare the same when the database is away.
func calls(s *postgres.Store, run string) map[string]func(ctx context.Context) error {
	d, k := s.Tables(), tables.Key{Flow: "F", Run: run}
	return map[string]func(ctx context.Context) error{
		"ping":    d.Ping,
		"read":    func(ctx context.Context) error { _, err := d.Run(ctx, k); return err },
		"list":    func(ctx context.Context) error { _, err := d.Steps(ctx, k); return err },
		"own":     func(ctx context.Context) error { _, err := s.Run(ctx, "F", run); return err },
		"create":  func(ctx context.Context) error { _, err := d.CreateRun(ctx, tables.Run{FlowID: "F"}); return err },
		"update":  func(ctx context.Context) error { return s.UpdateRun(ctx, metadata.Run{FlowID: "F", RunID: run}) },
		"beat":    func(ctx context.Context) error { _, err := s.Beat(ctx, "F", run, nil); return err },
		"tags":    func(ctx context.Context) error { _, err := d.MutateTags(ctx, k, []string{"t"}, nil); return err },
		"own tag": func(ctx context.Context) error { _, err := s.MutateTags(ctx, "F", run, []string{"u"}, nil); return err },
		"record": func(ctx context.Context) error {
			return s.Record(ctx, metadata.Batch{Steps: []metadata.Step{{FlowID: "F", RunID: run, StepName: "s"}}})
		},
		"token":   func(ctx context.Context) error { _, err := s.Tokens(ctx); return err },
		"schema":  func(ctx context.Context) error { _, err := s.Schema(ctx); return err },
		"migrate": func(ctx context.Context) error { return s.Migrate(ctx, nil) },
	}
}

func TestOutage(t *testing.T) {
	server := testserver.StartPostgres(t)
	address := server.URL()
	migrate(t, address)
	s := openAt(t, address, postgres.Options{MaxConns: 4, QueryTimeout: 3 * time.Second})
	run, err := s.CreateRun(t.Context(), metadata.Run{FlowID: "F"})
	must(t, err)
	for range 2 {
		for name, call := range calls(s, run.RunID) {
			if err := call(t.Context()); err != nil {
				t.Fatalf("%s before: %v", name, err)
			}
		}
		server.Stop()
		for name, call := range calls(s, run.RunID) {
			start := time.Now()
			err := call(t.Context())
			if !errors.Is(err, metadata.ErrUnavailable) {
				t.Errorf("%s while the server is away: %v", name, err)
			}
			if took := time.Since(start); took > 4*time.Second {
				t.Errorf("%s took %s to fail", name, took)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		if _, err := s.Run(ctx, "F", run.RunID); err == nil {
			t.Error("a read without a server succeeded")
		}
		cancel()
		server.Start()
	}
	for name, call := range calls(s, run.RunID) {
		if err := call(t.Context()); err != nil {
			t.Errorf("%s after: %v", name, err)
		}
	}
}

// TestRestartUnseen: whoever was idle while the server was restarted notices nothing.
func TestRestartUnseen(t *testing.T) {
	server := testserver.StartPostgres(t)
	address := server.URL()
	migrate(t, address)
	s := openAt(t, address, postgres.Options{MaxConns: 4})
	run, err := s.CreateRun(t.Context(), metadata.Run{FlowID: "F"})
	must(t, err)
	all := calls(s, run.RunID)
	for _, name := range []string{"read", "record", "tags"} {
		server.Stop()
		server.Start()
		if err := all[name](t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestConnectionsAreEnded has an administrator end the connections while calls go on.
func TestConnectionsAreEnded(t *testing.T) {
	address := testserver.Database(t)
	migrate(t, address)
	s := openAt(t, address, postgres.Options{MaxConns: 4})
	run, err := s.CreateRun(t.Context(), metadata.Run{FlowID: "F"})
	must(t, err)
	admin, err := pgx.Connect(t.Context(), address)
	must(t, err)
	defer func() { must(t, admin.Close(context.Background())) }()
	for range 20 {
		_, err := admin.Exec(t.Context(), `SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
			WHERE application_name = 'mf' AND datname = current_database()`)
		must(t, err)
		if _, err := s.Run(t.Context(), "F", run.RunID); err != nil {
			t.Errorf("a read was not done again: %v", err)
		}
		if err := s.UpdateRun(t.Context(), run); err != nil {
			t.Errorf("a write after it: %v", err)
		}
	}
}

func TestAwayForOtherReasons(t *testing.T) {
	address := testserver.Database(t)
	migrate(t, address)
	s := openAt(t, address, postgres.Options{MaxConns: 1, QueryTimeout: 300 * time.Millisecond})
	run, err := s.CreateRun(t.Context(), metadata.Run{FlowID: "F"})
	must(t, err)
	admin, err := pgx.Connect(t.Context(), address)
	must(t, err)
	defer func() { must(t, admin.Close(context.Background())) }()

	tx, err := admin.Begin(t.Context())
	must(t, err)
	_, err = tx.Exec(t.Context(), "LOCK TABLE runs_v3 IN ACCESS EXCLUSIVE MODE")
	must(t, err)
	if _, err := s.Run(t.Context(), "F", run.RunID); !errors.Is(err, metadata.ErrUnavailable) || !strings.Contains(err.Error(), "300ms") {
		t.Errorf("a locked table: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	if _, err := s.Run(ctx, "F", run.RunID); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, metadata.ErrUnavailable) {
		t.Errorf("the caller's own time is up: %v", err)
	}
	cancel()
	must(t, tx.Rollback(t.Context()))
	_, err = s.Run(t.Context(), "F", run.RunID)
	must(t, err)

	_, err = admin.Exec(t.Context(), "SET default_transaction_read_only = off; ALTER DATABASE "+pgx.Identifier{database(t, address)}.Sanitize()+
		" SET default_transaction_read_only = on")
	must(t, err)
	replica := openAt(t, address, postgres.Options{})
	if err := replica.UpdateRun(t.Context(), run); !errors.Is(err, metadata.ErrUnavailable) {
		t.Errorf("a replica: %v", err)
	}
	_, err = replica.Run(t.Context(), "F", run.RunID)
	must(t, err)

	must(t, replica.Close())
	if _, err := replica.Run(t.Context(), "F", run.RunID); !errors.Is(err, metadata.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func database(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	must(t, err)
	return strings.TrimPrefix(u.Path, "/")
}

// TestAddresses: no error shows a password, however malformed the address it stands in.
func TestAddresses(t *testing.T) {
	const secret = "hunter2"
	refused, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	closed := refused.Addr().String()
	must(t, refused.Close())
	host, port, err := net.SplitHostPort(closed)
	must(t, err)
	for _, address := range []string{
		"", "postgres://u:" + secret + "@", "postgres://u:" + secret + "@h:port/db", "postgres://u:" + secret + "%zz@h/db",
		"postgres://u:a b" + secret + "@h/db", "host=h password=" + secret + " port=x", "password='" + secret, "=" + secret,
		"postgres://u:" + secret + "@[::1/db", "postgres://u:" + secret + "@h/db?sslmode=bogus", "mysql://u:" + secret + "@h/db",
		"postgres://u:" + secret + "@" + closed + "/db", "host=" + host + " port=" + port + " user=u password=" + secret,
	} {
		opt := postgres.Options{Now: time.Now, QueryTimeout: 2 * time.Second, ConnectTimeout: time.Second}
		s, err := postgres.Open(t.Context(), address, opt)
		if err == nil {
			t.Errorf("%q was opened", address)
			must(t, s.Close())
			continue
		}
		if strings.Contains(err.Error(), secret) {
			t.Errorf("the error shows the password: %v", err)
		}
		if strings.Contains(address, closed) || strings.Contains(address, "port="+port) {
			if !errors.Is(err, metadata.ErrUnavailable) || !strings.Contains(err.Error(), port) {
				t.Errorf("nobody listens: %v", err)
			}
		}
	}
	at := testserver.Database(t)
	migrate(t, at)
	u, err := url.Parse(at)
	must(t, err)
	s := openAt(t, "host="+u.Hostname()+" port="+u.Port()+" user=mf dbname="+database(t, at)+" sslmode=disable", postgres.Options{})
	must(t, s.Ping(t.Context()))
}

// TestTurnedAway: no connection left is a matter of time, a user that is not let in is not.
func TestTurnedAway(t *testing.T) {
	address := testserver.Database(t)
	admin, err := pgx.Connect(t.Context(), address)
	must(t, err)
	defer func() { must(t, admin.Close(context.Background())) }()
	_, err = admin.Exec(t.Context(), "CREATE ROLE crowded LOGIN CONNECTION LIMIT 0")
	must(t, err)
	for user, want := range map[string]error{"crowded": metadata.ErrUnavailable, "nobody": metadata.ErrDenied} {
		u, err := url.Parse(address)
		must(t, err)
		u.User = url.User(user)
		_, err = postgres.Open(t.Context(), u.String(), postgres.Options{Now: time.Now, QueryTimeout: 5 * time.Second})
		if !errors.Is(err, want) {
			t.Errorf("user %s: %v", user, err)
		}
	}
}
