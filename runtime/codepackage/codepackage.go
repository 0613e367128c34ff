// Package codepackage decides which files travel with a flow, and archives them.
//
// What goes in is the folder of the flow file, what comes out a list of files or an archive whose bytes depend on the
// files' names and contents alone. Files that .gitignore or .mfignore leave out stay out; version control, virtual
// environments, caches, runs and secrets always do.
package codepackage

import (
	"archive/tar"
	"bufio"
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing/format/gitignore"
)

// MaxSize is the largest package allowed, in bytes before compression.
const MaxSize = 512 << 20

// File is one file of a package.
type File struct {
	// Path is relative to the folder, slash-separated.
	Path string `json:"path"`
	// Size is in bytes.
	Size int64 `json:"size"`
	// Executable is the only permission that travels.
	Executable bool `json:"executable,omitempty"`
}

// TooLargeError says that a package is over MaxSize, and what fills it.
type TooLargeError struct {
	Size    int64
	Largest []File
}

// Error implements error.
func (e *TooLargeError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "the code package would be %d MiB, over the limit of %d MiB; leave files out with .mfignore (the form of .gitignore); the largest:",
		e.Size>>20, MaxSize>>20)
	for _, f := range e.Largest {
		fmt.Fprintf(&b, "\n  %8d KiB  %s", f.Size>>10, f.Path)
	}
	return b.String()
}

// never are names that no package holds, whatever the ignore files say: folders of tools, caches, and what is likely
// to be a secret.
var never = []string{
	".git", ".hg", ".svn", ".mf", ".metaflow", ".metaflow_spin", "__pycache__", "node_modules", ".venv", ".tox", ".nox",
	".mypy_cache", ".pytest_cache", ".ruff_cache", ".ipynb_checkpoints", ".idea", ".vscode", ".DS_Store",
	".env", ".env.*", "*.pyc", "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*",
	".netrc", ".pypirc", ".npmrc", ".aws", ".ssh", ".gnupg", "credentials.json", "service-account*.json", "kubeconfig",
}

// Collect lists the files of a package, by path. The error is a *TooLargeError when they are too many bytes.
func Collect(folder fs.FS) ([]File, error) {
	c := &collector{fs: folder}
	if err := c.walk(".", nil); err != nil {
		return nil, err
	}
	slices.SortFunc(c.files, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	if c.size > MaxSize {
		return c.files, &TooLargeError{c.size, Largest(c.files, 10)}
	}
	return c.files, nil
}

// Largest returns the n largest files, largest first.
func Largest(files []File, n int) []File {
	sorted := slices.Clone(files)
	slices.SortStableFunc(sorted, func(a, b File) int { return cmp.Compare(b.Size, a.Size) })
	return sorted[:min(n, len(sorted))]
}

type collector struct {
	fs    fs.FS
	files []File
	size  int64
}

// walk visits a folder with the ignore patterns of those above it.
func (c *collector) walk(dir string, patterns []gitignore.Pattern) error {
	entries, err := fs.ReadDir(c.fs, dir)
	if err != nil {
		return fmt.Errorf("reading the flow's folder: %w", err)
	}
	for _, name := range []string{".gitignore", ".mfignore"} {
		more, err := c.patterns(dir, name)
		if err != nil {
			return err
		}
		patterns = append(slices.Clip(patterns), more...)
	}
	matcher := gitignore.NewMatcher(patterns)
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		if excluded(e.Name()) || matcher.Match(strings.Split(name, "/"), e.IsDir()) {
			continue
		}
		if e.IsDir() {
			if _, err := fs.Stat(c.fs, path.Join(name, "pyvenv.cfg")); err == nil {
				continue
			}
			if err := c.walk(name, patterns); err != nil {
				return err
			}
			continue
		}
		if err := c.add(name, e); err != nil {
			return err
		}
	}
	return nil
}

// add takes a regular file, or a link to one inside the folder.
func (c *collector) add(name string, e fs.DirEntry) error {
	info, err := fs.Stat(c.fs, name)
	if errors.Is(err, fs.ErrNotExist) || err != nil && e.Type()&fs.ModeSymlink != 0 {
		return nil // a dangling link, or one that leaves the folder
	}
	if err != nil {
		return fmt.Errorf("reading the flow's folder: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil
	}
	c.files = append(c.files, File{Path: name, Size: info.Size(), Executable: info.Mode()&0o100 != 0})
	c.size += info.Size()
	return nil
}

func (c *collector) patterns(dir, name string) ([]gitignore.Pattern, error) {
	f, err := c.fs.Open(path.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path.Join(dir, name), err)
	}
	defer f.Close()
	var domain []string
	if dir != "." {
		domain = strings.Split(dir, "/")
	}
	var patterns []gitignore.Pattern
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := lines.Text()
		if trimmed := strings.TrimSpace(line); trimmed == "" || strings.HasPrefix(trimmed, "#") {
			continue
		}
		patterns = append(patterns, gitignore.ParsePattern(line, domain))
	}
	return patterns, lines.Err()
}

func excluded(name string) bool {
	return slices.ContainsFunc(never, func(pattern string) bool {
		ok, err := path.Match(pattern, name)
		return ok && err == nil
	})
}

// epoch is the modification time of every member: archives of equal files are equal. 2019-12-03 08:00 UTC, which
// Metaflow uses too.
var epoch = time.Unix(1575360000, 0).UTC()

// Extra is a file that is not in the folder.
type Extra struct {
	Path string
	Data []byte
}

// Write writes the archive, a gzip-compressed tar, with the extra files first.
func Write(w io.Writer, folder fs.FS, files []File, extras ...Extra) error {
	zip, err := gzip.NewWriterLevel(w, 3)
	if err != nil {
		return err
	}
	archive := tar.NewWriter(zip)
	for _, e := range extras {
		header := &tar.Header{Name: e.Path, Size: int64(len(e.Data)), Mode: 0o644, ModTime: epoch, Format: tar.FormatPAX}
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		if _, err := archive.Write(e.Data); err != nil {
			return err
		}
	}
	for _, file := range files {
		if err := writeFile(archive, folder, file); err != nil {
			return fmt.Errorf("packaging %s: %w", file.Path, err)
		}
	}
	return errors.Join(archive.Close(), zip.Close())
}

func writeFile(archive *tar.Writer, folder fs.FS, file File) error {
	f, err := folder.Open(file.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	mode := int64(0o644)
	if file.Executable {
		mode = 0o755
	}
	header := &tar.Header{Name: file.Path, Size: file.Size, Mode: mode, ModTime: epoch, Format: tar.FormatPAX}
	if err := archive.WriteHeader(header); err != nil {
		return err
	}
	n, err := io.Copy(archive, io.LimitReader(f, file.Size))
	if err == nil && n < file.Size {
		return errors.New("the file shrank while it was read")
	}
	return err
}

// Open opens the folder of a flow so that nothing outside it is ever read, links included.
func Open(dir string) (fs.FS, io.Closer, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("opening the flow's folder: %w", err)
	}
	return root.FS(), root, nil
}
