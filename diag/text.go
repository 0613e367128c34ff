package diag

import (
	"bytes"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
	"unicode"
)

// Printer says how findings are shown.
type Printer struct {
	// Dir is put in front of the spans' files, so that they read as paths from where the user is; empty leaves them as
	// they are. It is slash-separated.
	Dir string
	// Color adds ANSI colours (text only).
	Color bool
	// Source returns the content of a span's file (without Dir), or nil when it is not to be had. Nil shows no source
	// lines (text only).
	Source func(file string) []byte
}

// maxLine is the widest part of a source line that is shown, in code points.
const maxLine = 120

// WriteText writes the findings for people: for each the line "file:line:col: error: summary [code]", the source line with
// the place underlined, the detail and the notes indented; at the end how many there were. An empty list writes nothing.
func WriteText(w io.Writer, l List, p Printer) error {
	if len(l) == 0 {
		return nil
	}
	t := &textWriter{printer: p, files: map[string][][]byte{}}
	for i, d := range l {
		if i > 0 {
			t.out.WriteByte('\n')
		}
		t.diagnostic(d)
	}
	t.out.WriteByte('\n')
	t.out.WriteString(Count(l))
	t.out.WriteByte('\n')
	_, err := w.Write(t.out.Bytes())
	return err
}

// Count returns how many findings there are, such as "2 errors, 1 warning"; empty for an empty list.
func Count(l List) string {
	var counts [3]int
	for _, d := range l {
		counts[min(max(d.Severity, Error), Note)]++
	}
	var parts []string
	for s, n := range counts {
		switch {
		case n == 1:
			parts = append(parts, "1 "+Severity(s).String())
		case n > 1:
			parts = append(parts, fmt.Sprintf("%d %ss", n, Severity(s)))
		}
	}
	return strings.Join(parts, ", ")
}

type textWriter struct {
	printer Printer
	out     bytes.Buffer
	files   map[string][][]byte
}

// The colours of the severities, and bold.
var colors = [...]string{Error: "\x1b[1;31m", Warning: "\x1b[1;33m", Note: "\x1b[1;36m"}

const (
	bold  = "\x1b[1m"
	plain = "\x1b[0m"
)

func (t *textWriter) paint(color, text string) string {
	if !t.printer.Color || text == "" {
		return text
	}
	return color + text + plain
}

func (t *textWriter) diagnostic(d Diagnostic) {
	color := colors[min(max(d.Severity, Error), Note)]
	fmt.Fprintf(&t.out, "%s%s %s [%s]\n", t.paint(bold, t.printer.prefix(d.Span)),
		t.paint(color, d.Severity.String()+":"), t.paint(bold, printable(d.Summary)), printable(d.Code))
	t.source(d.Span, "", color)
	for line := range strings.SplitSeq(d.Detail, "\n") {
		if line = strings.TrimRight(line, " "); d.Detail != "" {
			t.out.WriteString(strings.TrimRight("  "+printable(line), " "))
			t.out.WriteByte('\n')
		}
	}
	for _, n := range d.Notes {
		fmt.Fprintf(&t.out, "  %s%s %s\n", t.printer.prefix(n.Span), t.paint(colors[Note], "note:"), printable(n.Message))
		t.source(n.Span, "  ", colors[Note])
	}
}

// prefix returns "file:line:col: " with the printer's folder in front of the file; empty when the position is unknown.
func (p Printer) prefix(s Span) string {
	if s.File == "" {
		return ""
	}
	s.File = p.file(s.File)
	return printable(s.String()) + ": "
}

func (p Printer) file(file string) string {
	if file == "" || p.Dir == "" || path.IsAbs(file) {
		return file
	}
	return path.Join(p.Dir, file)
}

// source writes the line of the span and a line that underlines it.
func (t *textWriter) source(s Span, indent, color string) {
	line, ok := t.line(s)
	if !ok {
		return
	}
	number := strconv.Itoa(s.Line)
	first, last := 0, 0
	if s.Col > 0 {
		first = min(s.Col-1, len(line))
		last = first + 1
		switch {
		case s.EndLine > s.Line:
			last = len(line)
		case s.EndCol > s.Col && (s.EndLine == s.Line || s.EndLine == 0):
			last = s.EndCol - 1
		}
		last = max(min(last, len(line)), first+1)
	}
	line, first, last = clip(line, first, last)
	fmt.Fprintf(&t.out, "%s%5s | %s\n", indent, number, strings.TrimRight(string(line), " \t"))
	if s.Col == 0 {
		return
	}
	var pad, mark strings.Builder
	for i := range last {
		r := ' '
		if i < len(line) {
			r = line[i]
		}
		switch cell := &mark; {
		case i < first && r == '\t':
			pad.WriteByte('\t')
		case i < first:
			pad.WriteString(strings.Repeat(" ", width(r)))
		default:
			cell.WriteString(strings.Repeat("^", max(width(r), 1)))
		}
	}
	fmt.Fprintf(&t.out, "%s%5s | %s%s\n", indent, "", pad.String(), t.paint(color, mark.String()))
}

// line returns the line of the span as code points that are safe to print.
func (t *textWriter) line(s Span) ([]rune, bool) {
	if s.File == "" || s.Line <= 0 || t.printer.Source == nil {
		return nil, false
	}
	lines, known := t.files[s.File]
	if !known {
		if content := t.printer.Source(s.File); content != nil {
			lines = bytes.Split(content, []byte("\n"))
		}
		t.files[s.File] = lines
	}
	if s.Line > len(lines) {
		return nil, false
	}
	line := bytes.TrimSuffix(lines[s.Line-1], []byte("\r"))
	if s.Line == 1 {
		line = bytes.TrimPrefix(line, []byte("\ufeff"))
	}
	runes := []rune(string(line))
	for i, r := range runes {
		if r != '\t' && !unicode.IsPrint(r) && r != ' ' {
			runes[i] = unicode.ReplacementChar
		}
	}
	return runes, true
}

// clip cuts a long line to a window that shows the start of the marked part.
func clip(line []rune, first, last int) ([]rune, int, int) {
	if len(line) <= maxLine {
		return line, first, last
	}
	from := 0
	if first > maxLine*3/4 {
		from = min(first-maxLine/2, len(line)-maxLine)
	}
	to := min(from+maxLine, len(line))
	window := append([]rune{}, line[from:to]...)
	if from > 0 {
		window[0] = '…'
	}
	if to < len(line) {
		window[len(window)-1] = '…'
	}
	first = min(first-from, len(window))
	return window, first, max(min(last-from, len(window)), first+1)
}

// width returns the number of terminal columns of a code point: 0 for combining marks, 2 for the wide scripts.
func width(r rune) int {
	switch {
	case unicode.Is(unicode.Mn, r):
		return 0
	case unicode.In(r, unicode.Han, unicode.Hangul, unicode.Hiragana, unicode.Katakana),
		r >= 0xff01 && r <= 0xff60, r >= 0x1f300 && r <= 0x1faff:
		return 2
	}
	return 1
}

// printable replaces what would confuse a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == ' ' || unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}
