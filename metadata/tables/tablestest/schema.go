package tablestest

import (
	"fmt"
	"sync"
	"testing"

	"github.com/mf-run/mf/metadata/tables"
)

// TestMigrator runs the tests of an empty database's way to the current schema. create makes one, and returns what opens
// it again and again, each time by a connection of its own.
func TestMigrator(t *testing.T, create func(t *testing.T) func() tables.Migrator) {
	t.Run("Once", func(t *testing.T) {
		s := &suite{t: t, ctx: t.Context()}
		open := create(t)
		m := open()
		before := s.schema(m)
		s.same(s.schema(m), before) // reading changes nothing
		s.same([]any{before.State, before.Version}, []any{tables.SchemaEmpty, ""})
		if before.Known == "" || len(before.Pending) == 0 {
			s.fail("the state is %+v", before)
		}
		for _, p := range before.Pending {
			if p.Version == "" || p.Does == "" {
				s.fail("a migration does not say what it is: %+v", p)
			}
		}
		s.same(before.Pending[len(before.Pending)-1].Version, before.Known)
		var done []tables.Migration
		s.ok(m.Migrate(s.ctx, func(p tables.Migration) { done = append(done, p) }))
		s.same(done, before.Pending)
		want := tables.Schema{State: tables.SchemaCurrent, Version: before.Known, Known: before.Known}
		for _, m := range []tables.Migrator{m, open()} {
			s.same(s.schema(m), want)
			s.ok(m.Migrate(s.ctx, func(p tables.Migration) { s.fail("%+v was done twice", p) }))
			s.same(s.schema(m), want)
		}
	})
	t.Run("Concurrently", func(t *testing.T) {
		s := &suite{t: t, ctx: t.Context()}
		open := create(t)
		const n = 4
		list := make([]tables.Migrator, n)
		for i := range list {
			list[i] = open()
		}
		pending := s.schema(list[0]).Pending
		var mu sync.Mutex
		var done []string
		s.parallel(n, func(i int) error {
			err := list[i].Migrate(s.ctx, func(p tables.Migration) {
				mu.Lock()
				defer mu.Unlock()
				done = append(done, p.Version)
			})
			if err != nil {
				return fmt.Errorf("migrator %d: %w", i, err)
			}
			return nil
		})
		s.same(done, texts(pending, func(p tables.Migration) string { return p.Version }))
		for _, m := range list {
			s.same(s.schema(m).State, tables.SchemaCurrent)
		}
	})
}

func (s *suite) schema(m tables.Migrator) tables.Schema {
	s.t.Helper()
	got, err := m.Schema(s.ctx)
	s.ok(err)
	return got
}
