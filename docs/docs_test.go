// Package docs_test holds these pages to the program: what they name exists, and what exists they name.
package docs_test

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mf-run/mf/compiler"
	"github.com/mf-run/mf/compiler/yaml"
)

const root = ".."

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// pages returns the pages of this folder and those at the root, by their path from here.
func pages(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{"../README.md": "", "../CHANGELOG.md": ""}
	err := filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".md") {
			found[filepath.ToSlash(path)] = ""
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for path := range found {
		found[path] = read(t, path)
	}
	return found
}

var (
	link    = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	fence   = regexp.MustCompile("(?s)```.*?```")
	mark    = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors are the names of a page's headings in links, as GitHub makes them.
func anchors(page string) []string {
	var names []string
	for _, m := range heading.FindAllStringSubmatch(fence.ReplaceAllString(page, ""), -1) {
		plain := mark.ReplaceAllString(strings.ToLower(m[1]), "")
		names = append(names, strings.ReplaceAll(plain, " ", "-"))
	}
	return names
}

// TestLinks follows every relative link, to the heading that it names, and finds a link to every page but the decisions.
func TestLinks(t *testing.T) {
	all := pages(t)
	count := 0
	linked := map[string]bool{"../README.md": true, "../CHANGELOG.md": true}
	for path, page := range all {
		for _, m := range link.FindAllStringSubmatch(fence.ReplaceAllString(page, ""), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			count++
			target, anchor, _ := strings.Cut(m[1], "#")
			file := path
			if target != "" {
				file = strings.TrimPrefix(filepath.ToSlash(filepath.Join(filepath.Dir(path), target)), "../docs/")
			}
			linked[file] = true
			if _, err := os.Stat(file); err != nil {
				t.Errorf("%s links to %s, which is not there", path, m[1])
			} else if anchor != "" && !slices.Contains(anchors(all[file]), anchor) {
				t.Errorf("%s links to %s, but %s has no such heading", path, m[1], file)
			}
		}
	}
	if count < 30 {
		t.Errorf("found %d links only", count)
	}
	for path := range all {
		if !linked[path] && !strings.HasPrefix(path, "decisions/") {
			t.Errorf("no page links to %s", path)
		}
	}
}

// TestYAMLFlows compiles every block that is marked as a flow.
func TestYAMLFlows(t *testing.T) {
	block := regexp.MustCompile("(?s)```yaml flow\n(.*?)```")
	count := 0
	for path, page := range pages(t) {
		for _, m := range block.FindAllStringSubmatch(page, -1) {
			count++
			flow, found := yaml.Parse("flow.yaml", []byte(m[1]))
			if flow != nil && !found.HasErrors() {
				_, found = compiler.Check(flow, nil)
			}
			if flow == nil || len(found) > 0 {
				t.Errorf("%s: %v in\n%s", path, found, m[1])
			}
		}
	}
	if count == 0 {
		t.Error("no page has a flow")
	}
}

// TestTemplate compares the flow that the quick start shows with the one that mf init writes.
func TestTemplate(t *testing.T) {
	template := read(t, filepath.Join(root, "cmd", "mf", "templates", "flow.yaml"))
	_, flow, _ := strings.Cut(template, "\n") // without the comment
	if !strings.Contains(read(t, "quickstart-yaml.md"), "```yaml flow\n"+flow+"```") {
		t.Errorf("the quick start does not show the flow of mf init:\n%s", flow)
	}
}

// program builds mf once. Its sources are read here so that a cached result of these tests does not outlive them.
var program = sync.OnceValues(func() (string, error) {
	for _, dir := range []string{"cmd/mf", "backends/registry", "sdk/python/metaflow"} {
		files, err := filepath.Glob(filepath.Join(root, dir, "*"))
		if err != nil {
			return "", err
		}
		for _, file := range files {
			if info, err := os.Stat(file); err != nil || info.IsDir() {
				continue
			}
			if _, err := os.ReadFile(file); err != nil {
				return "", err
			}
		}
	}
	dir, err := os.MkdirTemp("", "mf-docs-")
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, "mf")
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	cmd := exec.Command("go", "build", "-o", name, "./cmd/mf")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", &buildError{string(out), err}
	}
	return name, nil
})

type buildError struct {
	out string
	err error
}

func (e *buildError) Error() string { return e.err.Error() + "\n" + e.out }

func TestMain(m *testing.M) {
	code := m.Run()
	if name, err := program(); err == nil {
		os.RemoveAll(filepath.Dir(name))
	}
	os.Exit(code)
}

// place is a folder in which the program runs, apart from the user's settings.
type place struct {
	t   *testing.T
	dir string
	env []string
}

func newPlace(t *testing.T) place {
	t.Helper()
	dir := t.TempDir()
	name, err := program()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Dir(name) + string(filepath.ListSeparator) + os.Getenv("PATH")
	return place{t, dir, []string{"PATH=" + path, "HOME=" + dir, "USER=tester", "MF_CACHE=" + filepath.Join(dir, "cache"), "LANG=C.UTF-8"}}
}

// run runs a command and returns what it printed, and its exit code.
func (p place) run(env []string, name string, args ...string) (stdout, stderr string, code int) {
	p.t.Helper()
	if name == "mf" {
		name, _ = program()
	}
	cmd := exec.CommandContext(p.t.Context(), name, args...)
	cmd.Dir, cmd.Env = p.dir, append(slices.Clone(p.env), env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if cmd.ProcessState == nil {
		p.t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

var (
	listed = regexp.MustCompile(`(?m)^  ([a-z]+) `)
	flag   = regexp.MustCompile(`(?m)^ +(?:-[a-z], )?(--[a-z-]+)`)
)

// verbs returns the program's verbs and, for each, the flags of its help, those of every verb left out.
func (p place) verbs(prefix ...string) map[string][]string {
	p.t.Helper()
	help, _, code := p.run(nil, "mf", append(prefix, "--help")...)
	if code != 0 {
		p.t.Fatalf("mf %v --help ends with %d", prefix, code)
	}
	found := map[string][]string{}
	_, commands, several := strings.Cut(help, "Available Commands:\n")
	own := help
	if several {
		own, _, _ = strings.Cut(help, "\nGlobal Flags:")
	}
	if len(prefix) > 0 {
		flags := []string{}
		for _, m := range flag.FindAllStringSubmatch(own, -1) {
			if !slices.Contains([]string{"--help", "--quiet", "--color"}, m[1]) {
				flags = append(flags, m[1])
			}
		}
		// A group that does nothing itself has no flags either.
		if !several || len(flags) > 0 {
			found[strings.Join(prefix, " ")] = flags
		}
	}
	if !several {
		return found
	}
	commands, _, _ = strings.Cut(commands, "\n\n")
	for _, m := range listed.FindAllStringSubmatch(commands, -1) {
		if m[1] == "help" {
			continue
		}
		for verb, flags := range p.verbs(append(slices.Clone(prefix), m[1])...) {
			found[verb] = flags
		}
	}
	return found
}

// TestCommandLine finds every verb and flag in cli.md, and no verb there that is not.
func TestCommandLine(t *testing.T) {
	page := read(t, "cli.md")
	sections := map[string]string{}
	for _, section := range strings.Split(page, "\n### mf ")[1:] {
		title, body, _ := strings.Cut(section, "\n")
		body, _, _ = strings.Cut(body, "\n## ")
		verb := regexp.MustCompile(`^[a-z]+(?: [a-z]+){0,2}`).FindString(title)
		sections[verb] = title + "\n" + body
	}
	verbs := newPlace(t).verbs()
	if len(verbs) < 15 {
		t.Fatalf("found %d verbs only: %v", len(verbs), verbs)
	}
	for verb, flags := range verbs {
		section, ok := sections[verb]
		if !ok {
			t.Errorf("cli.md has no section for mf %s", verb)
			continue
		}
		for _, name := range flags {
			if !regexp.MustCompile(regexp.QuoteMeta(name) + `[^a-z-]`).MatchString(section) {
				t.Errorf("cli.md, mf %s: the flag %s is missing", verb, name)
			}
		}
	}
	for verb := range sections {
		if _, ok := verbs[verb]; !ok {
			t.Errorf("cli.md has a section for mf %s, which does not exist", verb)
		}
	}
}

// TestSettings finds every setting in cli.md, with its default and the name of Metaflow's, and sees that they are read.
func TestSettings(t *testing.T) {
	p, page := newPlace(t), read(t, "cli.md")
	type value struct{ Value, Source string }
	get := func(env ...string) map[string]value {
		out, errs, code := p.run(env, "mf", "config", "--json")
		values := map[string]value{}
		if err := json.Unmarshal([]byte(out), &values); err != nil || code != 0 {
			t.Fatalf("mf config: %d, %v\n%s", code, err, errs)
		}
		return values
	}
	row := regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\| (?:`([A-Z0-9_]+)`)? ?\\| (?:`([^`]*)`)? ?\\|")
	_, table, _ := strings.Cut(page, "\n## Settings")
	documented := map[string][]string{}
	for _, m := range row.FindAllStringSubmatch(table, -1) {
		documented[m[1]] = m
	}
	for key, v := range get() {
		m := documented[key]
		if m == nil {
			t.Errorf("cli.md: the setting %s is missing", key)
			continue
		}
		if key != "cache" && m[3] != v.Value {
			t.Errorf("cli.md: the default of %s is %q, not %q", key, v.Value, m[3])
		}
		name := "MF_" + strings.ToUpper(strings.ReplaceAll(key, "-", "_"))
		want := "7"
		if key == "service-token" {
			want = "(hidden)"
		}
		if got := get(name + "=7")[key]; got.Value != want || !strings.Contains(got.Source, name) {
			t.Errorf("%s=7 makes the setting %s %v", name, key, got)
		}
		if m[2] != "" && get(m[2] + "=8")[key].Value != "8" {
			t.Errorf("%s is not read", m[2])
		}
		delete(documented, key)
	}
	for key := range documented {
		t.Errorf("cli.md has the setting %s, which does not exist", key)
	}
}

// TestMetaflowCommands runs a flow file by Python, with Metaflow's commands and options. What is refused is marked with
// "!", what fails with "?".
func TestMetaflowCommands(t *testing.T) {
	p := newPlace(t)
	if _, errs, code := p.run(nil, "mf", "init"); code != 0 {
		t.Fatal(errs)
	}
	sdk, errs, code := p.run(nil, "mf", "config", "sdk-path")
	if code != 0 {
		t.Fatal(errs)
	}
	env := []string{"PYTHONPATH=" + strings.TrimSpace(sdk)}
	for _, test := range []struct{ args, want string }{
		{"check", "HelloFlow is fine"},
		{"", "HelloFlow is fine"},
		{"show", "collect joins start"},
		{"output-dot", "digraph"},
		{"output-raw", `"name": "HelloFlow"`},
		{"version", "mf "},
		{"help", "Available Commands"},
		{"--with retry:times=1 show", "greet @retry"},
		{"--no-pylint --metadata local --datastore=local run --greeting Hei --tag t --max-workers 2 --max-num-splits 3 --namespace n --run-id-file id", "Hei, Ada!"},
		{"--quiet resume start --origin-run-id " + "ID", "Hei, Ada!"},
		{"--config-value nope {} run", "? the flow has no config"},
		{"spin start", `! the command "spin" of Metaflow is not there in mf`},
		{"card list", `! the command "card" of Metaflow is not there in mf`},
		{"dump 1", "! use mf dump"},
		{"logs show 1", "! use mf logs"},
		{"tag list", "! use mf tag"},
		{"argo-workflows create", "! no Kubernetes cluster is configured"},
		{"argo-workflows list-runs", "! use mf runs"},
		{"step-functions create", "! --target step-functions"},
		{"airflow create x.py", "! --target airflow"},
		{"--trigger F/1 run", "! unknown option --trigger before the command"},
		{"--branch b run", "? has no @project"},
		{"run --max-log-size 3", "! unknown flag: --max-log-size"},
	} {
		args := append([]string{"flow.py"}, strings.Fields(test.args)...)
		for i, arg := range args {
			if arg == "ID" {
				args[i] = read(t, filepath.Join(p.dir, "id"))
			}
		}
		out, errs, code := p.run(env, "python3", args...)
		want, wantCode := test.want, 0
		switch test.want[:2] {
		case "! ":
			want, wantCode = test.want[2:], 2
		case "? ":
			want, wantCode = test.want[2:], 1
		}
		if code != wantCode || !strings.Contains(out+errs, want) {
			t.Errorf("python3 flow.py %s: exit code %d, want %d and %q in\n%s%s", test.args, code, wantCode, want, out, errs)
		}
	}
}
