package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/tables"
	"github.com/mf-run/mf/metadata/token"
)

const tokenColumns = "id, name, role, flows, projects, created, expires, revoked, hash"

func zeroTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func scanToken(r pgx.Row, t *token.Token) error {
	var expires, revoked *time.Time
	var hash []byte
	err := r.Scan(&t.ID, &t.Name, (*string)(&t.Role), &t.Flows, &t.Projects, &t.Created, &expires, &revoked, &hash)
	if err != nil {
		return err
	}
	if copy(t.Hash[:], hash) != len(t.Hash) {
		return fmt.Errorf("%w: token %s has no whole hash", metadata.ErrCorrupt, t.ID)
	}
	t.Created = t.Created.UTC()
	if expires != nil {
		t.Expires = expires.UTC()
	}
	if revoked != nil {
		t.Revoked = revoked.UTC()
	}
	return nil
}

// AddToken implements token.Store. metadata.ErrExists if the id is not new.
func (s *Store) AddToken(ctx context.Context, t token.Token) error {
	flows, projects := t.Flows, t.Projects
	if flows == nil {
		flows = []string{}
	}
	if projects == nil {
		projects = []string{}
	}
	return s.write(ctx, "storing a token", func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, "INSERT INTO mf.tokens ("+tokenColumns+") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
			t.ID, t.Name, string(t.Role), flows, projects, t.Created, zeroTime(t.Expires), zeroTime(t.Revoked), t.Hash[:])
		if hasCode(err, tables.UniqueViolation) {
			return fmt.Errorf("token %s: %w", t.ID, metadata.ErrExists)
		}
		return err
	})
}

// Tokens implements token.Store.
func (s *Store) Tokens(ctx context.Context) ([]token.Token, error) {
	return query(ctx, s, "listing tokens", "SELECT "+tokenColumns+" FROM mf.tokens ORDER BY created, id", nil, scanToken)
}

// Token implements token.Store.
func (s *Store) Token(ctx context.Context, id string) (token.Token, error) {
	return single(ctx, s, "reading a token", []string{"token " + id}, "SELECT "+tokenColumns+" FROM mf.tokens WHERE id = $1", []any{id},
		scanToken)
}

// RevokeToken implements token.Store.
func (s *Store) RevokeToken(ctx context.Context, id string, now time.Time) error {
	return s.write(ctx, "revoking a token", func(ctx context.Context, c *pgx.Conn) error {
		tag, err := c.Exec(ctx, "UPDATE mf.tokens SET revoked = coalesce(revoked, $2) WHERE id = $1", id, now)
		if err == nil && tag.RowsAffected() == 0 {
			return fmt.Errorf("token %s: %w", id, metadata.ErrNotFound)
		}
		return err
	})
}
