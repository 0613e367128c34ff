package datastore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
)

// The values of an included file's descriptor.
const (
	includeV1       = "uploader-v1"
	includeV2       = "uploader-v2"
	includeExternal = "external"
	includeUploaded = "uploaded"
	includeNote     = "Internal representation of IncludeFile"
)

// SaveInclude stores a file for an IncludeFile parameter and returns the descriptor that stands for it, which is JSON
// data: type, url, is_text, encoding (null unless text), note, sub-type and size in bytes (int64). The file lies, packed
// as artifacts are but without metadata, under "data/<Flow>/<digest>".
func (s *Store) SaveInclude(ctx context.Context, flow, file string, isText bool, encoding string) (map[string]any, error) {
	if err := checkName("flow", flow); err != nil {
		return nil, err
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("including a file: %w", err)
	}
	defer f.Close()
	sum, err := sumFile(ctx, f)
	if err != nil {
		return nil, fmt.Errorf("including %s: %w", file, err)
	}
	key := "data/" + flow + "/" + sum.digest
	if err := s.putInclude(ctx, key, f, sum); err != nil {
		return nil, fmt.Errorf("including %s: %w", file, err)
	}
	var enc any
	if encoding != "" {
		enc = encoding
	}
	return map[string]any{
		"type": includeV2, "url": s.rootURL() + "/" + key, "is_text": isText, "encoding": enc,
		"note": includeNote, "sub-type": includeUploaded, "size": sum.size,
	}, nil
}

func (s *Store) putInclude(ctx context.Context, key string, f io.ReaderAt, sum fileSum) error {
	if s.isKnown(key) {
		return nil
	}
	if err := s.ensureFormat(ctx); err != nil {
		return err
	}
	exists, err := s.b.Exists(ctx, key)
	if err != nil {
		return err
	}
	if !exists {
		if err := s.putFile(ctx, key, func() io.Reader { return whole(f) }, sum, nil); err != nil {
			return err
		}
	}
	s.remember(key)
	return nil
}

// rootURL is the root as a url: "local:///home/me/.metaflow", "s3://bucket/prefix".
func (s *Store) rootURL() string {
	root := strings.TrimSuffix(s.b.Root(), "/")
	if strings.Contains(root, "://") {
		return root
	}
	return s.b.Type() + "://" + root
}

// OpenInclude returns a reader of the bytes of an included file, checked as those of Open are. The file has to lie
// below this store's root: see IncludeRoot for one that does not. Errors: ErrNotFound, ErrCorrupt, ErrNewer.
func (s *Store) OpenInclude(ctx context.Context, descriptor map[string]any) (io.ReadCloser, error) {
	url, packed, err := readDescriptor(descriptor)
	if err != nil {
		return nil, err
	}
	key, ok := strings.CutPrefix(url, s.rootURL()+"/")
	if !ok {
		return nil, fmt.Errorf("included file %s lies outside of the datastore %s: %w", url, s.rootURL(), ErrNotFound)
	}
	digest := path.Base(key)
	if !isDigest(digest) || !packed {
		digest = ""
	}
	r, err := s.openBlob(ctx, key, digest, func([]byte) (bool, error) { return !packed, nil })
	if err != nil {
		return nil, fmt.Errorf("opening included file %s: %w", url, err)
	}
	return r, nil
}

// IncludeRoot returns the root of the datastore that an included file was stored in, as a url such as
// "local:///home/me/.metaflow" or "s3://bucket/prefix". It fails for a file that mf and Metaflow did not store
// themselves.
func IncludeRoot(descriptor map[string]any) (string, error) {
	url, packed, err := readDescriptor(descriptor)
	if err != nil {
		return "", err
	}
	rest, digest := path.Split(url) // path.Split keeps "://"
	root, flow := path.Split(strings.TrimSuffix(rest, "/"))
	root, ok := strings.CutSuffix(root, "/data/")
	if !ok || !packed || !isDigest(digest) || flow == "" || !strings.Contains(root, "://") {
		return "", fmt.Errorf("included file %s does not lie in a datastore", url)
	}
	return root, nil
}

// readDescriptor returns where a file is and whether it is packed.
func readDescriptor(d map[string]any) (url string, packed bool, err error) {
	kind, _ := d["type"].(string)
	url, _ = d["url"].(string)
	if url == "" {
		return "", false, errors.New("the descriptor of an included file has no url")
	}
	switch kind {
	case includeV1:
		return url, true, nil
	case includeExternal:
		return url, false, nil
	case includeV2:
		sub, _ := d["sub-type"].(string)
		return url, sub == includeUploaded, nil
	}
	return "", false, fmt.Errorf("included file %s has a descriptor of type %q, this mf knows types up to %q: %w", url, kind, includeV2, ErrNewer)
}
