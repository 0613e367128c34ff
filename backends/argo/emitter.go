package argo

import (
	"encoding/json"
	"strconv"
	"strings"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/backends/pod"
	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

const apiVersion = "argoproj.io/v1alpha1"

// emitter holds one compile.
type emitter struct {
	graph    *ir.Graph
	flow     *ir.Flow
	opt      backends.Options
	settings []backends.Setting
	project  *backends.Project
	name     string
	list     diag.List

	// steps is each step's template; taken every template's name, with its step's or empty; renamed the templates whose
	// name is not their step's.
	steps, taken, renamed map[string]string
	// loops is the template that repeats a recursive step; conditional the steps that a switch may leave out.
	loops       map[string]string
	conditional map[string]bool
	// packs says how many tasks of a step one container runs.
	packs backends.Packs
	// pods says what is in a pod.
	pods   pod.Config
	tokens tokenPlan
	// events are those that start runs.
	events []event
	// namespace is the one all steps agree on; pullSecrets those of all steps.
	namespace   string
	pullSecrets []string
}

func newEmitter(g *ir.Graph, opt backends.Options, settings []backends.Setting) *emitter {
	e := &emitter{graph: g, flow: g.Flow(), opt: opt.WithDefaults(), settings: settings, renamed: map[string]string{}}
	var list diag.List
	e.project, list = backends.ProjectOf(e.flow, e.opt)
	e.list = append(e.list, list...)
	e.packs, list = backends.PacksOf(g, e.opt)
	e.list = append(e.list, list...)
	e.name = e.deployedName()
	if opt.Instance != "" {
		e.name += "-" + opt.Instance
	}
	e.namespace = e.setting(setNamespace)
	e.pullSecrets = e.opt.ListSetting(settings, setImagePullSecrets)
	e.tokens = e.planTokens()
	e.events = e.readEvents()
	env := backends.TaskEnvironment(e.opt, e.project, runtimeName, map[string]string{ir.EnvOutputs: outputsFolder})
	e.pods, list = pod.NewConfig("argo", e.opt, settings, env, textFindings)
	e.list = append(e.list, list...)
	return e
}

func (e *emitter) errorf(span diag.Span, code, format string, args ...any) {
	e.list = append(e.list, diag.Errorf(span, code, format, args...))
}

func (e *emitter) setting(name string) string { return e.opt.Setting(e.settings, name) }

// intSetting is a whole number; 0 where none is given.
func (e *emitter) intSetting(name string) int64 {
	n, list := e.opt.IntSetting(e.settings, name)
	e.list = append(e.list, list...)
	return n
}

// boolSetting is true or false; false where none is given.
func (e *emitter) boolSetting(name string) bool {
	text := e.setting(name)
	if text != "true" && text != "false" && text != "" {
		e.errorf(diag.Span{}, "bad-setting", "setting %s is %q, not true or false", name, text)
	}
	return text == "true"
}

func (e *emitter) workflowTemplate() *wfv1.WorkflowTemplate {
	e.nameTemplates()
	entrypoint := e.freeName(e.flow.Name)
	templates := e.templates(entrypoint)
	onExit := ""
	if exit := e.exitTemplate(); exit != nil {
		onExit = exit.Name
		templates = append(templates, *exit)
	}
	t := &wfv1.WorkflowTemplate{
		TypeMeta: metav1.TypeMeta{APIVersion: apiVersion, Kind: "WorkflowTemplate"},
		Spec: wfv1.WorkflowSpec{
			Entrypoint:         entrypoint,
			OnExit:             onExit,
			Arguments:          wfv1.Arguments{Parameters: e.parameters()},
			Parallelism:        ptr(int64(e.opt.MaxWorkers)),
			ServiceAccountName: e.setting(setServiceAccount),
			NodeSelector:       e.pods.NodeSelector,
			WorkflowMetadata:   e.runMetadata(),
			TemplateDefaults:   e.templateDefaults(),
			Volumes:            append([]corev1.Volume{pod.Volume()}, e.tokenVolumes()...),
			Templates:          templates,
		},
	}
	t.Spec.PodSpecPatch = e.executorSecurity()
	e.lifetime(&t.Spec)
	for _, name := range e.pullSecrets {
		t.Spec.ImagePullSecrets = append(t.Spec.ImagePullSecrets, corev1.LocalObjectReference{Name: name})
	}
	t.ObjectMeta = e.objectMeta()
	return t
}

// templates are those that say what runs after what, and after them one for each step.
func (e *emitter) templates(entrypoint string) []wfv1.Template {
	e.nameLoops()
	e.findConditional()
	var list, gangs []wfv1.Template
	bodies := e.bodies(entrypoint)
	for i := range bodies {
		b := &bodies[i]
		list = append(list, e.dagTemplate(b))
		for _, name := range b.steps {
			switch g := b.groups[name]; {
			case g.gang:
				gangs = append(gangs, e.gangTemplate(b, name, g))
			case g.done:
				list = append(list, nothing(g.template))
			}
		}
	}
	list = append(list, gangs...)
	for _, s := range e.flow.Steps {
		if _, done := e.finished(s.Name); s.Recursive() && !done && !e.gone(s.Name) {
			list = append(list, e.loopTemplate(s))
			e.noteLoop(s)
		}
	}
	for _, s := range e.flow.Steps {
		if done, ok := e.finished(s.Name); ok {
			list = append(list, e.finishedTemplate(s, done))
		} else if !e.gone(s.Name) {
			list = append(list, e.stepTemplate(s))
		}
	}
	return list
}

// lifetime sets when a run is stopped and what is left of it.
func (e *emitter) lifetime(spec *wfv1.WorkflowSpec) {
	if seconds := e.intSetting(setWorkflowTimeout); seconds > 0 {
		spec.ActiveDeadlineSeconds = &seconds
	}
	if priority := e.intSetting(setPriority); priority > 0 {
		spec.Priority = ptr(int32(min(priority, 1<<31-1)))
	}
	if when := e.setting(setPodGC); when != "Never" {
		gc := &wfv1.PodGC{Strategy: wfv1.PodGCStrategy(when)}
		if !gc.Strategy.IsValid() {
			e.errorf(diag.Span{}, "bad-setting", "setting %s is %q, not one of OnPodSuccess, OnPodCompletion, "+
				"OnWorkflowSuccess, OnWorkflowCompletion and Never", setPodGC, when)
		}
		spec.PodGC = gc
	}
	ttl := func(name string) *int32 {
		if seconds := e.intSetting(name); seconds > 0 {
			return ptr(int32(min(seconds, 1<<31-1)))
		}
		return nil
	}
	strategy := wfv1.TTLStrategy{SecondsAfterSuccess: ttl(setTTLSuccess), SecondsAfterFailure: ttl(setTTLFailure)}
	if strategy.SecondsAfterSuccess != nil {
		// For runs that end as Error, which is another phase than Failed: the other two go before it where they fit.
		strategy.SecondsAfterCompletion = strategy.SecondsAfterFailure
	}
	if strategy != (wfv1.TTLStrategy{}) {
		spec.TTLStrategy = &strategy
	}
}

// objectMeta is the metadata of both manifests. It is made last, when every step has been seen.
func (e *emitter) objectMeta() metav1.ObjectMeta {
	annotations := e.ownAnnotations()
	annotations[annotationVersion] = e.opt.Version
	annotations["workflows.argoproj.io/title"] = e.flow.Name
	if doc := firstLine(e.flow.Doc); doc != "" {
		annotations["workflows.argoproj.io/description"] = doc
	}
	if len(e.renamed) > 0 {
		// A map of strings always has a JSON form, with sorted keys.
		table, _ := json.Marshal(e.renamed)
		annotations[annotationSteps] = string(table)
	}
	return metav1.ObjectMeta{Name: e.name, Namespace: e.namespace, Labels: e.ownLabels(), Annotations: annotations}
}

// parameters are the flow's, by the names of the command line. Without a value a run cannot start without one.
func (e *emitter) parameters() []wfv1.Parameter {
	var list []wfv1.Parameter
	for i := range e.flow.Parameters {
		p := &e.flow.Parameters[i]
		if !validParameterName.MatchString(p.Option) || len(p.Option) > maxParameterName {
			e.errorf(p.Span, "bad-parameter-name",
				"parameter %s: Argo's parameters have names of letters, digits, '-' and '_' only", p.Option)
		}
		arg := wfv1.Parameter{Name: p.Option}
		if p.Help != "" {
			arg.Description = wfv1.AnyStringPtr(p.Help)
		}
		if form, known, err := defaultForm(p); known {
			if err != nil {
				e.list = append(e.list, diag.Errorf(p.Span, "text-too-long", "the default of parameter %s is too long: %v", p.Name, err).
					WithDetail("Argo repeats it in every run's object. Keep it in a file of the code package or an artifact, or give "+
						"it when a run is started."))
			}
			arg.Value = wfv1.AnyStringPtr(form)
		} else if !backends.MustBeGiven(p) || e.opt.Origin != "" { // a resumed run has the values already
			arg.Value = wfv1.AnyStringPtr("")
		}
		list = append(list, arg)
	}
	return append(list, e.eventParameters()...)
}

// defaultForm is a parameter's default as Argo is handed it, the same wherever it stands.
func defaultForm(p *ir.Parameter) (form string, known bool, err error) {
	text, known := backends.DefaultText(p)
	if known {
		form, err = ir.EncodeParameter(text, nil)
	}
	return form, known, err
}

func (e *emitter) cronWorkflow() *wfv1.CronWorkflow {
	schedule, ok, err := e.flow.CheckedSchedule()
	if !ok {
		return nil
	}
	if err != nil {
		e.errorf(e.flow.Decorator("schedule").Span, "bad-cron", "the schedule %q: %v", schedule.Source, err)
		return nil
	}
	c := &wfv1.CronWorkflow{
		TypeMeta:   metav1.TypeMeta{APIVersion: apiVersion, Kind: "CronWorkflow"},
		ObjectMeta: metav1.ObjectMeta{Name: e.name, Namespace: e.namespace, Labels: e.ownLabels(), Annotations: e.ownAnnotations()},
		Spec: wfv1.CronWorkflowSpec{
			Schedules: []string{schedule.Cron},
			Timezone:  schedule.Timezone,
			// A controller that was down catches up one run that is at most this late.
			StartingDeadlineSeconds: ptr(int64(3540)),
			// What is kept of finished runs is a matter of ttlStrategy, not of their number.
			SuccessfulJobsHistoryLimit: ptr(int32(historyLimit)),
			FailedJobsHistoryLimit:     ptr(int32(historyLimit)),
			WorkflowMetadata:           e.startedMetadata(),
			WorkflowSpec: wfv1.WorkflowSpec{
				WorkflowTemplateRef: &wfv1.WorkflowTemplateRef{Name: e.name},
			},
		},
	}
	return c
}

// historyLimit is Metaflow's.
const historyLimit = 10_000

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	const most = 200
	if runes := []rune(line); len(runes) > most {
		line = string(runes[:most-1]) + "…"
	}
	return strings.TrimSpace(line)
}

func ptr[T any](v T) *T { return &v }

func itoa(n int) string { return strconv.Itoa(n) }
