package repair

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/pickle"
	"github.com/mf-run/mf/metadata"
)

// task is what the datastore has of a task.
type task struct {
	ref      datastore.TaskRef
	attempts []attempt // by number
	problems []string
}

// attempt is what the datastore has of an attempt.
type attempt struct {
	number int
	// begun and ended are the times of the start marker and of the end marker.
	begun, ended time.Time
	// done: it came to its end, and its record could be read.
	done bool
	// ok: it succeeded.
	ok     bool
	record datastore.Record
	frames []metadata.ForeachFrame
	// taskBegin: there is the file with which the task's process announced itself.
	taskBegin bool
}

func (t *task) begun() time.Time { return t.attempts[0].begun }

// latest is the attempt that counts; nil if there is none.
func (t *task) latest() *attempt {
	if len(t.attempts) == 0 {
		return nil
	}
	return &t.attempts[len(t.attempts)-1]
}

// The names of an attempt's files, each after the attempt's number and a dot.
const (
	attemptFile   = "attempt.json"
	doneFile      = "DONE.lock"
	taskBeginFile = "task_begin"
)

// readTask reads a task. What is damaged is a problem of the task's, not an error.
func readTask(ctx context.Context, store *datastore.Store, ref datastore.TaskRef) (*task, error) {
	t := &task{ref: ref}
	started := map[int]time.Time{}
	done := map[int]time.Time{}
	announced := map[int]bool{}
	for e, err := range store.Backend().List(ctx, ref.String()) {
		if err != nil {
			return nil, fmt.Errorf("listing the files of task %s: %w", ref, err)
		}
		digits, name, _ := strings.Cut(path.Base(e.Key), ".")
		number, err := strconv.Atoi(digits)
		if err != nil || e.Dir || strconv.Itoa(number) != digits {
			continue
		}
		switch name {
		case attemptFile:
			started[number] = e.Modified
		case doneFile:
			done[number] = e.Modified
		case taskBeginFile:
			announced[number] = true
		}
	}
	for number, modified := range started {
		a := attempt{number: number, taskBegin: announced[number]}
		var err error
		if a.begun, err = readTime(ctx, store, ref, number, modified); err != nil {
			return nil, err
		}
		a.ended = a.begun
		if at, ended := done[number]; ended {
			if at.After(a.begun) {
				a.ended = at
			}
			if err := t.readRecord(ctx, store, &a); err != nil {
				return nil, err
			}
		}
		t.attempts = append(t.attempts, a)
	}
	slices.SortFunc(t.attempts, func(a, b attempt) int { return a.number - b.number })
	return t, nil
}

// readTime reads when an attempt began; the time of the file where that says nothing.
func readTime(ctx context.Context, store *datastore.Store, ref datastore.TaskRef, number int, modified time.Time) (time.Time, error) {
	data, err := readFile(ctx, store, ref, number, attemptFile)
	if err != nil {
		return time.Time{}, err
	}
	var marker struct {
		Time float64 `json:"time"`
	}
	if json.Unmarshal(data, &marker) == nil && marker.Time > 0 {
		return time.UnixMicro(int64(marker.Time*1e6 + 0.5)), nil
	}
	return modified, nil
}

func readFile(ctx context.Context, store *datastore.Store, ref datastore.TaskRef, number int, name string) (_ []byte, err error) {
	key := ref.String() + "/" + strconv.Itoa(number) + "." + name
	body, _, err := store.Backend().Get(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", key, err)
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	data, err := io.ReadAll(io.LimitReader(body, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", key, err)
	}
	return data, nil
}

// readRecord reads what an attempt that came to its end left.
func (t *task) readRecord(ctx context.Context, store *datastore.Store, a *attempt) error {
	record, err := store.ReadRecord(ctx, t.ref, a.number)
	if err == nil {
		a.done, a.record = true, record
		var value any
		if value, err = load(ctx, store, t.ref, &record, "_task_ok"); err == nil {
			a.ok = value == true
			a.frames, err = frames(ctx, store, t.ref, &record)
		}
	}
	return t.damage(err)
}

// damage makes an error about stored data a problem, and returns any other.
func (t *task) damage(err error) error {
	var opaque *pickle.OpaqueError
	if errors.Is(err, datastore.ErrNotFound) || errors.Is(err, datastore.ErrCorrupt) || errors.As(err, &opaque) ||
		errors.Is(err, errPickle) {
		t.problems = append(t.problems, fmt.Sprintf("%s: %v", t.ref, err))
		return nil
	}
	return err
}

var errPickle = errors.New("unreadable")

// common are the values of nearly every task, by the digest of their pickle, which nobody needs to read.
var common = sync.OnceValue(func() map[string]any {
	known := map[string]any{}
	for _, v := range []any{nil, true, false, []any{}} {
		if data, err := pickle.Marshal(v); err == nil {
			known[datastore.Digest(data)] = v
		}
	}
	return known
})

// load decodes one artifact; nil if there is none of that name.
func load(ctx context.Context, store *datastore.Store, ref datastore.TaskRef, record *datastore.Record, name string) (any, error) {
	art, ok := record.Artifacts[name]
	if !ok {
		return nil, nil //nolint:nilnil // nil is the value of what is not there
	}
	if v, ok := common()[art.Digest]; ok {
		return v, nil
	}
	data, err := store.Load(ctx, ref.Flow, art.Digest)
	if err != nil {
		return nil, fmt.Errorf("artifact %s: %w", name, err)
	}
	v, err := pickle.Unmarshal(data)
	if err != nil {
		return nil, fmt.Errorf("artifact %s: %w: %w", name, errPickle, err)
	}
	return v, nil
}

// frames reads the foreaches around a task.
func frames(ctx context.Context, store *datastore.Store, ref datastore.TaskRef, record *datastore.Record) ([]metadata.ForeachFrame, error) {
	v, err := load(ctx, store, ref, record, "_foreach_stack")
	if err != nil {
		return nil, err
	}
	list, _ := v.([]any)
	var out []metadata.ForeachFrame
	for _, item := range list {
		f, ok := item.(pickle.ForeachFrame)
		if !ok {
			return nil, fmt.Errorf("artifact _foreach_stack: %w: it holds a %s", errPickle, pickle.TypeName(item))
		}
		frame := metadata.ForeachFrame{Step: f.Step, Var: f.Var, Index: -1}
		if i, ok := f.Index.(int64); ok {
			frame.Index = int(i)
		}
		frame.Value, _ = f.Value.(string)
		out = append(out, frame)
	}
	return out, nil
}
