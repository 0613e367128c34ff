package argo

import (
	"net/url"
	"strings"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/backends/pod"
	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

// exitTemplateName is the template that runs when a run has ended.
const exitTemplateName = "on-exit"

// engineFailures is what Argo says of the nodes that failed. It has no bound of its own, but an environment variable has.
const engineFailures = "{{=sprig.trunc(30000, workflow.failures)}}"

// exitTemplate is what Argo runs at a run's end, however it ended: exit hooks, notifications, and the record of an outcome
// that no task could report. Nil where nothing is asked for.
func (e *emitter) exitTemplate() *wfv1.Template {
	hooks, list := e.flow.ExitHooks()
	e.list = append(e.list, list...)
	notify := e.notifyEnvironment()
	if len(hooks) == 0 && len(notify) == 0 && !e.boolSetting(setRecordExit) {
		return nil
	}
	invocation := ir.ExitInvocation{Flow: e.flow.Name, Run: runID, Status: "{{workflow.status}}"}
	t := &wfv1.Template{
		Name: e.freeName(exitTemplateName),
		Container: &corev1.Container{
			Args: invocation.Args(),
			Env:  append([]corev1.EnvVar{{Name: ir.EnvFailures, Value: engineFailures}}, notify...),
		},
		// A pod that is lost is started again; a hook that fails is not.
		RetryStrategy: &wfv1.RetryStrategy{Limit: ptr(intstr.FromInt32(2)), RetryPolicy: wfv1.RetryPolicyOnError},
	}
	if len(hooks) == 0 {
		t.Container.Resources.Requests = pod.Requests(ir.Resources{CPU: 0.1, MemoryMB: 256})
	}
	if image := e.exitImage(hooks); image != e.opt.Image {
		e.checkText(backends.FlowSpan(e.flow), "the image of the exit hooks", image)
		t.Container.Image = image
	}
	e.hideToken(nil, t)
	return t
}

// exitImage is the one that the hooks ask for, else that of the start step: it has what the flow's file needs.
func (e *emitter) exitImage(hooks []ir.ExitHook) string {
	image, ok := e.flow.ExitHookImage()
	if !ok {
		e.list = append(e.list, diag.Errorf(hooks[0].Span, "exit-hook",
			"flow %s: its exit hooks ask for different images, but run in one container", e.flow.Name).
			WithDetail("Give all of them the same image, one that has what each needs."))
	}
	if image == "" {
		image = backends.ImageOf(e.graph.Step(e.graph.Start()), e.opt)
	}
	return image
}

// notifyEnvironment says when to notify, and takes from a secret whom.
func (e *emitter) notifyEnvironment() []corev1.EnvVar {
	on, secret := e.setting(setNotifyOn), e.setting(setNotifySecret)
	switch on {
	case "":
		if secret != "" {
			e.errorf(diag.Span{}, "bad-setting", "setting %s names a secret, but %s does not say when to notify", setNotifySecret, setNotifyOn)
		}
		return nil
	case ir.NotifyError, ir.NotifySuccess, ir.NotifyBoth:
	default:
		e.errorf(diag.Span{}, "bad-setting", "setting %s is %q, not %s, %s or %s", setNotifyOn, on,
			ir.NotifyError, ir.NotifySuccess, ir.NotifyBoth)
	}
	if secret == "" {
		e.list = append(e.list, diag.Errorf(diag.Span{}, "bad-setting", "setting %s is %q, but %s does not say whom to notify",
			setNotifyOn, on, setNotifySecret).
			WithDetail("Name a Kubernetes secret with one or more of the keys %s, %s and %s.",
				ir.EnvNotifySlack, ir.EnvNotifyPagerDuty, ir.EnvNotifyWebhook))
	}
	vars := []corev1.EnvVar{{Name: ir.EnvNotifyOn, Value: on}}
	for _, key := range []string{ir.EnvNotifySlack, ir.EnvNotifyPagerDuty, ir.EnvNotifyWebhook} {
		vars = append(vars, corev1.EnvVar{Name: key, ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: secret}, Key: key, Optional: ptr(true)}}})
	}
	if page := e.setting(setRunURL); page != "" {
		e.checkAddress(setRunURL, page)
		vars = append(vars, corev1.EnvVar{Name: ir.EnvRunURL, Value: strings.NewReplacer(
			"{name}", "{{workflow.name}}", "{namespace}", "{{workflow.namespace}}", "{run}", runID, "{flow}", e.flow.Name).Replace(page)})
	}
	return vars
}

// checkAddress reports what is no URL of a web server, and one that holds a password.
func (e *emitter) checkAddress(setting, address string) {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		e.errorf(diag.Span{}, "bad-setting", "setting %s is not a URL that begins with http:// or https://", setting)
	case u.User != nil:
		e.errorf(diag.Span{}, "secret-in-environment",
			"setting %s holds a user or a password, and would stand in the manifest for all to read", setting)
	default:
		e.checkText(diag.Span{}, "setting "+setting, address)
	}
}
