// Package token makes and checks the bearer tokens of the metadata service.
//
// A token's text is "mf_<id>_<secret>": the id, 12 hexadecimal digits, finds the row; of the secret, 256 random bits in
// URL-safe base64, only the SHA-256 is stored. The text is shown once, when it is made.
package token

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Role is what a token may do. Each includes the ones before.
type Role string

// The roles.
const (
	// Read may read.
	Read Role = "read"
	// Write may register runs and tasks, beat hearts and change tags.
	Write Role = "write"
	// Admin may make and revoke tokens, where the service offers that.
	Admin Role = "admin"
)

// ParseRole reads a role's name.
func ParseRole(text string) (Role, error) {
	switch r := Role(text); r {
	case Read, Write, Admin:
		return r, nil
	}
	return "", fmt.Errorf("unknown role %q: a token's role is read, write or admin", text)
}

// Includes reports whether the role may do what want may.
func (r Role) Includes(want Role) bool {
	order := []Role{Read, Write, Admin}
	return slices.Index(order, r) >= slices.Index(order, want)
}

// Token is a stored token.
type Token struct {
	// ID is public: it stands in lists and logs.
	ID string
	// Name says what the token is for, in the words of who made it.
	Name string
	Role Role
	// Flows and Projects limit the token to flows by name and to the runs of @project projects; where both are empty it is
	// for everything, where both are given either suffices.
	Flows, Projects []string
	// Created, Expires and Revoked are in UTC, whole seconds; a zero Expires is never, a zero Revoked not.
	Created, Expires, Revoked time.Time
	// Hash is the SHA-256 of the secret.
	Hash [sha256.Size]byte
}

// Limited reports whether the token is for some flows or projects only.
func (t Token) Limited() bool { return len(t.Flows)+len(t.Projects) > 0 }

// Valid reports whether the token is neither revoked nor expired.
func (t Token) Valid(now time.Time) bool {
	return t.Revoked.IsZero() && (t.Expires.IsZero() || now.Before(t.Expires))
}

// Matches compares a secret's hash in constant time.
func (t Token) Matches(hash [sha256.Size]byte) bool {
	return subtle.ConstantTimeCompare(t.Hash[:], hash[:]) == 1
}

// Store keeps tokens. Implementations are safe for concurrent use.
type Store interface {
	// AddToken stores a new token; its ID must be new.
	AddToken(ctx context.Context, t Token) error
	// Tokens lists all, revoked ones too, oldest first.
	Tokens(ctx context.Context) ([]Token, error)
	// Token returns one by id; metadata.ErrNotFound if absent.
	Token(ctx context.Context, id string) (Token, error)
	// RevokeToken revokes one for good, and leaves the time of an earlier revocation; metadata.ErrNotFound if absent.
	RevokeToken(ctx context.Context, id string, now time.Time) error
}

const prefix = "mf_"

// New makes a token's id, hash and text from a source of randomness (crypto/rand.Reader). The other fields are the
// caller's to fill in.
func New(random io.Reader) (t Token, text string, err error) {
	var raw [6 + 32]byte
	if _, err := io.ReadFull(random, raw[:]); err != nil {
		return Token{}, "", fmt.Errorf("making a token: %w", err)
	}
	t.ID = hex.EncodeToString(raw[:6])
	secret := base64.RawURLEncoding.EncodeToString(raw[6:])
	t.Hash = sha256.Sum256([]byte(secret))
	return t, prefix + t.ID + "_" + secret, nil
}

// Parse splits a token's text. ok is false for a text that is none; nothing says whether it is known.
func Parse(text string) (id string, hash [sha256.Size]byte, ok bool) {
	rest, found := strings.CutPrefix(text, prefix)
	id, secret, cut := strings.Cut(rest, "_")
	if !found || !cut || len(id) != 12 || len(secret) != 43 {
		return "", hash, false
	}
	return id, sha256.Sum256([]byte(secret)), true
}
