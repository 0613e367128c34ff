package diag_test

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/internal/golden"
)

const source = "from metaflow import FlowSpec, step\r\n" +
	"\n" +
	"class F(FlowSpec):\n" +
	"\tself.next(self.b)\n" +
	"    x = '漢字 é\x1b[31m' + self.y\n" +
	"    multi(\n" +
	"      2)\n"

func findings() diag.List {
	at := func(line, col, endLine, endCol int) diag.Span {
		return diag.Span{File: "flow.py", Line: line, Col: col, EndLine: endLine, EndCol: endCol}
	}
	l := diag.List{
		diag.Errorf(at(4, 12, 4, 18), "unknown-step", "step a goes on to step b, which does not exist").
			WithDetail("Did you mean c?\n\nOr name it, with 100%% care.").
			WithNote(at(1, 1, 1, 5), "first, mentioned: here").
			WithNote(diag.Span{}, "no place"),
		diag.Warningf(at(5, 24, 5, 30), "unwritten", "y is read, and nobody\nwrote \x1b[31mit"),
		diag.Notef(at(6, 5, 7, 9), "multi", "several lines"),
		diag.Errorf(at(6, 0, 0, 0), "line-only", "only the line is known"),
		diag.Errorf(at(99, 1, 99, 4), "past-end", "the line is not in the file"),
		diag.Errorf(at(4, 500, 4, 600), "past-line", "the column is not in the line"),
		diag.Errorf(diag.Span{File: "other.py"}, "file-only", "only the file is known"),
		diag.Errorf(diag.Span{}, "nowhere", "no position"),
		diag.Errorf(diag.Span{File: "long.py", Line: 1, Col: 400, EndLine: 1, EndCol: 404}, "long", "a long line"),
		diag.Errorf(diag.Span{File: "long.py", Line: 1, Col: 1, EndLine: 1, EndCol: 1000}, "long", "all of a long line"),
		diag.Errorf(diag.Span{File: "/abs/it.py", Line: 1, Col: 1}, "absolute", "an absolute path stays"),
	}
	return l
}

func files(name string) []byte {
	switch name {
	case "flow.py":
		return []byte(source)
	case "long.py":
		return []byte(strings.Repeat("0123456789", 100) + "\n")
	}
	return nil
}

func TestRenderings(t *testing.T) {
	const dir = "testdata"
	plain := diag.Printer{Dir: "flows/one", Source: files}
	colored := plain
	colored.Color = true
	for _, c := range []struct {
		file    string
		write   func(io.Writer, diag.List, diag.Printer) error
		list    diag.List
		printer diag.Printer
	}{
		{"text.txt", diag.WriteText, findings(), plain},
		{"color.txt", diag.WriteText, findings()[:2], colored},
		{"bare.txt", diag.WriteText, findings()[:2], diag.Printer{}},
		{"list.json", diag.WriteJSON, findings()[:3], plain},
		{"github.txt", diag.WriteGitHub, findings(), plain},
	} {
		t.Run(c.file, func(t *testing.T) {
			var out bytes.Buffer
			if err := c.write(&out, c.list, c.printer); err != nil {
				t.Fatal(err)
			}
			golden.Check(t, dir+"/"+c.file, out.Bytes())
		})
	}
	golden.Unclaimed(t, dir, "*.txt", "*.json")
}

func TestEmptyListRenders(t *testing.T) {
	for want, write := range map[string]func(io.Writer, diag.List, diag.Printer) error{
		"[]\n": diag.WriteJSON, "": diag.WriteText,
	} {
		var out bytes.Buffer
		if err := write(&out, nil, diag.Printer{}); err != nil || out.String() != want {
			t.Errorf("empty list: %q, %v, want %q", out.String(), err, want)
		}
	}
}

func TestJSONReadsBack(t *testing.T) {
	var out bytes.Buffer
	if err := diag.WriteJSON(&out, findings(), diag.Printer{}); err != nil {
		t.Fatal(err)
	}
	var back diag.List
	if err := json.Unmarshal(out.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	if back.Error() != findings().Error() {
		t.Errorf("read back:\n%s\nwant:\n%s", back.Error(), findings().Error())
	}
}

func TestCount(t *testing.T) {
	if got := diag.Count(findings()[:4]); got != "2 errors, 1 warning, 1 note" {
		t.Errorf("Count = %q", got)
	}
	if got := diag.Count(nil); got != "" {
		t.Errorf("Count of nothing = %q", got)
	}
}

func TestSortIsStableByPosition(t *testing.T) {
	l := findings()
	l.Sort()
	for i := 1; i < len(l); i++ {
		if l[i-1].Span.Compare(l[i].Span) > 0 {
			t.Errorf("%v comes before %v", l[i-1].Span, l[i].Span)
		}
	}
}

func FuzzWriteText(f *testing.F) {
	f.Add("flow.py", 4, 12, 4, 18, "a summary", []byte(source))
	f.Add("x", 1, 1, 0, 0, "", []byte("\t\t"))
	f.Add("x", 1<<62, -5, 3, -9, "\x1b[2J", []byte{0xff, 0xfe})
	f.Fuzz(func(t *testing.T, file string, line, col, endLine, endCol int, text string, content []byte) {
		d := diag.Errorf(diag.Span{File: file, Line: line, Col: col, EndLine: endLine, EndCol: endCol}, "code", "%s", text).
			WithDetail("%s", text)
		var out bytes.Buffer
		p := diag.Printer{Dir: "d", Source: func(string) []byte { return content }}
		if err := diag.WriteText(&out, diag.List{d}, p); err != nil {
			t.Fatal(err)
		}
		for _, r := range out.String() {
			if r < ' ' && r != '\n' && r != '\t' || r == 0x7f {
				t.Errorf("control character %U reaches the terminal: %q", r, out.String())
			}
		}
	})
}
