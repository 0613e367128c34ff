package runtime

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/memory"
	"github.com/mf-run/mf/datastore/pickle"
	"github.com/mf-run/mf/ir"
	"github.com/mf-run/mf/runtime/worker"
)

// socket gives back what is written to it, until it breaks.
type socket struct {
	bytes.Buffer
	broken error
}

func (s *socket) Write(b []byte) (int, error) {
	if s.broken != nil {
		return 0, s.broken
	}
	return s.Buffer.Write(b)
}

func (*socket) Close() error { return nil }

// TestUnanswered: that a process went away before it had its answer is its end, and no fault of the machine's.
func TestUnanswered(t *testing.T) {
	wire := &socket{}
	conn := worker.NewConn(wire)
	if err := conn.Send(map[string]any{"op": "get", "name": "x", "digest": "d"}, nil); err != nil {
		t.Fatal(err)
	}
	wire.broken = fmt.Errorf("write: %w", syscall.EPIPE)
	r := &Run{}
	r.blobs.add("d", []byte("x"))
	s := &session{run: r, conn: conn, ahead: ahead{run: r}}
	if end, err := s.serve(t.Context()); end != nil || err != nil {
		t.Errorf("%v, %v", end, err)
	}
}

func TestTaskID(t *testing.T) {
	for want, at := range map[string]struct {
		path      ir.SplitPath
		iteration int
	}{
		"t": {nil, ir.NoIteration}, "t-3-0": {ir.SplitPath{3, 0}, ir.NoIteration}, "t.0": {nil, 0}, "t-12.2": {ir.SplitPath{12}, 2},
	} {
		if got := TaskID(at.path, at.iteration); got != want {
			t.Errorf("%v, %d is %s, want %s", at.path, at.iteration, got, want)
		}
	}
}

func TestExpandArgs(t *testing.T) {
	vars := map[string]string{"item": "a b", "n": "3"}
	for in, want := range map[string]string{
		"{item}": "a b", "x{n}y{n}": "x3y3", "{{item}}": "{item}", `{"k": 1}`: `{"k": 1}`, "{other}": "{other}", "{": "{", "}": "}",
		"{n": "{n", "awk '{print $1}'": "awk '{print $1}'", "{{{n}}}": "{3}",
	} {
		got, err := expandArgs([]string{in}, vars)
		if err != nil || !slices.Equal(got, []string{want}) {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

func TestConvert(t *testing.T) {
	for _, c := range []struct {
		kind ir.ParameterType
		text string
		want any
	}{
		{ir.IntType, " 12 ", int64(12)}, {ir.IntType, "1.5", nil}, {ir.IntType, "", nil}, {ir.FloatType, "1e3", 1000.0}, {ir.FloatType, "x", nil},
		{ir.BoolType, "True", true}, {ir.BoolType, "no", false}, {ir.BoolType, "maybe", nil}, {ir.StringType, " x ", " x "},
		{ir.JSONType, "[1", nil}, {ir.JSONType, "true", true},
	} {
		got, err := convert(&ir.Parameter{Name: "p", Option: "p", Type: c.kind}, c.text)
		if got != c.want || (err == nil) != (c.want != nil) {
			t.Errorf("%s %q is %v, %v; want %v", c.kind, c.text, got, err, c.want)
		}
	}
}

// TestMemoKeepsSmallValues: what commands write is not kept in memory for as long as the run lasts.
func TestMemoKeepsSmallValues(t *testing.T) {
	r := &Run{Flow: &ir.Flow{Name: "F"}, Store: datastore.New(memory.New(nil))}
	for _, v := range []any{nil, true, int64(3), "short", strings.Repeat("x", 1<<20), []byte("bytes")} {
		for range 2 {
			art, err := r.saveValue(t.Context(), v, pickle.TypeName(v))
			if data, _ := pickle.Marshal(v); err != nil || art.Digest != datastore.Digest(data) {
				t.Errorf("%.20q is %+v, %v", v, art, err)
			}
		}
	}
	if n := len(r.memo.known); n != 4 {
		t.Errorf("%d values are kept, want 4", n)
	}
}
