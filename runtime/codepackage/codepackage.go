// Package codepackage decides which files travel with a flow, archives them, and unpacks such archives.
//
// What goes in is the folder of the flow file, what comes out a list of files or an archive whose bytes depend on the
// files' names, contents and executable bits alone, in the layout that Metaflow's client reads. Files that .gitignore or
// .mfignore leave out stay out; version control, virtual environments, caches, runs and secrets always do.
package codepackage

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// MaxSize is the largest package allowed, in bytes before compression.
const MaxSize = 512 << 20

// MaxFiles is the largest number of files of a package.
const MaxFiles = 100_000

// File is one file of a package.
type File struct {
	// Path is relative to the folder, slash-separated.
	Path string `json:"path"`
	// Size is in bytes.
	Size int64 `json:"size"`
	// Executable is the only permission that travels.
	Executable bool `json:"executable,omitempty"`
}

// LeftOut is a file or folder that stays behind.
type LeftOut struct {
	// Path is relative to the folder; that of a folder ends in "/" and stands for everything below it.
	Path string `json:"path"`
	// By is the ignore file whose rule it is, from the folder of the flow, or one of the By constants.
	By string `json:"by"`
	// Rule is the rule as it stands in the ignore file, or says why in words.
	Rule string `json:"rule"`
}

// What leaves files out other than an ignore file.
const (
	// ByName: what never travels, whatever the ignore files say.
	ByName = "always"
	// ByLink: a link that leads to nothing that travels.
	ByLink = "link"
	// ByKind: neither a file nor a folder nor a link, or with a name that is not UTF-8.
	ByKind = "kind"
	// ByCaller: what Options.LeaveOut names.
	ByCaller = "caller"
)

// Listing is what a package of a folder holds.
type Listing struct {
	// Files are by path, in byte order.
	Files []File `json:"files"`
	// Size is the sum of the files' sizes, in bytes.
	Size int64 `json:"size"`
	// LeftOut is by path.
	LeftOut []LeftOut `json:"leftOut"`
}

// Largest returns the n largest files, largest first.
func Largest(files []File, n int) []File {
	sorted := slices.Clone(files)
	slices.SortStableFunc(sorted, func(a, b File) int { return cmp.Compare(b.Size, a.Size) })
	return sorted[:min(n, len(sorted))]
}

// TooLargeError says that a package is over MaxSize, and what fills it.
type TooLargeError struct {
	Size    int64
	Largest []File
}

// Error implements error.
func (e *TooLargeError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "the code package would be %d MiB, over the limit of %d MiB; leave files out with .mfignore (the form of .gitignore); the largest:",
		(e.Size+1<<20-1)>>20, MaxSize>>20)
	for _, f := range e.Largest {
		fmt.Fprintf(&b, "\n  %8d KiB  %s", (f.Size+1<<10-1)>>10, f.Path)
	}
	return b.String()
}

// TooManyError says that a package has more than MaxFiles files, and where they are.
type TooManyError struct {
	// Folders are the folders with the most files among those seen so far, with their number.
	Folders []FolderCount
}

// FolderCount is the number of files in one folder and those below it.
type FolderCount struct {
	Path  string
	Files int
}

// Error implements error.
func (e *TooManyError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "the code package would have more than %d files; leave some out with .mfignore (the form of .gitignore); the fullest folders so far:",
		MaxFiles)
	for _, f := range e.Folders {
		fmt.Fprintf(&b, "\n  %8d  %s", f.Files, f.Path)
	}
	return b.String()
}
