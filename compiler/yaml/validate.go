package yaml

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"

	"github.com/go-playground/validator/v10"

	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

// The forms of names. Step names are left to the compiler's passes.
var (
	// pyNamePattern is a name that the Python client can use for a class.
	pyNamePattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	// artifactPattern is a name for an artifact or a parameter; those that start with _ are mf's own.
	artifactPattern = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]*$`)
	optionPattern   = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]*$`)
	envPattern      = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	wordPattern     = regexp.MustCompile(`^[^\s]+$`)
	projectPattern  = regexp.MustCompile(`^[a-z0-9_]+$`)
	zonePattern     = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$`)
)

// newValidator makes the validator for the tags of document.go.
func newValidator() *validator.Validate {
	v := validator.New(validator.WithRequiredStructEnabled())
	v.RegisterTagNameFunc(func(f reflect.StructField) string { return f.Tag.Get("yaml") })
	v.RegisterCustomTypeFunc(func(f reflect.Value) any { return f.Interface().(name).text }, name{})
	v.RegisterCustomTypeFunc(func(f reflect.Value) any { return f.Interface().(size).mib }, size{})
	rules := map[string]validator.Func{"only_for": onlyFor, "cron_fields": isCron}
	for tag, pattern := range map[string]*regexp.Regexp{"pyname": pyNamePattern, "artifact": artifactPattern, "option": optionPattern,
		"word": wordPattern, "project": projectPattern, "zone": zonePattern} {
		rules[tag] = func(fl validator.FieldLevel) bool { return pattern.MatchString(fl.Field().String()) }
	}
	for tag, rule := range rules {
		if err := v.RegisterValidation(tag, rule); err != nil {
			panic(fmt.Sprintf("compiler/yaml: the rule %s: %v", tag, err))
		}
	}
	return v
}

// onlyFor accepts a field of a parameter that is not given, or whose parameter has the type named by the tag.
func onlyFor(fl validator.FieldLevel) bool {
	p, ok := fl.Parent().Interface().(parameter)
	return fl.Field().IsZero() || ok && string(p.effectiveType()) == fl.Param()
}

func isCron(fl validator.FieldLevel) bool {
	_, err := ir.StandardCron(fl.Field().String())
	return err == nil
}

// validate applies the rules of the tags and reports what they find.
func (d *decoder) validate(doc *document) {
	err := newValidator().Struct(doc)
	var found validator.ValidationErrors
	if err != nil && !errors.As(err, &found) {
		panic(fmt.Sprintf("compiler/yaml: validating: %v", err))
	}
	for _, fe := range found {
		if path := fe.Namespace(); !d.failedBelow(path) {
			d.violation(path, fe)
		}
	}
}

// failedBelow reports whether decoding failed at the path or around it.
func (d *decoder) failedBelow(path string) bool {
	for {
		if d.failed[path] {
			return true
		}
		i := strings.LastIndexAny(path, ".[")
		if i < 0 {
			return false
		}
		path = path[:i]
	}
}

// where is the span of the field's value, or if the field is not given, of the nearest thing around it that is.
func (d *decoder) where(path string) diag.Span {
	if n := d.values[path]; n != nil {
		return d.span(n)
	}
	for {
		i := strings.LastIndexAny(path, ".[")
		if i < 0 {
			return diag.Span{File: d.file}
		}
		path = path[:i]
		if n := d.keys[path]; n != nil {
			return d.span(n)
		}
	}
}

// keyOr is the span of the field's key: for rules about the field as such.
func (d *decoder) keyOr(path string) diag.Span {
	if n := d.keys[path]; n != nil {
		return d.span(n)
	}
	return d.where(path)
}

// violation reports the breach of one rule in the words of the flow language.
func (d *decoder) violation(path string, fe validator.FieldError) {
	field := fe.Field()
	if i := strings.IndexByte(field, '['); i >= 0 {
		field = field[:i]
	}
	value := fmt.Sprint(fe.Value())
	switch tag := fe.Tag(); tag {
	case "required", "required_with", "required_without", "required_without_all":
		d.missing(path, field, tag)
	case "excluded_with", "excluded_without":
		d.excluded(path, field)
	case "only_for":
		d.errorf(d.keyOr(path), "bad-value", "%q is for parameters of type %s only", field, fe.Param()).
			detail("Remove it, or give the parameter the type %s.", fe.Param())
	case "oneof":
		d.oneOf(path, field, value, strings.Fields(fe.Param()))
	case "lte":
		d.errorf(d.where(path), "bad-value", "%q must be %s or less, not %s", field, fe.Param(), value).detail("Write a smaller number.")
	case "gt", "gte", "min":
		least := map[string]string{"gt": "more than ", "gte": "", "min": ""}[tag] + fe.Param()
		if tag != "gt" {
			least += " or more"
		}
		if fe.Kind() == reflect.Slice {
			d.errorf(d.where(path), "bad-value", "%q is empty", field).detail("Give it at least one entry, or leave it out.")
			return
		}
		d.errorf(d.where(path), "bad-value", "%q must be %s, not %s", field, least, value).
			detail("Write a larger number, or leave %q out.", field)
	default:
		d.badForm(path, field, value, tag)
	}
}

// missing reports a field that has to be there.
func (d *decoder) missing(path, field, tag string) {
	switch {
	case path == rootPath+".flow":
		d.errorf(d.where(path), "missing-field", "the flow has no name").detail("Add a line such as \"flow: MyFlow\" at the top.")
	case path == rootPath+".steps":
		d.errorf(d.where(path), "missing-field", "the flow has no steps").
			detail("Add\n\nsteps:\n  start:\n    run: echo hello")
	case field == "run":
		d.errorf(d.where(path), "missing-field", "the step %q has inputs or outputs, but runs nothing", d.entryName(strings.TrimSuffix(path, ".run"))).
			detail("Add \"run\" with a shell line or a list.")
	case tag == "required_without_all":
		d.errorf(d.where(path), "missing-field", "\"next\" says neither foreach nor switch nor parallel").
			detail("Write next: STEP to go on to one step, {foreach: ARTIFACT, step: STEP} for one task an item, " +
				"{switch: ARTIFACT, cases: {value: STEP}} to choose, {parallel: N, step: STEP} for a gang.")
	case tag == "required_without":
		d.errorf(d.where(path), "missing-field", "the schedule says neither cron nor every").
			detail("Write {cron: \"0 6 * * *\"}, or hourly, daily or weekly.")
	case tag == "required_with":
		d.errorf(d.where(path), "missing-field", "\"next\" has no %q", field).
			detail("%s", map[string]string{"step": "Name the step that the tasks run.", "cases": "Write cases: {value: STEP, …}."}[field])
	default:
		f := d.errorf(d.where(path), "missing-field", "%q has no %q", lastName(path[:strings.LastIndexByte(path, '.')]), field)
		switch field {
		case "var":
			f.detail("Name the artifact that takes the error: {var: failure}.")
		case "sources":
			f.detail("List where the secrets come from: {sources: [aws-secrets-manager.my-secret]}.")
		}
	}
}

// excluded reports a field that contradicts another one.
func (d *decoder) excluded(path, field string) {
	other, detail := "", ""
	switch field {
	case "foreach", "switch":
		other, detail = "another kind of transition", "A step goes on in one way: by foreach, by switch or by parallel."
	case "step":
		other, detail = "\"switch\"", "The steps of a switch are in its \"cases\"."
	case "cases":
		d.errorf(d.keyOr(path), "bad-value", "\"cases\" without \"switch\"").
			detail("Name the artifact whose value decides: {switch: ARTIFACT, cases: {…}}.")
		return
	case "binary":
		other, detail = "\"encoding\"", "Bytes have no encoding: remove one of the two."
	case "every":
		other, detail = "\"cron\"", "Remove one of the two."
	}
	d.errorf(d.keyOr(path), "bad-value", "%q cannot be combined with %s", field, other).detail("%s", detail)
}

// oneOf reports a word that is not in a short list.
func (d *decoder) oneOf(path, field, value string, allowed []string) {
	f := d.errorf(d.where(path), "bad-value", "%q cannot be %q", field, value)
	words := map[string]string{"str": "string", "text": "string", "integer": "int", "number": "float", "double": "float",
		"boolean": "bool", "object": "json", "map": "json", "list": "json", "path": "file", "hour": "hourly", "day": "daily", "week": "weekly"}
	near := diag.Nearest(value, allowed)
	if word, ok := words[strings.ToLower(value)]; ok {
		near = word
	}
	if near != "" {
		f.detail("Did you mean %q? It is one of %s.", near, strings.Join(allowed, ", "))
		return
	}
	f.detail("It is one of %s.", strings.Join(allowed, ", "))
}

// badForm reports a text that does not have the form of its field.
func (d *decoder) badForm(path, field, value, rule string) {
	forms := map[string]string{
		"pyname":   "A flow's name has letters, digits and _, and does not start with a digit.",
		"artifact": "An artifact's name has letters, digits and _, and starts with a letter.",
		"option":   "An option's name has letters, digits, - and _, and starts with a letter; leave out the leading --.",
		"word":     "It must be one word without spaces.",
		"project":  "A project's name has small letters, digits and _.",
		"zone":     "Write an IANA name such as Europe/Helsinki or UTC.",
	}
	if rule == "cron_fields" {
		_, err := ir.StandardCron(value)
		d.errorf(d.where(path), "bad-value", "the cron expression %q is wrong: %v", value, err).
			detail("Its fields are minute, hour, day of month, month and day of week, as in \"0 6 * * *\" for six o'clock every day.")
		return
	}
	f := d.errorf(d.where(path), "bad-value", "%q cannot be %q", field, value)
	if form, ok := forms[rule]; ok {
		f.detail("%s", form)
	}
}
