package pickle

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// maxJSON bounds the JSON text of one value, in bytes: shared parts of a value are written as often as they are met.
const maxJSON = 1 << 30

// ToJSON returns the compact JSON text of plain data. Tuples and sets become arrays, dict keys text. What JSON cannot
// say becomes an object with one key: {"$bytes": base64}, {"$float": "nan"}, {"$python": class}.
func ToJSON(v any) ([]byte, error) { return toJSON(v, maxJSON) }

func toJSON(v any, limit int) ([]byte, error) {
	b := jsonBuffer{limit: limit}
	if err := writeJSON(&b, v, 0); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// maxNumberBits bounds the numbers that are written in decimal, the time for which grows faster than their length.
const maxNumberBits = 1 << 18

// jsonBuffer is a buffer that is full at some point.
type jsonBuffer struct {
	bytes.Buffer
	limit int
}

func writeJSON(b *jsonBuffer, v any, depth int) error {
	if b.Len() > b.limit || depth > maxDepth {
		return errors.New("the value is too large or too deep for JSON")
	}
	switch v := v.(type) {
	case nil:
		b.WriteString("null")
	case bool:
		b.WriteString(strconv.FormatBool(v))
	case int:
		b.WriteString(strconv.Itoa(v))
	case int64:
		b.WriteString(strconv.FormatInt(v, 10))
	case *big.Int:
		if v.BitLen() > maxNumberBits {
			return fmt.Errorf("a whole number of %d bits is too large for JSON", v.BitLen())
		}
		b.WriteString(v.String())
	case float64:
		writeFloat(b, v)
	case string:
		writeText(b, v)
	case []byte:
		fmt.Fprintf(b, `{"$bytes":"%s"}`, base64.StdEncoding.EncodeToString(v))
	case []any:
		return writeArray(b, v, depth)
	case Tuple:
		return writeArray(b, v, depth)
	case Set:
		return writeArray(b, v, depth)
	case map[string]any:
		return writeObject(b, sortedDict(v), depth)
	case Dict:
		return writeObject(b, v, depth)
	case ForeachFrame:
		return writeObject(b, Dict{{"step", v.Step}, {"var", v.Var}, {"num_splits", v.NumSplits}, {"index", v.Index}, {"value", v.Value}}, depth)
	case ExceptionWrapper:
		return writeObject(b, Dict{{"exception", v.Exception}, {"type", v.Type}, {"stacktrace", v.Stacktrace}}, depth)
	case ParallelUBF:
		return writeObject(b, Dict{{"num_parallel", int64(v.NumParallel)}}, depth)
	case IncludedFile:
		return writeObject(b, Dict{{"$file", v.Descriptor}}, depth)
	case Opaque:
		return writeObject(b, Dict{{"$python", v.Class}}, depth)
	default:
		return fmt.Errorf("a %T is not plain data", v)
	}
	return nil
}

func writeFloat(b *jsonBuffer, f float64) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		fmt.Fprintf(b, `{"$float":"%s"}`, strings.ToLower(strconv.FormatFloat(f, 'g', -1, 64)))
		return
	}
	text := strconv.FormatFloat(f, 'g', -1, 64)
	if !strings.ContainsAny(text, ".e") {
		text += ".0"
	}
	b.WriteString(text)
}

func writeText(b *jsonBuffer, s string) {
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s)       // a string into memory: cannot fail
	b.Truncate(b.Len() - 1) // the newline
}

func writeArray(b *jsonBuffer, items []any, depth int) error {
	b.WriteByte('[')
	for i, item := range items {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := writeJSON(b, item, depth+1); err != nil {
			return err
		}
	}
	b.WriteByte(']')
	return nil
}

func writeObject(b *jsonBuffer, d Dict, depth int) error {
	b.WriteByte('{')
	for i, item := range d {
		if i > 0 {
			b.WriteByte(',')
		}
		key, ok := item.Key.(string)
		if !ok {
			key = Repr(item.Key)
		}
		writeText(b, key)
		b.WriteByte(':')
		if err := writeJSON(b, item.Value, depth+1); err != nil {
			return err
		}
	}
	b.WriteByte('}')
	return nil
}

// FromJSON reads one JSON value as plain data: objects become a Dict in their order, whole numbers int64 or *big.Int.
func FromJSON(text []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	v, err := readJSON(dec, 0)
	if err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("unexpected end of JSON input")
		}
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("unexpected text after the JSON value")
	}
	return v, nil
}

func readJSON(dec *json.Decoder, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("nested more than %d levels deep", maxDepth)
	}
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch t := token.(type) {
	case json.Number:
		return readNumber(t.String())
	case json.Delim:
		if t == '[' {
			return readArray(dec, depth)
		}
		return readObject(dec, depth)
	}
	return token, nil // nil, bool, string
}

func readNumber(text string) (any, error) {
	if strings.ContainsAny(text, ".eE") {
		f, err := strconv.ParseFloat(text, 64)
		if err != nil && math.IsInf(f, 0) {
			return nil, fmt.Errorf("the number %s is too large", text)
		}
		return f, nil
	}
	if len(text) > 10_000 {
		return nil, errors.New("a number of more than 10,000 digits")
	}
	n, ok := new(big.Int).SetString(text, 10)
	if !ok {
		return nil, fmt.Errorf("%q is no number", text)
	}
	return shrink(n), nil
}

func readArray(dec *json.Decoder, depth int) (any, error) {
	items := []any{}
	for dec.More() {
		item, err := readJSON(dec, depth+1)
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	_, err := dec.Token()
	return items, err
}

func readObject(dec *json.Decoder, depth int) (any, error) {
	d := Dict{}
	at := map[string]int{}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, err
		}
		key, ok := token.(string)
		if !ok {
			return nil, errors.New("an object key that is no text")
		}
		value, err := readJSON(dec, depth+1)
		if err != nil {
			return nil, err
		}
		if i, again := at[key]; again {
			d[i].Value = value
			continue
		}
		at[key] = len(d)
		d = append(d, Item{key, value})
	}
	_, err := dec.Token()
	return d, err
}

// maxRepr bounds what Repr returns, in bytes.
const maxRepr = 1 << 20

// Repr returns plain data as a person would like to read it, close to Python's repr; cut after 1 MiB.
func Repr(v any) string {
	var b strings.Builder
	writeRepr(&b, v)
	if b.Len() > maxRepr {
		return b.String()[:maxRepr] + "…"
	}
	return b.String()
}

func writeRepr(b *strings.Builder, v any) {
	if b.Len() > maxRepr {
		return
	}
	switch v := v.(type) {
	case nil:
		b.WriteString("None")
	case bool:
		b.WriteString(map[bool]string{true: "True", false: "False"}[v])
	case string:
		b.WriteString(quote(v))
	case []byte:
		b.WriteString("b" + quote(string(v)))
	case []any:
		writeItems(b, "[", v, "]")
	case Tuple:
		if len(v) == 1 {
			writeItems(b, "(", v, ",)")
			return
		}
		writeItems(b, "(", v, ")")
	case Set:
		writeItems(b, "{", v, "}")
	case Dict:
		b.WriteByte('{')
		for i, item := range v {
			if i > 0 {
				b.WriteString(", ")
			}
			writeRepr(b, item.Key)
			b.WriteString(": ")
			writeRepr(b, item.Value)
		}
		b.WriteByte('}')
	case map[string]any:
		writeRepr(b, sortedDict(v))
	case Opaque:
		b.WriteString("<" + v.Class + ">")
	default:
		text, err := toJSON(v, maxRepr)
		if err != nil {
			text = fmt.Appendf(nil, "<%T>", v)
		}
		b.Write(text)
	}
}

func writeItems(b *strings.Builder, open string, items []any, end string) {
	b.WriteString(open)
	for i, item := range items {
		if b.Len() > maxRepr {
			return
		}
		if i > 0 {
			b.WriteString(", ")
		}
		writeRepr(b, item)
	}
	b.WriteString(end)
}

func quote(s string) string {
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		return strconv.Quote(s)
	}
	q := strconv.Quote(s)
	inner := strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
	return "'" + strings.ReplaceAll(inner, "'", `\'`) + "'"
}
