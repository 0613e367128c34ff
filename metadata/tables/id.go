package tables

import (
	"strconv"
	"unicode"
)

// IsNumber reports whether a run's or task's text in a path is its number rather than its name: whether all characters
// are numeric, those of other scripts and superscripts included, as Metaflow's service has it.
func IsNumber(text string) bool {
	for _, r := range text {
		if !unicode.IsNumber(r) {
			return false
		}
	}
	return text != ""
}

// ParseNumber reads the number of a text for which IsNumber holds; *Error as of Postgres for one that is no bigint.
func ParseNumber(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err == nil:
		return n, nil
	case isASCIIDigits(text):
		return 0, &Error{Code: "22003", Severity: "ERROR", Message: "bigint out of range"}
	}
	return 0, &Error{Code: "22P02", Severity: "ERROR", Message: "invalid input syntax for type bigint"}
}

func isASCIIDigits(text string) bool {
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return false
		}
	}
	return true
}
