package datastore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The names of an attempt's files; each is preceded by the attempt's number and a dot.
const (
	attemptFile   = "attempt.json"
	dataFile      = "data.json"
	doneFile      = "DONE.lock"
	taskBeginFile = "task_begin"
	taskEndFile   = "task_end"
	runtimeFile   = "runtime"
)

// CodePackage says where the code of a task came from. Zero fields are unknown.
type CodePackage struct {
	Metadata, Digest, StoreType, URL string
}

// Exit says how the process of an attempt ended.
type Exit struct {
	Code    int
	Killed  bool
	Success bool
}

// Attempt is what the files of a task say about one attempt.
type Attempt struct {
	Number int
	// Started: there is a start marker.
	Started bool
	// Done: the attempt has come to its end, well or not.
	Done bool
	// HasRecord: there is an artifact index.
	HasRecord bool
}

// Begin marks the start of an attempt. Idempotent but for the time.
func (s *Store) Begin(ctx context.Context, t TaskRef, attempt int, now time.Time) error {
	return s.putTask(ctx, t, attempt, attemptFile, startMark(now))
}

func startMark(now time.Time) []byte {
	return append(appendPySeconds([]byte(`{"time": `), now.UnixMicro()), '}')
}

// Claim is Begin for one of several processes that may take the same attempt for theirs: the first counts. Owns says which
// that was.
func (s *Store) Claim(ctx context.Context, t TaskRef, attempt int, now time.Time) error {
	key, err := attemptKey(t, attempt, attemptFile)
	if err != nil {
		return err
	}
	if err := s.ensureFormat(ctx); err != nil {
		return err
	}
	return s.b.Put(ctx, key, bytes.NewReader(startMark(now)), PutOptions{IfAbsent: true})
}

// Owns reports whether the attempt is the one that Claim was called for at that time.
func (s *Store) Owns(ctx context.Context, t TaskRef, attempt int, now time.Time) (bool, error) {
	key, err := attemptKey(t, attempt, attemptFile)
	if err != nil {
		return false, err
	}
	data, err := s.read(ctx, key)
	if err != nil {
		return false, fmt.Errorf("reading who runs attempt %d of task %s: %w", attempt, t, err)
	}
	return bytes.Equal(data, startMark(now)), nil
}

// WriteTaskBegin writes the file with which a task's process announces itself.
func (s *Store) WriteTaskBegin(ctx context.Context, t TaskRef, attempt int, code CodePackage) error {
	b := appendPyString([]byte(`{"code_package_metadata": `), code.Metadata)
	b = appendPyNullable(append(b, `, "code_package_sha": `...), code.Digest)
	b = appendPyNullable(append(b, `, "code_package_ds": `...), code.StoreType)
	b = appendPyNullable(append(b, `, "code_package_url": `...), code.URL)
	b = append(b, `, "retry_count": `...)
	b = append(strconv.AppendInt(b, int64(attempt), 10), '}')
	return s.putTask(ctx, t, attempt, taskBeginFile, b)
}

// WriteTaskEnd writes the file with which a task's process says goodbye.
func (s *Store) WriteTaskEnd(ctx context.Context, t TaskRef, attempt int) error {
	return s.putTask(ctx, t, attempt, taskEndFile, []byte("{}"))
}

// WriteRuntime writes how the scheduler of a local run saw the attempt end.
func (s *Store) WriteRuntime(ctx context.Context, t TaskRef, attempt int, exit Exit) error {
	b := fmt.Appendf(nil, `{"return_code": %d, "killed": %t, "success": %t}`, exit.Code, exit.Killed, exit.Success)
	return s.putTask(ctx, t, attempt, runtimeFile, b)
}

// Finish writes the artifact index of attempt rec.Attempt and then marks the attempt as done, be it a success or a
// failure. The blobs that the index names must be there.
func (s *Store) Finish(ctx context.Context, t TaskRef, rec Record) error {
	if err := s.WriteRecord(ctx, t, rec); err != nil {
		return err
	}
	return s.MarkDone(ctx, t, rec.Attempt)
}

// WriteRecord is the first half of Finish: the attempt is not done yet, and the record may be written anew.
func (s *Store) WriteRecord(ctx context.Context, t TaskRef, rec Record) error {
	if err := checkRecord(rec); err != nil {
		return fmt.Errorf("finishing task %s: %w", t, err)
	}
	data := appendRecord(make([]byte, 0, 256+256*len(rec.Artifacts)), s.b.Type(), rec)
	return s.putTask(ctx, t, rec.Attempt, dataFile, data)
}

// MarkDone is the second half of Finish: an attempt that has a record is done. Idempotent.
func (s *Store) MarkDone(ctx context.Context, t TaskRef, attempt int) error {
	return s.putTask(ctx, t, attempt, doneFile, []byte(`""`))
}

// Clone records attempt from.Attempt of task old, which is done, as attempt 0 of task t: the same artifacts, the same
// bytes where the backend can share them.
func (s *Store) Clone(ctx context.Context, old TaskRef, rec Record, t TaskRef, now time.Time) error {
	copier, ok := s.b.(Copier)
	if !ok || rec.Attempt != 0 {
		return s.writeClone(ctx, rec, t, now)
	}
	if err := s.ensureFormat(ctx); err != nil {
		return err
	}
	for _, name := range []string{attemptFile, dataFile, doneFile} {
		from, errFrom := attemptKey(old, 0, name)
		to, errTo := attemptKey(t, 0, name)
		if err := errors.Join(errFrom, errTo); err != nil {
			return err
		}
		copied, err := copier.Copy(ctx, from, to)
		if err != nil {
			return err
		}
		if !copied {
			return s.writeClone(ctx, rec, t, now)
		}
	}
	return nil
}

func (s *Store) writeClone(ctx context.Context, rec Record, t TaskRef, now time.Time) error {
	if err := s.Begin(ctx, t, 0, now); err != nil {
		return err
	}
	rec.Attempt = 0
	return s.Finish(ctx, t, rec)
}

// Latest returns the record of the attempt that counts: the one that started last. Where that has not come to its end,
// done is false and only rec.Attempt is set, even if an earlier attempt did; such is Metaflow's rule. ErrNotFound if no
// attempt has started. Attempts are counted beyond MaxAttempts too, where Metaflow's own readers stop looking.
func (s *Store) Latest(ctx context.Context, t TaskRef) (rec Record, done bool, err error) {
	attempts, err := s.Attempts(ctx, t)
	if err != nil {
		return Record{}, false, err
	}
	for _, a := range slices.Backward(attempts) {
		switch {
		case !a.Started:
			continue
		case !a.Done:
			return Record{Attempt: a.Number}, false, nil
		}
		rec, err := s.ReadRecord(ctx, t, a.Number)
		if errors.Is(err, ErrNotFound) {
			err = fmt.Errorf("attempt %d of task %s is marked as done but has no record: %w", a.Number, t, ErrCorrupt)
		}
		return rec, err == nil, err
	}
	return Record{}, false, fmt.Errorf("attempts of task %s: %w", t, ErrNotFound)
}

// ReadRecord returns the record of one attempt, whether or not that is the one that counts. Errors: ErrNotFound,
// ErrCorrupt, ErrNewer.
func (s *Store) ReadRecord(ctx context.Context, t TaskRef, attempt int) (Record, error) {
	key, err := attemptKey(t, attempt, dataFile)
	if err != nil {
		return Record{}, err
	}
	data, err := s.read(ctx, key)
	if err != nil {
		return Record{}, fmt.Errorf("reading the record of task %s: %w", t, err)
	}
	rec, err := parseRecord(data)
	if err != nil {
		return Record{}, fmt.Errorf("reading the record %s: %w", key, err)
	}
	rec.Attempt = attempt
	return rec, nil
}

// Attempts returns the attempts of a task that have left a file, by number. None is no error.
func (s *Store) Attempts(ctx context.Context, t TaskRef) ([]Attempt, error) {
	dir, err := taskKey(t)
	if err != nil {
		return nil, err
	}
	var list []Attempt
	for e, err := range s.b.List(ctx, dir) {
		if err != nil {
			return nil, fmt.Errorf("listing the attempts of task %s: %w", t, err)
		}
		digits, name, _ := strings.Cut(path.Base(e.Key), ".")
		number, ok := parseAttempt(digits)
		if !ok || e.Dir {
			continue
		}
		i, found := slices.BinarySearchFunc(list, number, func(a Attempt, n int) int { return a.Number - n })
		if !found {
			list = slices.Insert(list, i, Attempt{Number: number})
		}
		switch name {
		case attemptFile:
			list[i].Started = true
		case doneFile:
			list[i].Done = true
		case dataFile:
			list[i].HasRecord = true
		}
	}
	return list, nil
}

// parseAttempt reads the number in front of a file name: decimal, without leading zeros.
func parseAttempt(digits string) (int, bool) {
	n, err := strconv.ParseUint(digits, 10, 31)
	return int(n), err == nil && strconv.FormatUint(n, 10) == digits
}

// Flows returns the names of the flows in the store, sorted.
func (s *Store) Flows(ctx context.Context) ([]string, error) {
	// Included files lie in "data"; cards and the like in folders that start with "mf.".
	return s.folders(ctx, "", func(name string) bool { return name != "data" && !strings.HasPrefix(name, "mf.") })
}

// Runs returns the ids of a flow's runs, sorted as text.
func (s *Store) Runs(ctx context.Context, flow string) ([]string, error) {
	if err := checkName("flow", flow); err != nil {
		return nil, err
	}
	return s.folders(ctx, flow, func(name string) bool { return name != "data" })
}

// Steps returns the names of a run's steps that have tasks, sorted, "_parameters" among them.
func (s *Store) Steps(ctx context.Context, flow, run string) ([]string, error) {
	if err := errors.Join(checkName("flow", flow), checkName("run", run)); err != nil {
		return nil, err
	}
	return s.folders(ctx, flow+"/"+run, nil)
}

// Tasks returns the ids of a step's tasks, sorted as text.
func (s *Store) Tasks(ctx context.Context, flow, run, step string) ([]string, error) {
	if err := errors.Join(checkName("flow", flow), checkName("run", run), checkName("step", step)); err != nil {
		return nil, err
	}
	return s.folders(ctx, flow+"/"+run+"/"+step, nil)
}

// folders returns the names of the folders below prefix for which keep is nil or true.
func (s *Store) folders(ctx context.Context, prefix string, keep func(string) bool) ([]string, error) {
	var names []string
	for e, err := range s.b.List(ctx, prefix) {
		if err != nil {
			return nil, err
		}
		name := path.Base(e.Key)
		if e.Dir && (keep == nil || keep(name)) {
			names = append(names, name)
		}
	}
	return names, nil
}

// LatestRun returns the id of the run that was last started here. ErrNotFound if none was.
func (s *Store) LatestRun(ctx context.Context, flow string) (string, error) {
	if err := checkName("flow", flow); err != nil {
		return "", err
	}
	data, err := s.read(ctx, flow+"/latest_run")
	if err != nil {
		return "", fmt.Errorf("looking up the latest run of %s: %w", flow, err)
	}
	return strings.TrimSpace(string(data)), nil
}

// SetLatestRun writes what LatestRun returns.
func (s *Store) SetLatestRun(ctx context.Context, flow, run string) error {
	if err := errors.Join(checkName("flow", flow), checkName("run", run)); err != nil {
		return err
	}
	return s.put(ctx, flow+"/latest_run", []byte(run))
}

// putTask writes a file of an attempt.
func (s *Store) putTask(ctx context.Context, t TaskRef, attempt int, name string, data []byte) error {
	key, err := attemptKey(t, attempt, name)
	if err != nil {
		return err
	}
	return s.put(ctx, key, data)
}

func (s *Store) put(ctx context.Context, key string, data []byte) error {
	if err := s.ensureFormat(ctx); err != nil {
		return err
	}
	return s.b.Put(ctx, key, bytes.NewReader(data), PutOptions{})
}

// attemptKey returns the key of a file of an attempt: "<Flow>/<run>/<step>/<task>/<attempt>.<name>".
func attemptKey(t TaskRef, attempt int, name string) (string, error) {
	dir, err := taskKey(t)
	if err != nil {
		return "", err
	}
	if attempt < 0 {
		return "", fmt.Errorf("task %s: invalid attempt %d", t, attempt)
	}
	return dir + "/" + strconv.Itoa(attempt) + "." + name, nil
}

func taskKey(t TaskRef) (string, error) {
	err := errors.Join(checkName("flow", t.Flow), checkName("run", t.Run), checkName("step", t.Step), checkName("task", t.Task))
	if err != nil {
		return "", fmt.Errorf("task %q: %w", t.String(), err)
	}
	return t.String(), nil
}
