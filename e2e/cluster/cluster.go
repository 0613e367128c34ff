// Package cluster brings up a real Kubernetes with the real Argo Workflows on this machine, for tests: etcd, the API
// server, the controller manager, the scheduler, one kubelet with containerd, and Argo's workflow controller, all built
// or installed from what they are published as.
//
// One process owns a cluster: it started all of it, and takes all of it down when it ends. Others attach to it by the
// folder that it lives in. Nothing listens on another address than those of the loopback device.
//
// Pods share the machine's network. So they reach servers that tests start on 127.0.0.1, and there are no Services and no
// cluster DNS but for the API server's own address.
package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// The sets of Argo's custom resource definitions: without and with a schema of what they hold.
const (
	Minimal = "minimal"
	Full    = "full"
)

// ArgoNamespace is where Argo's controller has its settings.
const ArgoNamespace = "argo"

// ErrNotUp is an attempt to use a cluster where none is up.
var ErrNotUp = errors.New("no cluster is up")

// Options say what to bring up.
type Options struct {
	// Repo is the folder of this repository's clone.
	Repo string
	// CRDs is Minimal or Full; empty: Minimal, which is up in less time and memory.
	CRDs string
	// MaxPods bounds the pods that run at once; 0: 16, which is what two cores take.
	MaxPods int
	// Log is told what happens, a line each.
	Log io.Writer
}

func (o Options) withDefaults() (Options, error) {
	if o.CRDs == "" {
		o.CRDs = Minimal
	}
	if o.CRDs != Minimal && o.CRDs != Full {
		return o, fmt.Errorf("the set of definitions is %q, not %s or %s", o.CRDs, Minimal, Full)
	}
	if o.MaxPods == 0 {
		o.MaxPods = 16
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	return o, nil
}

// root is the folder of everything that the tests of the real engines build and run. Clones of the repository may share
// it.
func root(repo string) (string, error) {
	dir := filepath.Join(repo, ".cache", "e2e")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", err
	}
	// Addresses of Unix sockets are at most 107 bytes long.
	if len(dir) > 60 {
		return "", fmt.Errorf("the path %s is too long for the cluster's sockets: clone to a folder with a shorter one", dir)
	}
	return filepath.Abs(dir)
}

// state is what others need to know of a running cluster, and a later one of what was left behind.
type state struct {
	// Owner is the process that owns the cluster.
	Owner int `json:"owner"`
	// Memory is the folder in memory that holds the database.
	Memory string `json:"memory"`
	// Parts are the processes by name.
	Parts map[string]identity `json:"parts"`
	CRDs  string              `json:"crds"`
	// Ready is set when everything is up.
	Ready bool `json:"ready"`
}

func stateFile(root string) string { return filepath.Join(root, "cluster.json") }

func readState(root string) (*state, error) {
	data, err := os.ReadFile(stateFile(root))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var s state
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("reading %s: %w", stateFile(root), err)
	}
	return &s, nil
}

func (s *state) write(root string) error {
	data, err := json.MarshalIndent(s, "", "\t")
	if err != nil {
		return err
	}
	part := stateFile(root) + ".part"
	if err := os.WriteFile(part, append(data, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(part, stateFile(root))
}

// Cluster is a cluster that is up, as its users see it. Its methods may be called concurrently.
type Cluster struct {
	// KubeConfig is the file with the administrator's access.
	KubeConfig string
	// Config is the same, for client-go.
	Config *rest.Config
	root   string
	repo   string
	// own is set in the process that owns the cluster.
	own *owner
}

// Attach returns the cluster that is up for this clone. The error is ErrNotUp where there is none.
func Attach(repo string) (*Cluster, error) {
	dir, err := root(repo)
	if err != nil {
		return nil, err
	}
	s, err := readState(dir)
	if err != nil {
		return nil, err
	}
	if s == nil || !s.Ready || !locked(dir) {
		return nil, ErrNotUp
	}
	return open(dir, repo)
}

func open(dir, repo string) (*Cluster, error) {
	c := &Cluster{KubeConfig: filepath.Join(dir, "cluster", "admin.kubeconfig"), root: dir, repo: repo}
	config, err := clientcmd.BuildConfigFromFlags("", c.KubeConfig)
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = 200, 400
	c.Config = config
	return c, nil
}

// Folder is where the cluster keeps what it runs on; its subfolder log has a file for each part.
func (c *Cluster) Folder() string { return filepath.Join(c.root, "cluster") }

// Down takes the cluster down, whoever owns it, and returns when nothing of it is left.
func (c *Cluster) Down(ctx context.Context) error {
	if c.own != nil {
		return c.own.down()
	}
	if err := c.control(ctx, "down"); err != nil {
		return err
	}
	return awaitUnlocked(ctx, c.root)
}

// Down takes down what is up for this clone, and sweeps up after an owner that ended without doing so. It reports whether
// there was anything.
func Down(ctx context.Context, repo string) (bool, error) {
	c, err := Attach(repo)
	if err == nil {
		return true, c.Down(ctx)
	}
	if !errors.Is(err, ErrNotUp) {
		return false, err
	}
	dir, err := root(repo)
	if err != nil {
		return false, err
	}
	s, err := readState(dir)
	if err != nil || s == nil {
		return false, err
	}
	if locked(dir) {
		return true, stopStarting(ctx, dir, s)
	}
	return true, sweep(dir, s)
}

// poll calls check until it returns nil or the time is over.
func poll(ctx context.Context, limit, pause time.Duration, check func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not in %s: %w", limit, err)
		case <-time.After(pause):
		}
	}
}
