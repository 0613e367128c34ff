// Package sdk holds the Python package that flows import, and unpacks it for an interpreter to read.
//
// What goes in is a folder for caches; what comes out is a folder to put first on PYTHONPATH. What has been unpacked is
// never changed: another version goes into another folder.
package sdk

import (
	"cmp"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sync"
)

//go:embed python/*.py python/metaflow/*.py python/metaflow/*/*.py python/metaflow/*/*/*.py
var tree embed.FS

// root is the folder of the tree that is unpacked.
const root = "python"

// file is one file of the SDK.
type file struct {
	// name is relative to the root, with slashes.
	name string
	data []byte
}

// files lists the SDK's files in a fixed order. The embedded tree cannot fail to be read.
var files = sync.OnceValue(func() []file {
	var list []file
	err := fs.WalkDir(tree, root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := tree.ReadFile(name)
		list = append(list, file{name: name[len(root)+1:], data: data})
		return err
	})
	if err != nil {
		panic("bug in mf: the embedded SDK cannot be read: " + err.Error())
	}
	return list
})

// Digest returns a short text that is the same for the same SDK and differs between versions of it: 16 hex digits.
var Digest = sync.OnceValue(func() string {
	sum := sha256.New()
	for _, f := range files() {
		fmt.Fprintf(sum, "%s\x00%d\x00", f.name, len(f.data))
		sum.Write(f.data)
	}
	return hex.EncodeToString(sum.Sum(nil)[:8])
})

// Unpack writes the SDK into a folder of its own below dir, which is made if need be, and returns that folder. It does
// nothing where the SDK is there already, and mends it where files of it are missing. Several processes may do so at
// once.
func Unpack(dir string) (string, error) {
	target := filepath.Join(dir, "sdk-"+Digest())
	if intact(target) {
		return target, nil
	}
	if err := unpack(dir, target); err != nil {
		return "", fmt.Errorf("unpacking the Python SDK into %s: %w", dir, err)
	}
	return target, nil
}

// intact reports whether every file is there in its full length.
func intact(target string) bool {
	for _, f := range files() {
		info, err := os.Stat(filepath.Join(target, filepath.FromSlash(f.name)))
		if err != nil || info.Size() != int64(len(f.data)) {
			return false
		}
	}
	return true
}

// unpack writes the tree beside the target and renames it into place. Where another process was first, or what is
// there is damaged, it puts the files in place one by one.
func unpack(dir, target string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	staging, err := os.MkdirTemp(dir, ".sdk-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(staging)
	if err := os.Chmod(staging, 0o755); err != nil {
		return err
	}
	for _, f := range files() {
		name := filepath.Join(staging, filepath.FromSlash(f.name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(name, f.data, 0o644); err != nil {
			return err
		}
	}
	if os.Rename(staging, target) == nil || intact(target) {
		return nil
	}
	for _, f := range files() {
		from, to := filepath.Join(staging, filepath.FromSlash(f.name)), filepath.Join(target, filepath.FromSlash(f.name))
		err := cmp.Or(os.MkdirAll(filepath.Dir(to), 0o755), os.Rename(from, to))
		if err != nil {
			return err
		}
	}
	return nil
}

// Names returns the SDK's files, relative to its folder and with slashes, in a fixed order; Read returns one of them.
// They are what a code package has to hold for a container that has no SDK.
func Names() []string {
	names := make([]string, 0, len(files()))
	for _, f := range files() {
		names = append(names, f.name)
	}
	return names
}

// Read returns the content of one of Names. Any other name is an error that matches fs.ErrNotExist.
func Read(name string) ([]byte, error) {
	return tree.ReadFile(path.Join(root, name))
}
