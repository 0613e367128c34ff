package argolive

import (
	"regexp"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/mf-run/mf/ir"
)

// rule gives words to what stands at a path.
type rule struct {
	// at is the path's names, "*" for any one.
	at []string
	// words may hold %s for what stands at the first "*".
	words string
	// text makes a text of the value that is equal exactly where the meaning is; nil: compact.
	write func(any) string
	// follows is that of the properties; ownPart stands for the part that they are in.
	follows string
	// flowWide words need no "default" before them in what all steps share.
	flowWide bool
	// derive may refine the property.
	derive func(p *property, name string)
}

// ownPart as a rule's follows is the property's own part.
const ownPart = "part"

func (r rule) text(value any) string {
	if r.write != nil {
		return r.write(value)
	}
	return compact(value)
}

func (r rule) word(name string) string { return strings.Replace(r.words, "%s", name, 1) }

// match returns the first rule for the path, and what stands at its "*".
func match(rules []rule, path []string) (rule, string, bool) {
next:
	for _, r := range rules {
		if len(r.at) != len(path) {
			continue
		}
		name := ""
		for i, want := range r.at {
			switch {
			case want == "*" && name == "":
				name = path[i]
			case want != "*" && want != path[i]:
				continue next
			}
		}
		return r, name, true
	}
	return rule{}, "", false
}

// at writes a path with spaces between the names.
func at(path, words string) rule { return rule{at: strings.Fields(path), words: words} }

func (r rule) as(write func(any) string) rule              { r.write = write; return r }
func (r rule) wide() rule                                  { r.flowWide = true; return r }
func (r rule) following(what string) rule                  { r.follows = what; return r }
func (r rule) refined(derive func(*property, string)) rule { r.derive = derive; return r }

// templateRules are for templates, and for what they share.
var templateRules = []rule{
	at("container image", "image"),
	at("container imagePullPolicy", "image pull policy"),
	at("container command", "command"),
	at("container args", "command line").following(ownPart),
	at("container env *", "environment variable %s").as(envText).wide().refined(refineEnv),
	at("container envFrom", "environment from").as(envFromText).wide(),
	at("container resources requests *", "%s").as(quantity).refined(refineResource("")),
	at("container resources limits *", "%s").as(quantity).refined(refineResource(" limit")),
	at("container volumeMounts *", "volume %s").wide(),
	at("container securityContext", "security context").wide(),
	at("securityContext", "security context of the pod").wide(),
	at("volumes *", "volume %s").wide(),
	at("retryStrategy limit", "retries"),
	at("retryStrategy retryPolicy", "retry policy"),
	at("retryStrategy backoff duration", "pause between retries"),
	at("activeDeadlineSeconds", "timeout").as(seconds),
	at("metadata labels mf.run/step", "label mf.run/step").following(ownPart),
	at("metadata labels *", "label %s of pods").wide(),
	at("metadata annotations *", "annotation %s of pods").wide(),
	at("nodeSelector *", "node selector %s"),
	at("tolerations", "tolerations"),
	at("affinity", "affinity"),
	at("serviceAccountName", "service account"),
	at("automountServiceAccountToken", "service account token"),
	at("priorityClassName", "priority class"),
	at("parallelism", "parallelism"),
	at("initContainers mf-task image", "mf-task image").wide(),
	at("inputs", "inputs").following(ownPart),
	at("outputs", "outputs").following(ownPart),
}

// specRules are for the flow as a whole.
var specRules = []rule{
	at("arguments parameters *", "parameter %s").as(parameterText),
	at("entrypoint", "entrypoint").following(followsFlow),
	at("parallelism", "parallelism"),
	at("activeDeadlineSeconds", "deadline").as(seconds),
	at("priority", "priority"),
	at("podGC strategy", "pods are removed"),
	at("ttlStrategy secondsAfterSuccess", "successful runs are kept").as(seconds),
	at("ttlStrategy secondsAfterFailure", "failed runs are kept").as(seconds),
	at("ttlStrategy secondsAfterCompletion", "ended runs are kept").as(seconds),
	at("serviceAccountName", "service account"),
	at("automountServiceAccountToken", "service account token"),
	at("nodeSelector *", "node selector %s"),
	at("tolerations", "tolerations"),
	at("imagePullSecrets", "image pull secrets").as(names),
	at("securityContext", "security context of the pods"),
	at("volumes *", "volume %s"),
	at("workflowMetadata labels *", "label %s of runs").following(followsFlow),
	at("workflowMetadata annotations *", "annotation %s of runs").following(followsFlow),
	at("onExit", "exit handler"),
	at("hooks *", "hook %s"),
	at("podMetadata labels *", "label %s of pods"),
	at("podMetadata annotations *", "annotation %s of pods"),
}

// taskRules are for the tasks of a DAG.
var taskRules = []rule{
	at("dependencies", "waits for").as(joined),
	at("depends", "waits for"),
	at("when", "condition"),
	at("withSequence", "foreach"),
	at("withParam", "foreach"),
	at("withItems", "foreach"),
	at("template", "runs template").following(followsFlow),
	at("arguments", "arguments").following(ownPart),
}

// otherRules are for all other kinds, below the object's own fields.
var otherRules = []rule{
	at("schedules", "schedule").as(joined),
	at("schedule", "schedule"),
	at("timezone", "time zone"),
	at("suspend", "suspended"),
	at("startingDeadlineSeconds", "a run may start late by").as(seconds),
	at("concurrencyPolicy", "while a run is under way"),
	at("workflowMetadata labels *", "label %s of runs").following(followsFlow),
	at("workflowMetadata annotations *", "annotation %s of runs").following(followsFlow),
	at("dependencies *", "trigger %s"),
	at("triggers", "what a trigger starts"),
	at("workflowSpec", "what a schedule starts"),
}

func labelWord(name string) string {
	switch name {
	case labelFlow:
		return "flow"
	case labelDeployment:
		return "deployment"
	}
	return "label " + name
}

// annotationWords are the annotations that mean something to the flow. Metaflow's own say the same as mf's.
var annotationWords = map[string]string{
	"workflows.argoproj.io/title":       "title",
	"workflows.argoproj.io/description": "description",
	annotationFlow:                      "flow",
	"mf.run/version":                    "version of mf",
	"mf.run/owner":                      "owner",
	"mf.run/origin":                     "resumed run",
	"mf.run/project":                    "project",
	"mf.run/branch":                     "branch",
	"metaflow/owner":                    "owner",
	"metaflow/flow_name":                "flow",
	"metaflow/project_name":             "project",
	"metaflow/branch_name":              "branch",
	"metaflow/project_flow_name":        "flow in the project",
}

func annotationWord(name string) string {
	if word := annotationWords[name]; word != "" {
		return word
	}
	return "annotation " + name
}

// envWords are the variables that mean something to the flow.
var envWords = map[string]string{
	ir.EnvPackage:         "code package",
	ir.EnvDatastore:       "datastore",
	ir.EnvServiceURL:      "metadata service",
	ir.EnvProductionToken: "production token",
	ir.EnvBranch:          "branch",
	ir.EnvTags:            "tags",
	ir.EnvUser:            "user",
	ir.EnvOriginRun:       "resumed run",
}

func refineEnv(p *property, name string) {
	if word := envWords[name]; word != "" {
		p.what = word
	}
	if strings.HasPrefix(name, ir.EnvParameterPrefix) || name == ir.EnvOptionalParameters {
		p.follows = followsParameters
	}
}

// envText is a variable's value, or where it comes from. What a secret holds is never here.
func envText(v any) string {
	if from := dig(v, "valueFrom"); from != nil {
		for _, source := range []struct{ field, word string }{{"secretKeyRef", "secret"}, {"configMapKeyRef", "config map"}} {
			if ref := dig(from, source.field); ref != nil {
				return "from " + source.word + " " + scalar(dig(ref, "name")) + ", key " + scalar(dig(ref, "key"))
			}
		}
		return "from " + compact(from)
	}
	return scalar(dig(v, "value"))
}

func envFromText(v any) string {
	list, _ := v.([]any)
	var parts []string
	for _, e := range list {
		switch {
		case dig(e, "secretRef") != nil:
			parts = append(parts, "secret "+scalar(dig(e, "secretRef", "name")))
		case dig(e, "configMapRef") != nil:
			parts = append(parts, "config map "+scalar(dig(e, "configMapRef", "name")))
		default:
			parts = append(parts, compact(e))
		}
	}
	return strings.Join(parts, ", ")
}

// refineResource names a resource as flows do. A GPU is only ever a limit.
func refineResource(suffix string) func(*property, string) {
	return func(p *property, name string) {
		vendor, isGPU := strings.CutSuffix(name, "/gpu")
		switch {
		case isGPU:
			p.what = "gpu"
			if vendor != "nvidia.com" {
				p.value += " of " + vendor
			}
		case name == "cpu", name == "memory":
			p.what = name + suffix
		case name == "ephemeral-storage":
			p.what = "disk" + suffix
		default:
			p.what = "resource " + name + suffix
		}
	}
}

// quantity writes amounts that are equal in the same way.
func quantity(v any) string {
	q, err := resource.ParseQuantity(scalar(v))
	if err != nil {
		return compact(v)
	}
	number, suffix := q.CanonicalizeBytes(nil)
	return string(number) + string(suffix)
}

// seconds writes a number of seconds as people say it.
func seconds(v any) string {
	n, err := strconv.ParseInt(scalar(v), 10, 64)
	if err != nil || n < 0 || n > int64(1<<62)/int64(time.Second) {
		return compact(v)
	}
	const day = 24 * 60 * 60
	switch {
	case n >= day && n%day == 0:
		return plural(n/day, "day")
	case n >= 3600 && n%3600 == 0:
		return plural(n/3600, "hour")
	case n >= 60 && n%60 == 0:
		return plural(n/60, "minute")
	}
	return plural(n, "second")
}

func plural(n int64, word string) string {
	if n != 1 {
		word += "s"
	}
	return strconv.FormatInt(n, 10) + " " + word
}

// parameterText is a parameter's default.
func parameterText(v any) string {
	if dig(v, "value") == nil && dig(v, "valueFrom") == nil {
		return "(must be given)"
	}
	if from := dig(v, "valueFrom"); from != nil {
		return "from " + compact(from)
	}
	return scalar(dig(v, "value"))
}

func joined(v any) string {
	list, ok := v.([]any)
	if !ok {
		return compact(v)
	}
	parts := make([]string, len(list))
	for i, e := range list {
		parts[i] = compact(e)
	}
	return strings.Join(parts, ", ")
}

// names lists the names of references.
func names(v any) string {
	list, _ := v.([]any)
	parts := make([]string, len(list))
	for i, e := range list {
		parts[i] = scalar(dig(e, "name"))
	}
	return strings.Join(parts, ", ")
}

// anOutput is the expression of a task's small output, lastPack the size of packs in a split path.
var (
	anOutput = regexp.MustCompile(`^\{\{tasks\.([^.{}]+)\.outputs\.parameters\.([^.{}]+)\}\}$`)
	lastPack = regexp.MustCompile(`\*([0-9]+)$`)
)
