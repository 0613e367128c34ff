//go:build e2e

package e2e

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// TestArgoReadme follows the README's section on Argo, word by word, on a cluster that has Argo and nothing of mf's: a
// namespace, a registry that the node pulls from, a bucket.
func TestArgoReadme(t *testing.T) {
	p := newPlace(t, repo(t, "testdata", "flows", "foreach"))
	a := newArgo(t)
	images := httptest.NewServer(registry.New())
	defer images.Close()
	words := strings.NewReplacer(
		"REGISTRY", strings.TrimPrefix(images.URL, "http://")+"/team", "BUCKET/PREFIX", a.bucket.Name+"/readme",
		"=KEY", "="+a.bucket.AccessKey, "=SECRET", "="+a.bucket.SecretKey, "-n ml", "-n "+a.namespace, "namespace ml", "namespace "+a.namespace,
		"argo.namespace: ml", "argo.namespace: "+a.namespace, "kubernetes.namespace: ml", "kubernetes.namespace: "+a.namespace)
	blocks := readmeBlocks(t, "## On Argo Workflows")
	if len(blocks) != 3 {
		t.Fatalf("the section has %d blocks, want 3", len(blocks))
	}
	for _, line := range blocks[0] {
		a.once(words.Replace(line))
	}
	// The images that steps run in are the cluster's own, and small requests are this small cluster's.
	settings := append(blocks[1], "image: "+a.python(), "argo.cpu: 0.05", "argo.memory: 50", "argo.disk: 0",
		"kubernetes.cpu: 0.05", "kubernetes.memory: 50", "kubernetes.disk: 0")
	if err := os.WriteFile(filepath.Join(p.dir, "mf.yaml"), []byte(words.Replace(strings.Join(settings, "\n"))+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	env := append(p.env("KUBECONFIG="+a.cluster.KubeConfig), a.bucket.Environ()...)
	for _, line := range blocks[2] {
		args := strings.Fields(line)
		if args[0] != "mf" {
			t.Fatalf("%q is no command of mf's", line)
		}
		t.Logf("%s\n%s", line, p.must(env, mfBinary(t), args[1:]...))
	}
	runs := p.must(env, mfBinary(t), "runs", "flow.py")
	run := regexp.MustCompile(`ForeachFlow/argo-\S+`).FindString(runs)
	if run == "" || !strings.Contains(runs, "succeeded") {
		t.Fatalf("mf runs says %s", runs)
	}
	if out := p.must(env, mfBinary(t), "dump", run+"/end"); !strings.Contains(out, " = ") {
		t.Errorf("mf dump says %s", out)
	}
	p.must(env, mfBinary(t), "run", "flow.py", "--with", "kubernetes")
	p.must(env, mfBinary(t), "undeploy", "flow.py")
}

// readmeBlocks returns the indented blocks of a section of the README, by lines.
func readmeBlocks(t *testing.T, section string) [][]string {
	t.Helper()
	data, err := os.ReadFile(repo(t, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, text, ok := strings.Cut(string(data), "\n"+section+"\n")
	if !ok {
		t.Fatalf("the README has no section %s", section)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	var blocks [][]string
	inside := false
	for line := range strings.SplitSeq(text, "\n") {
		code, indented := strings.CutPrefix(line, "    ")
		if indented && !inside {
			blocks = append(blocks, nil)
		}
		if inside = indented; indented {
			blocks[len(blocks)-1] = append(blocks[len(blocks)-1], code)
		}
	}
	return blocks
}

// once does one of the things that are done once for a cluster. The machine has no kubectl, so that the few things that
// it is asked for are done here.
func (a *argo) once(line string) {
	a.t.Helper()
	words := strings.Fields(line)
	switch {
	case words[0] == "scripts/image.sh":
		place{t: a.t, dir: repo(a.t)}.must(os.Environ(), repo(a.t, "scripts", "image.sh"), words[1:]...)
	case line == "kubectl create namespace "+a.namespace:
		// The test's own.
	case strings.HasPrefix(line, "kubectl -n "+a.namespace+" apply -f "):
		a.applyFile(repo(a.t, words[len(words)-1]))
	case strings.HasPrefix(line, "kubectl -n "+a.namespace+" create secret generic "):
		data := map[string]string{}
		for _, word := range words[7:] {
			key, value, ok := strings.Cut(strings.TrimPrefix(word, "--from-literal="), "=")
			if !ok {
				a.t.Fatalf("%s gives no key and value", word)
			}
			data[key] = value
		}
		_, err := a.cluster.Client().CoreV1().Secrets(a.namespace).Create(a.t.Context(), &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: words[6]}, StringData: data}, metav1.CreateOptions{})
		a.check(err)
	default:
		a.t.Fatalf("the README asks for %q, which this test cannot do", line)
	}
}

// applyFile makes the objects of a file.
func (a *argo) applyFile(file string) {
	a.t.Helper()
	f, err := os.Open(file)
	a.check(err)
	defer f.Close()
	kinds := map[string]schema.GroupVersionResource{
		"ServiceAccount": {Version: "v1", Resource: "serviceaccounts"},
		"Role":           {Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "roles"},
		"RoleBinding":    {Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "rolebindings"},
	}
	decoder := yaml.NewYAMLOrJSONDecoder(f, 4096)
	for n := 0; ; n++ {
		o := &unstructured.Unstructured{}
		if err := decoder.Decode(o); err != nil {
			if n == 0 {
				a.t.Fatal(err)
			}
			return
		}
		kind, ok := kinds[o.GetKind()]
		if !ok {
			a.t.Fatalf("%s holds a %s", file, o.GetKind())
		}
		_, err := a.cluster.Dynamic().Resource(kind).Namespace(a.namespace).Create(a.t.Context(), o, metav1.CreateOptions{})
		a.check(err)
	}
}
