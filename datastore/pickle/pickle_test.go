package pickle

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"math"
	"math/big"
	"os/exec"
	"reflect"
	"testing"
)

// python prints, for each of many plain values, its pickle in every protocol and how it was made from JSON.
const python = `
import json, pickle, random, sys
random.seed(7)
# CPython refers back to an object it has met before; "fresh" makes every text and byte string an object of its own.
def fresh(v):
    if isinstance(v, str): return ''.join(list(v)) if len(v) > 1 else v
    if isinstance(v, list): return [fresh(x) for x in v]
    if isinstance(v, dict): return {fresh(k): fresh(x) for k, x in v.items()}
    return v
count = [0]
def text():
    count[0] += 1
    return 'å%d-%s' % (count[0], 'x' * random.choice([0, 3, 250, 300]))
def value(depth):
    k = random.randrange(9 if depth < 4 else 6)
    if k == 0: return random.choice([None, True, False])
    if k == 1: return random.choice([0, 1, 255, 256, 65535, 65536, -1, -128, -32768, 2**31-1, -2**31])
    if k == 2: return random.choice([2**31, -2**31-1, 2**63, -2**63, 2**64, -2**127, 2**127, 2**2048, -2**2047, 3**900])
    if k == 3: return random.choice([0.5, -1.25, 1e300, 3.141592653589793])
    if k == 4 or k == 5: return text()
    if k == 6: return [value(depth + 1) for _ in range(random.choice([0, 1, 2, 5]))]
    return {text(): value(depth + 1) for _ in range(random.choice([0, 1, 2, 5]))}
values = [value(0) for _ in range(300)]
values += [list(range(n)) for n in (999, 1000, 1001, 2000, 70000)]
values += [{'k%d' % i: i for i in range(n)} for n in (999, 1000, 1001, 2000)]
values += ['y' * n for n in (65535, 65536, 70000)] + [['z' * 70000, 'w' * 40000, 'v' * 40000, 1]]
for v in values:
    v = fresh(v)
    print(json.dumps({'json': json.dumps(v), 'pickles': [pickle.dumps(v, p).hex() for p in range(6)]}))
`

func TestAgainstPython(t *testing.T) {
	out, err := exec.Command("python3", "-c", python).Output()
	if err != nil {
		t.Fatalf("python3: %v", err)
	}
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	if len(lines) < 300 {
		t.Fatalf("only %d values", len(lines))
	}
	for i, line := range lines {
		var c struct {
			JSON    string
			Pickles []string
		}
		if err := json.Unmarshal(line, &c); err != nil {
			t.Fatal(err)
		}
		want, err := FromJSON([]byte(c.JSON))
		if err != nil {
			t.Fatalf("value %d: %v", i, err)
		}
		for protocol, text := range c.Pickles {
			data, _ := hex.DecodeString(text)
			got, err := Unmarshal(data)
			if err != nil {
				t.Fatalf("value %d, protocol %d: %v", i, protocol, err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("value %d, protocol %d: read %.200s, want %.200s", i, protocol, Repr(got), Repr(want))
			}
		}
		got, err := Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		if hex.EncodeToString(got) != c.Pickles[4] {
			t.Fatalf("value %d: %.300s\nwrote %.400x\nwant  %.400s", i, Repr(want), got, c.Pickles[4])
		}
	}
}

func TestPythonReadsRecords(t *testing.T) {
	value := []any{[]byte("a\x00b"), Tuple{}, Tuple{int64(1)}, Tuple{int64(1), int64(2), int64(3), int64(4)}, math.Inf(1),
		ForeachFrame{Step: "a", Var: "xs", NumSplits: int64(3), Index: int64(1), Value: "x"},
		ForeachFrame{Step: "b", Var: "ys", NumSplits: int64(2), Index: int64(0)},
		ExceptionWrapper{Exception: "boom", Type: "builtins.ValueError", Stacktrace: "tb"},
		ParallelUBF{NumParallel: 4}, IncludedFile{Descriptor: map[string]any{"size": int64(3)}},
	}
	data, err := Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	script := `
import collections, pickle, sys, types
class ForeachFrame(collections.namedtuple('ForeachFrame', 'step var num_splits index value')): pass
def module(name):
    m = sys.modules[name] = types.ModuleType(name); return m
module('metaflow')
class MetaflowExceptionWrapper:
    def __init__(self, exc=None): self.made = True
module('metaflow.exception').MetaflowExceptionWrapper = MetaflowExceptionWrapper
class ParallelUBF: pass
module('metaflow.flowspec').ParallelUBF = ParallelUBF
class IncludedFile: pass
module('metaflow.includefile').IncludedFile = IncludedFile
v = pickle.loads(bytes.fromhex(sys.argv[1]))
assert v[0] == b'a\0b' and v[1] == () and v[2] == (1,) and v[3] == (1, 2, 3, 4) and v[4] == float('inf'), v
assert v[5] == ('a', 'xs', 3, 1, 'x') and type(v[6]) is ForeachFrame and v[6].value is None, v
assert v[7].made and v[7].exception == 'boom' and v[7].type == 'builtins.ValueError' and v[7].stacktrace == 'tb'
assert v[8].num_parallel == 4 and v[9]._descriptor == {'size': 3} and v[9]._cached_size is None
`
	if out, err := exec.Command("python3", "-c", script, hex.EncodeToString(data)).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	back, err := Unmarshal(data)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(back, any(value)) {
		t.Errorf("read back %s", Repr(back))
	}
}

func TestHostile(t *testing.T) {
	for name, text := range map[string]string{
		"empty": "", "no stop": "N", "huge length": "\x80\x04B\xff\xff\xff\x7f.", "huge length 8": "\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
		"contains itself": "]\x94h\x00a.", "no mark": "]e.", "bad memo": "h\x05.", "pop nothing": "0.", "state without object": "N}b.",
		"unknown opcode": "\xff.", "odd dict": "(Nd.", "code": "cos\nsystem\n(S'true'\ntR.", "protocol 9": "\x80\x09N.",
		"mark as value": "(.",
	} {
		if v, err := Unmarshal([]byte(text)); err == nil {
			t.Errorf("%s: read %s", name, Repr(v))
		}
	}
	// Shared parts stay shared: a pickle of 200 bytes must not become gigabytes.
	bomb := "]\x94"
	for i := range 60 {
		bomb += "](h" + string(rune(i)) + "h" + string(rune(i)) + "e\x94"
	}
	v, err := Unmarshal([]byte(bomb + "."))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := toJSON(v, 1<<20); err == nil {
		t.Error("the bomb went off as JSON")
	}
	if _, err := marshal(v, 1<<20); err == nil {
		t.Error("the bomb went off as a pickle")
	}
	if n := len(Repr(v)); n > maxRepr+10 {
		t.Errorf("the bomb went off as %d bytes of text", n)
	}
}

func TestJSON(t *testing.T) {
	for _, text := range []string{`{"b":1,"a":[1.5,null,true,"å<"]}`, `12345678901234567890123`, `"x"`, `-0.0`, `1e+300`, `[]`, `{}`} {
		v, err := FromJSON([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		got, err := ToJSON(v)
		if err != nil || string(got) != text && text != "-0.0" {
			t.Errorf("%s became %s, %v", text, got, err)
		}
	}
	for _, text := range []string{``, `{`, `[1,]`, `1 2`, `{"a" 1}`, `1e999`, `nan`} {
		if v, err := FromJSON([]byte(text)); err == nil {
			t.Errorf("%q read as %s", text, Repr(v))
		}
	}
	if got := Repr(Dict{{"it's", Tuple{int64(1)}}, {"n", big.NewInt(3)}, {"b", []byte("x\n")}}); got != `{"it's": (1,), 'n': 3, 'b': b'x\n'}` {
		t.Error(got)
	}
}

func FuzzUnmarshal(f *testing.F) {
	for _, v := range []any{nil, []any{int64(1), "a"}, Dict{{"k", Tuple{1.5}}}, ForeachFrame{Step: "a", Var: "b"}} {
		data, err := Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("(lp0\nI1\naS'x'\np1\na."))
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := Unmarshal(data)
		if err != nil {
			return
		}
		if len(data) > 10_000 {
			return
		}
		again, err := marshal(v, 1<<20)
		if err != nil {
			return
		}
		if _, err := Unmarshal(again); err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
	})
}

func FuzzFromJSON(f *testing.F) {
	for _, text := range []string{`{"b":1,"a":[1.5,null,true,"å<"]}`, `12345678901234567890123`, `{"a":1,"a":2}`, `-0`, `1e-5`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		v, err := FromJSON(text)
		if err != nil {
			return
		}
		if !json.Valid(text) {
			t.Fatalf("%q is no JSON", text)
		}
		data, err := Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		back, err := Unmarshal(data)
		if err != nil || !reflect.DeepEqual(back, v) {
			t.Fatalf("%q: the pickle reads back as %s, %v", text, Repr(back), err)
		}
		again, err := ToJSON(v)
		if err != nil {
			t.Fatal(err)
		}
		if twice, err := FromJSON(again); err != nil || !reflect.DeepEqual(twice, v) {
			t.Fatalf("%q became %s, %v", text, again, err)
		}
	})
}
