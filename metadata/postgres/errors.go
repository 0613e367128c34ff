package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/tables"
)

// Postgres' codes that are told apart here.
const (
	readOnly             = "25006"
	notNull              = "23502"
	serializationFailure = "40001"
	deadlock             = "40P01"
)

// acquireError: no connection could be had.
type acquireError struct{ err error }

func (e *acquireError) Error() string { return "no connection: " + e.err.Error() }
func (e *acquireError) Unwrap() error { return e.err }

// SafeToRetry implements what pgconn.SafeToRetry asks for. False: the pool has tried already.
func (e *acquireError) SafeToRetry() bool { return false }

// halfDone is an error after which some of a call's work is done: it must not be done again.
type halfDone struct{ err error }

func (e *halfDone) Error() string { return e.err.Error() }
func (e *halfDone) Unwrap() error { return e.err }

// SafeToRetry implements what pgconn.SafeToRetry asks for.
func (e *halfDone) SafeToRetry() bool { return false }

func pgError(err error) (*pgconn.PgError, bool) {
	var e *pgconn.PgError
	ok := errors.As(err, &e)
	return e, ok
}

func hasCode(err error, code string) bool {
	e, ok := pgError(err)
	return ok && e.Code == code
}

// away reports whether a code says that the database, not the statement, is the trouble: it starts, shuts down, has no
// connection left, is a replica, or gave up waiting.
func away(code string) bool {
	switch code {
	case "57P01", "57P02", "57P03", "57P04", "57P05", "57014", "53300", "53400", "55P03", readOnly, serializationFailure, deadlock:
		return true
	}
	return strings.HasPrefix(code, "08")
}

// gone reports whether a connection broke, or was dead already, so that another one may do better.
func gone(err error) bool {
	var acquire *acquireError
	if errors.As(err, &acquire) {
		return false
	}
	if e, ok := pgError(err); ok {
		return strings.HasPrefix(e.Code, "57P") || strings.HasPrefix(e.Code, "08")
	}
	return pgconn.SafeToRetry(err) || broken(err)
}

// untouched reports whether an error came up before anything was sent that changes the database.
func untouched(err error) bool {
	var preparing pgx.ErrPreprocessingBatch
	return pgconn.SafeToRetry(err) || errors.As(err, &preparing) && gone(err)
}

// broken reports whether an error is of the network.
func broken(err error) bool {
	var network net.Error
	var connect *pgconn.ConnectError
	var number syscall.Errno
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, pgconn.ErrConnClosed) || errors.As(err, &connect) || errors.As(err, &network) || errors.As(err, &number)
}

// describe says what was being done, and translates what went wrong into the errors that callers tell apart. ctx is the
// caller's own.
func (s *Store) describe(ctx context.Context, doing string, err error) error {
	limit := s.timeout
	var acquire *acquireError
	waited := errors.As(err, &acquire)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", doing, ctx.Err())
	case waited && s.closed.Load():
		return fmt.Errorf("%s: %w", doing, metadata.ErrClosed)
	case errors.Is(err, context.DeadlineExceeded) && waited:
		return fmt.Errorf("%s: %w: no connection to the database within %s", doing, metadata.ErrUnavailable, limit)
	case errors.Is(err, context.DeadlineExceeded) || hasCode(err, "57014"):
		return fmt.Errorf("%s: %w: no answer of the database within %s", doing, metadata.ErrUnavailable, limit)
	}
	if e, ok := pgError(err); ok {
		switch {
		case away(e.Code):
			return fmt.Errorf("%s: %w: %s (SQLSTATE %s)", doing, metadata.ErrUnavailable, e.Message, e.Code)
		case e.Code == "28P01" || e.Code == "28000":
			return fmt.Errorf("%s: %w: %s", doing, metadata.ErrDenied, e.Message)
		}
		return fmt.Errorf("%s: %w", doing, refusal(e))
	}
	if waited || broken(err) {
		return fmt.Errorf("%s: %w: %w", doing, metadata.ErrUnavailable, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

func refusal(e *pgconn.PgError) *tables.Error {
	severity := e.SeverityUnlocalized
	if severity == "" {
		severity = e.Severity
	}
	return &tables.Error{Code: e.Code, Severity: severity, Message: e.Message}
}

// ofRow reports whether an error is the refusal of a value, so that other rows may do better.
func ofRow(err error) bool {
	e, ok := pgError(err)
	return ok && (strings.HasPrefix(e.Code, "22") || strings.HasPrefix(e.Code, "23") || strings.HasPrefix(e.Code, "54"))
}

// absent turns the lack of a row into metadata.ErrNotFound.
func absent(err error, what ...string) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("%s: %w", strings.Join(what, "/"), metadata.ErrNotFound)
	}
	return err
}

// SchemaError refuses a database whose schema is not the one of this version.
type SchemaError = tables.SchemaError
