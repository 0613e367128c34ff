package stepfunctions

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
)

// text is a string of a state machine, put together when it runs: literal parts and JSONata expressions in turn.
type text []part

type part struct {
	// code says that value is an expression, not a literal.
	code  bool
	value string
}

func literal(s string) text { return text{{value: s}} }

func code(expression string) text { return text{{code: true, value: expression}} }

// join puts texts behind each other.
func join(texts ...text) text {
	var all text
	for _, p := range slices.Concat(texts...) {
		if last := len(all) - 1; last >= 0 && !p.code && !all[last].code {
			all[last].value += p.value
			continue
		}
		all = append(all, p)
	}
	return all
}

// String returns the text as it stands in a state machine: as it is, or between {% and %} where something is computed. A
// literal that would be taken for an expression becomes one, and so do the empty text and one of several lines, which
// validators do not take.
func (t text) String() string {
	if len(t) == 1 && !t[0].code && plain(t[0].value) {
		return t[0].value
	}
	return expression(t.expression())
}

// expression returns the text as an expression.
func (t text) expression() string {
	if len(t) == 0 {
		return quote("")
	}
	terms := make([]string, len(t))
	for i, p := range t {
		terms[i] = p.value
		if !p.code {
			terms[i] = quote(p.value)
		}
	}
	return strings.Join(terms, " & ")
}

func expression(source string) string { return "{% " + source + " %}" }

func plain(s string) bool {
	return s != "" && !strings.HasPrefix(s, "{%") && !strings.HasSuffix(s, "%}") &&
		!strings.ContainsAny(s, "\n\r\u2028\u2029")
}

// quote writes a string literal of JSONata. Its escapes are those of JSON, so a single quote inside has a code.
func quote(s string) string {
	var b bytes.Buffer
	_ = writeJSON(&b, s) // a string always has a JSON form
	inner := string(b.Bytes()[1 : b.Len()-1])
	inner = strings.NewReplacer(`\"`, `"`, `'`, `\u0027`, "%}", `\u0025}`).Replace(inner)
	return "'" + inner + "'"
}

var (
	identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	reserved   = []string{"and", "or", "in", "true", "false", "null", "function"}
)

// field writes a name behind the dot of a path expression.
func field(name string) string {
	if identifier.MatchString(name) && !slices.Contains(reserved, name) {
		return name
	}
	return "`" + strings.ReplaceAll(name, "`", "") + "`"
}
