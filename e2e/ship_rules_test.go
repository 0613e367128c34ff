//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
)

// TestShipStopInAnOutage interrupts a run while the API server does not answer: nothing is left on the cluster.
func TestShipStopInAnOutage(t *testing.T) {
	s := newShips(t)
	p := newPlace(t, repo(t, "e2e", "testdata", "ship"))
	file, x := s.through()
	r := s.begin(p, s.env(p, "KUBECONFIG="+file), "run", "slow.py")
	r.until("waiting 0", "waiting 1")
	x.set(true)
	r.interrupt()
	time.Sleep(4 * time.Second)
	x.set(false)
	if code := r.end(2 * time.Minute); code != 130 {
		t.Errorf("exit code %d:\n%s", code, r.said())
	}
	if left, failed := s.jobs(); len(left)+len(failed) > 0 {
		t.Errorf("Jobs left: %q, %q\n%s", left, failed, r.said())
	}
}

// TestShipQuota has room for one Job at a time: the others wait for it.
func TestShipQuota(t *testing.T) {
	s := newShips(t)
	_, err := s.cluster.Client().CoreV1().ResourceQuotas(s.namespace).Create(t.Context(), &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Name: "few"},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"count/jobs.batch": resource.MustParse("1")}},
	}, metav1.CreateOptions{})
	s.check(err)
	p := newPlace(t, repo(t, "e2e", "testdata", "ship"))
	source := filepath.Join(p.dir, "slow.py")
	text, err := os.ReadFile(source)
	s.check(err)
	s.check(os.WriteFile(source, bytes.Replace(text, []byte("else 600"), []byte("else 30"), 1), 0o644))
	stdout, stderr, err := p.output(s.env(p), mfBinary(t), "run", "slow.py")
	if err != nil || !strings.Contains(stderr, "the cluster takes no more Jobs for now: ") || !strings.Contains(stderr, "exceeded quota: few") {
		t.Errorf("%v\n%s\n%s", err, stdout, stderr)
	}
}

// TestShipSidecar has a container put into every pod that goes on when the step has ended.
func TestShipSidecar(t *testing.T) {
	s := newShips(t)
	client := dynamic.NewForConfigOrDie(s.cluster.Config)
	create := func(kind, text string) {
		var o map[string]any
		s.check(json.Unmarshal([]byte(strings.ReplaceAll(text, "NAME", s.namespace)), &o))
		to := client.Resource(schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1alpha1", Resource: kind})
		_, err := to.Create(t.Context(), &unstructured.Unstructured{Object: o}, metav1.CreateOptions{})
		s.check(err)
		t.Cleanup(func() { s.check(to.Delete(context.Background(), s.namespace, metav1.DeleteOptions{})) })
	}
	create("mutatingadmissionpolicies", `{"apiVersion": "admissionregistration.k8s.io/v1alpha1", "kind": "MutatingAdmissionPolicy", "metadata": {"name": "NAME"}, "spec": {
		"failurePolicy": "Fail", "reinvocationPolicy": "Never",
		"matchConstraints": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "NAME"}},
			"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]},
		"mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression":
			"[JSONPatch{op: 'add', path: '/spec/containers/-', value: Object.spec.containers{name: 'proxy', image: object.spec.containers[0].image, command: ['sleep', '300']}}]"}}]}}`)
	create("mutatingadmissionpolicybindings", `{"apiVersion": "admissionregistration.k8s.io/v1alpha1", "kind": "MutatingAdmissionPolicyBinding", "metadata": {"name": "NAME"}, "spec": {"policyName": "NAME"}}`)
	probe := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "probe"},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "task", Image: "localhost/none:1"}}}}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		// The API server takes a new policy into account a moment later.
		made, err := s.cluster.Client().CoreV1().Pods(s.namespace).Create(t.Context(), probe, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err == nil && len(made.Spec.Containers) == 2 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("pods get no second container: %v", err)
		}
	}
	p := newPlace(t, repo(t, "e2e", "testdata", "ship"))
	stdout, stderr, err := p.output(s.env(p), mfBinary(t), "run", "flow.py", "--width", "4")
	if err != nil || !strings.Contains(stdout, "squaring 1") {
		t.Errorf("%v\n%s\n%s", err, stdout, stderr)
	}
	// Also the one of the attempt that failed: its pod would go on.
	if left, failed := s.jobs(); len(left)+len(failed) > 0 {
		t.Errorf("Jobs left: %q; failed: %q", left, failed)
	}
}
