package local

import (
	"errors"
	"io/fs"
	"os"
	"sync"
	"syscall"
)

// maxDirs bounds the folders that are kept open, each of which costs a file descriptor. It leaves room for the 256
// folders that the blobs of one flow are spread over.
const maxDirs = 320

// dirCache keeps folders open. A file is then created with one system call instead of one for every folder above it,
// which is most of the cost of a small object.
type dirCache struct {
	path string
	mu   sync.Mutex
	root *os.Root
	open map[string]*openDir
}

// openDir is an open folder. It is closed when it has left the cache and nobody uses it any more.
type openDir struct {
	*os.Root
	refs    int
	dropped bool
}

func (c *dirCache) init(path string) {
	c.path = path
	c.open = map[string]*openDir{}
}

// do calls f with the folder dir ("." is the root), which is made first if create is set. Where the folder turns out to
// have been deleted while it was kept open, it is looked up anew and f called again: f must bear that after it failed
// with fs.ErrNotExist.
func (c *dirCache) do(dir string, create bool, f func(*os.Root) error) error {
	d, cached, err := c.acquire(dir, create)
	if err != nil {
		return err
	}
	err = f(d.Root)
	stale := cached && isAbsent(err) && isDeleted(d.Root)
	c.release(dir, d, stale)
	if !stale {
		return err
	}
	if d, _, err = c.acquire(dir, create); err != nil {
		return err
	}
	err = f(d.Root)
	c.release(dir, d, false)
	return err
}

// acquire returns the open folder and whether it was open before.
func (c *dirCache) acquire(dir string, create bool) (d *openDir, cached bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d := c.open[dir]; d != nil {
		d.refs++
		return d, true, nil
	}
	r, err := c.lookUp(dir, create)
	if err != nil {
		return nil, false, err
	}
	for other, o := range c.open {
		if len(c.open) < maxDirs {
			break
		}
		c.drop(other, o) // any one will do
	}
	d = &openDir{Root: r, refs: 1}
	c.open[dir] = d
	return d, false, nil
}

// lookUp opens a folder, and makes it where that is asked for.
func (c *dirCache) lookUp(dir string, create bool) (*os.Root, error) {
	if c.root != nil && isDeleted(c.root) {
		c.root.Close()
		c.root = nil
	}
	if c.root == nil {
		if create {
			if err := os.MkdirAll(c.path, dirMode); err != nil {
				return nil, err
			}
		}
		root, err := os.OpenRoot(c.path)
		if err != nil {
			return nil, err
		}
		c.root = root
	}
	r, err := c.root.OpenRoot(dir)
	if create && errors.Is(err, fs.ErrNotExist) {
		if err = c.root.MkdirAll(dir, dirMode); err == nil {
			r, err = c.root.OpenRoot(dir)
		}
	}
	if err != nil {
		// For a file in the place of the folder, os.Root returns an error that has no name.
		if info, statErr := c.root.Stat(dir); statErr == nil && !info.IsDir() {
			err = &fs.PathError{Op: "open", Path: dir, Err: syscall.ENOTDIR}
		}
	}
	return r, err
}

// release ends the use of a folder; with drop it also leaves the cache.
func (c *dirCache) release(dir string, d *openDir, drop bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d.refs--
	if drop && c.open[dir] == d {
		c.drop(dir, d)
	} else if d.dropped && d.refs == 0 {
		d.Close()
	}
}

func (c *dirCache) drop(dir string, d *openDir) {
	delete(c.open, dir)
	d.dropped = true
	if d.refs == 0 {
		d.Close()
	}
}

func (c *dirCache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for dir, d := range c.open {
		c.drop(dir, d)
	}
	if c.root != nil {
		c.root.Close()
		c.root = nil
	}
}
