package local

import (
	"errors"
	"os"
	"syscall"
)

const (
	errorDiskFull   = syscall.Errno(112) // ERROR_DISK_FULL
	errorHandleFull = syscall.Errno(39)  // ERROR_HANDLE_DISK_FULL
	errorProtected  = syscall.Errno(19)  // ERROR_WRITE_PROTECT
)

func isDiskFull(err error) bool {
	return errors.Is(err, errorDiskFull) || errors.Is(err, errorHandleFull)
}

func isReadOnly(err error) bool { return errors.Is(err, errorProtected) }

func isNotDir(err error) bool { return errors.Is(err, syscall.ENOTDIR) }

// isDeleted reports whether an open folder may have been deleted. There is no cheap way to know.
func isDeleted(*os.Root) bool { return true }

// linkUnsupported reports whether err says that the file system has no hard links.
func linkUnsupported(err error) bool {
	return errors.Is(err, syscall.Errno(1)) || errors.Is(err, syscall.Errno(50)) // ERROR_INVALID_FUNCTION, ERROR_NOT_SUPPORTED
}

// plainOpen is a flag for opening files that is worth something elsewhere.
const plainOpen = 0
