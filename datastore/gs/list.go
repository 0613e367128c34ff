package gs

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/transfer"
)

// List implements datastore.Backend.
func (b *Backend) List(ctx context.Context, prefix string) iter.Seq2[datastore.Entry, error] {
	return transfer.List(ctx, prefix, b.pages)
}

// page is one answer of a listing.
type page struct {
	Items []struct {
		Name    string    `json:"name"`
		Size    int64     `json:"size,string"`
		Updated time.Time `json:"updated"`
	} `json:"items"`
	Prefixes []string `json:"prefixes"`
	Next     string   `json:"nextPageToken"`
}

// pages adds the entries of a folder, which ends in a slash or is empty.
func (b *Backend) pages(ctx context.Context, folder string, add func(datastore.Entry)) error {
	root := ""
	if b.prefix != "" {
		root = b.prefix + "/"
	}
	query := url.Values{
		"prefix": {root + folder}, "delimiter": {"/"}, "maxResults": {"1000"},
		"fields": {"items(name,size,updated),prefixes,nextPageToken"},
	}
	for {
		var p page
		req := transfer.Request{Method: http.MethodGet, URL: b.url(b.bucketPath()+"/o", query)}
		err := b.client.Do(ctx, req, func(resp *http.Response) error {
			p = page{}
			if resp.StatusCode != http.StatusOK {
				return b.refused(resp)
			}
			b.seen.Store(true)
			return decode(resp, &p)
		})
		if err != nil {
			return b.doing("listing", folder, err)
		}
		for _, item := range p.Items {
			add(datastore.Entry{Key: strings.TrimPrefix(item.Name, root), Size: item.Size, Modified: item.Updated})
		}
		for _, name := range p.Prefixes {
			add(datastore.Entry{Key: strings.TrimSuffix(strings.TrimPrefix(name, root), "/"), Dir: true})
		}
		if p.Next == "" {
			return nil
		}
		if p.Next == query.Get("pageToken") {
			return b.doing("listing", folder, fmt.Errorf("the server repeats a page"))
		}
		query.Set("pageToken", p.Next)
	}
}
