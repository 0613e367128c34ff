package stepfunctions

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

const (
	// taskProgram is mf-task, found on the image's PATH.
	taskProgram = "mf-task"
	// uncounted is the attempt that tasks without @catch are told: the datastore alone numbers theirs, for Step Functions
	// also counts jobs that Batch did not accept.
	uncounted = "0"
	// retryCount is the number of the try, which decides what @catch does. See shield.
	retryCount = "$string($states.context.State.RetryCount)"
	// timeoutGrace is how much longer than @timeout a job may run: the task ends itself in time and can still record
	// that it did.
	timeoutGrace = 5 * time.Minute
	// longestName is the longest name of a job or job definition.
	longestName = 128
)

// task returns the state that runs one step's task, without what comes next, and what it adds to the history.
func (e *emitter) task(s *ir.Step, at scope) (*task, load) {
	t := &task{
		Type:     "Task",
		Comment:  firstLine(s.Doc),
		Resource: "arn:" + e.setting(setPartition) + ":states:::batch:submitJob.sync",
		Arguments: submitJob{
			JobName:       jobName(e.flow.Name + "-" + s.Name),
			JobQueue:      e.queue(s),
			JobDefinition: e.jobDefinition(s),
			ContainerOverrides: overrides{
				Command:              command(e.flow.Name, s, at),
				Environment:          e.environment(s),
				ResourceRequirements: e.requirements(s),
			},
		},
		Retry:      retriers(s),
		transition: transition{Output: at.output},
	}
	if limit := s.Timeout(); limit > 0 {
		seconds := int64((limit + timeoutGrace + time.Second - 1) / time.Second)
		t.Arguments.Timeout = &jobTimeout{seconds}
	}
	e.ignored(s)
	_, attempts := s.Attempts()
	return t, load{sure: eventsOfTask, retries: eventsOfRetry * (attempts - 1)}
}

func command(flow string, s *ir.Step, at scope) []string {
	t := ir.TaskInvocation{
		Flow: literal(flow).String(), Run: at.run.String(), Step: literal(s.Name).String(), Path: at.path.String(),
		Attempt: uncounted,
	}
	if catches(s) {
		t.Attempt = expression(retryCount)
	}
	return append([]string{taskProgram}, t.Args()...)
}

// environment is what differs from the job definition: @environment, and in the start step the run's parameters, which it
// alone stores.
func (e *emitter) environment(s *ir.Step) []keyValue {
	vars, list := backends.StepEnvironment(s, e.jobs.environment, e.opt)
	e.list = append(e.list, list...)
	var env []keyValue
	for _, v := range vars {
		e.checkVariable(s.Decorator("environment").Span, v.Name)
		env = append(env, keyValue{v.Name, literal(v.Value).String()})
	}
	if s.Name != e.graph.Start() {
		return env
	}
	for i := range e.flow.Parameters {
		p := &e.flow.Parameters[i]
		env = append(env, keyValue{ir.EnvParameterPrefix + p.Name, parameter(p)})
	}
	if optional := backends.OptionalParameters(e.flow); optional != "" {
		env = append(env, keyValue{ir.EnvOptionalParameters, literal(optional).String()})
	}
	return env
}

// parameter is the value that the execution's input gives, as text, or the default.
func parameter(p *ir.Parameter) string {
	given := "$states.input.parameters." + field(p.Option)
	fallback, known := backends.DefaultText(p)
	otherwise := quote(fallback)
	if !known && backends.MustBeGiven(p) {
		otherwise = "$error(" + quote("the input's parameters."+p.Option+" must be given") + ")"
	}
	return expression("$exists(" + given + ") ? $string(" + given + ") : " + otherwise)
}

// requirements is what a step asks for itself; the job definition has the rest.
func (e *emitter) requirements(s *ir.Step) []requirement {
	if !backends.AsksForResources(s) {
		return nil
	}
	r := s.Resources()
	list := []requirement{
		{"VCPU", strconv.FormatInt(int64(math.Ceil(max(r.CPU, 1))), 10)},
		{"MEMORY", strconv.FormatInt(max(r.MemoryMB, leastMemory), 10)},
	}
	if r.GPU > 0 {
		list = append(list, requirement{"GPU", strconv.FormatInt(r.GPU, 10)})
	}
	return list
}

// leastMemory is the least that Batch gives a job, in MiB.
const leastMemory = 4

// retriers pauses between attempts, which Batch's own retries do not. Jobs that Batch did not accept (it takes 50 a
// second) are tried again on their own account.
func retriers(s *ir.Step) []retrier {
	list := []retrier{{
		ErrorEquals: []string{"Batch.AWSBatchException"}, IntervalSeconds: 2, MaxAttempts: 10, BackoffRate: 2,
		MaxDelaySeconds: 60, JitterStrategy: "FULL",
	}}
	_, attempts := s.Attempts()
	if attempts <= 1 {
		return list
	}
	_, pause := s.Retry()
	return append(list, retrier{
		ErrorEquals:     []string{"States.TaskFailed"},
		IntervalSeconds: max(int64((pause+time.Second-1)/time.Second), 1),
		MaxAttempts:     attempts - 1,
		BackoffRate:     1,
	})
}

func (e *emitter) queue(s *ir.Step) string {
	if d := s.Decorator("batch"); d != nil {
		if queue := d.Attributes.String("queue", ""); queue != "" {
			return literal(queue).String()
		}
	}
	return literal(e.setting(setQueue)).String()
}

// unread are attributes of @batch that are not acted on.
var unread = []string{
	"max_swap", "swappiness", "inferentia", "trainium", "efa", "host_volumes", "efs_volumes", "use_tmpfs", "tmpfs_size",
	"aws_batch_tags", "ephemeral_storage", "log_driver", "log_options", "executable", "privileged",
}

// ignored warns of what a step asks for in vain.
func (e *emitter) ignored(s *ir.Step) {
	warn := func(d *ir.Decorator, attribute string) {
		e.list = append(e.list, diag.Warningf(d.Span, "ignored-attribute",
			"step %s: @%s(%s) is not acted on by step-functions", s.Name, d.Name, attribute))
	}
	if d := s.Decorator("resources"); d != nil && d.Attributes["disk"] != nil {
		warn(d, "disk")
	}
	d := s.Decorator("batch")
	if d == nil {
		return
	}
	for _, name := range unread {
		switch v := d.Attributes[name].(type) {
		case nil:
		case bool:
			if v {
				warn(d, name)
			}
		default:
			warn(d, name)
		}
	}
}

func firstLine(doc string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(doc), "\n")
	return strings.TrimSpace(line)
}
