package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/runtime"
	"github.com/mf-run/mf/runtime/local"
)

// runUI shows a run: what tasks print on standard output, what happens on standard error, with a live last line on a
// terminal; or, with --json, one event a line on standard output.
type runUI struct {
	app   *app
	flow  string
	run   *runtime.Run
	json  bool
	quiet bool
	color bool
	live  bool
	// shipped is the grace of tasks on a cluster; 0 where there are none.
	shipped time.Duration

	mu       sync.Mutex
	id       string // of the run, once it has one
	progress local.Progress
	started  time.Time
	status   bool // a status line is on the screen
	stop     chan struct{}
	done     sync.WaitGroup
}

func (s *session) newUI(r *runtime.Run) *runUI {
	ui := &runUI{app: s.app, flow: s.flow.Name, run: r, json: s.flags.json, quiet: s.app.flags.quiet,
		color: s.app.colored(s.app.stderr), stop: make(chan struct{})}
	ui.live = !ui.json && !ui.quiet && isTerminal(s.app.stderr) && isTerminal(s.app.stdout)
	ui.started = s.app.now()
	if ui.live {
		ui.done.Go(ui.refresh)
	}
	return ui
}

// refresh keeps the elapsed time moving.
func (ui *runUI) refresh() {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ui.stop:
			return
		case <-ticker.C:
			ui.mu.Lock()
			ui.drawStatus()
			ui.mu.Unlock()
		}
	}
}

func (ui *runUI) close() {
	close(ui.stop)
	ui.done.Wait()
	ui.mu.Lock()
	defer ui.mu.Unlock()
	ui.clearStatus()
}

func (ui *runUI) clearStatus() {
	if ui.status {
		fmt.Fprint(ui.app.stderr, "\r\x1b[K")
		ui.status = false
	}
}

func (ui *runUI) drawStatus() {
	if !ui.live || ui.id == "" {
		return
	}
	ui.clearStatus()
	p := ui.progress
	bar := fmt.Sprintf("%d of %s done, %d running", p.Done, plural(p.Known, "task"), p.Running)
	if p.Failed > 0 {
		bar += fmt.Sprintf(", %d failed", p.Failed)
	}
	elapsed := ui.app.now().Sub(ui.started).Truncate(time.Second)
	fmt.Fprintf(ui.app.stderr, "%s  %s  %s", paint(ui.color, bold, ui.flow+"/"+ui.id), bar, paint(ui.color, dim, elapsed.String()))
	ui.status = true
}

// event writes a JSON line.
func (ui *runUI) event(fields map[string]any) {
	fields["time"] = ui.app.now().UTC().Format("2006-01-02T15:04:05.000Z")
	fields["run"] = ui.id
	data, err := json.Marshal(fields)
	if err != nil {
		return
	}
	_, _ = ui.app.stdout.Write(append(data, '\n'))
}

// print writes lines above the status line.
func (ui *runUI) print(w io.Writer, format string, args ...any) {
	ui.clearStatus()
	fmt.Fprintf(w, format+"\n", args...)
	ui.drawStatus()
}

// label names a task in a line: "score/7" or, inside a foreach, "score/7[2]".
func label(t *runtime.Task) string {
	text := t.Ref.Step + "/" + t.Ref.Task
	if len(t.Path) > 0 {
		text += "[" + t.Path.String() + "]"
	}
	return text
}

// begin says that the run has an id.
func (ui *runUI) begin(id string) error {
	ui.mu.Lock()
	defer ui.mu.Unlock()
	ui.id = id
	if ui.json {
		ui.event(map[string]any{"event": "run-started", "flow": ui.flow, "origin": ui.run.Origin})
		return nil
	}
	if ui.quiet {
		return nil
	}
	what := ""
	if ui.run.Origin != "" {
		what = ", resuming " + ui.run.Origin
	}
	ui.print(ui.app.stderr, "%s", paint(ui.color, bold, "run "+ui.flow+"/"+id)+what)
	return nil
}

// output shows a line that a task printed.
func (ui *runUI) output(l runtime.Line) {
	ui.mu.Lock()
	defer ui.mu.Unlock()
	if l.Message && !ui.json {
		return // told at the end, or with the retry
	}
	name := "parameters"
	if l.Task != nil {
		name = label(l.Task)
	}
	if ui.json {
		ui.event(map[string]any{"event": "output", "task": name, "stream": l.Stream, "text": l.Text})
		return
	}
	w := ui.app.stdout
	if l.Stream == datastore.Stderr {
		w = ui.app.stderr
	}
	ui.print(w, "%s %s", paint(ui.color, dim, "["+name+"]"), l.Text)
}

// TaskStarted implements local.Observer.
func (ui *runUI) TaskStarted(t *runtime.Task) {
	ui.mu.Lock()
	defer ui.mu.Unlock()
	if ui.json {
		ui.event(map[string]any{"event": "task-started", "task": label(t), "attempt": t.Attempt})
	}
}

// TaskCloned implements local.Observer.
func (ui *runUI) TaskCloned(ref, origin datastore.TaskRef) {
	ui.mu.Lock()
	defer ui.mu.Unlock()
	if ui.json {
		ui.event(map[string]any{"event": "task-cloned", "task": ref.Step + "/" + ref.Task, "origin": origin.String()})
	}
}

// TaskEnded implements local.Observer.
func (ui *runUI) TaskEnded(t *runtime.Task, out runtime.Outcome, took, retry time.Duration) {
	ui.mu.Lock()
	defer ui.mu.Unlock()
	if ui.json {
		fields := map[string]any{"event": "task-ended", "task": label(t), "attempt": t.Attempt, "ok": out.Result != nil,
			"seconds": took.Seconds()}
		if out.Failure != nil {
			fields["failure"] = out.Failure.Summary()
		}
		if retry >= 0 {
			fields["retry_in_seconds"] = retry.Seconds()
		}
		ui.event(fields)
		return
	}
	if out.Failure == nil || out.Failure.Stopped {
		return
	}
	switch {
	case out.Result != nil:
		ui.print(ui.app.stderr, "%s %s: %s; @catch lets the run go on", paint(ui.color, yellow, "caught"), label(t), out.Failure.Summary())
	case retry == 0:
		ui.print(ui.app.stderr, "%s %s: %s; retrying", paint(ui.color, yellow, "retry"), label(t), out.Failure.Summary())
	case retry > 0:
		ui.print(ui.app.stderr, "%s %s: %s; retrying in %s", paint(ui.color, yellow, "retry"), label(t), out.Failure.Summary(), retry)
	}
}

// waits tells what keeps a task from starting elsewhere.
func (ui *runUI) waits(t *runtime.Task, why string) {
	ui.mu.Lock()
	defer ui.mu.Unlock()
	switch {
	case ui.json:
		ui.event(map[string]any{"event": "task-waiting", "task": label(t), "reason": why})
	case why != "" && !ui.quiet:
		ui.print(ui.app.stderr, "%s %s: %s", paint(ui.color, yellow, "waiting"), label(t), why)
	}
}

// notify tells of what concerns the place where tasks run.
func (ui *runUI) notify(message string) {
	ui.mu.Lock()
	defer ui.mu.Unlock()
	if ui.json {
		ui.event(map[string]any{"event": "notice", "text": message})
		return
	}
	ui.print(ui.app.stderr, "mf: %s", message)
}

// stopping says that Ctrl-C has been heard.
func (ui *runUI) stopping() {
	ui.mu.Lock()
	defer ui.mu.Unlock()
	if ui.json || ui.id == "" {
		return
	}
	elsewhere := ""
	if ui.shipped > 0 {
		elsewhere = fmt.Sprintf(", those on Kubernetes %s", ui.shipped)
	}
	ui.print(ui.app.stderr, "stopping: running tasks have %s to end%s; Ctrl-C again ends them now", ui.run.Grace, elsewhere)
}

// Progress implements local.Observer.
func (ui *runUI) Progress(p local.Progress) {
	ui.mu.Lock()
	defer ui.mu.Unlock()
	ui.progress = p
	ui.drawStatus()
}

// end says how the run went.
func (ui *runUI) end(report local.Report, err error, took time.Duration, resume string) {
	ui.mu.Lock()
	defer ui.mu.Unlock()
	ui.clearStatus()
	ui.live = false
	status, color := "succeeded", green
	switch {
	case report.Stopped:
		status, color = "interrupted", yellow
	case err != nil || len(report.Failed) > 0:
		status, color = "failed", red
	}
	if ui.json {
		fields := map[string]any{"event": "run-ended", "status": status, "seconds": took.Seconds(),
			"tasks_run": report.Executed, "tasks_reused": report.Cloned}
		if err != nil {
			fields["failure"] = err.Error()
		}
		ui.event(fields)
		return
	}
	ui.failures(report.Failed)
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintf(ui.app.stderr, "%s: %v\n", paint(ui.color, red, "error"), err)
	}
	if ui.quiet && status == "succeeded" {
		return
	}
	rest := ""
	stopped := 0
	for _, f := range report.Failed {
		if f.Failure.Stopped {
			stopped++
		}
	}
	if n := len(report.Failed) - stopped; n > 0 {
		rest = fmt.Sprintf(", %d failed", n)
	}
	if stopped > 0 {
		rest += fmt.Sprintf(", %d stopped", stopped)
	}
	if report.Cloned > 0 {
		rest += fmt.Sprintf(", %d reused", report.Cloned)
	}
	fmt.Fprintf(ui.app.stderr, "%s in %s: %s done%s\n", paint(ui.color, color, "run "+ui.flow+"/"+ui.run.ID+" "+status),
		took.Round(time.Millisecond), plural(report.Executed, "task"), rest)
	if status != "succeeded" {
		fmt.Fprintf(ui.app.stderr, "resume: %s\n", resume)
	}
}

// maxReports is the number of failures that are shown in full; those of further kinds get a line each.
const maxReports = 5

// failures shows why tasks failed, and where to look. Splits of one step that failed in the same way are told once.
func (ui *runUI) failures(failed []local.FailedTask) {
	type kind struct{ step, summary, traceback string }
	var kinds []kind
	tasks := map[kind][]local.FailedTask{}
	failed = slices.Clone(failed)
	slices.SortStableFunc(failed, func(a, b local.FailedTask) int { return compareTasks(a.Task.Ref, b.Task.Ref) })
	for _, f := range failed {
		if f.Failure.Stopped {
			continue
		}
		k := kind{f.Task.Ref.Step, f.Failure.Summary(), f.Failure.Traceback}
		if tasks[k] == nil {
			kinds = append(kinds, k)
		}
		tasks[k] = append(tasks[k], f)
	}
	for i, k := range kinds {
		t := tasks[k][0].Task
		fmt.Fprintf(ui.app.stderr, "%s: step %s failed (%s): %s\n", paint(ui.color, red, "error"), k.step, place(t), k.summary)
		if tb := traceback(k.traceback, tasks[k][0].Failure.Message); tb != "" && i < maxReports {
			fmt.Fprintf(ui.app.stderr, "    %s\n", strings.ReplaceAll(tb, "\n", "\n    "))
		}
		if i < maxReports {
			fmt.Fprintf(ui.app.stderr, "log:    mf logs %s\n", t.Ref)
		}
		if more := len(tasks[k]) - 1; more > 0 {
			fmt.Fprintf(ui.app.stderr, "and %s of step %s failed the same way: mf logs %s/%s/%s\n", plural(more, "more task"), k.step,
				t.Ref.Flow, t.Ref.Run, k.step)
		}
	}
}

// traceback is the text to show below the summary: without its only line where that says the same.
func traceback(text, message string) string {
	text = strings.TrimRight(text, "\n")
	message, _, _ = strings.Cut(message, "\n")
	if first, rest, _ := strings.Cut(text, "\n"); strings.HasSuffix(first, ": "+message) {
		return rest
	}
	return text
}

// place says which task of a step it is: its id, the split with its item, and the attempt if it was not the first.
func place(t *runtime.Task) string {
	text := "task " + t.Ref.Task
	if n := len(t.Path); n > 0 {
		text += ", split " + t.Path.String()
		if frame := t.Stack[len(t.Stack)-1]; frame.HasValue {
			text += ": " + frame.Value
		}
	}
	if t.Attempt > 0 {
		text += fmt.Sprintf(", attempt %d", t.Attempt)
	}
	return text
}
