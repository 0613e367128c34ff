package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/pickle"
	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/metaflowdir"
)

// recorder writes to the database and, for a run that is there too, to Metaflow's own files.
func (r *records) recorder(flow, run string) metadata.Recorder {
	if !r.here() || !r.exported(flow, run) {
		return r.meta
	}
	return metadata.Tee(r.meta, metaflowdir.New(r.store.Backend().Root(), time.Now))
}

// exported reports whether Metaflow's own files hold the run.
func (r *records) exported(flow, run string) bool {
	_, err := os.Stat(filepath.Join(filepath.FromSlash(r.store.Backend().Root()), flow, run, "_meta"))
	return err == nil
}

type logsFlags struct {
	stdout, stderr, follow, timestamps bool
	attempt                            int
}

func (a *app) logsCommand() *cobra.Command {
	var flags logsFlags
	cmd := &cobra.Command{
		Use: "logs PATH", Short: "Print what tasks printed", Args: exactly("PATH"),
		Long: "Print what tasks printed: Flow/run, Flow/run/step or Flow/run/step/task. Both streams, unless one is chosen;\n" +
			"several tasks' lines are labelled.",
	}
	cmd.Flags().BoolVar(&flags.stdout, "stdout", false, "standard output only")
	cmd.Flags().BoolVar(&flags.stderr, "stderr", false, "standard error only")
	cmd.Flags().BoolVarP(&flags.follow, "follow", "f", false, "go on while the run does")
	cmd.Flags().BoolVar(&flags.timestamps, "timestamps", false, "put the time before each line")
	cmd.Flags().IntVar(&flags.attempt, "attempt", -1, "the attempt, from 0 (default: the last)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return a.logs(cmd.Context(), args[0], flags) }
	return cmd
}

// How often a followed log is looked at, here and in a shared datastore; the writer is another process, which there sends
// what it has at intervals of its own.
const (
	followEvery       = 300 * time.Millisecond
	followSharedEvery = 2 * time.Second
)

func (a *app) logs(ctx context.Context, path string, flags logsFlags) error {
	rec, err := a.openRecords(ctx, ".")
	if err != nil {
		return err
	}
	defer rec.close()
	p, err := rec.resolve(ctx, path)
	if err != nil {
		return err
	}
	shown, every := map[string]int{}, followEvery
	if !rec.here() {
		every = followSharedEvery
	}
	for {
		if err := rec.adopt(ctx, p.flow, p.run); err != nil {
			return err
		}
		run, err := rec.meta.Run(ctx, p.flow, p.run)
		if err != nil {
			return err
		}
		// The status is read before the lines, so that the last look comes after the end.
		ended := runStatus(run, a.now()) != string(metadata.Running)
		if err := a.printLogs(ctx, rec, p, flags, shown); err != nil && (!flags.follow || ended) {
			return err
		}
		if !flags.follow || ended {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(every):
		}
	}
}

// printLogs prints the lines that have not been shown yet.
func (a *app) printLogs(ctx context.Context, rec *records, p pathspec, flags logsFlags, shown map[string]int) error {
	refs, err := rec.tasks(ctx, p)
	if err != nil {
		return err
	}
	streams := []datastore.Stream{datastore.Stdout, datastore.Stderr}
	switch {
	case flags.stdout && !flags.stderr:
		streams = streams[:1]
	case flags.stderr && !flags.stdout:
		streams = streams[1:]
	}
	several := len(refs) > 1
	for _, ref := range refs {
		if ref, err = rec.printedBy(ctx, ref); err != nil {
			return err
		}
		attempt, err := rec.attempt(ctx, ref, flags.attempt)
		if err != nil {
			return err
		}
		lines, err := readLines(ctx, rec.store, ref, attempt, streams)
		if err != nil {
			return fmt.Errorf("reading the log of %s: %w", ref, err)
		}
		key := fmt.Sprint(ref, attempt)
		for _, line := range lines[min(shown[key], len(lines)):] {
			prefix := ""
			if several {
				prefix = "[" + ref.Step + "/" + ref.Task + "] "
			}
			if flags.timestamps {
				prefix = line.Time.Local().Format("2006-01-02 15:04:05.000 ") + prefix
			}
			fmt.Fprintf(a.stdout, "%s%s\n", prefix, line.Text)
		}
		shown[key] = len(lines)
	}
	return nil
}

// attempt returns the number of an attempt that there is: the one wanted or, if that is negative, the last.
func (r *records) attempt(ctx context.Context, ref datastore.TaskRef, wanted int) (int, error) {
	attempts, err := r.store.Attempts(ctx, ref)
	if err != nil {
		return 0, err
	}
	last := 0
	for _, a := range attempts {
		if last = a.Number; last == wanted {
			return wanted, nil
		}
	}
	if wanted >= 0 {
		return 0, &exitError{exitFailed, fmt.Errorf("%s has no attempt %d; its attempts are 0 to %d", ref, wanted, last)}
	}
	return last, nil
}

// printedBy returns the task that ran: for one that a resumed run took over, the task of the run it was taken from.
func (r *records) printedBy(ctx context.Context, ref datastore.TaskRef) (datastore.TaskRef, error) {
	for {
		rows, err := r.meta.Metadata(ctx, ref.Flow, ref.Run, ref.Step, ref.Task)
		if err != nil {
			return ref, fmt.Errorf("looking for the origin of %s: %w", ref, err)
		}
		// Only a task that was taken over has an origin task; one that ran in a resumed run has an origin run alone.
		fields := map[string]string{}
		for _, m := range rows {
			fields[m.FieldName] = m.Value
		}
		if fields["origin-task-id"] == "" {
			return ref, nil
		}
		ref.Run, ref.Task = fields["origin-run-id"], fields["origin-task-id"]
	}
}

// readLines reads the streams of an attempt, by time.
func readLines(ctx context.Context, store *datastore.Store, ref datastore.TaskRef, attempt int, streams []datastore.Stream) ([]datastore.LogLine, error) {
	var lines []datastore.LogLine
	for _, stream := range streams {
		for line, err := range store.ReadLog(ctx, ref, attempt, stream) {
			if err != nil {
				return nil, err
			}
			lines = append(lines, line)
		}
	}
	if len(streams) > 1 {
		slices.SortStableFunc(lines, func(a, b datastore.LogLine) int { return a.Time.Compare(b.Time) })
	}
	return lines, nil
}

type dumpFlags struct {
	json, private bool
	file          string
	maxSize       int
}

func (a *app) dumpCommand() *cobra.Command {
	var flags dumpFlags
	cmd := &cobra.Command{
		Use: "dump PATH", Short: "Print artifacts", Args: exactly("PATH"),
		Long: "Print the artifacts of tasks: Flow/run/step, Flow/run/step/task or Flow/run/step/task/artifact.\n" +
			"Plain data is shown as it is; of other values the Python class is named.",
	}
	cmd.Flags().BoolVar(&flags.json, "json", false, "as JSON: task, then artifact; values that are no plain data as {\"$python\": class}")
	cmd.Flags().BoolVar(&flags.private, "private", false, "also the artifacts that start with _")
	cmd.Flags().StringVar(&flags.file, "file", "", "write one artifact's serialized bytes (a pickle) to this file")
	cmd.Flags().IntVar(&flags.maxSize, "max-value-size", 1000, "longest value shown, in bytes, unless --json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return a.dump(cmd.Context(), args[0], flags) }
	return cmd
}

func (a *app) dump(ctx context.Context, path string, flags dumpFlags) error {
	rec, err := a.openRecords(ctx, ".")
	if err != nil {
		return err
	}
	defer rec.close()
	p, err := rec.resolve(ctx, path)
	if err != nil {
		return err
	}
	refs, err := rec.tasks(ctx, p)
	if err != nil {
		return err
	}
	all := map[string]map[string]any{}
	for _, ref := range refs {
		record, done, err := rec.store.Latest(ctx, ref)
		if errors.Is(err, datastore.ErrNotFound) || err == nil && !done {
			continue
		}
		if err != nil {
			return fmt.Errorf("reading %s: %w", ref, err)
		}
		names := sortedKeys(record.Artifacts)
		if p.artifact != "" {
			if _, ok := record.Artifacts[p.artifact]; !ok {
				return &exitError{exitFailed, fmt.Errorf("%s has no artifact %q; it has %s", ref, p.artifact,
					strings.Join(slices.DeleteFunc(names, isPrivate), ", "))}
			}
			names = []string{p.artifact}
		}
		values := map[string]any{}
		for _, name := range names {
			if isPrivate(name) && !flags.private && p.artifact == "" {
				continue
			}
			data, err := rec.store.Load(ctx, p.flow, record.Artifacts[name].Digest)
			if err != nil {
				return fmt.Errorf("reading artifact %s of %s: %w", name, ref, err)
			}
			if flags.file != "" {
				if p.artifact == "" || len(refs) > 1 {
					return usagef("--file takes one artifact: Flow/run/step/task/artifact")
				}
				return os.WriteFile(flags.file, data, 0o644)
			}
			values[name] = shown(data)
		}
		all[ref.String()] = values
	}
	return a.printDump(refs, all, p, flags)
}

// isPrivate reports whether an artifact is the runtime's own, by its name.
func isPrivate(name string) bool { return strings.HasPrefix(name, "_") }

// shown is an artifact's value: plain data, or an opaque value's class.
func shown(data []byte) any {
	v, err := pickle.Unmarshal(data)
	var opaque *pickle.OpaqueError
	if errors.As(err, &opaque) {
		return pickle.Opaque{Class: opaque.Class}
	}
	if err != nil {
		return map[string]any{"$error": err.Error()}
	}
	return v
}

func (a *app) printDump(refs []datastore.TaskRef, all map[string]map[string]any, p pathspec, flags dumpFlags) error {
	if flags.json {
		text, err := pickle.ToJSON(dumpValue(refs, all, p))
		if err != nil {
			return err
		}
		_, err = a.stdout.Write(append(text, '\n'))
		return err
	}
	for _, ref := range refs {
		values, ok := all[ref.String()]
		if !ok {
			continue
		}
		if p.artifact == "" {
			fmt.Fprintf(a.stdout, "%s\n", ref)
		}
		for _, name := range sortedKeys(values) {
			text := pickle.Repr(values[name])
			if len(text) > flags.maxSize {
				text = text[:flags.maxSize] + "…"
			}
			if p.artifact != "" {
				fmt.Fprintln(a.stdout, text)
				continue
			}
			fmt.Fprintf(a.stdout, "  %s = %s\n", name, text)
		}
	}
	return nil
}

// dumpValue is what --json prints: one value for one artifact, else everything by task and name.
func dumpValue(refs []datastore.TaskRef, all map[string]map[string]any, p pathspec) any {
	if p.artifact != "" && len(refs) == 1 {
		return all[refs[0].String()][p.artifact]
	}
	out := map[string]any{}
	for ref, values := range all {
		out[ref] = values
	}
	return out
}
