//go:build unix && !linux

package worker

import "syscall"

// maxRSS returns bytes, in which the BSDs and macOS count.
func maxRSS(u *syscall.Rusage) int64 { return int64(u.Maxrss) }
