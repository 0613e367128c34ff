package gs_test

import (
	"testing"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/datastoretest"
	"github.com/mf-run/mf/datastore/gs"
	"github.com/mf-run/mf/internal/testserver"
)

func TestContract(t *testing.T) {
	datastoretest.Test(t, func(t *testing.T) datastore.Backend {
		bucket := testserver.NewGCSBucket(t)
		b, err := gs.Open(t.Context(), "gs://"+bucket.Bucket+"/some/prefix ü", gs.Options{Endpoint: bucket.Endpoint})
		if err != nil {
			t.Fatal(err)
		}
		return b
	})
}
