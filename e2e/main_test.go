//go:build !e2e

package e2e

import "testing"

// around runs the tests between what they need all together: nothing.
func around(m *testing.M) int { return m.Run() }
