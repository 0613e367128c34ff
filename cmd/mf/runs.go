package main

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/runtime"
)

// sortTasks orders the tasks of a run as they were made: by number or, where they have names, by when their steps began.
func (r *records) sortTasks(ctx context.Context, p pathspec, refs []datastore.TaskRef) error {
	began := map[string]int64{}
	if slices.ContainsFunc(refs, func(ref datastore.TaskRef) bool { return !numbered(ref.Task) }) {
		tasks, err := r.meta.Tasks(ctx, p.flow, p.run, p.step)
		if err != nil {
			return fmt.Errorf("listing the tasks of %s/%s: %w", p.flow, p.run, err)
		}
		for _, t := range tasks {
			if first, ok := began[t.StepName]; !ok || t.TsEpoch < first {
				began[t.StepName] = t.TsEpoch
			}
		}
	}
	slices.SortFunc(refs, func(a, b datastore.TaskRef) int {
		return cmp.Or(cmp.Compare(began[a.Step], began[b.Step]), compareTasks(a, b))
	})
	return nil
}

// compareTasks orders tasks by number, or by step and name.
func compareTasks(a, b datastore.TaskRef) int {
	if numbered(a.Task) && numbered(b.Task) {
		return compareIDs(a.Task, b.Task)
	}
	return cmp.Or(cmp.Compare(a.Step, b.Step), compareIDs(a.Task, b.Task))
}

func numbered(id string) bool {
	_, err := strconv.Atoi(id)
	return err == nil
}

var idParts = regexp.MustCompile(`\d+|\D+`)

// compareIDs orders ids by the numbers in them: t-9 comes before t-10.
func compareIDs(a, b string) int {
	return slices.CompareFunc(idParts.FindAllString(a, -1), idParts.FindAllString(b, -1), func(a, b string) int {
		x, errX := strconv.Atoi(a)
		y, errY := strconv.Atoi(b)
		if errX == nil && errY == nil {
			return cmp.Compare(x, y)
		}
		return cmp.Compare(a, b)
	})
}

// runView is a run as mf runs shows it.
type runView struct {
	Flow    string    `json:"flow"`
	Run     string    `json:"run"`
	Status  string    `json:"status"`
	Started time.Time `json:"started"`
	Seconds float64   `json:"seconds"`
	User    string    `json:"user"`
	Tags    []string  `json:"tags"`
	Origin  string    `json:"origin,omitempty"`
	Failure string    `json:"failure,omitempty"`
}

func (a *app) view(run metadata.Run) runView {
	now := a.now()
	return runView{run.FlowID, run.RunID, runStatus(run, now), time.UnixMilli(run.TsEpoch).UTC(),
		runTime(run, now).Seconds(), run.UserName, append([]string{}, run.Tags...), run.Origin, run.Failure}
}

func (a *app) runsCommand() *cobra.Command {
	var asJSON bool
	var limit int
	var status string
	var tags []string
	cmd := &cobra.Command{
		Use: "runs [FLOW]", Short: "List the runs here, newest first", Args: atMost("FLOW"),
		Long: "List runs, newest first: those made in this folder or, with a metadata service, those of the team. FLOW is a flow's\n" +
			"name or its file; without a metadata service, runs of engines are found where it is given.",
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	cmd.Flags().IntVar(&limit, "limit", 20, "at most so many; 0 for all")
	cmd.Flags().StringVar(&status, "status", "", "only those: running, succeeded, failed, interrupted, lost")
	cmd.Flags().StringArrayVar(&tags, "tag", nil, "only those with the tag; may be repeated")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		flow := ""
		if len(args) == 1 {
			flow = args[0]
		}
		return a.listRuns(cmd.Context(), flow, status, tags, limit, asJSON)
	}
	return cmd
}

func (a *app) listRuns(ctx context.Context, flow, status string, tags []string, limit int, asJSON bool) error {
	dir := "."
	if arg, err := parseFlowArg(flow); err == nil {
		dir = arg.dir()
		c, err := a.loadConfig(dir)
		if err != nil {
			return err
		}
		loaded, err := a.mustLoad(ctx, c, arg, flowFlags{}, nil, false)
		if err != nil {
			return err
		}
		flow = loaded.Name
	}
	rec, err := a.openRecords(ctx, dir)
	if err != nil {
		return err
	}
	defer rec.close()
	if flow != "" {
		if err := rec.adoptFlow(ctx, flow); err != nil {
			return err
		}
	}
	runs, err := rec.meta.Runs(ctx, metadata.RunQuery{FlowID: flow, Tags: tags})
	if err != nil {
		return fmt.Errorf("listing the runs: %w", err)
	}
	views := []runView{}
	for _, run := range runs {
		if err := rec.derive(ctx, &run, a.now()); err != nil {
			return err
		}
		v := a.view(run)
		if status != "" && v.Status != status {
			continue
		}
		if views = append(views, v); limit > 0 && len(views) == limit {
			break
		}
	}
	if asJSON {
		return a.writeJSON(views)
	}
	if !a.flags.quiet && len(views) == 0 {
		fmt.Fprintln(a.stderr, "no runs")
	}
	if !a.flags.quiet && flow == "" && rec.adopts() {
		fmt.Fprintln(a.stderr, "runs of engines are listed flow by flow: mf runs FLOW")
	}
	if len(views) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	columns := []string{"RUN", "STATUS", "STARTED", "TOOK", "TAGS"}
	if rec.service != "" {
		columns = slices.Insert(columns, 2, "USER")
	}
	fmt.Fprintln(w, strings.Join(columns, "\t"))
	for _, v := range views {
		row := []string{v.Flow + "/" + v.Run, v.Status, v.Started.Local().Format("2006-01-02 15:04:05"), seconds(v.Seconds),
			strings.Join(v.Tags, ", ")}
		if rec.service != "" {
			row = slices.Insert(row, 2, v.User)
		}
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
}

func seconds(s float64) string {
	return time.Duration(s * float64(time.Second)).Round(time.Millisecond).String()
}

// taskView is a task as mf show shows it.
type taskView struct {
	Task    string `json:"task"`
	Index   string `json:"index,omitempty"`
	Attempt int    `json:"attempt"`
	Status  string `json:"status"`
	Reused  string `json:"reused_from,omitempty"`
	Failure string `json:"failure,omitempty"`
}

func (a *app) showCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "show RUN", Short: "Show a run: its tasks, and why it failed", Args: exactly("RUN"),
		Long: "Show a run: Flow/run, or the run's id alone, or Flow for its newest run.",
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return a.show(cmd.Context(), args[0], asJSON) }
	return cmd
}

func (a *app) show(ctx context.Context, path string, asJSON bool) error {
	rec, err := a.openRecords(ctx, ".")
	if err != nil {
		return err
	}
	defer rec.close()
	p, err := rec.resolve(ctx, path)
	if err != nil {
		return err
	}
	run, err := rec.meta.Run(ctx, p.flow, p.run)
	if err != nil {
		return err
	}
	if err := rec.derive(ctx, &run, a.now()); err != nil {
		return err
	}
	v := a.view(run)
	tasks, err := rec.taskViews(ctx, p)
	if err != nil {
		return err
	}
	if asJSON {
		return a.writeJSON(struct {
			runView
			Tasks []taskView `json:"tasks"`
		}{v, tasks})
	}
	fmt.Fprintf(a.stdout, "%s/%s  %s  started %s  took %s\n", v.Flow, v.Run, v.Status,
		v.Started.Local().Format("2006-01-02 15:04:05"), seconds(v.Seconds))
	if v.Origin != "" {
		fmt.Fprintf(a.stdout, "resumes %s/%s\n", v.Flow, v.Origin)
	}
	if v.Failure != "" {
		fmt.Fprintf(a.stdout, "failed: %s\n", v.Failure)
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	for _, t := range tasks {
		note := t.Failure
		if t.Reused != "" {
			note = "reused from " + t.Reused
		}
		status := t.Status
		if t.Attempt > 0 {
			status += fmt.Sprintf(" (attempt %d)", t.Attempt)
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\n", t.Task, t.Index, status, note)
	}
	return w.Flush()
}

func (r *records) taskViews(ctx context.Context, p pathspec) ([]taskView, error) {
	views := []taskView{}
	all, err := runtime.Tasks(ctx, r.store, p.flow, p.run, "")
	if err != nil {
		return nil, err
	}
	var refs []datastore.TaskRef
	for _, ref := range all {
		if !strings.HasPrefix(ref.Step, "_") {
			refs = append(refs, ref)
		}
	}
	if err := r.sortTasks(ctx, p, refs); err != nil {
		return nil, err
	}
	origins := map[string]string{}
	rows, err := r.meta.Metadata(ctx, p.flow, p.run, "", "")
	if err != nil {
		return nil, err
	}
	for _, m := range rows {
		if m.FieldName == "origin-task-id" {
			origins[m.StepName+"/"+m.TaskID] = m.Value
		}
	}
	loader := runtime.NewLoader(r.store, p.flow)
	for _, ref := range refs {
		state, err := loader.State(ctx, ref)
		if err != nil {
			return nil, err
		}
		name := ref.Step + "/" + ref.Task
		views = append(views, taskView{Task: name, Index: state.Path.String(), Attempt: state.Attempt, Status: state.Status,
			Reused: origins[name], Failure: state.Failure})
	}
	return views, nil
}

func (a *app) tagCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "tag", Short: "Add, remove and list the tags of a run"}
	mutate := func(verb, short string, apply func(tags []string) (add, remove []string)) *cobra.Command {
		return &cobra.Command{
			Use: verb + " RUN TAG…", Short: short,
			Args: func(_ *cobra.Command, args []string) error {
				if len(args) < 2 {
					return usagef("mf tag %s takes a run and at least one tag", verb)
				}
				return nil
			},
			RunE: func(cmd *cobra.Command, args []string) error {
				add, remove := apply(args[1:])
				return a.tag(cmd.Context(), args[0], add, remove)
			},
		}
	}
	return group(cmd,
		mutate("add", "Add tags", func(tags []string) ([]string, []string) { return tags, nil }),
		mutate("remove", "Remove tags", func(tags []string) ([]string, []string) { return nil, tags }),
		&cobra.Command{Use: "list RUN", Short: "List tags", Args: exactly("RUN"),
			RunE: func(cmd *cobra.Command, args []string) error { return a.tag(cmd.Context(), args[0], nil, nil) }},
	)
}

func (a *app) tag(ctx context.Context, path string, add, remove []string) error {
	rec, err := a.openRecords(ctx, ".")
	if err != nil {
		return err
	}
	defer rec.close()
	p, err := rec.resolve(ctx, path)
	if err != nil {
		return err
	}
	tags, err := rec.mutateTags(ctx, p, add, remove)
	if err != nil {
		return err
	}
	for _, t := range tags {
		fmt.Fprintln(a.stdout, t)
	}
	return nil
}

func (r *records) mutateTags(ctx context.Context, p pathspec, add, remove []string) ([]string, error) {
	if len(add)+len(remove) == 0 {
		run, err := r.meta.Run(ctx, p.flow, p.run)
		return run.Tags, err
	}
	recorder := r.recorder(p.flow, p.run)
	return recorder.MutateTags(ctx, p.flow, p.run, add, remove)
}
