package metaflowdir

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/mf-run/mf/metadata"
)

var testTime = time.UnixMicro(1_774_749_599_123_456)

func newDir(t *testing.T) *Dir {
	t.Helper()
	return New(filepath.Join(t.TempDir(), ".metaflow"), func() time.Time { return testTime })
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func createRun(t *testing.T, d *Dir, run metadata.Run) string {
	t.Helper()
	got, err := d.CreateRun(t.Context(), run)
	must(t, err)
	return got.RunID
}

// files returns the content of every file below the root, by slash-separated relative path.
func files(t *testing.T, root string) map[string]string {
	t.Helper()
	all := map[string]string{}
	must(t, filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		rel, relErr := filepath.Rel(root, path)
		all[filepath.ToSlash(rel)] = string(text)
		return errors.Join(err, relErr)
	}))
	return all
}

func names(t *testing.T, root string) []string {
	t.Helper()
	var list []string
	for name := range files(t, root) {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

func taskBatch(ref metadata.TaskRef) metadata.Batch {
	return metadata.Batch{
		Steps: []metadata.Step{{FlowID: ref.Flow, RunID: ref.Run, StepName: ref.Step}},
		Tasks: []metadata.Task{{FlowID: ref.Flow, RunID: ref.Run, StepName: ref.Step, TaskID: ref.Task}},
	}
}

func datum(ref metadata.TaskRef, field, value string, ts int64) metadata.Metadatum {
	return metadata.Metadatum{
		FlowID: ref.Flow, RunID: ref.Run, StepName: ref.Step, TaskID: ref.Task, FieldName: field, Type: field,
		Value: value, TsEpoch: ts,
	}
}

func TestCreateRun(t *testing.T) {
	d := newDir(t)
	first, second := createRun(t, d, metadata.Run{FlowID: "F"}), createRun(t, d, metadata.Run{FlowID: "F"})
	if first != "1774749599123456" || second != "1774749599123457" {
		t.Errorf("minted %s and %s", first, second)
	}
	createRun(t, d, metadata.Run{FlowID: "F", RunID: "resumed", Origin: first, Tags: []string{"ü"}})
	if _, err := d.CreateRun(t.Context(), metadata.Run{FlowID: "F", RunID: "resumed"}); !errors.Is(err, metadata.ErrExists) {
		t.Errorf("second run of an id: %v", err)
	}
	if _, err := d.CreateRun(t.Context(), metadata.Run{FlowID: "F", Tags: []string{""}}); !errors.Is(err, metadata.ErrInvalidTag) {
		t.Errorf("empty tag: %v", err)
	}
	all := files(t, d.root)
	want := `{"run_number": "resumed", "flow_id": "F", "user_name": "", "tags": ["\u00fc"], "system_tags": [], "ts_epoch": 1774749599123}`
	if got := all["F/resumed/_meta/_self.json"]; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := all["F/latest_run"]; got != second {
		t.Errorf("latest_run is %s", got)
	}
	if len(all) != 5 {
		t.Errorf("files: %v", names(t, d.root))
	}
}

func TestNamesThatAreNoFolders(t *testing.T) {
	d := newDir(t)
	for _, bad := range []string{".", "..", "_meta", "a/b", `a\b`, "a\x00b", "../../x"} {
		for _, run := range []metadata.Run{{FlowID: bad, RunID: "1"}, {FlowID: "F", RunID: bad}} {
			if _, err := d.CreateRun(t.Context(), run); err == nil {
				t.Errorf("%+v: no error", run)
			}
		}
	}
	run := createRun(t, d, metadata.Run{FlowID: "F"})
	for _, ref := range []metadata.TaskRef{{Flow: "F", Run: run, Step: "..", Task: "0"}, {Flow: "F", Run: run, Step: "s", Task: ".."}} {
		if err := d.Record(t.Context(), taskBatch(ref)); err == nil {
			t.Errorf("%s: no error", ref)
		}
	}
	ref := metadata.TaskRef{Flow: "F", Run: run, Step: "s", Task: "0"}
	b := taskBatch(ref)
	b.Artifacts = []metadata.Artifact{{FlowID: "F", RunID: run, StepName: "s", TaskID: "0", Name: "../x"}}
	if err := d.Record(t.Context(), b); err == nil || !strings.Contains(err.Error(), "../x") {
		t.Errorf("artifact: %v", err)
	}
}

func TestParentsMustExist(t *testing.T) {
	d := newDir(t)
	run := createRun(t, d, metadata.Run{FlowID: "F"})
	good := metadata.TaskRef{Flow: "F", Run: run, Step: "s", Task: "0"}
	must(t, d.Record(t.Context(), taskBatch(good)))
	for name, b := range map[string]metadata.Batch{
		"run":  taskBatch(metadata.TaskRef{Flow: "F", Run: "1", Step: "s", Task: "0"}),
		"step": {Tasks: []metadata.Task{{FlowID: "F", RunID: run, StepName: "t", TaskID: "0"}}},
		"task": {Metadata: []metadata.Metadatum{datum(metadata.TaskRef{Flow: "F", Run: run, Step: "s", Task: "1"}, "f", "v", 1)}},
	} {
		if err := d.Record(t.Context(), b); !errors.Is(err, metadata.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, id := range []string{run, "1"} {
		err := d.UpdateRun(t.Context(), metadata.Run{FlowID: "F", RunID: id, Status: metadata.Failed})
		if (id == run) != (err == nil) || err != nil && !errors.Is(err, metadata.ErrNotFound) {
			t.Errorf("UpdateRun of %s: %v", id, err)
		}
	}
}

// TestNothingIsLost: rows of one field and millisecond, in one batch, in many and from many threads, all stay; rows that
// exist are left as they are.
func TestNothingIsLost(t *testing.T) {
	d := newDir(t)
	ref := metadata.TaskRef{Flow: "F", Run: createRun(t, d, metadata.Run{FlowID: "F"}), Step: "s", Task: "0"}
	must(t, d.Record(t.Context(), taskBatch(ref)))
	const workers, each = 8, 10
	var wg sync.WaitGroup
	errs := make([]error, workers)
	for i := range workers {
		wg.Go(func() {
			b := taskBatch(ref)
			b.Tasks[0].UserName = "late"
			b.Artifacts = []metadata.Artifact{{
				FlowID: ref.Flow, RunID: ref.Run, StepName: ref.Step, TaskID: ref.Task, Name: "x", Sha: fmt.Sprint(i),
			}}
			for j := range each {
				b.Metadata = append(b.Metadata, datum(ref, "f", fmt.Sprint(i*each+j), 5))
			}
			errs[i] = d.Record(t.Context(), b)
		})
	}
	wg.Wait()
	must(t, errors.Join(errs...))
	seen := map[string]bool{}
	for name, text := range files(t, d.root) {
		var row struct {
			Field string `json:"field_name"`
			Value string `json:"value"`
			User  string `json:"user_name"`
			Ts    int64  `json:"ts_epoch"`
		}
		if !strings.HasSuffix(name, ".json") {
			continue
		}
		must(t, json.Unmarshal([]byte(text), &row))
		if row.User == "late" {
			t.Errorf("%s was written again", name)
		}
		if row.Field == "f" {
			seen[row.Value] = true
			if row.Ts != 5 {
				t.Errorf("%s has time %d", name, row.Ts)
			}
		}
	}
	if len(seen) != workers*each {
		t.Errorf("%d of %d values are left", len(seen), workers*each)
	}
	for _, name := range names(t, d.root) {
		if strings.Contains(name, ".mf-") {
			t.Errorf("%s is left over", name)
		}
	}
}

// TestReadersSeeWholeFiles reads what the client's patterns match while it is written.
func TestReadersSeeWholeFiles(t *testing.T) {
	d := newDir(t)
	ref := metadata.TaskRef{Flow: "F", Run: createRun(t, d, metadata.Run{FlowID: "F"}), Step: "s", Task: "0"}
	must(t, d.Record(t.Context(), taskBatch(ref)))
	done := make(chan error, 1)
	go func() {
		var err error
		for i := 0; i < 300 && err == nil; i++ {
			err = d.Record(t.Context(), metadata.Batch{Metadata: []metadata.Metadatum{datum(ref, "f", strings.Repeat("v", 9000), 1)}})
			if err == nil {
				_, err = d.MutateTags(t.Context(), "F", ref.Run, []string{fmt.Sprint("t", i%2)}, []string{fmt.Sprint("t", (i+1)%2)})
			}
		}
		done <- err
	}()
	read := 0
	for {
		select {
		case err := <-done:
			must(t, err)
			if read == 0 {
				t.Error("nothing was read")
			}
			return
		default:
		}
		list, err := filepath.Glob(filepath.Join(d.root, "F", ref.Run, "s", "0", "_meta", "sysmeta_*"))
		must(t, err)
		list = append(list, filepath.Join(d.root, "F", ref.Run, "_meta", "_self.json"))
		for _, path := range list[max(0, len(list)-5):] {
			text, err := os.ReadFile(path)
			must(t, err)
			if !json.Valid(text) {
				t.Fatalf("%s: %q", path, text)
			}
			read++
		}
	}
}

func TestMutateTags(t *testing.T) {
	d := newDir(t)
	run := createRun(t, d, metadata.Run{FlowID: "F", UserName: "u", Tags: []string{"a"}, SystemTags: []string{"user:u"}, TsEpoch: 9})
	tags, err := d.MutateTags(t.Context(), "F", run, []string{"b", "user:u"}, []string{"a"})
	must(t, err)
	if !slices.Equal(tags, []string{"b"}) {
		t.Errorf("tags are %q", tags)
	}
	want := `{"run_number": "` + run + `", "flow_id": "F", "user_name": "u", "tags": ["b"], "system_tags": ["user:u"], "ts_epoch": 9}`
	self := filepath.Join(d.root, "F", run, "_meta", "_self.json")
	if text, err := os.ReadFile(self); err != nil || string(text) != want {
		t.Errorf("got  %s %v\nwant %s", text, err, want)
	}
	if _, err := d.MutateTags(t.Context(), "F", run, nil, []string{"user:u"}); !errors.Is(err, metadata.ErrInvalidTag) {
		t.Errorf("removing a system tag: %v", err)
	}
	if _, err := d.MutateTags(t.Context(), "F", "1", []string{"a"}, nil); !errors.Is(err, metadata.ErrNotFound) {
		t.Errorf("tags of no run: %v", err)
	}
	must(t, os.WriteFile(self, []byte("{"), 0o600))
	if _, err := d.MutateTags(t.Context(), "F", run, []string{"a"}, nil); !errors.Is(err, metadata.ErrCorrupt) {
		t.Errorf("damaged file: %v", err)
	}
}

// TestTagsOfManyProcesses uses recorders that share no lock in memory.
func TestTagsOfManyProcesses(t *testing.T) {
	d := newDir(t)
	run := createRun(t, d, metadata.Run{FlowID: "F"})
	var wg sync.WaitGroup
	errs := make([]error, 12)
	for i := range errs {
		wg.Go(func() {
			_, errs[i] = New(d.root, d.now).MutateTags(t.Context(), "F", run, []string{fmt.Sprint("t", i)}, nil)
		})
	}
	wg.Wait()
	must(t, errors.Join(errs...))
	tags, err := d.MutateTags(t.Context(), "F", run, nil, nil)
	must(t, err)
	if len(tags) != len(errs) {
		t.Errorf("tags were lost: %q", tags)
	}
}

func TestFieldsThatAreNoFileNames(t *testing.T) {
	d := newDir(t)
	ref := metadata.TaskRef{Flow: "F", Run: createRun(t, d, metadata.Run{FlowID: "F"}), Step: "s", Task: "0"}
	b := taskBatch(ref)
	long := strings.Repeat("ä", 400)
	b.Metadata = []metadata.Metadatum{datum(ref, "a/b", "1", 5), datum(ref, "a_b", "2", 5), datum(ref, long, "3", 0)}
	must(t, d.Record(t.Context(), b))
	all := files(t, filepath.Join(d.root, "F", ref.Run, "s", "0", "_meta"))
	for _, want := range []string{"sysmeta_a_b_5.json", "sysmeta_a_b_6.json", "sysmeta_" + long[:200] + "_1774749599123.json"} {
		if all[want] == "" {
			t.Errorf("%s is missing: %v", want, all)
		}
	}
	if !strings.Contains(all["sysmeta_a_b_5.json"], `"field_name": "a/b"`) {
		t.Errorf("the field's name was changed: %s", all["sysmeta_a_b_5.json"])
	}
}

// TestFolders runs both ways of writing files through the same motions.
func TestFolders(t *testing.T) {
	for name, open := range map[string]func(string) (folder, error){
		"openFolder": openFolder,
		"pathFolder": func(path string) (folder, error) { return pathFolder(path), nil },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			f, err := open(dir)
			must(t, err)
			must(t, f.place(".t1", []byte("one"), once("a")))
			if err := f.place(".t2", []byte("two"), once("a")); !errors.Is(err, fs.ErrExist) {
				t.Errorf("placing over a file: %v", err)
			}
			must(t, f.place(".t3", []byte("three"), func(try int) string { return string(rune('a' + try)) }))
			must(t, f.replace(".t4", "b", []byte("four")))
			must(t, f.replace(".t5", "c", []byte("five")))
			if err := f.place(".t6", nil, once("no/such")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("placing in no folder: %v", err)
			}
			if err := f.replace(".t7", "no/such", nil); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("replacing in no folder: %v", err)
			}
			must(t, f.close())
			got := fmt.Sprint(files(t, dir))
			if got != "map[a:one b:four c:five]" {
				t.Errorf("got %s", got)
			}
			if _, err := openFolder(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("no folder: %v", err)
			}
		})
	}
}

func FuzzQuoted(f *testing.F) {
	for _, s := range []string{"", `a"\b`, "é日🙂", "\x00\x1f\x7f\u2028", "a\xffb", "\xed\xa0\x80", "\n\r\t\b\f"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		text := appendQuoted(nil, s)
		if i := slices.IndexFunc(text, func(c byte) bool { return c < ' ' || c > '~' }); i >= 0 {
			t.Fatalf("%q is not printable ASCII", text)
		}
		var got string
		must(t, json.Unmarshal(text, &got))
		// Byte for byte, as encoding/json does it.
		var want strings.Builder
		for _, c := range s {
			want.WriteRune(c)
		}
		if got != want.String() || utf8.ValidString(s) && got != s {
			t.Fatalf("%q became %q", s, got)
		}
	})
}
