//go:build linux

package cluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"time"

	"github.com/mf-run/mf/tools/image/image"
)

// The images that the cluster itself needs. containerd's settings name the first one, too.
const (
	pauseImage    = "localhost/pause:e2e"
	executorImage = "localhost/argoexec:e2e"
)

// Spec is what WriteImage makes an image of.
type Spec = image.Spec

// File is a file of a Spec.
type File = image.File

// LoadImage hands the cluster an image archive, as tools/image writes it.
func (c *Cluster) LoadImage(ctx context.Context, file string) error {
	return loadImage(ctx, c.root, file)
}

func loadImage(ctx context.Context, root, file string) error {
	_, err := containerCommand(ctx, root, "images", "import", "--digests=false", file)
	return err
}

// HasImage reports whether the cluster has an image of this name.
func (c *Cluster) HasImage(ctx context.Context, name string) (bool, error) {
	out, err := containerCommand(ctx, c.root, "images", "ls", "--quiet", "name=="+name)
	return strings.TrimSpace(out) != "", err
}

// MakeImage makes an image of files and hands it to the cluster under a name. It leaves the platform and the time to be
// filled in. One that is there already is replaced.
func (c *Cluster) MakeImage(ctx context.Context, name string, spec Spec) error {
	return makeImage(ctx, c.root, name, spec)
}

func makeImage(ctx context.Context, root, name string, spec Spec) error {
	dir, err := os.MkdirTemp(filepath.Join(root, "cluster"), "image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "image.tar")
	if err := writeImage(file, name, spec); err != nil {
		return err
	}
	return loadImage(ctx, root, file)
}

func containerCommand(ctx context.Context, root string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "ctr", append([]string{"--address", containerdSocket(root), "--namespace", "k8s.io"}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("ctr %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// loadOwnImages hands the cluster the images that every pod needs.
func (o *owner) loadOwnImages(ctx context.Context) error {
	for _, file := range o.programs.images {
		if err := loadImage(ctx, o.root, file); err != nil {
			return err
		}
	}
	return nil
}

// writeImage writes an image archive.
func writeImage(file, name string, spec Spec) error {
	spec.Platforms, spec.Created = []string{"linux/" + goruntime.GOARCH}, time.Unix(0, 0)
	index, err := image.Build(spec)
	if err != nil {
		return fmt.Errorf("making image %s: %w", name, err)
	}
	if err := image.WriteArchive(file, name, index); err != nil {
		return fmt.Errorf("making image %s: %w", name, err)
	}
	return nil
}
