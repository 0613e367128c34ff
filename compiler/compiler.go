// Package compiler turns a source file into a checked flow: it picks the frontend that reads the file and runs the
// passes over what it made. What goes in is a path and the features of a target; what comes out is a flow and every
// finding about it, sorted by position. It knows neither source languages nor targets: frontends are handed in, a
// target is data.
package compiler

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

// Frontend turns one kind of source file into a flow.
type Frontend interface {
	// Load reads the flow at path, which may end in ":Name" to pick one of several flows of the file. A user's mistake
	// is a diagnostic, everything else an error that says what was being done. The flow is nil when there are
	// diagnostics that leave nothing to check. It must not check what the passes check.
	Load(ctx context.Context, path string) (*ir.Flow, diag.List, error)
}

// FrontendFunc makes a Frontend of a function.
type FrontendFunc func(ctx context.Context, path string) (*ir.Flow, diag.List, error)

// Load implements Frontend.
func (f FrontendFunc) Load(ctx context.Context, path string) (*ir.Flow, diag.List, error) {
	return f(ctx, path)
}

// Options are what Load needs besides the path.
type Options struct {
	// Frontends are found by the extension of the flow file, with its dot: ".py", ".yaml".
	Frontends map[string]Frontend
	// Target is what the flow is compiled for; nil checks the flow alone.
	Target *ir.Features
}

// Load reads the flow at path and checks it. The flow is nil when the source could not be turned into one; when there
// are errors among the findings it must not be run or compiled. A path without a frontend is an error.
func Load(ctx context.Context, path string, opt Options) (*ir.Flow, diag.List, error) {
	file, _ := SplitName(path)
	extension := strings.ToLower(filepath.Ext(file))
	frontend := opt.Frontends[extension]
	if frontend == nil {
		known := slices.Sorted(maps.Keys(opt.Frontends))
		return nil, nil, fmt.Errorf("%s: a flow file ends in %s", file, strings.Join(known, ", "))
	}
	flow, found, err := frontend.Load(ctx, path)
	if err != nil {
		return nil, nil, err // a frontend says what it was doing
	}
	// What the frontend could not read is missing from the flow, so the passes would blame its absence on the user.
	if flow == nil || found.HasErrors() {
		found.Sort()
		return flow, found, nil
	}
	flow, checked := Check(flow, opt.Target)
	found = append(found, checked...)
	found.Sort()
	return flow, found, nil
}

// SplitName splits "train.py:OtherFlow" into the file and the name of the flow in it; the name is empty without a
// colon. A colon that belongs to the path (a Windows drive, a folder) is left alone.
func SplitName(path string) (file, name string) {
	i := strings.LastIndexByte(path, ':')
	if i < 0 || strings.ContainsAny(path[i+1:], `/\.`) || filepath.Ext(path[:i]) == "" {
		return path, ""
	}
	return path[:i], path[i+1:]
}
