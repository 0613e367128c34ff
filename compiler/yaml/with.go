package yaml

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

// LoadWith is Load, and gives every step that lacks them further decorators, each written as Metaflow's --with has it:
// "kubernetes" or "kubernetes:cpu=4,image=acme/train:1". Values are JSON or else text. What the language has a field for is
// refused, with the field to use.
func LoadWith(ctx context.Context, path string, specs []string) (*ir.Flow, diag.List, error) {
	flow, list, err := Load(ctx, path)
	if flow == nil || err != nil {
		return flow, list, err
	}
	for _, spec := range specs {
		d, problem := parseWith(spec)
		if problem != "" {
			list = append(list, diag.Errorf(flow.Span, "bad-decorator", "--with %s: %s", spec, problem))
			continue
		}
		for _, s := range flow.Steps {
			if !slices.ContainsFunc(s.Decorators, func(own ir.Decorator) bool { return own.Name == d.Name }) {
				own := d
				own.Attributes, own.Span = maps.Clone(d.Attributes), s.Span
				s.Decorators = append(s.Decorators, own)
			}
		}
	}
	if list.HasErrors() {
		return nil, list, nil
	}
	return flow, list, nil
}

// attributeComma is a comma after which an attribute begins: other commas belong to values.
var attributeComma = regexp.MustCompile(`,\s*([A-Za-z_]\w*\s*=)`)

// parseWith reads one decorator. The problem is empty if there is none.
func parseWith(spec string) (d ir.Decorator, problem string) {
	name, attributes, _ := strings.Cut(spec, ":")
	d.Name = strings.TrimSpace(name)
	switch field := stepFields[d.Name]; {
	case d.Name == "retry":
		d.Attributes = retryAttributes(&retry{})
	case field != "" && field != "steps" && field != "next":
		return d, fmt.Sprintf("for every step of a YAML flow that is the field %q below \"defaults:\", or \"env:\" at the top level", field)
	case !slices.Contains(stepDecorators, d.Name):
		return d, "there is no such decorator for the steps of a YAML flow; there are retry, " + strings.Join(stepDecorators, ", ")
	}
	if strings.TrimSpace(attributes) == "" {
		return d, ""
	}
	if d.Attributes == nil {
		d.Attributes = ir.Attributes{}
	}
	// A byte that no attribute has marks where one ends.
	for attribute := range strings.SplitSeq(attributeComma.ReplaceAllString(attributes, "\x00$1"), "\x00") {
		key, text, ok := strings.Cut(attribute, "=")
		if key = strings.TrimSpace(key); !ok || key == "" {
			return d, fmt.Sprintf("%q is not NAME=VALUE", attribute)
		}
		var value any
		if err := json.Unmarshal([]byte(text), &value); err != nil {
			value = strings.TrimSpace(text)
		}
		d.Attributes[key] = wholeValue(value)
	}
	return d, ""
}
