package yaml

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"unicode/utf8"

	yamlv3 "gopkg.in/yaml.v3"
)

// parse returns the root node of the only document in src, or nil after reporting why there is none.
func (d *decoder) parse(src []byte) *yamlv3.Node {
	dec := yamlv3.NewDecoder(bytes.NewReader(bytes.TrimPrefix(src, utf8BOM)))
	var doc yamlv3.Node
	err := decodeNode(dec, &doc)
	if errors.Is(err, io.EOF) {
		d.empty()
		return nil
	}
	if err != nil {
		d.syntaxError(dec, err)
		return nil
	}
	var second yamlv3.Node
	if err := decodeNode(dec, &second); err == nil {
		d.errorf(d.point(second.Line, second.Column), "yaml-documents", "the file holds a second YAML document").
			detail("One file is one flow: move what follows the line \"---\" into a file of its own.")
	} else if !errors.Is(err, io.EOF) {
		d.syntaxError(dec, err)
	}
	if len(doc.Content) == 0 || isNull(doc.Content[0]) {
		d.empty()
		return nil
	}
	return doc.Content[0]
}

func (d *decoder) empty() {
	d.errorf(d.point(1, 1), "yaml-empty", "the file holds no flow").
		detail("The smallest flow is\n\nflow: Hello\nsteps:\n  start:\n    run: echo hello")
}

// errParser stands for a panic of the YAML parser: a text that it cannot cope with.
var errParser = errors.New("yaml: the parser cannot read this text")

// decodeNode decodes the next document. The parser answers some malformed texts with a panic of its own.
func decodeNode(dec *yamlv3.Decoder, n *yamlv3.Node) (err error) {
	defer func() {
		if recover() != nil {
			err = errParser
		}
	}()
	return dec.Decode(n)
}

// mark is a position of the parser's, 0-based.
type mark struct{ line, col int }

// marks reads where the parser stopped. Its errors only tell a line, sometimes the one before, so the exact position
// is read (never written) from its unexported state. All zero if a later version of the library has other fields.
func marks(dec *yamlv3.Decoder) (problem, context, event mark) {
	field := func(v reflect.Value, name string) reflect.Value {
		if v.Kind() == reflect.Pointer {
			v = v.Elem()
		}
		if v.Kind() != reflect.Struct {
			return reflect.Value{}
		}
		return v.FieldByName(name)
	}
	read := func(v reflect.Value) mark {
		line, col := field(v, "line"), field(v, "column")
		if !line.IsValid() || !col.IsValid() {
			return mark{}
		}
		return mark{int(line.Int()), int(col.Int())}
	}
	outer := field(reflect.ValueOf(dec), "parser")
	inner := field(outer, "parser")
	return read(field(inner, "problem_mark")), read(field(inner, "context_mark")), read(field(field(outer, "event"), "start_mark"))
}

// advice says in the words of someone who writes a flow what a problem of the parser's means.
var advice = []struct {
	problem string
	// context says that the mistake is where the construct began, not where the parser gave up.
	context bool
	summary string
	detail  string
}{
	{"found a tab character", false, "a tab is used where YAML needs spaces", tabDetail},
	{"mapping values are not allowed", false, "a second \": \" on this line, or a key that is indented too far",
		"Quote a value that holds \": \", as in run: \"echo a: b\", or write it as a block after \"|\"; " +
			"keys of one level start in the same column."},
	{"could not find expected ':'", true, "a key without \": \" after it",
		"Write \"key: value\" with a space after the colon, or quote a text that goes on over several lines."},
	{"did not find expected key", false, "the indentation does not fit the lines above, or a quoted text goes on after its end",
		"Keys of one level start in the same column; after a closing quote nothing but a comment may follow."},
	{"did not find expected '-' indicator", false, "a line that does not fit the list above it",
		"Items of one list start with \"- \" in the same column."},
	{"did not find expected ',' or ']'", true, "a list in brackets is not closed", "Add \"]\" at its end, or \",\" between two items."},
	{"did not find expected ',' or '}'", true, "a map in braces is not closed", "Add \"}\" at its end, or \",\" between two fields."},
	{"found unexpected end of stream", true, "a quoted text is not closed", "Add the closing quote."},
	{"found unexpected document indicator", true, "a quoted text is not closed", "Add the closing quote."},
	{"found unknown escape character", false, "an escape that YAML does not know",
		"In double quotes a backslash starts an escape: double it, or use single quotes."},
	{"block sequence entries are not allowed", false, "a list item \"- \" in a place where no list can be",
		"Start the list on the line after its key."},
	{"did not find expected <document start>", false, "a text that belongs to no key", "Everything in the file stands below a key such as \"flow:\" or \"steps:\"."},
	{"exceeded max depth", false, "maps and lists are nested too deeply", "A flow file needs a few levels only."},
}

const tabDetail = "Indent with spaces only: YAML does not say how wide a tab is."

// syntaxError reports an error of the parser at the exact place.
func (d *decoder) syntaxError(dec *yamlv3.Decoder, err error) {
	problem, context, event := marks(dec)
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		if _, after, ok := strings.Cut(rest, ": "); ok {
			text = after
		}
	}
	if name, ok := strings.CutPrefix(text, "unknown anchor "); ok {
		name, _, _ = strings.Cut(name, " referenced")
		d.errorf(d.point(event.line+1, event.col+1), "yaml-alias", "an alias to %s, which is defined nowhere", name).detail(anchorDetail)
		return
	}
	if d.tabBefore(problem) {
		return
	}
	if strings.HasPrefix(text, "found character that cannot start any token") {
		r, _ := utf8.DecodeRuneInString(dropRunes(d.line(problem.line), problem.col))
		d.errorf(d.point(problem.line+1, problem.col+1), "yaml-syntax", "a value cannot start with %q here", r).
			detail("Put the value in quotes.")
		return
	}
	for _, a := range advice {
		if !strings.HasPrefix(text, a.problem) {
			continue
		}
		at := problem
		if a.context {
			at = context
		}
		d.errorf(d.point(at.line+1, at.col+1), "yaml-syntax", "%s", a.summary).detail("%s", a.detail)
		return
	}
	d.errorf(d.point(problem.line+1, problem.col+1), "yaml-syntax", "this is not YAML: %s", text).
		detail("Check quotes, brackets and indentation around this place.")
}

// tabBefore reports a tab in the indentation of the line in which the parser stopped, or of the one before, if there
// is one: it is the cause, whatever the parser calls it.
func (d *decoder) tabBefore(at mark) bool {
	for _, i := range []int{at.line, at.line - 1} {
		line := d.line(i)
		indent := line[:len(line)-len(strings.TrimLeft(line, " \t"))]
		tab := strings.IndexByte(indent, '\t')
		if tab < 0 {
			continue
		}
		more := 0
		for _, other := range d.lines[i+1:] {
			if strings.Contains(other[:len(other)-len(strings.TrimLeft(other, " \t"))], "\t") {
				more++
			}
		}
		detail := tabDetail
		if more > 0 {
			detail += " " + plural(more, "line below has one too", "lines below have one too") + "."
		}
		d.errorf(d.point(i+1, tab+1), "yaml-tab", "a tab is used for indentation").detail("%s", detail)
		return true
	}
	return false
}

// line returns a line by its 0-based number, or "" where there is none.
func (d *decoder) line(i int) string {
	if i < 0 || i >= len(d.lines) {
		return ""
	}
	return d.lines[i]
}

// plural writes a number with the phrase that fits it.
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
