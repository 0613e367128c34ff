package codepackage

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strings"
)

// gitIgnore and mfIgnore are the names of the files that leave others out. Both have the form of .gitignore; where they
// disagree .mfignore has the last word, whatever folder it is in.
const (
	gitIgnore = ".gitignore"
	mfIgnore  = IgnoreFile
)

// maxIgnoreFile bounds an ignore file, in bytes.
const maxIgnoreFile = 1 << 20

// ignoreFile is one .gitignore or .mfignore.
type ignoreFile struct {
	// name is how a person finds it, from the flow's folder: "lib/.gitignore", "../.gitignore".
	name string
	// base is the folder that it lies in, from the top of the working copy; "." for the top itself.
	base  string
	rules []rule
}

// rule is one line of an ignore file.
type rule struct {
	line int
	text string
	// keep is a rule that starts with "!".
	keep bool
	// foldersOnly is a rule that ends in "/".
	foldersOnly bool
	// anywhere is a rule without a slash, which is about the last name of a path.
	anywhere bool
	match    func(string) bool
}

// scope is the ignore files that hold for a folder: its own and those of the folders around it.
type scope struct {
	outer   *scope
	git, mf *ignoreFile
}

// decide returns the rule that settles whether a path, from the top of the working copy, is left out, and the file it
// stands in; nil if none speaks of it.
func (s *scope) decide(name string, isDir bool) (*rule, *ignoreFile) {
	for _, pick := range []func(*scope) *ignoreFile{
		func(s *scope) *ignoreFile { return s.mf }, func(s *scope) *ignoreFile { return s.git },
	} {
		for at := s; at != nil; at = at.outer {
			if file := pick(at); file != nil {
				if r := file.decide(name, isDir); r != nil {
					return r, file
				}
			}
		}
	}
	return nil, nil
}

// decide returns the last rule of the file that matches.
func (f *ignoreFile) decide(name string, isDir bool) *rule {
	if f.base != "." {
		name = strings.TrimPrefix(name, f.base+"/")
	}
	name = byteRunes(name)
	for i := len(f.rules) - 1; i >= 0; i-- {
		r := &f.rules[i]
		if r.foldersOnly && !isDir {
			continue
		}
		subject := name
		if r.anywhere {
			subject = path.Base(name)
		}
		if r.match(subject) {
			return r
		}
	}
	return nil
}

// readIgnore reads an ignore file of a folder; nil if there is none. What is not a regular file is none, as for git.
func readIgnore(folder fs.FS, file, shown, base string) (*ignoreFile, error) {
	info, err := fs.Lstat(folder, file)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", shown, err)
	}
	if info.Size() > maxIgnoreFile {
		return nil, fmt.Errorf("reading %s: it has %d bytes, at most %d are allowed", shown, info.Size(), maxIgnoreFile)
	}
	data, err := fs.ReadFile(folder, file)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", shown, err)
	}
	return &ignoreFile{name: shown, base: base, rules: parseIgnore(data)}, nil
}

// readScope reads the ignore files of one folder; outer itself where it has none. shown is the folder's path as a person
// finds it, base as rules do.
func readScope(folder fs.FS, dir, shown, base string, outer *scope) (*scope, error) {
	s := &scope{outer: outer}
	var err error
	if s.git, err = readIgnore(folder, path.Join(dir, gitIgnore), path.Join(shown, gitIgnore), base); err != nil {
		return nil, err
	}
	if s.mf, err = readIgnore(folder, path.Join(dir, mfIgnore), path.Join(shown, mfIgnore), base); err != nil {
		return nil, err
	}
	if s.git == nil && s.mf == nil {
		return outer, nil
	}
	return s, nil
}

// parseIgnore reads the lines of an ignore file as git does.
func parseIgnore(data []byte) []rule {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	var rules []rule
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
		if strings.HasPrefix(line, "#") {
			continue
		}
		if line = trimSpaces(line); line == "" {
			continue
		}
		rules = append(rules, parseRule(number, line))
	}
	return rules
}

// trimSpaces cuts spaces off the end, up to one that a backslash keeps.
func trimSpaces(line string) string {
	end := 0
	for i := 0; i < len(line); i++ {
		switch line[i] {
		case ' ':
			continue
		case '\\':
			i++
		}
		end = min(i+1, len(line))
	}
	return line[:end]
}

func parseRule(number int, line string) rule {
	r := rule{line: number, text: line}
	pattern, keep := strings.CutPrefix(line, "!")
	r.keep = keep
	pattern, r.foldersOnly = strings.CutSuffix(pattern, "/")
	r.anywhere = !strings.Contains(pattern, "/")
	r.match = matcher(byteRunes(strings.TrimPrefix(pattern, "/")))
	return r
}

// matcher returns a function for a pattern whose bytes are runes. The usual patterns need no regular expression.
func matcher(pattern string) func(string) bool {
	if pattern == "" {
		return func(string) bool { return false }
	}
	if !strings.ContainsAny(pattern, `*?[\`) {
		return func(name string) bool { return name == pattern }
	}
	if suffix, ok := strings.CutPrefix(pattern, "*"); ok && !strings.ContainsAny(suffix, `*?[\/`) {
		return func(name string) bool { return strings.HasSuffix(name, suffix) && !strings.Contains(name, "/") }
	}
	expression, ok := translate([]rune(pattern))
	if !ok {
		return func(string) bool { return false } // git never matches a pattern that is cut short, either
	}
	return regexp.MustCompile(expression).MatchString
}

// translate turns a pattern into a regular expression. It reports false for one that git takes to match nothing: with a
// bracket that does not close, or a backslash at the end.
func translate(p []rune) (string, bool) {
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	for i := 0; i < len(p); {
		switch p[i] {
		case '*':
			end := i
			for end < len(p) && p[end] == '*' {
				end++
			}
			wide := end-i > 1 && (i == 0 || p[i-1] == '/')
			switch {
			case wide && end == len(p):
				b.WriteString(`.*`)
			case wide && p[end] == '/':
				b.WriteString(`(?:.*/)?`)
				end++
			default:
				b.WriteString(`[^/]*`)
			}
			i = end
		case '?':
			b.WriteString(`[^/]`)
			i++
		case '[':
			set, next, ok := bracket(p, i)
			if !ok {
				return "", false
			}
			writeSet(&b, set)
			i = next
		case '\\':
			i++
			if i == len(p) {
				return "", false
			}
			fallthrough
		default:
			b.WriteString(regexp.QuoteMeta(string(p[i])))
			i++
		}
	}
	b.WriteString(`\z`)
	return b.String(), true
}

// byteSet is a set of bytes.
type byteSet [256]bool

// bracket reads the set that starts at p[at], and returns where the pattern goes on. A slash is never in it.
func bracket(p []rune, at int) (set byteSet, next int, ok bool) {
	i := at + 1
	negated := i < len(p) && (p[i] == '!' || p[i] == '^')
	if negated {
		i++
	}
	var before rune // the last single character, from which a range may start
	for first := true; ; first = false {
		if i >= len(p) {
			return set, 0, false
		}
		c := p[i]
		if c == ']' && !first {
			break
		}
		switch {
		case c == '-' && before != 0 && i+1 < len(p) && p[i+1] != ']':
			i++
			if p[i] == '\\' {
				i++
			}
			if i >= len(p) {
				return set, 0, false
			}
			for b := before; b <= p[i]; b++ {
				set[b] = true
			}
			before = 0
		case c == '[' && i+1 < len(p) && p[i+1] == ':':
			end, isClass, ok := class(p, i, &set)
			if !ok {
				return set, 0, false
			}
			if before = 0; !isClass {
				before = '['
			}
			i = end
		default:
			if c == '\\' {
				i++
				if i >= len(p) {
					return set, 0, false
				}
			}
			set[p[i]] = true
			before = p[i]
		}
		i++
	}
	if negated {
		for b := range set {
			set[b] = !set[b]
		}
	}
	set['/'] = false
	return set, i + 1, true
}

// classes are the named sets of characters, of ASCII as in git.
var classes = map[string]func(b byte) bool{
	"alnum":  func(b byte) bool { return isAlpha(b) || isDigit(b) },
	"alpha":  isAlpha,
	"blank":  func(b byte) bool { return b == ' ' || b == '\t' },
	"cntrl":  func(b byte) bool { return b < ' ' || b == 0x7f },
	"digit":  isDigit,
	"graph":  func(b byte) bool { return b > ' ' && b < 0x7f },
	"lower":  func(b byte) bool { return 'a' <= b && b <= 'z' },
	"print":  func(b byte) bool { return b >= ' ' && b < 0x7f },
	"punct":  func(b byte) bool { return b > ' ' && b < 0x7f && !isAlpha(b) && !isDigit(b) },
	"space":  func(b byte) bool { return b == ' ' || '\t' <= b && b <= '\r' },
	"upper":  func(b byte) bool { return 'A' <= b && b <= 'Z' },
	"xdigit": func(b byte) bool { return isDigit(b) || 'a' <= b|0x20 && b|0x20 <= 'f' },
}

func isAlpha(b byte) bool { return 'a' <= b|0x20 && b|0x20 <= 'z' }
func isDigit(b byte) bool { return '0' <= b && b <= '9' }

// class reads "[:name:]" at p[at] into the set, and returns the place of its last character. What only looks like a
// class is the character "[".
func class(p []rune, at int, set *byteSet) (end int, isClass, ok bool) {
	end = at + 2
	for end < len(p) && p[end] != ']' {
		end++
	}
	if end == len(p) {
		return 0, false, false
	}
	if end == at+2 || p[end-1] != ':' || end-1 < at+2 {
		set['['] = true
		return at, false, true
	}
	in, known := classes[string(p[at+2:end-1])]
	if !known {
		return 0, false, false
	}
	for b := range set {
		set[b] = set[b] || in(byte(b))
	}
	return end, true, true
}

// writeSet writes a set as a bracket of a regular expression.
func writeSet(b *strings.Builder, set byteSet) {
	var ranges strings.Builder
	for from := 0; from < len(set); from++ {
		if !set[from] {
			continue
		}
		to := from
		for to+1 < len(set) && set[to+1] {
			to++
		}
		fmt.Fprintf(&ranges, `\x{%x}-\x{%x}`, from, to)
		from = to
	}
	if ranges.Len() == 0 {
		b.WriteString(`[^\x{0}-\x{10ffff}]`) // nothing
		return
	}
	b.WriteString("[" + ranges.String() + "]")
}

// byteRunes makes each byte of a text a rune of its own: git compares bytes, regular expressions compare runes.
func byteRunes(s string) string {
	ascii := true
	for i := range len(s) {
		ascii = ascii && s[i] < 0x80
	}
	if ascii {
		return s
	}
	runes := make([]rune, len(s))
	for i := range len(s) {
		runes[i] = rune(s[i])
	}
	return string(runes)
}

// IgnoreFile is the name of the files that say, in the language of .gitignore, what of their folder stays behind.
const IgnoreFile = ".mfignore"
