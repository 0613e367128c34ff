package local

import (
	"context"
	"iter"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/mf-run/mf/datastore"
)

// mkstempName matches the temporary names of Python's tempfile, which Metaflow's own writers use.
var mkstempName = regexp.MustCompile(`^tmp[a-z0-9_]{8}$`)

// List implements datastore.Backend. It leaves out folders named "_meta", which belong to Metaflow's local metadata
// provider, and files of user metadata or still being written. Modified is zero for folders.
func (b *Backend) List(ctx context.Context, prefix string) iter.Seq2[datastore.Entry, error] {
	return func(yield func(datastore.Entry, error) bool) {
		names, err := b.names(prefix)
		if err != nil {
			yield(datastore.Entry{}, err)
			return
		}
		for _, item := range names {
			if err := ctx.Err(); err != nil {
				yield(datastore.Entry{}, err)
				return
			}
			entry, keep, err := b.entry(prefix, item)
			if err != nil {
				yield(datastore.Entry{}, err)
				return
			}
			if keep && !yield(entry, nil) {
				return
			}
		}
	}
}

// names reads a folder; nil if it is absent.
func (b *Backend) names(prefix string) ([]os.DirEntry, error) {
	if err := datastore.CheckPrefix(prefix); err != nil {
		return nil, err
	}
	var names []os.DirEntry
	// path.Clean turns "" into ".".
	err := b.dirs.do(path.Clean(prefix), false, func(dir *os.Root) error {
		f, err := dir.Open(".")
		if err != nil {
			return err
		}
		defer f.Close()
		names, err = f.ReadDir(-1)
		return err
	})
	if isAbsent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, b.explain("listing", prefix, err)
	}
	slices.SortFunc(names, func(x, y os.DirEntry) int { return strings.Compare(x.Name(), y.Name()) })
	return names, nil
}

// entry describes one name of a folder; keep is false for what a listing leaves out.
func (b *Backend) entry(prefix string, item os.DirEntry) (entry datastore.Entry, keep bool, err error) {
	name := item.Name()
	entry = datastore.Entry{Key: path.Join(prefix, name), Dir: item.IsDir()}
	if entry.Dir {
		return entry, name != "_meta", nil
	}
	if strings.HasSuffix(name, "_meta") || strings.HasPrefix(name, datastore.TempPrefix) || mkstempName.MatchString(name) {
		return entry, false, nil
	}
	err = b.dirs.do(path.Clean(prefix), false, func(dir *os.Root) error {
		info, err := dir.Stat(name) // follows a symbolic link, inside the root
		if err == nil {
			entry.Dir = info.IsDir()
			keep = entry.Dir || info.Mode().IsRegular()
			if !entry.Dir {
				entry.Size, entry.Modified = info.Size(), info.ModTime()
			}
		}
		return err
	})
	if isAbsent(err) { // deleted since, or a dangling link
		return entry, false, nil
	}
	if err != nil {
		return entry, false, b.explain("listing", entry.Key, err)
	}
	return entry, keep, nil
}
