package sqlite

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/mf-run/mf/metadata/tables"
	driver "modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"
)

// SQLite takes texts of any length and any bytes. What Metaflow's Postgres schema refuses, Tables refuses as well, with
// Postgres' codes, so that a flow that works here works there.

// The codes of Postgres that are not only the servers'.
const (
	tooLong         = "22001"
	outOfRange      = "22003"
	badCharacter    = "22021"
	badEscape       = "22025"
	badText         = "22P02"
	badJSONEscape   = "22P05"
	badRegexp       = "2201B"
	syntaxError     = "42601"
	noSuchOperator  = "42883"
	notSupported    = "0A000"
	longestName     = 255
	greatestAttempt = math.MaxInt16
)

func refuse(code, format string, args ...any) *tables.Error {
	return &tables.Error{Code: code, Severity: "ERROR", Message: fmt.Sprintf(format, args...)}
}

// checkText says what Postgres has against a text.
func checkText(text string) error {
	if strings.IndexByte(text, 0) >= 0 {
		return refuse(badCharacter, `invalid byte sequence for encoding "UTF8": 0x00`)
	}
	if !utf8.ValidString(text) {
		return refuse(badCharacter, `invalid byte sequence for encoding "UTF8"`)
	}
	return nil
}

// checkNames says what Postgres has against texts of columns of type varchar(255).
func checkNames(names ...string) error {
	for _, name := range names {
		if err := checkText(name); err != nil {
			return err
		}
		if len(name) > longestName && utf8.RuneCountInString(name) > longestName {
			return refuse(tooLong, "value too long for type character varying(%d)", longestName)
		}
	}
	return nil
}

// checkOptional is checkNames for columns that may be null.
func checkOptional(names ...*string) error {
	for _, name := range names {
		if name != nil {
			if err := checkNames(*name); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkJSON returns the value to store of a column of JSON, in the form that mf gives lists of tags; nil for null.
func checkJSON(text tables.JSON) (any, error) {
	if text == nil {
		return nil, nil //nolint:nilnil // null is a value of its own
	}
	if string(text) == "[]" {
		return "[]", nil
	}
	v, err := decodeJSON(text)
	if err != nil {
		return nil, err
	}
	stored, err := json.Marshal(v)
	if err != nil {
		return nil, refuse(badText, "invalid input syntax for type json")
	}
	return string(stored), nil
}

func decodeJSON(text []byte) (any, error) {
	if !utf8.Valid(text) {
		return nil, refuse(badCharacter, `invalid byte sequence for encoding "UTF8"`)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, refuse(badText, "invalid input syntax for type json")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, refuse(badText, "invalid input syntax for type json")
	}
	if holdsNUL(v) {
		return nil, refuse(badJSONEscape, "unsupported Unicode escape sequence")
	}
	return v, nil
}

func holdsNUL(v any) bool {
	switch v := v.(type) {
	case string:
		return strings.IndexByte(v, 0) >= 0
	case []any:
		for _, e := range v {
			if holdsNUL(e) {
				return true
			}
		}
	case map[string]any:
		for k, e := range v {
			if strings.IndexByte(k, 0) >= 0 || holdsNUL(e) {
				return true
			}
		}
	}
	return false
}

// checkAll stores each of several lists of tags.
func checkAll(lists ...tables.JSON) ([]any, error) {
	stored := make([]any, len(lists))
	for i, text := range lists {
		var err error
		if stored[i], err = checkJSON(text); err != nil {
			return nil, err
		}
	}
	return stored, nil
}

// constraint says which of Postgres' constraints a breach of SQLite's is.
type constraint struct{ table, unique, foreign string }

var (
	flowsConstraint = constraint{"flows_v3", "flows_v3_pkey", ""}
	runsConstraint  = constraint{"runs_v3", "runs_v3_flow_id_run_id_key", "runs_v3_flow_id_fkey"}
	stepsConstraint = constraint{"steps_v3", "steps_v3_pkey", "steps_v3_flow_id_fkey"}
	tasksConstraint = constraint{
		"tasks_v3", "tasks_v3_flow_id_run_number_step_name_task_name_key", "tasks_v3_flow_id_fkey",
	}
)

// refused translates a breach into Postgres' error.
func (c constraint) refused(err error) error {
	var e *driver.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code() {
	case lib.SQLITE_CONSTRAINT_UNIQUE, lib.SQLITE_CONSTRAINT_PRIMARYKEY, lib.SQLITE_CONSTRAINT_ROWID:
		return refuse(tables.UniqueViolation, "duplicate key value violates unique constraint %q", c.unique)
	case lib.SQLITE_CONSTRAINT_FOREIGNKEY:
		return refuse(tables.ForeignKeyViolation, "insert or update on table %q violates foreign key constraint %q",
			c.table, c.foreign)
	}
	return err
}
