// Package stores opens the datastore and the metadata service that a configuration names. It is all that knows which
// kinds there are.
package stores

import (
	"context"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/azure"
	"github.com/mf-run/mf/datastore/gs"
	"github.com/mf-run/mf/datastore/local"
	"github.com/mf-run/mf/datastore/s3"
)

// Options tune what is opened. Zero fields take the defaults of what is opened.
type Options struct {
	// Patience is how long an outage is waited out before a call fails; below zero it is not.
	Patience time.Duration
	// Notify is told, in one line, of an outage that is being waited out and of its end; nil for nobody. It may be called
	// concurrently.
	Notify func(message string)
	// Now is the clock.
	Now func() time.Time
}

// Schemes are the kinds of datastore that a root may name, as users write them.
const Schemes = "file:///PATH/.metaflow, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or azure://CONTAINER/PREFIX"

// The variables that say more about a datastore, beside those that its cloud's own tools read.
const (
	// EnvS3Endpoint is Metaflow's name for the URL of an S3-compatible store.
	EnvS3Endpoint = "METAFLOW_S3_ENDPOINT_URL"
	// EnvGSEndpoint is the address of an emulator of Google Cloud Storage, with or without "http://".
	EnvGSEndpoint = "STORAGE_EMULATOR_HOST"
	// EnvAzureEndpoint is Metaflow's name for the URL of a storage account's blob service.
	EnvAzureEndpoint = "METAFLOW_AZURE_STORAGE_BLOB_SERVICE_ENDPOINT"
	// EnvAzureAccount is the account's name, EnvAzureKey a key of it, EnvAzureSAS a shared access signature: the names of
	// Azure's own command line. Without key and signature, Azure's default credentials are used.
	EnvAzureAccount = "AZURE_STORAGE_ACCOUNT"
	EnvAzureKey     = "AZURE_STORAGE_KEY"
	EnvAzureSAS     = "AZURE_STORAGE_SAS_TOKEN"
)

// OpenDatastore opens the datastore at root: one of Schemes, or an absolute path. env reads an environment variable;
// empty means unset. Nothing is asked of the datastore yet.
func OpenDatastore(ctx context.Context, root string, env func(string) string, opt Options) (datastore.Backend, error) {
	if filepath.IsAbs(root) {
		return local.Open(root)
	}
	scheme, _, ok := strings.Cut(root, "://")
	if !ok {
		return nil, fmt.Errorf("datastore %q is not a URL: it should be %s", root, Schemes)
	}
	switch scheme {
	case "file":
		u, err := url.Parse(root)
		if err != nil {
			return nil, fmt.Errorf("datastore %q is not a URL: %w", root, err)
		}
		return local.Open(filepath.FromSlash(u.Path))
	case "s3":
		return s3.Open(ctx, root, s3.Options{Endpoint: env(EnvS3Endpoint), Patience: opt.Patience, Notify: opt.Notify})
	case "gs":
		endpoint := env(EnvGSEndpoint)
		if endpoint != "" && !strings.Contains(endpoint, "://") {
			endpoint = "http://" + endpoint
		}
		return gs.Open(ctx, root, gs.Options{Endpoint: endpoint, Patience: opt.Patience, Notify: opt.Notify})
	case "azure":
		return azure.Open(ctx, root, azure.Options{
			Endpoint: env(EnvAzureEndpoint), Account: env(EnvAzureAccount), Key: env(EnvAzureKey), SAS: env(EnvAzureSAS),
			Patience: opt.Patience, Notify: opt.Notify, Now: opt.Now,
		})
	}
	return nil, fmt.Errorf("datastore %q: there is no kind %q; it should be %s", root, scheme, Schemes)
}
