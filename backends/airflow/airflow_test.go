package airflow_test

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/backends/airflow"
	"github.com/mf-run/mf/backends/backendtest"
	"github.com/mf-run/mf/ir"
)

func TestSuite(t *testing.T) {
	backendtest.Test(t, airflow.Backend{}, func(t *testing.T, files []backends.File) {
		for _, name := range airflows {
			airflowOf(t, name).load(t, files[0])
		}
	})
}

// made returns one of the suite's flows.
func made(t *testing.T, name string) *ir.Flow {
	t.Helper()
	for _, c := range backendtest.Cases() {
		if c.Name == name {
			return c.Flow
		}
	}
	t.Fatalf("there is no case %s", name)
	return nil
}

func emit(t *testing.T, f *ir.Flow, opt backends.Options) backends.File {
	t.Helper()
	files, list := airflow.Backend{}.Emit(f, opt)
	if list.HasErrors() {
		t.Fatal(list)
	}
	return files[0]
}

func decorate(s *ir.Step, name string, attributes ir.Attributes) {
	s.Decorators = append(s.Decorators, ir.Decorator{Name: name, Attributes: attributes, Span: s.Span})
}

// possible are the suite's flows that the target can run.
func possible() []backendtest.Case {
	return slices.DeleteFunc(backendtest.Cases(), func(c backendtest.Case) bool {
		return airflow.Backend{}.Features().Unsupported(ir.NewGraph(c.Flow)).HasErrors()
	})
}

// TestStructure compares the tasks that Airflow sees, and their order, with the flow's graph.
func TestStructure(t *testing.T) {
	for _, name := range airflows {
		p := airflowOf(t, name)
		cases := possible()
		if len(cases) < 20 {
			t.Errorf("only %d flows", len(cases))
		}
		for _, c := range cases {
			t.Run(name+"/"+c.Name, func(t *testing.T) {
				_, d := p.load(t, emit(t, c.Flow, backendtest.Options()))
				checkStructure(t, ir.NewGraph(c.Flow), d)
			})
		}
	}
}

func checkStructure(t *testing.T, g *ir.Graph, d dag) {
	t.Helper()
	want := 0
	for _, s := range g.Flow().Steps {
		want++
		inForeach := g.PathLen(s.Name) > 0
		if got := d.Tasks[s.Name]; got.Operator != "KubernetesPodOperator" || (got.Group != "") != inForeach {
			t.Errorf("step %s (inside a foreach: %v) is %+v", s.Name, inForeach, got)
		}
		if s.Next != nil && s.Next.Kind == ir.Foreach {
			want++ // the task that lists the paths
		}
		for _, next := range g.Successors(s.Name) {
			if !reaches(d, s.Name, next) {
				t.Errorf("%s does not wait for %s", next, s.Name)
			}
			if reaches(d, next, s.Name) {
				t.Errorf("%s waits for %s", s.Name, next)
			}
		}
		for _, other := range g.Flow().Steps {
			// What stands outside any foreach waits for nothing that it does not follow.
			if g.PathLen(other.Name) == 0 && !inForeach && !g.Reachable(s.Name, other.Name) && reaches(d, s.Name, other.Name) {
				t.Errorf("%s waits for %s in vain", other.Name, s.Name)
			}
		}
	}
	if len(d.Tasks) != want {
		t.Errorf("the DAG has %d tasks, want %d: %v", len(d.Tasks), want, slices.Sorted(maps.Keys(d.Tasks)))
	}
	if d.Catchup || d.MaxActiveTasks != backends.DefaultMaxWorkers {
		t.Errorf("catchup %v, max_active_tasks %d", d.Catchup, d.MaxActiveTasks)
	}
}

func reaches(d dag, from, to string) bool {
	seen := map[string]bool{}
	var visit func(string) bool
	visit = func(name string) bool {
		for _, next := range d.Tasks[name].Downstream {
			if next == to {
				return true
			}
			if !seen[next] {
				seen[next] = true
				if visit(next) {
					return true
				}
			}
		}
		return false
	}
	return visit(from)
}

// A check that accepts everything would prove nothing.
func TestBrokenFilesAreRefused(t *testing.T) {
	good := emit(t, made(t, "made-nested-foreach"), backendtest.Options())
	for _, name := range airflows {
		p := airflowOf(t, name)
		for what, edit := range map[string][2]string{
			"syntax":            {"dag_id=", "dag id="},
			"unknown argument":  {"do_xcom_push=True", "do_xcom_push=True, no_such_argument=1"},
			"two tasks, one id": {`task_id="sum_cities"`, `task_id="city"`},
			"cycle":             {"each_country >> each_start_2", "each_country >> each_start_2\n    each_start_2 >> each_start_1"},
			"unknown name":      {"step_start.output", "step_begin.output"},
		} {
			text := strings.Replace(string(good.Data), edit[0], edit[1], 1)
			if text == string(good.Data) {
				t.Fatalf("%s: the edit does not apply to\n%s", what, text)
			}
			a := p.ask(t, question{Load: p.write(t, backends.File{Path: good.Path, Data: []byte(text)}), Apart: true})
			if len(a.Errors) == 0 {
				t.Errorf("%s: %s: accepted", name, what)
			}
		}
		reading := "open(__file__).close()\n" + string(good.Data)
		reading = strings.Replace(reading, `open(__file__).close()`, `open("/etc/hostname").close()`, 1)
		if a := p.ask(t, question{Load: p.write(t, backends.File{Path: good.Path, Data: []byte(reading)}), Apart: true}); len(a.Opened) == 0 {
			t.Errorf("%s: a file that reads another is not noticed", name)
		}
	}
}

// TestRuns runs DAGs, without pods, and compares the tasks that pods are told to do with those that the flow has.
func TestRuns(t *testing.T) {
	for name, flows := range map[string][]string{
		// Airflow 3 takes seconds for each task.
		"venv-airflow":  {"made-nested-foreach"},
		"venv-airflow2": {"made-nested-foreach", "made-deep-foreach", "made-split-in-body", "made-foreach-in-split", "made-retries"},
	} {
		p := airflowOf(t, name)
		for _, flow := range flows {
			t.Run(name+"/"+flow, func(t *testing.T) {
				f := made(t, flow)
				widths := map[string]int{}
				for i, s := range f.Steps {
					if s.Next != nil && s.Next.Kind == ir.Foreach {
						widths[s.Name] = 1 + (i+1)%2
					}
				}
				checkTasks(t, ir.NewGraph(f), widths, p.run(t, emit(t, f, backendtest.Options()), nil, widths))
			})
		}
	}
}

// run returns what the pods of a run were told, in order.
func (p *process) run(t *testing.T, f backends.File, conf map[string]any, widths map[string]int) []told {
	t.Helper()
	if conf == nil {
		conf = map[string]any{}
	}
	a := p.ask(t, question{Run: p.write(t, f), Conf: conf, Widths: widths, Apart: true})
	if a.State != "success" {
		t.Fatalf("the run's state is %q\n%s", a.State, p.stderr)
	}
	return a.Told
}

// checkTasks compares what pods were told with all tasks of a flow, each once and after those that it follows.
func checkTasks(t *testing.T, g *ir.Graph, widths map[string]int, pods []told) {
	t.Helper()
	done := map[string]bool{}
	for _, pod := range pods {
		if pod.Command[0] != "/mf/mf-task" {
			t.Fatalf("command %q", pod.Command)
		}
		task, err := ir.ParseTaskInvocation(pod.Command[1:])
		if err != nil {
			t.Fatal(err)
		}
		if task.Flow != g.Flow().Name || task.Run != airflow.RunID(g.Flow().Name, pod.RunID) || task.Attempt != "0" {
			t.Errorf("invocation %+v in run %s", task, pod.RunID)
		}
		path, err := ir.ParseSplitPath(task.Path)
		if err != nil {
			t.Fatal(err)
		}
		for _, before := range g.Predecessors(task.Step) {
			for _, p := range paths(g, before, widths) {
				related := slices.Equal(p[:min(len(p), len(path))], path[:min(len(p), len(path))])
				if related && !done[before+"/"+p.String()] {
					t.Errorf("%s/%s starts before %s/%s", task.Step, path, before, p)
				}
			}
		}
		key := task.Step + "/" + path.String()
		if done[key] {
			t.Errorf("%s is started twice", key)
		}
		done[key] = true
		if splits := widths[task.Step] > 0; splits != (pod.Environment[ir.EnvOutputsFile] == "/airflow/xcom/return.json") {
			t.Errorf("%s is told %v", key, pod.Environment)
		}
	}
	want := map[string]bool{}
	for _, s := range g.Flow().Steps {
		for _, p := range paths(g, s.Name, widths) {
			want[s.Name+"/"+p.String()] = true
		}
	}
	if !maps.Equal(done, want) {
		t.Errorf("tasks %v, want %v", slices.Sorted(maps.Keys(done)), slices.Sorted(maps.Keys(want)))
	}
}

// paths returns the split paths of a step's tasks.
func paths(g *ir.Graph, step string, widths map[string]int) []ir.SplitPath {
	list := []ir.SplitPath{nil}
	for _, split := range g.Foreachs(step) {
		var longer []ir.SplitPath
		for _, p := range list {
			for i := range widths[split] {
				longer = append(longer, p.Child(i))
			}
		}
		list = longer
	}
	return list
}

// TestTextsArrive gives parameters and an environment that Airflow, Jinja and Python could each spoil.
func TestTextsArrive(t *testing.T) {
	vars, wanted := map[string]any{}, map[string]string{}
	for i, value := range []string{
		"", " ", "plain", "it's", `"quoted"`, `both ' and "`, `back\slash\n`, "two\nlines", "ends\n", "{{ run_id }}", "{% if %}", "{# x #}",
		"}}", "{{ '", `{{ "\'" }}`, "ä 漢 🚀", "{{ 漢 \u2028 🚀 }}", "\x01\x7f", "x.json", "x.sh", "%(x)s", "$(HOME)", "{% raw %}{{ x }}{% endraw %}",
	} {
		name := fmt.Sprintf("V%02d", i)
		vars[name], wanted[name] = value, value
	}
	f := made(t, "made-parameters")
	f.Parameters = append(f.Parameters, ir.Parameter{Name: "key", Option: "key", Type: ir.StringType, Required: true})
	decorate(f.Step("start"), "environment", ir.Attributes{"vars": vars})
	maps.Copy(wanted, map[string]string{
		"MF_PARAM_key": "it's {{ run_id }}", "MF_PARAM_genre": "Sci-Fi", "MF_PARAM_empty": "", "MF_PARAM_text_number": "007",
		"MF_PARAM_count": "7", "MF_PARAM_ratio": "0.25", "MF_PARAM_dry": "true", "MF_PARAM_shape": `{"layers":[64,32],"name":"small"}`,
		"MF_PARAM_nothing": "now", "MF_PARAM_computed": "", "MF_PARAM_movies": "", "MF_OPTIONAL_PARAMS": "nothing,computed,movies",
		"MF_DATASTORE": "s3://bucket/mf", "MF_SERVICE_URL": "http://mf.example:8080", "MF_PACKAGE": backendtest.Options().Package,
		"MF_RUNTIME": "airflow", "MF_USER": backendtest.Options().User,
	})
	conf := map[string]any{"key": "it's {{ run_id }}", "count": 7, "dry": true, "nothing-given": "now"}
	for _, name := range airflows {
		pods := airflowOf(t, name).run(t, emit(t, f, backendtest.Options()), conf, nil)
		for variable, value := range wanted {
			if got, ok := pods[0].Environment[variable]; got != value || !ok {
				t.Errorf("%s: %s is %q, want %q", name, variable, got, value)
			}
		}
		if len(pods[0].Environment) != len(wanted) || len(pods[1].Environment) != 5 {
			t.Errorf("%s: told %v and %v", name, pods[0].Environment, pods[1].Environment)
		}
	}
}

// TestSettingsArrive checks retries, timeouts, schedules and documentation as Airflow understands them.
func TestSettingsArrive(t *testing.T) {
	for _, name := range airflows {
		p := airflowOf(t, name)
		_, retried := p.load(t, emit(t, made(t, "made-retries"), backendtest.Options()))
		for step, want := range map[string]task{
			"start": {Retries: 0}, "flaky": {Retries: 4, RetryDelay: 90}, "caught": {Retries: 3}, "both": {Retries: 5},
		} {
			got := retried.Tasks[step]
			if got.Retries != want.Retries || want.Retries > 0 && got.RetryDelay != want.RetryDelay ||
				got.ExecutionTimeout != backends.DefaultTimeoutSeconds {
				t.Errorf("%s: step %s: %+v, want %+v", name, step, got, want)
			}
		}
		_, timed := p.load(t, emit(t, made(t, "made-timeout"), backendtest.Options()))
		if got := timed.Tasks["start"].ExecutionTimeout; got != (150+60+5)*60 {
			t.Errorf("%s: the timeout is %v s", name, got)
		}
		_, scheduled := p.load(t, emit(t, made(t, "made-timezone"), backendtest.Options()))
		if scheduled.Schedule == nil || *scheduled.Schedule != "30 6 * * 1-5" || !strings.Contains(scheduled.Timezone, "Europe/Helsinki") {
			t.Errorf("%s: schedule %v in %s", name, scheduled.Schedule, scheduled.Timezone)
		}
		if retried.Schedule != nil {
			t.Errorf("%s: a flow without a schedule has %s", name, *retried.Schedule)
		}
		for _, doc := range []string{
			"One line", "Two\n\nlines \"quoted\" and \\ more\"", "See README.md", `'''"""'''` + "\n" + `""""`, "tab\there\nü",
		} {
			f := made(t, "made-linear")
			f.Doc = doc
			if _, d := p.load(t, emit(t, f, backendtest.Options())); strings.TrimSpace(d.Doc) != doc {
				t.Errorf("%s: documentation %q, want %q", name, d.Doc, doc)
			}
		}
	}
}

func TestKubernetesAttributes(t *testing.T) {
	f := made(t, "made-foreach-body")
	decorate(f.Step("load"), "kubernetes", ir.Attributes{
		"image": "acme/load:1", "namespace": "ml", "service_account": "loader", "image_pull_policy": "Always",
		"node_selector": "disk=ssd,zone=a", "labels": map[string]any{"team": "x"}, "annotations": map[string]any{"note": "{{ y }}"},
		"secrets": []any{"one", "two"}, "image_pull_secrets": "pull", "gpu": int64(1), "gpu_vendor": "amd", "shared_memory": int64(64),
		"tolerations": []any{map[string]any{"key": "gpu", "operator": "Exists", "tolerationSeconds": int64(30)}},
	})
	opt := backendtest.Options()
	opt.Settings = map[string]string{
		"airflow.namespace": "jobs", "airflow.service-account": "mf", "airflow.secrets": "all", "airflow.image-pull-policy": "IfNotPresent",
		"airflow.image-pull-secrets": "registry", "airflow.node-selector": "arch=arm64", "airflow.kubernetes-connection": "cluster",
	}
	file := emit(t, f, opt)
	for _, want := range []string{
		`namespace="ml"`, `service_account_name="loader"`, `node_selector={"disk": "ssd", "zone": "a"}`, `labels={"team": "x"}`,
		`"{{ '{{ y }}' }}"`, `name="all"`, `name="two"`, `name="registry"`, `"amd.com/gpu": "1"`, `size_limit="64Mi"`,
		`toleration_seconds=30`, `"node_selector": {"arch": "arm64"}`, `"kubernetes_conn_id": "cluster"`,
	} {
		if !strings.Contains(string(file.Data), want) {
			t.Errorf("missing %s in\n%s", want, file.Data)
		}
	}
	for _, name := range airflows {
		airflowOf(t, name).load(t, file)
	}
	checkFormat(t, file)
}

// checkFormat runs the file through ruff: what is reviewed should look as what people write.
func checkFormat(t *testing.T, files ...backends.File) {
	t.Helper()
	ruff, err := filepath.Abs("../../.cache/venv-tools/bin/ruff")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(ruff); err != nil {
		t.Fatalf("%v\nRun scripts/test-setup.sh, which installs ruff.", err)
	}
	folder := t.TempDir()
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(folder, f.Path), f.Data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"format", "--isolated", "--no-cache", "--diff", folder}, {"check", "--isolated", "--no-cache", folder}} {
		if out, err := exec.Command(ruff, args...).CombinedOutput(); err != nil {
			t.Errorf("ruff %s: %v\n%s", args[0], err, out)
		}
	}
}

func TestFilesAreFormatted(t *testing.T) {
	var files []backends.File
	for _, c := range possible() {
		f := emit(t, c.Flow, backendtest.Options())
		f.Path = c.Name + ".py"
		files = append(files, f)
	}
	odd := made(t, "made-linear")
	odd.Doc = "Doc with \\ and \"quotes\"\n\n\tand 漢字" + strings.Repeat("漢", 60)
	decorate(odd.Step("start"), "environment", ir.Attributes{"vars": map[string]any{
		"A": strings.Repeat("漢", 40), "B": "it's", "C": `"x"`, "D": "\x01\u2028", "E": strings.Repeat("🚀", 35), "F": "é́"}})
	files = append(files, emit(t, odd, backendtest.Options()))
	checkFormat(t, files...)
}

// findings of the whole list as text, for tests of messages.
func findings(f *ir.Flow, opt backends.Options) string {
	files, list := airflow.Backend{}.Emit(f, opt)
	if list.HasErrors() != (len(files) == 0) {
		return "files and errors disagree"
	}
	lines := make([]string, len(list))
	for i, d := range list {
		lines[i] = d.String() + ": " + d.Detail
	}
	return strings.Join(lines, "\n")
}

func TestFindings(t *testing.T) {
	long := strings.Repeat("x", 251)
	kubernetes := func(attribute string, value any) func(*ir.Flow) {
		return func(f *ir.Flow) { decorate(f.Step("load"), "kubernetes", ir.Attributes{attribute: value}) }
	}
	setting := func(name, value string) func(*backends.Options) {
		return func(o *backends.Options) { o.Settings = map[string]string{name: value} }
	}
	wide := func(f *ir.Flow) {
		f.Constants = []ir.Constant{{Name: "xs", Value: []byte("[" + strings.Repeat("0,", 1024) + "0]")}}
	}
	for name, c := range map[string]struct {
		edit func(*ir.Flow)
		opt  func(*backends.Options)
		want string
	}{
		"flow name":     {edit: func(f *ir.Flow) { f.Name = long }, want: "has 251 bytes, but Airflow takes 250"},
		"given name":    {opt: func(o *backends.Options) { o.Name = "a b" }, want: `the name "a b" has more than`},
		"step name":     {edit: func(f *ir.Flow) { f.Start, f.Steps[0].Name = long, long }, want: "has 251 bytes, but Airflow leaves room for 239"},
		"odd step name": {edit: func(f *ir.Flow) { f.Start, f.Steps[0].Name = "a/b", "a/b" }, want: "the name of step a/b has more than"},
		"wide":          {edit: wide, want: "warning: the foreach of step start makes 1025 tasks, but Airflow maps at most 1024"},
		"batch":         {edit: func(f *ir.Flow) { decorate(f.Step("load"), "batch", nil) }, want: "Use @resources or @kubernetes instead."},
		"pull policy":   {edit: kubernetes("image_pull_policy", "Sometimes"), want: `is "Sometimes", not Always`},
		"node selector": {edit: kubernetes("node_selector", "ssd"), want: `"ssd" is not key=value`},
		"labels":        {edit: kubernetes("labels", int64(1)), want: "is not a map of names and values"},
		"tolerations":   {edit: kubernetes("tolerations", []any{map[string]any{"kee": "x"}}), want: "is not what Kubernetes takes"},
		"tolerations, twice": {edit: kubernetes("tolerations", []any{map[string]any{"toleration_seconds": int64(1), "tolerationSeconds": int64(2)}}),
			want: "toleration_seconds and tolerationSeconds are the same"},
		"tolerations map": {edit: kubernetes("tolerations", "x"), want: "is not a list"},
		"secrets":         {edit: kubernetes("secrets", int64(1)), want: "is not a list of names"},
		"ignored":         {edit: kubernetes("use_tmpfs", true), want: "warning: step load: @kubernetes(use_tmpfs) is not acted on"},
		"cpu":             {opt: setting("airflow.cpu", "many"), want: `is "many", not a number`},
		"memory":          {opt: setting("airflow.memory", "many"), want: `is "many", not a whole number`},
	} {
		t.Run(name, func(t *testing.T) {
			f, opt := made(t, "made-foreach-body"), backendtest.Options()
			if c.edit != nil {
				c.edit(f)
			}
			if c.opt != nil {
				c.opt(&opt)
			}
			if got := findings(f, opt); !strings.Contains(got, c.want) {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
	f, opt := made(t, "made-foreach-body"), backendtest.Options()
	wide(f)
	opt.Settings = map[string]string{"airflow.max-map-length": "5000"}
	if got := findings(f, opt); got != "" {
		t.Errorf("with a longer map: %s", got)
	}
}

func TestDAGID(t *testing.T) {
	for _, c := range []struct {
		flow *ir.Flow
		opt  backends.Options
		want string
	}{
		{made(t, "made-linear"), backends.Options{}, "Linear"},
		{made(t, "made-linear"), backends.Options{Name: "other-name"}, "other-name"},
		{made(t, "made-project"), backends.Options{User: "ann@acme.org"}, "fraud_detection.user.ann_acme.org.Decorated"},
	} {
		got, list := airflow.DAGID(c.flow, c.opt)
		if got != c.want || list.HasErrors() {
			t.Errorf("got %s (%v), want %s", got, list, c.want)
		}
		if file := emit(t, c.flow, c.opt); strings.Count(file.Path, ".") != 1 {
			t.Errorf("the file is called %s", file.Path)
		}
	}
}

func BenchmarkEmit(b *testing.B) {
	for _, n := range []int{100, 1000, 10000} {
		f := backendtest.Chain(n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				airflow.Backend{}.Emit(f, backendtest.Options())
			}
		})
	}
}
