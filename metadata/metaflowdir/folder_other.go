//go:build !linux

package metaflowdir

import (
	"io/fs"
	"os"
)

// openFolder returns a handle of an existing folder; fs.ErrNotExist if absent.
func openFolder(path string) (folder, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrInvalid}
	}
	return pathFolder(path), nil
}
