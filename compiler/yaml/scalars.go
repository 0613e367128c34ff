package yaml

import (
	"math"
	"regexp"
	"strconv"
	"strings"

	yamlv3 "gopkg.in/yaml.v3"
)

func isNull(n *yamlv3.Node) bool { return n.Kind == yamlv3.ScalarNode && n.Tag == "!!null" }

// isTruthWord reports whether YAML 1.1, which many tools still read, takes the word for true or false where YAML 1.2
// takes it for a text.
func isTruthWord(text string) bool {
	switch text {
	case "yes", "Yes", "YES", "no", "No", "NO", "on", "On", "ON", "off", "Off", "OFF":
		return true
	}
	return false
}

// leadingZero matches a number that is octal to some readers of YAML and decimal to others.
var leadingZero = regexp.MustCompile(`^[-+]?0[0-9_]+$`)

// describe says what a node is, with its article.
func describe(n *yamlv3.Node) string {
	switch n.Kind {
	case yamlv3.SequenceNode:
		return "a list"
	case yamlv3.MappingNode:
		return "a map"
	case yamlv3.AliasNode:
		return "an alias"
	}
	return describeTag(n)
}

func describeTag(n *yamlv3.Node) string {
	switch n.Tag {
	case "!!null":
		return "empty"
	case "!!bool":
		return "a truth value"
	case "!!int", "!!float":
		return "a number"
	}
	if n.Style == 0 && isTruthWord(n.Value) {
		return "a truth value to some readers of YAML"
	}
	return "a text"
}

// wrongType reports that a node is something else than wanted, which is a noun with its article.
func (d *decoder) wrongType(n *yamlv3.Node, wanted string) finding {
	what := "this is"
	if field := d.fieldAt(n); field != "" {
		what = strconv.Quote(field) + " is"
	}
	return d.errorf(d.span(n), "wrong-type", "%s %s, but must be %s", what, describe(n), wanted).detail("%s", typeHint(n, wanted))
}

// typeHint says what to do about a value of the wrong type, where nothing better is known.
func typeHint(n *yamlv3.Node, wanted string) string {
	switch {
	case isNull(n) && wanted == "a text":
		return "Write a text after the colon (\"\" is the empty one), or remove the line."
	case isNull(n):
		return "Write a value after the colon, or remove the line."
	case strings.HasPrefix(wanted, "a list"):
		return "Write [a, b], or each item on a line of its own after \"- \"."
	case strings.HasPrefix(wanted, "a map"):
		return "Write each entry below the key on a line of its own, further to the right, as \"name: value\"."
	case wanted == "a text":
		return "Write one text here."
	}
	return "Write " + wanted + "."
}

// fieldAt is the name of the field that is being decoded from the node, if it is known.
func (d *decoder) fieldAt(n *yamlv3.Node) string { return d.names[n] }

// text reads a text. Numbers and truth values must be quoted.
func (d *decoder) text(n *yamlv3.Node) (string, bool) {
	if n.Kind == yamlv3.ScalarNode && (n.Tag == "!!str" || n.Tag == "!!timestamp") {
		return n.Value, d.unambiguous(n)
	}
	f := d.wrongType(n, "a text")
	if n.Kind == yamlv3.ScalarNode && n.Value != "" {
		f.detail("Put it in quotes: %q.", n.Value)
	}
	return "", false
}

// unambiguous reports a plain value that readers of YAML understand differently, and returns false then.
func (d *decoder) unambiguous(n *yamlv3.Node) bool {
	switch {
	case n.Style != 0:
		return true
	case isTruthWord(n.Value):
		d.errorf(d.span(n), "ambiguous-value", "%s is a text to some readers of YAML and a truth value to others", n.Value).
			detail("Write %q in quotes for the text, or true or false.", n.Value)
		return false
	case leadingZero.MatchString(n.Value):
		d.errorf(d.span(n), "ambiguous-value", "%s is octal to some readers of YAML and decimal to others", n.Value).
			detail("Write %q in quotes for the text, or the number without leading zeros.", n.Value)
		return false
	}
	return true
}

// verbatim reads a text for which a number may stand unquoted, and returns it as it is written.
func (d *decoder) verbatim(n *yamlv3.Node) (string, bool) {
	if n.Kind == yamlv3.ScalarNode && (n.Tag == "!!int" || n.Tag == "!!float") {
		return n.Value, true
	}
	return d.text(n)
}

func (d *decoder) boolean(n *yamlv3.Node) (bool, bool) {
	if n.Kind == yamlv3.ScalarNode && n.Tag == "!!bool" {
		return strings.EqualFold(n.Value, "true"), true
	}
	d.wrongType(n, "true or false").detail("Write true or false, without quotes.")
	return false, false
}

func (d *decoder) integer(n *yamlv3.Node) (int64, bool) {
	if n.Kind != yamlv3.ScalarNode || n.Tag != "!!int" && n.Tag != "!!float" {
		d.wrongType(n, "a whole number")
		return 0, false
	}
	if !d.unambiguous(n) {
		return 0, false
	}
	i, err := strconv.ParseInt(strings.ReplaceAll(n.Value, "_", ""), 0, 64)
	if err == nil {
		return i, true
	}
	if strings.Trim(n.Value, "+-0123456789_") == "" || n.Tag == "!!int" {
		d.errorf(d.span(n), "bad-value", "the number %s is too large", n.Value).
			detail("Whole numbers go from %d to %d.", math.MinInt64, math.MaxInt64)
		return 0, false
	}
	d.wrongType(n, "a whole number").detail("Write it without a fraction.")
	return 0, false
}

func (d *decoder) number(n *yamlv3.Node) (float64, bool) {
	if n.Kind != yamlv3.ScalarNode || n.Tag != "!!int" && n.Tag != "!!float" {
		d.wrongType(n, "a number")
		return 0, false
	}
	if !d.unambiguous(n) {
		return 0, false
	}
	plain := strings.ReplaceAll(n.Value, "_", "")
	if i, err := strconv.ParseInt(plain, 0, 64); err == nil {
		return float64(i), true
	}
	f, err := strconv.ParseFloat(plain, 64)
	if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		d.errorf(d.span(n), "bad-value", "%s is not a finite number", n.Value).
			detail("JSON, in which values are passed on, has no infinity and no not-a-number.")
		return 0, false
	}
	return f, true
}
