package docs_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// quickStart says what a reader does to the flow file between the commands of a page.
type quickStart struct {
	page string
	// edits change the file before the first command of a section, by the section's title.
	edits map[string]func(text string) string
	file  string
}

func replace(old, with string) func(string) string {
	return func(text string) string { return strings.Replace(text, old, with, 1) }
}

const (
	greetYAML = "      echo \"$MF_PARAM_greeting"
	failYAML  = "      set -e\n      test \"$MF_ITEM\" != Grace\n"
	greetPy   = "        self.text ="
	failPy    = "        if self.input == \"Grace\":\n            raise ValueError(\"no greeting for Grace\")\n"
)

var quickStarts = []quickStart{
	{"quickstart-python.md", map[string]func(string) string{
		"Fail": replace(greetPy, failPy+greetPy), "Resume": replace(failPy, ""),
	}, "flow.py"},
	{"quickstart-yaml.md", map[string]func(string) string{
		"Fail": replace(greetYAML, failYAML+greetYAML), "Resume": replace(failYAML, ""),
		"Mistakes": replace("    outputs: [people]", "    output: [people]"),
		"Compile":  replace("    output: [people]", "    outputs: [people]"),
	}, "flow.yaml"},
}

var console = regexp.MustCompile("(?s)```console\n(.*?)```")

// TestQuickStarts types the commands of the quick starts and compares what they print. With UPDATE_GOLDEN=1 it writes
// what they print into the pages.
func TestQuickStarts(t *testing.T) {
	for _, q := range quickStarts {
		t.Run(q.page, func(t *testing.T) {
			p := newPlace(t)
			home := p.dir
			page := read(t, q.page)
			var written strings.Builder
			for i, section := range strings.SplitAfter(page, "\n## ") {
				title, _, _ := strings.Cut(section, "\n")
				if edit := q.edits[title]; edit != nil && i > 0 {
					p.edit(filepath.Join(p.dir, q.file), edit)
				}
				written.WriteString(console.ReplaceAllStringFunc(section, func(block string) string {
					want := console.FindStringSubmatch(block)[1]
					got := p.replay(want, home)
					if plain(got) == plain(want) {
						return block
					}
					if os.Getenv("UPDATE_GOLDEN") == "" {
						t.Errorf("%s shows\n%s\nbut the commands print\n%s", title, plain(want), plain(got))
					}
					return "```console\n" + got + "```"
				}))
			}
			if text := written.String(); text != page && !t.Failed() {
				if err := os.WriteFile(q.page, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func (p *place) edit(file string, change func(string) string) {
	p.t.Helper()
	before := read(p.t, file)
	after := change(before)
	if after == before {
		p.t.Fatalf("the edit does not change %s:\n%s", file, before)
	}
	if err := os.WriteFile(file, []byte(after), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// replay runs the commands of a block and returns the block as it has to be.
func (p *place) replay(block, home string) string {
	p.t.Helper()
	var b strings.Builder
	for line := range strings.Lines(block) {
		command, ok := strings.CutPrefix(line, "$ ")
		if !ok {
			continue
		}
		b.WriteString(line)
		args := strings.Fields(command)
		switch args[0] {
		case "cd":
			p.dir = filepath.Join(p.dir, args[1])
		case "mf":
			b.WriteString(strings.ReplaceAll(p.terminal(args[1:]), home, "/home/ada"))
		default:
			p.t.Fatalf("the page uses the command %s", args[0])
		}
	}
	return b.String()
}

// terminal runs mf with both streams going to one file, as on a terminal.
func (p *place) terminal(args []string) string {
	p.t.Helper()
	quoted := make([]string, len(args))
	for i, arg := range args {
		quoted[i] = "'" + arg + "'"
	}
	out, errs, _ := p.run(nil, "sh", "-c", "mf "+strings.Join(quoted, " ")+" 2>&1")
	if errs != "" {
		p.t.Fatal(errs)
	}
	return out
}

var (
	runID    = regexp.MustCompile(`\b\d{16}\b`)
	duration = regexp.MustCompile(`\b(in|took) [0-9.]+m?s`)
	date     = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`)
)

// plain takes out what differs from run to run: ids, times, and the order of tasks that run side by side.
func plain(text string) string {
	ids := map[string]string{}
	text = runID.ReplaceAllStringFunc(text, func(id string) string {
		if ids[id] == "" {
			ids[id] = fmt.Sprintf("RUN%d", len(ids)+1)
		}
		return ids[id]
	})
	text = date.ReplaceAllString(duration.ReplaceAllString(text, "$1 TIME"), "DATE")
	lines := strings.SplitAfter(text, "\n")
	for from := 0; from < len(lines); from++ {
		to := from
		for to < len(lines) && strings.HasPrefix(lines[to], "[greet/") {
			to++
		}
		slices.Sort(lines[from:to])
		from = to
	}
	return strings.Join(lines, "")
}
