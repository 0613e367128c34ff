package argo

import (
	"encoding/json"
	"strconv"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/ir"
)

const (
	// maxItems is how many splits or packs of a foreach a manifest names one by one. Where more are left, all are started,
	// and those with nothing to do end at once.
	maxItems = 200
	// nothingTask is the task of a template that stands for what was taken over. It never runs.
	nothingTask = "taken-over"
	// annotationTaken says of a run which tasks it has taken over that nothing stands for in its state: a JSON list of
	// takenTasks.
	annotationTaken = "mf.run/taken-over"
)

// takenTasks counts the tasks of a step that were taken over and left out.
type takenTasks struct {
	Step  string `json:"step"`
	Tasks int    `json:"tasks"`
}

// finished returns what came of a step for which nothing is started. The end step always is: it records how the run ended.
func (e *emitter) finished(step string) (backends.DoneStep, bool) {
	if e.opt.Done == nil || step == e.graph.End() || e.graph.PathLen(step) > 0 {
		return backends.DoneStep{}, false
	}
	done, ok := e.opt.Done.Steps[step]
	return done, ok
}

// foreachDone reports whether all splits of the step's foreach or gang have finished, so that nothing of its body is emitted.
func (e *emitter) foreachDone(split string) bool {
	left, known := e.leftItems(split)
	return known && len(left) == 0
}

// leftItems returns the splits of a foreach, or the packs of them, that are not finished. It is false where nothing can be
// left out.
func (e *emitter) leftItems(split string) (left []int, known bool) {
	done, ok := e.finished(split)
	if !ok || done.Splits < 1 || len(e.opt.Done.Splits[split]) == 0 {
		return nil, false
	}
	finished, pack := e.opt.Done.Splits[split], e.packs.Splits(split)
	for i := range done.Splits {
		if _, ok := finished[i]; !ok && (len(left) == 0 || left[len(left)-1] != i/pack) {
			left = append(left, i/pack)
		}
	}
	return left, true
}

// someItems returns what is left of a foreach where that is few enough to be named. A gang has all its tasks or none.
func (e *emitter) someItems(split string) ([]int, bool) {
	left, known := e.leftItems(split)
	if !known || len(left) > maxItems || e.graph.Step(split).Next.Kind != ir.Foreach {
		return nil, false
	}
	return left, true
}

// gone reports whether the step lies in a foreach that is not emitted.
func (e *emitter) gone(step string) bool {
	around := e.graph.Foreachs(step)
	return len(around) > 0 && e.foreachDone(around[0])
}

// nothing is a template that starts no pod and succeeds: a DAG whose only task is never run.
func nothing(name string) wfv1.Template {
	return wfv1.Template{Name: name, DAG: &wfv1.DAGTemplate{Tasks: []wfv1.DAGTask{{Name: nothingTask, Template: name, When: "false"}}}}
}

// finishedTemplate stands in for a finished step, with the outputs that it had.
func (e *emitter) finishedTemplate(s *ir.Step, done backends.DoneStep) wfv1.Template {
	t := nothing(e.steps[s.Name])
	name, _ := e.outputOf(s)
	value := ""
	switch name {
	case "":
		return t
	case ir.OutputSplits:
		value = itoa(done.Splits)
	case ir.OutputPacks:
		pack := e.packs.Splits(s.Name)
		value = itoa((done.Splits + pack - 1) / pack)
	case ir.OutputBranch:
		value = done.Branch
	}
	t.Outputs.Parameters = []wfv1.Parameter{{Name: name, ValueFrom: &wfv1.ValueFrom{Expression: "'" + value + "'"}}}
	return t
}

// items names the splits or packs to run.
func items(list []int) []wfv1.Item {
	named := make([]wfv1.Item, len(list))
	for i, n := range list {
		named[i] = wfv1.Item{Value: json.RawMessage(strconv.Itoa(n))}
	}
	return named
}

// takenOver counts by step what was taken over and is not started, in the order of the flow.
func (e *emitter) takenOver() []takenTasks {
	var list []takenTasks
	for _, step := range e.graph.Order() {
		n := 0
		if done, ok := e.finished(step); ok {
			n = done.Tasks
		} else if around := e.graph.Foreachs(step); len(around) > 0 {
			n = e.takenInside(step, around[0])
		}
		if n > 0 {
			list = append(list, takenTasks{Step: step, Tasks: n})
		}
	}
	return list
}

// takenInside counts the step's tasks in the splits of a foreach that are left out.
func (e *emitter) takenInside(step, split string) int {
	_, some := e.someItems(split)
	if !some && !e.foreachDone(split) {
		return 0
	}
	left, _ := e.leftItems(split)
	started, pack := map[int]bool{}, e.packs.Splits(split)
	for _, item := range left {
		started[item] = true
	}
	n := 0
	for index, tasks := range e.opt.Done.Splits[split] {
		if !started[index/pack] {
			n += tasks[step]
		}
	}
	return n
}

// takenAnnotation is the text of annotationTaken; empty where nothing was taken over.
func (e *emitter) takenAnnotation() string {
	list := e.takenOver()
	if len(list) == 0 {
		return ""
	}
	// Names and numbers always have a JSON form.
	text, _ := json.Marshal(list)
	return string(text)
}
