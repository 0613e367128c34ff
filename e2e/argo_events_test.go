//go:build e2e

package e2e

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// eventsYAML is what somebody who uses Metaflow's events has in a namespace. The bus is one outside the cluster.
const eventsYAML = `
apiVersion: argoproj.io/v1alpha1
kind: EventBus
metadata: {name: default}
spec:
  jetstreamExotic: {url: "%s", streamConfig: "{maxMsgs: 50000, maxAge: 168h, maxBytes: -1, replicas: 1, duplicates: 300s}"}
---
apiVersion: argoproj.io/v1alpha1
kind: EventSource
metadata: {name: argo-events-webhook}
spec:
  eventBusName: default
  webhook:
    metaflow-event: {port: "%s", endpoint: /metaflow-event, method: POST}
`

// graftLog is where a sensor keeps that it leads its replicas. It has no setting, and in a pod it is the sensor's own.
const graftLog = "/tmp/graft.log"

// events are Argo Events in a namespace: its services, as processes on this machine, and what they need.
type events struct {
	*argo
	dir string
	// bus are the settings that the services have in common.
	bus []string
	// url is the address of the event source.
	url string
	// account is the kubeconfig of the sensors' service account.
	account string
}

// newEvents starts a bus and an event source.
func newEvents(a *argo) *events {
	a.t.Helper()
	e := &events{argo: a, dir: a.t.TempDir()}
	a.t.Cleanup(func() { _ = os.Remove(graftLog) })
	cert, key := e.certificate()
	address, hook := freeAddress(a.t), freeAddress(a.t)
	host, port, _ := net.SplitHostPort(address)
	_, hookPort, _ := net.SplitHostPort(hook)
	e.url = "http://" + hook + "/metaflow-event"
	a.check(a.cluster.Apply(a.t.Context(), a.namespace, fmt.Appendf(nil, eventsYAML, "nats://"+address, hookPort)))
	rules := []rbacv1.PolicyRule{{APIGroups: []string{"argoproj.io"}, Resources: []string{"workflows"}, Verbs: []string{"create"}}}
	config, err := a.cluster.Access(a.t.Context(), a.namespace, "operate-workflow-sa", rules)
	a.check(err)
	e.account = filepath.Join(e.dir, "account")
	a.check(os.WriteFile(e.account, config, 0o600))

	// Argo Events' client insists on TLS, and asks nothing of the certificate.
	e.start("nats-server", "Server is ready", nil, "nats-server", "--addr", host, "--port", port, "--jetstream", "--store_dir", e.dir,
		"--tls", "--tlscert", cert, "--tlskey", key)
	spec := e.object("eventbus", "default")["spec"].(map[string]any)
	e.bus = []string{"EVENTBUS_CONFIG=" + encoded(a.t, map[string]any{"jetstream": spec["jetstreamExotic"]}),
		"EVENTBUS_SUBJECT=eventbus-" + a.namespace, "LOG_LEVEL=debug"}
	e.start("eventsource", "Eventing server started", append(e.bus, "POD_NAME=eventsource-0",
		"EVENTSOURCE_OBJECT="+encoded(a.t, e.object("eventsources", "argo-events-webhook"))), "events", "eventsource-service")
	a.settings = append(a.settings, "METAFLOW_ARGO_EVENTS_INTERNAL_WEBHOOK_URL="+e.url)
	return e
}

// certificate writes a server's certificate and its key.
func (e *events) certificate() (cert, key string) {
	e.t.Helper()
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	pair := server.TLS.Certificates[0]
	private, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	e.check(err)
	cert, key = filepath.Join(e.dir, "cert.pem"), filepath.Join(e.dir, "key.pem")
	e.check(os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]}), 0o600))
	e.check(os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
	return cert, key
}

// object reads an object of Argo Events.
func (e *events) object(resource, name string) map[string]any {
	e.t.Helper()
	o, err := e.cluster.Dynamic().Resource(schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: resource}).
		Namespace(e.namespace).Get(e.t.Context(), name, metav1.GetOptions{})
	e.check(err)
	return o.Object
}

// sensor does what Argo Events' controller does with a deployment's sensor: it asks whether it is valid, and starts it.
func (e *events) sensor(deployment string) {
	e.t.Helper()
	name := strings.ReplaceAll(deployment, ".", "-")
	o := e.object("sensors", name)
	template := o["spec"].(map[string]any)["template"].(map[string]any)
	if got := template["serviceAccountName"]; got != "operate-workflow-sa" {
		e.t.Fatalf("the sensor's account is %v", got)
	}
	env := append(e.bus, "POD_NAME="+name+"-0", "KUBECONFIG="+e.account, "SENSOR_OBJECT="+encoded(e.t, o))
	place{e.t, e.dir}.must(env, e.program("events"), "validate")
	_ = os.Remove(graftLog)
	e.start("sensor-"+name, "successfully subscribed to subject", env, "events", "sensor-service")
}

func (e *events) program(name string) string {
	return mustExist(e.t, repo(e.t, ".cache", "e2e", "bin", name), "run scripts/e2e-stack.sh build")
}

// start starts a program and waits until it says that it is ready. It ends with the test.
func (e *events) start(name, ready string, env []string, program string, args ...string) {
	e.t.Helper()
	file := filepath.Join(e.dir, name+".log")
	log, err := os.Create(file)
	e.check(err)
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, e.program(program), args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.Env = e.dir, log, log, append([]string{"HOME=" + e.dir}, env...)
	// A test that runs out of time cleans nothing up.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	e.check(cmd.Start())
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(done)
	}()
	said := func() string {
		data, _ := os.ReadFile(file)
		return string(data)
	}
	e.t.Cleanup(func() {
		cancel()
		<-done
		log.Close()
		if e.t.Failed() {
			e.t.Logf("%s said:\n%s", name, tail(said()))
		}
	})
	for deadline := time.Now().Add(30 * time.Second); !strings.Contains(said(), ready); time.Sleep(50 * time.Millisecond) {
		select {
		case <-done:
			e.t.Fatalf("%s has ended", name)
		default:
		}
		if time.Now().After(deadline) {
			e.t.Fatalf("%s is not ready", name)
		}
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// encoded is how Argo Events' controller hands an object to a service.
func encoded(t *testing.T, object any) string {
	t.Helper()
	data, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(data)
}

// post posts an event as a program without Metaflow does: the body is the test's, word by word.
func (e *events) post(body string) {
	e.t.Helper()
	resp, err := http.Post(e.url, "application/json", strings.NewReader(body))
	e.check(err)
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		e.t.Fatalf("posting an event: %s", resp.Status)
	}
}

// started are the runs that a deployment's sensor has started.
func (e *events) started(deployment string) []string {
	e.t.Helper()
	list, err := e.cluster.Dynamic().Resource(workflows).Namespace(e.namespace).
		List(e.t.Context(), metav1.ListOptions{LabelSelector: "events.argoproj.io/trigger=" + deployment})
	e.check(err)
	var runs []string
	for _, item := range list.Items {
		runs = append(runs, "argo-"+item.GetName())
	}
	return runs
}

// starts waits for the one run that a deployment's sensor starts, and for its success.
func (e *events) starts(deployment string, limit time.Duration) string {
	e.t.Helper()
	var runs []string
	for deadline := time.Now().Add(limit); len(runs) == 0; time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			e.t.Fatalf("no run of %s was started within %s", deployment, limit)
		}
		runs = e.started(deployment)
	}
	if w := e.end(runs[0], 3*time.Minute); w.Status.Phase != wfv1.WorkflowSucceeded {
		e.t.Fatalf("%s is %s: %s", runs[0], w.Status.Phase, w.Status.Message)
	}
	return runs[0]
}

// given are fields of an event, as JSON, and what the parameters of these names are by them; without a field, their
// defaults.
var given = []struct{ name, field, value string }{
	{"plain", `"abc"`, `"abc"`},
	{"quoted", `"he said \"it's\" \\ <b> & 'c'"`, `"he said \"it's\" \\ <b> & 'c'"`},
	{"lines", `"one\n\ttwo\n"`, `"one\n\ttwo\n"`},
	{"letters", `"åß\u00a0\u4e2d\ud83d\ude00"`, `"åß\u00a0中😀"`},
	{"braces", `"{{workflow.name}} {{ x }} }}"`, `"{{workflow.name}} {{ x }} }}"`},
	{"dollars", `"$(HOME) $$ $5"`, `"$(HOME) $$ $5"`},
	{"return", `"a\r\nb"`, `"a\r\nb"`},
	{"bell", `"a\u0007\u007fb"`, `"a\u0007\u007fb"`},
	{"empty", `""`, `""`},
	{"form", `"mf-base64:QQ=="`, `"mf-base64:QQ=="`},
	{"no_value", `"<no value>"`, `"<no value>"`},
	{"digits", `12345678901234567890`, `"12345678901234567890"`},
	{"of_list", `["a", {"b": "{{c}}"}]`, `"[\"a\",{\"b\":\"{{c}}\"}]"`},
	{"big", `9007199254740993`, `9007199254740993`},
	{"negative", `-3`, `-3`},
	{"worded", `"17"`, `17`},
	{"part", `0.1`, `0.1`},
	{"large", `1e21`, `1e+21`},
	{"on", `true`, `true`},
	{"off", `"False"`, `false`},
	{"listed", `[1, 9007199254740993, "é\n", null]`, `[1, 9007199254740993, "é\n", null]`},
	{"nested", `{"a": {"b": "{{workflow.name}} $(HOME) $$"}, "c": "<"}`, `{"a": {"b": "{{workflow.name}} $(HOME) $$"}, "c": "<"}`},
	{"spelled", `"[1, {\"a\": \"{{b}}\"}]"`, `[1, {"a": "{{b}}"}]`},
	{"sum", `0`, `0`},
	{"must", `"must"`, `"must"`},
	{"dashed", "", `"by another name"`},
	{"absent", "", `"a default"`},
	{"absent_odd", "", `"Hello {{name}} $(HOME) $$5"`},
	{"absent_flag", "", `true`},
	{"absent_list", "", `[1, "a"]`},
	{"nothing", `null`, `"null"`},
}

// TestArgoEvents has the real Argo Events start runs: by an event of Metaflow's with values of all kinds, by the ends of
// other runs, and by several events.
func TestArgoEvents(t *testing.T) {
	a := newArgo(t)
	e, p := newEvents(a), newPlace(t, "testdata/events")
	names := map[string]string{}
	for _, flow := range []string{"values", "after", "both", "joined"} {
		names[flow] = a.deploy(p, flow+".py")
		e.sensor(names[flow])
	}

	e.post(`{"payload": {"name": "data.ready-1", "plain": "without what must be given"}}`)
	e.post(`{"payload": {"name": "data.ready-2", "must": "of another name"}}`)
	e.post(`{"payload": {"name": "2026-11-23"}}`)
	fields := []string{`"a-field": "by another name"`}
	for _, g := range given {
		if g.field != "" {
			fields = append(fields, fmt.Sprintf("%q: %s", g.name, g.field))
		}
	}
	publish := "import json, sys\nfrom metaflow.integrations import ArgoEvent\n" +
		"print(ArgoEvent('data.ready-1', url=sys.argv[1]).publish(json.loads(sys.argv[2]), ignore_errors=False))"
	id := strings.TrimSpace(p.must(p.env(), metaflowPython(t), "-c", publish, e.url, "{"+strings.Join(fields, ", ")+"}"))

	values := e.starts(names["values"], time.Minute)
	e.checkValues(values, id)
	after := e.starts(names["after"], time.Minute)
	tasks := a.read("AfterFlow", after).Tasks["start"]
	if got, want := tasks["by"].Repr, "'ValuesFlow/"+values+"'"; got != want {
		t.Errorf("AfterFlow was started by %s, want %s", got, want)
	}
	joined := e.starts(names["joined"], time.Minute)
	if got, want := a.read("JoinedFlow", joined).Tasks["start"]["by"].Repr,
		fmt.Sprintf("['AfterFlow/%s', 'ValuesFlow/%s']", after, values); got != want {
		t.Errorf("JoinedFlow was started by %s, want %s", got, want)
	}
	both := e.starts(names["both"], time.Minute)
	tasks = a.read("BothFlow", both).Tasks["start"]
	if got, want := tasks["by"].Repr+tasks["what"].Repr+tasks["more"].Repr, "['2026-11-23', '9.later']'from "+after+"'7"; got != want {
		t.Errorf("BothFlow was started with %s, want %s", got, want)
	}
	for _, name := range names {
		if runs := e.started(name); len(runs) != 1 {
			t.Errorf("%s was started as %v, want one run", name, runs)
		}
	}
}

// checkValues reads what a run of ValuesFlow printed of its parameters and its event.
func (e *events) checkValues(run, id string) {
	e.t.Helper()
	_, printed, _ := strings.Cut(e.read("ValuesFlow", run).Stdout["start"], "\x1e")
	var got struct {
		Values map[string]json.RawMessage
		Event  []any
	}
	if err := json.Unmarshal([]byte(printed), &got); err != nil {
		e.t.Fatalf("%v in %q", err, printed)
	}
	if len(got.Event) != 4 || !reflect.DeepEqual(got.Event[:3], []any{"data.ready-1", id, "event"}) {
		e.t.Errorf("the event is %v, want data.ready-1 with the id %s", got.Event, id)
	}
	for _, g := range given {
		if got, want := value(e.t, got.Values[g.name]), value(e.t, []byte(g.value)); !reflect.DeepEqual(got, want) {
			e.t.Errorf("%s is %v, want %v", g.name, got, want)
		}
	}
	if len(got.Values) != len(given) {
		e.t.Errorf("the flow has %d parameters, of which %d are checked", len(got.Values), len(given))
	}
}

// value reads JSON; numbers keep all their digits.
func value(t *testing.T, data []byte) any {
	t.Helper()
	var v any
	d := json.NewDecoder(strings.NewReader(string(data)))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Errorf("%v in %q", err, data)
	}
	return v
}
