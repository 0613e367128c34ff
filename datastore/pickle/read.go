package pickle

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
)

// Unmarshal decodes a pickle of protocol 0 to 5. The error is an *OpaqueError when it holds an object that is not plain
// data, and says what is wrong when it is no pickle. Memory stays within a small multiple of the input.
func Unmarshal(data []byte) (any, error) { return unmarshal(data, false) }

// UnmarshalPartly is Unmarshal for showing a value to a person: objects that are not plain data are left in their place
// as an Opaque each.
func UnmarshalPartly(data []byte) (any, error) { return unmarshal(data, true) }

func unmarshal(data []byte, partly bool) (any, error) {
	r := &reader{data: data, memo: map[int]any{}}
	v, err := r.run()
	if err != nil {
		return nil, err
	}
	f := finisher{done: map[any]any{}, active: map[any]bool{}, partly: partly}
	return f.finish(v, 0)
}

// Values under construction: containers may still grow after they have been memoized.
type (
	mark     struct{}
	listNode struct{ items []any }
	dictNode struct{ items []any } // key, value, key, value …
	setNode  struct{ items []any }
	class    struct{ module, name string }
	// object is an instance of a class, or a tuple (no class).
	object struct {
		class class
		args  []any
		state any
	}
)

func (o *object) isTuple() bool { return o.class == class{"", "tuple"} }

func (c class) String() string { return c.module + "." + c.name }

var errShort = errors.New("the pickle is cut short")

type reader struct {
	data  []byte
	pos   int
	stack []any
	memo  map[int]any
}

func (r *reader) run() (any, error) {
	for {
		op, err := r.take(1)
		if err != nil {
			return nil, err
		}
		if op[0] == '.' {
			return r.pop()
		}
		if err := r.step(op[0]); err != nil {
			return nil, fmt.Errorf("pickle, byte %d: %w", r.pos, err)
		}
	}
}

func (r *reader) take(n int) ([]byte, error) {
	if n < 0 || n > len(r.data)-r.pos {
		return nil, errShort
	}
	b := r.data[r.pos : r.pos+n]
	r.pos += n
	return b, nil
}

func (r *reader) line() (string, error) {
	i := bytes.IndexByte(r.data[r.pos:], '\n')
	if i < 0 {
		return "", errShort
	}
	b, err := r.take(i + 1)
	return strings.TrimSuffix(string(b[:i]), "\r"), err
}

// length reads an unsigned number of n bytes, little endian.
func (r *reader) length(n int) (int, error) {
	b, err := r.take(n)
	if err != nil {
		return 0, err
	}
	var full [8]byte
	copy(full[:], b)
	v := binary.LittleEndian.Uint64(full[:])
	if v > math.MaxInt32 && v > uint64(len(r.data)) {
		return 0, errShort
	}
	return int(v), nil
}

func (r *reader) push(v any) { r.stack = append(r.stack, v) }

func (r *reader) pop() (any, error) {
	if len(r.stack) == 0 {
		return nil, errors.New("the stack is empty")
	}
	v := r.stack[len(r.stack)-1]
	r.stack = r.stack[:len(r.stack)-1]
	if _, isMark := v.(mark); isMark {
		return nil, errors.New("a mark where a value is expected")
	}
	return v, nil
}

// popMark removes what stands above the last mark.
func (r *reader) popMark() ([]any, error) {
	for i := len(r.stack) - 1; i >= 0; i-- {
		if _, isMark := r.stack[i].(mark); isMark {
			items := slices.Clone(r.stack[i+1:])
			r.stack = r.stack[:i]
			return items, nil
		}
	}
	return nil, errors.New("no mark")
}

func (r *reader) top() (any, error) {
	if len(r.stack) == 0 {
		return nil, errors.New("the stack is empty")
	}
	return r.stack[len(r.stack)-1], nil
}

// step executes one opcode. A flat switch over them all.
func (r *reader) step(op byte) error {
	switch op {
	case 0x80: // PROTO
		b, err := r.take(1)
		if err == nil && b[0] > 5 {
			return fmt.Errorf("protocol %d is not known", b[0])
		}
		return err
	case 0x95: // FRAME
		_, err := r.take(8)
		return err
	case '(':
		r.push(mark{})
	case '0':
		if len(r.stack) == 0 {
			return errors.New("the stack is empty")
		}
		r.stack = r.stack[:len(r.stack)-1]
	case '1':
		_, err := r.popMark()
		return err
	case '2':
		v, err := r.top()
		r.push(v)
		return err
	case 'N':
		r.push(nil)
	case 0x88:
		r.push(true)
	case 0x89:
		r.push(false)
	case 'I', 'L', 'J', 'K', 'M', 0x8a, 0x8b, 'F', 'G':
		return r.number(op)
	case 'S', 'V', 'U', 'T', 'X', 0x8c, 0x8d, 'C', 'B', 0x8e, 0x96:
		return r.text(op)
	case ']', 'l', 'a', 'e', '}', 'd', 's', 'u', ')', 't', 0x85, 0x86, 0x87, 0x8f, 0x90, 0x91:
		return r.container(op)
	case 'p', 'q', 'r', 0x94, 'g', 'h', 'j':
		return r.memory(op)
	case 'c', 0x93, 'R', 0x81, 0x92, 'b', 'i', 'o':
		return r.build(op)
	case 'P', 'Q', 0x82, 0x83, 0x84, 0x97, 0x98:
		return &OpaqueError{Class: "(persistent or out-of-band data)"}
	default:
		return fmt.Errorf("%#x is no opcode", op)
	}
	return nil
}

func (r *reader) number(op byte) error {
	switch op {
	case 'I', 'L', 'F':
		text, err := r.line()
		if err != nil {
			return err
		}
		return r.textNumber(op, text)
	case 'G':
		b, err := r.take(8)
		if err == nil {
			r.push(math.Float64frombits(binary.BigEndian.Uint64(b)))
		}
		return err
	case 0x8a, 0x8b:
		n, err := r.length(map[byte]int{0x8a: 1, 0x8b: 4}[op])
		if err != nil {
			return err
		}
		b, err := r.take(n)
		if err == nil {
			r.push(twosComplement(b))
		}
		return err
	}
	b, err := r.take(map[byte]int{'J': 4, 'K': 1, 'M': 2}[op])
	if err != nil {
		return err
	}
	switch op {
	case 'J':
		r.push(int64(int32(binary.LittleEndian.Uint32(b))))
	case 'K':
		r.push(int64(b[0]))
	default:
		r.push(int64(binary.LittleEndian.Uint16(b)))
	}
	return nil
}

func (r *reader) textNumber(op byte, text string) error {
	if op == 'F' {
		f, err := strconv.ParseFloat(text, 64)
		if err != nil && !errors.Is(err, strconv.ErrRange) {
			return fmt.Errorf("%q is no number", text)
		}
		r.push(f)
		return nil
	}
	if op == 'I' && (text == "00" || text == "01") {
		r.push(text == "01")
		return nil
	}
	text = strings.TrimSuffix(text, "L")
	// The time to read a decimal number grows with the square of its length.
	if len(text) > 10_000 {
		return errors.New("a number of more than 10,000 digits")
	}
	n, ok := new(big.Int).SetString(text, 10)
	if !ok {
		return fmt.Errorf("%q is no number", text)
	}
	r.push(shrink(n))
	return nil
}

func shrink(n *big.Int) any {
	if n.IsInt64() {
		return n.Int64()
	}
	return n
}

func twosComplement(b []byte) any {
	be := slices.Clone(b)
	slices.Reverse(be)
	n := new(big.Int).SetBytes(be)
	if len(be) > 0 && be[0]&0x80 != 0 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(be))))
	}
	return shrink(n)
}

func (r *reader) text(op byte) error {
	switch op {
	case 'S', 'V':
		text, err := r.line()
		if err != nil {
			return err
		}
		if op == 'V' {
			r.push(rawUnicode(text))
			return nil
		}
		if len(text) < 2 || text[0] != text[len(text)-1] {
			return errors.New("a text without quotes")
		}
		text, err = unescape(text[1 : len(text)-1])
		r.push(text)
		return err
	}
	width := map[byte]int{'U': 1, 'T': 4, 'X': 4, 0x8c: 1, 0x8d: 8, 'C': 1, 'B': 4, 0x8e: 8, 0x96: 8}[op]
	n, err := r.length(width)
	if err != nil {
		return err
	}
	b, err := r.take(n)
	if err != nil {
		return err
	}
	switch op {
	case 'C', 'B', 0x8e, 0x96:
		r.push(slices.Clone(b))
	default:
		r.push(string(b))
	}
	return nil
}

// rawUnicode resolves \uXXXX and \UXXXXXXXX.
func rawUnicode(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		width := 0
		if s[i] == '\\' && i+1 < len(s) {
			width = map[byte]int{'u': 4, 'U': 8}[s[i+1]]
		}
		if width > 0 && i+2+width <= len(s) {
			if n, err := strconv.ParseUint(s[i+2:i+2+width], 16, 32); err == nil {
				writeRune(&b, rune(n))
				i += 1 + width
				continue
			}
		}
		b.WriteRune(rune(s[i]))
	}
	return b.String()
}

// writeRune writes a character as Python's surrogatepass does: half of a surrogate pair keeps its three bytes.
func writeRune(b *strings.Builder, r rune) {
	if utf16.IsSurrogate(r) {
		b.Write([]byte{0xe0 | byte(r>>12), 0x80 | byte(r>>6&0x3f), 0x80 | byte(r&0x3f)})
		return
	}
	b.WriteRune(r)
}

// unescape resolves the escapes of Python 2's text in protocol 0.
func unescape(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b.WriteByte(s[i])
			continue
		}
		i++
		switch {
		case i < len(s) && strings.IndexByte(`nrt\'"`, s[i]) >= 0:
			b.WriteByte("\n\r\t\\'\""[strings.IndexByte(`nrt\'"`, s[i])])
		case i+2 < len(s) && s[i] == 'x':
			n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
			if err != nil {
				return "", errors.New("a text with a bad escape")
			}
			b.WriteByte(byte(n))
			i += 2
		default:
			return "", errors.New("a text with a bad escape")
		}
	}
	return b.String(), nil
}

func (r *reader) container(op byte) error {
	switch op {
	case ']':
		r.push(&listNode{})
	case '}':
		r.push(&dictNode{})
	case 0x8f:
		r.push(&setNode{})
	case ')':
		r.push(&object{class: class{"", "tuple"}})
	case 0x85, 0x86, 0x87:
		n := int(op - 0x84)
		if len(r.stack) < n {
			return errors.New("the stack is too short")
		}
		items := slices.Clone(r.stack[len(r.stack)-n:])
		r.stack = r.stack[:len(r.stack)-n]
		r.push(&object{class: class{"", "tuple"}, args: items})
	case 'a', 's':
		return r.appendOne(op)
	default:
		return r.fromMark(op)
	}
	return nil
}

func (r *reader) appendOne(op byte) error {
	n := map[byte]int{'a': 1, 's': 2}[op]
	if len(r.stack) < n+1 {
		return errors.New("the stack is too short")
	}
	items := slices.Clone(r.stack[len(r.stack)-n:])
	r.stack = r.stack[:len(r.stack)-n]
	return r.grow(items, op == 's')
}

// grow adds to the container on top of the stack.
func (r *reader) grow(items []any, pairs bool) error {
	top, err := r.top()
	if err != nil {
		return err
	}
	switch c := top.(type) {
	case *listNode:
		if pairs {
			return errors.New("entries for a list")
		}
		c.items = append(c.items, items...)
	case *setNode:
		c.items = append(c.items, items...)
	case *dictNode:
		if !pairs || len(items)%2 != 0 {
			return errors.New("odd entries for a dict")
		}
		c.items = append(c.items, items...)
	case *object:
		// A list or dict subclass of a class we do not know: what is in it does not matter.
		if c.isTuple() {
			return errors.New("entries for a tuple")
		}
	default:
		return errors.New("entries for something that is no container")
	}
	return nil
}

func (r *reader) fromMark(op byte) error {
	items, err := r.popMark()
	if err != nil {
		return err
	}
	switch op {
	case 'e', 0x90:
		return r.grow(items, false)
	case 'u':
		return r.grow(items, true)
	case 'l':
		r.push(&listNode{items})
	case 'd':
		if len(items)%2 != 0 {
			return errors.New("odd entries for a dict")
		}
		r.push(&dictNode{items})
	case 't':
		r.push(&object{class: class{"", "tuple"}, args: items})
	case 0x91:
		r.push(&setNode{items})
	}
	return nil
}

func (r *reader) memory(op byte) error {
	var index int
	var err error
	switch op {
	case 0x94:
		index = len(r.memo)
	case 'p', 'g':
		var text string
		if text, err = r.line(); err == nil {
			index, err = strconv.Atoi(text)
		}
	case 'q', 'h':
		index, err = r.length(1)
	default:
		index, err = r.length(4)
	}
	if err != nil {
		return err
	}
	if op == 'g' || op == 'h' || op == 'j' {
		v, ok := r.memo[index]
		if !ok {
			return fmt.Errorf("memo %d is empty", index)
		}
		r.push(v)
		return nil
	}
	v, err := r.top()
	if err != nil {
		return err
	}
	r.memo[index] = v
	return nil
}
