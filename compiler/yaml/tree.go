package yaml

import (
	"fmt"

	yamlv3 "gopkg.in/yaml.v3"
)

// maxDepth is how deeply maps and lists may be nested.
const maxDepth = 64

const anchorDetail = "Anchors (&), aliases (*) and merge keys (<<) are not part of the flow language. What several steps share " +
	"goes under \"defaults\" or a parameter; otherwise write it out in each place."

// checkTree reports what the flow language leaves out of YAML: anchors, aliases, merge keys, tags, keys that are no
// plain values, the same key twice and very deep nesting. It returns false where decoding would make no sense. Keys
// that have been reported are put into d.skip.
func (d *decoder) checkTree(root *yamlv3.Node) bool {
	w := &treeWalk{decoder: d, aliases: map[string]bool{}}
	w.node(root, "", 1)
	return !w.tooDeep
}

type treeWalk struct {
	*decoder
	tooDeep bool
	// aliases holds the names whose first use has been reported.
	aliases map[string]bool
}

// node checks a node; below is the path of keys to it, as far as it is needed to name a duplicate.
func (w *treeWalk) node(n *yamlv3.Node, below string, depth int) {
	if depth > maxDepth {
		if !w.tooDeep {
			w.errorf(w.span(n), "yaml-too-deep", "maps and lists are nested more than %d levels deep", maxDepth).
				detail("Give data of this shape to a parameter of type file, or put it into a file beside the flow.")
		}
		w.tooDeep = true
		return
	}
	if n.Kind == yamlv3.AliasNode {
		if !w.aliases[n.Value] {
			w.errorf(w.span(n), "yaml-alias", "the alias *%s is not supported", n.Value).detail(anchorDetail)
		}
		w.aliases[n.Value] = true
		return
	}
	if n.Anchor != "" {
		w.errorf(w.span(n), "yaml-anchor", "the anchor &%s is not supported", n.Anchor).detail(anchorDetail)
	}
	if n.Style&yamlv3.TaggedStyle != 0 {
		w.errorf(w.span(n), "yaml-tag", "the tag %s is not supported", n.Tag).
			detail("The fields have their types already: write the value alone, in quotes if it is a text.")
	}
	switch n.Kind {
	case yamlv3.SequenceNode:
		for _, item := range n.Content {
			w.node(item, "", depth+1)
		}
	case yamlv3.MappingNode:
		w.mapping(n, below, depth)
	}
}

func (w *treeWalk) mapping(n *yamlv3.Node, below string, depth int) {
	seen := map[string]*yamlv3.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if w.key(key, below, seen) {
			child := "-"
			if depth == 1 {
				child = key.Value
			}
			w.node(value, child, depth+1)
		}
	}
}

// key checks one key and reports whether its value is worth looking at.
func (w *treeWalk) key(key *yamlv3.Node, below string, seen map[string]*yamlv3.Node) bool {
	if key.Tag == "!!merge" {
		w.errorf(w.span(key), "yaml-merge-key", "the merge key << is not supported").detail(anchorDetail)
		w.skip[key] = true
		return false
	}
	if key.Kind != yamlv3.ScalarNode {
		what := "a map"
		switch key.Kind {
		case yamlv3.SequenceNode:
			what = "a list"
		case yamlv3.AliasNode:
			what = "an alias"
		}
		w.errorf(w.span(key), "yaml-key", "%s cannot be a key", what).detail("Keys are names: write a text.")
		w.skip[key] = true
		return false
	}
	if key.Anchor != "" || key.Style&yamlv3.TaggedStyle != 0 {
		w.node(key, "", 0)
	}
	id := key.Tag + " " + key.Value
	first, dup := seen[id]
	if !dup {
		seen[id] = key
		return true
	}
	w.skip[key] = true
	code, what := "duplicate-key", fmt.Sprintf("the key %q", key.Value)
	switch below {
	case "steps":
		code, what = "duplicate-step", fmt.Sprintf("the step %q", key.Value)
	case "parameters":
		code, what = "duplicate-parameter", fmt.Sprintf("the parameter %q", key.Value)
	}
	w.errorf(w.span(key), code, "%s is given twice", what).
		detail("Remove one, or give it another name.").note(w.span(first), "it is first given here")
	return true
}
