package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
)

// FlowAccount is the service account that pods of flows have. It may do what Argo asks of such accounts, and nothing else.
const FlowAccount = "flow"

// fieldManager is the name under which objects are applied.
const fieldManager = "mf-e2e"

// Client returns the typed client of the administrator.
func (c *Cluster) Client() *kubernetes.Clientset { return kubernetes.NewForConfigOrDie(c.Config) }

// Dynamic returns the client for objects of any kind.
func (c *Cluster) Dynamic() *dynamic.DynamicClient { return dynamic.NewForConfigOrDie(c.Config) }

// Apply puts the objects of a YAML text there, as kubectl apply --server-side does. Those that name no namespace go to the
// given one.
func (c *Cluster) Apply(ctx context.Context, namespace string, text []byte) error {
	a, err := newApplier(c.Config)
	if err != nil {
		return err
	}
	return a.apply(ctx, namespace, text)
}

// applier applies objects of any kind.
type applier struct {
	client dynamic.Interface
	mapper *restmapper.DeferredDiscoveryRESTMapper
}

func newApplier(config *rest.Config) (*applier, error) {
	d, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, err
	}
	client, err := dynamic.NewForConfig(config)
	return &applier{client, restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(d))}, err
}

func (a *applier) apply(ctx context.Context, namespace string, text []byte) error {
	objects, err := decode(text)
	if err != nil {
		return err
	}
	for _, object := range objects {
		if err := a.one(ctx, namespace, object); err != nil {
			return fmt.Errorf("applying %s %s: %w", object.GetKind(), object.GetName(), err)
		}
	}
	return nil
}

// decode reads the objects of a YAML text.
func decode(text []byte) ([]*unstructured.Unstructured, error) {
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	var list []*unstructured.Unstructured
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(&object.Object)
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return nil, err
		}
		if len(object.Object) > 0 {
			list = append(list, object)
		}
	}
}

func (a *applier) one(ctx context.Context, namespace string, object *unstructured.Unstructured) error {
	kind := object.GroupVersionKind()
	mapping, err := a.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return err
	}
	var resource dynamic.ResourceInterface = a.client.Resource(mapping.Resource)
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		if object.GetNamespace() == "" {
			object.SetNamespace(namespace)
		}
		resource = a.client.Resource(mapping.Resource).Namespace(object.GetNamespace())
	}
	data, err := json.Marshal(object)
	if err != nil {
		return err
	}
	force := true
	_, err = resource.Patch(ctx, object.GetName(), types.ApplyPatchType, data, metav1.PatchOptions{FieldManager: fieldManager, Force: &force})
	return err
}

// install puts Argo's definitions, roles and settings there, all but the last as its own module has them.
func (o *owner) install(ctx context.Context) error {
	c, err := open(o.root, o.opt.Repo)
	if err != nil {
		return err
	}
	a, err := newApplier(c.Config)
	if err != nil {
		return err
	}
	manifests := filepath.Join(o.programs.argo, "manifests")
	// Events' sensors are only stored: their controller is not run.
	crds := []string{filepath.Join(manifests, "base", "crds", o.opt.CRDs), filepath.Join(o.programs.events, "manifests", "base", "crds")}
	if err := a.folders(ctx, "", crds...); err != nil {
		return err
	}
	if err := established(ctx, c.Dynamic()); err != nil {
		return err
	}
	if err := c.namespace(ctx, ArgoNamespace); err != nil {
		return err
	}
	account := filepath.Join(manifests, "base", "workflow-controller", "workflow-controller-sa.yaml")
	if err := a.files(ctx, ArgoNamespace, account); err != nil {
		return err
	}
	if err := a.folders(ctx, ArgoNamespace, filepath.Join(manifests, "cluster-install-no-crds", "workflow-controller-rbac")); err != nil {
		return err
	}
	settings, err := configFiles.ReadFile("config/argo.yaml")
	if err != nil {
		return err
	}
	if err := a.apply(ctx, ArgoNamespace, settings); err != nil {
		return err
	}
	data, err := c.accountConfig(ctx, ArgoNamespace, "argo")
	if err != nil {
		return err
	}
	if err := writeFile(o.dir("argo.kubeconfig"), data); err != nil {
		return err
	}
	return c.Namespace(ctx, "flows")
}

func (a *applier) folders(ctx context.Context, namespace string, dirs ...string) error {
	for _, dir := range dirs {
		files, err := fs.Glob(os.DirFS(dir), "*.yaml")
		if err != nil {
			return err
		}
		if len(files) == 0 {
			return fmt.Errorf("%s holds no manifests", dir)
		}
		files = slices.DeleteFunc(files, func(name string) bool { return name == "kustomization.yaml" })
		for i, name := range files {
			files[i] = filepath.Join(dir, name)
		}
		if err := a.files(ctx, namespace, files...); err != nil {
			return err
		}
	}
	return nil
}

func (a *applier) files(ctx context.Context, namespace string, files ...string) error {
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		objects, err := decode(data)
		if err != nil {
			return fmt.Errorf("reading %s: %w", file, err)
		}
		for _, object := range objects {
			// What kustomize would do for a namespace: the bindings' subjects are in it, too.
			if subjects, ok, _ := unstructured.NestedSlice(object.Object, "subjects"); ok {
				for _, s := range subjects {
					s.(map[string]any)["namespace"] = namespace
				}
				if err := unstructured.SetNestedSlice(object.Object, subjects, "subjects"); err != nil {
					return err
				}
			}
			if err := a.one(ctx, namespace, object); err != nil {
				return fmt.Errorf("applying %s %s: %w", object.GetKind(), object.GetName(), err)
			}
		}
	}
	return nil
}

// established waits until the API server serves all custom resources.
func established(ctx context.Context, client dynamic.Interface) error {
	crds := client.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	return poll(ctx, time.Minute, 100*time.Millisecond, func(ctx context.Context) error {
		list, err := crds.List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, crd := range list.Items {
			conditions, _, _ := unstructured.NestedSlice(crd.Object, "status", "conditions")
			if !slices.ContainsFunc(conditions, func(c any) bool {
				condition, _ := c.(map[string]any)
				return condition["type"] == "Established" && condition["status"] == "True"
			}) {
				return fmt.Errorf("%s is not served yet", crd.GetName())
			}
		}
		return nil
	})
}

func (c *Cluster) namespace(ctx context.Context, name string) error {
	text := fmt.Sprintf("{apiVersion: v1, kind: Namespace, metadata: {name: %s}}", name)
	return c.Apply(ctx, "", []byte(text))
}

// Namespace makes a namespace for flows: its accounts "flow" and "default" may do what Argo needs of a pod's account, as its
// documentation has it. It may be called for one that is there.
func (c *Cluster) Namespace(ctx context.Context, name string) error {
	if err := c.namespace(ctx, name); err != nil {
		return err
	}
	text := `
{apiVersion: v1, kind: ServiceAccount, metadata: {name: flow}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: executor}
rules:
- {apiGroups: [argoproj.io], resources: [workflowtaskresults], verbs: [create, patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: executor}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: executor}
subjects:
- {kind: ServiceAccount, name: flow}
- {kind: ServiceAccount, name: default}
`
	if err := c.Apply(ctx, name, []byte(strings.ReplaceAll(text, "ServiceAccount, name", "ServiceAccount, namespace: "+name+", name"))); err != nil {
		return err
	}
	// A pod cannot be made before the account that it has by default.
	return poll(ctx, 30*time.Second, 50*time.Millisecond, func(ctx context.Context) error {
		_, err := c.Client().CoreV1().ServiceAccounts(name).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
}

// Access returns a kubeconfig of somebody who may do what the rules say in one namespace, and nothing else: a service
// account of the given name, which is made.
func (c *Cluster) Access(ctx context.Context, namespace, name string, rules []rbacv1.PolicyRule) ([]byte, error) {
	client, options := c.Client(), metav1.CreateOptions{}
	object := metav1.ObjectMeta{Name: name, Namespace: namespace}
	if _, err := client.CoreV1().ServiceAccounts(namespace).Create(ctx, &corev1.ServiceAccount{ObjectMeta: object}, options); err != nil {
		return nil, err
	}
	role := &rbacv1.Role{ObjectMeta: object, Rules: rules}
	if _, err := client.RbacV1().Roles(namespace).Create(ctx, role, options); err != nil {
		return nil, err
	}
	binding := &rbacv1.RoleBinding{ObjectMeta: object,
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: name}}}
	if _, err := client.RbacV1().RoleBindings(namespace).Create(ctx, binding, options); err != nil {
		return nil, err
	}
	return c.accountConfig(ctx, namespace, name)
}

// accountConfig is a kubeconfig with a token of a service account.
func (c *Cluster) accountConfig(ctx context.Context, namespace, account string) ([]byte, error) {
	seconds := int64((24 * time.Hour).Seconds())
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}
	answer, err := c.Client().CoreV1().ServiceAccounts(namespace).CreateToken(ctx, account, request, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("making a token of %s/%s: %w", namespace, account, err)
	}
	return kubeConfig(c.root, answer.Status.Token, namespace)
}
