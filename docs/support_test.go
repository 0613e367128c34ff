package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/mf-run/mf/backends/registry"
	"github.com/mf-run/mf/ir"
)

// row is one feature of the support table.
type row struct {
	feature string
	// cells are what it says by column: "local", "argo" and so on.
	cells map[string]string
	refs  []string
}

var code = regexp.MustCompile("`([^`]+)`")

// rows reads the tables of support.md.
func rows(t *testing.T) []row {
	t.Helper()
	var found []row
	var columns []string
	for _, line := range strings.Split(read(t, "support.md"), "\n") {
		if !strings.HasPrefix(line, "|") {
			columns = nil
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case columns == nil:
			columns = cells
		case strings.HasPrefix(cells[0], "---"):
		case len(cells) != len(columns):
			t.Errorf("%d cells, not %d: %s", len(cells), len(columns), line)
		default:
			r := row{feature: cells[0], cells: map[string]string{}}
			for i, name := range columns[1 : len(columns)-1] {
				r.cells[name] = cells[i+1]
			}
			for _, m := range code.FindAllStringSubmatch(cells[len(cells)-1], -1) {
				r.refs = append(r.refs, m[1])
			}
			found = append(found, r)
		}
	}
	if len(found) < 90 {
		t.Fatalf("the support table has %d rows only", len(found))
	}
	return found
}

var (
	says    = regexp.MustCompile(`^(works|partly|carried|refused|absent|–)([ ,:;]|$)`)
	refused = regexp.MustCompile(`refused (\d+)`)
	number  = regexp.MustCompile("(?m)^(\\d+)\\. `")
)

// TestSupport checks the form of the support table: each cell says one of the words, each message is there, what works
// is shown by something, and what shows it exists.
func TestSupport(t *testing.T) {
	var messages []string
	for _, m := range number.FindAllStringSubmatch(read(t, "support.md"), -1) {
		messages = append(messages, m[1])
		if m[1] != strconv.Itoa(len(messages)) {
			t.Errorf("message %s is number %d", m[1], len(messages))
		}
	}
	used := map[string]bool{}
	tests := testFunctions(t)
	for _, r := range rows(t) {
		for column, cell := range r.cells {
			if !says.MatchString(cell) {
				t.Errorf("%s, %s: %q is none of the words", r.feature, column, cell)
			}
			if (strings.HasPrefix(cell, "works") || strings.HasPrefix(cell, "partly")) && len(r.refs) == 0 {
				t.Errorf("%s, %s: it works, but nothing shows it", r.feature, column)
			}
			for _, m := range refused.FindAllStringSubmatch(cell, -1) {
				used[m[1]] = true
				if !slices.Contains(messages, m[1]) {
					t.Errorf("%s, %s: there is no message %s", r.feature, column, m[1])
				}
			}
		}
	}
	for _, m := range messages {
		if !used[m] {
			t.Errorf("no row has message %s", m)
		}
	}
	for path, refs := range references(t) {
		for _, ref := range refs {
			if !exists(ref, tests) {
				t.Errorf("%s: %s does not exist", path, ref)
			}
		}
	}
}

var reference = regexp.MustCompile("`((?:[a-z0-9/]+:Test[A-Za-z0-9]+)|flows/[a-z0-9-]+)`")

// references are the tests that pages name, by page, and all that the support table does.
func references(t *testing.T) map[string][]string {
	found := map[string][]string{}
	for _, r := range rows(t) {
		found["support.md, "+r.feature] = r.refs
	}
	for path, page := range pages(t) {
		for _, m := range reference.FindAllStringSubmatch(page, -1) {
			found[path] = append(found[path], m[1])
		}
	}
	return found
}

// exists reports whether there is a test, a flow of the corpus, or a file of tests of that name.
func exists(ref string, tests map[string]bool) bool {
	if strings.Contains(ref, ":") {
		return tests[ref]
	}
	file := ref
	if strings.HasPrefix(ref, "flows/") {
		file = "testdata/" + ref
	}
	_, err := os.Stat(filepath.Join(root, file))
	return err == nil
}

// testFunctions returns every test function as "folder:TestName".
func testFunctions(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		folder, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") {
				found[filepath.ToSlash(folder)+":"+f.Name.Name] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// decorators reads the names of the SDK's decorator table.
func decorators(t *testing.T) []string {
	t.Helper()
	var names []string
	inTable := false
	entry := regexp.MustCompile(`^    "([a-z_0-9]+)": `)
	for _, line := range strings.Split(read(t, filepath.Join(root, "sdk", "python", "metaflow", "_decorator_table.py")), "\n") {
		switch m := entry.FindStringSubmatch(line); {
		case strings.HasPrefix(line, "STEP_DECORATORS") || strings.HasPrefix(line, "FLOW_DECORATORS"):
			inTable = true
		case strings.HasPrefix(line, "}"):
			inTable = false
		case inTable && m != nil:
			names = append(names, m[1])
		}
	}
	if len(names) < 26 {
		t.Fatalf("found %d decorators only: %v", len(names), names)
	}
	return append(names, "step")
}

// TestDecorators finds every decorator that flows may use in the support table.
func TestDecorators(t *testing.T) {
	table := map[string]bool{}
	for _, r := range rows(t) {
		if m := code.FindStringSubmatch(r.feature); m != nil {
			table[m[1]] = true
		}
	}
	for _, name := range decorators(t) {
		if !table["@"+name] {
			t.Errorf("the support table has no row for @%s", name)
		}
	}
}

// rowOf is the beginning of the row of each feature that a target may miss.
var rowOf = map[ir.Feature]string{
	ir.FeatureSplit: "static split and", ir.FeatureForeach: "foreach;", ir.FeatureNestedForeach: "nested foreach",
	ir.FeatureForeachBody: "several steps between", ir.FeatureSplitInBody: "static split inside",
	ir.FeatureSwitch: "switch", ir.FeatureRecursion: "recursion", ir.FeatureParallel: "gang",
	ir.FeatureRetry: "`@retry`", ir.FeatureCatch: "`@catch`", ir.FeatureTimeout: "`@timeout`",
	ir.FeatureSchedule: "`@schedule`", ir.FeatureTimezone: "`@schedule`", ir.FeatureTrigger: "`@trigger`",
	ir.FeatureTriggerFinish: "`@trigger_on_finish`", ir.FeatureExitHook: "`@exit_hook`", ir.FeatureGPU: "`@resources`",
}

// TestTargets holds the columns of the targets to what the backends say they can do, and the messages to their words.
func TestTargets(t *testing.T) {
	page := read(t, "support.md")
	find := func(start string) row {
		for _, r := range rows(t) {
			if strings.HasPrefix(r.feature, start) {
				return r
			}
		}
		t.Fatalf("the support table has no row that starts with %q", start)
		return row{}
	}
	for _, b := range registry.All() {
		f := b.Features()
		if f.Target == "ir" {
			continue
		}
		for feature, start := range rowOf {
			limit, can := f.Can(feature)
			cell := find(start).cells[f.Target]
			if strings.HasPrefix(cell, "refused") == can {
				t.Errorf("%s on %s: the table says %q, the backend %v", feature, f.Target, cell, can)
			}
			if !can && !strings.Contains(page, limit.Reason) {
				t.Errorf("%s: the message %q is missing", f.Target, limit.Reason)
			}
		}
		for _, name := range decorators(t) {
			limit, no := f.Decorators[name]
			if no && !strings.HasPrefix(find("`@" + name + "`").cells[f.Target], "refused") {
				t.Errorf("@%s is refused by %s; the table says otherwise", name, f.Target)
			}
			if no && !strings.Contains(page, limit.Reason) {
				t.Errorf("%s: the message %q is missing", f.Target, limit.Reason)
			}
		}
	}
}
