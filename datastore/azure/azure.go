// Package azure keeps a datastore in a container of Azure Blob Storage, in Metaflow's layout.
//
// It speaks the REST API; together with the credentials' library the official client of blobs would add 6.5 MB to a
// binary, of which 3.6 are saved. An object's key is the root's prefix and the key of the datastore; user metadata is the
// blob's metadata "metaflow_user_attributes".
package azure

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/transfer"
)

const (
	// version is the version of the REST API.
	version    = "2022-11-02"
	metaHeader = "x-ms-meta-metaflow_user_attributes"
	// defaultPart is the size of a block and of a range.
	defaultPart = 8 << 20
	// spareParts is how many blocks and ranges there may be in memory beyond one for each transfer.
	spareParts = 12
)

// Options tune a datastore. An endpoint or an account is needed. Of Key, SAS and Credential the first that is set counts.
type Options struct {
	// Endpoint is the URL of the account's blob service, such as "https://ACCOUNT.blob.core.windows.net"; it may hold a
	// shared access signature as its query. Empty means the one of Account in the public cloud.
	Endpoint string
	// Account is the storage account's name; empty means that of Endpoint.
	Account string
	// Key is the account's key, in base64.
	Key string
	// SAS is a shared access signature, with or without "?" at its start.
	SAS string
	// Credential gives access tokens. nil means the chain of azidentity.NewDefaultAzureCredential.
	Credential azcore.TokenCredential
	// HTTP sends the requests; nil for one of its own.
	HTTP *http.Client
	// Patience is how long an outage is waited out; 0 means transfer.DefaultPatience.
	Patience time.Duration
	// Notify is told of an outage that is waited out, in one line, and of its end; nil for nobody.
	Notify func(message string)
	// PartSize is the size of a block and of a range of a large object in bytes; 0 means 8 MiB.
	PartSize int
	// Now is the clock, which signatures hold; nil means the machine's.
	Now func() time.Time
}

// Backend is a datastore.Backend in a container. It also removes.
type Backend struct {
	base, container, prefix string
	client                  transfer.Client
	pool                    *transfer.Pool
	// seen is set once the container is known to exist.
	seen atomic.Bool
}

var (
	_ datastore.Backend = (*Backend)(nil)
	_ datastore.Remover = (*Backend)(nil)
)

// Open returns the datastore at root: "CONTAINER/PREFIX", as Metaflow has it, or "azure://CONTAINER/PREFIX". It sends
// nothing.
func Open(_ context.Context, root string, opt Options) (*Backend, error) {
	container, prefix, err := parseRoot(root)
	if err != nil {
		return nil, err
	}
	endpoint, account, sas, err := parseEndpoint(opt)
	if err != nil {
		return nil, err
	}
	b := &Backend{base: strings.TrimRight(endpoint.String(), "/"), container: container, prefix: prefix}
	b.client = transfer.Client{
		HTTP: opt.HTTP, Store: "Azure Blob Storage at " + endpoint.Host, Patience: opt.Patience, Notify: opt.Notify,
	}
	if b.client.HTTP == nil {
		b.client.HTTP = transfer.NewHTTP()
	}
	opt.Account, opt.SAS = account, sas
	if b.client.Sign, err = signer(endpoint, opt); err != nil {
		return nil, err
	}
	part := opt.PartSize
	if part <= 0 {
		part = defaultPart
	}
	b.pool = transfer.NewPool(part, spareParts)
	return b, nil
}

// parallel is how many parts of one object are on their way at once.
func parallel() int { return min(max(2*runtime.GOMAXPROCS(0), 4), 8) }

// parseRoot splits a root. Metaflow refuses slashes at the ends and double ones.
func parseRoot(root string) (container, prefix string, err error) {
	rest, isURL := strings.CutPrefix(root, "azure://")
	if isURL {
		rest = strings.TrimRight(rest, "/")
	}
	container, prefix, more := strings.Cut(rest, "/")
	if n := len(container); n < 3 || n > 63 || strings.Trim(container, "abcdefghijklmnopqrstuvwxyz0123456789-$") != "" {
		return "", "", fmt.Errorf("datastore root %q: it should be CONTAINER/PREFIX or azure://CONTAINER/PREFIX, and %q is no container name, which has 3 to 63 of a-z, 0-9 and \"-\"", root, container)
	}
	if more && prefix == "" {
		return "", "", fmt.Errorf("datastore root %q: it must not end in a slash", root)
	}
	if err := datastore.CheckPrefix(prefix); err != nil {
		return "", "", fmt.Errorf("datastore root %q: %w", root, err)
	}
	return container, prefix, nil
}

// parseEndpoint finds the service's URL, the account's name and the shared access signature, each from wherever it is
// given.
func parseEndpoint(opt Options) (endpoint *url.URL, account, sas string, err error) {
	text := opt.Endpoint
	if text == "" {
		if opt.Account == "" {
			return nil, "", "", errors.New("no Azure storage account is named: set METAFLOW_AZURE_STORAGE_BLOB_SERVICE_ENDPOINT to its URL, such as https://ACCOUNT.blob.core.windows.net")
		}
		text = "https://" + opt.Account + ".blob.core.windows.net"
	}
	endpoint, err = url.Parse(text)
	if err != nil || (endpoint.Scheme != "http" && endpoint.Scheme != "https") || endpoint.Host == "" {
		shown, _, _ := strings.Cut(text, "?") // what follows may be a signature
		return nil, "", "", fmt.Errorf("invalid Azure endpoint %q: it should be a URL such as https://ACCOUNT.blob.core.windows.net", shown)
	}
	account, sas = opt.Account, strings.TrimPrefix(opt.SAS, "?")
	if sas == "" {
		sas = endpoint.RawQuery
	}
	endpoint.RawQuery, endpoint.Fragment, endpoint.User = "", "", nil
	if account == "" {
		host := endpoint.Hostname()
		label, _, dots := strings.Cut(host, ".")
		path, _, _ := strings.Cut(strings.TrimPrefix(endpoint.Path, "/"), "/")
		if account = label; path != "" || !dots || net.ParseIP(host) != nil { // as emulators have it
			account = path
		}
	}
	return endpoint, account, sas, nil
}

// Type returns "azure".
func (b *Backend) Type() string { return "azure" }

// Root returns "CONTAINER/PREFIX".
func (b *Backend) Root() string {
	if b.prefix == "" {
		return b.container
	}
	return b.container + "/" + b.prefix
}

// blobURL is the URL of the blob under key.
func (b *Backend) blobURL(key string) string {
	name := key
	if b.prefix != "" {
		name = b.prefix + "/" + key
	}
	return b.base + "/" + b.container + "/" + transfer.EscapePath(name, true)
}

// Exists implements datastore.Backend.
func (b *Backend) Exists(ctx context.Context, key string) (bool, error) {
	if err := datastore.CheckKey(key); err != nil {
		return false, err
	}
	found := false
	req := transfer.Request{Method: http.MethodHead, URL: b.blobURL(key)}
	err := b.client.Do(ctx, req, func(resp *http.Response) error {
		found = resp.StatusCode == http.StatusOK && !isFolder(resp.Header)
		switch resp.StatusCode {
		case http.StatusOK:
			b.seen.Store(true)
			return nil
		case http.StatusNotFound:
			return b.absent(ctx, resp)
		}
		return b.refused(resp)
	})
	if errors.Is(err, datastore.ErrNotFound) {
		return false, nil
	}
	return found, b.doing("looking for", key, err)
}

// isFolder reports whether a blob stands for a folder, as accounts with a hierarchical namespace have it.
func isFolder(h http.Header) bool { return h.Get("x-ms-meta-hdi_isfolder") == "true" }

// Remove implements datastore.Remover.
func (b *Backend) Remove(ctx context.Context, key string) error {
	if err := datastore.CheckKey(key); err != nil {
		return err
	}
	req := transfer.Request{Method: http.MethodDelete, URL: b.blobURL(key), Header: http.Header{"X-Ms-Delete-Snapshots": {"include"}}}
	err := b.client.Do(ctx, req, func(resp *http.Response) error {
		switch resp.StatusCode {
		case http.StatusAccepted:
			return nil
		case http.StatusNotFound:
			return b.absent(ctx, resp)
		}
		return b.refused(resp)
	})
	if errors.Is(err, datastore.ErrNotFound) {
		return nil
	}
	return b.doing("removing", key, err)
}
