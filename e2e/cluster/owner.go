//go:build linux

package cluster

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"text/template"
	"time"
)

// The address of the API server is the first of those of the Services: pods call it by that, and nothing here routes
// Services. That it is one of the loopback device's makes it work.
const (
	serviceRange = "127.96.0.0/24"
	apiAddress   = "127.96.0.1"
	apiServer    = "https://" + apiAddress + ":443"
	nodeName     = "localhost"
)

//go:embed config
var configFiles embed.FS

// owner is a cluster in the process that started it.
type owner struct {
	opt      Options
	root     string
	programs *programs
	lock     *os.File
	began    time.Time
	parts    map[string]part
	listener net.Listener
	// ended is closed when somebody asked for the end by the socket.
	ended chan struct{}
	once  sync.Once

	mu      sync.Mutex
	state   state
	running map[string]*process
}

// dir is where the cluster keeps everything but its database.
func (o *owner) dir(path ...string) string {
	return filepath.Join(append([]string{o.root, "cluster"}, path...)...)
}

func containerdSocket(root string) string { return filepath.Join(root, "cluster", "containerd.sock") }

// Up builds what is missing and starts a cluster, which this process owns from then on: it has to call Down, also after
// an error of its own. Where one is up already it says so. What an earlier owner left behind, because it was killed, is
// swept up first.
func Up(ctx context.Context, opt Options) (c *Cluster, err error) {
	opt, err = opt.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := requirements(); err != nil {
		return nil, err
	}
	dir, err := root(opt.Repo)
	if err != nil {
		return nil, err
	}
	o := &owner{opt: opt, root: dir, began: time.Now(), running: map[string]*process{}, ended: make(chan struct{})}
	if o.lock, err = lock(dir); err != nil {
		s, _ := readState(dir)
		if s != nil {
			return nil, fmt.Errorf("a cluster is up already, owned by process %d: use it, or take it down with make e2e-down", s.Owner)
		}
		return nil, errors.New("a cluster is just being brought up by another process")
	}
	if s, err := readState(dir); err != nil {
		return nil, err
	} else if s != nil {
		o.say("sweeping up after process %d", s.Owner)
		// Whoever looks must not take what is left for a cluster, now that it has an owner again.
		s.Ready = false
		if err := s.write(dir); err != nil {
			return nil, err
		}
		if err := sweep(dir, s); err != nil {
			return nil, fmt.Errorf("sweeping up after an earlier cluster: %w", err)
		}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, o.down())
		}
	}()
	if err := o.start(ctx); err != nil {
		return nil, err
	}
	if c, err = open(dir, opt.Repo); err != nil {
		return nil, err
	}
	c.own = o
	return c, nil
}

// Build builds what is missing of a cluster, and starts nothing.
func Build(ctx context.Context, opt Options) error {
	opt, err := opt.withDefaults()
	if err != nil {
		return err
	}
	dir, err := root(opt.Repo)
	if err != nil {
		return err
	}
	_, err = build(ctx, opt.Repo, dir, opt.Log)
	return err
}

// requirements checks for what has to be installed.
func requirements() error {
	if os.Geteuid() != 0 {
		return errors.New("a cluster needs root, for its containers")
	}
	var missing []string
	for program, pkg := range map[string]string{"etcd": "etcd-server", "containerd": "containerd", "ctr": "containerd", "runc": "runc"} {
		if _, err := exec.LookPath(program); err != nil {
			missing = append(missing, pkg)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("missing: %s; run scripts/e2e-setup.sh", strings.Join(missing, " "))
	}
	return nil
}

func (o *owner) say(format string, args ...any) {
	fmt.Fprintf(o.opt.Log, "e2e: %5.1fs %s\n", time.Since(o.began).Seconds(), fmt.Sprintf(format, args...))
}

func (o *owner) start(ctx context.Context) (err error) {
	o.state = state{Owner: os.Getpid(), Parts: map[string]identity{}, CRDs: o.opt.CRDs}
	if o.programs, err = build(ctx, o.opt.Repo, o.root, o.opt.Log); err != nil {
		return err
	}
	o.began = time.Now()
	// The database is thrown away in the end, so it needs no disk: with one it waits for it at each write.
	if o.state.Memory, err = os.MkdirTemp(memoryFolder(), "mf-e2e-"); err != nil {
		return err
	}
	if err := o.saveState(); err != nil {
		return err
	}
	if err := o.prepare(); err != nil {
		return err
	}
	if err := o.listen(); err != nil {
		return err
	}
	for _, step := range []struct {
		what string
		run  func(context.Context) error
	}{
		{"control plane", o.startControl}, {"images", o.loadOwnImages}, {"definitions", o.install}, {"node and controller", o.startWork},
	} {
		if err := step.run(ctx); err != nil {
			return fmt.Errorf("bringing up the cluster's %s: %w", step.what, err)
		}
		o.say("%s ready", step.what)
	}
	o.mu.Lock()
	o.state.Ready = true
	o.mu.Unlock()
	return o.saveState()
}

func memoryFolder() string {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		return "/dev/shm"
	}
	return ""
}

func (o *owner) saveState() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.state.write(o.root)
}

// prepare writes keys and settings.
func (o *owner) prepare() error {
	for _, d := range []string{"log", "pod-logs", "volume-plugins", "cni", "kubelet"} {
		if err := os.MkdirAll(o.dir(d), 0o755); err != nil {
			return err
		}
	}
	token, err := writeKeys(o.dir("keys"))
	if err != nil {
		return err
	}
	data, err := kubeConfig(o.root, token, "default")
	if err != nil {
		return err
	}
	if err := os.WriteFile(o.dir("admin.kubeconfig"), data, 0o600); err != nil {
		return err
	}
	ports, err := freePorts(3)
	if err != nil {
		return err
	}
	o.parts = o.allParts(ports[0], ports[1])
	settings := map[string]any{"Dir": o.dir(), "Socket": containerdSocket(o.root), "MaxPods": o.opt.MaxPods, "KubeletPort": ports[2]}
	cni, err := configFiles.ReadFile("config/cni/10-host.conflist")
	if err != nil {
		return err
	}
	if err := os.WriteFile(o.dir("cni", "10-host.conflist"), cni, 0o644); err != nil {
		return err
	}
	for _, name := range []string{"containerd.toml", "kubelet.yaml"} {
		t, err := template.New(name).Option("missingkey=error").ParseFS(configFiles, "config/"+name)
		if err != nil {
			return err
		}
		var text strings.Builder
		if err := t.Execute(&text, settings); err != nil {
			return err
		}
		if err := os.WriteFile(o.dir(name), []byte(text.String()), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// freePorts returns ports that nothing listens on.
func freePorts(n int) ([]string, error) {
	var ports []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports = append(ports, strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
	}
	return ports, nil
}

// run starts a part and waits until it is ready.
func (o *owner) run(ctx context.Context, name string) error {
	part, ok := o.parts[name]
	if !ok {
		return fmt.Errorf("the cluster has no part %q", name)
	}
	o.mu.Lock()
	old := o.running[name]
	o.mu.Unlock()
	if old != nil && old.alive() {
		return fmt.Errorf("%s is running", name)
	}
	p, err := startProcess(name, o.dir(), part.env, part.args)
	if err != nil {
		return err
	}
	o.mu.Lock()
	o.running[name], o.state.Parts[name] = p, p.identity
	o.mu.Unlock()
	if err := o.saveState(); err != nil {
		return err
	}
	if part.ready == nil {
		return nil
	}
	return p.await(ctx, 2*time.Minute, part.ready)
}

// stop ends a part with a signal and waits for its end.
func (o *owner) stop(name string, sig syscall.Signal) error {
	o.mu.Lock()
	p := o.running[name]
	o.mu.Unlock()
	if p == nil {
		return fmt.Errorf("%s is not running", name)
	}
	p.kill(sig)
	select {
	case <-p.done:
		return nil
	case <-time.After(30 * time.Second):
		return fmt.Errorf("%s does not end", name)
	}
}

// down takes everything down. What has started by now is on record in the state, so this is the same sweep as that of
// somebody who comes later.
func (o *owner) down() error {
	var err error
	o.once.Do(func() {
		if o.listener != nil {
			o.listener.Close()
		}
		o.mu.Lock()
		s := o.state
		o.mu.Unlock()
		if s.Memory != "" {
			err = sweep(o.root, &s)
		}
		o.lock.Close()
		o.say("taken down")
	})
	return err
}
