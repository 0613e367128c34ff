package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// maxDepth bounds the nesting of request bodies: rows are flat, tags are lists of texts.
const maxDepth = 64

// checkJSON reports why a body is no acceptable JSON text. What scans a body afterwards relies on it.
func checkJSON(body []byte) error {
	if !utf8.Valid(body) {
		return errors.New("the body is not valid UTF-8")
	}
	depth, text := 0, false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case text && c == '\\':
			i++
		case c == '"':
			text = !text
		case text:
		case c == '[' || c == '{':
			if depth++; depth > maxDepth {
				return fmt.Errorf("the body is nested more than %d deep", maxDepth)
			}
		case c == ']' || c == '}':
			depth--
		}
	}
	if !json.Valid(body) {
		return jsonError(body)
	}
	return nil
}

// jsonError says where invalid JSON goes wrong.
func jsonError(body []byte) error {
	var v any
	err := json.Unmarshal(body, &v)
	var at *json.SyntaxError
	switch {
	case len(body) == 0:
		return errors.New("the body is empty: JSON is expected")
	case errors.As(err, &at):
		return fmt.Errorf("the body is not valid JSON at byte %d: %s", at.Offset, at.Error())
	}
	return errors.New("the body is not valid JSON")
}

func skipSpace(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\n' || b[0] == '\t' || b[0] == '\r') {
		b = b[1:]
	}
	return b
}

// cutValue splits the first value off valid JSON text.
func cutValue(b []byte) (value, rest []byte) {
	b = skipSpace(b)
	if len(b) == 0 {
		return nil, nil
	}
	switch b[0] {
	case '"':
		n := stringLen(b)
		return b[:n], b[n:]
	case '{', '[':
		depth := 0
		for i := 0; i < len(b); i++ {
			switch b[i] {
			case '"':
				i += stringLen(b[i:]) - 1
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return b[:i+1], b[i+1:]
				}
			}
		}
		return b, nil
	}
	for i, c := range b {
		switch c {
		case ',', ']', '}', ' ', '\n', '\t', '\r':
			return b[:i], b[i:]
		}
	}
	return b, nil
}

// stringLen is the length of the JSON string that b begins with, quotes included.
func stringLen(b []byte) int {
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(b)
}

// eachElement calls f with the values of a valid JSON array until it returns false; anything else has none.
func eachElement(b []byte, f func(value []byte) bool) {
	b = skipSpace(b)
	if len(b) == 0 || b[0] != '[' {
		return
	}
	b = b[1:]
	for {
		b = skipSpace(b)
		if len(b) == 0 || b[0] == ']' {
			return
		}
		var v []byte
		v, b = cutValue(b)
		if len(v) == 0 || !f(v) {
			return
		}
		if b = skipSpace(b); len(b) > 0 && b[0] == ',' {
			b = b[1:]
		}
	}
}

// eachMember calls f with the names and values of a valid JSON object; anything else has none. Of a name that occurs
// twice the last value counts, as f sees it last.
func eachMember(b []byte, f func(name string, value []byte)) {
	b = skipSpace(b)
	if len(b) == 0 || b[0] != '{' {
		return
	}
	b = b[1:]
	for {
		b = skipSpace(b)
		if len(b) == 0 || b[0] != '"' {
			return
		}
		n := stringLen(b)
		name := unquote(b[:n])
		b = skipSpace(b[n:])
		if len(b) == 0 {
			return
		}
		var v []byte
		if v, b = cutValue(b[1:]); len(v) == 0 {
			return
		}
		f(name, v)
		if b = skipSpace(b); len(b) > 0 && b[0] == ',' {
			b = b[1:]
		}
	}
}

// kind is the first byte of a value, which tells its type: '{', '[', '"', 't', 'f', 'n', or that of a number; 0 of none.
func kind(v []byte) byte {
	if len(v) == 0 {
		return 0
	}
	return v[0]
}

// scalar reads a value as the text that the database would make of it. ok is false for an array or object; null is true
// for null.
func scalar(v []byte) (text string, null, ok bool) {
	switch kind(v) {
	case '{', '[':
		return "", false, false
	case 'n', 0:
		return "", true, true
	case '"':
		return unquote(v), false, true
	}
	return string(v), false, true
}
