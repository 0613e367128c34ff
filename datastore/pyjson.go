package datastore

import (
	"strconv"
	"unicode/utf16"
)

// The functions below write JSON as Python's json.dumps does by default: ", " and ": " between, ASCII only. The format
// does not ask for it, but files of both writers can then be compared byte by byte.

const hexDigits = "0123456789abcdef"

// appendPyString appends s as a JSON string. Bytes that are no UTF-8 become U+FFFD.
func appendPyString(b []byte, s string) []byte {
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, `\n`...)
		case r == '\r':
			b = append(b, `\r`...)
		case r == '\t':
			b = append(b, `\t`...)
		case r == '\b':
			b = append(b, `\b`...)
		case r == '\f':
			b = append(b, `\f`...)
		case r >= ' ' && r <= '~':
			b = append(b, byte(r))
		case r > 0xffff:
			hi, lo := utf16.EncodeRune(r)
			b = appendPyEscape(appendPyEscape(b, hi), lo)
		default:
			b = appendPyEscape(b, r)
		}
	}
	return append(b, '"')
}

// appendPyEscape appends \uXXXX.
func appendPyEscape(b []byte, r rune) []byte {
	return append(b, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
}

// appendPyNullable appends s, or null when it is empty.
func appendPyNullable(b []byte, s string) []byte {
	if s == "" {
		return append(b, "null"...)
	}
	return appendPyString(b, s)
}

// appendPySeconds appends a time in seconds as Python prints a float; micros is in microseconds since 1970.
func appendPySeconds(b []byte, micros int64) []byte {
	start := len(b)
	b = strconv.AppendFloat(b, float64(micros)/1e6, 'f', -1, 64)
	for _, c := range b[start:] {
		if c == '.' {
			return b
		}
	}
	return append(b, ".0"...)
}
