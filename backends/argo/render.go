package argo

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/mf-run/mf/backends"
)

// render writes a manifest as text for people: a header, names first and other fields in alphabetical order, short lists
// on one line, nothing that is empty.
func (e *emitter) render(manifest any) []byte {
	fields, err := plainData(manifest)
	var b bytes.Buffer
	if err == nil {
		fmt.Fprintf(&b, "# Made by mf %s from %s (flow %s). Do not edit:\n# change the flow and run mf compile %s --target argo\n",
			oneLine(e.opt.Version), oneLine(e.flow.Source.File), oneLine(e.flow.Name), oneLine(e.flow.Source.File))
		enc := yaml.NewEncoder(&b)
		enc.SetIndent(2)
		if err = enc.Encode(node(fields)); err == nil {
			err = enc.Close()
		}
	}
	if err != nil {
		e.errorf(backends.FlowSpan(e.flow), "manifest", "the manifest has no text form: %v", err)
		return nil
	}
	return b.Bytes()
}

// oneLine keeps a text inside a comment.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// plainData returns a manifest as maps and lists, without status and without what is empty.
func plainData(manifest any) (map[string]any, error) {
	text, err := json.Marshal(manifest)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var fields map[string]any
	if err := dec.Decode(&fields); err != nil {
		return nil, err
	}
	delete(fields, "status")
	prune(fields)
	return fields, nil
}

// prune removes null, empty maps, empty lists and empty names, which the typed objects cannot leave out. It reports
// whether the value itself is such.
func prune(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case map[string]any:
		for key, value := range v {
			if (prune(value) || key == "name" && value == "") && key != "emptyDir" {
				delete(v, key)
			}
		}
		return len(v) == 0
	case []any:
		for _, item := range v {
			prune(item)
		}
		return len(v) == 0
	}
	return false
}

// firstFields come before all others.
var firstFields = []string{"name", "template"}

func node(v any) *yaml.Node {
	switch v := v.(type) {
	case map[string]any:
		n := &yaml.Node{Kind: yaml.MappingNode}
		for _, key := range fieldOrder(v) {
			n.Content = append(n.Content, scalar(key), node(v[key]))
		}
		return n
	case []any:
		n := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
		for _, item := range v {
			child := node(item)
			if child.Kind != yaml.ScalarNode {
				n.Style = 0
			}
			n.Content = append(n.Content, child)
		}
		return n
	case json.Number:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: v.String()}
	case bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: fmt.Sprint(v)}
	default:
		return scalar(fmt.Sprint(v))
	}
}

func fieldOrder(m map[string]any) []string {
	keys := slices.Sorted(maps.Keys(m))
	var order []string
	for _, key := range firstFields {
		if _, ok := m[key].(string); ok {
			order = append(order, key)
			keys = slices.DeleteFunc(keys, func(k string) bool { return k == key })
		}
	}
	return append(order, keys...)
}

var (
	// bare is what needs no quotes in any version of YAML.
	bare = regexp.MustCompile(`^((--)?[A-Za-z/][A-Za-z0-9_./:-]*|[1-9][0-9]*[mMG])$`)
	// words are bare, but mean something else.
	words = []string{"true", "false", "null", "yes", "no", "on", "off", "y", "n"}
)

func scalar(text string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text, Style: yaml.DoubleQuotedStyle}
	switch {
	case bare.MatchString(text) && !slices.Contains(words, strings.ToLower(text)):
		n.Style = 0
	case strings.Contains(text, `"`) && !strings.ContainsAny(text, "'\n"):
		n.Style = yaml.SingleQuotedStyle
	}
	return n
}
