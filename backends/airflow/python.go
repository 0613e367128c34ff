package airflow

import (
	"fmt"
	"sort"
	"strconv"
	"strings"
	"unicode"
)

// The values of the Python that is written. Besides these: string, bool, int, nil.
type (
	// raw is an expression.
	raw string
	// list is a list.
	list []any
	// dict keeps its order. An entry without a key is unpacked: **value.
	dict []entry
	// call is a call with keyword arguments; one without a name is positional.
	call struct {
		function  string
		arguments []entry
	}
	entry struct {
		key   string
		value any
	}
)

// lineLength is the width that ruff's and black's formatters keep to.
const lineLength = 88

const indentWidth = 4

// python writes a value as those formatters would: on one line if it fits between before columns and after, else with one
// element a line and a comma behind the last.
func python(v any, indent, before, after int) string {
	flat := flatPython(v)
	if !strings.Contains(flat, "\n") && before+width(flat)+after <= lineLength {
		return flat
	}
	var open, end string
	var lines []string
	inner := indent + indentWidth
	add := func(prefix string, value any) {
		lines = append(lines, prefix+python(value, inner, inner+width(prefix), 1))
	}
	switch v := v.(type) {
	case list:
		open, end = "[", "]"
		for _, item := range v {
			add("", item)
		}
	case dict:
		open, end = "{", "}"
		for _, item := range v {
			if item.key == "" {
				add("**", item.value)
			} else {
				add(pythonString(item.key)+": ", item.value)
			}
		}
	case call:
		open, end = v.function+"(", ")"
		for _, argument := range v.arguments {
			if argument.key == "" {
				add("", argument.value)
			} else {
				add(argument.key+"=", argument.value)
			}
		}
	}
	if len(lines) == 0 {
		return flat
	}
	pad := "\n" + strings.Repeat(" ", inner)
	return open + pad + strings.Join(lines, ","+pad) + ",\n" + strings.Repeat(" ", indent) + end
}

func flatPython(v any) string {
	switch v := v.(type) {
	case raw:
		return string(v)
	case string:
		return pythonString(v)
	case bool:
		if v {
			return "True"
		}
		return "False"
	case nil:
		return "None"
	case list:
		items := make([]string, len(v))
		for i, item := range v {
			items[i] = flatPython(item)
		}
		return "[" + strings.Join(items, ", ") + "]"
	case dict:
		items := make([]string, len(v))
		for i, item := range v {
			if items[i] = "**" + flatPython(item.value); item.key != "" {
				items[i] = pythonString(item.key) + ": " + flatPython(item.value)
			}
		}
		return "{" + strings.Join(items, ", ") + "}"
	case call:
		items := make([]string, len(v.arguments))
		for i, argument := range v.arguments {
			if items[i] = flatPython(argument.value); argument.key != "" {
				items[i] = argument.key + "=" + items[i]
			}
		}
		return v.function + "(" + strings.Join(items, ", ") + ")"
	}
	return fmt.Sprint(v)
}

// width counts columns as the formatters do, East Asian wide characters as two.
func width(s string) int {
	n := 0
	for _, r := range s {
		n++
		if wide(r) {
			n++
		}
	}
	return n
}

func wide(r rune) bool {
	return r >= 0x1100 && (r <= 0x115f || r >= 0x2e80 && r <= 0xa4cf || r >= 0xac00 && r <= 0xd7a3 ||
		r >= 0xf900 && r <= 0xfaff || r >= 0xfe30 && r <= 0xfe6f || r >= 0xff00 && r <= 0xff60 ||
		r >= 0xffe0 && r <= 0xffe6 || r >= 0x1f300 && r <= 0x1f64f || r >= 0x1f900 && r <= 0x1f9ff || r >= 0x20000)
}

// pythonString writes a literal in double quotes, or single ones where that saves escapes.
func pythonString(s string) string {
	quote := '"'
	if strings.Count(s, `"`) > strings.Count(s, "'") {
		quote = '\''
	}
	var b strings.Builder
	b.WriteRune(quote)
	for _, r := range s {
		switch r {
		case quote, '\\':
			b.WriteRune('\\')
			b.WriteRune(r)
		default:
			writeRune(&b, r)
		}
	}
	b.WriteRune(quote)
	return b.String()
}

func writeRune(b *strings.Builder, r rune) {
	switch {
	case r == '\n':
		b.WriteString(`\n`)
	case r == '\t':
		b.WriteString(`\t`)
	case r == '\r':
		b.WriteString(`\r`)
	case unicode.IsPrint(r):
		b.WriteRune(r)
	case r < 0x100:
		fmt.Fprintf(b, `\x%02x`, r)
	case r < 0x10000:
		fmt.Fprintf(b, `\u%04x`, r)
	default:
		fmt.Fprintf(b, `\U%08x`, r)
	}
}

// pythonText writes a literal of several lines as such.
func pythonText(s string) raw {
	if !strings.Contains(s, "\n") {
		return raw(pythonString(s))
	}
	var b strings.Builder
	b.WriteString(`"""`)
	for i, r := range s {
		switch {
		case r == '\\' || r == '"' && (i+1 == len(s) || strings.HasPrefix(s[i:], `"""`)):
			b.WriteRune('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteRune(r)
		default:
			writeRune(&b, r)
		}
	}
	b.WriteString(`"""`)
	return raw(b.String())
}

// jinja makes a text that Airflow fills in from one that it must leave alone.
func jinja(s string) string {
	if !strings.Contains(s, "{{") && !strings.Contains(s, "{%") && !strings.Contains(s, "{#") && !strings.HasSuffix(s, "\n") {
		return s
	}
	return "{{ " + jinjaString(s) + " }}"
}

// jinjaString writes a literal of Jinja, whose escapes are those of Python.
func jinjaString(s string) string {
	var b strings.Builder
	b.WriteByte('\'')
	for _, r := range s {
		switch r {
		case '\'', '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		default:
			writeRune(&b, r)
		}
	}
	b.WriteByte('\'')
	return b.String()
}

// sortedDict returns a dict of texts in the order of its keys.
func sortedDict(m map[string]string) dict {
	var d dict
	for key, value := range m {
		d = append(d, entry{key, value})
	}
	sort.Slice(d, func(i, j int) bool { return d[i].key < d[j].key })
	return d
}

func itoa(n int) string { return strconv.Itoa(n) }
