package backends

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"

	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

// ImageOf returns the step's container image: its own, or the default of the options.
func ImageOf(s *ir.Step, opt Options) string { return cmp.Or(s.Image(), opt.Image) }

// EnvVar is one environment variable.
type EnvVar struct{ Name, Value string }

// TaskEnvironment returns what every container of a run is told, sorted by name: the options' Env, over it what tells
// mf-task where things are, whose run this is and which branch of its project (nil without @project), over it own, the
// target's additions (nil for none). runtime is Metaflow's name of the engine; empty for a run that is scheduled here.
func TaskEnvironment(opt Options, project *Project, runtime string, own map[string]string) []EnvVar {
	env := map[string]string{}
	maps.Copy(env, opt.Env)
	env[ir.EnvDatastore] = opt.Datastore
	if opt.ServiceURL != "" {
		env[ir.EnvServiceURL] = opt.ServiceURL
	}
	if opt.Package != "" {
		env[ir.EnvPackage] = opt.Package
	}
	if project != nil {
		env[ir.EnvBranch] = project.Branch
	}
	if runtime != "" {
		env[ir.EnvRuntime] = runtime
	}
	if KnownUser(opt) {
		env[ir.EnvUser] = opt.User
	}
	if len(opt.Tags) > 0 {
		// Texts always have a JSON form.
		tags, _ := json.Marshal(opt.Tags)
		env[ir.EnvTags] = string(tags)
	}
	if opt.Token != "" {
		env[ir.EnvProductionToken] = opt.Token
	}
	if opt.Origin != "" {
		env[ir.EnvOriginRun] = opt.Origin
	}
	maps.Copy(env, own)
	return sorted(env)
}

// KnownUser reports whether the options say who compiles.
func KnownUser(opt Options) bool { return opt.User != "" && opt.User != unknownUser }

// StepEnvironment returns what @environment adds for one step, sorted by name. A variable that TaskEnvironment sets for
// mf-task's sake is a user's mistake.
func StepEnvironment(s *ir.Step, task []EnvVar, opt Options) ([]EnvVar, diag.List) {
	env := s.Environment()
	if len(env) == 0 {
		return nil, nil
	}
	var l diag.List
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if IsSecret(name) {
			l = append(l, diag.Warningf(s.Decorator("environment").Span, "secret-in-environment",
				"step %s: @environment gives the secret %s, which stands in the target's files for all to read", s.Name, name).
				WithDetail("Keep it in a secret of the target, and have the step get it from there."))
		}
	}
	for _, v := range task {
		_, both := env[v.Name]
		if _, users := opt.Env[v.Name]; both && !users {
			l = append(l, diag.Errorf(s.Decorator("environment").Span, "reserved-environment",
				"step %s: the environment variable %s is mf's own and cannot be set by @environment", s.Name, v.Name))
			delete(env, v.Name)
		}
	}
	return sorted(env), l
}

func sorted(env map[string]string) []EnvVar {
	list := make([]EnvVar, 0, len(env))
	for _, name := range slices.Sorted(maps.Keys(env)) {
		list = append(list, EnvVar{name, env[name]})
	}
	return list
}

// AsksForResources reports whether the step says itself what it needs. A target's own default applies to others.
func AsksForResources(s *ir.Step) bool {
	return s.Decorator("resources") != nil || s.Decorator("kubernetes") != nil || s.Decorator("batch") != nil
}
