package metaflowdir

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
)

// folder is a handle of a folder in which files appear at once or not at all.
type folder interface {
	// place writes a file through the temporary name given. names(0), names(1) … are its final name, of which the first
	// that is free is taken; an empty one ends the search with fs.ErrExist. A file that exists is never changed.
	place(temp string, content []byte, names func(try int) string) error
	// replace writes a file, in place of one of its name if there is one.
	replace(temp, name string, content []byte) error
	close() error
}

// once is the final name of a file that has only one.
func once(name string) func(int) string {
	return func(try int) string {
		if try > 0 {
			return ""
		}
		return name
	}
}

// tempNames hands out names that no other file has. They start with a dot, which no pattern of a reader matches.
type tempNames struct {
	prefix string
	n      atomic.Uint64
}

func (t *tempNames) next() string { return t.prefix + strconv.FormatUint(t.n.Add(1), 36) }

// pathFolder works by paths, on every system.
type pathFolder string

func (f pathFolder) write(temp string, content []byte) error {
	w, err := os.OpenFile(filepath.Join(string(f), temp), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = w.Write(content)
	if err = errors.Join(err, w.Close()); err != nil {
		return errors.Join(err, f.remove(temp))
	}
	return nil
}

func (f pathFolder) remove(name string) error { return os.Remove(filepath.Join(string(f), name)) }

func (f pathFolder) place(temp string, content []byte, names func(int) string) error {
	if err := f.write(temp, content); err != nil {
		return err
	}
	return errors.Join(f.link(temp, names), f.remove(temp))
}

// link gives a file its final name. A second link, other than renaming, never takes the place of a file.
func (f pathFolder) link(temp string, names func(int) string) error {
	for try := 0; ; try++ {
		name := names(try)
		if name == "" {
			return fs.ErrExist
		}
		err := os.Link(filepath.Join(string(f), temp), filepath.Join(string(f), name))
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
}

func (f pathFolder) replace(temp, name string, content []byte) error {
	if err := f.write(temp, content); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(string(f), temp), filepath.Join(string(f), name)); err != nil {
		return errors.Join(err, f.remove(temp))
	}
	return nil
}

func (f pathFolder) close() error { return nil }
