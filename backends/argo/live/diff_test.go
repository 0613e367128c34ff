package argolive

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mf-run/mf/backends/live"
)

// template is a small flow: start splits, fit runs for each split, and join waits for them.
const template = `
apiVersion: argoproj.io/v1alpha1
kind: WorkflowTemplate
metadata:
  name: train
  labels: {app.kubernetes.io/managed-by: mf, mf.run/flow: Train}
  annotations: {workflows.argoproj.io/title: Train}
spec:
  entrypoint: Train
  parallelism: 100
  arguments:
    parameters:
      - {name: alpha, value: "0.1"}
      - {name: data}
  ttlStrategy: {secondsAfterSuccess: 86400}
  templateDefaults:
    activeDeadlineSeconds: 432000
    container:
      image: python:3.12-slim
      env:
        - {name: MF_PACKAGE, value: aaaa}
        - {name: MODE, value: slow}
      resources: {requests: {cpu: "1", memory: 4096M}}
  templates:
    - name: Train
      dag:
        tasks:
          - {name: start, template: start}
          - name: fit-all
            template: fit-all
            dependencies: [start]
            arguments: {parameters: [{name: path, value: "{{item}}"}]}
            withSequence: {count: "{{tasks.start.outputs.parameters.splits}}"}
          - {name: join, template: join, dependencies: [fit-all]}
    - name: start
      container:
        args: [run, --flow, Train, --run, r, --step, start, --path, "", --attempt, "0"]
        env: [{name: MF_PARAM_alpha, value: "{{workflow.parameters.alpha}}"}]
      metadata: {labels: {mf.run/step: start}}
    - name: fit-all
      container:
        args: [run, --flow, Train, --run, r, --step, fit_all, --path, "{{inputs.parameters.path}}", --attempt, "{{retries}}"]
        image: acme/fit:1
        resources: {requests: {cpu: "2", memory: 8G}, limits: {nvidia.com/gpu: "1"}}
        envFrom: [{secretRef: {name: db}}]
      inputs: {parameters: [{name: path}]}
      metadata: {labels: {mf.run/step: fit_all}}
      retryStrategy: {limit: 2, retryPolicy: Always, backoff: {duration: 2m}}
    - name: join
      container:
        args: [run, --flow, Train, --run, r, --step, join, --path, "", --attempt, "0"]
      metadata: {labels: {mf.run/step: join}}
`

// added is one more step behind join.
const added = `    - name: report
      container:
        args: [run, --flow, Train, --run, r, --step, report, --path, "", --attempt, "0"]
      metadata: {labels: {mf.run/step: report}}
`

const cron = `
apiVersion: argoproj.io/v1alpha1
kind: CronWorkflow
metadata: {name: train, labels: {app.kubernetes.io/managed-by: mf}}
spec:
  schedules: ["0 6 * * *"]
  timezone: Europe/Helsinki
  workflowSpec: {workflowTemplateRef: {name: train}}
`

func parse(t *testing.T, text string, replace ...string) object {
	t.Helper()
	changed := strings.NewReplacer(replace...).Replace(text)
	if len(replace) > 0 && changed == text {
		t.Fatalf("the text has none of %q", replace)
	}
	list, err := decode([]byte(changed))
	if err != nil || len(list) != 1 {
		t.Fatalf("%d objects, %v", len(list), err)
	}
	return list[0]
}

// text writes changes as a reader would have them.
func text(changes []live.Change) string {
	var b strings.Builder
	for _, c := range changes {
		fmt.Fprintf(&b, "%s %s|%s|%s", c.Kind, c.Step, c.What, c.From)
		if c.From != "" || c.To != "" {
			fmt.Fprintf(&b, " -> %s", c.To)
		}
		if c.ByHand != "" {
			fmt.Fprintf(&b, " [%s]", c.ByHand)
		}
		b.WriteString("\n")
	}
	return strings.TrimSpace(b.String())
}

func TestCompare(t *testing.T) {
	join := "{name: join, template: join, dependencies: [fit-all]}"
	for name, test := range map[string]struct {
		text    string
		replace []string
		want    string
	}{
		"nothing":      {template, nil, ""},
		"same amount":  {template, []string{"4096M", "4.096G"}, ""},
		"same order":   {template, []string{"- {name: MF_PACKAGE, value: aaaa}\n        - {name: MODE, value: slow}", "- {name: MODE, value: slow}\n        - {name: MF_PACKAGE, value: aaaa}"}, ""},
		"number":       {template, []string{"limit: 2", `limit: "2"`}, ""},
		"image":        {template, []string{"acme/fit:1", "acme/fit:2"}, "change fit_all|image|acme/fit:1 -> acme/fit:2"},
		"own image":    {template, []string{"        image: acme/fit:1\n", ""}, "remove fit_all|image|acme/fit:1 -> python:3.12-slim (default)"},
		"all images":   {template, []string{"python:3.12-slim", "python:3.13"}, "change |default image|python:3.12-slim -> python:3.13"},
		"resources":    {template, []string{`cpu: "2", memory: 8G`, `cpu: 500m, memory: 16Gi`}, "change fit_all|cpu|2 -> 500m\nchange fit_all|memory|8G -> 16Gi"},
		"gpu":          {template, []string{`nvidia.com/gpu: "1"`, `amd.com/gpu: "2"`}, "change fit_all|gpu|1 -> 2 of amd.com"},
		"less":         {template, []string{`cpu: "2", memory: 8G`, `cpu: "2"`}, "remove fit_all|memory|8G -> 4096M (default)"},
		"retries":      {template, []string{"limit: 2", "limit: 4", "2m", "1m"}, "change fit_all|pause between retries|2m -> 1m\nchange fit_all|retries|2 -> 4"},
		"no retries":   {template, []string{"      retryStrategy: {limit: 2, retryPolicy: Always, backoff: {duration: 2m}}\n", "", "{{retries}}", "0"}, "remove fit_all|pause between retries|2m -> \nremove fit_all|retries|2 -> \nremove fit_all|retry policy|Always ->"},
		"timeout":      {template, []string{"      inputs:", "      activeDeadlineSeconds: 7200\n      inputs:"}, "add fit_all|timeout|5 days (default) -> 2 hours"},
		"package":      {template, []string{"aaaa", "bbbb"}, "change |code package|aaaa -> bbbb"},
		"environment":  {template, []string{"value: slow", "value: fast"}, "change |environment variable MODE|slow -> fast"},
		"empty":        {template, []string{"value: slow", `value: ""`}, `change |environment variable MODE|slow -> ""`},
		"secret":       {template, []string{"name: db}", "name: lake}"}, "change fit_all|environment from|secret db -> secret lake"},
		"from secret":  {template, []string{"value: slow", "valueFrom: {secretKeyRef: {name: db, key: mode}}"}, "change |environment variable MODE|slow -> from secret db, key mode"},
		"parameter":    {template, []string{`"0.1"`, `"0.2"`}, "change |parameter alpha|0.1 -> 0.2"},
		"required":     {template, []string{"{name: data}", `{name: data, value: x}`}, "change |parameter data|(must be given) -> x"},
		"help":         {template, []string{"{name: data}", `{name: data, description: Where}`}, "add |help of parameter data| -> Where"},
		"renamed":      {template, []string{"{name: alpha, value: \"0.1\"}", "{name: beta, value: \"0.1\"}", "MF_PARAM_alpha", "MF_PARAM_beta", "parameters.alpha", "parameters.beta"}, "remove |parameter alpha|0.1 -> \nadd |parameter beta| -> 0.1"},
		"parallelism":  {template, []string{"parallelism: 100", "parallelism: 10"}, "change |parallelism|100 -> 10"},
		"kept":         {template, []string{"secondsAfterSuccess: 86400", "secondsAfterSuccess: 3600"}, "change |successful runs are kept|1 day -> 1 hour"},
		"deadline":     {template, []string{"parallelism: 100", "parallelism: 100\n  activeDeadlineSeconds: 90"}, "add |deadline| -> 90 seconds"},
		"label":        {template, []string{"mf.run/flow: Train", "mf.run/flow: Train2"}, "change |flow|Train -> Train2"},
		"step added":   {template + added, []string{join, join + "\n          - {name: report, template: report, dependencies: [join]}"}, "add report||"},
		"waits":        {template, []string{"dependencies: [fit-all]", "dependencies: [fit-all, start]"}, "change join|waits for|fit_all -> fit_all, start"},
		"condition":    {template, []string{"dependencies: [fit-all]", "depends: fit-all.Succeeded, when: \"1 == 1\""}, "add join|condition| -> 1 == 1\nchange join|waits for|fit_all -> fit-all.Succeeded"},
		"pack":         {template, []string{`"{{item}}"`, `"{{item}}*50"`, "parameters.splits", "parameters.packs"}, "change fit_all|foreach|splits of start -> packs of start\nadd fit_all|pack| -> 50"},
		"command line": {template, []string{"--step, start, --path", "--step, start, --pack, '5', --path"}, "change start|command line|[run, --flow, Train, --run, r, --step, start, --path, , --attempt, 0] -> [run, --flow, Train, --run, r, --step, start, --pack, 5, --path, , --attempt, 0]"},
		"no word":      {template, []string{"  parallelism: 100", "  parallelism: 100\n  dnsPolicy: Default\n  dnsConfig: {nameservers: [10.0.0.1]}"}, "add |spec.dnsConfig.nameservers| -> [10.0.0.1]\nadd |spec.dnsPolicy| -> Default"},
		"labels of runs": {cron, []string{"timezone: Europe/Helsinki", "timezone: Europe/Helsinki\n  workflowMetadata: {labels: {mf.run/flow: Train}, annotations: {mf.run/owner: ann}}"},
			"add |annotation mf.run/owner of runs| -> ann\nadd |label mf.run/flow of runs| -> Train"},
		"labels of runs, too": {cron, []string{"timezone: Europe/Helsinki", "timezone: UTC\n  workflowMetadata: {labels: {mf.run/flow: Train}}"}, "change |time zone|Europe/Helsinki -> UTC"},
		"schedule":            {cron, []string{"0 6", "30 7", "Europe/Helsinki", "UTC"}, "change |schedule|0 6 * * * -> 30 7 * * *\nchange |time zone|Europe/Helsinki -> UTC"},
	} {
		t.Run(name, func(t *testing.T) {
			base := template
			if strings.HasPrefix(test.text, cron) {
				base = cron
			}
			is, shall := parse(t, base), parse(t, test.text, test.replace...)
			if got := text(compare(is, shall, nil)); got != strings.TrimSpace(test.want) {
				t.Errorf("got:\n%s\nwant:\n%s", got, test.want)
			}
			if back := compare(shall, is, nil); (len(back) == 0) != (test.want == "") {
				t.Errorf("the other way round: %s", text(back))
			}
		})
	}
}

// TestCompareStepRemoved and its like: what comes or goes as a whole is one change.
func TestCompareWholes(t *testing.T) {
	join := "{name: join, template: join, dependencies: [fit-all]}"
	long := parse(t, template+added, join, join+"\n          - {name: report, template: report, dependencies: [join]}")
	if got := text(compare(long, parse(t, template), nil)); got != "remove report||" {
		t.Error(got)
	}
	// The body of a foreach becomes a template of its own: the steps say so.
	body := `    - name: start-foreach-x
      dag:
        tasks: [{name: fit-all, template: fit-all, arguments: {parameters: [{name: path, value: "{{inputs.parameters.path}}"}]}}]
      inputs: {parameters: [{name: path}]}
`
	nested := parse(t, template+body, "name: fit-all\n            template: fit-all", "name: start-foreach-x\n            template: start-foreach-x", "[fit-all]", "[start-foreach-x]")
	want := "remove fit_all|foreach|splits of start -> \nremove fit_all|waits for|start -> \nchange join|waits for|fit_all -> start-foreach-x"
	if got := text(compare(parse(t, template), nested, nil)); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	// Names that Argo does not take are mapped back by the table, the label or the command line.
	for _, replace := range [][]string{
		{"metadata: {labels: {mf.run/step: fit_all}}", ""},
		{"metadata: {labels: {mf.run/step: fit_all}}", "", "annotations: {", `annotations: {mf.run/steps: '{"fit-all":"fit_all"}', `, "--step, fit_all", "--other, x"},
	} {
		is := parse(t, template, replace...)
		if got := text(compare(is, parse(t, template, append(replace, "acme/fit:1", "acme/fit:2")...), nil)); got != "change fit_all|image|acme/fit:1 -> acme/fit:2" {
			t.Error(got)
		}
	}
}

// edited is the template as it is on the cluster, with the managers that Kubernetes notes where lists have no schema.
func edited(t *testing.T, replace ...string) object {
	t.Helper()
	o := parse(t, template, replace...)
	fields := func(text string) any { return map[string]any(parse(t, text)) }
	o.metadata()["managedFields"] = []any{
		map[string]any{"manager": "mf", "operation": "Apply", "time": "2026-11-01T10:00:00Z", "fieldsV1": fields(`{"f:spec": {"f:parallelism": {}}}`)},
		map[string]any{"manager": "workflow-controller", "operation": "Update", "subresource": "status", "time": "2026-11-03T10:00:00Z", "fieldsV1": fields(`{"f:spec": {"f:templates": {}}}`)},
		map[string]any{"manager": "kubectl-edit", "operation": "Update", "time": "2026-11-02T15:04:05Z", "fieldsV1": fields(`{"f:spec": {"f:templates": {}}}`)},
		map[string]any{"manager": "argo", "operation": "Update", "time": "2026-11-01T15:04:05Z", "fieldsV1": fields(`{"f:spec": {"f:templates": {}, "f:priority": {}}}`)},
	}
	return o
}

func TestByHand(t *testing.T) {
	was := parse(t, template)
	for name, test := range map[string]struct {
		is, shall object
		want      string
	}{
		"hand only":        {edited(t, "acme/fit:1", "acme/fit:9"), was, "change fit_all|image|acme/fit:9 -> acme/fit:1 [kubectl-edit, 2026-11-02 15:04]"},
		"flow only":        {edited(t), parse(t, template, "acme/fit:1", "acme/fit:2"), "change fit_all|image|acme/fit:1 -> acme/fit:2"},
		"one of each":      {edited(t, "acme/fit:1", "acme/fit:9"), parse(t, template, "limit: 2", "limit: 3"), "change fit_all|image|acme/fit:9 -> acme/fit:1 [kubectl-edit, 2026-11-02 15:04]\nchange fit_all|retries|2 -> 3"},
		"both the same":    {edited(t, "acme/fit:1", "acme/fit:2"), parse(t, template, "acme/fit:1", "acme/fit:2"), ""},
		"added":            {edited(t, "  parallelism: 100", "  parallelism: 100\n  priority: 7"), was, "remove |priority|7 ->  [argo, 2026-11-01 15:04]"},
		"taken away":       {edited(t, "  parallelism: 100\n", ""), was, "add |parallelism| -> 100 [unknown]"},
		"a step gone":      {edited(t, "- name: join\n", "- name: other\n", "mf.run/step: join", "mf.run/step: other", "--step, join", "--step, other"), was, ""},
		"the command line": {edited(t, "--step, start, --path", "--step, start, --pack, '5', --path", "acme/fit:1", "acme/fit:9"), was, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := text(compare(test.is, test.shall, was))
			switch name {
			case "a step gone":
				if !strings.Contains(got, "add join|| [kubectl-edit") || !strings.Contains(got, "remove other|| [kubectl-edit") {
					t.Error(got)
				}
			case "the command line":
				if !strings.Contains(got, "change start|command line|") {
					t.Error("an edit is not told: " + got)
				}
			default:
				if got != test.want {
					t.Errorf("got:\n%s\nwant:\n%s", got, test.want)
				}
			}
		})
	}
}

func TestTouched(t *testing.T) {
	if o := parse(t, template); touched(o) {
		t.Error("nobody has touched it")
	}
	if !touched(edited(t)) {
		t.Error("two have touched it")
	}
}

func TestMergePatch(t *testing.T) {
	is := parse(t, `{spec: {a: 1, b: {c: 1, d: [1, 2]}, e: {f: 1}}}`)
	shall := parse(t, `{spec: {a: 1, b: {c: 2, d: [2]}, g: {h: 1}}}`)
	if got := compactJSON(mergePatch(is, shall)); got != `{"spec":{"b":{"c":2,"d":[2]},"e":null,"g":{"h":1}}}` {
		t.Error(got)
	}
	if mergePatch(is, is.clone()) != nil {
		t.Error("a patch for nothing")
	}
}

// TestNoteApplied: what mf applied is kept, and read again.
func TestNoteApplied(t *testing.T) {
	o := parse(t, template)
	if o.applied() != nil {
		t.Error("something was noted before")
	}
	if err := o.noteApplied(); err != nil {
		t.Fatal(err)
	}
	if got := text(compare(o, o.applied(), nil)); got != "" {
		t.Error(got)
	}
	o.annotate(annotationApplied, "no base64!")
	if o.applied() != nil {
		t.Error("a note that nobody wrote")
	}
}
