package tablestest

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/token"
)

// tokenSuite is one open, empty store of tokens.
type tokenSuite struct {
	token.Store
	*suite
}

// TestTokens runs the tests that every store of tokens has to pass. open returns an empty one; it is called once a case.
func TestTokens(t *testing.T, open func(t *testing.T) token.Store) {
	for name, f := range map[string]func(s tokenSuite){
		"Keeps": keepsTokens, "Revokes": revokesTokens, "Concurrently": tokensConcurrently, "AnyText": tokensOfAnyText,
	} {
		t.Run(name, func(t *testing.T) {
			f(tokenSuite{Store: open(t), suite: &suite{t: t, ctx: t.Context()}})
		})
	}
}

func sampleToken(i int) token.Token {
	t := token.Token{
		ID: fmt.Sprintf("%012x", 1000-i), Name: fmt.Sprint("token ", i), Role: token.Write,
		Created: time.Date(2026, 3, 29, 1, 0, i, 0, time.UTC), Hash: sha256.Sum256([]byte{byte(i)}),
	}
	return t
}

func (s tokenSuite) equal(got, want any) {
	s.t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		s.fail("-want +got:\n%s", diff)
	}
}

func (s tokenSuite) all() []token.Token {
	s.t.Helper()
	got, err := s.Tokens(s.ctx)
	s.ok(err)
	return got
}

func keepsTokens(s tokenSuite) {
	s.equal(s.all(), []token.Token{})
	_, err := s.Token(s.ctx, "000000000000")
	s.is(err, metadata.ErrNotFound)
	full := sampleToken(0)
	full.Role, full.Flows, full.Projects = token.Read, []string{"B", "A"}, []string{"p"}
	full.Expires = full.Created.Add(time.Hour)
	plain, admin := sampleToken(1), sampleToken(2)
	admin.Role = token.Admin
	want := []token.Token{full, plain, admin}
	for _, i := range []int{1, 2, 0} {
		s.ok(s.AddToken(s.ctx, want[i]))
	}
	s.equal(s.all(), want) // oldest first
	for _, t := range want {
		got, err := s.Token(s.ctx, t.ID)
		s.ok(err)
		s.equal(got, t)
		s.equal(bytes.Equal(got.Hash[:], t.Hash[:]), true)
	}
	again := plain
	again.Name = "other"
	if err := s.AddToken(s.ctx, again); err == nil {
		s.fail("an id was taken twice")
	}
	s.equal(s.all(), want)
}

func revokesTokens(s tokenSuite) {
	first, second := sampleToken(0), sampleToken(1)
	s.ok(s.AddToken(s.ctx, first))
	s.ok(s.AddToken(s.ctx, second))
	at := time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC)
	s.ok(s.RevokeToken(s.ctx, first.ID, at))
	s.ok(s.RevokeToken(s.ctx, first.ID, at.Add(time.Hour))) // the time of the first stays
	first.Revoked = at
	s.equal(s.all(), []token.Token{first, second})
	got, err := s.Token(s.ctx, first.ID)
	s.ok(err)
	s.equal(got, first)
	s.is(s.RevokeToken(s.ctx, "ffffffffffff", at), metadata.ErrNotFound)
	if err := s.AddToken(s.ctx, sampleToken(0)); err == nil {
		s.fail("a revoked token came back")
	}
}

func tokensOfAnyText(s tokenSuite) {
	var want []token.Token
	for i, x := range oddTexts {
		t := sampleToken(i)
		t.Name, t.Flows, t.Projects = x, []string{x, "F"}, []string{x}
		s.ok(s.AddToken(s.ctx, t))
		want = append(want, t)
		_, err := s.Token(s.ctx, x)
		s.is(err, metadata.ErrNotFound)
		s.is(s.RevokeToken(s.ctx, x, t.Created), metadata.ErrNotFound)
	}
	s.equal(s.all(), want)
}

func tokensConcurrently(s tokenSuite) {
	const n = 20
	s.parallel(n, func(i int) error { return s.AddToken(s.ctx, sampleToken(i)) })
	at := time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC)
	s.parallel(n, func(i int) error { return s.RevokeToken(s.ctx, sampleToken(i).ID, at) })
	got := s.all()
	s.equal(len(got), n)
	for _, t := range got {
		s.equal(t.Revoked, at)
	}
}
