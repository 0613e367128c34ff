package metadata

import (
	"context"
	"errors"
	"fmt"
)

// Tee returns a Recorder that writes to primary and then, in order, the same to each mirror. The primary decides:
// it mints ids and stamps times, and nothing reaches a mirror that the primary has refused. A mirror's failure is an
// error too, and does not keep the other mirrors from being written; CreateRun then returns the primary's run with it.
func Tee(primary Recorder, mirrors ...Recorder) Recorder {
	return &tee{primary: primary, mirrors: mirrors}
}

type tee struct {
	primary Recorder
	mirrors []Recorder
}

// each calls f for every mirror and joins the errors.
func (t *tee) each(f func(Recorder) error) error {
	var all []error
	for _, m := range t.mirrors {
		if err := f(m); err != nil {
			all = append(all, fmt.Errorf("mirroring metadata: %w", err))
		}
	}
	return errors.Join(all...)
}

func (t *tee) CreateRun(ctx context.Context, run Run) (Run, error) {
	run, err := t.primary.CreateRun(ctx, run)
	if err != nil {
		return Run{}, err
	}
	err = t.each(func(m Recorder) error {
		_, err := m.CreateRun(ctx, run)
		return err
	})
	return run, err
}

func (t *tee) UpdateRun(ctx context.Context, run Run) error {
	if err := t.primary.UpdateRun(ctx, run); err != nil {
		return err
	}
	return t.each(func(m Recorder) error { return m.UpdateRun(ctx, run) })
}

func (t *tee) Record(ctx context.Context, b Batch) error {
	if err := t.primary.Record(ctx, b); err != nil {
		return err
	}
	return t.each(func(m Recorder) error { return m.Record(ctx, b) })
}

// MutateTags applies the same change to the mirrors, rather than the primary's outcome, so that a tag set in a mirror
// by someone else stays.
func (t *tee) MutateTags(ctx context.Context, flow, run string, add, remove []string) ([]string, error) {
	tags, err := t.primary.MutateTags(ctx, flow, run, add, remove)
	if err != nil {
		return nil, err
	}
	return tags, t.each(func(m Recorder) error {
		_, err := m.MutateTags(ctx, flow, run, add, remove)
		return err
	})
}
