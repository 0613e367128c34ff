package codepackage

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// never are names that no package holds, whatever the ignore files say, in lower case: folders of tools, caches, runs,
// and what is likely to be a secret.
var never = []string{
	// Version control.
	".git", ".hg", ".svn", ".bzr", ".jj",
	// Runs of mf and of Metaflow.
	".mf", ".metaflow", ".metaflow_spin",
	// Caches and folders of tools.
	"__pycache__", "*.pyc", "*.pyo", "node_modules", ".venv", ".tox", ".nox", ".pixi", ".direnv", ".mypy_cache", ".pytest_cache",
	".ruff_cache", ".hypothesis", ".ipynb_checkpoints", ".idea", ".vscode", ".terraform", ".ds_store", "thumbs.db", "desktop.ini",
	// Settings that hold secrets.
	".env", ".env.*", ".envrc", ".netrc", "_netrc", ".pypirc", ".npmrc", ".pgpass", ".my.cnf", ".boto", ".s3cfg", ".htpasswd",
	".git-credentials", ".dockercfg", ".vault-token", "kubeconfig", "credentials.json", "service-account*.json",
	"service_account*.json", "client_secret*.json", "application_default_credentials.json", "*.tfstate", "*.tfstate.*", "*.tfvars",
	".aws", ".azure", ".gcloud", ".kube", ".docker", ".ssh", ".gnupg", ".metaflowconfig",
	// Private keys.
	"*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.ppk", "*.kdbx", "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*",
}

// reserved are the names at the top of an archive that are the layout's own.
var reserved = []string{metaDir, codeDir, marker}

// Folder is the folder of a flow, from which nothing outside it is ever read, links included, but the ignore files of
// the folders above it.
type Folder struct {
	fs   fs.FS
	root *os.Root
	// above is the ignore files of the folders above, under the way from the top of the working copy; "." outside one.
	above *scope
	under string
	// peek is set where files have no executable bit: one that starts with "#!" then counts as executable.
	peek bool
}

// NewFolder returns a folder over any file system. Links in it are followed if it is an fs.ReadLinkFS.
func NewFolder(fsys fs.FS) *Folder { return &Folder{fs: fsys, under: "."} }

// Open opens the folder of a flow. Where it lies in a git working copy, the ignore files of the folders above it, up to
// the top of the working copy, hold for it too. Close it after use.
func Open(dir string) (*Folder, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the flow's folder: %w", err)
	}
	f := &Folder{fs: root.FS(), root: root, peek: runtime.GOOS == "windows"}
	if f.above, f.under, err = scopeAbove(dir); err != nil {
		root.Close()
		return nil, err
	}
	return f, nil
}

// Close lets go of the folder.
func (f *Folder) Close() error {
	if f.root == nil {
		return nil
	}
	return f.root.Close()
}

// scopeAbove reads the ignore files above a folder, from the top of its git working copy, and returns the way from there
// to the folder. There are none where it is in no working copy, and none count where they leave out the folder itself:
// then they are not about what is in it.
func scopeAbove(dir string) (s *scope, under string, err error) {
	if dir, err = filepath.Abs(dir); err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return nil, "", fmt.Errorf("opening the flow's folder: %w", err)
	}
	var names []string // of the folders on the way down from the top
	top := dir
	for {
		if _, err := os.Lstat(filepath.Join(top, ".git")); err == nil {
			break
		}
		up := filepath.Dir(top)
		if up == top {
			return nil, ".", nil
		}
		names = slices.Insert(names, 0, filepath.Base(top))
		top = up
	}
	for i := range names {
		here := filepath.Join(top, filepath.Join(names[:i]...))
		shown := strings.TrimSuffix(strings.Repeat("../", len(names)-i), "/")
		if s, err = readScope(os.DirFS(here), ".", shown, path.Join(".", path.Join(names[:i]...)), s); err != nil {
			return nil, "", err
		}
		if r, _ := s.decide(path.Join(names[:i+1]...), true); r != nil && !r.keep {
			return nil, ".", nil
		}
	}
	return s, path.Join(".", path.Join(names...)), nil
}

// Collect lists what a package of the folder holds. The listing is whole also where the error is a *TooLargeError; it is
// not for a *TooManyError.
func (f *Folder) Collect(ctx context.Context) (*Listing, error) { return f.collect(ctx, nil) }

// collect also leaves out the paths that the caller names.
func (f *Folder) collect(ctx context.Context, leaveOut []string) (*Listing, error) {
	c := &collector{Folder: f, ctx: ctx, scopes: map[string]*scope{}, leaveOut: leaveOut}
	if err := c.walk(".", []string{"."}); err != nil {
		return nil, err
	}
	slices.SortFunc(c.files, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	slices.SortFunc(c.out, func(a, b LeftOut) int { return cmp.Compare(a.Path, b.Path) })
	list := &Listing{Files: c.files, Size: c.size, LeftOut: c.out}
	if c.size > MaxSize {
		return list, &TooLargeError{c.size, Largest(c.files, 10)}
	}
	return list, nil
}

type collector struct {
	*Folder
	ctx      context.Context
	scopes   map[string]*scope // by folder
	leaveOut []string
	files    []File
	out      []LeftOut
	size     int64
	seen     int // files and folders
}

// walk visits a folder. chain is the real folders that it was reached through, itself last: a link may be on the way.
func (c *collector) walk(dir string, chain []string) error {
	if err := c.ctx.Err(); err != nil {
		return fmt.Errorf("reading the flow's folder: %w", err)
	}
	if err := c.count(); err != nil {
		return err
	}
	entries, err := fs.ReadDir(c.fs, dir)
	if err != nil {
		return fmt.Errorf("reading the flow's folder (.mfignore can leave out what cannot be read): %w", err)
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		if err := c.visit(name, path.Join(chain[len(chain)-1], e.Name()), e, chain); err != nil {
			return err
		}
	}
	return nil
}

// visit takes an entry or leaves it out. real is its path without links on the way.
func (c *collector) visit(name, real string, e fs.DirEntry, chain []string) error {
	if !fs.ValidPath(name) {
		c.leave(name, e.IsDir(), ByKind, "its name is not UTF-8")
		return nil
	}
	if slices.Contains(c.leaveOut, name) {
		c.leave(name, e.IsDir(), ByCaller, "named by the caller")
		return nil
	}
	out, err := c.rule(name, e.IsDir())
	if name != real && out == nil && err == nil {
		out, err = c.rule(real, e.IsDir())
	}
	if out != nil || err != nil {
		return c.leaveFor(name, e.IsDir(), out, err)
	}
	mode := e.Type()
	if mode&fs.ModeSymlink != 0 {
		if real, mode, out, err = c.follow(name, real); out != nil || err != nil {
			return c.leaveFor(name, mode.IsDir(), out, err)
		}
	}
	switch {
	case mode.IsDir() && slices.Contains(chain, real):
		c.leave(name, true, ByLink, "a link that leads in a circle")
		return nil
	case mode.IsDir():
		return c.walk(name, append(slices.Clip(chain), real))
	case mode.IsRegular():
		return c.add(name)
	}
	c.leave(name, false, ByKind, "not a file")
	return nil
}

func (c *collector) leaveFor(name string, isDir bool, out *LeftOut, err error) error {
	if err != nil {
		return err
	}
	c.leave(name, isDir, out.By, out.Rule)
	return nil
}

func (c *collector) leave(name string, isDir bool, by, rule string) {
	if isDir {
		name += "/"
	}
	c.out = append(c.out, LeftOut{Path: name, By: by, Rule: rule})
}

// rule says why a path is left out; nil if it is not. It does not look at the folders above it.
func (c *collector) rule(name string, isDir bool) (*LeftOut, error) {
	base := strings.ToLower(path.Base(name))
	for _, pattern := range never {
		if ok, err := path.Match(pattern, base); ok && err == nil {
			return &LeftOut{By: ByName, Rule: pattern}, nil
		}
	}
	if slices.Contains(reserved, name) {
		return &LeftOut{By: ByName, Rule: "the layout's own name"}, nil
	}
	if isDir {
		for _, sign := range []string{"pyvenv.cfg", "conda-meta/history"} {
			if _, err := fs.Stat(c.fs, path.Join(name, sign)); err == nil {
				return &LeftOut{By: ByName, Rule: "a virtual environment"}, nil
			}
		}
	}
	s, err := c.scope(path.Dir(name))
	if err != nil {
		return nil, err
	}
	if r, file := s.decide(path.Join(c.under, name), isDir); r != nil && !r.keep {
		return &LeftOut{By: file.name, Rule: r.text}, nil
	}
	return nil, nil
}

// scope returns the ignore files that hold for what is in a folder.
func (c *collector) scope(dir string) (*scope, error) {
	if s, ok := c.scopes[dir]; ok {
		return s, nil
	}
	outer := c.above
	var err error
	if dir != "." {
		if outer, err = c.scope(path.Dir(dir)); err != nil {
			return nil, err
		}
	}
	s, err := readScope(c.fs, dir, dir, path.Join(c.under, dir), outer)
	if err != nil {
		return nil, err
	}
	c.scopes[dir] = s
	return s, nil
}

// maxLinks is the number of links on the way to one file.
const maxLinks = 40

// errOutside: a link leaves the folder.
var errOutside = errors.New("a link out of the folder")

// follow finds what a link leads to, by its real path. What is left out by its own name stays out by that of a link.
func (c *collector) follow(name, real string) (target string, mode fs.FileMode, out *LeftOut, err error) {
	left := func(rule string) (string, fs.FileMode, *LeftOut, error) {
		return "", 0, &LeftOut{By: ByLink, Rule: rule}, nil
	}
	target, mode, err = c.resolve(real)
	switch {
	case errors.Is(err, errOutside):
		return left("a link out of the folder")
	case err != nil:
		return left("a link to nothing")
	}
	for i, ch := range target + "/" {
		if ch != '/' || target == "." {
			continue
		}
		out, err := c.rule(target[:i], i < len(target) || mode.IsDir())
		if err != nil {
			return "", 0, nil, err
		}
		if out != nil {
			return left("a link to what is left out: " + target)
		}
	}
	// The rules may speak of folders, which the link itself was not.
	if mode.IsDir() {
		if out, err := c.rule(name, true); out != nil || err != nil {
			return "", mode, out, err
		}
	}
	return target, mode, nil, nil
}

// resolve follows the links on a path, within the folder.
func (c *collector) resolve(name string) (string, fs.FileMode, error) {
	done, mode := ".", fs.ModeDir
	todo := strings.Split(name, "/")
	for links := 0; len(todo) > 0; {
		part := todo[0]
		todo = todo[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			if done == "." {
				return "", 0, errOutside
			}
			done, mode = path.Dir(done), fs.ModeDir
			continue
		}
		next := path.Join(done, part)
		info, err := fs.Lstat(c.fs, next)
		if err != nil {
			return "", 0, err
		}
		if mode = info.Mode().Type(); mode&fs.ModeSymlink == 0 {
			done = next
			continue
		}
		if links++; links > maxLinks {
			return "", 0, errors.New("too many links")
		}
		target, err := fs.ReadLink(c.fs, next)
		if err != nil {
			return "", 0, err
		}
		if target = filepath.ToSlash(target); path.IsAbs(target) || filepath.VolumeName(target) != "" {
			return "", 0, errOutside
		}
		todo = append(strings.Split(target, "/"), todo...)
	}
	return done, mode, nil
}

// add takes a regular file, or what a link leads to.
func (c *collector) add(name string) error {
	if err := c.count(); err != nil {
		return err
	}
	info, err := fs.Stat(c.fs, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it has gone meanwhile
	}
	if err != nil {
		return fmt.Errorf("reading the flow's folder: %w", err)
	}
	executable := info.Mode()&0o111 != 0
	if c.peek && !executable {
		if executable, err = startsScript(c.fs, name); err != nil {
			return fmt.Errorf("reading the flow's folder: %w", err)
		}
	}
	c.files = append(c.files, File{Path: name, Size: info.Size(), Executable: executable})
	c.size += info.Size()
	return nil
}

// startsScript reports whether a file names its interpreter.
func startsScript(fsys fs.FS, name string) (bool, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return false, err
	}
	defer f.Close()
	var start [2]byte
	n, err := io.ReadFull(f, start[:])
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return bytes.Equal(start[:n], []byte("#!")), err
}

// count counts a file or folder that travels. Where they are too many it says where.
func (c *collector) count() error {
	if c.seen++; c.seen <= MaxFiles {
		return nil
	}
	counts := map[string]int{}
	for _, f := range c.files {
		for dir := path.Dir(f.Path); dir != "."; dir = path.Dir(dir) {
			counts[dir]++
		}
	}
	e := &TooManyError{}
	for dir, n := range counts {
		e.Folders = append(e.Folders, FolderCount{dir, n})
	}
	slices.SortFunc(e.Folders, func(a, b FolderCount) int { return cmp.Or(cmp.Compare(b.Files, a.Files), cmp.Compare(a.Path, b.Path)) })
	e.Folders = e.Folders[:min(10, len(e.Folders))]
	return e
}
