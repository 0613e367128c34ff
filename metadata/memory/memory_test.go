package memory_test

import (
	"testing"

	"github.com/mf-run/mf/metadata/memory"
	"github.com/mf-run/mf/metadata/metadatatest"
)

func TestContract(t *testing.T) {
	metadatatest.Test(t, func(_ *testing.T, clock *metadatatest.Clock) metadatatest.Store {
		return memory.New(clock.Now)
	})
}

func TestLocalIDs(t *testing.T) {
	metadatatest.TestLocalIDs(t, func(_ *testing.T, clock *metadatatest.Clock) metadatatest.Store {
		return memory.New(clock.Now)
	})
}
