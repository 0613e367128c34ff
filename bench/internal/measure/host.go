//go:build unix

package measure

import (
	"context"
	"log"
)

// Host is where the servers of internal/testserver are started outside of tests. Close ends them.
type Host struct {
	name     string
	cleanups []func()
}

// NewHost returns a host of this name.
func NewHost(name string) *Host { return &Host{name: name} }

// Helper implements testserver.TB, as the methods below do.
func (h *Host) Helper() {}

// Fatal ends the program.
func (h *Host) Fatal(args ...any) {
	h.Close()
	log.Fatal(args...)
}

// Fatalf ends the program.
func (h *Host) Fatalf(format string, args ...any) {
	h.Close()
	log.Fatalf(format, args...)
}

// Cleanup has f called by Close.
func (h *Host) Cleanup(f func()) { h.cleanups = append(h.cleanups, f) }

// Name returns the host's name.
func (h *Host) Name() string { return h.name }

// Context returns one that never ends.
func (h *Host) Context() context.Context { return context.Background() }

// Close ends the servers, the last one first.
func (h *Host) Close() {
	for i := len(h.cleanups) - 1; i >= 0; i-- {
		h.cleanups[i]()
	}
	h.cleanups = nil
}
