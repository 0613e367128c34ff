package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/token"
)

const tokenColumns = "SELECT id, name, role, flows, projects, created, expires, revoked, hash FROM mf_tokens"

// AddToken implements token.Store; metadata.ErrExists if the id is taken.
func (s *Store) AddToken(ctx context.Context, t token.Token) error {
	return s.write(ctx, "storing a token", func(w *writer) error {
		done, err := changed(w.exec(ctx, `INSERT INTO mf_tokens
			(id, name, role, flows, projects, created, expires, revoked, hash)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
			t.ID, t.Name, string(t.Role), tagsJSON(t.Flows), tagsJSON(t.Projects), secondsOf(t.Created), secondsOf(t.Expires),
			secondsOf(t.Revoked), t.Hash[:]))
		if err == nil && !done {
			err = fmt.Errorf("token %s: %w", t.ID, metadata.ErrExists)
		}
		return err
	})
}

// Tokens implements token.Store.
func (s *Store) Tokens(ctx context.Context) ([]token.Token, error) {
	var list []token.Token
	err := s.list(ctx, tokenColumns+" ORDER BY created, id", nil, func(r row) (bool, error) {
		t, err := scanToken(r)
		list = append(list, t)
		return true, err
	})
	if err != nil {
		return nil, s.describe("listing tokens", err)
	}
	return list, nil
}

// Token implements token.Store.
func (s *Store) Token(ctx context.Context, id string) (token.Token, error) {
	st, err := s.prepared(ctx, tokenColumns+" WHERE id = ?")
	if err != nil {
		return token.Token{}, s.describe("reading a token", err)
	}
	t, err := scanToken(st.QueryRowContext(ctx, id))
	if errors.Is(err, sql.ErrNoRows) {
		err = metadata.ErrNotFound
	}
	if err != nil {
		return token.Token{}, s.describe("reading a token", err)
	}
	return t, nil
}

// RevokeToken implements token.Store.
func (s *Store) RevokeToken(ctx context.Context, id string, now time.Time) error {
	return s.write(ctx, "revoking a token", func(w *writer) error {
		done, err := changed(w.exec(ctx, `UPDATE mf_tokens SET revoked = CASE WHEN revoked = 0 THEN ? ELSE revoked END
			WHERE id = ?`, now.Unix(), id))
		if err == nil && !done {
			err = fmt.Errorf("token %q: %w", id, metadata.ErrNotFound)
		}
		return err
	})
}

func scanToken(r row) (token.Token, error) {
	var t token.Token
	var flows, projects sql.NullString
	var created, expires, revoked int64
	var hash []byte
	err := r.Scan(&t.ID, &t.Name, &t.Role, &flows, &projects, &created, &expires, &revoked, &hash)
	if err != nil {
		return t, err
	}
	if copy(t.Hash[:], hash) != len(t.Hash) || len(hash) != len(t.Hash) {
		return t, fmt.Errorf("%w: the hash of token %s has %d bytes", metadata.ErrCorrupt, t.ID, len(hash))
	}
	t.Created, t.Expires, t.Revoked = timeOf(created), timeOf(expires), timeOf(revoked)
	if t.Flows, err = parseTags(flows); err != nil {
		return t, err
	}
	t.Projects, err = parseTags(projects)
	return t, err
}

// secondsOf stores a time; the zero time is 0.
func secondsOf(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

func timeOf(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}
