// Package gs keeps a datastore in a bucket of Google Cloud Storage, in Metaflow's layout.
//
// It speaks the JSON API, and the XML API for reading, whose answer is the only one that holds an object's user metadata
// beside its bytes; the official client library would add 34 MB to a binary. An object's key is the root's prefix and the
// key of the datastore; user metadata is the custom metadata "metaflow-user-attributes".
package gs

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/transfer"
)

const (
	defaultEndpoint = "https://storage.googleapis.com"
	scope           = "https://www.googleapis.com/auth/devstorage.read_write"
	metaKey         = "metaflow-user-attributes"
	// defaultPart is the size of a range. A chunk of an upload is twice that, as each of them waits for the one before.
	defaultPart = 8 << 20
	// chunkUnit is what the size of a chunk has to be a multiple of.
	chunkUnit = 256 << 10
	// spareParts is how many ranges and chunks there may be in memory beyond one for each transfer.
	spareParts = 12
)

// Options tune a datastore. The zero value is the real Google Cloud Storage with the credentials of the environment.
type Options struct {
	// Endpoint is another server's URL, such as an emulator's: "http://localhost:4443", or only its host and port.
	Endpoint string
	// TokenSource gives access tokens. nil means Google's default credentials, or none where Endpoint is set.
	TokenSource oauth2.TokenSource
	// HTTP sends the requests; nil for one of its own.
	HTTP *http.Client
	// Patience is how long an outage is waited out; 0 means transfer.DefaultPatience.
	Patience time.Duration
	// Notify is told of an outage that is waited out, in one line, and of its end; nil for nobody.
	Notify func(message string)
	// PartSize is the size of a range of a large object in bytes, 8 MiB if 0; it is rounded up to 256 KiB. Objects of up to
	// twice that are written in one request, larger ones in chunks of twice that.
	PartSize int
}

// Backend is a datastore.Backend in a bucket. It also removes and copies.
type Backend struct {
	base, bucket, prefix string
	ownEndpoint          bool
	anonymous            bool
	client               transfer.Client
	reads, writes        *transfer.Pool
	// seen is set once the bucket is known to exist.
	seen atomic.Bool
}

var (
	_ datastore.Backend = (*Backend)(nil)
	_ datastore.Remover = (*Backend)(nil)
	_ datastore.Copier  = (*Backend)(nil)
)

// Open returns the datastore at root, "gs://BUCKET" or "gs://BUCKET/PREFIX". It looks for credentials but sends nothing to
// the bucket.
func Open(ctx context.Context, root string, opt Options) (*Backend, error) {
	bucket, prefix, err := parseRoot(root)
	if err != nil {
		return nil, err
	}
	b := &Backend{base: opt.Endpoint, bucket: bucket, prefix: prefix, ownEndpoint: opt.Endpoint != ""}
	switch {
	case !b.ownEndpoint:
		b.base = defaultEndpoint
	case !strings.Contains(b.base, "://"):
		b.base = "http://" + b.base
	}
	host, err := url.Parse(b.base)
	if err != nil || (host.Scheme != "http" && host.Scheme != "https") || host.Host == "" {
		return nil, fmt.Errorf("invalid Google Cloud Storage endpoint %q: it should be a URL such as http://localhost:4443", opt.Endpoint)
	}
	b.base = strings.TrimRight(b.base, "/")
	source := opt.TokenSource
	if source == nil && !b.ownEndpoint {
		if source, err = defaultTokens(ctx); err != nil {
			return nil, err
		}
	}
	b.anonymous = source == nil
	b.client = transfer.Client{
		HTTP: opt.HTTP, Store: "Google Cloud Storage at " + host.Host, Patience: opt.Patience, Notify: opt.Notify,
	}
	if b.client.HTTP == nil {
		b.client.HTTP = transfer.NewHTTP()
	}
	if source != nil {
		b.client.Sign = signer(source)
	}
	part := opt.PartSize
	if part <= 0 {
		part = defaultPart
	}
	part = (part + chunkUnit - 1) / chunkUnit * chunkUnit
	b.reads, b.writes = transfer.NewPool(part, spareParts), transfer.NewPool(2*part, spareParts/2)
	return b, nil
}

// parallel is how many ranges of one object are fetched at once.
func parallel() int { return min(max(2*runtime.GOMAXPROCS(0), 4), 8) }

// parseRoot splits "gs://BUCKET/PREFIX". Metaflow reads the root as a URL, so a prefix cannot hold "?" or "#".
func parseRoot(root string) (bucket, prefix string, err error) {
	rest, ok := strings.CutPrefix(root, "gs://")
	if !ok {
		return "", "", fmt.Errorf("datastore root %q: it should be gs://BUCKET/PREFIX", root)
	}
	bucket, prefix, _ = strings.Cut(rest, "/")
	prefix = strings.Trim(prefix, "/")
	if len(bucket) < 3 || len(bucket) > 222 || strings.Trim(bucket, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" {
		return "", "", fmt.Errorf("datastore root %q: %q is no bucket name, which has 3 or more of a-z, 0-9, \"-\", \"_\" and \".\"", root, bucket)
	}
	if strings.ContainsAny(prefix, "?#") {
		return "", "", fmt.Errorf("datastore root %q: the prefix must not hold \"?\" or \"#\"", root)
	}
	if err := datastore.CheckPrefix(prefix); err != nil {
		return "", "", fmt.Errorf("datastore root %q: %w", root, err)
	}
	return bucket, prefix, nil
}

// Type returns "gs".
func (b *Backend) Type() string { return "gs" }

// Root returns "gs://BUCKET/PREFIX", without a slash at its end.
func (b *Backend) Root() string {
	if b.prefix == "" {
		return "gs://" + b.bucket
	}
	return "gs://" + b.bucket + "/" + b.prefix
}

// name is the name of the object under key.
func (b *Backend) name(key string) string {
	if b.prefix == "" {
		return key
	}
	return b.prefix + "/" + key
}

// url is the URL of what path names in the JSON API.
func (b *Backend) url(path string, query url.Values) string {
	return b.base + path + "?" + query.Encode()
}

func (b *Backend) bucketPath() string { return "/storage/v1/b/" + b.bucket }

func (b *Backend) objectPath(key string) string {
	return b.bucketPath() + "/o/" + transfer.EscapePath(b.name(key), false)
}

// Exists implements datastore.Backend.
func (b *Backend) Exists(ctx context.Context, key string) (bool, error) {
	if err := datastore.CheckKey(key); err != nil {
		return false, err
	}
	found := false
	req := transfer.Request{Method: http.MethodGet, URL: b.url(b.objectPath(key), url.Values{"fields": {"generation"}})}
	err := b.client.Do(ctx, req, func(resp *http.Response) error {
		found = false
		switch resp.StatusCode {
		case http.StatusOK:
			b.seen.Store(true)
			found = true
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

// Remove implements datastore.Remover.
func (b *Backend) Remove(ctx context.Context, key string) error {
	if err := datastore.CheckKey(key); err != nil {
		return err
	}
	req := transfer.Request{Method: http.MethodDelete, URL: b.base + b.objectPath(key)}
	err := b.client.Do(ctx, req, func(resp *http.Response) error {
		switch resp.StatusCode {
		case http.StatusOK, http.StatusNoContent:
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

// Copy implements datastore.Copier inside the bucket. It reports false if there is nothing to copy.
func (b *Backend) Copy(ctx context.Context, from, to string) (bool, error) {
	if err := errors.Join(datastore.CheckKey(from), datastore.CheckKey(to)); err != nil {
		return false, err
	}
	query := url.Values{"fields": {"done,rewriteToken"}}
	for {
		var answer struct {
			Done  bool   `json:"done"`
			Token string `json:"rewriteToken"`
		}
		req := transfer.Request{
			Method: http.MethodPost,
			URL:    b.url(b.objectPath(from)+"/rewriteTo/b/"+b.bucket+"/o/"+transfer.EscapePath(b.name(to), false), query),
		}
		err := b.client.Do(ctx, req, func(resp *http.Response) error {
			switch resp.StatusCode {
			case http.StatusOK:
				return decode(resp, &answer)
			case http.StatusNotFound:
				return b.absent(ctx, resp)
			}
			return b.refused(resp)
		})
		if errors.Is(err, datastore.ErrNotFound) {
			return false, nil
		}
		if err != nil || answer.Done || answer.Token == "" {
			return err == nil && answer.Done, b.doing("copying to", to, err)
		}
		query.Set("rewriteToken", answer.Token) // a large object is copied in several calls
	}
}
