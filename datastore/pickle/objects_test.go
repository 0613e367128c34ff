package pickle

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// dumps returns what Python's pickle makes of expressions in each protocol.
func dumps(t *testing.T, exprs ...string) map[string][][]byte {
	t.Helper()
	const script = `
import argparse, pickle, json, collections, datetime, decimal, functools, sys
class Old(dict): pass
class Keyword:
    def __getnewargs_ex__(self): return (), {'a': 1}
    def __new__(cls, a=0): return object.__new__(cls)
exprs = json.loads(sys.argv[1])
print(json.dumps({e: [pickle.dumps(eval(e), p).hex() for p in range(6)] for e in exprs}))
`
	arg, err := json.Marshal(exprs)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("python3", "-c", script, string(arg)).Output()
	if err != nil {
		t.Fatalf("%s: %v", exprs, err)
	}
	var texts map[string][]string
	if err := json.Unmarshal(out, &texts); err != nil {
		t.Fatal(err)
	}
	all := map[string][][]byte{}
	for expr, protocols := range texts {
		for _, text := range protocols {
			data, err := hex.DecodeString(text)
			if err != nil {
				t.Fatal(err)
			}
			all[expr] = append(all[expr], data)
		}
	}
	if len(all) != len(exprs) {
		t.Fatalf("%d of %d values", len(all), len(exprs))
	}
	return all
}

// Values that JSON does not have.
func TestOtherValuesAgainstPython(t *testing.T) {
	written := map[string]any{
		`b'ab\xff\x00'`:                   []byte("ab\xff\x00"),
		`b''`:                             []byte{},
		`b'x' * 300`:                      []byte(strings.Repeat("x", 300)),
		`[b'x' * 65536, b'y' * 65535, 1]`: []any{[]byte(strings.Repeat("x", 65536)), []byte(strings.Repeat("y", 65535)), int64(1)},
		`()`:                              Tuple{},
		`((1,), (1, 2), (1, 2, 3), (1, 2, 3, 4))`: Tuple{
			Tuple{int64(1)}, Tuple{int64(1), int64(2)}, Tuple{int64(1), int64(2), int64(3)}, Tuple{int64(1), int64(2), int64(3), int64(4)}},
		`{1: 'a', None: 2, (1,): True, 2.5: b'k', -7: []}`: Dict{
			{int64(1), "a"}, {nil, int64(2)}, {Tuple{int64(1)}, true}, {2.5, []byte("k")}, {int64(-7), []any{}}},
		`"it's \n \\ \u00e9\U0001f600 \t\r\x00\x7f"`: "it's \n \\ é😀 \t\r\x00\x7f",
		`'a\ud800b\udfff'`:                           "a\xed\xa0\x80b\xed\xbf\xbf",
		`''`:                                         "",
	}
	pickles := dumps(t, slices.Collect(maps.Keys(written))...)
	for expr, want := range written {
		for protocol, data := range pickles[expr] {
			got, err := Unmarshal(data)
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%s, protocol %d: %#v, %v, want %#v", expr, protocol, got, err, want)
			}
			again, err := Marshal(want)
			if protocol == 4 && (err != nil || string(again) != string(data)) {
				t.Errorf("%s: wrote %.200q, %v, want %.200q", expr, again, err, data)
			}
		}
	}
	read := map[string]any{
		`bytearray(b'xy')`: []byte("xy"), `bytearray()`: []byte{}, `{7}`: Set{int64(7)}, `frozenset([7])`: Set{int64(7)}, `set()`: Set{}, `frozenset()`: Set{},
	}
	pickles = dumps(t, slices.Collect(maps.Keys(read))...)
	for expr, want := range read {
		for protocol, data := range pickles[expr] {
			if got, err := Unmarshal(data); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%s, protocol %d: %#v, %v, want %#v", expr, protocol, got, err, want)
			}
		}
	}
}

func TestOpaqueIsNamed(t *testing.T) {
	classes := map[string]string{
		`decimal.Decimal('1.5')`:              "decimal.Decimal",
		`[1, datetime.date(2020, 1, 1)]`:      "datetime.date",
		`collections.OrderedDict(a=1, b=2)`:   "collections.OrderedDict",
		`Old(a=1)`:                            "__main__.Old",
		`Keyword()`:                           "__main__.Keyword",
		`functools.partial(print, Keyword())`: "functools.partial",
		`{'a': complex(1, 2)}`:                "builtins.complex",
		`print`:                               "builtins.print",
		`argparse.Namespace(a=1)`:             "argparse.Namespace",
		`ValueError('x')`:                     "builtins.ValueError",
	}
	pickles := dumps(t, slices.Collect(maps.Keys(classes))...)
	for expr, want := range classes {
		for protocol, data := range pickles[expr] {
			if protocol < 4 && want == "__main__.Keyword" {
				continue // Python spells it as a call of functools.partial there
			}
			_, err := Unmarshal(data)
			var opaque *OpaqueError
			// Protocols 0 to 2 use Python 2's names.
			if !errors.As(err, &opaque) || strings.Replace(strings.Replace(opaque.Class, "__builtin__", "builtins", 1), "exceptions", "builtins", 1) != want {
				t.Errorf("%s, protocol %d: %v, want %s", expr, protocol, err, want)
			}
		}
	}
}

func TestPartly(t *testing.T) {
	const expr = `[1, {'d': datetime.date(2020, 1, 1)}, Old(a=decimal.Decimal(2)), print, (2,)]`
	for protocol, data := range dumps(t, expr)[expr] {
		got, err := UnmarshalPartly(data)
		if err != nil {
			t.Errorf("protocol %d: %v", protocol, err)
			continue
		}
		text := strings.ReplaceAll(Repr(got), "__builtin__", "builtins")
		if want := "[1, {'d': <datetime.date>}, <__main__.Old>, <builtins.print>, (2,)]"; text != want {
			t.Errorf("protocol %d: %s, want %s", protocol, text, want)
		}
	}
}

func TestMarshalRefuses(t *testing.T) {
	deep := any(nil)
	for range 10_000 {
		deep = []any{deep}
	}
	for name, v := range map[string]any{
		"bytes as text": "a\xff", "half a character": "\xed\xa0", "opaque": Opaque{Class: "x.Y"}, "struct": struct{}{}, "set": Set{}, "deep": deep,
	} {
		if data, err := Marshal(v); err == nil {
			t.Errorf("%s became %.40q", name, data)
		}
	}
	huge, err := Unmarshal(append([]byte("\x8b\x00\x00\x10\x00"), append(make([]byte, 1<<20-1), 1, '.')...))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ToJSON(huge); err == nil {
		t.Error("a number of a million bytes was written as JSON")
	}
}

func TestOldTextAndDamage(t *testing.T) {
	for text, want := range map[string]any{
		`S'it\'s \x41\n\\ "'` + "\n.": "it's A\n\\ \"", `S"q"` + "\n.": "q", "I01\n.": true, "L-5L\n.": int64(-5), "F1.5\n.": 1.5,
	} {
		if got, err := Unmarshal([]byte(text)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %#v, %v, want %#v", text, got, err, want)
		}
	}
	for _, text := range []string{`S'\q'` + "\n.", `S'\x4'` + "\n.", `S'\'` + "\n.", "(q\x00h\x00\x85.", "(\x85.", "NNR.", "N)R.", "))R.", "(o.", "NN\x93.", "))a.", "Pid\n."} {
		if v, err := Unmarshal([]byte(text)); err == nil {
			t.Errorf("%q read as %s", text, Repr(v))
		}
	}
}
