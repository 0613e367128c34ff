package codepackage

import (
	"errors"
	"syscall"
)

// isNotDir reports whether a file is where a folder is to be.
func isNotDir(err error) bool {
	return errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ERROR_PATH_NOT_FOUND)
}
