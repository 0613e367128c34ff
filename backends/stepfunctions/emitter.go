package stepfunctions

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

const (
	splitSuffix   = ".split"
	foreachSuffix = ".foreach"
	catchSuffix   = ".catch"

	// runPrefix and an execution's name are the id of its run: Metaflow's for Step Functions.
	runPrefix = "sfn-"

	// inlineMost is the widest foreach that becomes an inline Map: it runs no more at once.
	inlineMost = 40
	// distributedMost is how many executions a Distributed Map runs at once.
	distributedMost = 10_000
)

// emitter holds one compile.
type emitter struct {
	graph    *ir.Graph
	flow     *ir.Flow
	opt      backends.Options
	settings []backends.Setting
	project  *backends.Project
	name     string
	store    store
	jobs     jobs
	list     diag.List
}

func newEmitter(g *ir.Graph, opt backends.Options, settings []backends.Setting) *emitter {
	e := &emitter{graph: g, flow: g.Flow(), opt: opt.WithDefaults(), settings: settings}
	var list diag.List
	e.project, list = backends.ProjectOf(e.flow, e.opt)
	e.list = append(e.list, list...)
	e.name, list = machineName(e.flow, e.project, e.opt)
	e.list = append(e.list, list...)
	e.store = parseStore(e.opt.Datastore)
	e.jobs = e.newJobs()
	e.checkStepNames()
	return e
}

func (e *emitter) errorf(span diag.Span, code, format string, args ...any) {
	e.list = append(e.list, diag.Errorf(span, code, format, args...))
}

func (e *emitter) setting(name string) string { return e.opt.Setting(e.settings, name) }

func (e *emitter) intSetting(name string) int64 {
	n, list := e.opt.IntSetting(e.settings, name)
	e.list = append(e.list, list...)
	return n
}

// scope is where states stand: at the top, or in the body of a foreach.
type scope struct {
	// run and path are the run's id and the split path of the tasks.
	run, path text
	// output is what a state hands on: the run and path of a body's input, nothing at the top, where the context has all.
	output any
}

// nothing is the empty output, in place of Batch's long description of the finished job.
var nothing = map[string]string{}

func topScope() scope {
	return scope{run: join(literal(runPrefix), code("$states.context.Execution.Name")), output: nothing}
}

// bodyScope reads from the input, because inside a Distributed Map the context is that of the child execution.
func bodyScope() scope {
	return scope{run: code("$states.input.run"), path: code("$states.input.path"), output: expression("$states.input")}
}

// stateMachine returns the whole definition and checks what its executions will record.
func (e *emitter) stateMachine() machine {
	top := topScope()
	m, load := e.sequence(e.graph.Start(), "", top)
	// What a finished execution shows to whoever started it.
	m.States[len(m.States)-1].then.Output = map[string]string{"run": top.run.String()}
	e.checkHistory(backends.FlowSpan(e.flow), "a run", load)
	m.Comment = fmt.Sprintf("Flow %s, made by mf %s from %s", e.flow.Name, e.opt.Version, e.flow.Source.File)
	m.QueryLanguage = "JSONata"
	return m
}

// sequence returns the states from a step up to, and without, another (to the end of the flow for ""), and what one pass
// through them adds to the history of the execution.
func (e *emitter) sequence(from, until string, at scope) (machine, load) {
	m := machine{StartAt: stateName(e.graph.Step(from))}
	var total load
	for name := from; ; {
		s := e.graph.Step(name)
		t, cost := e.task(s, at)
		total = total.plus(cost)
		state := namedState{s.Name, t, &t.transition}
		if catches(s) {
			p := shield(s, t, at)
			state = namedState{stateName(s), p, &p.transition}
			total.sure += eventsOfParallel
		}
		m.States = append(m.States, state)
		name = ""
		switch {
		case s.Next == nil:
		case s.Next.Kind == ir.Split || s.Next.Kind == ir.Foreach:
			name = e.graph.MatchingJoin(s.Name)
			between, cost := e.fan(s, t, name, at)
			total = total.plus(cost)
			state.then.Next = between.name
			m.States = append(m.States, between)
		default:
			if name = s.Next.Targets[0].Step; name != until {
				state.then.Next = stateName(e.graph.Step(name))
			}
		}
		e.checkOverrides(s, t.Arguments.ContainerOverrides)
		if name == "" || name == until {
			state.then.End, state.then.Output = true, nothing
			return m, total
		}
	}
}

// shield puts the task of a step with @catch into a Parallel state of one branch. @catch goes by the number of the try,
// which is the task state's count of retries. Jobs that Batch does not accept must not count: they are tried again
// outside, where the count inside begins anew.
func shield(s *ir.Step, t *task, at scope) *parallel {
	p := &parallel{
		Type:       "Parallel",
		Branches:   []machine{{StartAt: s.Name, States: states{{s.Name, t, &t.transition}}}},
		Retry:      t.Retry[:1],
		transition: transition{Output: at.output},
	}
	t.Retry = append([]retrier{{ErrorEquals: p.Retry[0].ErrorEquals}}, t.Retry[1:]...)
	t.End, t.Output = true, nothing
	return p
}

func catches(s *ir.Step) bool {
	_, _, ok := s.Catch()
	return ok
}

// stateName is the name of the state with which a step begins.
func stateName(s *ir.Step) string {
	if catches(s) {
		return s.Name + catchSuffix
	}
	return s.Name
}

// fan returns the state that runs what lies between a splitting step, whose task is t, and its join.
func (e *emitter) fan(s *ir.Step, t *task, join string, at scope) (namedState, load) {
	then := transition{Output: at.output, Next: stateName(e.graph.Step(join))}
	if s.Next.Kind == ir.Foreach {
		m, cost := e.foreach(s, join, at)
		m.transition = then
		if m.ItemReader != nil {
			o := &t.Arguments.ContainerOverrides
			o.Environment = append(o.Environment, keyValue{ir.EnvSplitList, splitList(e.flow.Name, s.Name, at).String()})
		}
		return namedState{s.Name + foreachSuffix, m, &m.transition}, cost
	}
	p := &parallel{Type: "Parallel", transition: then}
	total := load{sure: eventsOfParallel}
	for _, target := range s.Next.Targets {
		branch, cost := e.sequence(target.Step, join, at)
		total = total.plus(cost)
		p.Branches = append(p.Branches, branch)
	}
	return namedState{s.Name + splitSuffix, p, &p.transition}, total
}

// foreach returns the Map state over the splits of a step.
func (e *emitter) foreach(s *ir.Step, join string, at scope) (*mapState, load) {
	body, each := e.sequence(s.Next.Targets[0].Step, join, bodyScope())
	m := &mapState{
		Type:         "Map",
		Comment:      "One for each of " + s.Next.Foreach,
		ItemSelector: map[string]string{"run": at.run.String(), "path": childPath(at.path).String()},
	}
	if n, known := e.knownSplits(s); known && n <= inlineMost {
		if total := each.plus(load{sure: eventsOfIteration}).times(n).plus(load{sure: eventsOfMap}); total.sure <= inlineEvents {
			for i := range n {
				m.Items = append(m.Items, i)
			}
			m.MaxConcurrency = min(e.opt.MaxWorkers, inlineMost)
			body.ProcessorConfig = &processorConfig{Mode: "INLINE"}
			m.ItemProcessor = body
			return m, total
		}
	}
	e.checkHistory(s.Next.Span, fmt.Sprintf("each split of step %s", s.Name), each)
	e.checkStore(s)
	m.ItemReader = &itemReader{
		Resource:     "arn:" + e.setting(setPartition) + ":states:::s3:getObject",
		ReaderConfig: map[string]string{"InputType": "JSON"},
	}
	m.ItemReader.Arguments.Bucket = e.store.bucket
	m.ItemReader.Arguments.Key = e.store.key(splitList(e.flow.Name, s.Name, at)).String()
	m.MaxConcurrency = min(e.opt.MaxWorkers, distributedMost)
	m.ToleratedFailureCount = new(int)
	body.ProcessorConfig = &processorConfig{Mode: "DISTRIBUTED", ExecutionType: "STANDARD"}
	m.ItemProcessor = body
	return m, load{sure: eventsOfMap}
}

// childPath is the split path of one item of a Map state.
func childPath(parent text) text {
	item := code("$states.context.Map.Item.Value")
	if len(parent) == 0 {
		return code("$string($states.context.Map.Item.Value)")
	}
	return join(parent, literal(","), item)
}

// knownSplits returns the width of a foreach over a constant of the flow, which no step can change.
func (e *emitter) knownSplits(s *ir.Step) (int, bool) {
	for _, c := range e.flow.Constants {
		if c.Name != s.Next.Foreach {
			continue
		}
		var items []json.RawMessage
		if json.Unmarshal(c.Value, &items) != nil || len(items) == 0 {
			return 0, false
		}
		return len(items), true
	}
	return 0, false
}

// listFolder is the folder below the root of the datastore that holds the lists of splits. No flow can have its name.
const listFolder = "mf.splits"

// splitList is the key, below the root of the datastore, of the JSON array [0,1,2,…] that the task of a splitting step
// leaves and the Map state behind it reads:
//
//	mf.splits/<flow>/<run>/<step>/path=<split path of the task, such as 3,0>.json
//
// It depends on nothing else, so that the task (which is told it as ir.EnvSplitList) and the Map agree without a word.
func splitList(flow, step string, at scope) text {
	return join(literal(listFolder+"/"+flow+"/"), at.run, literal("/"+step+"/path="), at.path, literal(".json"))
}

// store is the place of the datastore in S3.
type store struct{ bucket, prefix string }

// parseStore reads s3://bucket/prefix; the zero store for anything else.
func parseStore(url string) store {
	rest, ok := strings.CutPrefix(url, "s3://")
	if !ok {
		return store{}
	}
	bucket, prefix, _ := strings.Cut(rest, "/")
	if prefix = strings.Trim(prefix, "/"); prefix != "" {
		prefix += "/"
	}
	return store{bucket, prefix}
}

func (s store) key(below text) text { return join(literal(s.prefix), below) }

func (e *emitter) checkStore(s *ir.Step) {
	if e.store.bucket == "" {
		e.list = append(e.list, diag.Errorf(s.Next.Span, "datastore-not-s3",
			"step %s uses a foreach, but the datastore %s is not in S3", s.Name, e.opt.Datastore).
			WithDetail("Step Functions reads the list of splits from S3. Use a datastore such as s3://bucket/prefix."))
	}
}

// render writes JSON with short lists on one line.
func (e *emitter) render(v any) []byte {
	var b bytes.Buffer
	if err := writeJSON(&b, v); err != nil {
		e.errorf(backends.FlowSpan(e.flow), "bug-in-mf", "the emitted objects have no JSON form, a bug in mf: %v", err)
		return nil
	}
	return indent(b.Bytes())
}
