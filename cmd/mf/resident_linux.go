package main

import (
	"os"
	"runtime/debug"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// leaveStart has the system take back the memory that only the start needed: garbage, and the many pages of the program,
// made for every command, that initialising its packages touched. Pages that are needed come back from the file.
func leaveStart() {
	debug.FreeOSMemory()
	program, err := os.Executable()
	if err != nil {
		return
	}
	mappings, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return
	}
	for start, size := range unwritten(string(mappings), program) {
		// What fails leaves the memory where it is.
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, start, size, unix.MADV_DONTNEED)
	}
}

// unwritten yields the mappings of a program's file, from a text like /proc/self/smaps, that are as in the file: they
// cannot be written, and no loader has done so before.
func unwritten(smaps, program string) func(yield func(start, size uintptr) bool) {
	return func(yield func(start, size uintptr) bool) {
		var start, end uint64
		ours, same := false, 0
		for line := range strings.Lines(smaps) {
			fields := strings.Fields(line)
			if len(fields) < 2 {
				continue
			}
			if !strings.HasSuffix(fields[0], ":") {
				from, to, _ := strings.Cut(fields[0], "-")
				var err1, err2 error
				start, err1 = strconv.ParseUint(from, 16, 64)
				end, err2 = strconv.ParseUint(to, 16, 64)
				ours = len(fields) == 6 && fields[5] == program && !strings.Contains(fields[1], "w") && err1 == nil && err2 == nil && end > start
				same = 0
				continue
			}
			if (fields[0] == "Anonymous:" || fields[0] == "Swap:") && fields[1] == "0" {
				if same++; ours && same == 2 && !yield(uintptr(start), uintptr(end-start)) {
					return
				}
			}
		}
	}
}
