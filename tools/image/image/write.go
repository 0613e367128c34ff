package image

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// What containerd and others read from a layout: the full name of the image, and its tag.
const (
	annotationName = "io.containerd.image.name"
	annotationTag  = "org.opencontainers.image.ref.name"
)

// WriteLayout writes images to a folder, as an OCI image layout, under the name ref. A layout that is there already is
// replaced; a folder that holds something else is an error.
func WriteLayout(dir, ref string, index v1.ImageIndex) error {
	tag, err := parseTag(ref)
	if err != nil {
		return err
	}
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		if _, err := os.Stat(filepath.Join(dir, "oci-layout")); err != nil {
			return fmt.Errorf("%s holds something else than an image: name another folder", dir)
		}
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(filepath.Clean(dir)), 0o755); err != nil {
		return err
	}
	part, err := os.MkdirTemp(filepath.Dir(filepath.Clean(dir)), ".image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(part)
	if err := os.Chmod(part, 0o755); err != nil {
		return err
	}
	if err := writeLayout(part, tag, index); err != nil {
		return fmt.Errorf("writing %s: %w", dir, err)
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.Rename(part, dir)
}

// writeLayout writes the images into an empty folder. An image for one platform stands in the layout by itself, not in an
// index of one.
func writeLayout(dir string, tag name.Tag, index v1.ImageIndex) error {
	l, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	names := layout.WithAnnotations(map[string]string{annotationName: fullName(tag), annotationTag: tag.TagStr()})
	images, err := imagesOf(index)
	if err != nil {
		return err
	}
	if len(images) == 1 {
		return l.AppendImage(images[0].image, names, layout.WithPlatform(*images[0].platform))
	}
	return l.AppendIndex(index, names)
}

// platformImage is one image of an index.
type platformImage struct {
	image    v1.Image
	platform *v1.Platform
}

func imagesOf(index v1.ImageIndex) ([]platformImage, error) {
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	var images []platformImage
	for _, d := range manifest.Manifests {
		img, err := index.Image(d.Digest)
		if err != nil {
			return nil, err
		}
		if d.Platform == nil {
			return nil, fmt.Errorf("image %s names no platform", d.Digest)
		}
		images = append(images, platformImage{img, d.Platform})
	}
	return images, nil
}

// WriteArchive writes images to a tar: the layout, and beside it what Docker's own store loads. That store knows no images
// of several platforms, so of such a one it gets one for each, whose tags end in the architecture.
func WriteArchive(file, ref string, index v1.ImageIndex) error {
	tag, err := parseTag(ref)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "mf-image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := writeLayout(dir, tag, index); err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	if err := writeDocker(filepath.Join(dir, "manifest.json"), tag, index); err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	out, err := os.Create(file + ".part")
	if err != nil {
		return err
	}
	err = errors.Join(writeTar(out, dir), out.Close())
	if err == nil {
		err = os.Rename(out.Name(), file)
	}
	if err != nil {
		_ = os.Remove(out.Name())
	}
	return err
}

// writeDocker writes the list by which "docker load" finds images in an archive.
func writeDocker(file string, tag name.Tag, index v1.ImageIndex) error {
	type entry struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	blob := func(h v1.Hash) string { return "blobs/" + h.Algorithm + "/" + h.Hex }
	images, err := imagesOf(index)
	if err != nil {
		return err
	}
	var entries []entry
	for _, p := range images {
		m, err := p.image.Manifest()
		if err != nil {
			return err
		}
		e := entry{Config: blob(m.Config.Digest), RepoTags: []string{fullName(tag)}}
		if len(images) > 1 {
			e.RepoTags[0] += "-" + p.platform.Architecture + p.platform.Variant
		}
		for _, l := range m.Layers {
			e.Layers = append(e.Layers, blob(l.Digest))
		}
		entries = append(entries, e)
	}
	data, err := json.Marshal(entries)
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(data, '\n'), 0o644)
}

// writeTar writes a folder's files in the order of their paths, with nothing of this machine's.
func writeTar(out io.Writer, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	w := tar.NewWriter(out)
	err = fs.WalkDir(root.FS(), ".", func(file string, d fs.DirEntry, err error) error {
		if err != nil || file == "." {
			return err
		}
		header := tar.Header{Name: file, Mode: 0o644, ModTime: time.Unix(0, 0), Typeflag: tar.TypeReg, Format: tar.FormatPAX}
		if d.IsDir() {
			header.Name, header.Mode, header.Typeflag = file+"/", 0o755, tar.TypeDir
			return w.WriteHeader(&header)
		}
		in, err := root.Open(file)
		if err != nil {
			return err
		}
		defer in.Close()
		info, err := in.Stat()
		if err != nil {
			return err
		}
		header.Size = info.Size()
		if err := w.WriteHeader(&header); err != nil {
			return err
		}
		_, err = io.Copy(w, in)
		return err
	})
	return errors.Join(err, w.Close())
}

// ReadLayout reads what WriteLayout wrote: an index also where the layout holds a single image.
func ReadLayout(dir string) (v1.ImageIndex, error) {
	top, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, fmt.Errorf("%s is no image layout: %w", dir, err)
	}
	manifest, err := top.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", dir, err)
	}
	if len(manifest.Manifests) != 1 {
		return nil, fmt.Errorf("%s holds %d images instead of one", dir, len(manifest.Manifests))
	}
	if d := manifest.Manifests[0]; d.MediaType.IsIndex() {
		return top.ImageIndex(d.Digest)
	}
	return top, nil
}

// PushOptions are how a registry is reached.
type PushOptions struct {
	// Insecure allows plain HTTP, which registries on this machine are spoken to by anyway.
	Insecure bool
	// Keychain has the credentials; nil for none.
	Keychain authn.Keychain
}

// Push writes images to a registry and returns the reference by digest. An image for one platform is pushed by itself, and
// the blobs that the registry has already are left out.
func Push(ctx context.Context, ref string, index v1.ImageIndex, opt PushOptions) (string, error) {
	var options []name.Option
	if opt.Insecure {
		options = append(options, name.Insecure)
	}
	tag, err := parseTag(ref, options...)
	if err != nil {
		return "", err
	}
	to := []remote.Option{remote.WithContext(ctx)}
	if opt.Keychain != nil {
		to = append(to, remote.WithAuthFromKeychain(opt.Keychain))
	}
	images, err := imagesOf(index)
	if err != nil {
		return "", err
	}
	if len(images) == 1 {
		err = remote.Write(tag, images[0].image, to...)
	} else {
		err = remote.WriteIndex(tag, index, to...)
	}
	if err != nil {
		return "", fmt.Errorf("pushing %s: %w", ref, err)
	}
	digest, err := Digest(index)
	return tag.Context().Name() + "@" + digest, err
}

// Digest returns the digest by which a registry will know the images: that of the image itself where there is but one.
func Digest(index v1.ImageIndex) (string, error) {
	images, err := imagesOf(index)
	if err != nil {
		return "", err
	}
	digest, err := index.Digest()
	if len(images) == 1 {
		digest, err = images[0].image.Digest()
	}
	return digest.String(), err
}

// parseTag reads a name such as "ghcr.io/acme/mf-task:1.2". Without a tag it is "latest".
func parseTag(ref string, options ...name.Option) (name.Tag, error) {
	tag, err := name.NewTag(ref, options...)
	if err != nil {
		return tag, fmt.Errorf("%q is not a name such as registry.example.com/team/image:tag: %w", ref, err)
	}
	return tag, nil
}

// fullName returns the name as containerd and Docker keep it.
func fullName(tag name.Tag) string {
	repo := tag.Context().Name()
	if rest, ok := strings.CutPrefix(repo, name.DefaultRegistry+"/"); ok {
		repo = "docker.io/" + rest
	}
	return repo + ":" + tag.TagStr()
}
