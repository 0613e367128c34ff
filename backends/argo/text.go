package argo

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/mf-run/mf/diag"
)

// maxTextBytes is the longest environment variable or argument that Linux passes to a process.
const maxTextBytes = 128 << 10

// checkText reports a text that would not reach the container as it is.
func (e *emitter) checkText(span diag.Span, what, text string) {
	e.list = append(e.list, textFindings(span, what, text)...)
}

func textFindings(span diag.Span, what, text string) diag.List {
	switch {
	case hasBraces(text):
		return diag.List{diag.Errorf(span, "argo-braces", "%s holds \"{{\", which Argo would replace", what).
			WithDetail("Argo has no way to write it. Keep such a text in a file of the code package or an artifact.")}
	case len(text) >= maxTextBytes:
		return diag.List{diag.Errorf(span, "text-too-long",
			"%s has %d bytes, but a process can be given %d", what, len(text), maxTextBytes-1).
			WithDetail("Keep it in a file of the code package or an artifact.")}
	case hasControls(text):
		return diag.List{diag.Errorf(span, "argo-control-characters",
			"%s holds control characters, which Argo cannot pass on", what)}
	}
	return nil
}

func hasBraces(text string) bool { return strings.Contains(text, "{{") }

// hasControls: Argo quotes a value as Go does where it puts it into JSON, which does not know all of Go's escapes.
func hasControls(text string) bool { return !json.Valid([]byte(strconv.Quote(text))) }
