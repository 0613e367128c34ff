package s3_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/datastoretest"
	"github.com/mf-run/mf/datastore/s3"
	"github.com/mf-run/mf/internal/testserver"
)

// open returns the datastore in a bucket of a real server.
func open(t testing.TB, bucket testserver.Bucket, change ...func(*s3.Options)) *s3.Backend {
	t.Helper()
	opt := s3.Options{
		Endpoint: bucket.Endpoint, Region: bucket.Region,
		Credentials: credentials.NewStaticCredentialsProvider(bucket.AccessKey, bucket.SecretKey, ""),
	}
	for _, c := range change {
		c(&opt)
	}
	b, err := s3.Open(t.Context(), "s3://"+bucket.Name+"/some/prefix/", opt)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// onDisk is the backend of a server that keeps objects as files.
type onDisk struct{ *s3.Backend }

func (onDisk) OnDisk() bool { return true }

func TestBackend(t *testing.T) {
	datastoretest.Test(t, func(t *testing.T) datastore.Backend {
		return onDisk{open(t, testserver.NewBucket(t))}
	})
}
