// Package diag describes what is wrong with a user's flow, and where.
//
// A Diagnostic is a user's mistake: it has a position in the user's file, a severity, a stable code and a
// sentence that says what to do. Machine failures are ordinary wrapped errors and never pass through here.
// The package imports only the standard library.
package diag

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Span is a range in a source file. Line and Col are 1-based; Col counts Unicode code points. A zero Line means
// that only the file is known, an empty File that the position is unknown. EndLine and EndCol are optional (zero
// when unknown); EndCol is the column just after the last character.
type Span struct {
	// File is the path of the source, slash-separated and relative to the folder of the flow file.
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Col     int    `json:"col,omitempty"`
	EndLine int    `json:"end_line,omitempty"`
	EndCol  int    `json:"end_col,omitempty"`
}

// IsZero reports whether the span carries no position at all.
func (s Span) IsZero() bool { return s == Span{} }

// String returns "file:line:col", leaving out what is unknown.
func (s Span) String() string {
	switch {
	case s.File == "":
		return "-"
	case s.Line == 0:
		return s.File
	case s.Col == 0:
		return fmt.Sprintf("%s:%d", s.File, s.Line)
	}
	return fmt.Sprintf("%s:%d:%d", s.File, s.Line, s.Col)
}

// Compare orders spans by file, line and column.
func (s Span) Compare(o Span) int {
	return cmp.Or(cmp.Compare(s.File, o.File), cmp.Compare(s.Line, o.Line), cmp.Compare(s.Col, o.Col),
		cmp.Compare(s.EndLine, o.EndLine), cmp.Compare(s.EndCol, o.EndCol))
}

// Severity says whether a diagnostic stops the work.
type Severity int

// The severities, gravest first.
const (
	Error Severity = iota
	Warning
	Note
)

// String returns "error", "warning" or "note".
func (s Severity) String() string {
	switch s {
	case Error:
		return "error"
	case Warning:
		return "warning"
	default:
		return "note"
	}
}

// MarshalText implements encoding.TextMarshaler.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Severity) UnmarshalText(b []byte) error {
	switch string(b) {
	case "error":
		*s = Error
	case "warning":
		*s = Warning
	case "note":
		*s = Note
	default:
		return fmt.Errorf("unknown severity %q", b)
	}
	return nil
}

// Related is a further place that helps to understand a diagnostic.
type Related struct {
	Span    Span   `json:"span"`
	Message string `json:"message"`
}

// Diagnostic is one finding about a user's flow.
type Diagnostic struct {
	Severity Severity `json:"severity"`
	// Code is stable and kebab-case, such as "join-missing"; users search for it.
	Code string `json:"code"`
	Span Span   `json:"span"`
	// Summary is one sentence without a full stop: what is wrong.
	Summary string `json:"summary"`
	// Detail says why, or what to do; it may hold several lines.
	Detail string `json:"detail,omitempty"`
	// Notes point to further places.
	Notes []Related `json:"notes,omitempty"`
}

// Errorf makes an error diagnostic.
func Errorf(span Span, code, format string, args ...any) Diagnostic {
	return Diagnostic{Severity: Error, Code: code, Span: span, Summary: fmt.Sprintf(format, args...)}
}

// Warningf makes a warning diagnostic.
func Warningf(span Span, code, format string, args ...any) Diagnostic {
	return Diagnostic{Severity: Warning, Code: code, Span: span, Summary: fmt.Sprintf(format, args...)}
}

// Notef makes a note diagnostic.
func Notef(span Span, code, format string, args ...any) Diagnostic {
	return Diagnostic{Severity: Note, Code: code, Span: span, Summary: fmt.Sprintf(format, args...)}
}

// WithDetail returns d with its detail set.
func (d Diagnostic) WithDetail(format string, args ...any) Diagnostic {
	d.Detail = fmt.Sprintf(format, args...)
	return d
}

// WithNote returns d with a further place added.
func (d Diagnostic) WithNote(span Span, format string, args ...any) Diagnostic {
	d.Notes = append(slices.Clip(d.Notes), Related{Span: span, Message: fmt.Sprintf(format, args...)})
	return d
}

// String returns the first line of the text form: "file:line:col: error: summary [code]".
func (d Diagnostic) String() string {
	return fmt.Sprintf("%s: %s: %s [%s]", d.Span, d.Severity, d.Summary, d.Code)
}

// List is a set of findings. As an error it reads as the text of all of them.
type List []Diagnostic

// HasErrors reports whether any finding is an error.
func (l List) HasErrors() bool {
	return slices.ContainsFunc(l, func(d Diagnostic) bool { return d.Severity == Error })
}

// Sort orders the findings by position, then severity, code and summary, so that output is stable.
func (l List) Sort() {
	slices.SortStableFunc(l, func(a, b Diagnostic) int {
		return cmp.Or(a.Span.Compare(b.Span), cmp.Compare(a.Severity, b.Severity),
			cmp.Compare(a.Code, b.Code), cmp.Compare(a.Summary, b.Summary))
	})
}

// Error implements error.
func (l List) Error() string {
	lines := make([]string, len(l))
	for i, d := range l {
		lines[i] = d.String()
	}
	return strings.Join(lines, "\n")
}
