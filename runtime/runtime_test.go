package runtime

import (
	"slices"
	"testing"

	"github.com/mf-run/mf/ir"
)

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
