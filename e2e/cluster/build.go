package cluster

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// The modules whose programs the cluster is made of; their versions are those of tools/kube/go.mod,
// tools/argo/go.mod and tools/events/go.mod.
const (
	kubeModule   = "k8s.io/kubernetes"
	argoModule   = "github.com/argoproj/argo-workflows/v3"
	eventsModule = "github.com/argoproj/argo-events"
	busModule    = "github.com/nats-io/nats-server/v2"
)

// programs are the built parts of a cluster.
type programs struct {
	kube, controller, executor, pause string
	// again starts a workflow once more, as Argo's command line does.
	again string
	// images are the archives of the images that every pod needs.
	images []string
	// argo and events are the sources of Argo's modules, with their manifests.
	argo, events string
}

// builder builds what is missing.
type builder struct {
	repo, root string
	log        io.Writer
}

// job makes some of the programs from some inputs.
type job struct {
	name            string
	inputs, outputs []string
	run             func(ctx context.Context) error
}

// build builds the cluster's programs into the folder bin below root, unless they are there already and made of the same.
// Minutes when nothing is cached.
func build(ctx context.Context, repo, root string, log io.Writer) (*programs, error) {
	b := &builder{repo, root, log}
	bin := filepath.Join(root, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return nil, err
	}
	p := &programs{kube: filepath.Join(bin, "kube"), controller: filepath.Join(bin, "workflow-controller"),
		executor: filepath.Join(bin, "argoexec"), pause: filepath.Join(bin, "pause"), again: filepath.Join(bin, "again"),
		images: []string{filepath.Join(bin, "pause.tar"), filepath.Join(bin, "argoexec.tar")}}
	var err error
	if p.argo, err = b.moduleDir(ctx, b.tools("argo"), argoModule); err != nil {
		return nil, err
	}
	if p.events, err = b.moduleDir(ctx, b.tools("argo"), eventsModule); err != nil {
		return nil, err
	}
	for _, j := range b.jobs(p) {
		if err := b.do(ctx, filepath.Join(bin, j.name+".stamp"), j); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (b *builder) tools(name string) string { return filepath.Join(b.repo, "e2e", "tools", name) }

func (b *builder) jobs(p *programs) []job {
	// argoexec looks up the name of the user that it runs as.
	passwd := filepath.Join(b.repo, "e2e", "cluster", "config", "passwd")
	bin := filepath.Dir(p.kube)
	return []job{
		{"pause", []string{b.tools("pause")}, []string{p.pause, p.images[0]}, func(ctx context.Context) error {
			if err := b.goBuild(ctx, filepath.Join(b.repo, "e2e"), "", "-o", p.pause, "./tools/pause"); err != nil {
				return err
			}
			return writeImage(p.images[0], pauseImage, Spec{
				Files: []File{{Source: p.pause, Target: "/pause", Mode: 0o755}}, Entrypoint: []string{"/pause"}})
		}},
		{"argo", []string{b.tools("argo"), passwd}, []string{p.controller, p.executor, p.again, p.images[1]}, func(ctx context.Context) error {
			if err := b.buildArgo(ctx, b.tools("argo"), p); err != nil {
				return err
			}
			return writeImage(p.images[1], executorImage, Spec{
				Files: []File{{Source: p.executor, Target: "/bin/argoexec", Mode: 0o755}, {Target: "/tmp", Mode: 0o1777},
					{Source: passwd, Target: "/etc/passwd", Mode: 0o644}},
				Entrypoint: []string{"argoexec"}, Env: []string{"PATH=/bin"}})
		}},
		{"events", []string{b.tools("events")}, []string{filepath.Join(bin, "events"), filepath.Join(bin, "nats-server")}, func(ctx context.Context) error {
			return b.goBuild(ctx, b.tools("events"), "", "-o", bin+"/", ".", busModule)
		}},
		{"kube", []string{b.tools("kube")}, []string{p.kube}, func(ctx context.Context) error {
			return b.buildKube(ctx, b.tools("kube"), p)
		}},
	}
}

// do does a job, unless the stamp says that its outputs are made of the same.
func (b *builder) do(ctx context.Context, file string, j job) error {
	stamp, err := b.stamp(j.inputs)
	if err != nil {
		return err
	}
	if old, err := os.ReadFile(file); err == nil && string(old) == stamp && allExist(j.outputs) {
		return nil
	}
	b.say("building %s", j.name)
	began := time.Now()
	if err := j.run(ctx); err != nil {
		return fmt.Errorf("building %s: %w", j.name, err)
	}
	b.say("built %s in %s", j.name, time.Since(began).Round(time.Second))
	return os.WriteFile(file, []byte(stamp), 0o644)
}

func (b *builder) say(format string, args ...any) {
	fmt.Fprintf(b.log, "e2e: "+format+"\n", args...)
}

func allExist(files []string) bool {
	for _, f := range files {
		if _, err := os.Stat(f); err != nil {
			return false
		}
	}
	return true
}

// stamp is a digest of what a program is made from: the sources here, which pin all others, and the compiler.
func (b *builder) stamp(dirs []string) (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, runtime.Version(), runtime.GOARCH)
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			data, err := os.ReadFile(path)
			fmt.Fprintf(h, "%s %d\n", d.Name(), len(data))
			h.Write(data)
			return err
		})
		if err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// goBuild builds static programs without symbols in a module, and tells every half a minute how far it is.
func (b *builder) goBuild(ctx context.Context, module, ldflags string, args ...string) error {
	args = append([]string{"build", "-v", "-trimpath", "-ldflags", strings.TrimSpace("-s -w " + ldflags)}, args...)
	cmd := b.goCommand(ctx, module, args)
	p := &progress{b: b, told: time.Now()}
	cmd.Stdout, cmd.Stderr = p, p
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, p.tail)
	}
	return nil
}

// progress counts the packages that go build -v names as it compiles them.
type progress struct {
	b        *builder
	told     time.Time
	packages int
	tail     []byte
}

// Write implements io.Writer.
func (p *progress) Write(text []byte) (int, error) {
	p.packages += bytes.Count(text, []byte{'\n'})
	p.tail = append(p.tail, text...)
	p.tail = p.tail[max(0, len(p.tail)-4000):]
	if time.Since(p.told) > 30*time.Second {
		p.told = time.Now()
		p.b.say("compiled %d packages", p.packages)
	}
	return len(text), nil
}

func (b *builder) goCommand(ctx context.Context, dir string, args []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	return cmd
}

func (b *builder) goTool(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := b.goCommand(ctx, dir, args)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		text := errs.String()
		return "", fmt.Errorf("go %s: %w\n%s", args[0], err, text[max(0, len(text)-4000):])
	}
	return strings.TrimSpace(out.String()), nil
}

// moduleDir is where the source of a module lies that another depends on. It is downloaded where it is missing.
func (b *builder) moduleDir(ctx context.Context, module, path string) (string, error) {
	dir, err := b.goTool(ctx, module, "list", "-m", "-f", "{{.Dir}}", path)
	if err == nil && dir == "" {
		b.say("downloading the modules of %s", path)
		if _, err = b.goTool(ctx, module, "mod", "download"); err == nil {
			dir, err = b.goTool(ctx, module, "list", "-m", "-f", "{{.Dir}}", path)
		}
	}
	return dir, err
}

// buildKube builds Kubernetes' programs. They do not know their own version unless they are told.
func (b *builder) buildKube(ctx context.Context, module string, p *programs) error {
	version, err := b.goTool(ctx, module, "list", "-m", "-f", "{{.Version}}", kubeModule)
	if err != nil {
		return err
	}
	number := strings.Split(strings.TrimPrefix(version, "v"), ".")
	const variable = "-X k8s.io/component-base/version."
	flags := variable + "gitVersion=" + version + " " + variable + "gitMajor=" + number[0] + " " + variable + "gitMinor=" + number[1]
	return b.goBuild(ctx, module, flags, "-o", p.kube, ".")
}

// buildArgo builds Argo's programs. argoexec cannot be built from the published module: a source file of it is a link to
// another in Argo's repository, and modules hold no links. So it is built from a copy that has the file.
func (b *builder) buildArgo(ctx context.Context, module string, p *programs) error {
	src := filepath.Join(b.root, "src", "argo")
	defer os.RemoveAll(filepath.Dir(src))
	if err := copySources(p.argo, src); err != nil {
		return err
	}
	const signals = "workflow/executor/osspecific/signal_"
	data, err := os.ReadFile(filepath.Join(src, signals+"darwin.go"))
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(src, signals+"linux.go"), data, 0o644); err != nil {
		return err
	}
	file := filepath.Join(filepath.Dir(src), "go.mod")
	for from, to := range map[string]string{"go.mod": file, "go.sum": filepath.Join(filepath.Dir(src), "go.sum")} {
		data, err := os.ReadFile(filepath.Join(module, from))
		if err != nil {
			return err
		}
		if err := os.WriteFile(to, data, 0o644); err != nil {
			return err
		}
	}
	if _, err := b.goTool(ctx, module, "mod", "edit", "-replace", argoModule+"="+src, file); err != nil {
		return err
	}
	return b.goBuild(ctx, module, "", "-modfile", file, "-o", filepath.Dir(p.controller)+"/",
		argoModule+"/cmd/workflow-controller", argoModule+"/cmd/argoexec", "./again")
}

// copySources copies what a module's programs are built from, tests and documents aside.
func copySources(from, to string) error {
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			switch name {
			case "docs", "examples", "manifests", "sdks", "test", "ui":
				return filepath.SkipDir
			}
			return os.MkdirAll(filepath.Join(to, name), 0o755)
		}
		if strings.HasSuffix(name, "_test.go") {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), data, 0o644)
	})
}
