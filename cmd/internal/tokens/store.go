package tokens

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// tokenKey is where a file holds the token. Metaflow leaves other keys alone, and so does mf.
const tokenKey = "production_token"

// Store is the folder that holds a file for each prefix.
type Store struct {
	// Dir is the folder, which is made when a token is first kept; see Home.
	Dir string
}

// Home returns the folder that Metaflow keeps tokens in: METAFLOW_TOKEN_HOME, METAFLOW_HOME or ~/.metaflowconfig. It is empty
// where the environment names not even a home folder.
func Home(env func(name string) string) string {
	dir := env("METAFLOW_TOKEN_HOME")
	if dir == "" {
		dir = env("METAFLOW_HOME")
	}
	if dir == "" {
		dir = "~/.metaflowconfig"
	}
	if rest, ok := strings.CutPrefix(dir, "~"); ok && (rest == "" || os.IsPathSeparator(rest[0])) {
		if env("HOME") == "" {
			return ""
		}
		dir = env("HOME") + rest
	}
	return filepath.Clean(dir)
}

// Load returns the token kept for a prefix; empty for none.
func (s Store) Load(prefix string) (string, error) {
	path, err := s.path(prefix)
	if err != nil {
		return "", err
	}
	all, err := readFile(path)
	if err != nil {
		return "", err
	}
	var token *string
	if raw, ok := all[tokenKey]; ok {
		if err := json.Unmarshal(raw, &token); err != nil {
			return "", fmt.Errorf("%s: %s is not a text: correct or delete the file", path, tokenKey)
		}
	}
	if token == nil {
		return "", nil
	}
	return *token, nil
}

// Kept returns the token that this machine keeps for a deployment of which only the token and the names are known: the one
// kept where the token would be, else under one of the names; empty for none.
func (s Store) Kept(token string, names ...string) (string, error) {
	prefixes := []string{prefixOf(token)}
	for _, name := range names {
		prefixes = append(prefixes, Prefix(name))
	}
	kept := ""
	for _, prefix := range prefixes {
		if _, err := s.path(prefix); err != nil {
			continue // no token is ever kept so
		}
		stored, err := s.Load(prefix)
		if err != nil {
			return "", err
		}
		if kept == "" || same(stored, token) {
			kept = stored
		}
	}
	return kept, nil
}

// Save keeps a token for a prefix. It leaves what else the file holds, and its permissions; a new file can be read by the
// user alone.
func (s Store) Save(prefix, token string) error {
	path, err := s.path(prefix)
	if err != nil {
		return err
	}
	// The file may be a link to one that several people share.
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	all, err := readFile(path)
	if err != nil {
		return err
	}
	if all[tokenKey], err = json.Marshal(token); err != nil {
		return fmt.Errorf("keeping the production token: %w", err)
	}
	data, err := json.Marshal(all)
	if err != nil {
		return fmt.Errorf("keeping the production token: %w", err)
	}
	if err := replaceFile(path, data); err != nil {
		return fmt.Errorf("keeping the production token: %w", err)
	}
	return nil
}

// settingsFile are the names of Metaflow's own files in the folder.
var settingsFile = regexp.MustCompile(`^config(_.*)?\.json$`)

func (s Store) path(prefix string) (string, error) {
	if s.Dir == "" {
		return "", errors.New("there is no folder for production tokens: set HOME or METAFLOW_HOME")
	}
	if prefix == "" || prefix == "." || prefix == ".." || strings.ContainsAny(prefix, "/\\\x00") || settingsFile.MatchString(prefix) {
		return "", fmt.Errorf("a production token cannot be kept under the name %q: deploy the flow under another", prefix)
	}
	return filepath.Join(s.Dir, prefix), nil
}

// readFile reads a file of tokens; a missing one is empty.
func readFile(path string) (map[string]json.RawMessage, error) {
	all := map[string]json.RawMessage{}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the production token: %w", err)
	}
	if err := json.Unmarshal(data, &all); err != nil || all == nil {
		return nil, fmt.Errorf("%s is not a JSON object: correct or delete the file", path)
	}
	return all, nil
}

// replaceFile writes a file in one go: a reader sees the old one or the new one.
func replaceFile(path string, data []byte) error {
	mode := fs.FileMode(0o600)
	if info, err := os.Stat(path); err == nil {
		mode = info.Mode().Perm()
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".token-*")
	if err != nil {
		return err
	}
	_, err = bytes.NewReader(data).WriteTo(f)
	err = errors.Join(err, f.Chmod(mode), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
