//go:build !linux

package main

import "runtime/debug"

// leaveStart has the system take back the memory that only the start needed.
func leaveStart() { debug.FreeOSMemory() }
