package yaml

import (
	"bytes"
	"strings"
	"unicode/utf8"

	yamlv3 "gopkg.in/yaml.v3"

	"github.com/mf-run/mf/diag"
)

// source is the file's name and lines, from which spans are made.
type source struct {
	file  string
	lines []string
}

func newSource(file string, src []byte) source {
	s := source{file: file}
	if len(src) <= MaxSize {
		s.lines = strings.Split(string(bytes.TrimPrefix(src, utf8BOM)), "\n")
	}
	return s
}

// point is the span of one character; line and column are 1-based, the column in code points.
func (s source) point(line, col int) diag.Span {
	return diag.Span{File: s.file, Line: line, Col: col}
}

// span is the span of a node: with its end where that is on the same line and plain to see.
func (s source) span(n *yamlv3.Node) diag.Span {
	if n == nil || n.Line == 0 {
		return diag.Span{File: s.file}
	}
	span := s.point(n.Line, n.Column)
	if n.Kind != yamlv3.ScalarNode || n.Line > len(s.lines) {
		return span
	}
	text := n.Value
	switch n.Style {
	case 0:
	case yamlv3.DoubleQuotedStyle:
		text = `"` + text + `"`
	case yamlv3.SingleQuotedStyle:
		text = "'" + text + "'"
	default:
		return span
	}
	if strings.HasPrefix(dropRunes(s.lines[n.Line-1], n.Column-1), text) && text != "" {
		span.EndLine, span.EndCol = n.Line, n.Column+utf8.RuneCountInString(text)
	}
	return span
}

// dropRunes returns text without its first n code points.
func dropRunes(text string, n int) string {
	for i := range text {
		if n == 0 {
			return text[i:]
		}
		n--
	}
	return ""
}

var (
	utf8BOM    = []byte("\xef\xbb\xbf")
	utf16BOMLE = []byte("\xff\xfe")
	utf16BOMBE = []byte("\xfe\xff")
)

// checkText reports what makes the bytes no YAML text at all: too many of them, another encoding, control characters.
func (d *decoder) checkText(src []byte) {
	if len(src) > MaxSize {
		d.errorf(diag.Span{File: d.file}, "yaml-too-large", "the file is larger than %d MiB", MaxSize>>20).
			detail("A flow file holds steps and commands only. Move data and long scripts into files of their own.")
		return
	}
	if bytes.HasPrefix(src, utf16BOMLE) || bytes.HasPrefix(src, utf16BOMBE) {
		d.errorf(d.point(1, 1), "yaml-encoding", "the file is UTF-16 text").detail("Save it as UTF-8.")
		return
	}
	for i, line := range d.lines {
		d.checkLine(i+1, line)
	}
}

// checkLine reports the first character of a line that YAML does not allow.
func (d *decoder) checkLine(number int, line string) {
	line = strings.TrimSuffix(line, "\r")
	col := 0
	for i, r := range line {
		col++
		if r == utf8.RuneError {
			if _, size := utf8.DecodeRuneInString(line[i:]); size == 1 {
				d.errorf(d.point(number, col), "yaml-encoding", "the byte 0x%02X is not UTF-8 text", line[i]).
					detail("Save the file as UTF-8.")
				return
			}
		}
		if !allowed(r) {
			d.errorf(d.point(number, col), "yaml-encoding", "the character U+%04X is not allowed in YAML", r).
				detail("Remove it, or write it as an escape such as \"\\x%02x\" in double quotes.", r)
			return
		}
	}
}

// allowed reports whether YAML lets the character stand in a text as it is (YAML 1.2, section 5.1).
func allowed(r rune) bool {
	switch {
	case r == '\t', r == 0x85:
		return true
	case r < 0x20, r >= 0x7f && r < 0xa0:
		return false
	case r == 0xfffe, r == 0xffff, r == 0xfeff:
		return false
	}
	return true
}
