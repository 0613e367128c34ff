package diag

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// WriteJSON writes the findings for programs: a JSON array of diagnostics (in the order given; [] when there are none),
// indented, a newline at the end. Of the printer only Dir counts.
func WriteJSON(w io.Writer, l List, p Printer) error {
	placed := make(List, len(l))
	for i, d := range l {
		d.Span.File = p.file(d.Span.File)
		d.Notes = append([]Related(nil), d.Notes...)
		for j := range d.Notes {
			d.Notes[j].Span.File = p.file(d.Notes[j].Span.File)
		}
		placed[i] = d
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(placed); err != nil {
		return fmt.Errorf("writing diagnostics as JSON: %w", err)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// WriteGitHub writes the findings as workflow commands of GitHub Actions, one line each, which become annotations of the
// files. Of the printer only Dir counts: it must make the files relative to the repository's root.
func WriteGitHub(w io.Writer, l List, p Printer) error {
	var b bytes.Buffer
	for _, d := range l {
		command := d.Severity.String()
		if d.Severity > Warning {
			command = "notice"
		}
		var properties []string
		add := func(name, value string) { properties = append(properties, name+"="+escapeProperty(value)) }
		s := d.Span
		if s.File != "" {
			add("file", p.file(s.File))
			if s.Line > 0 {
				add("line", fmt.Sprint(s.Line))
				if s.EndLine > s.Line {
					add("endLine", fmt.Sprint(s.EndLine))
				}
				if s.Col > 0 {
					add("col", fmt.Sprint(s.Col))
					if s.EndLine == s.Line && s.EndCol > s.Col {
						add("endColumn", fmt.Sprint(s.EndCol))
					}
				}
			}
		}
		add("title", d.Code)
		message := d.Summary
		if d.Detail != "" {
			message += "\n" + d.Detail
		}
		for _, n := range d.Notes {
			message += "\n" + p.prefix(n.Span) + "note: " + n.Message
		}
		fmt.Fprintf(&b, "::%s %s::%s\n", command, strings.Join(properties, ","), escapeData(message))
	}
	_, err := w.Write(b.Bytes())
	return err
}

var (
	dataEscapes     = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	propertyEscapes = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
)

func escapeData(s string) string { return dataEscapes.Replace(s) }

func escapeProperty(s string) string { return propertyEscapes.Replace(s) }
