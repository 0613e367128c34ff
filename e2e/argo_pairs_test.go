//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mf-run/mf/e2e/same"
)

// outcome is how a run ended.
type outcome struct {
	run string
	// failed is set for a run that came to an end, though not a good one; message says why.
	failed  bool
	message string
	view    *same.View
}

// pair is one flow, run on this machine and on Argo.
type pair struct {
	flow       string
	here, argo outcome
	// report says where the two differ, or what else should not be; empty for nowhere. That the flow fails, both here and
	// there, is not reported.
	report string
}

// pairing is what is run both ways.
type pairing struct {
	// write puts the flow's files into an empty folder.
	write func(dir string) error
	// file is the flow's, flow its name, given the flags with its parameters, options those of mf deploy.
	file, flow     string
	given, options []string
	// varying are the artifacts that may differ.
	varying []string
}

// pairs runs flows both ways, some at a time: a pod takes seconds to come and to go, and most of them nobody needs a core.
// What is reported of each is also said at once, for a test that is stopped says nothing else.
func (a *argo) pairs(n int, of func(i int) pairing) []pair {
	a.t.Helper()
	began, folder := time.Now(), a.t.TempDir()
	all := make([]pair, n)
	var wg sync.WaitGroup
	slots := make(chan struct{}, 12)
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			all[i] = a.pair(filepath.Join(folder, fmt.Sprint(i)), of(i))
			if all[i].report != "" {
				a.t.Logf("after %s, flow %s:\n%s", time.Since(began).Round(time.Second), all[i].flow, all[i].report)
			}
		})
	}
	wg.Wait()
	a.t.Logf("%d flows in %s", n, time.Since(began).Round(time.Second))
	return all
}

// pair runs one flow both ways, in folders below dir, and compares.
func (a *argo) pair(dir string, what pairing) pair {
	p := pair{flow: what.flow}
	if err := a.runBoth(&p, dir, what); err != nil {
		p.report = err.Error()
		return p
	}
	found, err := same.Compare(a.t.Context(), p.here.view, p.argo.view, same.Rules{Varying: what.varying})
	if err != nil {
		p.report = err.Error()
		return p
	}
	p.report = same.Report(found, 20)
	if p.here.failed != p.argo.failed {
		p.report += fmt.Sprintf("failed here: %v; on Argo: %v\n", p.here.failed, p.argo.failed)
	}
	if p.report != "" {
		p.report = fmt.Sprintf("%s on Argo against %s here:\n%s%s", p.argo.run, p.here.run, p.report, p.argo.message)
	}
	return p
}

func (a *argo) runBoth(p *pair, dir string, what pairing) (err error) {
	here, there := place{a.t, filepath.Join(dir, "here")}, place{a.t, filepath.Join(dir, "there")}
	for _, in := range []string{here.dir, there.dir} {
		if err := errors.Join(os.MkdirAll(in, 0o755), what.write(in)); err != nil {
			return err
		}
	}
	if p.here, err = runHere(here, what); err == nil {
		p.argo, err = a.runThere(there, what)
	}
	return err
}

func runHere(p place, what pairing) (o outcome, err error) {
	id := filepath.Join(p.dir, "run-id")
	_, stderr, err := p.output(p.env("MF_PYTHON="+metaflowPython(p.t)), mfBinary(p.t), append([]string{"run", what.file, "--run-id-file", id}, what.given...)...)
	data, unread := os.ReadFile(id)
	if unread != nil {
		return o, fmt.Errorf("mf run: %w\n%s", errors.Join(err, unread), tail(stderr))
	}
	o.run, o.failed, o.message = string(data), err != nil, tail(stderr)
	o.view, err = p.view(what.flow, o.run)
	return o, err
}

func (a *argo) runThere(p place, what pairing) (o outcome, err error) {
	name, err := a.try(p, append([]string{"deploy", what.file, "--quiet"}, what.options...)...)
	if err != nil {
		return o, err
	}
	name = strings.TrimPrefix(name, "deployed ")
	if o.run, err = a.try(p, append([]string{"trigger", name, "--quiet"}, what.given...)...); err != nil {
		return o, err
	}
	if o.failed, o.message, err = a.await(o.run); err != nil {
		return o, err
	}
	if o.view, err = same.Read(a.t.Context(), same.Run{Store: a.store(a.t), Flow: what.flow, ID: o.run}); err != nil {
		return o, err
	}
	_, err = a.try(p, "undeploy", name, "--quiet")
	return o, err
}

// try runs mf as somebody who deploys does.
func (a *argo) try(p place, args ...string) (string, error) {
	out, stderr, err := p.output(a.env(p), mfBinary(a.t), args...)
	if err != nil {
		return "", fmt.Errorf("mf %s: %w\n%s", args[0], err, tail(stderr))
	}
	return strings.TrimSpace(out), nil
}

// patience is how long one run may take, with those beside it.
const patience = 15 * time.Minute

// await waits for the end of a run.
func (a *argo) await(run string) (failed bool, message string, err error) {
	ctx, cancel := context.WithTimeout(a.t.Context(), patience)
	defer cancel()
	client := a.cluster.Dynamic().Resource(workflows).Namespace(a.namespace)
	for {
		object, err := client.Get(ctx, strings.TrimPrefix(run, "argo-"), metav1.GetOptions{})
		if err != nil {
			return false, "", err
		}
		w, err := workflowOf(object.Object)
		if err != nil || w.Status.Phase.Completed() {
			return w.Status.Phase != wfv1.WorkflowSucceeded, standing(w), err
		}
		select {
		case <-ctx.Done():
			return false, "", fmt.Errorf("%s has not ended in %s: %s", run, patience, standing(w))
		case <-time.After(time.Second):
		}
	}
}

// standing says what a workflow is, and what in it has not ended well.
func standing(w *wfv1.Workflow) string {
	text := fmt.Sprintf("%s is %s %s\n", w.Name, w.Status.Phase, w.Status.Message)
	for _, node := range w.Status.Nodes {
		if !node.Fulfilled() || node.FailedOrError() {
			text += fmt.Sprintf("  %s (%s): %s %s\n", node.Name, node.Type, node.Phase, node.Message)
		}
	}
	return text
}
