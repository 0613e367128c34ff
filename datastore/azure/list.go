package azure

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
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

// blobName is a name in a listing; one with characters that XML cannot hold is percent-encoded.
type blobName struct {
	Encoded bool   `xml:"Encoded,attr"`
	Text    string `xml:",chardata"`
}

func (n blobName) decode() (string, error) {
	if !n.Encoded {
		return n.Text, nil
	}
	return url.PathUnescape(n.Text)
}

// page is one answer of a listing.
type page struct {
	Blobs []struct {
		Name       blobName
		Properties struct {
			Size     int64  `xml:"Content-Length"`
			Modified string `xml:"Last-Modified"`
			// ResourceType is "directory" for the blob that stands for a folder.
			ResourceType string
		}
	} `xml:"Blobs>Blob"`
	Prefixes []struct {
		Name blobName
	} `xml:"Blobs>BlobPrefix"`
	Next string `xml:"NextMarker"`
}

// maxPage bounds a page of a listing, in bytes.
const maxPage = 64 << 20

// pages adds the entries of a folder, which ends in a slash or is empty.
func (b *Backend) pages(ctx context.Context, folder string, add func(datastore.Entry)) error {
	root := ""
	if b.prefix != "" {
		root = b.prefix + "/"
	}
	query := url.Values{"restype": {"container"}, "comp": {"list"}, "delimiter": {"/"}}
	if root+folder != "" {
		query.Set("prefix", root+folder)
	}
	for {
		var p page
		req := transfer.Request{Method: http.MethodGet, URL: b.base + "/" + b.container + "?" + query.Encode()}
		err := b.client.Do(ctx, req, func(resp *http.Response) error {
			if resp.StatusCode != http.StatusOK {
				return b.refused(resp)
			}
			b.seen.Store(true)
			data, err := io.ReadAll(io.LimitReader(resp.Body, maxPage))
			if err != nil {
				return err
			}
			p = page{}
			if err := xml.Unmarshal(data, &p); err != nil {
				return fmt.Errorf("the answer is not the expected XML: %w", err)
			}
			return nil
		})
		if err == nil {
			err = p.add(root, add)
		}
		if err == nil && p.Next != "" && p.Next == query.Get("marker") {
			err = errors.New("the server repeats a page")
		}
		if err != nil {
			return b.doing("listing", folder, err)
		}
		if p.Next == "" {
			return nil
		}
		query.Set("marker", p.Next)
	}
}

// add adds what the page holds below root.
func (p page) add(root string, add func(datastore.Entry)) error {
	for _, item := range p.Blobs {
		if item.Properties.ResourceType == "directory" {
			continue
		}
		name, err := item.Name.decode()
		if err != nil {
			return err
		}
		modified, err := time.Parse(time.RFC1123, item.Properties.Modified)
		if err != nil {
			return fmt.Errorf("the time of %s: %w", name, err)
		}
		add(datastore.Entry{Key: strings.TrimPrefix(name, root), Size: item.Properties.Size, Modified: modified.UTC()})
	}
	for _, item := range p.Prefixes {
		name, err := item.Name.decode()
		if err != nil {
			return err
		}
		add(datastore.Entry{Key: strings.TrimSuffix(strings.TrimPrefix(name, root), "/"), Dir: true})
	}
	return nil
}
