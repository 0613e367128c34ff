package stepfunctions_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/backends/backendtest"
	"github.com/mf-run/mf/backends/stepfunctions"
	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

func TestSuite(t *testing.T) {
	node := startNode(t)
	backendtest.Test(t, stepfunctions.Backend{}, func(t *testing.T, files []backends.File) {
		for _, problem := range node.validate(t, content(t, files, stepfunctions.MachineFile)) {
			t.Error(problem)
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

func emit(t *testing.T, f *ir.Flow, opt backends.Options) []backends.File {
	t.Helper()
	files, list := stepfunctions.Backend{}.Emit(f, opt)
	if list.HasErrors() {
		t.Fatal(list)
	}
	return files
}

func machineOf(t *testing.T, f *ir.Flow) []byte {
	t.Helper()
	return content(t, emit(t, f, backendtest.Options()), stepfunctions.MachineFile)
}

func decorate(s *ir.Step, name string, attributes ir.Attributes) {
	s.Decorators = append(s.Decorators, ir.Decorator{Name: name, Attributes: attributes, Span: s.Span})
}

// A validator that accepts everything would prove nothing.
func TestValidatorRefusesBrokenMachines(t *testing.T) {
	node := startNode(t)
	good := string(machineOf(t, made(t, "made-nested-foreach")))
	if problems := node.validate(t, []byte(good)); len(problems) > 0 {
		t.Fatal(problems)
	}
	for name, edit := range map[string][2]string{
		"unknown target":       {`"Next": "sum_countries"`, `"Next": "sum_planets"`},
		"no start":             {`"StartAt": "country"`, `"StartAt": "county"`},
		"broken expression":    {`{% $states.input.path %}`, `{% $states..input..( %}`},
		"unknown field":        {`"MaxConcurrency": 100`, `"MaxParallel": 100`},
		"unknown type":         {`"Type": "Map"`, `"Type": "Loop"`},
		"no end":               {`"End": true`, `"Comment": "x"`},
		"no resource":          {`"Resource": "arn:aws:states:::batch:submitJob.sync"`, `"Comment": "x"`},
		"JSONPath in JSONata":  {`"Output": {}`, `"ResultPath": "$.x"`},
		"negative failures":    {`"ToleratedFailureCount": 0`, `"ToleratedFailureCount": -1`},
		"unknown mode":         {`"Mode": "DISTRIBUTED"`, `"Mode": "EVERYWHERE"`},
		"next and end":         {`"End": true`, `"End": true, "Next": "end"`},
		"one name, two states": {`"city": {`, `"start": {`},
		"resource is no ARN":   {`arn:aws:states:::batch`, `states:batch`},
		"unreachable state":    {`"Next": "start.foreach"`, `"Next": "sum_countries"`},
	} {
		source := good
		if name == "one name, two states" {
			source = strings.Replace(source, `"StartAt": "city"`, `"StartAt": "start"`, 1)
		}
		broken := strings.Replace(source, edit[0], edit[1], 1)
		if broken == source {
			t.Fatalf("%s: the edit does not apply", name)
		}
		if problems := node.validate(t, []byte(broken)); len(problems) == 0 {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestExecution runs the state machines, with the language's own implementation, and compares the tasks that they start
// with those that the flow has.
func TestExecution(t *testing.T) {
	node := startNode(t)
	features := stepfunctions.Backend{}.Features()
	ran := 0
	for _, c := range backendtest.Cases() {
		g := ir.NewGraph(c.Flow)
		if features.Unsupported(g).HasErrors() {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			how := execution{Name: "of-today", Input: map[string]any{}, Widths: map[string]int{}}
			for i, s := range c.Flow.Steps {
				if s.Next != nil && s.Next.Kind == ir.Foreach {
					how.Widths[s.Name] = 2 + i%3
				}
			}
			jobs, output := node.execute(t, machineOf(t, c.Flow), how)
			checkTasks(t, g, how.Widths, jobs)
			if output != `{"run":"sfn-of-today"}` {
				t.Errorf("the execution's output is %s", output)
			}
		})
		ran++
	}
	if ran < 20 {
		t.Errorf("only %d flows were run", ran)
	}
}

// checkTasks compares jobs with all tasks of a flow, each once and after those that it follows.
func checkTasks(t *testing.T, g *ir.Graph, widths map[string]int, jobs []job) {
	t.Helper()
	done := map[string]bool{}
	for _, j := range jobs {
		command := j.ContainerOverrides.Command
		if command[0] != "mf-task" {
			t.Fatalf("command %q", command)
		}
		task, err := ir.ParseTaskInvocation(command[1:])
		if err != nil {
			t.Fatal(err)
		}
		if task.Flow != g.Flow().Name || task.Run != "sfn-of-today" || task.Attempt != "0" {
			t.Errorf("invocation %+v", task)
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

func environmentOf(j job) map[string]string {
	env := map[string]string{}
	for _, v := range j.ContainerOverrides.Environment {
		env[v.Name] = v.Value
	}
	return env
}

func TestEnvironmentArrivesUnchanged(t *testing.T) {
	node := startNode(t)
	want := map[string]string{}
	vars := map[string]any{}
	for i, value := range []string{
		"", " ", "plain", "it's", `"quoted"`, `back\slash\n`, "two\nlines\r\n", "{% 1 + 1 %}", "{% not closed", "not open %}",
		"{%", "%}", "'%}' + {% x", "$states.input", "ä 漢 🚀", "\u2028", "\x01\x7f", "<&>", "`tick`", "{{x}}", "'", `\u0041`, `\'`,
	} {
		name := fmt.Sprintf("V%02d", i)
		want[name], vars[name] = value, value
	}
	f := made(t, "made-linear")
	decorate(f.Step("start"), "environment", ir.Attributes{"vars": vars})
	definition := machineOf(t, f)
	if problems := node.validate(t, definition); len(problems) > 0 {
		t.Error(problems)
	}
	jobs, _ := node.execute(t, definition, execution{Name: "x"})
	if got := environmentOf(jobs[0]); !maps.Equal(got, want) {
		for name, value := range want {
			if got[name] != value {
				t.Errorf("%s is %q, want %q", name, got[name], value)
			}
		}
	}
}

func TestParameters(t *testing.T) {
	node := startNode(t)
	f := made(t, "made-parameters")
	f.Parameters = append(f.Parameters, ir.Parameter{Name: "key", Option: "key", Type: ir.StringType, Required: true})
	definition := machineOf(t, f)

	jobs, _ := node.execute(t, definition, execution{Name: "x", Input: map[string]any{"parameters": map[string]any{
		"key": "k", "genre": "it's", "count": 7, "ratio": "0.5", "dry": true, "shape": []any{[]any{1, 2}}, "nothing-given": "now"}}})
	want := map[string]string{
		"MF_PARAM_key": "k", "MF_PARAM_genre": "it's", "MF_PARAM_empty": "", "MF_PARAM_text_number": "007", "MF_PARAM_count": "7",
		"MF_PARAM_ratio": "0.5", "MF_PARAM_dry": "true", "MF_PARAM_shape": "[[1,2]]", "MF_PARAM_nothing": "now",
		"MF_PARAM_computed": "", "MF_PARAM_movies": "", "MF_OPTIONAL_PARAMS": "nothing,computed,movies",
	}
	if got := environmentOf(jobs[0]); !maps.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if env := environmentOf(jobs[1]); len(env) > 0 {
		t.Errorf("the second step is told %v", env)
	}

	a := node.ask(t, question{Definition: definition, Execute: &execution{Name: "x", Input: map[string]any{}}})
	if !strings.Contains(a.Error, "key must be given") {
		t.Errorf("without a required parameter: %q", a.Error)
	}
}

func TestForeachOverConstantIsInline(t *testing.T) {
	node := startNode(t)
	for _, c := range []struct {
		width  int
		inline bool
	}{{1, true}, {40, true}, {41, false}} {
		f := made(t, "made-foreach-body")
		value, err := json.Marshal(slices.Repeat([]string{"x"}, c.width))
		if err != nil {
			t.Fatal(err)
		}
		f.Constants = []ir.Constant{{Name: "xs", Type: "<class 'list'>", Value: value}}
		definition := machineOf(t, f)
		if got := bytes.Contains(definition, []byte("INLINE")); got != c.inline {
			t.Errorf("%d splits: inline is %v", c.width, got)
		}
		if got := bytes.Contains(definition, []byte(ir.EnvSplitList)); got == c.inline {
			t.Errorf("%d splits: told to leave a list: %v", c.width, got)
		}
		if problems := node.validate(t, definition); len(problems) > 0 {
			t.Error(problems)
		}
		widths := map[string]int{"start": c.width}
		jobs, _ := node.execute(t, definition, execution{Name: "of-today", Widths: widths})
		checkTasks(t, ir.NewGraph(f), widths, jobs)
	}
}

func TestRetriesPause(t *testing.T) {
	type retrier struct {
		ErrorEquals     []string
		IntervalSeconds int
		MaxAttempts     int
		BackoffRate     float64
	}
	type state struct {
		Retry    []retrier
		Branches []struct {
			States map[string]struct{ Retry []retrier }
		}
	}
	var m struct{ States map[string]state }
	if err := json.Unmarshal(machineOf(t, made(t, "made-retries")), &m); err != nil {
		t.Fatal(err)
	}
	for step, want := range map[string][2]int{"start": {}, "flaky": {4, 90}, "caught": {3, 1}, "both": {5, 1}, "end": {}} {
		retry := m.States[step].Retry
		if shield := m.States[step+".catch"]; shield.Branches != nil {
			retry = shield.Branches[0].States[step].Retry
			if len(shield.Retry) != 1 || shield.Retry[0].ErrorEquals[0] != "Batch.AWSBatchException" || retry[0].MaxAttempts != 0 {
				t.Errorf("%s: %v around %v", step, shield.Retry, retry)
			}
		}
		if want[0] == 0 {
			if len(retry) != 1 {
				t.Errorf("%s: %v", step, retry)
			}
			continue
		}
		if last := retry[len(retry)-1]; len(retry) != 2 || last.ErrorEquals[0] != "States.TaskFailed" ||
			last.MaxAttempts != want[0] || last.IntervalSeconds != want[1] || last.BackoffRate != 1 {
			t.Errorf("%s: %v, want %v", step, retry, want)
		}
	}
}

// TestTries fails jobs and looks at which try the next ones are told: for @catch it counts tries that Batch accepted.
func TestTries(t *testing.T) {
	const failed, refused = "States.TaskFailed", "Batch.AWSBatchException"
	node := startNode(t)
	definition := machineOf(t, made(t, "made-retries"))
	for _, c := range []struct {
		step     string
		failures []string
		want     []string
	}{
		{"flaky", []string{failed, failed, failed, failed}, []string{"0", "0", "0", "0", "0"}},
		{"caught", []string{failed, failed, failed}, []string{"0", "1", "2", "3"}},
		{"caught", []string{refused, refused, failed, failed}, []string{"0", "0", "0", "1", "2"}},
		{"start", []string{refused, refused}, []string{"0", "0", "0"}},
	} {
		jobs, _ := node.execute(t, definition, execution{Name: "x", Failures: map[string][]string{c.step: slices.Clone(c.failures)}})
		var got []string
		for _, j := range jobs {
			task, err := ir.ParseTaskInvocation(j.ContainerOverrides.Command[1:])
			if err != nil {
				t.Fatal(err)
			}
			if task.Step == c.step {
				got = append(got, task.Attempt)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s failing with %v: tries %v, want %v", c.step, c.failures, got, c.want)
		}
	}
	a := node.ask(t, question{Definition: definition, Execute: &execution{Name: "x", Failures: map[string][]string{"end": {failed}}}})
	if a.Error != failed {
		t.Errorf("a step without retries fails with %q", a.Error)
	}
}

func TestLayoutKeepsContent(t *testing.T) {
	definition := machineOf(t, made(t, "made-environment"))
	var compact, again bytes.Buffer
	if err := json.Compact(&compact, definition); err != nil {
		t.Fatal(err)
	}
	if err := json.Indent(&again, definition, "", "  "); err != nil {
		t.Fatal(err)
	}
	if got := len(bytes.Split(again.Bytes(), []byte("\n"))); got <= len(bytes.Split(definition, []byte("\n"))) {
		t.Errorf("short lists are not on one line")
	}
}

// findings of the whole list as text, for tests of messages.
func findings(f *ir.Flow, opt backends.Options) string {
	files, list := stepfunctions.Backend{}.Emit(f, opt)
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
	long := strings.Repeat("x", 81)
	options := func(edit func(*backends.Options)) backends.Options {
		opt := backendtest.Options()
		edit(&opt)
		return opt
	}
	for name, c := range map[string]struct {
		flow *ir.Flow
		edit func(*ir.Flow)
		opt  func(*backends.Options)
		want string
	}{
		"definition too large": {flow: backendtest.Chain(2000), want: "error: the state machine of 2000 steps has"},
		"definition large":     {flow: backendtest.Chain(1600), want: "warning: the state machine of 1600 steps has"},
		"history too long":     {flow: backendtest.Chain(4200), want: "error: a run records 25202 events"},
		"overrides": {edit: func(f *ir.Flow) {
			decorate(f.Step("load"), "environment", ir.Attributes{"vars": map[string]any{"BIG": strings.Repeat("y", 8192)}})
		}, want: "error: step load tells its job 8"},
		"job definition": {opt: func(o *backends.Options) { o.Env = map[string]string{"BIG": strings.Repeat("y", 24<<10)} },
			want: "error: the job definition of step start has"},
		"datastore": {opt: func(o *backends.Options) { o.Datastore = "gs://bucket/x" },
			want: "error: step start uses a foreach, but the datastore gs://bucket/x is not in S3"},
		"flow name":  {edit: func(f *ir.Flow) { f.Name = long }, want: "error: the name " + long + " has 81 bytes"},
		"given name": {opt: func(o *backends.Options) { o.Name = "a b" }, want: `error: the name "a b" is not`},
		"step name": {edit: func(f *ir.Flow) { f.Start, f.Steps[0].Name = long[:73], long[:73] },
			want: "has a name of 81 characters"},
		"odd step name": {edit: func(f *ir.Flow) { f.Start, f.Steps[0].Name = "a/b", "a/b" }, want: "error: step a/b: Step Functions takes none"},
		"collision": {edit: func(f *ir.Flow) {
			f.Steps[3].Next.Targets[0].Step, f.Steps[4].Name = "start.foreach", "start.foreach"
			f.Steps[4].Next.Targets[0].Step = "end"
		}, want: "error: step start needs a state start.foreach"},
		"both days": {edit: func(f *ir.Flow) {
			f.Decorators = []ir.Decorator{{Name: "schedule", Attributes: ir.Attributes{"cron": "0 0 1 * 1"}}}
		}, want: "use one of them"},
		"batch variable": {opt: func(o *backends.Options) { o.Env = map[string]string{"AWS_BATCH_X": "1"} },
			want: "error: the environment variable AWS_BATCH_X"},
		"ignored": {edit: func(f *ir.Flow) {
			decorate(f.Step("load"), "batch", ir.Attributes{"efa": int64(1), "privileged": false})
		},
			want: "warning: step load: @batch(efa) is not acted on"},
		"kubernetes": {edit: func(f *ir.Flow) { decorate(f.Step("load"), "kubernetes", nil) }, want: "Use @resources or @batch instead."},
		"setting":    {opt: func(o *backends.Options) { o.Settings = map[string]string{"step-functions.cpu": "many"} }, want: "is \"many\", not a whole number"},
	} {
		t.Run(name, func(t *testing.T) {
			f := c.flow
			if f == nil {
				f = made(t, "made-foreach-body")
			}
			if c.edit != nil {
				c.edit(f)
			}
			if c.opt == nil {
				c.opt = func(*backends.Options) {}
			}
			if got := findings(f, options(c.opt)); !strings.Contains(got, c.want) {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestJobDefinitions(t *testing.T) {
	f := made(t, "made-foreach-body")
	decorate(f.Step("load"), "batch", ir.Attributes{"image": "acme/load:1", "queue": "fast", "iam_role": "arn:role"})
	decorate(f.Step("train"), "resources", ir.Attributes{"shared_memory": int64(512), "gpu": int64(1)})
	files := emit(t, f, backendtest.Options())
	var definitions []struct {
		JobDefinitionName   string
		ContainerProperties struct{ Image, JobRoleArn string }
	}
	if err := json.Unmarshal(content(t, files, stepfunctions.JobsFile), &definitions); err != nil {
		t.Fatal(err)
	}
	if len(definitions) != 3 || definitions[1].ContainerProperties.Image != "acme/load:1" ||
		definitions[1].ContainerProperties.JobRoleArn != "arn:role" {
		t.Fatalf("definitions %+v", definitions)
	}
	names := map[string]bool{}
	for _, d := range definitions {
		names[d.JobDefinitionName] = true
	}
	jobs, _ := startNode(t).execute(t, content(t, files, stepfunctions.MachineFile),
		execution{Name: "x", Widths: map[string]int{"start": 1}})
	for _, j := range jobs {
		if !names[j.JobDefinition] {
			t.Errorf("%s is of no definition: %s", j.JobName, j.JobDefinition)
		}
		if j.JobName == "EachLong-load" && j.JobQueue != "fast" {
			t.Errorf("%s goes to queue %s", j.JobName, j.JobQueue)
		}
	}
}

func TestMachineName(t *testing.T) {
	project := made(t, "made-project")
	long := made(t, "made-project")
	long.Name = strings.Repeat("Long", 20)
	for _, c := range []struct {
		flow *ir.Flow
		opt  backends.Options
		want string
	}{
		{made(t, "made-linear"), backends.Options{}, "Linear"},
		{made(t, "made-linear"), backends.Options{Name: "other-name"}, "other-name"},
		{project, backends.Options{User: "ann@acme.org"}, "fraud_detection.user.ann_acme.org.Decorated"},
		{project, backends.Options{Production: true}, "fraud_detection.prod.Decorated"},
		{long, backends.Options{Production: true}, "fraud_detection.prod.LongLongLongLongLongLongLongLongLongLongLo-"},
	} {
		got, list := stepfunctions.MachineName(c.flow, c.opt)
		if !strings.HasPrefix(got, c.want) || len(got) > 80 || list.HasErrors() {
			t.Errorf("got %s (%v), want %s", got, list, c.want)
		}
	}
}

func TestEveryLimitHasAWayOut(t *testing.T) {
	for _, f := range []*ir.Flow{backendtest.Chain(2000), backendtest.Chain(4200)} {
		_, list := stepfunctions.Backend{}.Emit(f, backendtest.Options())
		if !slices.ContainsFunc(list, func(d diag.Diagnostic) bool { return d.Detail != "" && d.Severity == diag.Error }) {
			t.Errorf("%v", list)
		}
	}
}

func BenchmarkEmit(b *testing.B) {
	for _, n := range []int{100, 1000, 10000} {
		f := backendtest.Chain(n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				stepfunctions.Backend{}.Emit(f, backendtest.Options())
			}
		})
	}
}
