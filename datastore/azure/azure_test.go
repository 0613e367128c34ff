package azure_test

import (
	"testing"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/azure"
	"github.com/mf-run/mf/datastore/datastoretest"
	"github.com/mf-run/mf/internal/testserver"
)

func TestContract(t *testing.T) {
	datastoretest.Test(t, func(t *testing.T) datastore.Backend {
		server := testserver.NewAzureContainer(t)
		b, err := azure.Open(t.Context(), server.Container+"/some/prefix ü", azure.Options{
			Endpoint: server.Endpoint, Key: server.Key,
		})
		if err != nil {
			t.Fatal(err)
		}
		return b
	})
}
