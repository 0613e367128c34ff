// Package local keeps a datastore on a local disk, in the layout of Metaflow's local storage.
//
// An object is a file below the root; its user metadata, if it has any, is the sibling "<file>_meta". Files are written
// under a temporary name and renamed, so that readers never see a part of one, and have mode 0600 as Metaflow's have.
// Nothing is flushed to the disk (fsync): a record lost in a power cut is a task that runs again. All access goes
// through os.Root, so no key and no symbolic link inside the root leads out of it.
package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/mf-run/mf/datastore"
)

// rootName is the last folder of every root; Metaflow's client derives its own settings from it.
const rootName = ".metaflow"

const (
	fileMode = 0o600
	dirMode  = 0o755
)

// Backend is a datastore.Backend on local disk. It also appends, removes and links.
type Backend struct {
	root string
	dirs dirCache
}

var (
	_ datastore.Backend      = (*Backend)(nil)
	_ datastore.Appender     = (*Backend)(nil)
	_ datastore.Remover      = (*Backend)(nil)
	_ datastore.Linker       = (*Backend)(nil)
	_ datastore.Copier       = (*Backend)(nil)
	_ datastore.MetaSplitter = (*Backend)(nil)
)

// Open returns the datastore at root, an absolute path ending in "/.metaflow". It does not touch the disk: a root that
// does not exist reads as empty and is made by the first write.
func Open(root string) (*Backend, error) {
	if !filepath.IsAbs(root) {
		return nil, fmt.Errorf("datastore root %q: it must be an absolute path", root)
	}
	root = filepath.Clean(root)
	if filepath.Base(root) != rootName {
		return nil, fmt.Errorf("datastore root %q: it must end in %q", root, "/"+rootName)
	}
	b := &Backend{root: root}
	b.dirs.init(root)
	return b, nil
}

// Close gives back the folders that are kept open. The backend stays usable.
func (b *Backend) Close() error {
	b.dirs.clear()
	return nil
}

// Type returns "local".
func (b *Backend) Type() string { return "local" }

// SplitsMeta implements datastore.MetaSplitter: user metadata is a file more.
func (b *Backend) SplitsMeta() bool { return true }

// Root returns the absolute path of the root, slash-separated.
func (b *Backend) Root() string { return filepath.ToSlash(b.root) }

// Exists implements datastore.Backend. A folder is not an object.
func (b *Backend) Exists(_ context.Context, key string) (bool, error) {
	if err := datastore.CheckKey(key); err != nil {
		return false, err
	}
	found := false
	err := b.dirs.do(path.Dir(key), false, func(dir *os.Root) error {
		info, err := dir.Stat(path.Base(key))
		found = err == nil && info.Mode().IsRegular()
		return err
	})
	if isAbsent(err) {
		return false, nil
	}
	if err != nil {
		return false, b.explain("looking for", key, err)
	}
	return found, nil
}

// Get implements datastore.Backend.
func (b *Backend) Get(_ context.Context, key string) (io.ReadCloser, []byte, error) {
	if err := datastore.CheckKey(key); err != nil {
		return nil, nil, err
	}
	var body io.ReadCloser
	var meta []byte
	err := b.dirs.do(path.Dir(key), false, func(dir *os.Root) (err error) {
		name := path.Base(key)
		body, err = read(dir, name)
		if err != nil {
			return err
		}
		// The metadata is written before the object, so it is whole by now.
		meta, err = readMeta(dir, name)
		if err != nil {
			body.Close()
		}
		return err
	})
	if isAbsent(err) {
		return nil, nil, fmt.Errorf("reading %s: %w", key, datastore.ErrNotFound)
	}
	if err != nil {
		return nil, nil, b.explain("reading", key, err)
	}
	return body, meta, nil
}

// maxWhole is the size up to which a file is read at once when it is opened.
const maxWhole = 64 << 10

// whole is a file that was read.
type whole struct{ bytes.Buffer }

// Close implements io.Closer.
func (*whole) Close() error { return nil }

// read opens a regular file, and reads it if it is small; a folder counts as absent.
func read(dir *os.Root, name string) (io.ReadCloser, error) {
	f, err := dir.OpenFile(name, os.O_RDONLY|plainOpen, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = fs.ErrNotExist
	}
	if err == nil && info.Mode().IsRegular() && info.Size() <= maxWhole {
		// A log that grows is read as it was when it was opened.
		data := make([]byte, info.Size())
		n, err := io.ReadFull(f, data)
		f.Close()
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, err
		}
		return &whole{*bytes.NewBuffer(data[:n])}, nil
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// maxMeta bounds a metadata file; real ones have about 40 bytes.
const maxMeta = 1 << 20

func readMeta(dir *os.Root, name string) ([]byte, error) {
	f, err := dir.OpenFile(name+"_meta", os.O_RDONLY|plainOpen, 0)
	if isAbsent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxMeta+1))
	if err == nil && len(data) > maxMeta {
		err = fmt.Errorf("user metadata of over %d bytes: %w", maxMeta, datastore.ErrCorrupt)
	}
	return data, err
}

// Remove implements datastore.Remover. Folders that become empty stay.
func (b *Backend) Remove(_ context.Context, key string) error {
	if err := datastore.CheckKey(key); err != nil {
		return err
	}
	err := b.dirs.do(path.Dir(key), false, func(dir *os.Root) error {
		// The object goes first: without its metadata it would be misread.
		for _, name := range []string{path.Base(key), path.Base(key) + "_meta"} {
			if err := dir.Remove(name); err != nil && !isAbsent(err) {
				return err
			}
		}
		return nil
	})
	if err != nil && !isAbsent(err) {
		return b.explain("removing", key, err)
	}
	return nil
}

// Append implements datastore.Appender. Writes of one Write call of up to a page are not torn apart by other writers.
func (b *Backend) Append(_ context.Context, key string) (io.WriteCloser, error) {
	if err := datastore.CheckKey(key); err != nil {
		return nil, err
	}
	var f *os.File
	err := b.dirs.do(path.Dir(key), true, func(dir *os.Root) (err error) {
		f, err = dir.OpenFile(path.Base(key), os.O_WRONLY|os.O_CREATE|os.O_APPEND, fileMode)
		return err
	})
	if err != nil {
		return nil, b.explain("appending to", key, err)
	}
	return &appender{f: f, b: b, key: key}, nil
}

// appender explains the errors of its file.
type appender struct {
	f   *os.File
	b   *Backend
	key string
}

func (a *appender) Write(p []byte) (int, error) {
	n, err := a.f.Write(p)
	if err != nil {
		err = a.b.explain("appending to", a.key, err)
	}
	return n, err
}

func (a *appender) Close() error {
	if err := a.f.Close(); err != nil {
		return a.b.explain("appending to", a.key, err)
	}
	return nil
}

// LinkFrom implements datastore.Linker by a hard link, where from is on the same disk.
func (b *Backend) LinkFrom(ctx context.Context, from datastore.Backend, key string) (bool, error) {
	src, ok := from.(*Backend)
	if !ok || src.root == b.root {
		return false, nil
	}
	if err := datastore.CheckKey(key); err != nil {
		return false, err
	}
	if ok, err := src.Exists(ctx, key); err != nil || !ok {
		return false, err
	}
	var meta []byte
	err := src.dirs.do(path.Dir(key), false, func(dir *os.Root) (err error) {
		meta, err = readMeta(dir, path.Base(key))
		return err
	})
	if err != nil {
		return false, src.explain("reading", key, err)
	}
	linked := false
	err = b.dirs.do(path.Dir(key), true, func(dir *os.Root) error {
		if meta != nil {
			if err := write(ctx, dir, path.Base(key)+"_meta", bytes.NewReader(meta), false, nil); err != nil {
				return err
			}
		}
		// os.Root cannot link across roots. Both paths were resolved inside their roots just before.
		local := filepath.FromSlash(key)
		err := os.Link(filepath.Join(src.root, local), filepath.Join(b.root, local))
		linked = err == nil || errors.Is(err, fs.ErrExist)
		return nil
	})
	if err != nil {
		return false, b.explain("writing", key, err)
	}
	return linked, nil
}

// Copy implements datastore.Copier by a hard link. What is stored is never changed in place, but for logs, which are not
// copied.
func (b *Backend) Copy(_ context.Context, from, to string) (bool, error) {
	if err := errors.Join(datastore.CheckKey(from), datastore.CheckKey(to)); err != nil {
		return false, err
	}
	linked := false
	err := b.dirs.do(path.Dir(to), true, func(*os.Root) error {
		err := os.Link(filepath.Join(b.root, filepath.FromSlash(from)), filepath.Join(b.root, filepath.FromSlash(to)))
		linked = err == nil || errors.Is(err, fs.ErrExist)
		return nil
	})
	if err != nil {
		return false, b.explain("writing", to, err)
	}
	return linked, nil
}

// isAbsent reports whether err says that a file or one of its folders is not there.
func isAbsent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || isNotDir(err)
}

// explain wraps an error of the file system: what was done to which key, and for full disks and missing permissions
// what the user can do.
func (b *Backend) explain(doing, key string, err error) error {
	file := filepath.Join(b.root, filepath.FromSlash(key))
	var pathErr *fs.PathError
	var linkErr *os.LinkError
	switch {
	case errors.As(err, &pathErr):
		err = pathErr.Err // its path is relative to a folder the reader does not know
	case errors.As(err, &linkErr):
		err = linkErr.Err
	}
	switch {
	case isDiskFull(err):
		return fmt.Errorf("%s %s: the disk or quota is full; free some space or choose another datastore root: %w", doing, file, err)
	case isReadOnly(err):
		return fmt.Errorf("%s %s: the file system is read-only; choose another datastore root: %w", doing, file, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s %s: no permission; check the owner and mode of %s: %w", doing, file, b.root, err)
	case err != nil && strings.Contains(err.Error(), "path escapes from parent"):
		return fmt.Errorf("%s %s: a symbolic link on the way leads out of %s, which is not followed: %w", doing, file, b.root, err)
	}
	return fmt.Errorf("%s %s: %w", doing, file, err)
}
