package codepackage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/metadata"
)

// Format is what readers of a package have to know of it, the "metadata" of a code package in Metaflow's metadata.
const Format = `{"version": 0, "archive_format": "tgz", "mfcontent_version": 1}`

// Save stores a package as it is, under its digest, and says where. A package that is there already is not written
// again.
func Save(ctx context.Context, store *datastore.Store, flow string, p *Package) (metadata.CodePackage, error) {
	if err := store.SaveRawFile(ctx, flow, p.Digest, p.Path()); err != nil {
		return metadata.CodePackage{}, fmt.Errorf("storing the code package: %w", err)
	}
	return Located(store, flow, p.Digest), nil
}

// Located says where a store keeps a package, as metadata records it.
func Located(store *datastore.Store, flow, digest string) metadata.CodePackage {
	b := store.Backend()
	return metadata.CodePackage{
		DsType: b.Type(), Sha: digest, Metadata: Format,
		Location: strings.TrimRight(b.Root(), "/") + "/" + flow + "/data/" + digest[:2] + "/" + digest,
	}
}

// TaskCode is a code package as a task's begin file names it.
func TaskCode(c metadata.CodePackage) datastore.CodePackage {
	return datastore.CodePackage{Metadata: c.Metadata, Digest: c.Sha, StoreType: c.DsType, URL: c.Location}
}

// Published is a package in a datastore.
type Published struct {
	Code metadata.CodePackage
	// Size is the archive's length in bytes.
	Size int64
	// Listing is what of the folder is in it.
	Listing *Listing
}

// Publish packages the folder dir and stores the package under the flow's name: what a run or a deployment needs before
// its first task starts. Errors are those of Build and of the store.
func Publish(ctx context.Context, store *datastore.Store, flow, dir string, opt Options) (*Published, error) {
	folder, err := Open(dir)
	if err != nil {
		return nil, err
	}
	defer folder.Close()
	p, err := Build(ctx, folder, opt)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	code, err := Save(ctx, store, flow, p)
	if err != nil {
		return nil, err
	}
	return &Published{Code: code, Size: p.Size, Listing: p.Listing}, nil
}

// stagingPrefix starts the name of a folder that a package is being unpacked into.
const stagingPrefix = ".mf-package-"

// Fetch unpacks a stored package into the folder dir, which must be empty or absent. Nothing shows up there before all
// of the package is known to match its digest, so a damaged one never runs. Errors: datastore.ErrNotFound, ErrCorrupt
// and ErrNewer; ErrUnsound.
func Fetch(ctx context.Context, store *datastore.Store, flow, digest, dir string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("fetching the code package: %w", err)
		}
	}()
	entries, err := os.ReadDir(dir)
	exists := err == nil
	switch {
	case exists && len(entries) > 0:
		return fmt.Errorf("the folder %s is not empty", dir)
	case !exists && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	beside := filepath.Dir(filepath.Clean(dir))
	if exists {
		beside = dir // which may be a mount point
	}
	if err := os.MkdirAll(beside, 0o755); err != nil {
		return err
	}
	staging, err := os.MkdirTemp(beside, stagingPrefix)
	if err != nil {
		return err
	}
	defer os.RemoveAll(staging)
	if err := os.Chmod(staging, 0o755); err != nil {
		return err
	}
	if err := fetchInto(ctx, store, flow, digest, staging); err != nil {
		return err
	}
	if !exists {
		return os.Rename(staging, dir)
	}
	return moveUp(staging, dir)
}

// fetchInto unpacks a stored package. Where that fails it looks whether the bytes are those that were stored: if not,
// that is what went wrong.
func fetchInto(ctx context.Context, store *datastore.Store, flow, digest, dir string) error {
	r, err := store.Open(ctx, flow, digest)
	if err != nil {
		return err
	}
	defer r.Close()
	err = Extract(ctx, r, dir)
	if errors.Is(err, ErrUnsound) {
		if _, rest := io.Copy(io.Discard, io.LimitReader(r, maxStream)); errors.Is(rest, datastore.ErrCorrupt) {
			return rest
		}
	}
	return err
}

// moveUp moves what is in a folder into the one around it.
func moveUp(staging, dir string) error {
	entries, err := os.ReadDir(staging)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.Rename(filepath.Join(staging, e.Name()), filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}
