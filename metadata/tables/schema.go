package tables

import (
	"context"
	"fmt"

	"github.com/mf-run/mf/metadata"
)

// SchemaState says how a database's schema stands to what this version of mf knows.
type SchemaState string

// The states.
const (
	// SchemaEmpty: the database has none of the tables.
	SchemaEmpty SchemaState = "empty"
	// SchemaCurrent: it is what this version writes.
	SchemaCurrent SchemaState = "current"
	// SchemaOlder: a migration brings it up to date.
	SchemaOlder SchemaState = "older"
	// SchemaNewer: a newer mf, or a newer Metaflow service, has migrated it.
	SchemaNewer SchemaState = "newer"
)

// Schema is the state of a database's schema.
type Schema struct {
	State SchemaState
	// Version is that of the database, Known that of this mf, in the numbers of the migrations; "" for none.
	Version, Known string
	// Pending are the migrations that are missing, in order.
	Pending []Migration
}

// Migration is one step of a schema.
type Migration struct {
	Version string
	// Does says in one line what it changes, and whether it locks a table against writers for long.
	Does string
}

// Migrator is a database whose schema can be brought up to date.
type Migrator interface {
	// Schema reads the state; it changes nothing.
	Schema(ctx context.Context) (Schema, error)
	// Migrate applies what is pending and calls done after each. Two that run at once wait for each other; the second finds
	// nothing to do. It is not undone by a crash: the next one goes on. metadata.ErrNewer for a newer schema.
	Migrate(ctx context.Context, done func(Migration)) error
}

// SchemaError says that a database's schema is not the one that this version of mf works with.
type SchemaError struct{ Schema Schema }

// Error implements error.
func (e *SchemaError) Error() string {
	switch e.Schema.State {
	case SchemaEmpty:
		return "the metadata database has no tables yet: `mf service migrate` makes them"
	case SchemaNewer:
		return fmt.Sprintf("the metadata database has schema %s, made by a newer version; this mf knows %s: use a newer mf",
			e.Schema.Version, e.Schema.Known)
	}
	return fmt.Sprintf("the metadata database has schema %s, this mf needs %s: `mf service migrate` brings it up to date",
		e.Schema.Version, e.Schema.Known)
}

// Is makes a newer schema a metadata.ErrNewer.
func (e *SchemaError) Is(target error) bool {
	return target == metadata.ErrNewer && e.Schema.State == SchemaNewer
}
