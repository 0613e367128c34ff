package codepackage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Contents is what an archive holds, whoever made it.
type Contents struct {
	// Layout is Metaflow's: 1, or 0 for that of old versions.
	Layout int
	// Info is the environment info, by Metaflow's names; nil if there is none.
	Info map[string]any
	// Manifest is nil for a package that mf did not make, and then there is no IR.
	Manifest *Manifest
	IR       []byte
	// Files are the user's own, in the archive's order.
	Files []File
	// Library is the number of files of libraries that travel along, and LibrarySize their size in bytes.
	Library     int
	LibrarySize int64
}

// Inspect reads an archive to its end, without unpacking it. Errors are those of Extract.
func Inspect(ctx context.Context, r io.Reader) (*Contents, error) {
	var all []File
	kept := map[string][]byte{}
	err := members(ctx, r, func(m member, body io.Reader) error {
		if m.dir {
			return nil
		}
		all = append(all, m.File)
		switch m.Path {
		case marker, InfoFile, ManifestFile, IRFile, oldInfo:
			data, err := io.ReadAll(io.LimitReader(body, maxExtras))
			kept[m.Path] = data
			return err
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the code package: %w", err)
	}
	c := &Contents{IR: kept[IRFile]}
	if err := c.readMeta(kept); err != nil {
		return nil, fmt.Errorf("reading the code package: %w", err)
	}
	for _, f := range all {
		switch kindOf(c.Layout, f.Path) {
		case userFile:
			c.Files = append(c.Files, f)
		case libraryFile:
			c.Library++
			c.LibrarySize += f.Size
		}
	}
	return c, nil
}

// oldInfo is InfoFile in layout 0.
const oldInfo = "INFO"

// readMeta reads the layout's own files.
func (c *Contents) readMeta(kept map[string][]byte) error {
	info := oldInfo
	if mark, ok := kept[marker]; ok {
		info = InfoFile
		var m struct {
			Version int `json:"version"`
		}
		if err := decode(marker, mark, &m); err != nil {
			return err
		}
		if c.Layout = m.Version; c.Layout != 0 && c.Layout != 1 {
			return fmt.Errorf("it has layout %d, this mf knows layouts 0 and 1; use a newer mf", c.Layout)
		}
	}
	if data, ok := kept[info]; ok {
		if err := decode(info, data, &c.Info); err != nil {
			return err
		}
	}
	data, ok := kept[ManifestFile]
	if !ok {
		c.IR = nil
		return nil
	}
	var err error
	c.Manifest, err = readManifest(data)
	return err
}

type fileKind int

const (
	userFile fileKind = iota
	libraryFile
	metaFile
)

// kindOf tells whose a file is.
func kindOf(layout int, name string) fileKind {
	first, _, nested := strings.Cut(name, "/")
	if layout == 0 {
		switch {
		case name == oldInfo || name == path.Base(ConfigFile):
			return metaFile
		case nested && (first == "metaflow" || first == "metaflow_extensions"):
			return libraryFile
		}
		return userFile
	}
	switch first {
	case codeDir:
		return libraryFile
	case metaDir, marker:
		return metaFile
	}
	return userFile
}

// Load reads the manifest and the flow of a package of mf that has been unpacked into dir.
func Load(dir string) (*Manifest, []byte, error) {
	data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(ManifestFile)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("reading the code package: mf did not make it, for it has no %s", ManifestFile)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading the code package: %w", err)
	}
	m, err := readManifest(data)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the code package: %w", err)
	}
	flow, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(IRFile)))
	if err != nil {
		return nil, nil, fmt.Errorf("reading the code package: %w", err)
	}
	return m, flow, nil
}

func readManifest(data []byte) (*Manifest, error) {
	var m Manifest
	if err := decode(ManifestFile, data, &m); err != nil {
		return nil, err
	}
	switch {
	case m.Version > manifestVersion:
		return nil, fmt.Errorf("it was made by mf %s, which is newer than this one; use that version", m.MF)
	case m.Version < 1 || !filepath.IsLocal(filepath.FromSlash(m.Entry)):
		return nil, fmt.Errorf("%w: %s has version %d and entry %q", ErrUnsound, ManifestFile, m.Version, m.Entry)
	}
	return &m, nil
}

// decode reads one of the layout's JSON files.
func decode(name string, data []byte, into any) error {
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrUnsound, name, err)
	}
	return nil
}
