package codepackage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	gocmp "github.com/google/go-cmp/cmp"
)

func paths(files []File) []string {
	var out []string
	for _, f := range files {
		out = append(out, f.Path)
	}
	return out
}

// why is what was left out, as "path: by: rule".
func why(list *Listing) []string {
	var out []string
	for _, o := range list.LeftOut {
		out = append(out, o.Path+": "+o.By+": "+o.Rule)
	}
	return out
}

// tree makes files from a map of paths to contents; "-> target" is a link.
func tree(t *testing.T, dir string, files map[string]string) string {
	t.Helper()
	for name, text := range files {
		full := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(text, "-> "); ok {
			err = os.Symlink(target, full)
		} else {
			err = os.WriteFile(full, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func collect(t *testing.T, dir string) *Listing {
	t.Helper()
	folder, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	list, err := folder.Collect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestCollectLeavesOut(t *testing.T) {
	data := &fstest.MapFile{Data: []byte("x")}
	folder := fstest.MapFS{
		"flow.py": data, "run.sh": {Data: []byte("x"), Mode: 0o755}, "notes.txt": data, "a.log": data, "keep.log": data,
		".gitignore":   {Data: []byte("data/\n*.log\n!keep.log\n")},
		".mfignore":    {Data: []byte("# notes\n/notes.txt\n")},
		"data/big.bin": data, "lib/util.py": data, "lib/.gitignore": {Data: []byte("tmp_*\n")}, "lib/tmp_1": data, "tmp_1": data,
		".mf_meta/ir.json": data, "lib/.mf_meta": data,
		"env/pyvenv.cfg": data, "env/lib/a.py": data, "conda/conda-meta/history": data, "conda/bin/x": data,
	}
	list, err := NewFolder(folder).Collect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []string{".gitignore", ".mfignore", "flow.py", "keep.log", "lib/.gitignore", "lib/.mf_meta", "lib/util.py", "run.sh", "tmp_1"}
	if diff := gocmp.Diff(want, paths(list.Files)); diff != "" {
		t.Errorf("-want +collected:\n%s", diff)
	}
	wantOut := []string{
		".mf_meta/: always: the layout's own name", "a.log: .gitignore: *.log", "conda/: always: a virtual environment",
		"data/: .gitignore: data/", "env/: always: a virtual environment", "lib/tmp_1: lib/.gitignore: tmp_*",
		"notes.txt: .mfignore: /notes.txt",
	}
	if diff := gocmp.Diff(wantOut, why(list)); diff != "" {
		t.Errorf("-want +left out:\n%s", diff)
	}
	if i := slices.IndexFunc(list.Files, func(f File) bool { return f.Path == "run.sh" }); !list.Files[i].Executable {
		t.Error("run.sh is not executable")
	}
}

// TestSecretsNeverTravel holds docs/code-package.md to its word: what it names never travels, whatever the ignore files
// say and whatever the letter case.
func TestSecretsNeverTravel(t *testing.T) {
	page, err := os.ReadFile("../../docs/code-package.md")
	if err != nil {
		t.Fatal(err)
	}
	names := []string{
		".git/config", ".hg/x", ".svn/x", ".mf/metadata.db", ".metaflow/x", "sub/node_modules/a/b.js", "__pycache__/flow.pyc", "x.pyc",
		".env", ".ENV", ".env.local", ".envrc", "sub/.env.production", "server.pem", "SERVER.KEY", "a.p12", "a.pfx", "a.jks",
		"a.keystore", "a.ppk", "a.kdbx", "id_rsa", "id_ed25519", ".netrc", ".pypirc", ".npmrc", ".pgpass", ".aws/credentials",
		".azure/x", ".gcloud/x", ".kube/config", ".docker/config.json", ".ssh/id", ".gnupg/x", ".git-credentials", "kubeconfig", "credentials.json",
		"service-account-prod.json", "client_secret_1.json", "terraform.tfstate", "prod.tfvars", ".metaflowconfig/config.json",
	}
	folder := fstest.MapFS{"flow.py": {}, ".mfignore": {Data: []byte("!*\n!.*\n!**\n")}}
	for _, name := range names {
		folder[name] = &fstest.MapFile{Data: []byte("SECRET=1")}
	}
	list, err := NewFolder(folder).Collect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := paths(list.Files); !slices.Equal(got, []string{".mfignore", "flow.py"}) {
		t.Errorf("collected %v", got)
	}
	for _, pattern := range never {
		if !strings.Contains(string(page), "`"+pattern+"`") {
			t.Errorf("docs/code-package.md does not name %s", pattern)
		}
	}
}

func TestLinks(t *testing.T) {
	dir := t.TempDir()
	inside := tree(t, filepath.Join(dir, "project"), map[string]string{
		"real.py": "r", "in.py": "-> real.py", "hop.py": "-> in.py", "gone": "-> nowhere",
		"out": "-> ../secret", "abs": "-> " + filepath.Join(dir, "secret"), "outdir": "-> ..",
		"lib/a.py": "a", "lib/up": "-> ../lib", "also": "-> lib", "deep/er": "-> ../also/../lib",
		".env": "S=1", "harmless.txt": "-> .env", "lib/.env": "S=1", "lib/x.txt": "-> ../.git/config", ".git/config": "c",
		".gitignore": "/data/\n/lib/private\n", "data/big": "b", "latest": "-> data/big", "dat": "-> data", "lib/private": "p",
		"loop1": "-> loop2", "loop2": "-> loop1",
	})
	tree(t, dir, map[string]string{"secret": "s"})
	list := collect(t, inside)
	want := []string{".gitignore", "also/a.py", "deep/er/a.py", "hop.py", "in.py", "lib/a.py", "real.py"}
	if diff := gocmp.Diff(want, paths(list.Files)); diff != "" {
		t.Errorf("-want +collected:\n%s", diff)
	}
	var links []string
	for _, o := range list.LeftOut {
		if o.By == ByLink && !strings.Contains(o.Path, "/") {
			links = append(links, o.Path+": "+o.Rule)
		}
	}
	wantLinks := []string{
		"abs: a link out of the folder", "dat: a link to what is left out: data", "gone: a link to nothing",
		"harmless.txt: a link to what is left out: .env", "latest: a link to what is left out: data/big",
		"loop1: a link to nothing", "loop2: a link to nothing", "out: a link out of the folder", "outdir: a link out of the folder",
	}
	if diff := gocmp.Diff(wantLinks, links); diff != "" {
		t.Errorf("-want +links left out:\n%s", diff)
	}
	for _, o := range why(list) {
		if strings.HasPrefix(o, "also/up") && o != "also/up/: link: a link that leads in a circle" {
			t.Error(o)
		}
	}
}

// TestWorkingCopyAbove: the ignore files up to the top of the working copy hold for a flow in a folder of it, and none
// further up.
func TestWorkingCopyAbove(t *testing.T) {
	top := tree(t, t.TempDir(), map[string]string{
		".gitignore": "flow.py\n", // above the working copy
		"repo/.git":  "gitdir: elsewhere", "repo/.gitignore": "*.csv\n/flows/train/out/\n/out2/\n!keep.csv\nscratch/\n", "repo/.mfignore": "notes.md\n",
		"repo/flows/.gitignore": "train/*.bin\n/x.txt\n", "repo/flows/train/.mfignore": "!two.bin\n", "repo/flows/train/flow.py": "x",
		"repo/flows/train/a.csv": "x", "repo/flows/train/keep.csv": "x", "repo/flows/train/out/o": "x", "repo/flows/train/out2/o": "x",
		"repo/flows/train/notes.md": "x", "repo/flows/train/one.bin": "x", "repo/flows/train/two.bin": "x", "repo/flows/train/x.txt": "x",
		"repo/scratch/flow.py": "x", "repo/scratch/a.csv": "x",
	})
	list := collect(t, filepath.Join(top, "repo", "flows", "train"))
	want := []string{".mfignore", "flow.py", "keep.csv", "out2/o", "two.bin", "x.txt"}
	if diff := gocmp.Diff(want, paths(list.Files)); diff != "" {
		t.Errorf("-want +collected:\n%s", diff)
	}
	wantOut := []string{
		"a.csv: ../../.gitignore: *.csv", "notes.md: ../../.mfignore: notes.md", "one.bin: ../.gitignore: train/*.bin",
		"out/: ../../.gitignore: /flows/train/out/",
	}
	if diff := gocmp.Diff(wantOut, why(list)); diff != "" {
		t.Errorf("-want +left out:\n%s", diff)
	}
	if got := paths(collect(t, filepath.Join(top, "repo", "scratch")).Files); !slices.Equal(got, []string{"a.csv", "flow.py"}) {
		t.Errorf("in an ignored folder: collected %v", got)
	}
}

func TestMfignoreHasTheLastWord(t *testing.T) {
	folder := fstest.MapFS{
		".gitignore": {Data: []byte("*.bin\n/out/\n")}, ".mfignore": {Data: []byte("!model.bin\n!/out/\n")},
		"model.bin": {}, "other.bin": {}, "sub/model.bin": {}, "sub/.gitignore": {Data: []byte("model.bin\n")}, "out/x": {},
	}
	list, err := NewFolder(folder).Collect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []string{".gitignore", ".mfignore", "model.bin", "out/x", "sub/.gitignore", "sub/model.bin"}
	if got := paths(list.Files); !slices.Equal(got, want) {
		t.Errorf("collected %v, want %v", got, want)
	}
}

func TestTooLargeNamesTheLargest(t *testing.T) {
	dir := tree(t, t.TempDir(), map[string]string{"flow.py": "x"})
	f, err := os.Create(filepath.Join(dir, "huge.bin"))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(MaxSize + 1); err != nil {
		t.Fatal(err)
	}
	f.Close()
	folder, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	list, err := folder.Collect(t.Context())
	var tooLarge *TooLargeError
	if !errors.As(err, &tooLarge) || !strings.Contains(err.Error(), "huge.bin") || !strings.Contains(err.Error(), "513 MiB") {
		t.Errorf("error %v does not name huge.bin", err)
	}
	if len(list.Files) != 2 {
		t.Errorf("the listing has %v", list.Files)
	}
	if _, err := Build(t.Context(), folder, Options{Entry: "flow.py", TempDir: t.TempDir()}); !errors.As(err, &tooLarge) {
		t.Errorf("built: %v", err)
	}
}

// many is a folder with very many files.
type many struct{ fstest.MapFS }

func (m many) ReadDir(name string) ([]fs.DirEntry, error) {
	if name == "." {
		return m.MapFS.ReadDir(".")
	}
	one, err := m.MapFS.ReadDir("full")
	if err != nil {
		return nil, err
	}
	return slices.Repeat(one, MaxFiles+1), nil
}

func TestTooManyNamesTheFullest(t *testing.T) {
	folder := NewFolder(many{fstest.MapFS{"flow.py": {}, "full/x": {}}})
	_, err := folder.Collect(t.Context())
	var tooMany *TooManyError
	if !errors.As(err, &tooMany) || !strings.Contains(err.Error(), fmt.Sprintf("%d  full", MaxFiles-3)) {
		t.Errorf("error %v", err)
	}
}

func TestExecutableWithoutBits(t *testing.T) {
	folder := NewFolder(fstest.MapFS{"run.sh": {Data: []byte("#!/bin/sh\n")}, "flow.py": {Data: []byte("import x")}, "empty": {}})
	folder.peek = true
	list, err := folder.Collect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range list.Files {
		if f.Executable != (f.Path == "run.sh") {
			t.Errorf("%s: executable %v", f.Path, f.Executable)
		}
	}
}

func TestNamesThatAreNoText(t *testing.T) {
	list := collect(t, tree(t, t.TempDir(), map[string]string{"flow.py": "x", "bad\xff": "i", "dir\xfe/x": "i", "link": "-> bad\xff"}))
	if got := paths(list.Files); !slices.Equal(got, []string{"flow.py"}) {
		t.Errorf("collected %q", got)
	}
	want := []string{"bad\xff: kind: its name is not UTF-8", "dir\xfe/: kind: its name is not UTF-8", "link: link: a link to nothing"}
	if got := why(list); !slices.Equal(got, want) {
		t.Errorf("left out %q", got)
	}
}

func TestUnreadable(t *testing.T) {
	for name, folder := range map[string]fstest.MapFS{
		"a huge ignore file": {".gitignore": {Data: make([]byte, maxIgnoreFile+1)}},
	} {
		if _, err := NewFolder(folder).Collect(t.Context()); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	// A folder of that name is no ignore file.
	list, err := NewFolder(fstest.MapFS{".gitignore/x": {}}).Collect(t.Context())
	if err != nil || len(list.Files) != 1 {
		t.Errorf("%v, %v", list, err)
	}
	if _, err := Open(filepath.Join(t.TempDir(), "absent")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an absent folder: %v", err)
	}
}
