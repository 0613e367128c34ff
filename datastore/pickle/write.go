package pickle

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/big"
	"slices"
	"unicode/utf8"
)

const (
	frameMin    = 4
	frameTarget = 64 << 10
	batchSize   = 1000
	maxDepth    = 500
	maxOutput   = 2 << 30
)

// Marshal returns the pickle of plain data in protocol 4.
func Marshal(v any) ([]byte, error) { return marshal(v, maxOutput) }

func marshal(v any, limit int) ([]byte, error) {
	w := &writer{out: []byte{0x80, 4}, frame: -1, classes: map[string]int{}, limit: limit}
	if err := w.save(v, 0); err != nil {
		return nil, err
	}
	w.op('.')
	w.closeFrame()
	return w.out, nil
}

// writer follows CPython's C pickler, framing included.
type writer struct {
	out     []byte
	limit   int // of the output, in bytes: shared parts of a value are written as often as they are met
	frame   int // where the current frame's header starts; -1 if none is open
	memo    int // number of objects memoized so far
	classes map[string]int
}

func (w *writer) write(data ...byte) {
	if w.frame < 0 {
		w.frame = len(w.out)
		w.out = append(w.out, 0x95, 0, 0, 0, 0, 0, 0, 0, 0)
	}
	w.out = append(w.out, data...)
}

func (w *writer) op(code byte) { w.write(code) }

func (w *writer) closeFrame() {
	if w.frame < 0 {
		return
	}
	body := len(w.out) - w.frame - 9
	if body >= frameMin {
		binary.LittleEndian.PutUint64(w.out[w.frame+1:], uint64(body))
	} else {
		w.out = append(w.out[:w.frame], w.out[w.frame+9:]...)
	}
	w.frame = -1
}

// boundary closes a frame that has grown large enough.
func (w *writer) boundary() {
	if w.frame >= 0 && len(w.out)-w.frame-9 >= frameTarget {
		w.closeFrame()
	}
}

func (w *writer) memoize() int {
	w.op(0x94)
	w.memo++
	return w.memo - 1
}

func (w *writer) get(index int) {
	if index < 256 {
		w.write('h', byte(index))
		return
	}
	w.write(binary.LittleEndian.AppendUint32([]byte{'j'}, uint32(index))...)
}

// payload writes a header and its data; large data stands outside any frame.
func (w *writer) payload(header, data []byte) {
	if len(data) < frameTarget {
		w.write(header...)
		w.write(data...)
		return
	}
	w.closeFrame()
	w.out = append(append(w.out, header...), data...)
}

func (w *writer) save(v any, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("the value is nested more than %d levels deep", maxDepth)
	}
	if len(w.out) > w.limit {
		return errors.New("the value is too large")
	}
	w.boundary()
	switch v := v.(type) {
	case nil:
		w.op('N')
	case bool:
		w.op(map[bool]byte{true: 0x88, false: 0x89}[v])
	case int:
		w.integer(int64(v))
	case int64:
		w.integer(v)
	case *big.Int:
		w.bigInteger(v)
	case float64:
		w.write(binary.BigEndian.AppendUint64([]byte{'G'}, math.Float64bits(v))...)
	case string:
		if !utf8.ValidString(v) && !isText(v) {
			return fmt.Errorf("the text %.20q is not UTF-8; make it bytes", v)
		}
		w.text(v)
	case []byte:
		w.bytes(v)
	case []any:
		return w.list(v, depth)
	case Tuple:
		return w.tuple(v, depth)
	case Dict:
		return w.dict(v, depth)
	case map[string]any:
		return w.dict(sortedDict(v), depth)
	default:
		return w.record(v, depth)
	}
	return nil
}

func sortedDict(m map[string]any) Dict {
	d := make(Dict, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		d = append(d, Item{k, m[k]})
	}
	return d
}

func (w *writer) integer(n int64) {
	switch {
	case n >= 0 && n < 1<<8:
		w.write('K', byte(n))
	case n >= 0 && n < 1<<16:
		w.write('M', byte(n), byte(n>>8))
	case n >= math.MinInt32 && n <= math.MaxInt32:
		w.write(binary.LittleEndian.AppendUint32([]byte{'J'}, uint32(n))...)
	default:
		w.bigInteger(big.NewInt(n))
	}
}

// bigInteger writes the shortest two's complement, little endian.
func (w *writer) bigInteger(n *big.Int) {
	if n.IsInt64() && n.Int64() >= math.MinInt32 && n.Int64() <= math.MaxInt32 {
		w.integer(n.Int64())
		return
	}
	size := n.BitLen()/8 + 1
	value := n
	if n.Sign() < 0 {
		// -2^(8k-1) fits into k bytes.
		if low := new(big.Int).Add(n, big.NewInt(1)); low.BitLen()/8+1 < size {
			size = low.BitLen()/8 + 1
		}
		value = new(big.Int).Add(n, new(big.Int).Lsh(big.NewInt(1), uint(8*size)))
	}
	data := value.FillBytes(make([]byte, size))
	slices.Reverse(data)
	if size < 256 {
		w.write(0x8a, byte(size))
	} else {
		w.write(binary.LittleEndian.AppendUint32([]byte{0x8b}, uint32(size))...)
	}
	w.write(data...)
}

func (w *writer) text(s string) {
	w.payload(textHeader(int64(len(s))), []byte(s))
	w.memoize()
}

// isText reports whether Python takes s as a text: UTF-8, in which halves of surrogate pairs may stand.
func isText(s string) bool {
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			if i+2 >= len(s) || s[i] != 0xed || s[i+1] < 0xa0 || s[i+1] > 0xbf || s[i+2]&0xc0 != 0x80 {
				return false
			}
			n = 3
		}
		i += n
	}
	return true
}

func (w *writer) bytes(b []byte) {
	w.payload(bytesHeader(int64(len(b))), b)
	w.memoize()
}

func (w *writer) list(items []any, depth int) error {
	w.op(']')
	w.memoize()
	if len(items) == 1 {
		err := w.save(items[0], depth+1)
		w.op('a')
		return err
	}
	for batch := range slices.Chunk(items, batchSize) {
		w.op('(')
		for _, item := range batch {
			if err := w.save(item, depth+1); err != nil {
				return err
			}
		}
		w.op('e')
	}
	return nil
}

func (w *writer) tuple(items Tuple, depth int) error {
	if len(items) == 0 {
		w.op(')')
		return nil
	}
	if len(items) > 3 {
		w.op('(')
	}
	for _, item := range items {
		if err := w.save(item, depth+1); err != nil {
			return err
		}
	}
	w.op([]byte{0, 0x85, 0x86, 0x87, 't'}[min(len(items), 4)])
	w.memoize()
	return nil
}

func (w *writer) dict(d Dict, depth int) error {
	w.op('}')
	w.memoize()
	item := func(i Item) error {
		if err := w.save(i.Key, depth+1); err != nil {
			return err
		}
		return w.save(i.Value, depth+1)
	}
	if len(d) == 1 {
		err := item(d[0])
		w.op('s')
		return err
	}
	for batch := range slices.Chunk(d, batchSize) {
		w.op('(')
		for _, i := range batch {
			if err := item(i); err != nil {
				return err
			}
		}
		w.op('u')
	}
	if len(d) > 0 && len(d)%batchSize == 0 {
		w.write('(', 'u') // as CPython does after a full last batch
	}
	return nil
}

// class writes a reference to a class.
func (w *writer) class(module, name string) error {
	if index, ok := w.classes[module+"."+name]; ok {
		w.get(index)
		return nil
	}
	w.text(module)
	w.text(name)
	w.op(0x93)
	w.classes[module+"."+name] = w.memoize()
	return nil
}

func (w *writer) record(v any, depth int) error {
	switch v := v.(type) {
	case ForeachFrame:
		if err := w.class("__main__", "ForeachFrame"); err != nil {
			return err
		}
		if err := w.tuple(Tuple{v.Step, v.Var, v.NumSplits, v.Index, v.Value}, depth); err != nil {
			return err
		}
		w.op(0x81)
		w.memoize()
		return nil
	case ExceptionWrapper:
		if err := w.class("metaflow.exception", "MetaflowExceptionWrapper"); err != nil {
			return err
		}
		if err := w.tuple(Tuple{nil}, depth); err != nil {
			return err
		}
		w.op('R')
		w.memoize()
		return w.state(Dict{{"exception", v.Exception}, {"type", v.Type}, {"stacktrace", v.Stacktrace}}, depth)
	case ParallelUBF:
		return w.object("metaflow.flowspec", "ParallelUBF", Dict{{"num_parallel", int64(v.NumParallel)}}, depth)
	case IncludedFile:
		return w.object("metaflow.includefile", "IncludedFile", Dict{{"_descriptor", v.Descriptor}, {"_cached_size", nil}}, depth)
	}
	return fmt.Errorf("a %T is not plain data", v)
}

// object writes an instance of a plain class with its state.
func (w *writer) object(module, name string, state Dict, depth int) error {
	if err := w.class(module, name); err != nil {
		return err
	}
	w.write(')', 0x81)
	w.memoize()
	return w.state(state, depth)
}

func (w *writer) state(d Dict, depth int) error {
	err := w.save(d, depth+1)
	w.op('b')
	return err
}
