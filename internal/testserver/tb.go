package testserver

import "context"

// TB is what a test (testing.TB) is to a server; benchmarks outside of tests bring their own.
type TB interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Cleanup(f func())
	Name() string
	Context() context.Context
}
