package worker

import "syscall"

// maxRSS returns bytes; Linux counts in KiB.
func maxRSS(u *syscall.Rusage) int64 { return u.Maxrss * 1024 }
