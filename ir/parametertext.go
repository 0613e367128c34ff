package ir

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// MaxParameterText is the largest form of a parameter's value, in bytes, that travels through an engine; what is longer
// travels as a blob. An engine repeats it in each object that it makes of a run.
const MaxParameterText = 32 << 10

// MaxParameter is the largest value that a parameter may have, in bytes.
const MaxParameter = 64 << 20

// EncodeParameter returns the form in which a parameter's text is handed to an engine: the text itself where every layer
// between here and the task leaves it alone, else ParameterBase64, and ParameterBlob for what would be longer than
// MaxParameterText. save keeps bytes as a raw blob of the flow and returns its digest; where it is nil, a text that needs it is
// an error. DecodeParameter reads it.
func EncodeParameter(text string, save func(data []byte) (digest string, err error)) (string, error) {
	if len(text) > MaxParameter {
		return "", fmt.Errorf("it has %d bytes, more than the %d that a parameter may have; pass the name of a file or an object", len(text), MaxParameter)
	}
	form := text
	if !plainParameter(text) {
		form = ParameterBase64 + base64.StdEncoding.EncodeToString([]byte(text))
	}
	if len(form) <= MaxParameterText {
		return form, nil
	}
	if save == nil {
		return "", fmt.Errorf("it has %d bytes, and only %d go without a datastore to keep it in", len(form), MaxParameterText)
	}
	digest, err := save([]byte(text))
	if err != nil {
		return "", fmt.Errorf("keeping it in the datastore: %w", err)
	}
	return ParameterBlob + digest, nil
}

// DecodeParameter returns the text of a form that EncodeParameter or a user wrote. load reads a raw blob of the flow by its
// digest, at most MaxParameter bytes of it; it is asked for blobs only.
func DecodeParameter(form string, load func(digest string) ([]byte, error)) (string, error) {
	word := parameterForm(form)
	rest := form[len(word):]
	switch word {
	case "":
		return form, nil
	case ParameterBase64:
		data, err := base64.StdEncoding.Strict().DecodeString(rest)
		if err != nil {
			return "", fmt.Errorf("what follows %s is not base64: %w", ParameterBase64, err)
		}
		return string(data), nil
	case ParameterBlob:
		if len(rest) != 40 || strings.Trim(rest, "0123456789abcdef") != "" {
			return "", fmt.Errorf("what follows %s is not the digest of a blob: 40 hex digits", ParameterBlob)
		}
		data, err := load(rest)
		if err != nil {
			return "", fmt.Errorf("reading its blob: %w", err)
		}
		return string(data), nil
	}
	return "", fmt.Errorf("it begins with %q, a form that this mf-task does not know; a text that begins so is given in the form %s", word, ParameterBase64)
}

// ErrParameterTooLarge is that a blob is larger than MaxParameter.
var ErrParameterTooLarge = errors.New("it is larger than a parameter may be, " + strconv.Itoa(MaxParameter>>20) + " MiB")

// parameterForm returns the "mf-word:" with which the text begins; empty if it begins with none.
func parameterForm(text string) string {
	rest, ok := strings.CutPrefix(text, "mf-")
	if !ok {
		return ""
	}
	n := 0
	for n < len(rest) && (rest[n] >= 'a' && rest[n] <= 'z' || rest[n] >= '0' && rest[n] <= '9') {
		n++
	}
	if n == 0 || n == len(rest) || rest[n] != ':' {
		return ""
	}
	return text[:len("mf-")+n+1]
}

// plainParameter reports whether a text passes unchanged: through Argo, which replaces "{{" and quotes the rest as Go does;
// through Kubernetes, which replaces "$(" and "$$" in the values of variables; and through JSON and YAML.
func plainParameter(text string) bool {
	if parameterForm(text) != "" || !utf8.ValidString(text) ||
		strings.Contains(text, "{{") || strings.Contains(text, "$(") || strings.Contains(text, "$$") {
		return false
	}
	for _, r := range text {
		if r != '\n' && r != '\t' && !strconv.IsPrint(r) {
			return false
		}
	}
	return true
}
