package s3

import (
	"context"
	"fmt"
	"iter"
	"net/url"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/mf-run/mf/datastore"
)

// metaFolder is the name of the folders of Metaflow's metadata, which are no part of a listing.
const metaFolder = "_meta"

// List implements datastore.Backend.
func (b *Backend) List(ctx context.Context, prefix string) iter.Seq2[datastore.Entry, error] {
	return func(yield func(datastore.Entry, error) bool) {
		if err := datastore.CheckPrefix(prefix); err != nil {
			yield(datastore.Entry{}, err)
			return
		}
		below := prefix
		if below != "" {
			below += "/"
		}
		var token *string
		var held []datastore.Entry // not yet sure to be the next by name
		for {
			page, err := b.page(ctx, prefix, below, token)
			if err == nil {
				held, err = b.collect(held, page, below)
			}
			if err != nil {
				yield(datastore.Entry{}, err)
				return
			}
			slices.SortFunc(held, func(x, y datastore.Entry) int { return strings.Compare(x.Key, y.Key) })
			more := aws.ToBool(page.IsTruncated) && page.NextContinuationToken != nil
			ready := len(held)
			if more {
				ready = settled(held, len(below))
			}
			for _, e := range held[:ready] {
				if !yield(e, nil) {
					return
				}
			}
			if !more {
				return
			}
			held, token = slices.Clone(held[ready:]), page.NextContinuationToken
		}
	}
}

func (b *Backend) page(ctx context.Context, prefix, below string, token *string) (page *awss3.ListObjectsV2Output, err error) {
	err = b.do(ctx, "listing", prefix, func(ctx context.Context) (err error) {
		page, err = b.client.ListObjectsV2(ctx, &awss3.ListObjectsV2Input{
			Bucket: &b.bucket, Prefix: aws.String(b.prefix + below), Delimiter: aws.String("/"),
			EncodingType: types.EncodingTypeUrl, ContinuationToken: token, // XML cannot hold every name
		})
		return err
	})
	return page, err
}

// collect appends a page's entries.
func (b *Backend) collect(held []datastore.Entry, page *awss3.ListObjectsV2Output, below string) ([]datastore.Entry, error) {
	name := func(s *string) (string, error) {
		text := aws.ToString(s)
		if page.EncodingType == types.EncodingTypeUrl {
			var err error
			if text, err = url.QueryUnescape(text); err != nil {
				return "", fmt.Errorf("listing %s: the store's answer has a name %q that cannot be read: %w", b.urlOf(below), aws.ToString(s), err)
			}
		}
		return strings.TrimPrefix(text, b.prefix), nil
	}
	for _, p := range page.CommonPrefixes {
		key, err := name(p.Prefix)
		if err != nil {
			return nil, err
		}
		key = strings.TrimSuffix(key, "/")
		if len(key) > len(below) && key[len(below):] != metaFolder {
			held = append(held, datastore.Entry{Key: key, Dir: true})
		}
	}
	for _, o := range page.Contents {
		key, err := name(o.Key)
		if err != nil {
			return nil, err
		}
		if len(key) > len(below) { // the folder itself can be an object, made by a web console
			held = append(held, datastore.Entry{Key: key, Size: aws.ToInt64(o.Size), Modified: aws.ToTime(o.LastModified)})
		}
	}
	return held, nil
}

// settled returns how many of the sorted entries come first by name whatever the pages to come hold. The store sorts
// "a-b" before the folder "a/", the datastore by name and so the other way round: an entry waits until the listing is
// past the folders whose name starts its own and goes on with a character below the slash.
func settled(held []datastore.Entry, skip int) int {
	last := "" // by the store's order
	for _, e := range held {
		last = max(last, stored(e))
	}
	for i, e := range held {
		for cut := skip + 1; cut < len(e.Key); cut++ {
			if e.Key[cut] < '/' {
				if e.Key[:cut]+"/" > last {
					return i
				}
				break // longer starts sort before this one
			}
		}
	}
	return len(held)
}

// stored is an entry as the store sorts it.
func stored(e datastore.Entry) string {
	if e.Dir {
		return e.Key + "/"
	}
	return e.Key
}
