// Package cluster opens the connection to a Kubernetes cluster, the same for all that talks to one: what comes in is where
// the user's kubeconfig is and what it may choose, what goes out is a client configuration with a namespace. It says in the
// project's own errors (backends/live) what the API server refused.
package cluster

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	// Clusters whose users log in by OpenID Connect.
	_ "k8s.io/client-go/plugin/pkg/client/auth/oidc"
)

// ErrNone is the error of Open where no cluster is configured: no kubeconfig, and this is not a pod.
var ErrNone = errors.New("no Kubernetes cluster is configured")

// Options say which cluster. The zero value but for Env is the one that kubectl would talk to.
type Options struct {
	// Kubeconfig is a file; empty: those of KUBECONFIG, else .kube/config in HOME, else, in a pod, the pod's own account.
	Kubeconfig string
	// Context is one of the kubeconfig's; empty: its current one.
	Context string
	// Namespace wins over the context's.
	Namespace string
	// Agent names the program to the API server, such as "mf/1.2".
	Agent string
	// Env reads the environment; nil for an empty one.
	Env func(name string) string
}

// Cluster is a cluster and a namespace of it. It holds no connection.
type Cluster struct {
	// Config is for client-go's constructors, which do not change it.
	Config *rest.Config
	// Namespace is never empty.
	Namespace string
	// Server is the API server's address, Context the kubeconfig's name for it; empty in a pod.
	Server, Context string
}

// String says which cluster it is, for messages.
func (c *Cluster) String() string {
	name := c.Server
	if c.Context != "" {
		name = c.Context + " (" + c.Server + ")"
	}
	return name + ", namespace " + c.Namespace
}

// Requests to the API server are bounded by the server itself; the client's own bound is for runaway loops. A foreach
// whose tasks all start at once must pass.
const (
	clientQPS   = 100
	clientBurst = 200
)

// Open finds the cluster. It reads files, but asks the cluster nothing. Errors: ErrNone, or what is wrong with the
// kubeconfig.
func Open(opt Options) (*Cluster, error) {
	env := opt.Env
	if env == nil {
		env = func(string) string { return "" }
	}
	files := kubeconfigs(opt.Kubeconfig, env)
	if len(files) == 0 {
		if env("KUBERNETES_SERVICE_HOST") != "" && opt.Context == "" {
			return inPod(opt)
		}
		if named := env("KUBECONFIG"); named != "" {
			return nil, fmt.Errorf("%w: there is no file %s, which KUBECONFIG names", ErrNone, named)
		}
		return nil, ErrNone
	}
	if _, err := os.Stat(opt.Kubeconfig); opt.Kubeconfig != "" && err != nil {
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	rules := &clientcmd.ClientConfigLoadingRules{Precedence: files}
	overrides := &clientcmd.ConfigOverrides{CurrentContext: opt.Context}
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides)
	raw, err := loader.RawConfig()
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	current := raw.CurrentContext
	if opt.Context != "" {
		current = opt.Context
		if raw.Contexts[current] == nil {
			return nil, fmt.Errorf("the kubeconfig (%s) has no context %q", strings.Join(files, ", "), current)
		}
	}
	if raw.Contexts[current] == nil {
		return nil, fmt.Errorf("%w: the kubeconfig (%s) has no current context", ErrNone, strings.Join(files, ", "))
	}
	config, err := loader.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig (%s): %w", strings.Join(files, ", "), err)
	}
	namespace := opt.Namespace
	if namespace == "" {
		if namespace, _, err = loader.Namespace(); err != nil {
			return nil, fmt.Errorf("reading the kubeconfig (%s): %w", strings.Join(files, ", "), err)
		}
	}
	return finish(config, namespace, current, opt), nil
}

func finish(config *rest.Config, namespace, context string, opt Options) *Cluster {
	config.QPS, config.Burst = clientQPS, clientBurst
	config.WarningHandler = rest.NoWarnings{}
	if opt.Agent != "" {
		config.UserAgent = opt.Agent
	}
	if namespace == "" {
		namespace = "default"
	}
	return &Cluster{Config: config, Namespace: namespace, Server: address(config.Host), Context: context}
}

// address is a server's URL without what may be a secret in it.
func address(host string) string {
	if u, err := url.Parse(host); err == nil {
		return u.Redacted()
	}
	return host
}

// kubeconfigs lists the files that are there, or that the user named.
func kubeconfigs(named string, env func(string) string) []string {
	if named != "" {
		return []string{named}
	}
	var files []string
	for _, file := range filepath.SplitList(env("KUBECONFIG")) {
		if file != "" {
			files = append(files, file)
		}
	}
	if len(files) == 0 && env("HOME") != "" {
		files = []string{filepath.Join(env("HOME"), ".kube", "config")}
	}
	var present []string
	for _, file := range files {
		if _, err := os.Stat(file); err == nil || !errors.Is(err, os.ErrNotExist) {
			present = append(present, file)
		}
	}
	return present
}

// accountFolder is where a pod finds its service account.
const accountFolder = "/var/run/secrets/kubernetes.io/serviceaccount"

func inPod(opt Options) (*Cluster, error) {
	config, err := rest.InClusterConfig()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNone, err)
	}
	namespace := opt.Namespace
	if namespace == "" {
		text, err := os.ReadFile(filepath.Join(accountFolder, "namespace"))
		if err != nil {
			return nil, fmt.Errorf("finding the pod's namespace: %w", err)
		}
		namespace = strings.TrimSpace(string(text))
	}
	return finish(config, namespace, "", opt), nil
}
