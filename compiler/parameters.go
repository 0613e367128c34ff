package compiler

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"

	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

// reservedOptions are words of the command line, so that no parameter can be given by them.
var reservedOptions = map[string]bool{
	"params": true, "with": true, "tag": true, "namespace": true, "obj": true, "tags": true, "decospecs": true,
	"run-id-file": true, "max-num-splits": true, "max-workers": true, "max-log-size": true, "user-namespace": true,
	"run-id": true, "task-id": true, "runner-attribute-file": true,
}

// reservedArtifacts are attributes that every flow has: a parameter, constant or output of such a name could not be read.
var reservedArtifacts = map[string]bool{
	"name": true, "next": true, "input": true, "index": true, "cmd": true, "foreach_stack": true, "merge_artifacts": true,
	"script_name": true,
}

// checkParameters reports parameters, configs and constants whose names clash or are taken, and defaults that do not fit.
func checkParameters(u *unit) {
	names := u.newNames()
	for i := range u.flow.Parameters {
		p := &u.flow.Parameters[i]
		names.declare("parameter", p.Name, p.Option, p.Span)
		u.parameterName(p)
		u.parameterDefault(p)
	}
	for i := range u.flow.Configs {
		c := &u.flow.Configs[i]
		names.declare("config", c.Name, c.Option, c.Span)
		u.variableName("config", c.Name, c.Span)
	}
	for i := range u.flow.Constants {
		c := &u.flow.Constants[i]
		names.declare("constant", c.Name, "", c.Span)
	}
}

// declared finds names that are given twice: as variables, where case counts, and as options, where it does not.
type declared struct {
	unit      *unit
	variables map[string]declaration
	options   map[string]declaration
}

type declaration struct {
	what, name string
	span       diag.Span
}

func (u *unit) newNames() declared {
	d := declared{u, map[string]declaration{}, map[string]declaration{}}
	for _, s := range u.flow.Steps {
		d.variables[s.Name] = declaration{"step", s.Name, s.Span}
	}
	return d
}

func (d declared) declare(what, name, option string, span diag.Span) {
	if d.enter(d.variables, name, declaration{what, name, span}) && option != "" {
		// Parameters and configs are given by options of different kinds.
		folded := strings.ReplaceAll(strings.ToLower(option), "-", "_")
		d.enter(d.options, what+" "+folded, declaration{what, option, span})
	}
}

// enter reports whether the name was free.
func (d declared) enter(m map[string]declaration, key string, now declaration) bool {
	earlier, taken := m[key]
	if !taken {
		m[key] = now
		return true
	}
	finding := diag.Errorf(now.span, "parameter-duplicate", "%s %s has the name of %s %s", now.what, now.name, earlier.what, earlier.name).
		WithNote(earlier.span, "the other is here")
	if earlier.name != now.name {
		finding = finding.WithDetail("On the command line, capitals do not tell names apart, nor do - and _.")
	}
	d.unit.add(finding)
	return false
}

// parameterName checks what the parameter is called as a variable and on the command line.
func (u *unit) parameterName(p *ir.Parameter) {
	u.variableName("parameter", p.Name, p.Span)
	switch option := p.Option; {
	case reservedOptions[strings.ReplaceAll(option, "_", "-")]:
		u.add(diag.Errorf(p.Span, "parameter-name-reserved", "parameter %s has a name that the command line reserves", option).
			WithDetail("Choose another name for it."))
	case !optionName(option):
		u.add(diag.Errorf(p.Span, "parameter-name", "parameter %q has an invalid name", option).
			WithDetail("A parameter's name consists of letters, digits, - and _, and starts with a letter."))
	}
}

func (u *unit) variableName(what, name string, span diag.Span) {
	switch {
	case reservedArtifacts[name]:
		u.add(diag.Errorf(span, "parameter-name-reserved", "%s %s has a name that every flow uses for something else", what, name).
			WithDetail("%s", u.say("self."+name+" would not be the value of the "+what+". Choose another name for the variable.",
				"Choose another name for it.")))
	case !identifier(name):
		u.add(diag.Errorf(span, "parameter-name", "%s %q has an invalid name", what, name).
			WithDetail("Its value becomes an artifact: the name consists of letters, digits and _, and does not start with a digit."))
	}
}

func optionName(name string) bool {
	for i, r := range name {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '_'
		if !letter && (i == 0 || (r < '0' || r > '9') && r != '-') {
			return false
		}
	}
	return name != ""
}

// parameterDefault checks the default against the type.
func (u *unit) parameterDefault(p *ir.Parameter) {
	if p.Separator != "" && p.Type != ir.StringType {
		u.add(diag.Errorf(p.Span, "parameter-separator", "parameter %s has a separator, but its type is %s", p.Option, p.Type).
			WithDetail("Only a string is split into a list."))
	}
	if p.Required && (p.Default != nil || p.DefaultFunc != "") && !isNull(p.Default) {
		u.add(diag.Warningf(p.Span, "parameter-required-default", "parameter %s is required and has a default", p.Option).
			WithDetail("The default is used when no value is given, so nothing is required. Remove one of the two."))
	}
	if p.Default == nil {
		return
	}
	v, err := ir.DecodeValue(p.Default)
	if err != nil {
		u.add(diag.Errorf(p.Span, "parameter-default", "the default of parameter %s is not JSON: %v", p.Option, err))
		return
	}
	if v != nil && !fits(v, p) {
		u.add(diag.Errorf(p.Span, "parameter-default", "the default of parameter %s is %s, but its type is %s", p.Option, shorten(string(p.Default)), p.Type).
			WithDetail("Change the default, or the type."))
	}
}

func isNull(raw json.RawMessage) bool { return string(raw) == "null" }

// fits reports whether a default can be a value of the parameter. A text that reads as a value of the type will do.
func fits(v any, p *ir.Parameter) bool {
	text, isText := v.(string)
	switch p.Type {
	case ir.StringType:
		if items, isList := v.([]any); isList && p.Separator != "" {
			for _, item := range items {
				if _, ok := item.(string); !ok {
					return false
				}
			}
			return true
		}
		return isText
	case ir.FileType:
		return isText
	case ir.IntType:
		if isText {
			_, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
			return err == nil
		}
		f, isFloat := v.(float64)
		_, isInt := v.(int64)
		return isInt || isFloat && f == math.Trunc(f)
	case ir.FloatType:
		if isText {
			_, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
			return err == nil
		}
		switch v.(type) {
		case int64, float64:
			return true
		}
		return false
	case ir.BoolType:
		if isText {
			switch strings.ToLower(text) {
			case "true", "t", "yes", "y", "on", "1", "false", "f", "no", "n", "off", "0":
				return true
			}
			return false
		}
		_, isBool := v.(bool)
		return isBool
	}
	return true
}

// shorten cuts a long text for a message.
func shorten(s string) string {
	const most = 60
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}
