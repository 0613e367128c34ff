package codepackage

import (
	"archive/tar"
	"context"
	"crypto/sha1" //nolint:gosec // the key of Metaflow's store
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/klauspost/compress/gzip"
)

// The names of the layout, which is Metaflow's layout 1. Everything else in an archive is the user's.
const (
	// marker says which layout an archive has.
	marker = ".mf_install"
	// metaDir holds what is said of the package, codeDir libraries that travel along; mf has none.
	metaDir = ".mf_meta"
	codeDir = ".mf_code"
)

// The files of metaDir.
const (
	// InfoFile is Metaflow's environment info, JSON.
	InfoFile = metaDir + "/INFO"
	// ConfigFile is the values of the flow's configs, JSON.
	ConfigFile = metaDir + "/CONFIG"
	// IRFile is the flow, as ir.Marshal writes it.
	IRFile = metaDir + "/ir.json"
	// ManifestFile is a Manifest, JSON.
	ManifestFile = metaDir + "/mf.json"
)

// Info is what Metaflow's client shows as a package's info. Every field that is set makes the package another one, so
// what is not about the files is better left empty.
type Info struct {
	Platform          string `json:"platform,omitempty"`
	Username          string `json:"username,omitempty"`
	ProductionToken   string `json:"production_token,omitempty"`
	Runtime           string `json:"runtime,omitempty"`
	EnvironmentType   string `json:"environment_type,omitempty"`
	UseR              bool   `json:"use_r"`
	PythonVersion     string `json:"python_version,omitempty"`
	PythonVersionCode string `json:"python_version_code,omitempty"`
	MetaflowVersion   string `json:"metaflow_version,omitempty"`
	// Script is the flow file, which the client needs; Build sets it.
	Script     string `json:"script"`
	RepoURL    string `json:"repo_url,omitempty"`
	BranchName string `json:"branch_name,omitempty"`
	CommitSha  string `json:"commit_sha,omitempty"`
}

// Manifest says what mf needs to know of a package before it runs what is in it.
type Manifest struct {
	// Version is that of this format: 1.
	Version int `json:"version"`
	// MF is the version of mf that made the package, SDK the digest of the SDK that the flow was read with.
	MF  string `json:"mf"`
	SDK string `json:"sdk"`
	// Entry is the flow file, relative to the package.
	Entry string `json:"entry"`
}

// manifestVersion is the Manifest.Version that this package writes, and the newest that it reads.
const manifestVersion = 1

// Options are what goes into a package beside the folder.
type Options struct {
	// Entry is the flow file's name in the folder.
	Entry string
	// IR is the flow, as ir.Marshal writes it.
	IR []byte
	// Config is the content of ConfigFile: {"user_configs": {name: [value, is_plain]}}. Empty for a flow without configs.
	Config []byte
	Info   Info
	// MFVersion is the version of mf, SDKDigest the digest of its SDK.
	MFVersion, SDKDigest string
	// LeaveOut names further files of the folder that stay behind.
	LeaveOut []string
	// TempDir is where the archive is written to; empty for the system's folder.
	TempDir string
}

// Package is an archive in a temporary file. Close it after use.
type Package struct {
	// Digest is the lower-case hex SHA-1 of the archive, Size its length in bytes.
	Digest string
	Size   int64
	// Listing is what of the folder is in it.
	Listing *Listing
	path    string
}

// Path is the archive's file, which is there until Close.
func (p *Package) Path() string { return p.path }

// Close removes the file.
func (p *Package) Close() error { return os.Remove(p.path) }

// maxExtras bounds what is in a package beside the files of the folder, in bytes.
const maxExtras = 64 << 20

// Build archives a folder into a temporary file. It holds no more than a few buffers in memory. Errors: *TooLargeError,
// *TooManyError; an error that names the flow file if the ignore files leave that out.
func Build(ctx context.Context, folder *Folder, opt Options) (*Package, error) {
	list, err := folder.collect(ctx, opt.LeaveOut)
	if err != nil {
		return nil, err
	}
	if err := checkEntry(list, opt.Entry); err != nil {
		return nil, err
	}
	extras, err := opt.extras()
	if err != nil {
		return nil, fmt.Errorf("packaging the flow: %w", err)
	}
	f, err := os.CreateTemp(opt.TempDir, "mf-package-*.tgz")
	if err != nil {
		return nil, fmt.Errorf("packaging the flow: %w", err)
	}
	p := &Package{Listing: list, path: f.Name()}
	sum := sha1.New() //nolint:gosec // see above
	out := &counter{w: io.MultiWriter(f, sum)}
	err = write(ctx, out, folder.fs, list.Files, extras)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		os.Remove(f.Name())
		return nil, fmt.Errorf("packaging the flow: %w", err)
	}
	p.Digest, p.Size = hex.EncodeToString(sum.Sum(nil)), out.n
	return p, nil
}

func checkEntry(list *Listing, entry string) error {
	if slices.ContainsFunc(list.Files, func(f File) bool { return f.Path == entry }) {
		return nil
	}
	for _, o := range list.LeftOut {
		if o.Path == entry {
			return fmt.Errorf("the flow file %s itself would stay behind: %s says %s; the line !%s in .mfignore brings it along", entry, o.By, o.Rule, entry)
		}
	}
	return fmt.Errorf("packaging the flow: there is no file %q in its folder", entry)
}

// extra is a file that is not in the folder.
type extra struct {
	path string
	data []byte
}

// extras are the layout's own files.
func (opt Options) extras() ([]extra, error) {
	info := opt.Info
	info.Script = opt.Entry
	infoJSON, err := json.Marshal(info)
	if err != nil {
		return nil, err
	}
	manifest, err := json.Marshal(Manifest{Version: manifestVersion, MF: opt.MFVersion, SDK: opt.SDKDigest, Entry: opt.Entry})
	if err != nil {
		return nil, err
	}
	config := opt.Config
	if len(config) == 0 {
		config = []byte("{}")
	}
	if size := len(opt.IR) + len(config); size > maxExtras-1<<20 {
		return nil, fmt.Errorf("the flow and its configs have %d MiB as JSON, at most %d are allowed", size>>20, (maxExtras-1<<20)>>20)
	}
	return []extra{
		{marker, []byte(`{"version": 1, "module_files": []}`)},
		{ConfigFile, config}, {InfoFile, infoJSON}, {IRFile, opt.IR}, {ManifestFile, manifest},
	}, nil
}

// epoch is the modification time of every member: archives of equal files are equal. 2019-12-03 08:00 UTC, which
// Metaflow uses too.
var epoch = time.Unix(1575360000, 0).UTC()

// write writes the archive, a gzip-compressed tar, with the extra files first. The compressor is one of this module's
// dependencies, not the standard library's, so that its output does not change with the Go release.
func write(ctx context.Context, w io.Writer, folder fs.FS, files []File, extras []extra) error {
	zip, err := gzip.NewWriterLevel(w, 3)
	if err != nil {
		return err
	}
	archive := tar.NewWriter(zip)
	for _, e := range extras {
		if err := archive.WriteHeader(header(File{Path: e.path, Size: int64(len(e.data))})); err != nil {
			return err
		}
		if _, err := archive.Write(e.data); err != nil {
			return err
		}
	}
	for _, file := range files {
		if err := writeFile(ctx, archive, folder, file); err != nil {
			return fmt.Errorf("%s: %w", file.Path, err)
		}
	}
	return errors.Join(archive.Close(), zip.Close())
}

func header(file File) *tar.Header {
	mode := int64(0o644)
	if file.Executable {
		mode = 0o755
	}
	return &tar.Header{Name: file.Path, Size: file.Size, Mode: mode, ModTime: epoch, Format: tar.FormatPAX}
}

func writeFile(ctx context.Context, archive *tar.Writer, folder fs.FS, file File) error {
	f, err := folder.Open(file.Path)
	if err != nil {
		return fmt.Errorf("%w; .mfignore can leave it out", err)
	}
	defer f.Close()
	if err := archive.WriteHeader(header(file)); err != nil {
		return err
	}
	n, err := io.Copy(archive, &ctxReader{ctx, io.LimitReader(f, file.Size)})
	if err == nil && n < file.Size {
		return errors.New("the file shrank while it was read")
	}
	return err
}

// counter counts what is written.
type counter struct {
	w io.Writer
	n int64
}

// Write implements io.Writer.
func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// ctxReader ends with its context.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

// Read implements io.Reader.
func (r *ctxReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
