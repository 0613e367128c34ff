package yaml

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	yamlv3 "gopkg.in/yaml.v3"

	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

// check reports what the rules of single fields cannot see.
func (d *decoder) check(doc *document) {
	placeholders := []string{"item", "index"}
	var files []string
	for i, p := range doc.Parameters {
		d.checkParameter(p, fmt.Sprintf("%s.parameters[%d].value", rootPath, i))
		if p.Value.effectiveType() == ir.FileType {
			files = append(files, p.Name)
		} else {
			placeholders = append(placeholders, p.Name)
		}
	}
	d.checkEnv(doc.Env)
	d.checkDecorators(doc.Decorators, flowFields)
	if doc.Defaults != nil {
		d.checkDecorators(doc.Defaults.Decorators, stepFields)
	}
	for i := range doc.Steps {
		s := &doc.Steps[i].Value
		d.checkEnv(s.Env)
		d.checkDecorators(s.Decorators, stepFields)
		d.checkUses(doc, s.Inputs, "inputs")
		d.checkUses(doc, s.Outputs, "outputs")
		if s.Run != nil {
			for _, arg := range s.Run.args {
				d.checkArg(arg, placeholders, files)
			}
		}
	}
}

// reservedArtifacts are names that a command step's files, placeholders or the Python client have other uses for.
var reservedArtifacts = []string{"item", "index", "input", "inputs", "name", "next", "cmd"}

// checkUses checks the artifacts that a step declares.
func (d *decoder) checkUses(doc *document, uses []name, field string) {
	seen := map[string]*yamlv3.Node{}
	for _, use := range uses {
		if use.text == "" {
			continue
		}
		if first := seen[use.text]; first != nil {
			d.errorf(d.span(use.node), "duplicate-artifact", "%q is in %q twice", use.text, field).
				detail("Remove one of them.").note(d.span(first), "it is first given here")
			continue
		}
		seen[use.text] = use.node
		if slices.Contains(reservedArtifacts, use.text) {
			f := d.errorf(d.span(use.node), "reserved-name", "%q is not a name for an artifact: it has a meaning of its own", use.text)
			if use.text == "item" && field == "inputs" {
				f.detail("The item of a foreach is there without being declared: as $MF_ITEM, $MF_INPUTS/item.json or {item}.")
			} else {
				f.detail("Give the artifact another name.")
			}
		}
		if field != "outputs" {
			continue
		}
		for _, p := range doc.Parameters {
			if p.Name == use.text {
				d.errorf(d.span(use.node), "output-is-parameter", "the output %q has the name of a parameter", use.text).
					detail("Parameters keep their value for the whole run: give the output another name.").
					note(d.span(p.key), "the parameter")
			}
		}
	}
}

// checkEnv checks the names of environment variables.
func (d *decoder) checkEnv(env ordered[envValue]) {
	for _, e := range env {
		switch {
		case e.badKey:
		case !envPattern.MatchString(e.Name):
			d.errorf(d.span(e.key), "bad-value", "%q is not a name for an environment variable", e.Name).
				detail("It has letters, digits and _, and does not start with a digit.")
		case strings.HasPrefix(e.Name, "MF_"):
			d.errorf(d.span(e.key), "reserved-name", "the environment variable %s is mf's own", e.Name).
				detail("Names that start with MF_ are reserved: choose another one.")
		}
	}
}

// effectiveType is the type given, or the one that the default has, or text.
func (p *parameter) effectiveType() ir.ParameterType {
	if p.Type != "" || p.Default == nil || p.Default.node == nil {
		if p.Type == "" {
			return ir.StringType
		}
		return ir.ParameterType(p.Type)
	}
	n := p.Default.node
	switch {
	case n.Kind != yamlv3.ScalarNode:
		return ir.JSONType
	case n.Tag == "!!int":
		return ir.IntType
	case n.Tag == "!!float":
		return ir.FloatType
	case n.Tag == "!!bool":
		return ir.BoolType
	}
	return ir.StringType
}

// checkParameter checks a parameter's name, and that its default has its type.
func (d *decoder) checkParameter(e entry[parameter], path string) {
	if !e.badKey && !artifactPattern.MatchString(e.Name) {
		f := d.errorf(d.span(e.key), "bad-value", "%q is not a name for a parameter", e.Name)
		fixed := strings.ReplaceAll(e.Name, "-", "_")
		if artifactPattern.MatchString(fixed) {
			f.detail("Write it as %s, and add \"option: %s\" to have --%s on the command line.", fixed, e.Name, e.Name)
		} else {
			f.detail("It has letters, digits and _, and starts with a letter.")
		}
	} else if e.Name == "item" || e.Name == "index" {
		d.errorf(d.span(e.key), "reserved-name", "the parameter cannot be called %q: {%s} stands for the %s of a foreach", e.Name, e.Name, e.Name).
			detail("Give it another name.")
	}
	p := &e.Value
	if p.Default == nil || d.failed[path+".default"] || d.failed[path+".type"] {
		return
	}
	if p.effectiveType() == ir.FileType && p.Default.node.Value == "" {
		d.errorf(d.span(p.Default.node), "parameter-default", "the default of parameter %q is no path", e.Name).
			detail("Write the path of a file, relative to the flow's folder, or leave the default out.")
		return
	}
	if wanted, ok := d.fits(p); !ok {
		n := p.Default.node
		f := d.errorf(d.span(n), "parameter-default", "the default of parameter %q is %s, but its type is %s", e.Name, describe(n), p.effectiveType())
		switch {
		case isNull(n):
			f.detail("A parameter without a default is empty until it is given: leave the line out.")
		case p.effectiveType() == ir.StringType && n.Kind == yamlv3.ScalarNode:
			f.detail("Put it in quotes: %q; or leave the type out.", n.Value)
		default:
			f.detail("Write %s.", wanted)
		}
		return
	}
	d.checkJSONText(e.Name, p)
}

// fits reports whether a default has the type of its parameter; if not, wanted says what has.
func (d *decoder) fits(p *parameter) (wanted string, ok bool) {
	v := p.Default.value
	switch p.effectiveType() {
	case ir.IntType:
		_, ok = v.(int64)
		return "a whole number, without quotes", ok
	case ir.FloatType:
		_, whole := v.(int64)
		_, ok = v.(float64)
		return "a number, without quotes", ok || whole
	case ir.BoolType:
		_, ok = v.(bool)
		return "true or false, without quotes", ok
	case ir.StringType:
		_, ok = v.(string)
		return "a text", ok
	case ir.FileType:
		_, ok = v.(string)
		return "the path of a file", ok
	}
	return "", true
}

// checkJSONText reports a JSON default that is written as JSON text in a text.
func (d *decoder) checkJSONText(name string, p *parameter) {
	text, ok := p.Default.value.(string)
	if !ok || p.effectiveType() != ir.JSONType {
		return
	}
	if t := strings.TrimSpace(text); (strings.HasPrefix(t, "{") || strings.HasPrefix(t, "[")) && json.Valid([]byte(t)) {
		d.errorf(d.span(p.Default.node), "ambiguous-value", "the default of parameter %q is a text that holds JSON", name).
			detail("Write the value itself, without quotes: YAML reads JSON. If it is meant to be a text, use the type string.")
	}
}

var placeholderPattern = regexp.MustCompile(`\{\{|\}\}|\{[A-Za-z_][A-Za-z0-9_-]*\}|[{}]`)

// checkArg checks the placeholders in one argument of the exec form: {name} must be known, and if doubled braces are used
// at all, what is left after reading them must not have lost a brace.
func (d *decoder) checkArg(arg name, known, files []string) {
	open, closed, doubled := 0, 0, 0
	for _, m := range placeholderPattern.FindAllString(arg.text, -1) {
		switch m {
		case "{{":
			open, doubled = open+1, doubled+1
			continue
		case "}}":
			closed, doubled = closed+1, doubled+1
			continue
		case "{":
			open++
			continue
		case "}":
			closed++
			continue
		}
		id := m[1 : len(m)-1]
		switch {
		case slices.Contains(known, id):
		case slices.Contains(files, id):
			d.errorf(d.span(arg.node), "placeholder", "{%s} is the content of a file, which an argument cannot hold", id).
				detail("Add %s to the step's inputs and read it from $MF_INPUTS/%s.", id, id)
		default:
			f := d.errorf(d.span(arg.node), "placeholder", "{%s} is neither a parameter nor item nor index", id)
			escape := fmt.Sprintf("For the text itself, double the braces: {{%s}}.", id)
			if near := diag.Nearest(id, known); near != "" {
				escape = fmt.Sprintf("Did you mean {%s}? ", near) + escape
			}
			f.detail("%s", escape)
		}
	}
	if doubled > 0 && open != closed && strings.Count(arg.text, "{") == strings.Count(arg.text, "}") {
		d.errorf(d.span(arg.node), "placeholder", "a doubled brace stands for one brace, which leaves this argument with %d { and %d }", open, closed).
			detail("Double every brace that is meant as a brace, or run it as a shell line, where braces have no meaning.")
	}
}

// checkDecorators reports decorators that have a field of their own.
func (d *decoder) checkDecorators(decos ordered[settings], fields map[string]string) {
	for _, e := range decos {
		if field, ok := fields[e.Name]; ok {
			d.errorf(d.span(e.key), "decorator-field", "the decorator %q is written as the field %q", e.Name, field).
				detail("Take it out of \"decorators\" and use the field, which is checked.")
		}
	}
}
