package codepackage

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

// gitFiles lists the files of a folder that git would add.
func gitFiles(t *testing.T, dir string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", "-c", "core.excludesFile=/dev/null", "ls-files", "--others", "--exclude-standard", "-z")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s (these tests need git)", err, errs.String())
	}
	list := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	slices.Sort(list)
	return slices.DeleteFunc(list, func(s string) bool { return s == "" })
}

func gitInit(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "git", "init", "-q", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s (these tests need git)", err, out)
	}
	return dir
}

// compare lists a folder with git and with Collect.
func compare(t *testing.T, dir string) (git, ours []string) {
	t.Helper()
	return append([]string{}, gitFiles(t, dir)...), append([]string{}, paths(collect(t, dir).Files)...)
}

// TestIgnoreAsGit compares with git, one rule file at a time.
func TestIgnoreAsGit(t *testing.T) {
	files := map[string]string{}
	for _, name := range []string{
		"flow.py", "a.txt", "b.txt", "ab", "a b", "a ", "#x", "!x", "é.txt", "x-y", "[x]", `back\slash`, "A.TXT", "star*", "q?", "tab\tname", "new\nline",
		"d/a.txt", "d/b.csv", "d/e/a.txt", "d/e/f/a.txt", "d/e/f/g", "e/f", "e/g/f", "foo/bar/baz", "foo/x", "x/foo/bar", "deep/d/a.txt", "0/9", "logs/a.log", "logs/keep/b.log",
	} {
		files[name] = "x"
	}
	dir := tree(t, gitInit(t), files)
	for _, rules := range []string{
		"", "*.txt", "*.txt\n!a.txt", "/a.txt", "a.txt", "d/a.txt", "d/", "/d/", "d", "d/*", "d/**", "**/a.txt", "d/**/a.txt", "**/e/**", "**",
		"*\n!*/\n!*.py", "/*\n!/d/", "/*\n!/d\n/d/*\n!/d/e", "d\n!d/a.txt", "foo/bar", "/foo/bar/", "foo/**/baz", "**/foo/bar", "x/**",
		"a\\ ", "a ", "a\\ b", "a b", "\\#x", "#x", "\\!x", "!x", "é.txt", "?.txt", "??.txt", "???.txt", "[ab].txt", "[!ab].txt", "[^a].txt", "[a-z].txt", "[[:upper:]].*",
		"[[:alpha:]][[:alpha:]]", "[]x]", "[[]x]", "[a", "a\\", "x[+-.]y", "x[--]y", "d[/]a.txt", "d[!x]a.txt", "d?a.txt", "*/f", "**/f", "***/f", "a**", "**.txt", "d/**.txt", "e/**/f", "e/**f",
		"back\\\\slash", "star\\*", "star[*]", "q\\?", "[[:bogus:]]", "[[:alpha]", "[a-", "[z-a].txt", "[\\a].txt", "[a-\\b].txt", "tab\tname", "new*", "new?line",
		"*.txt\r\n*.csv\r\n", "\xef\xbb\xbf*.txt", "   ", "*.txt   ", "  a.txt", "/", "//", "/d//a.txt", "!", "!/", "d/e/", "logs/*\n!logs/keep/\n", "logs/**\n!logs/**/\n!*.log", "./a.txt", "../a.txt", "d/../a.txt",
	} {
		if err := os.WriteFile(filepath.Join(dir, ".gitignore"), []byte(rules), 0o644); err != nil {
			t.Fatal(err)
		}
		git, ours := compare(t, dir)
		if diff := gocmp.Diff(git, ours); diff != "" {
			t.Errorf("%q: -git +ours:\n%s", rules, diff)
		}
	}
}

// TestRandomIgnoreAsGit makes up rules, in several folders.
func TestRandomIgnoreAsGit(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	names := []string{"a", "b", "ab", "a.c", "b.c", "c-d"}
	files := map[string]string{}
	for _, x := range names {
		for _, y := range names {
			files["f/"+x+"/"+y+"/a.c"], files["f/"+x+"/"+y+"/b"], files["f/"+x+"/c"+y] = "", "", ""
		}
		files["top"+x] = ""
	}
	dir := tree(t, gitInit(t), files)
	parts := []string{"a", "b", "c", "*", "?", "**", "/", "/", "[ab]", "[!a]", ".c", "*.c", "f", "f/", "-", "\\a", "[a-c]", "/**", "**/", "[^/]", "ab"}
	pattern := func() string {
		var b strings.Builder
		if random.IntN(4) == 0 {
			b.WriteByte('!')
		}
		for range 1 + random.IntN(5) {
			b.WriteString(parts[random.IntN(len(parts))])
		}
		return b.String()
	}
	for i := range 150 {
		where := []string{".gitignore", "f/.gitignore", "f/a/.gitignore"}
		var shown strings.Builder
		for _, file := range where {
			var rules strings.Builder
			for range random.IntN(4) {
				rules.WriteString(pattern() + "\n")
			}
			fmt.Fprintf(&shown, "%s:\n%s", file, rules.String())
			if err := os.WriteFile(filepath.Join(dir, file), []byte(rules.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		git, ours := compare(t, dir)
		if diff := gocmp.Diff(git, ours); diff != "" {
			t.Fatalf("round %d:\n%s-git +ours:\n%s", i, shown.String(), diff)
		}
	}
}

// FuzzIgnore: no ignore file is too odd to be read, and what one says does not depend on when it is asked.
func FuzzIgnore(f *testing.F) {
	for _, seed := range []string{"*.log\n!a", "[a-", "a/**/b\r\n", "\xff\xfe", "[[:alpha:]]", "\\", "**/**/**/x", "[\\]-a]"} {
		f.Add([]byte(seed), "a/b.log")
	}
	f.Fuzz(func(t *testing.T, rules []byte, name string) {
		if !fs.ValidPath(name) || name == "." {
			return
		}
		file := &ignoreFile{base: ".", rules: parseIgnore(rules)}
		again := &ignoreFile{base: ".", rules: parseIgnore(rules)}
		for _, isDir := range []bool{false, true} {
			one, two := file.decide(name, isDir), again.decide(name, isDir)
			if (one == nil) != (two == nil) || one != nil && one.text != two.text {
				t.Errorf("%v, then %v", one, two)
			}
		}
	})
}
