// Package yaml is the frontend for flows written as YAML: one file, one flow, any command as a step.
//
// In goes the text of one file; out comes the flow's intermediate representation or a list of diagnostics, each with
// line and column, never both an error and a flow. The package checks everything that can be said about the file
// alone: syntax, known fields, types, single values and what fields say together. What concerns the graph (does the
// flow end, is every split joined) is left to the compiler's passes, which Python flows share.
//
// The work goes in stages, one file each: the text (text.go) is parsed (syntax.go), the node tree is checked for what
// the language leaves out of YAML (tree.go) and decoded into structs (decode.go, document.go, values.go), the structs
// are checked by their validator tags (validate.go) and by rules that concern several fields (check.go), and lowered
// into IR (lower.go, decorators.go). The language is described in docs/yaml.md and, for editors, by Schema.
package yaml

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

// MaxSize is the largest flow file that is read, in bytes.
const MaxSize = 4 << 20

// Load reads the flow in the file at path. The list holds what is wrong with the flow; the flow is nil if any of it
// is an error. The error is for a file that cannot be read. Spans name the file by its base name. A path that ends in
// ":Name" asks for the flow of that name, which then must be the file's.
func Load(ctx context.Context, path string) (*ir.Flow, diag.List, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, fmt.Errorf("reading the flow: %w", err)
	}
	file, wanted := splitName(path)
	f, err := os.Open(file)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the flow: %w", err)
	}
	defer f.Close()
	// One byte over the limit is enough for Parse to see that the file is too large.
	src, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return nil, nil, fmt.Errorf("reading the flow: %w", err)
	}
	flow, diags := Parse(filepath.Base(file), src)
	if flow != nil && wanted != "" && wanted != flow.Name {
		diags = append(diags, diag.Errorf(flow.Span, "unknown-flow", "the file holds the flow %s, not %s", flow.Name, wanted).
			WithDetail("A YAML file holds one flow: leave out \":%s\".", wanted))
		return nil, diags, nil
	}
	return flow, diags, nil
}

// splitName splits "flow.yaml:Name" into the file and the name; the name is empty without a colon after the extension.
func splitName(path string) (file, name string) {
	file, name, found := cutLast(path, ":")
	if !found || !pyNamePattern.MatchString(name) || filepath.Ext(file) == "" {
		return path, ""
	}
	return file, name
}

func cutLast(text, sep string) (before, after string, found bool) {
	i := strings.LastIndex(text, sep)
	if i < 0 {
		return text, "", false
	}
	return text[:i], text[i+len(sep):], true
}

// Parse reads the flow in src. Name is the file's base name, for spans and the flow's source. The flow is nil if and
// only if the list holds an error; the list is sorted by position. Parse keeps no reference to src.
func Parse(name string, src []byte) (*ir.Flow, diag.List) {
	d := newDecoder(newSource(name, src))
	flow := d.flow(src)
	d.diags.Sort()
	if d.diags.HasErrors() {
		return nil, d.diags
	}
	return flow, d.diags
}

// flow runs the stages; it returns nil after an error that leaves nothing for the next stage to look at.
func (d *decoder) flow(src []byte) *ir.Flow {
	if d.checkText(src); d.diags.HasErrors() {
		return nil
	}
	root := d.parse(src)
	if root == nil || !d.checkTree(root) {
		return nil
	}
	doc := &document{}
	if !d.decodeRoot(root, doc) {
		return nil
	}
	d.validate(doc)
	d.check(doc)
	if d.diags.HasErrors() {
		return nil
	}
	return d.lower(doc)
}
