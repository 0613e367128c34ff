package reader

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/local"
	datamemory "github.com/mf-run/mf/datastore/memory"
	"github.com/mf-run/mf/metadata"
	metamemory "github.com/mf-run/mf/metadata/memory"
)

func clock() time.Time { return time.Unix(1700000000, 0) }

// site is a run with two attempts of a task, and where it is.
type site struct {
	store        *datastore.Store
	meta         *metamemory.Store
	small, large string
	descriptor   map[string]any
}

func newSite(t testing.TB, backend datastore.Backend) *site {
	t.Helper()
	ctx := context.Background()
	s := &site{store: datastore.New(backend), meta: metamemory.New(clock)}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	env := metadata.Env{User: "ann", DsType: backend.Type(), DsRoot: backend.Root(), Tags: []string{"blue"}}
	_, err := s.meta.CreateRun(ctx, env.Run("F", "1"))
	must(err)
	ref := metadata.TaskRef{Flow: "F", Run: "1", Step: "start", Task: "1"}
	s.small, err = s.store.SaveBytes(ctx, "F", []byte("small"))
	must(err)
	s.large, err = s.store.SaveBytes(ctx, "F", bytes.Repeat([]byte("large"), 100000))
	must(err)
	file := filepath.Join(t.TempDir(), "file")
	must(os.WriteFile(file, []byte("included"), 0o644))
	s.descriptor, err = s.store.SaveInclude(ctx, "F", file, true, "utf8")
	must(err)
	must(s.meta.Record(ctx, env.TaskRegistered(ref, 0, clock())))
	for attempt := range 2 {
		at := clock().Add(time.Duration(attempt) * time.Second)
		frames := []metadata.ForeachFrame{{Step: "start", Var: "x", Index: 0, Value: "7"}}
		must(s.meta.Record(ctx, env.TaskStarted(ref, attempt, frames, at)))
		named := map[string]metadata.ArtifactRef{"x": {Sha: []string{s.large, s.small}[attempt], ContentType: "pickle-v4"}}
		must(s.meta.Record(ctx, env.TaskFinished(ref, attempt, attempt == 1, named, at)))
		must(s.store.Finish(ctx, datastore.TaskRef(ref), datastore.Record{Attempt: attempt, Artifacts: map[string]datastore.Artifact{
			"x": {Digest: s.small, Size: 5, Type: "<class 'str'>", Encoding: "pickle-v4"},
		}}))
	}
	log, err := s.store.AppendLog(ctx, datastore.TaskRef(ref), 1, "task", datastore.Stdout)
	must(err)
	_, err = log.Write(append(datastore.AppendLogLine(nil, clock(), "task", []byte("one \xff")), "no time\n"...))
	must(errors.Join(err, log.Close()))
	return s
}

func frame(text string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(text))), text...)
}

// answer is what comes for a question.
type answer struct {
	header
	text string
}

// answers takes all that was answered apart.
func answers(t testing.TB, out []byte) (list []answer) {
	t.Helper()
	for len(out) > 0 {
		if len(out) < 4 {
			t.Fatalf("half a length: %q", out)
		}
		n := int(binary.BigEndian.Uint32(out))
		if len(out) < 4+n {
			t.Fatalf("half a header: %q", out)
		}
		var a answer
		if err := json.Unmarshal(out[4:4+n], &a.header); err != nil {
			t.Fatal(err)
		}
		out = out[4+n:]
		if a.Path == "" {
			if int64(len(out)) < a.Size {
				t.Fatalf("%d bytes of %d", len(out), a.Size)
			}
			a.text, out = string(out[:a.Size]), out[a.Size:]
		}
		list = append(list, a)
	}
	return list
}

// conversation is a client that goes away when it has an answer, as a question without a client is given up.
type conversation struct {
	bytes.Buffer
	question io.Reader
	answered chan struct{}
}

func (c *conversation) Read(p []byte) (int, error) {
	n, err := c.question.Read(p)
	if n == 0 {
		<-c.answered
	}
	return n, err
}

func (c *conversation) Write(p []byte) (int, error) {
	defer close(c.answered)
	return c.Buffer.Write(p)
}

// ask asks one question.
func (s *site) ask(t testing.TB, text string, opt Options) answer {
	t.Helper()
	c := &conversation{question: bytes.NewReader(frame(text)), answered: make(chan struct{})}
	if err := Serve(t.Context(), c, c, s.store, s.meta, opt); err != nil {
		t.Fatal(err)
	}
	list := answers(t, c.Bytes())
	if len(list) != 1 {
		t.Fatalf("%d answers to %s", len(list), text)
	}
	return list[0]
}

// asking asks while the reader goes on, so that the file of an answer stays.
type asking struct {
	in  *io.PipeWriter
	out *io.PipeReader
	end chan error
}

func (s *site) start(t *testing.T, opt Options) *asking {
	t.Helper()
	inRead, in := io.Pipe()
	out, outWrite := io.Pipe()
	a := &asking{in, out, make(chan error, 1)}
	go func() { a.end <- Serve(t.Context(), inRead, outWrite, s.store, s.meta, opt) }()
	t.Cleanup(func() { in.Close() })
	return a
}

func (a *asking) header(t *testing.T, text string) (h header) {
	t.Helper()
	if _, err := a.in.Write(frame(text)); err != nil {
		t.Fatal(err)
	}
	var length [4]byte
	if _, err := io.ReadFull(a.out, length[:]); err != nil {
		t.Fatal(err)
	}
	head := make([]byte, binary.BigEndian.Uint32(length[:]))
	if _, err := io.ReadFull(a.out, head); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(head, &h); err != nil {
		t.Fatal(err)
	}
	return h
}

func TestAnswers(t *testing.T) {
	s := newSite(t, datamemory.New(clock))
	descriptor, err := json.Marshal(s.descriptor)
	if err != nil {
		t.Fatal(err)
	}
	run := `{"flow_id":"F","run_number":"1","system_tags":["runtime:dev","user:ann"],"tags":["blue"],"ts_epoch":1700000000000,"user_name":"ann"}`
	for question, want := range map[string]string{
		`{"op": "read", "path": ["F"]}`:                                                     `{"flow_id":"F","ts_epoch":1700000000000}`,
		`{"op": "read", "path": ["F", "1"]}`:                                                run,
		`{"op": "read", "path": ["F", "2"]}`:                                                `null`,
		`{"op": "read", "path": ["G"]}`:                                                     `null`,
		`{"op": "read", "path": ["F", "1", "end"]}`:                                         `null`,
		`{"op": "read", "path": ["F", "1", "start", "2"]}`:                                  `null`,
		`{"op": "children", "path": []}`:                                                    `[["F",{"flow_id":"F","ts_epoch":1700000000000}]]`,
		`{"op": "children", "path": ["F", "2"]}`:                                            `[]`,
		`{"op": "runs", "path": ["F"], "tags": ["blue", "user:ann"]}`:                       `[["1",` + run + `]]`,
		`{"op": "runs", "path": ["F"], "tags": ["red"]}`:                                    `[]`,
		`{"op": "artifacts", "path": ["F", "1", "start", "2"]}`:                             `{}`,
		`{"op": "artifacts", "path": ["F", "1", "start", "1"], "attempt": 5}`:               `{}`,
		`{"op": "info", "path": ["F", "1", "start", "1"], "attempt": 1}`:                    `{"x":{"size":5,"type":"\u003cclass 'str'\u003e"}}`,
		`{"op": "info", "path": ["F", "1", "start", "1"], "attempt": 4}`:                    `{}`,
		`{"op": "value", "path": ["F"], "digest": "` + s.small + `"}`:                       `small`,
		`{"op": "value", "path": ["F"], "digest": "` + s.small + `", "root": "/moved"}`:     `small`,
		`{"op": "include", "descriptor": ` + string(descriptor) + `}`:                       `included`,
		`{"op": "log", "path": ["F", "1", "start", "1"], "stream": "stderr"}`:               ``,
		`{"op": "log", "path": ["F", "1", "start", "1"], "stream": "stdout", "attempt": 1}`: "2023-11-14T22:13:20.000000 one \xff\n no time\n",
	} {
		if got := s.ask(t, question, Options{}); got.Error != "" || strings.TrimSuffix(got.text, "\n") != strings.TrimSuffix(want, "\n") {
			t.Errorf("%s\ngives %q %s\nwant  %q", question, got.text, got.Error, want)
		}
	}
	for question, want := range map[string]string{
		`{"op": "children", "path": ["F", "1"]}`:                              `["start"]`,
		`{"op": "children", "path": ["F", "1", "start"]}`:                     `["1"]`,
		`{"op": "artifacts", "path": ["F", "1", "start", "1"]}`:               `"` + s.small + `"`,
		`{"op": "artifacts", "path": ["F", "1", "start", "1"], "attempt": 0}`: `"` + s.large + `"`,
	} {
		got := s.ask(t, question, Options{})
		var names []string
		for _, name := range []string{"start", "1"} {
			if strings.Contains(got.text, `["`+name+`",{`) {
				names = append(names, `["`+name+`"]`)
			}
		}
		if !strings.Contains(got.text, want) && strings.Join(names, "") != want {
			t.Errorf("%s gives %q, want %s in it", question, got.text, want)
		}
	}
}

// Metadata comes newest first, so that the attempt that was recorded last counts.
func TestMetadata(t *testing.T) {
	s := newSite(t, datamemory.New(clock))
	got := s.ask(t, `{"op": "metadata", "path": ["F", "1", "start", "1"]}`, Options{})
	var rows []struct {
		Field string `json:"field_name"`
		Value any    `json:"value"`
		Ts    int64  `json:"ts_epoch"`
	}
	if err := json.Unmarshal([]byte(got.text), &rows); err != nil {
		t.Fatal(err)
	}
	done := []any{}
	for i, r := range rows {
		if i > 0 && r.Ts > rows[i-1].Ts {
			t.Errorf("%s is newer than what is before it", r.Field)
		}
		if r.Field == "attempt-done" {
			done = append(done, r.Value)
		}
		if list, ok := r.Value.([]any); r.Field == "foreach-stack" && (!ok || list[0] != "x=7") {
			t.Errorf("the foreach stack is %v", r.Value)
		}
	}
	if len(done) != 2 || done[0] != "1" {
		t.Errorf("attempts done: %v", done)
	}
}

func TestLargeAnswersAreFiles(t *testing.T) {
	s := newSite(t, datamemory.New(clock))
	dir := t.TempDir()
	a := s.start(t, Options{TempDir: dir})
	question := `{"op": "value", "path": ["F"], "digest": "` + s.large + `"}`
	first := a.header(t, question)
	data, err := os.ReadFile(first.Path)
	if err != nil || filepath.Dir(first.Path) != dir || first.Size != 500000 || datastore.Digest(data) != s.large {
		t.Errorf("%+v, %d bytes, %v", first, len(data), err)
	}
	second := a.header(t, question)
	if _, err := os.Stat(first.Path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file of the first answer is still there: %v", err)
	}
	if err := os.Remove(second.Path); err != nil {
		t.Error(err)
	}
	third := a.header(t, question)
	a.in.Close()
	if err := <-a.end; err != nil {
		t.Error(err)
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) > 0 || third.Path == "" {
		t.Errorf("left behind: %v, %v", list, err)
	}
	broken := s.ask(t, question, Options{TempDir: filepath.Join(dir, "none")})
	if !strings.Contains(broken.Error, "TMPDIR names where") {
		t.Errorf("without a folder: %+v", broken)
	}
}

// An artifact is looked for where it was written, then where the run is read; never in another kind of store.
func TestOtherRoots(t *testing.T) {
	dir := t.TempDir()
	open := func(name string) *local.Backend {
		b, err := local.Open(filepath.Join(dir, name, ".metaflow"))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	s, other := newSite(t, open("own")), datastore.New(open("other"))
	digest, err := other.SaveBytes(t.Context(), "F", []byte("elsewhere"))
	if err != nil {
		t.Fatal(err)
	}
	var opened []string
	opt := Options{Open: func(_ context.Context, root string) (*datastore.Store, error) {
		opened = append(opened, root)
		b, err := local.Open(root)
		return datastore.New(b), err
	}}
	ask := func(digest, root string) answer {
		return s.ask(t, `{"op": "value", "path": ["F"], "digest": "`+digest+`", "root": "`+root+`"}`, opt)
	}
	root := other.Backend().Root()
	if got := ask(digest, root); got.text != "elsewhere" {
		t.Errorf("from the other: %+v", got)
	}
	if got := ask(s.small, root); got.text != "small" {
		t.Errorf("from the own in place of the other: %+v", got)
	}
	if got := ask(digest, "s3://bucket/x"); !got.Missing || len(opened) != 2 {
		t.Errorf("of another kind: %+v, opened %v", got, opened)
	}
	if got := ask(strings.Repeat("0", 40), root); !got.Missing {
		t.Errorf("of neither: %+v", got)
	}
}

func TestWrongQuestions(t *testing.T) {
	s := newSite(t, datamemory.New(clock))
	for question, want := range map[string]string{
		``:                                  "not the expected JSON",
		`[]`:                                "not the expected JSON",
		`{}`:                                `there is no question ""`,
		`{"op": "write", "path": ["F"]}`:    `there is no question "write"`,
		`{"op": "read", "path": []}`:        "takes a pathspec of 1 to 4 parts",
		`{"op": "read", "path": ["F", ""]}`: "a part of the pathspec is empty",
		`{"op": "value", "path": ["F"], "digest": "../x"}`:                 "invalid digest",
		`{"op": "value", "path": ["../F"], "digest": "` + s.small + `"}`:   "must not hold a slash",
		`{"op": "log", "path": ["F", "1", "..", "1"], "stream": "stdout"}`: "..",
		`{"op": "log", "path": ["F", "1", "start", "1"], "stream": "x"}`:   "invalid log stream",
		`{"op": "include"}`: "has no url",
		`{"op": "include", "descriptor": {"type": "external", "url": "/etc/passwd"}}`: "does not lie in a datastore",
		`{"op": "info", "path": ["F", "1", "start", ".."], "attempt": 0}`:             "..",
	} {
		if got := s.ask(t, question, Options{}); !strings.Contains(got.Error, want) {
			t.Errorf("%s gives %+v, want %s", question, got, want)
		}
	}
	var out bytes.Buffer
	err := Serve(t.Context(), strings.NewReader("\xff\xff\xff\xffx"), &out, s.store, s.meta, Options{})
	if list := answers(t, out.Bytes()); err == nil || len(list) != 1 || !strings.Contains(list[0].Error, "too long") {
		t.Errorf("a question that is too long: %v, %+v", err, list)
	}
}

// stuck never answers, as a service that is away.
type stuck struct {
	metadata.Reader
	asked chan struct{}
}

func (s stuck) Run(ctx context.Context, _, _ string) (metadata.Run, error) {
	close(s.asked)
	<-ctx.Done()
	return metadata.Run{}, ctx.Err()
}

// A reader that waits for a service ends with the process that has asked.
func TestEndsWithItsClient(t *testing.T) {
	inRead, in := io.Pipe()
	meta, end := stuck{asked: make(chan struct{})}, make(chan error, 1)
	store := datastore.New(datamemory.New(clock))
	go func() { end <- Serve(t.Context(), inRead, io.Discard, store, meta, Options{}) }()
	if _, err := in.Write(frame(`{"op": "read", "path": ["F", "1"]}`)); err != nil {
		t.Fatal(err)
	}
	<-meta.asked
	in.Close()
	select {
	case err := <-end:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the reader goes on")
	}
}

// panics shows that a bug does not end the reader.
type panics struct{ metadata.Reader }

func (panics) Runs(context.Context, metadata.RunQuery) ([]metadata.Run, error) { panic("oops") }

func TestBugsAreAnswers(t *testing.T) {
	var out bytes.Buffer
	questions := append(frame(`{"op": "runs", "path": ["F"]}`), frame(`{"op": "none"}`)...)
	if err := Serve(t.Context(), bytes.NewReader(questions), &out, nil, panics{}, Options{}); err != nil {
		t.Fatal(err)
	}
	if list := answers(t, out.Bytes()); len(list) != 2 || !strings.HasPrefix(list[0].Error, "bug in mf: oops") {
		t.Errorf("%+v", list)
	}
}

func TestPlaces(t *testing.T) {
	p := Place{Command: []string{"/a b/mf", Command}, Datastore: "s3://b/p", Service: "https://x", Patience: "10m0s", CA: "/ca.pem"}
	if got, err := ParsePlace(p.String()); err != nil || got.String() != p.String() {
		t.Errorf("%+v, %v", got, err)
	}
	for text, want := range map[string]string{"": "is not set", "{": "not what mf made it", "{}": "names no datastore"} {
		if _, err := ParsePlace(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// Whatever is asked, there is one whole answer for each whole question.
func FuzzServe(f *testing.F) {
	s := newSite(f, datamemory.New(clock))
	for _, text := range []string{
		`{"op": "read", "path": ["F", "1", "start", "1"]}`, `{"op": "children", "path": []}`, `{"op": "metadata", "path": ["F", "1", "start", "1"]}`,
		`{"op": "value", "path": ["F"], "digest": "` + s.large + `", "root": "/x"}`, `{"op": "include", "descriptor": {"type": "uploader-v2", "url": "local:///x/data/F/y"}}`,
		`{"op": "log", "path": ["F", "1", "start", "1"], "stream": "stdout", "attempt": -1}`, `{"op": "info", "path": ["F", "1", "start", "1"]}`,
	} {
		f.Add(frame(text))
	}
	f.Add([]byte("\x00\x00\x00"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, in []byte) {
		whole := 0
		for rest := in; len(rest) >= 4; whole++ {
			n := binary.BigEndian.Uint32(rest)
			if n <= maxQuestion && uint32(len(rest)-4) < n {
				break
			}
			if n > maxQuestion {
				whole++
				break
			}
			rest = rest[4+n:]
		}
		var out bytes.Buffer
		err := Serve(t.Context(), bytes.NewReader(in), &out, s.store, s.meta, Options{TempDir: dir})
		list := answers(t, out.Bytes())
		if len(list) != whole || err != nil && !strings.Contains(err.Error(), "too long") {
			t.Errorf("%d answers to %d questions, %v", len(list), whole, err)
		}
		for _, a := range list {
			if strings.HasPrefix(a.Error, "bug") {
				t.Error(a.Error)
			}
		}
	})
}
