//go:build linux

package main

import (
	"bufio"
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/mf-run/mf/bench/internal/measure"
)

// The images of the tasks, and the secret with what both sides need to know of the S3 server.
const (
	taskImage   = "localhost/mf-bench-task:1"
	pythonImage = "localhost/mf-bench-python:1"
	secretName  = "mf-bench-s3"
)

// marks is the flow that runs in pods.
//
//go:embed marks.py
var marks []byte

// runLimit is how long a run of the small flow may take.
const runLimit = 10 * time.Minute

// stepsOfMarks is how many tasks a run of marks.py has.
const stepsOfMarks = 4

var workflows = schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "workflows"}

// cluster is where pods run.
type cluster struct {
	*bench
	client kubernetes.Interface
	argo   dynamic.ResourceInterface
	socket string
	events *events
}

// overhead is what one task took beyond its own code.
type overhead struct {
	// prepare is the time of the pod's init containers, begin that from the start of the container to the first line of
	// user code, end that from the last line to the container's end.
	prepare, begin, end time.Duration
}

// pods runs the same flow with mf and with Metaflow in turn, until each has run that many tasks.
func (b *bench) pods(tasks int) {
	c := &cluster{bench: b, socket: filepath.Join(filepath.Dir(b.kubeconfig), "containerd.sock")}
	if _, err := os.Stat(c.socket); err != nil {
		fmt.Printf("no pods are measured: their times are those of containerd, whose socket is not at %s\n", c.socket)
		return
	}
	config := must(clientcmd.BuildConfigFromFlags("", b.kubeconfig))
	c.client = must(kubernetes.NewForConfig(config))
	c.argo = must(dynamic.NewForConfig(config)).Resource(workflows).Namespace(b.namespace)
	c.events = c.follow()
	c.images()
	c.secret()
	dir := filepath.Join(b.dir, "marks")
	check(os.Mkdir(dir, 0o755))
	check(os.WriteFile(filepath.Join(dir, "chain.py"), marks, 0o644))
	b.env = append(b.env, "MF_IMAGE="+pythonImage, "MF_TASK_IMAGE="+taskImage, "MF_ARGO_POD_GC=Never", "MF_ARGO_CPU=0.1",
		"MF_ARGO_MEMORY=256", "MF_ARGO_DISK=128", "MF_ARGO_SECRETS="+secretName, "METAFLOW_KUBERNETES_CONTAINER_IMAGE="+pythonImage,
		"METAFLOW_KUBERNETES_CPU=0.1", "METAFLOW_KUBERNETES_MEMORY=256", "METAFLOW_KUBERNETES_DISK=128",
		"METAFLOW_KUBERNETES_SECRETS="+secretName)
	ours, theirs := append(b.theirs("marks-theirs")[:0:0], b.mf), b.theirs("marks-theirs")
	c.run(dir, append(ours, "deploy", "chain.py", "--target", "argo", "--yes", "--quiet", "--name", "marks-ours")...)
	c.run(dir, append(theirs, "create", "--no-enable-error-msg-capture", "--no-auto-emit-argo-events")...)
	b.host.Cleanup(func() {
		_, _ = measure.Run(dir, b.env, true, b.mf, "undeploy", "marks-ours", "--target", "argo", "--yes")
		_, _ = measure.Run(dir, b.env, true, theirs[0], append(theirs[1:], "delete")...)
	})
	var found [2][]overhead
	for range (tasks + stepsOfMarks - 1) / stepsOfMarks {
		found[0] = append(found[0], c.measure(dir, append(ours, "trigger", "marks-ours", "--target", "argo"))...)
		found[1] = append(found[1], c.measure(dir, append(theirs, "trigger"))...)
	}
	fmt.Printf("a task's pod: median of %d tasks\n", len(found[0]))
	for _, kind := range []struct {
		name string
		of   func(overhead) time.Duration
	}{
		{"init containers", func(o overhead) time.Duration { return o.prepare }},
		{"start of the container to the first line of user code", func(o overhead) time.Duration { return o.begin }},
		{"last line of user code to the container's end", func(o overhead) time.Duration { return o.end }},
	} {
		a, z := middle(found[0], kind.of), middle(found[1], kind.of)
		fmt.Printf("%-54s mf %.3f s   Metaflow %.3f s   %.1fx\n", kind.name, a, z, z/a)
	}
}

func middle(all []overhead, of func(overhead) time.Duration) float64 {
	slices.SortFunc(all, func(a, b overhead) int { return cmp.Compare(of(a), of(b)) })
	return of(all[len(all)/2]).Seconds()
}

func (c *cluster) run(dir string, args ...string) {
	must(measure.Run(dir, c.env, false, args[0], args[1:]...))
}

// images hands the cluster mf-task's image, and one of Debian's Python that has what Metaflow installs when a pod starts.
func (c *cluster) images() {
	packages := filepath.Join(c.dir, "packages.tar")
	script := `cp "$1" "$2" && cd "$("$3" -c 'import boto3, os; print(os.path.dirname(os.path.dirname(boto3.__file__)))')" &&
		ln -sf python3 "$4/python" && tar -rf "$2" -C "$4" --transform 's,^,usr/bin/,S' python &&
		tar -rf "$2" --exclude='*.pyc' --transform 's,^,usr/lib/python3/dist-packages/,S' \
		boto3 botocore s3transfer jmespath dateutil six.py urllib3 requests certifi idna charset_normalizer`
	root := filepath.Join(c.repo, ".cache", "roots", "python.tar")
	c.run(c.repo, "/bin/sh", "-c", script, "sh", root, packages, c.python, c.dir)
	for name, args := range map[string][]string{
		taskImage:   {"-file", filepath.Join(filepath.Dir(c.mf), "mf-task") + ":/mf-task"},
		pythonImage: {"-root", packages},
	} {
		archive := filepath.Join(c.dir, "image.tar")
		args = append([]string{"-C", "tools/image", "run", ".", "build", "-ref", name, "-o", archive}, args...)
		must(measure.Run(c.repo, os.Environ(), false, "go", args...))
		c.run(c.repo, c.ctr("images", "import", "--digests=false", archive)...)
		c.host.Cleanup(func() {
			args := c.ctr("images", "rm", name)
			_, _ = measure.Run(c.repo, c.env, true, args[0], args[1:]...)
		})
	}
}

func (c *cluster) ctr(args ...string) []string {
	return append([]string{"ctr", "--address", c.socket, "--namespace", "k8s.io"}, args...)
}

// secret gives the pods of both sides the S3 server's credentials, and tells Metaflow's that nothing is to be installed.
func (c *cluster) secret() {
	data := map[string]string{"METAFLOW_SKIP_INSTALL_DEPENDENCIES": "1"}
	for _, pair := range append(c.bucket.Environ(), "METAFLOW_S3_ENDPOINT_URL="+c.bucket.Endpoint) {
		name, value, _ := strings.Cut(pair, "=")
		data[name] = value
	}
	ctx, secrets := context.Background(), c.client.CoreV1().Secrets(c.namespace)
	_ = secrets.Delete(ctx, secretName, metav1.DeleteOptions{})
	must(secrets.Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: secretName}, StringData: data}, metav1.CreateOptions{}))
	c.host.Cleanup(func() { _ = secrets.Delete(ctx, secretName, metav1.DeleteOptions{}) })
}

// measure starts a run, waits for its end, reads its pods, and takes them away.
func (c *cluster) measure(dir string, trigger []string) []overhead {
	ctx, cancel := context.WithTimeout(context.Background(), runLimit)
	defer cancel()
	idFile := filepath.Join(c.dir, "run-id")
	c.run(dir, append(slices.Clone(trigger), "--run-id-file", idFile)...)
	name := strings.TrimPrefix(strings.TrimSpace(string(must(os.ReadFile(idFile)))), "argo-")
	defer func() { _ = c.argo.Delete(context.Background(), name, metav1.DeleteOptions{}) }()
	for phase := ""; phase != "Succeeded"; time.Sleep(200 * time.Millisecond) {
		w := must(c.argo.Get(ctx, name, metav1.GetOptions{}))
		phase, _, _ = unstructured.NestedString(w.Object, "status", "phase")
		if phase == "Failed" || phase == "Error" {
			message, _, _ := unstructured.NestedString(w.Object, "status", "message")
			check(fmt.Errorf("run %s: %s: %s\n%s", name, phase, message, c.logs(ctx, name)))
		}
	}
	list := must(c.client.CoreV1().Pods(c.namespace).List(ctx, metav1.ListOptions{LabelSelector: "workflows.argoproj.io/workflow=" + name}))
	var found []overhead
	for _, pod := range list.Items {
		found = append(found, c.overhead(ctx, pod))
	}
	if len(found) != stepsOfMarks {
		check(fmt.Errorf("run %s has %d pods instead of %d", name, len(found), stepsOfMarks))
	}
	return found
}

var mark = regexp.MustCompile(`(first|last) line at ([\d.]+)`)

// overhead reads one pod's marks, and what containerd said of its containers.
func (c *cluster) overhead(ctx context.Context, pod corev1.Pod) overhead {
	said := map[string]time.Time{}
	for _, m := range mark.FindAllStringSubmatch(c.log(ctx, pod.Name, "main"), -1) {
		said[m[1]] = time.UnixMicro(int64(must(strconv.ParseFloat(m[2], 64)) * 1e6))
	}
	var main life
	var first time.Time
	for _, status := range append(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses...) {
		id := strings.TrimPrefix(status.ContainerID, "containerd://")
		l := c.events.await(ctx, id, status.Name == "main")
		if first.IsZero() || l.start.Before(first) {
			first = l.start
		}
		if status.Name == "main" {
			main = l
		}
	}
	if len(said) != 2 || main.end.IsZero() {
		check(fmt.Errorf("pod %s: marks %v, container %+v", pod.Name, said, main))
	}
	return overhead{prepare: main.start.Sub(first), begin: said["first"].Sub(main.start), end: main.end.Sub(said["last"])}
}

// log is what a container printed.
func (c *cluster) log(ctx context.Context, pod, container string) string {
	stream, err := c.client.CoreV1().Pods(c.namespace).GetLogs(pod, &corev1.PodLogOptions{Container: container}).Stream(ctx)
	if err != nil {
		return err.Error()
	}
	defer stream.Close()
	data, err := io.ReadAll(stream)
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// logs is what the pods of a run printed, the end of each.
func (c *cluster) logs(ctx context.Context, run string) string {
	list, err := c.client.CoreV1().Pods(c.namespace).List(ctx, metav1.ListOptions{LabelSelector: "workflows.argoproj.io/workflow=" + run})
	if err != nil {
		return err.Error()
	}
	var all strings.Builder
	for _, pod := range list.Items {
		text := c.log(ctx, pod.Name, "main")
		fmt.Fprintf(&all, "-- %s\n%s\n", pod.Name, text[max(0, len(text)-2000):])
	}
	return all.String()
}

// life is when a container's first process started and ended.
type life struct{ start, end time.Time }

// events collects what containerd says of all containers.
type events struct {
	sync.Mutex
	lives map[string]life
}

// follow reads containerd's events, whose times are exact to the nanosecond; those of Kubernetes are whole seconds.
func (c *cluster) follow() *events {
	args := c.ctr("events")
	cmd := exec.Command(args[0], args[1:]...)
	out := must(cmd.StdoutPipe())
	check(cmd.Start())
	c.host.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	e := &events{lives: map[string]life{}}
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			e.add(lines.Text())
		}
	}()
	return e
}

// event is a line of "ctr events": time, namespace, topic, JSON.
var event = regexp.MustCompile(`^(\S+ \S+ \S+) \S+ \S+ /tasks/(start|exit) (\{.*\})$`)

func (e *events) add(line string) {
	m := event.FindStringSubmatch(line)
	if m == nil {
		return
	}
	var detail struct {
		Container string `json:"container_id"`
		ID        string `json:"id"`
	}
	at, err := time.Parse("2006-01-02 15:04:05.999999999 -0700", m[1])
	if err != nil || json.Unmarshal([]byte(m[3]), &detail) != nil || detail.ID != "" && detail.ID != detail.Container {
		return // another kind of line, or a process that was started in the container later
	}
	e.Lock()
	defer e.Unlock()
	l := e.lives[detail.Container]
	if m[2] == "start" {
		l.start = at
	} else {
		l.end = at
	}
	e.lives[detail.Container] = l
}

// await returns the life of a container, with its end if that is asked for.
func (e *events) await(ctx context.Context, id string, ended bool) life {
	for {
		e.Lock()
		l := e.lives[id]
		e.Unlock()
		if !l.start.IsZero() && (!ended || !l.end.IsZero()) {
			return l
		}
		select {
		case <-ctx.Done():
			check(fmt.Errorf("containerd says nothing of container %s", id))
		case <-time.After(50 * time.Millisecond):
		}
	}
}
