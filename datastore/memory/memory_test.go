package memory_test

import (
	"testing"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/datastoretest"
	"github.com/mf-run/mf/datastore/memory"
)

func TestContract(t *testing.T) {
	datastoretest.Test(t, func(*testing.T) datastore.Backend { return memory.New(nil) })
}
