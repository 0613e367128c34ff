//go:build !linux && !darwin

package metaflowdir

import "context"

// lockFolder does nothing where folders cannot be locked: there only threads of one process take turns.
func lockFolder(context.Context, string) (unlock func() error, err error) {
	return func() error { return nil }, nil
}
