package backends

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

// unknownUser stands for whoever compiles where that is not said.
const unknownUser = "unknown"

// WithDefaults returns the options with every empty field that has a default filled in.
func (o Options) WithDefaults() Options {
	o.Version = cmp.Or(o.Version, "dev")
	o.Image = cmp.Or(o.Image, DefaultImage)
	o.TaskImage = cmp.Or(o.TaskImage, DefaultTaskImage+":"+o.Version)
	o.MaxWorkers = cmp.Or(o.MaxWorkers, DefaultMaxWorkers)
	o.Datastore = cmp.Or(o.Datastore, DefaultDatastore)
	o.User = cmp.Or(o.User, unknownUser)
	return o
}

// Setting returns the target's own setting of that name, or its default from known.
func (o Options) Setting(known []Setting, name string) string {
	if v, ok := o.Settings[name]; ok {
		return v
	}
	for _, s := range known {
		if s.Name == name {
			return s.Default
		}
	}
	return ""
}

// IntSetting is Setting for a whole number that is not negative. An empty text is 0.
func (o Options) IntSetting(known []Setting, name string) (int64, diag.List) {
	text := o.Setting(known, name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, diag.List{diag.Errorf(diag.Span{}, "bad-setting", "setting %s is %q, not a whole number", name, text)}
	}
	return n, nil
}

// ListSetting is Setting for a comma-separated list; empty elements are dropped.
func (o Options) ListSetting(known []Setting, name string) []string {
	return SplitList(o.Setting(known, name))
}

// SplitList splits a comma-separated list; blanks around elements and empty elements are dropped.
func SplitList(text string) []string {
	var list []string
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	return list
}

// CheckSettings reports the settings with the prefix of the known ones ("argo." for "argo.namespace") that are not
// among them. Those with another prefix belong to another target and are left alone; registry.CheckSettings reports
// what belongs to none.
func CheckSettings(opt Options, known []Setting) diag.List {
	if len(known) == 0 {
		return nil
	}
	prefix, _, _ := strings.Cut(known[0].Name, ".")
	names := make([]string, len(known))
	for i, s := range known {
		names[i] = s.Name
	}
	var l diag.List
	for _, name := range slices.Sorted(maps.Keys(opt.Settings)) {
		if strings.HasPrefix(name, prefix+".") && !slices.Contains(names, name) {
			l = append(l, diag.Errorf(diag.Span{}, "unknown-setting", "there is no setting %s", name).
				WithDetail("Known are %s.", strings.Join(names, ", ")))
		}
	}
	return l
}

// CheckOptions reports what is wrong or doubtful in the options themselves, for any target that runs elsewhere.
func CheckOptions(opt Options) diag.List {
	l := checkSecrets(opt)
	if opt.MaxWorkers < 0 {
		l = append(l, diag.Errorf(diag.Span{}, "bad-option", "max-workers is %d; it must be 1 or more", opt.MaxWorkers))
	}
	if strings.HasPrefix(opt.Datastore, "file:") || strings.HasPrefix(opt.Datastore, "/") {
		l = append(l, diag.Warningf(diag.Span{}, "local-datastore",
			"the datastore %s is a folder of this machine, which tasks on other machines do not see", opt.Datastore).
			WithDetail("Use an object store, or mount a shared volume at that folder in every task."))
	}
	return l
}

// FlowSpan is the position for findings about the flow as a whole: its own span, or at least its file.
func FlowSpan(f *ir.Flow) diag.Span {
	if !f.Span.IsZero() {
		return f.Span
	}
	return diag.Span{File: f.Source.File}
}
