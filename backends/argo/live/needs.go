package argolive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/mf-run/mf/backends/live"
)

func isDenied(err error) bool { return errors.Is(err, live.ErrDenied) }

// need is an object that the pods of a run refer to.
type need struct {
	kind *kind
	name string
}

var (
	secrets    = &kind{name: "secret", version: "v1", plural: "secrets"}
	configMaps = &kind{name: "config map", version: "v1", plural: "configmaps"}
	claims     = &kind{name: "persistent volume claim", version: "v1", plural: "persistentvolumeclaims"}
	accounts   = &kind{name: "service account", version: "v1", plural: "serviceaccounts"}
	// operators are the service accounts of sensors, which need other permissions than those of pods.
	operators    = &kind{name: "service account", version: "v1", plural: "serviceaccounts"}
	eventSources = &kind{name: "event source", group: argoGroup, version: argoVersion, plural: "eventsources"}
	eventBuses   = &kind{name: "event bus", group: argoGroup, version: argoVersion, plural: "eventbus"}
)

// references are the fields that name another object, by the field and the name's field in it.
var references = map[string]struct {
	kind  *kind
	field string
}{
	"secretRef": {secrets, "name"}, "secretKeyRef": {secrets, "name"}, "secret": {secrets, "secretName"},
	"configMapRef": {configMaps, "name"}, "configMapKeyRef": {configMaps, "name"}, "configMap": {configMaps, "name"},
	"persistentVolumeClaim": {claims, "claimName"},
}

// needs are notes about what the pods will miss. What may not be asked is said once for each kind.
func (e *Engine) needs(ctx context.Context, items []item) []string {
	wanted := map[need][]string{}
	for _, it := range items {
		switch it.kind {
		case workflowTemplates:
			collectNeeds(it.object, wanted)
		case sensors:
			for n := range sensorNeeds(it.object) {
				wanted[n] = append(wanted[n], forTrigger)
			}
		}
	}
	order := slices.SortedFunc(maps.Keys(wanted), func(a, b need) int {
		return cmp.Or(strings.Compare(a.kind.name, b.kind.name), strings.Compare(a.name, b.name))
	})
	var notes []string
	denied := map[string]bool{}
	for _, n := range order {
		there, err := e.api.exists(ctx, n.kind, n.name)
		switch {
		case err != nil && !denied[n.kind.plural]:
			denied[n.kind.plural] = true
			notes = append(notes, fmt.Sprintf("whether the %s that pods need are there could not be seen: %v", n.kind.plural, err))
		case err == nil && !there:
			notes = append(notes, fmt.Sprintf("%s %s is not in namespace %s, but %s", n.kind.name, n.name, e.cluster.Namespace, needs(wanted[n])))
		case err == nil && n.kind == accounts:
			notes = append(notes, e.mayReport(ctx, n.name)...)
		}
	}
	if version := e.ControllerVersion(ctx); tooOld(version) {
		notes = append(notes, "the controller is Argo Workflows "+version+"; what mf emits needs 3.6 or newer")
	}
	return notes
}

func needs(steps []string) string {
	steps = slices.Compact(slices.Sorted(slices.Values(steps)))
	switch {
	case slices.Contains(steps, ""):
		return "every step needs it"
	case slices.Contains(steps, forTrigger):
		return "nothing triggers the flow without it"
	}
	const most = 3
	if len(steps) > most {
		return "steps " + strings.Join(steps[:most], ", ") + " and " + strconv.Itoa(len(steps)-most) + " more need it"
	}
	if len(steps) == 1 {
		return "step " + steps[0] + " needs it"
	}
	return "steps " + strings.Join(steps, ", ") + " need it"
}

// forTrigger stands in a list of steps for the sensor.
const forTrigger = "\x00trigger"

// sensorNeeds finds what a sensor refers to.
func sensorNeeds(o object) map[need]bool {
	spec := o["spec"]
	found := map[need]bool{}
	add := func(k *kind, name string) {
		if name != "" {
			found[need{k, name}] = true
		}
	}
	add(eventBuses, cmp.Or(scalar(dig(spec, "eventBusName")), "default"))
	add(operators, scalar(dig(spec, "template", "serviceAccountName")))
	dependencies, _ := dig(spec, "dependencies").([]any)
	for _, d := range dependencies {
		add(eventSources, scalar(dig(d, "eventSourceName")))
	}
	return found
}

// collectNeeds finds what a template refers to, with the steps that do; "" for all of them.
func collectNeeds(o object, wanted map[need][]string) {
	spec, _ := o["spec"].(map[string]any)
	templates, _ := spec["templates"].([]any)
	steps := stepsOf(o, templates)
	rest := maps.Clone(spec)
	delete(rest, "templates")
	find := func(v any, step string) {
		eachReference(v, func(n need) { wanted[n] = append(wanted[n], step) })
	}
	find(rest, "")
	for _, t := range templates {
		name := scalar(dig(t, "name"))
		step, ok := steps[name]
		if !ok {
			step = name
		}
		find(t, step)
	}
	if scalar(spec["serviceAccountName"]) == "" {
		n := need{accounts, "default"}
		wanted[n] = append(wanted[n], "")
	}
}

// eachReference finds the references in a value, wherever they stand.
func eachReference(v any, found func(need)) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			eachReference(e, found)
		}
	case map[string]any:
		for field, value := range v {
			if field == "serviceAccountName" {
				found(need{accounts, scalar(value)})
				continue
			}
			if field == "imagePullSecrets" {
				list, _ := value.([]any)
				for _, e := range list {
					found(need{secrets, scalar(dig(e, "name"))})
				}
				continue
			}
			r, known := references[field]
			name := scalar(dig(value, r.field))
			if optional, _ := dig(value, "optional").(bool); known && name != "" && !optional {
				found(need{r.kind, name})
				continue
			}
			eachReference(value, found)
		}
	}
}

// mayReport notes a service account whose pods could not tell Argo what became of them, as far as that may be asked.
func (e *Engine) mayReport(ctx context.Context, account string) []string {
	namespace := e.cluster.Namespace
	body := map[string]any{
		"apiVersion": "authorization.k8s.io/v1", "kind": "LocalSubjectAccessReview",
		"metadata": map[string]any{"namespace": namespace},
		"spec": map[string]any{
			"user":   "system:serviceaccount:" + namespace + ":" + account,
			"groups": []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"},
			"resourceAttributes": map[string]any{
				"namespace": namespace, "verb": "create", "group": argoGroup, "resource": "workflowtaskresults",
			},
		},
	}
	var answer struct{ Status struct{ Allowed bool } }
	err := e.api.do(ctx, "/apis/authorization.k8s.io/v1/namespaces/"+namespace+"/localsubjectaccessreviews",
		request{verb: "create", resource: "localsubjectaccessreviews.authorization.k8s.io", body: body}, &answer)
	if err != nil || answer.Status.Allowed {
		return nil // whoever may not ask this learns it from the run
	}
	return []string{fmt.Sprintf("service account %s may not create workflowtaskresults.argoproj.io in namespace %s, which Argo needs of its pods: "+
		"bind it to a Role with {apiGroups: [argoproj.io], resources: [workflowtaskresults], verbs: [create, patch]}", account, namespace)}
}

// tooOld reports whether a controller is older than 3.6.
func tooOld(version string) bool {
	var major, minor int
	if n, err := fmt.Sscanf(version, "v%d.%d", &major, &minor); err != nil || n != 2 {
		return false
	}
	return major < 3 || major == 3 && minor < 6
}
