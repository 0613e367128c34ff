package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mf-run/mf/cmd/internal/stores"
	"github.com/mf-run/mf/cmd/internal/tasktool"
	"github.com/mf-run/mf/ir"
	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/runtime"
	"github.com/mf-run/mf/runtime/hook"
	"github.com/mf-run/mf/runtime/notify"
)

// envPagerDutyURL is where PagerDuty's API is.
const envPagerDutyURL = "MF_NOTIFY_PAGERDUTY_URL"

// exit does what is to be done when a run has ended: it records the outcome that no task could, calls the exit hooks, and
// notifies. One that fails keeps none of the others from being done.
func (p *program) exit(ctx context.Context, args []string) error {
	inv, err := ir.ParseExitInvocation(args)
	if err != nil {
		return &tasktool.UsageError{Message: err.Error()}
	}
	s, err := p.settings()
	if err != nil {
		return &tasktool.UsageError{Message: err.Error()}
	}
	on := p.env(ir.EnvNotifyOn)
	if on != "" && on != ir.NotifyError && on != ir.NotifySuccess && on != ir.NotifyBoth {
		return &tasktool.UsageError{Message: fmt.Sprintf("%s=%q is not %s, %s or %s", ir.EnvNotifyOn, on,
			ir.NotifyError, ir.NotifySuccess, ir.NotifyBoth)}
	}
	targets := p.takeTargets()
	tmp, err := tempDir()
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	e := &ending{work: &work{program: p, set: s, tmp: tmp}, inv: inv, on: on, targets: targets}
	e.req.Flow, e.req.Run = inv.Flow, inv.Run
	defer e.close(ctx)
	return e.perform(ctx)
}

// takeTargets reads whom to notify, and takes it out of the environment that hooks see.
func (p *program) takeTargets() notify.Targets {
	t := notify.Targets{
		Slack: p.env(ir.EnvNotifySlack), PagerDuty: p.env(ir.EnvNotifyPagerDuty), Webhook: p.env(ir.EnvNotifyWebhook),
		PagerDutyURL: p.env(envPagerDutyURL),
	}
	p.environ = slices.DeleteFunc(slices.Clone(p.environ), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return name == ir.EnvNotifySlack || name == ir.EnvNotifyPagerDuty || name == ir.EnvNotifyWebhook
	})
	return t
}

// ending is one exit invocation.
type ending struct {
	*work
	inv     ir.ExitInvocation
	on      string
	targets notify.Targets
	run     *runtime.Run
}

func (e *ending) success() bool { return strings.EqualFold(e.inv.Status, "Succeeded") }

func (e *ending) perform(ctx context.Context) error {
	failed := false
	check := func(err error) {
		if err != nil {
			failed = true
			e.warn("%v", err)
		}
	}
	// What kept the run from ending well may keep its code from being read; the rest is done all the same.
	check(e.load(ctx))
	failure := ""
	if !e.success() {
		failure = cmp.Or(failureOf(e.env(ir.EnvFailures)), "no task could say why")
	}
	check(e.record(ctx, failure))
	if e.run != nil {
		hooks, list := e.flow.ExitHooks()
		if list.HasErrors() {
			check(list)
		}
		for _, h := range hooks {
			if h.Success == e.success() && ctx.Err() == nil {
				check(e.call(ctx, h))
			}
		}
	}
	check(e.notify(ctx, failure))
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("not all that was to be done at the run's end was done: %w", ctx.Err())
	case failed:
		return errFailed
	}
	return nil
}

// load reads the flow and prepares what hooks need.
func (e *ending) load(ctx context.Context) error {
	if err := e.openStore(ctx); err != nil {
		return err
	}
	if err := e.readFlow(ctx); err != nil {
		return err
	}
	r, err := e.newRun()
	if err != nil {
		return err
	}
	e.run = r
	return nil
}

// record says in the metadata service how the run ended, where nobody else has: a task that was lost, or never began, says
// nothing.
func (e *ending) record(ctx context.Context, failure string) error {
	if e.set.service == "" {
		return nil
	}
	client, err := stores.OpenService(e.set.service, e.env, e.storeOptions())
	if err != nil {
		return fmt.Errorf("opening the metadata service (%s): %w", ir.EnvServiceURL, err)
	}
	return e.recordIn(ctx, client, failure)
}

// outcomes is what is needed of a metadata service.
type outcomes interface {
	Run(ctx context.Context, flow, run string) (metadata.Run, error)
	CreateRun(ctx context.Context, run metadata.Run) (metadata.Run, error)
	UpdateRun(ctx context.Context, run metadata.Run) error
}

func (e *ending) recordIn(ctx context.Context, service outcomes, failure string) error {
	known, err := service.Run(ctx, e.inv.Flow, e.inv.Run)
	switch {
	case errors.Is(err, metadata.ErrNotFound):
		if _, err = service.CreateRun(ctx, e.row()); err != nil && !errors.Is(err, metadata.ErrExists) {
			return fmt.Errorf("registering the run: %w", err)
		}
	case err != nil:
		return fmt.Errorf("reading how the run stands: %w", err)
	case known.FinishedMs != 0:
		return nil
	}
	fate := metadata.Run{FlowID: e.inv.Flow, RunID: e.inv.Run, Status: metadata.Succeeded, FinishedMs: e.now().UnixMilli()}
	if !e.success() {
		fate.Status = metadata.Failed
		fate.Failure = fmt.Sprintf("%s: %s: %s", cmp.Or(e.set.runtime, "the engine"), e.inv.Status, failure)
	}
	if err := service.UpdateRun(ctx, fate); err != nil {
		return fmt.Errorf("recording how the run ended: %w", err)
	}
	return nil
}

// row registers a run of which no task has begun.
func (e *ending) row() metadata.Run {
	if e.run != nil {
		return e.run.Rows.Run(e.inv.Flow, e.inv.Run)
	}
	rows := metadata.Env{
		User: e.set.user, Runtime: e.set.runtime, ProductionToken: e.set.token, MetaflowVersion: runtime.MetaflowVersion,
		Tags: e.set.tags, OriginRun: e.set.origin,
	}
	return rows.Run(e.inv.Flow, e.inv.Run)
}

// call runs one hook.
func (e *ending) call(ctx context.Context, h ir.ExitHook) error {
	status := "failed"
	if e.success() {
		status = "succeeded"
	}
	r := &hook.Runner{
		Flow: e.inv.Flow, Run: e.inv.Run, Dir: e.set.code, Environ: e.environ, Stdout: e.stdout, Stderr: e.stderr, Grace: e.set.grace,
		Env: map[string]string{
			"MF_FLOW": e.inv.Flow, "MF_RUN": e.inv.Run, "MF_PATHSPEC": e.inv.Flow + "/" + e.inv.Run, "MF_STATUS": status,
		},
	}
	for name, value := range e.run.TaskEnv {
		r.Env[name] = value
	}
	if e.flow.Source.Language == ir.Python {
		if e.python == nil {
			e.python = e.startPython(ctx, e.set, e.flow, filepath.Join(e.set.code, filepath.FromSlash(e.flow.Source.File)), e.tmp)
		}
		r.Python = e.python
	}
	return r.Call(ctx, h)
}

// notify tells those who are to be told.
func (e *ending) notify(ctx context.Context, failure string) error {
	if e.on == "" || e.on == ir.NotifyError && e.success() || e.on == ir.NotifySuccess && !e.success() {
		return nil
	}
	if e.targets.None() {
		return fmt.Errorf("%s is %q, but nobody is to be notified: set one of %s, %s and %s", ir.EnvNotifyOn, e.on,
			ir.EnvNotifySlack, ir.EnvNotifyPagerDuty, ir.EnvNotifyWebhook)
	}
	o := notify.Outcome{
		Flow: e.inv.Flow, Run: e.inv.Run, Success: e.success(), Status: e.inv.Status, Engine: e.set.runtime, Failure: failure,
		Page: e.env(ir.EnvRunURL),
	}
	if e.run != nil && e.run.Project != nil {
		o.Project, o.Branch = e.run.Project.Name, e.run.Project.Branch
	}
	return errors.Join(e.targets.Tell(ctx, &notify.Poster{}, o)...)
}
