package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/backends/kubernetes"
	k8slive "github.com/mf-run/mf/backends/kubernetes/live"
	"github.com/mf-run/mf/backends/live"
	"github.com/mf-run/mf/backends/live/cluster"
	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
	"github.com/mf-run/mf/runtime"
	"github.com/mf-run/mf/runtime/local"
)

// The values of the setting kubernetes, which says where the steps with @kubernetes of a run made here run.
const (
	shipAuto   = "auto"
	shipAlways = "always"
	shipNever  = "never"
)

// shipping is the part of a run that goes to a Kubernetes cluster.
type shipping struct {
	cluster *cluster.Cluster
	jobs    *kubernetes.Jobs
	live    *k8slive.Shipper
	session string
	run     *runtime.Run
	ui      *runUI
	// late tells once that logs come late.
	late sync.Once
}

// ships reports whether a step is one for a cluster.
func ships(s *ir.Step) bool { return s.Decorator("kubernetes") != nil }

// askedToShip reports whether the command line says so.
func (s *session) askedToShip() bool {
	return slices.ContainsFunc(s.flags.flow.with, func(spec string) bool {
		name, _, _ := strings.Cut(spec, ":")
		return strings.TrimSpace(name) == "kubernetes"
	})
}

// chooseCluster decides whether steps go to a cluster, and to which: where the run's datastore is one that pods see too, and
// a cluster is configured. It opens nothing. The notes say why steps that could go run here.
func (s *session) chooseCluster() (diag.List, error) {
	first := slices.IndexFunc(s.flow.Steps, ships)
	mode := s.config.get("kubernetes")
	switch {
	case !slices.Contains([]string{shipAuto, shipAlways, shipNever}, mode):
		return nil, s.config.wrong("kubernetes", "auto, always or never")
	case first < 0, s.flags.on.target != "":
		return nil, nil // none, or nothing runs here
	}
	asked := s.askedToShip()
	must := asked || mode == shipAlways
	stay := func(why string) (diag.List, error) {
		switch {
		case asked:
			return nil, usagef("--with kubernetes: %s", why)
		case must:
			return nil, usagef("the setting kubernetes is always (from %s), but %s", s.config.values["kubernetes"].Source, why)
		}
		return diag.List{diag.Warningf(s.flow.Steps[first].Decorator("kubernetes").Span, "decorator-no-effect",
			"@kubernetes has no effect in this run: the step runs on this machine, for %s", why)}, nil
	}
	if mode == shipNever && !asked {
		return stay("the setting kubernetes is never")
	}
	place, err := s.config.site(s.arg.dir())
	if err != nil {
		return nil, err
	}
	if place.here() {
		return stay("the datastore is a folder of this machine (" + place.root + "), which no pod sees; the setting datastore, or MF_DATASTORE, names a shared one")
	}
	found, err := s.app.openCluster(s.config)
	if errors.Is(err, cluster.ErrNone) {
		return stay(err.Error() + "; the setting kubeconfig, or KUBECONFIG, names one")
	}
	if err != nil {
		return nil, err
	}
	s.ship = &shipping{cluster: found}
	return nil, nil
}

// openCluster finds the cluster that the settings name. It asks the cluster nothing.
func (a *app) openCluster(c *config) (*cluster.Cluster, error) {
	return cluster.Open(cluster.Options{
		Kubeconfig: c.get("kubeconfig"), Context: c.get("kube-context"), Agent: "mf/" + version, Env: a.env,
	})
}

// prepareShipping makes ready what goes to the cluster, and asks it whether it may.
func (s *session) prepareShipping(ctx context.Context, r *runtime.Run, opt *local.Options) error {
	k := s.ship
	options, err := s.shippingOptions(r)
	if err != nil {
		return err
	}
	var list diag.List
	k.jobs, list = kubernetes.New(s.graph, options, ships)
	s.app.printDiagnostics(s.arg, list)
	if list.HasErrors() {
		return failed
	}
	var id [5]byte
	_, _ = rand.Read(id[:]) // never fails
	k.session, k.run = hex.EncodeToString(id[:]), r
	storage, err := s.app.storeOptions(s.config)
	if err != nil {
		return err
	}
	k.live, err = k8slive.New(k.cluster, k8slive.Options{
		Session: k.session, Patience: k.jobs.Patience(), Outage: storage.Patience, Abort: abortOf(ctx), Now: s.app.now,
		Notify: func(message string) { k.notify(message) },
	})
	if err != nil {
		return err
	}
	if err := k.live.Check(ctx, k.jobs.Namespaces()...); err != nil {
		return s.shippingError(err)
	}
	opt.Elsewhere, opt.RecordElsewhere = k, s.service == ""
	return nil
}

// shippingError says what else can be done where the cluster is of no use.
func (s *session) shippingError(err error) error {
	if errors.Is(err, context.Canceled) || s.askedToShip() {
		return err
	}
	if errors.Is(err, live.ErrUnavailable) || errors.Is(err, live.ErrDenied) || errors.Is(err, live.ErrNotFound) {
		return fmt.Errorf("%w. Steps with @kubernetes run on the cluster; MF_KUBERNETES=never runs them here", err)
	}
	return err
}

// shippingOptions are the options of a compile, for Jobs.
func (s *session) shippingOptions(r *runtime.Run) (backends.Options, error) {
	settings := map[string]string{}
	for name, v := range s.config.target {
		if strings.HasPrefix(name, "kubernetes.") {
			settings[name] = v.Text
		}
	}
	own, err := pairs("set", s.shippingSet())
	if err != nil {
		return backends.Options{}, err
	}
	for name, text := range own {
		if !strings.HasPrefix(name, "kubernetes.") {
			return backends.Options{}, usagef("--set %s: settings of a run begin with kubernetes.", name)
		}
		settings[name] = text
	}
	env := s.config.taskStorage()
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION"} {
		if text := s.app.env(name); text != "" {
			env[name] = text
		}
	}
	for key, name := range map[string]string{"max-log-size": "MF_MAX_LOG_SIZE", "patience": "MF_PATIENCE"} {
		if v := s.config.values[key]; v.Source != "default" {
			env[name] = v.Text
		}
	}
	service := ""
	if s.service != "" {
		service = cmp.Or(s.config.get("service-internal-url"), s.service)
	}
	return backends.Options{
		Image: s.config.get("image"), TaskImage: s.config.get("task-image"), Branch: s.flags.branch, Production: s.flags.production,
		User: r.User, Tags: r.Tags, Datastore: s.root, ServiceURL: service, Origin: r.Origin, Version: version,
		Settings: settings, Env: env,
	}, nil
}

// shippingSet are the --set flags, which run and resume both have.
func (s *session) shippingSet() []string { return append(slices.Clip(s.flags.set), s.flags.on.set...) }

// Takes implements local.Elsewhere.
func (k *shipping) Takes(s *ir.Step) bool { return ships(s) }

// Run implements local.Elsewhere.
func (k *shipping) Run(ctx context.Context, t *runtime.Task) (local.Ending, error) {
	shown := map[datastore.Stream]*shownLog{datastore.Stdout: {}, datastore.Stderr: {}}
	end, err := k.live.Run(ctx, k.jobs.Job(k.session, t.Invocation()), k8slive.Listener{
		Waits:  func(why string) { k.ui.waits(t, why) },
		Silent: func(err error) { k.silent(err) },
		Gap: func() {
			for _, s := range shown {
				s.tear()
			}
		},
		Line: func(text string) {
			line, marked := runtime.ParseLine(text)
			if marked {
				shown[line.Stream].add(line.Time, line.Text)
			} else if line.Message = repeatsFailure(text); line.Time.IsZero() {
				line.Time = k.run.Now()
			}
			line.Task = t
			k.run.Output(line)
		},
	})
	if err != nil {
		return local.Ending{}, err
	}
	if !end.LogWhole {
		k.catchUp(context.WithoutCancel(ctx), t, shown)
	}
	return local.Ending{Why: end.Why, Exit: end.Exit, Said: lastWords(end.Said)}, nil
}

// repeatsFailure reports whether a line of mf-task's own says what the run says itself at the end.
func repeatsFailure(text string) bool {
	return strings.HasPrefix(text, "mf-task: step ") && strings.Contains(text, " failed: ")
}

// lastWords is the last line of mf-task's own in what a container printed.
func lastWords(said string) string {
	words := ""
	for text := range strings.SplitSeq(said, "\n") {
		if line, marked := runtime.ParseLine(text); !marked && strings.TrimSpace(line.Text) != "" {
			words = strings.TrimPrefix(line.Text, "mf-task: ")
		}
	}
	return words
}

// catchUpTime bounds how long the log of an attempt is read for.
const catchUpTime = 30 * time.Second

// catchUp shows those lines of an attempt that were not: the datastore has them all.
func (k *shipping) catchUp(ctx context.Context, t *runtime.Task, shown map[datastore.Stream]*shownLog) {
	ctx, cancel := context.WithTimeout(ctx, catchUpTime)
	defer cancel()
	for _, stream := range []datastore.Stream{datastore.Stdout, datastore.Stderr} {
		for line, err := range k.run.Store.ReadLog(ctx, t.Ref, t.Attempt, stream) {
			if err != nil {
				return // the log is there all the same: mf logs reads it
			}
			if shown[stream].missing(line.Time, line.Text) {
				k.run.Output(runtime.Line{Task: t, Stream: stream, Time: line.Time, Text: line.Text})
			}
		}
	}
}

func (k *shipping) silent(err error) {
	k.late.Do(func() { k.notify(fmt.Sprintf("what tasks print is shown when they end: %v", err)) })
}

func (k *shipping) notify(message string) {
	if k.ui != nil {
		k.ui.notify(message)
	}
}

// close ends the connection.
func (k *shipping) close() {
	if k != nil && k.live != nil {
		k.live.Close()
	}
}

// describe says what runs where.
func (s *session) describeShipping() string {
	n := 0
	for _, step := range s.flow.Steps {
		if ships(step) {
			n++
		}
	}
	var namespaces []string
	for _, name := range s.ship.jobs.Namespaces() {
		namespaces = append(namespaces, cmp.Or(name, s.ship.cluster.Namespace))
	}
	where := *s.ship.cluster
	where.Namespace = strings.Join(namespaces, ", ")
	return fmt.Sprintf("%d of %s on Kubernetes: %s", n, plural(len(s.flow.Steps), "step"), &where)
}
