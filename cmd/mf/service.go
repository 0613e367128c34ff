package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"path/filepath"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/httpapi/server"
	"github.com/mf-run/mf/metadata/postgres"
	"github.com/mf-run/mf/metadata/sqlite"
	"github.com/mf-run/mf/metadata/tables"
	"github.com/mf-run/mf/metadata/token"
)

const serviceHelp = `Serve Metaflow's metadata API, for mf and for Metaflow's own clients.

The database is Postgres (postgres://USER:PASSWORD@HOST/NAME), where a database of Metaflow's own service can be taken
over as it is, or a SQLite file for one machine. Where --db is not given, the MF_METADATA_DB_ variables of Metaflow's
service say which. A new or older database is brought up to date by mf service migrate, never by itself.

A service that finds a token in its database when it starts (mf service token create) asks everybody for one. Without any
it listens on loopback only, unless --insecure says that everybody who reaches it may do everything.

It uses half of the processors, as Postgres needs some too; the variable GOMAXPROCS says how many instead.`

type serviceFlags struct {
	db, listen, tlsCert, tlsKey, prefix, logLevel, logFormat string
	insecure, triggers                                       bool
	maxBody, maxConns                                        int
	grace                                                    time.Duration
}

func (a *app) serviceCommand() *cobra.Command {
	var flags serviceFlags
	cmd := &cobra.Command{Use: "service", Short: "Serve metadata to a team", Long: serviceHelp, Args: atMost()}
	cmd.PersistentFlags().StringVar(&flags.db, "db", "", "database: a Postgres URL, or the path of a SQLite file (default: from the environment)")
	fs := cmd.Flags()
	fs.StringVar(&flags.listen, "listen", "127.0.0.1:8080", "address to listen on: HOST:PORT")
	fs.StringVar(&flags.tlsCert, "tls-cert", "", "file with the certificate, for TLS")
	fs.StringVar(&flags.tlsKey, "tls-key", "", "file with the certificate's key")
	fs.StringVar(&flags.prefix, "path-prefix", "", "path below which everything is served")
	fs.StringVar(&flags.logLevel, "log-level", "info", "debug, info, warn or error")
	fs.StringVar(&flags.logFormat, "log-format", "text", "text or json")
	fs.BoolVar(&flags.insecure, "insecure", false, "listen beyond loopback without tokens")
	fs.BoolVar(&flags.triggers, "notify-triggers", false, "install the triggers that Metaflow's UI listens to (Postgres)")
	fs.IntVar(&flags.maxBody, "max-body", 64, "largest request, in MiB")
	fs.IntVar(&flags.maxConns, "max-connections", 10, "connections to the database")
	fs.DurationVar(&flags.grace, "grace", 30*time.Second, "how long requests may take to end after SIGTERM")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return a.serve(cmd.Context(), flags) }
	cmd.AddCommand(a.migrateCommand(&flags), a.tokenCommand(&flags))
	return cmd
}

// serviceDB is a database that a service runs on. tables is its view of rows.
type serviceDB struct {
	database
	tables tables.DB
}

type database interface {
	tables.Migrator
	token.Store
	metadata.Recorder
	metadata.Reader
	metadata.TaskMinter
	metadata.Heart
	io.Closer
}

// openServiceDB opens the database that --db or the environment names. With unchecked, its schema may be of any version.
func (a *app) openServiceDB(ctx context.Context, flags serviceFlags, unchecked bool) (*serviceDB, error) {
	text := cmp.Or(flags.db, a.databaseFromEnv())
	switch {
	case text == "":
		return nil, usagef("which database? --db postgres://USER:PASSWORD@HOST/NAME, or --db FILE for SQLite")
	case isPostgres(text):
		open := postgres.Open
		if unchecked {
			open = postgres.OpenForMigration
		}
		db, err := open(ctx, text, postgres.Options{Now: a.now, MaxConns: flags.maxConns, Triggers: flags.triggers})
		if err != nil {
			return nil, err
		}
		return &serviceDB{db, db.Tables()}, nil
	case flags.triggers:
		return nil, usagef("--notify-triggers needs a Postgres database")
	}
	path, err := filepath.Abs(strings.TrimPrefix(text, "sqlite:"))
	if err != nil {
		return nil, err
	}
	db, err := sqlite.Open(ctx, path, sqlite.Options{Now: a.now, KeepSchema: true})
	if err != nil {
		return nil, err
	}
	schema, err := db.Schema(ctx)
	if err == nil && !unchecked && schema.State != tables.SchemaCurrent {
		err = &tables.SchemaError{Schema: schema}
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &serviceDB{db, db.Tables()}, nil
}

// isPostgres reports whether the text is a URL of Postgres, or settings in the form of libpq: host=… dbname=….
func isPostgres(text string) bool {
	scheme, _, isURL := strings.Cut(text, "://")
	if isURL {
		return scheme == "postgres" || scheme == "postgresql"
	}
	return strings.Contains(text, "=") && strings.Contains(text, "host")
}

// databaseFromEnv reads the variables of Metaflow's service; empty if none is set.
func (a *app) databaseFromEnv() string {
	if dsn := a.env("MF_METADATA_DB_DSN"); dsn != "" {
		return dsn
	}
	host := a.env("MF_METADATA_DB_HOST")
	if host == "" {
		return ""
	}
	u := url.URL{
		Scheme: "postgres", Host: net.JoinHostPort(host, cmp.Or(a.env("MF_METADATA_DB_PORT"), "5432")),
		User: url.UserPassword(cmp.Or(a.env("MF_METADATA_DB_USER"), "postgres"), cmp.Or(a.env("MF_METADATA_DB_PSWD"), "postgres")),
		Path: "/" + cmp.Or(a.env("MF_METADATA_DB_NAME"), "postgres"),
	}
	query := url.Values{}
	switch mode := a.env("MF_METADATA_DB_SSL_MODE"); mode {
	case "allow", "prefer", "require", "verify-ca", "verify-full":
		query.Set("sslmode", mode)
	default:
		query.Set("sslmode", "disable")
	}
	for name, key := range map[string]string{"MF_METADATA_DB_SSL_CERT_PATH": "sslcert", "MF_METADATA_DB_SSL_KEY_PATH": "sslkey",
		"MF_METADATA_DB_SSL_ROOT_CERT_PATH": "sslrootcert"} {
		if path := a.env(name); path != "" {
			query.Set(key, path)
		}
	}
	u.RawQuery = query.Encode()
	return u.String()
}

func (a *app) serve(ctx context.Context, flags serviceFlags) error {
	logger, err := a.logger(flags)
	if err != nil {
		return err
	}
	tlsConfig, err := loadTLS(flags)
	if err != nil {
		return err
	}
	db, err := a.openServiceDB(ctx, flags, false)
	if err != nil {
		return err
	}
	defer db.Close()
	tokens, err := db.Tokens(ctx)
	if err != nil {
		return fmt.Errorf("reading the tokens: %w", err)
	}
	if err := server.CheckListen(flags.listen, len(tokens) > 0, flags.insecure); err != nil {
		return &exitError{exitUsage, err}
	}
	config := server.Config{DB: db.tables, Store: db, Now: a.now, Logger: logger, Version: version, PathPrefix: flags.prefix,
		MaxBody: int64(flags.maxBody) << 20, Grace: flags.grace}
	if len(tokens) > 0 && !flags.insecure {
		config.Tokens = db
	}
	listener, err := net.Listen("tcp", flags.listen)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	scheme := "http"
	if tlsConfig != nil {
		scheme = "https"
	}
	fmt.Fprintf(a.stderr, "mf: serving %s://%s%s\n", scheme, listener.Addr(), flags.prefix)
	// Handing requests from one processor to another costs more than most of them do, and Postgres needs some as well.
	if a.env("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(1, runtime.GOMAXPROCS(0)/2))
	}
	// The garbage collector starts when the heap has doubled: beside this, which is never touched and takes no memory, that
	// of a service is so small that it would start for every hundred requests.
	ballast := make([]byte, 8<<20)
	defer runtime.KeepAlive(ballast)
	leaveStart()
	return server.New(config).Serve(ctx, listener, tlsConfig)
}

func (a *app) logger(flags serviceFlags) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(flags.logLevel)); err != nil {
		return nil, usagef("--log-level is debug, info, warn or error, not %q", flags.logLevel)
	}
	opt := &slog.HandlerOptions{Level: level}
	switch flags.logFormat {
	case "json":
		return slog.New(slog.NewJSONHandler(a.stderr, opt)), nil
	case "text":
		return slog.New(slog.NewTextHandler(a.stderr, opt)), nil
	}
	return nil, usagef("--log-format is text or json, not %q", flags.logFormat)
}

func loadTLS(flags serviceFlags) (*tls.Config, error) {
	if flags.tlsCert == "" && flags.tlsKey == "" {
		return nil, nil
	}
	if flags.tlsCert == "" || flags.tlsKey == "" {
		return nil, usagef("--tls-cert and --tls-key go together")
	}
	cert, err := tls.LoadX509KeyPair(flags.tlsCert, flags.tlsKey)
	if err != nil {
		return nil, usagef("reading the certificate: %v", err)
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}, nil
}

func (a *app) migrateCommand(flags *serviceFlags) *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use: "migrate", Short: "Bring the service's database up to date", Args: atMost(),
		Long: "Bring the database of the metadata service up to date, after saying what that changes. A database of Metaflow's\n" +
			"own service is taken over as it is, and Metaflow's service can go on with it afterwards.",
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be changed")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return a.migrate(cmd.Context(), *flags, dryRun) }
	return cmd
}

func (a *app) migrate(ctx context.Context, flags serviceFlags, dryRun bool) error {
	db, err := a.openServiceDB(ctx, flags, true)
	if err != nil {
		return err
	}
	defer db.Close()
	schema, err := db.Schema(ctx)
	if err != nil {
		return fmt.Errorf("reading the schema: %w", err)
	}
	switch schema.State {
	case tables.SchemaCurrent:
		fmt.Fprintf(a.stdout, "the database is up to date (version %s)\n", schema.Version)
		return nil
	case tables.SchemaNewer:
		return &exitError{exitFailed, fmt.Errorf("the database has version %s, this mf knows up to %s: use a newer mf", schema.Version, schema.Known)}
	}
	fmt.Fprintf(a.stdout, "the database has version %s; to bring it to %s:\n", cmp.Or(schema.Version, "none"), schema.Known)
	for _, m := range schema.Pending {
		fmt.Fprintf(a.stdout, "  %-16s %s\n", m.Version, m.Does)
	}
	if dryRun {
		return nil
	}
	started := a.now()
	err = db.Migrate(ctx, func(m tables.Migration) {
		fmt.Fprintf(a.stdout, "applied %s after %s\n", m.Version, a.now().Sub(started).Round(time.Millisecond))
	})
	if err != nil {
		return fmt.Errorf("migrating (what was applied stays; run mf service migrate again): %w", err)
	}
	return nil
}

func (a *app) tokenCommand(flags *serviceFlags) *cobra.Command {
	cmd := &cobra.Command{Use: "token", Short: "Make, list and revoke tokens of the service"}
	return group(cmd, a.tokenCreateCommand(flags), a.tokenListCommand(flags), &cobra.Command{
		Use: "revoke ID", Short: "Revoke a token; services notice within seconds", Args: exactly("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withServiceDB(cmd.Context(), *flags, func(db *serviceDB) error {
				err := db.RevokeToken(cmd.Context(), args[0], a.now())
				if errors.Is(err, metadata.ErrNotFound) {
					return &exitError{exitFailed, fmt.Errorf("there is no token %s; mf service token list shows them", args[0])}
				}
				return err
			})
		},
	})
}

func (a *app) withServiceDB(ctx context.Context, flags serviceFlags, f func(db *serviceDB) error) error {
	db, err := a.openServiceDB(ctx, flags, false)
	if err != nil {
		return err
	}
	defer db.Close()
	return f(db)
}

func (a *app) tokenCreateCommand(flags *serviceFlags) *cobra.Command {
	var role string
	var flows, projects []string
	var days int
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Make a token and print it, this once", Args: exactly("NAME"),
		Long: "Make a token and print it; it cannot be shown again. Clients send it as a bearer token (MF_SERVICE_TOKEN) or, as\n" +
			"Metaflow's do, as x-api-key (METAFLOW_SERVICE_AUTH_KEY). NAME says what it is for.",
	}
	cmd.Flags().StringVar(&role, "role", "write", "read, write or admin")
	cmd.Flags().StringArrayVar(&flows, "flow", nil, "only for this flow; may be repeated")
	cmd.Flags().StringArrayVar(&projects, "project", nil, "only for runs of this project; may be repeated")
	cmd.Flags().IntVar(&days, "days", 0, "expire after so many days (default: never)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		parsed, err := token.ParseRole(role)
		if err != nil {
			return usagef("%v", err)
		}
		t, text, err := token.New(rand.Reader)
		if err != nil {
			return err
		}
		t.Name, t.Role, t.Flows, t.Projects = args[0], parsed, flows, projects
		t.Created = a.now().UTC().Truncate(time.Second)
		if days > 0 {
			t.Expires = t.Created.AddDate(0, 0, days)
		}
		return a.withServiceDB(cmd.Context(), *flags, func(db *serviceDB) error {
			if err := db.AddToken(cmd.Context(), t); err != nil {
				return fmt.Errorf("storing the token: %w", err)
			}
			if !a.flags.quiet {
				fmt.Fprintf(a.stderr, "token %s (%s); it cannot be shown again:\n", t.ID, t.Role)
			}
			_, err := fmt.Fprintln(a.stdout, text)
			return err
		})
	}
	return cmd
}

// tokenView is a token as mf service token list shows it.
type tokenView struct {
	ID       string     `json:"id"`
	Name     string     `json:"name"`
	Role     token.Role `json:"role"`
	Flows    []string   `json:"flows,omitempty"`
	Projects []string   `json:"projects,omitempty"`
	Created  time.Time  `json:"created"`
	Expires  *time.Time `json:"expires,omitempty"`
	Revoked  *time.Time `json:"revoked,omitempty"`
}

func (a *app) tokenListCommand(flags *serviceFlags) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{Use: "list", Short: "List tokens", Args: atMost()}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.withServiceDB(cmd.Context(), *flags, func(db *serviceDB) error {
			all, err := db.Tokens(cmd.Context())
			if err != nil {
				return fmt.Errorf("reading the tokens: %w", err)
			}
			return a.printTokens(all, asJSON)
		})
	}
	return cmd
}

func (a *app) printTokens(all []token.Token, asJSON bool) error {
	moment := func(t time.Time) *time.Time {
		if t.IsZero() {
			return nil
		}
		return &t
	}
	if asJSON {
		views := []tokenView{}
		for _, t := range all {
			views = append(views, tokenView{t.ID, t.Name, t.Role, t.Flows, t.Projects, t.Created, moment(t.Expires), moment(t.Revoked)})
		}
		return a.writeJSON(views)
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tROLE\tFOR\tCREATED\tSTATE\tNAME")
	for _, t := range all {
		state := "valid"
		switch now := a.now(); {
		case !t.Revoked.IsZero():
			state = "revoked " + t.Revoked.Format(time.DateOnly)
		case !t.Valid(now):
			state = "expired " + t.Expires.Format(time.DateOnly)
		case !t.Expires.IsZero():
			state = "until " + t.Expires.Format(time.DateOnly)
		}
		scope := strings.Join(append(labelled("flow ", t.Flows), labelled("project ", t.Projects)...), ", ")
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", t.ID, t.Role, cmp.Or(scope, "everything"), t.Created.Format(time.DateOnly), state, t.Name)
	}
	return w.Flush()
}

func labelled(prefix string, list []string) []string {
	out := make([]string, len(list))
	for i, text := range list {
		out[i] = prefix + text
	}
	return out
}

var (
	_ database = (*postgres.Store)(nil)
	_ database = (*sqlite.Store)(nil)
)
