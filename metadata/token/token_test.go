package token_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/mf-run/mf/metadata/token"
)

// shape is what a token looks like, everywhere that tokens are told from other texts.
var shape = regexp.MustCompile(`^mf_[0-9a-f]{12}_[A-Za-z0-9_-]{43}$`)

func TestRoundTrip(t *testing.T) {
	seen := map[string]bool{}
	for range 200 {
		made, text, err := token.New(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if !shape.MatchString(text) || seen[text] || seen[made.ID] {
			t.Fatalf("token %q", text)
		}
		seen[text], seen[made.ID] = true, true
		id, hash, ok := token.Parse(text)
		if !ok || id != made.ID || !made.Matches(hash) {
			t.Fatalf("%q was read as %q %v", text, id, ok)
		}
		if strings.Contains(text, string(made.Hash[:])) || hash == sha256.Sum256([]byte(text)) {
			t.Fatal("the hash is not that of the secret")
		}
		// Any other secret, of the same id, does not fit.
		other := []byte(text)
		other[len(other)-2] ^= 1
		if _, hash, ok := token.Parse(string(other)); ok && made.Matches(hash) {
			t.Fatalf("%q fits as well", other)
		}
	}
}

// TestFixed: tokens that were made must be readable for good.
func TestFixed(t *testing.T) {
	made, text, err := token.New(bytes.NewReader(bytes.Repeat([]byte{0xfb}, 38)))
	if err != nil {
		t.Fatal(err)
	}
	const want = "mf_fbfbfbfbfbfb_-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_s"
	if text != want || made.ID != "fbfbfbfbfbfb" {
		t.Errorf("got %s, id %s", text, made.ID)
	}
	if id, hash, ok := token.Parse(want); !ok || id != made.ID || !made.Matches(hash) {
		t.Errorf("%q %v", id, ok)
	}
}

func TestNoRandomness(t *testing.T) {
	broken := errors.New("no entropy")
	if _, text, err := token.New(iotest.ErrReader(broken)); !errors.Is(err, broken) || text != "" {
		t.Errorf("%q %v", text, err)
	}
	if _, text, err := token.New(bytes.NewReader(make([]byte, 37))); err == nil || text != "" {
		t.Errorf("%q %v", text, err)
	}
}

func TestWhatIsNoToken(t *testing.T) {
	_, good, err := token.New(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		"", "mf_", "mf__", " " + good, good[1:], good[:len(good)-1], good + "x", strings.ToUpper(good[:3]) + good[3:],
		strings.Replace(good, "_", "-", 1), "Bearer " + good, good[:10] + good[11:],
	} {
		if id, _, ok := token.Parse(text); ok {
			t.Errorf("%q was read as %q", text, id)
		}
	}
}

func TestRoles(t *testing.T) {
	order := []token.Role{token.Read, token.Write, token.Admin}
	for i, have := range order {
		if got, err := token.ParseRole(string(have)); err != nil || got != have {
			t.Errorf("%q: %q %v", have, got, err)
		}
		for j, want := range order {
			if have.Includes(want) != (i >= j) {
				t.Errorf("%s includes %s: %v", have, want, have.Includes(want))
			}
		}
		if token.Role("").Includes(have) || token.Role("root").Includes(have) {
			t.Errorf("an unknown role includes %s", have)
		}
	}
	for _, text := range []string{"", "READ", "owner", "read "} {
		if _, err := token.ParseRole(text); err == nil || !strings.Contains(err.Error(), "read, write or admin") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestValidAndLimited(t *testing.T) {
	now := time.Date(2026, 3, 29, 2, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		t    token.Token
		want bool
	}{
		{token.Token{}, true},
		{token.Token{Expires: now.Add(time.Second)}, true},
		{token.Token{Expires: now}, false},
		{token.Token{Expires: now.Add(-time.Second)}, false},
		{token.Token{Revoked: now}, false},
		{token.Token{Revoked: now.Add(time.Hour), Expires: now.Add(time.Hour)}, false},
	} {
		if c.t.Valid(now) != c.want {
			t.Errorf("%+v: %v", c.t, !c.want)
		}
	}
	for _, c := range []struct {
		t    token.Token
		want bool
	}{
		{token.Token{}, false}, {token.Token{Flows: []string{"F"}}, true}, {token.Token{Projects: []string{"p"}}, true},
	} {
		if c.t.Limited() != c.want {
			t.Errorf("%+v: %v", c.t, !c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	_, good, err := token.New(bytes.NewReader(make([]byte, 38)))
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{good, "", "mf_", "mf_000000000000_", good + "\x00", "mf_ä", strings.Repeat("_", 60)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		id, hash, ok := token.Parse(text)
		if !ok {
			if id != "" || hash != [sha256.Size]byte{} {
				t.Fatalf("%q is none, and yet %q", text, id)
			}
			return
		}
		if len(id) != 12 || len(text) != 59 || !strings.HasPrefix(text, "mf_"+id+"_") {
			t.Fatalf("%q was read as %q", text, id)
		}
		if hash != sha256.Sum256([]byte(text[16:])) {
			t.Fatalf("the hash of %q is another text's", text)
		}
	})
}
