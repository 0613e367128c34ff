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
	switch {
	case hasBraces(text):
		e.list = append(e.list, diag.Errorf(span, "argo-braces", "%s holds \"{{\", which Argo would replace", what).
			WithDetail("Argo has no way to write it. Keep such a text in a file of the code package or an artifact."))
	case len(text) >= maxTextBytes:
		e.list = append(e.list, diag.Errorf(span, "text-too-long",
			"%s has %d bytes, but a process can be given %d", what, len(text), maxTextBytes-1).
			WithDetail("Keep it in a file of the code package or an artifact."))
	case hasControls(text):
		e.list = append(e.list, diag.Errorf(span, "argo-control-characters",
			"%s holds control characters, which Argo cannot pass on", what))
	}
}

func hasBraces(text string) bool { return strings.Contains(text, "{{") }

// hasControls: Argo quotes a value as Go does where it puts it into JSON, which does not know all of Go's escapes.
func hasControls(text string) bool { return !json.Valid([]byte(strconv.Quote(text))) }

// escapeDollars writes a container's environment variable so that Kubernetes leaves it as it is: "$(NAME)" would be
// replaced by another variable's value, and "$$" stands for "$".
func escapeDollars(text string) string {
	var b strings.Builder
	for i := range len(text) {
		if text[i] == '$' && i+1 < len(text) && (text[i+1] == '$' || text[i+1] == '(') {
			b.WriteByte('$')
		}
		b.WriteByte(text[i])
	}
	return b.String()
}
