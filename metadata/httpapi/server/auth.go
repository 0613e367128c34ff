package server

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/token"
)

// tokenAge is how long a token is believed without asking the database again.
const tokenAge = 5 * time.Second

// maxTokens bounds the tokens that are remembered.
const maxTokens = 10_000

// tokenCache remembers tokens that were valid a moment ago.
type tokenCache struct {
	mu   sync.RWMutex
	rows map[string]cachedToken
}

type cachedToken struct {
	token *token.Token
	read  time.Time
}

func (c *tokenCache) get(id string, now time.Time) *token.Token {
	c.mu.RLock()
	defer c.mu.RUnlock()
	row, ok := c.rows[id]
	if age := now.Sub(row.read); !ok || age < 0 || age >= tokenAge {
		return nil
	}
	return row.token
}

func (c *tokenCache) put(t *token.Token, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rows == nil || len(c.rows) >= maxTokens {
		c.rows = map[string]cachedToken{}
	}
	c.rows[t.ID] = cachedToken{t, now}
}

// presented returns the token's text that a request comes with; "" for none. What is in the header Authorization for a
// proxy on the way is left to that.
func presented(h http.Header) string {
	if v := h["Authorization"]; len(v) > 0 {
		scheme, text, _ := strings.Cut(v[0], " ")
		if text = strings.TrimSpace(text); strings.EqualFold(scheme, "bearer") && strings.HasPrefix(text, "mf_") {
			return text
		}
	}
	if v := h["X-Api-Key"]; len(v) > 0 {
		return strings.TrimSpace(v[0])
	}
	return ""
}

// foreignPage reports whether a browser says that a page of another site sends the request. Without tokens that is all
// that keeps such a page from writing to a service on the user's own machine.
func foreignPage(r *http.Request) bool {
	if v := r.Header["Sec-Fetch-Site"]; len(v) > 0 {
		return v[0] != "same-origin" && v[0] != "none"
	}
	v := r.Header["Origin"]
	if len(v) == 0 {
		return false
	}
	origin, err := url.Parse(v[0])
	return err != nil || origin.Host != r.Host
}

// errNoToken: the request comes with no token, or with one that is unknown, expired or revoked. Which of them is not told.
var errNoToken = errors.New("no valid token")

// authenticate returns the request's token.
func (s *Server) authenticate(ctx context.Context, h http.Header) (*token.Token, error) {
	id, hash, ok := token.Parse(presented(h))
	if !ok {
		return nil, errNoToken
	}
	now := s.conf.Now()
	known := s.tokens.get(id, now)
	if known == nil {
		ctx, cancel := context.WithTimeout(ctx, s.conf.RequestTime)
		defer cancel()
		row, err := s.conf.Tokens.Token(ctx, id)
		if errors.Is(err, metadata.ErrNotFound) {
			row.Hash = sha256.Sum256(nil)
		} else if err != nil {
			return nil, err
		}
		if !row.Matches(hash) || err != nil || !row.Valid(now) {
			return nil, errNoToken
		}
		known = &row
		s.tokens.put(known, now)
		return known, nil
	}
	if !known.Matches(hash) || !known.Valid(now) {
		return nil, errNoToken
	}
	return known, nil
}

// admit sees to the token of a request. When it returns false x holds the answer.
func (x *exchange) admit() bool {
	if x.server.conf.Tokens == nil {
		if x.route.need == token.Write && foreignPage(x.r) {
			x.forbid("pages of other sites may not write here")
			return false
		}
		return true
	}
	if x.route.need == "" {
		return true
	}
	t, err := x.server.authenticate(x.ctx, x.r.Header)
	switch {
	case errors.Is(err, errNoToken):
		x.denied = true
		x.refuse(http.StatusUnauthorized, "unauthorized",
			"a valid token is needed, as \"Authorization: Bearer mf_…\" or \"x-api-key: mf_…\"; \"mf service token create\" makes one")
		return false
	case err != nil:
		x.fail(err)
		return false
	}
	x.token = t
	if !t.Role.Includes(x.route.need) {
		x.forbid("the token's role is " + string(t.Role) + ", this needs " + string(x.route.need))
		return false
	}
	return true
}

func (x *exchange) forbid(text string) {
	x.refuse(http.StatusForbidden, "forbidden", text)
}
