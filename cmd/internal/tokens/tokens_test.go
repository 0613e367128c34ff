package tokens_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/mf-run/mf/cmd/internal/tokens"
)

// TestDecide holds every way to be given a token.
func TestDecide(t *testing.T) {
	first := must(t, tokens.Request{Name: "train", Prefix: "train"}).Token
	second := must(t, tokens.Request{Name: "train", Prefix: "train", Live: first, Stored: first, Generate: true}).Token
	for _, test := range []struct {
		what  string
		r     tokens.Request
		token string
		fresh bool
	}{
		{"nothing there", tokens.Request{}, first, true},
		{"redeploy", tokens.Request{Live: first, Stored: first}, first, false},
		{"with the token", tokens.Request{Live: first, Authorize: first}, first, false},
		{"with the namespace", tokens.Request{Live: first, Stored: second, Authorize: "production:" + first}, first, false},
		{"by whom it was", tokens.Request{Live: first, Owner: "ann", User: "ann"}, first, false},
		{"taken away and back again", tokens.Request{Stored: second}, second, true},
		{"there, but without a token", tokens.Request{Owner: "ann", User: "bob"}, first, true},
		{"a new one", tokens.Request{Live: first, Stored: first, Generate: true}, second, true},
		{"a new one after it was taken away", tokens.Request{Stored: first, Generate: true}, second, true},
		{"a new one at once", tokens.Request{Generate: true}, first, true},
		{"a given one", tokens.Request{Live: first, Stored: first, Given: "team"}, "team", true},
		{"the given namespace", tokens.Request{Given: "production:team"}, "team", true},
		{"the one it has", tokens.Request{Live: "team", Stored: "team", Given: "team"}, "team", false},
	} {
		test.r.Name, test.r.Prefix = "train", "train"
		d := must(t, test.r)
		if d.Token != test.token || d.Fresh != test.fresh || !strings.Contains(strings.Join(d.Messages, "\n"), "production:"+test.token) {
			t.Errorf("%s: %+v", test.what, d)
		}
		if d.Fresh != (len(d.Messages) > 1) {
			t.Errorf("%s: messages %q", test.what, d.Messages)
		}
	}
	if !strings.HasPrefix(first, "train-0-") || !strings.HasPrefix(second, "train-1-") {
		t.Errorf("tokens %s and %s", first, second)
	}
}

func must(t *testing.T, r tokens.Request) tokens.Decision {
	t.Helper()
	d, err := tokens.Decide(r)
	if err != nil {
		t.Fatalf("%+v: %v", r, err)
	}
	return d
}

// TestRefusals says what to do, and never which token is live.
func TestRefusals(t *testing.T) {
	const live = "train-0-live"
	for _, test := range []struct {
		r    tokens.Request
		want error
		text string
	}{
		{tokens.Request{Live: live}, tokens.ErrNotOurs, "this machine has none for it"},
		{tokens.Request{Live: live, Owner: "ann", User: "bob"}, tokens.ErrNotOurs, "by ann"},
		{tokens.Request{Live: live, Stored: "train-0-mine"}, tokens.ErrNotOurs, "than the one kept on this machine"},
		{tokens.Request{Live: live, Stored: live, Authorize: "train-0-mine"}, tokens.ErrNotOurs, "than the one given with --authorize"},
		{tokens.Request{Live: live, Generate: true}, tokens.ErrNotOurs, "--authorize TOKEN"},
		{tokens.Request{Live: live, Given: "team"}, tokens.ErrNotOurs, "--authorize TOKEN"},
		{tokens.Request{Live: live, Stored: live, Generate: true}, tokens.ErrUsage, "--new-token TOKEN"},
		{tokens.Request{Given: "team", Generate: true}, tokens.ErrUsage, "exclude each other"},
		{tokens.Request{Given: "team", Project: true}, tokens.ErrUsage, "--generate-new-token instead"},
		{tokens.Request{Given: "production:"}, tokens.ErrUsage, "empty"},
		{tokens.Request{Given: "two words"}, tokens.ErrUsage, "spaces"},
		{tokens.Request{Given: "a\nb"}, tokens.ErrUsage, "spaces"},
		{tokens.Request{Given: "\xff"}, tokens.ErrUsage, "printed"},
		{tokens.Request{Given: "{{workflow.name}}"}, tokens.ErrUsage, "{{"},
		{tokens.Request{Given: strings.Repeat("x", 201)}, tokens.ErrUsage, "201 bytes"},
	} {
		test.r.Name, test.r.Prefix = "train", "train"
		_, err := tokens.Decide(test.r)
		if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) || strings.Contains(err.Error(), live) {
			t.Errorf("%+v: %v, want %q", test.r, err, test.text)
		}
	}
}

func TestHome(t *testing.T) {
	for _, test := range []struct {
		env  map[string]string
		want string
	}{
		{map[string]string{"HOME": "/home/ann"}, "/home/ann/.metaflowconfig"},
		{map[string]string{"HOME": "/home/ann", "METAFLOW_HOME": "/etc/metaflow"}, "/etc/metaflow"},
		{map[string]string{"HOME": "/home/ann", "METAFLOW_HOME": "/etc/metaflow", "METAFLOW_TOKEN_HOME": "~/tokens/"}, "/home/ann/tokens"},
		{map[string]string{"METAFLOW_HOME": "/etc/metaflow"}, "/etc/metaflow"},
		{map[string]string{"HOME": "/home/ann", "METAFLOW_HOME": "~"}, "/home/ann"},
		{map[string]string{}, ""},
	} {
		if got := tokens.Home(func(name string) string { return test.env[name] }); got != test.want {
			t.Errorf("%v: %q, want %q", test.env, got, test.want)
		}
	}
}

func TestStore(t *testing.T) {
	s := tokens.Store{Dir: filepath.Join(t.TempDir(), "home", "tokens")}
	if token, err := s.Load("train"); token != "" || err != nil {
		t.Errorf("an empty store has %q, %v", token, err)
	}
	for _, token := range []string{"a", `"ä\`} {
		if err := s.Save("train", token); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Load("train"); got != token || err != nil {
			t.Errorf("kept %q, found %q, %v", token, got, err)
		}
	}
	checkMode(t, s.Dir, 0o700)
	checkMode(t, filepath.Join(s.Dir, "train"), 0o600)
	if entries, err := os.ReadDir(s.Dir); err != nil || len(entries) != 1 {
		t.Errorf("the folder holds %v, %v", entries, err)
	}
}

// TestStoreLeaves other keys, permissions and links as they are.
func TestStoreLeaves(t *testing.T) {
	dir := t.TempDir()
	s := tokens.Store{Dir: dir}
	shared := filepath.Join(t.TempDir(), "shared")
	if err := os.WriteFile(shared, []byte(`{"other": [1, "x"], "production_token": null}`), 0o664); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chmod(shared, 0o664), os.Symlink(shared, filepath.Join(dir, "train"))); err != nil {
		t.Fatal(err)
	}
	if token, err := s.Load("train"); token != "" || err != nil {
		t.Errorf("null is %q, %v", token, err)
	}
	if err := s.Save("train", "t"); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(shared)
	if err != nil || string(data) != `{"other":[1,"x"],"production_token":"t"}` {
		t.Errorf("the file holds %s, %v", data, err)
	}
	checkMode(t, shared, 0o664)
}

func checkMode(t *testing.T, path string, want os.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != want {
		t.Errorf("%s has mode %o, want %o", path, got, want)
	}
}

func TestStoreMistakes(t *testing.T) {
	s := tokens.Store{Dir: t.TempDir()}
	for _, prefix := range []string{"", ".", "..", "a/b", `a\b`, "config.json", "config_team.json"} {
		if err := s.Save(prefix, "t"); err == nil || !strings.Contains(err.Error(), "deploy the flow under another") {
			t.Errorf("%q: %v", prefix, err)
		}
	}
	for text, want := range map[string]string{"{": "is not a JSON object", "[]": "is not a JSON object", "null": "is not a JSON object",
		`{"production_token": 1}`: "is not a text"} {
		path := filepath.Join(s.Dir, "train")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Load("train"); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := (tokens.Store{}).Load("train"); err == nil || !strings.Contains(err.Error(), "METAFLOW_HOME") {
		t.Errorf("no folder: %v", err)
	}
	file := filepath.Join(s.Dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := (tokens.Store{Dir: file}).Save("train", "t"); err == nil {
		t.Error("a file was taken for a folder")
	}
}

// FuzzStore has Load read what a file may hold; what it takes, Save keeps.
func FuzzStore(f *testing.F) {
	for _, text := range []string{`{"production_token": "a"}`, `{"a": {"b": 1}}`, "", "null", `{"production_token": "\ud800"}`} {
		f.Add([]byte(text), "train-0-abcd")
	}
	f.Fuzz(func(t *testing.T, data []byte, token string) {
		s := tokens.Store{Dir: t.TempDir()}
		if err := os.WriteFile(filepath.Join(s.Dir, "train"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Load("train"); err != nil {
			return
		}
		if err := s.Save("train", token); err != nil {
			t.Fatal(err)
		}
		got, err := s.Load("train")
		if err != nil || utf8.ValidString(token) && got != token {
			t.Errorf("kept %q, found %q, %v", token, got, err)
		}
	})
}

func TestKept(t *testing.T) {
	s := tokens.Store{Dir: t.TempDir()}
	for prefix, token := range map[string]string{"train": "train-0-abcd", "mfprj-xyz": "mfprj-xyz-3-efgh", "nightly": "my-own"} {
		if err := s.Save(prefix, token); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ live, name, flow, want string }{
		{"train-0-abcd", "train", "Train", "train-0-abcd"},
		{"train-0-abcd", "elsewhere", "Other", "train-0-abcd"},
		{"train-1-abcd", "train", "Train", "train-0-abcd"}, // kept, but another
		{"mfprj-xyz-3-efgh", "proj.prod.train", "Train", "mfprj-xyz-3-efgh"},
		{"my-own", "nightly", "Train", "my-own"},
		{"their-own", "theirs", "Theirs", ""},
		{"x", "a/b", "..", ""},
		{"", "none", "None", ""},
	} {
		if got, err := s.Kept(c.live, c.name, c.flow); err != nil || got != c.want {
			t.Errorf("%s of %s: %q, %v; want %q", c.live, c.name, got, err, c.want)
		}
	}
}
