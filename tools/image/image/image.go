// Package image makes container images from files, without a container engine and with the same bytes each time: no clock,
// no owner names, no order of a folder goes into them. What comes out is an OCI index, which the package writes as a layout
// (a folder) or an archive (a tar), or pushes to a registry.
package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Spec says what an image holds and how it starts.
type Spec struct {
	// Platforms are those the image is for, such as "linux/amd64": one image each, in this order.
	Platforms []string
	// Root is a tar, plain or gzipped, that becomes the first layer as it is; empty for none.
	Root string
	// Files make up the next layer. In Root and in File.Source, "{os}" and "{arch}" stand for the platform's.
	Files []File
	// Entrypoint, Cmd, Env ("NAME=value"), User, WorkDir and Labels are those of the image's configuration.
	Entrypoint, Cmd, Env []string
	User, WorkDir        string
	Labels               map[string]string
	// Created is the time that the image and all of Files carry.
	Created time.Time
}

// File is one file or folder of an image. The folders above it are made, with mode 0755; root owns them all.
type File struct {
	// Source is the file that is copied; empty for a folder.
	Source string
	// Target is where it is in the image, an absolute path.
	Target string
	// Mode holds the permissions, the sticky bit included, as chmod has them: 0o755, 0o1777.
	Mode int64
}

// Build makes the images. It reads all files at once; what it returns may be written any number of times.
func Build(s Spec) (v1.ImageIndex, error) {
	if len(s.Platforms) == 0 {
		return nil, errors.New("an image needs a platform, such as linux/amd64")
	}
	var add []mutate.IndexAddendum
	for _, text := range s.Platforms {
		platform, err := v1.ParsePlatform(text)
		if err != nil || platform.OS == "" || platform.Architecture == "" {
			return nil, fmt.Errorf("%q is not a platform such as linux/amd64", text)
		}
		img, err := s.one(*platform)
		if err != nil {
			return nil, fmt.Errorf("making the image for %s: %w", text, err)
		}
		add = append(add, mutate.IndexAddendum{Add: plain{img}, Descriptor: v1.Descriptor{Platform: platform}})
	}
	return mutate.AppendManifests(empty.Index, add...), nil
}

// plain is an image that the index lists without a type of artifact: some engines take what has one for no image.
type plain struct{ v1.Image }

// ArtifactType is asked by go-containerregistry when it makes a descriptor.
func (plain) ArtifactType() (string, error) { return "", nil }

// one makes the image of one platform.
func (s Spec) one(p v1.Platform) (v1.Image, error) {
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.ConfigFile(img, &v1.ConfigFile{
		OS: p.OS, Architecture: p.Architecture, Variant: p.Variant, Created: v1.Time{Time: s.Created.UTC()},
		Config: v1.Config{Entrypoint: s.Entrypoint, Cmd: s.Cmd, Env: s.Env, User: s.User, WorkingDir: s.WorkDir, Labels: s.Labels},
		RootFS: v1.RootFS{Type: "layers"},
	})
	if err != nil {
		return nil, err
	}
	where := strings.NewReplacer("{os}", p.OS, "{arch}", p.Architecture)
	if s.Root != "" {
		file := where.Replace(s.Root)
		img, err = s.layer(img, file, gzip.BestSpeed, func() (io.ReadCloser, error) { return os.Open(file) })
		if err != nil {
			return nil, err
		}
	}
	if len(s.Files) == 0 {
		return img, nil
	}
	data, err := s.pack(where)
	if err != nil {
		return nil, err
	}
	return s.layer(img, "files", gzip.BestCompression, func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(data)), nil
	})
}

// layer appends a layer. It is compressed once, and kept so.
func (s Spec) layer(img v1.Image, what string, level int, open tarball.Opener) (v1.Image, error) {
	layer, err := tarball.LayerFromOpener(open, tarball.WithCompressionLevel(level), tarball.WithMediaType(types.OCILayer),
		tarball.WithCompressedCaching)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", what, err)
	}
	return mutate.Append(img, mutate.Addendum{
		Layer:   layer,
		History: v1.History{Created: v1.Time{Time: s.Created.UTC()}, CreatedBy: "tools/image"},
	})
}

// pack writes the files into a tar, in the order of their paths, each folder before what it holds.
func (s Spec) pack(where *strings.Replacer) ([]byte, error) {
	entries := map[string]File{}
	for _, f := range s.Files {
		target := path.Clean(f.Target)
		if !path.IsAbs(f.Target) || target == "/" {
			return nil, fmt.Errorf("%q is not an absolute path in the image", f.Target)
		}
		if _, twice := entries[target]; twice {
			return nil, fmt.Errorf("%s is given twice", target)
		}
		entries[target] = f
	}
	for target := range entries {
		for dir := path.Dir(target); dir != "/"; dir = path.Dir(dir) {
			if above, ok := entries[dir]; !ok {
				entries[dir] = File{Target: dir, Mode: 0o755}
			} else if above.Source != "" {
				return nil, fmt.Errorf("%s is a file and cannot hold %s", dir, target)
			}
		}
	}
	targets := make([]string, 0, len(entries))
	for target := range entries {
		targets = append(targets, target)
	}
	slices.Sort(targets)
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, target := range targets {
		f := entries[target]
		header := tar.Header{Name: target[1:], Mode: f.Mode, ModTime: s.Created.UTC(), Format: tar.FormatPAX}
		var data []byte
		if f.Source == "" {
			header.Typeflag, header.Name = tar.TypeDir, header.Name+"/"
		} else {
			var err error
			if data, err = os.ReadFile(where.Replace(f.Source)); err != nil {
				return nil, err
			}
			header.Typeflag, header.Size = tar.TypeReg, int64(len(data))
		}
		if err := w.WriteHeader(&header); err != nil {
			return nil, fmt.Errorf("packing %s: %w", target, err)
		}
		if _, err := w.Write(data); err != nil {
			return nil, fmt.Errorf("packing %s: %w", target, err)
		}
	}
	return out.Bytes(), w.Close()
}
