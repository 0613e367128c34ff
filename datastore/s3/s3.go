// Package s3 keeps a datastore in an S3 bucket, in the layout of Metaflow's S3 storage: on AWS or on any store that
// speaks its protocol.
//
// An object's key is the root's prefix, a slash and the key; its user metadata is one S3 metadatum. Large objects are
// sent and fetched in parts at once, out of buffers of bounded number. An outage of the store is waited out; what
// waiting cannot mend (a missing bucket, wrong credentials) is an error at once that says what to do.
package s3

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/mf-run/mf/datastore"
)

// metaKey is the S3 metadatum that holds an object's user metadata, JSON text in ASCII; Metaflow's name for it.
const metaKey = "metaflow-user-attributes"

const (
	defaultPatience = 10 * time.Minute
	defaultPart     = 8 << 20
	minPart         = 5 << 20 // S3 refuses smaller parts but for the last
	defaultRegion   = "us-east-1"
)

// Options say how a bucket is reached. Zero fields take defaults.
type Options struct {
	// Endpoint is the URL of an S3-compatible store, whose buckets are then addressed by path; empty for AWS or for what
	// the SDK's settings name (AWS_ENDPOINT_URL_S3).
	Endpoint string
	// Region is the bucket's region; empty for what the SDK's settings name (AWS_REGION, the profile), else us-east-1.
	Region string
	// Credentials sign the requests; nil for the SDK's default chain.
	Credentials aws.CredentialsProvider
	// Patience is how long an outage is waited out before a call fails; 0 for 10 minutes, negative for not at all.
	Patience time.Duration
	// PartSize is the length in bytes of the parts in which objects are sent and fetched, at least 5 MiB; 0 for 8 MiB.
	PartSize int
	// Concurrency is the number of parts under way at once for one object; 0 for a number that suits the machine.
	Concurrency int
	// Notify is told, in one line, of an outage that is being waited out and of its end; nil for nobody.
	Notify func(message string)
}

// Backend is a datastore.Backend in an S3 bucket. It also removes, copies and puts once.
type Backend struct {
	client      *awss3.Client
	root        string // as given, without trailing slash
	bucket      string
	prefix      string // of all keys; empty or ending in a slash
	region      string
	patience    time.Duration
	partSize    int
	concurrency int
	notify      func(string)

	buffers  sync.Pool     // *[]byte of partSize
	sending  chan struct{} // one for each buffer that Puts use
	fetching chan struct{} // one for each buffer that readers use beyond their first

	reached       atomic.Bool // the store has answered once
	down          atomic.Bool // an outage has been told of
	conditional   atomic.Bool // the store is known to heed If-None-Match
	noConditional atomic.Bool // the store is known not to have it
	noChecksums   atomic.Bool // the store is known not to have checksums
}

var (
	_ datastore.Backend    = (*Backend)(nil)
	_ datastore.Remover    = (*Backend)(nil)
	_ datastore.Copier     = (*Backend)(nil)
	_ datastore.OncePutter = (*Backend)(nil)
)

// bucketName is what S3 takes, older buckets included, and what an access point's alias looks like.
var bucketName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]$`)

// Open returns the datastore at root, "s3://bucket" or "s3://bucket/prefix". It reads the SDK's settings but does not
// ask the store; what is wrong with the bucket or the credentials shows with the first call.
func Open(ctx context.Context, root string, opt Options) (*Backend, error) {
	b := &Backend{root: strings.TrimRight(root, "/"), notify: opt.Notify}
	rest, ok := strings.CutPrefix(b.root, "s3://")
	b.bucket, b.prefix, _ = strings.Cut(rest, "/")
	if !ok || !bucketName.MatchString(b.bucket) {
		return nil, fmt.Errorf("datastore root %q: it must be s3://BUCKET or s3://BUCKET/PREFIX", root)
	}
	if b.prefix != "" {
		if err := datastore.CheckPrefix(b.prefix); err != nil {
			return nil, fmt.Errorf("datastore root %q: its prefix: %w", root, err)
		}
		b.prefix += "/"
	}
	if err := b.size(opt); err != nil {
		return nil, err
	}
	client, err := newClient(ctx, opt)
	if err != nil {
		return nil, fmt.Errorf("opening datastore %s: %w", b.root, err)
	}
	b.client, b.region = client, client.Options().Region
	return b, nil
}

// size sets how much is done at once.
func (b *Backend) size(opt Options) error {
	b.patience, b.partSize, b.concurrency = opt.Patience, opt.PartSize, opt.Concurrency
	if b.patience == 0 {
		b.patience = defaultPatience
	}
	if b.partSize == 0 {
		b.partSize = defaultPart
	}
	if b.partSize < minPart {
		return fmt.Errorf("a part size of %d bytes: S3 takes parts of %d bytes and more", b.partSize, minPart)
	}
	if b.concurrency <= 0 {
		b.concurrency = min(max(4, 2*runtime.GOMAXPROCS(0)), 12)
	}
	b.buffers.New = func() any {
		buf := make([]byte, b.partSize)
		return &buf
	}
	b.sending = make(chan struct{}, 2*b.concurrency)
	b.fetching = make(chan struct{}, 2*b.concurrency)
	return nil
}

// newClient makes the SDK's client. It does not retry: the backend does, for as long as its patience lasts.
func newClient(ctx context.Context, opt Options) (*awss3.Client, error) {
	if opt.Endpoint != "" {
		u, err := url.Parse(opt.Endpoint)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
			return nil, errors.New("the S3 endpoint must be a URL such as https://s3.example.org:9000, without user and password")
		}
	}
	settings := []func(*config.LoadOptions) error{config.WithHTTPClient(newHTTPClient())}
	if opt.Region != "" {
		settings = append(settings, config.WithRegion(opt.Region))
	}
	if opt.Credentials != nil {
		settings = append(settings, config.WithCredentialsProvider(opt.Credentials))
	}
	cfg, err := config.LoadDefaultConfig(ctx, settings...)
	if err != nil {
		return nil, fmt.Errorf("reading the AWS settings: %w", err)
	}
	if cfg.Region == "" {
		cfg.Region = defaultRegion
	}
	cfg.Credentials = markCredentials(cfg.Credentials)
	return awss3.NewFromConfig(cfg, func(o *awss3.Options) {
		o.Retryer = aws.NopRetryer{}
		// The SDK's own checksums come as trailers, which plain stores refuse. The backend sends them as headers, which
		// stores without checksums ignore.
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		o.DisableLogOutputChecksumValidationSkipped = true
		o.ContinueHeaderThresholdBytes = -1 // parts are sent again cheaply; asking first costs a round trip each
		if opt.Endpoint != "" {
			o.BaseEndpoint = aws.String(opt.Endpoint)
		}
		o.UsePathStyle = o.BaseEndpoint != nil
	}), nil
}

// Type returns "s3".
func (b *Backend) Type() string { return "s3" }

// Root returns the URL of the root, without trailing slash.
func (b *Backend) Root() string { return b.root }

func (b *Backend) object(key string) *string { return aws.String(b.prefix + key) }

// Exists implements datastore.Backend. It asks for one byte rather than for the head, because only the answer to a GET
// tells a missing bucket from a missing object.
func (b *Backend) Exists(ctx context.Context, key string) (bool, error) {
	if err := datastore.CheckKey(key); err != nil {
		return false, err
	}
	err := b.do(ctx, "looking for", key, func(ctx context.Context) error {
		out, err := b.client.GetObject(ctx, &awss3.GetObjectInput{Bucket: &b.bucket, Key: b.object(key), Range: aws.String("bytes=0-0")})
		if err != nil {
			return err
		}
		drain(out.Body)
		return nil
	})
	switch {
	case err == nil || statusOf(err) == 416: // it has no first byte
		return true, nil
	case errors.Is(err, datastore.ErrNotFound):
		return false, nil
	}
	return false, err
}

// Remove implements datastore.Remover.
func (b *Backend) Remove(ctx context.Context, key string) error {
	if err := datastore.CheckKey(key); err != nil {
		return err
	}
	err := b.do(ctx, "removing", key, func(ctx context.Context) error {
		_, err := b.client.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: &b.bucket, Key: b.object(key)})
		return err
	})
	if errors.Is(err, datastore.ErrNotFound) {
		return nil
	}
	return err
}

// Copy implements datastore.Copier: the store copies the bytes.
func (b *Backend) Copy(ctx context.Context, from, to string) (bool, error) {
	if err := errors.Join(datastore.CheckKey(from), datastore.CheckKey(to)); err != nil {
		return false, err
	}
	err := b.do(ctx, "copying", from, func(ctx context.Context) error {
		_, err := b.client.CopyObject(ctx, &awss3.CopyObjectInput{
			Bucket: &b.bucket, Key: b.object(to), CopySource: aws.String(escapePath(b.bucket + "/" + b.prefix + from)),
		})
		return err
	})
	if code := codeOf(err); code == "NotImplemented" || code == "InvalidRequest" || code == "EntityTooLarge" {
		return false, nil // for instance an object of over 5 GiB
	}
	return err == nil, err
}

// escapePath escapes all of a path but its slashes.
func escapePath(path string) string {
	parts := strings.Split(path, "/")
	for i, p := range parts {
		parts[i] = strings.ReplaceAll(url.QueryEscape(p), "+", "%20")
	}
	return strings.Join(parts, "/")
}
