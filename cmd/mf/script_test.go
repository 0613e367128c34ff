//go:build unix

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/mf-run/mf/internal/golden"
)

// TestMain makes the test binary stand for mf, and for mf-task, which command steps call.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"mf": main, "mf-task": main})
}

// TestScripts runs testdata/script: each file is a user's session with mf, with what it prints and how it exits.
func TestScripts(t *testing.T) {
	python := interpreter(t)
	cache := t.TempDir()
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		UpdateScripts:       golden.Updating(),
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			home := filepath.Join(env.WorkDir, "home")
			if err := os.Mkdir(home, 0o755); err != nil {
				return err
			}
			env.Setenv("HOME", home)
			env.Setenv("PATH", filepath.Dir(python)+string(filepath.ListSeparator)+env.Getenv("PATH"))
			// One unpacked SDK serves all scripts.
			env.Setenv("MF_CACHE", cache)
			env.Setenv("MF_USER", "tester")
			env.Setenv("TZ", "UTC")
			env.Setenv("PYTHONDONTWRITEBYTECODE", "1")
			env.Setenv("LANG", "C.UTF-8")
			env.Values[stateKey{}] = &scriptState{work: env.WorkDir, cache: cache, python: python,
				runs: map[string]string{}, trees: map[string]map[string]string{}}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"session": cmdSession, "exits": cmdExits, "await": cmdAwait, "interrupt": cmdInterrupt, "same-tree": cmdSameTree, "runid": cmdRunID,
			"json-lines": cmdJSONLines, "small-disk": cmdSmallDisk,
		},
		Condition: func(name string) (bool, error) {
			if name != "mount" {
				return false, fmt.Errorf("unknown condition %q", name)
			}
			return mountable(), nil
		},
	})
}

// mountable reports whether this user may mount a disk of its own.
var mountable = sync.OnceValue(func() bool {
	dir, err := os.MkdirTemp("", "mount")
	if err != nil {
		return false
	}
	defer os.Remove(dir)
	if err := mount(dir, "64k"); err != nil {
		return false
	}
	return exec.Command("umount", dir).Run() == nil
})

func mount(dir, size string) error {
	return exec.Command("mount", "-t", "tmpfs", "-o", "size="+size, "tmpfs", dir).Run()
}

// cmdSmallDisk is "small-disk DIR SIZE": it makes the folder a disk of that size, or changes its size.
func cmdSmallDisk(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: small-disk DIR SIZE")
	}
	dir := ts.MkAbs(args[0])
	if _, err := os.Stat(dir); err == nil {
		ts.Check(exec.Command("mount", "-o", "remount,size="+args[1], dir).Run())
		return
	}
	ts.Check(os.Mkdir(dir, 0o755))
	ts.Check(mount(dir, args[1]))
	ts.Defer(func() { _ = exec.Command("umount", "-l", dir).Run() })
}

// interpreter finds the real python3, past the wrappers of version managers, which cost a shell start each time.
func interpreter(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("python3", "-c", "import os, sys; print(os.path.realpath(sys.executable))").Output()
	if err != nil {
		t.Fatalf("these tests need python3 in PATH: %v", err)
	}
	dir := t.TempDir()
	if err := os.Symlink(strings.TrimSpace(string(out)), filepath.Join(dir, "python3")); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "python3")
}

type stateKey struct{}

// scriptState is what one script has seen.
type scriptState struct {
	work, cache, python string
	runs                map[string]string            // what stands for run ids
	trees               map[string]map[string]string // what same-tree has seen: contents by path, by folder
	background          *exec.Cmd
}

func state(ts *testscript.TestScript) *scriptState { return ts.Value(stateKey{}).(*scriptState) }

// cmdExits is "exits CODE PROGRAM ARGS…": it runs the program and wants that exit code. Without a program it is about
// the background command that was interrupted, and has been waited for. Standard output and error are normalised.
func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: exits CODE [PROGRAM ARGS…]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	var code int
	st := state(ts)
	if len(args) == 1 {
		code = st.background.ProcessState.ExitCode()
	} else {
		var exit *exec.ExitError
		switch err := ts.Exec(args[1], args[2:]...); {
		case errors.As(err, &exit):
			code = exit.ExitCode()
		case err != nil:
			ts.Fatalf("%v", err)
		}
	}
	stdout, stderr := st.normal(ts.ReadFile("stdout")), st.normal(ts.ReadFile("stderr"))
	fmt.Fprint(ts.Stdout(), stdout)
	fmt.Fprint(ts.Stderr(), stderr)
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}

// cmdSession is "session FILE": it runs the shell lines of the file that start with "$ " and prints the file anew, with
// what they print now: "| " before a line of standard output, "! " before one of standard error, and "[CODE]" for an exit
// code that is not 0. Lines that start with "#" stay. Compare standard output with the file afterwards.
func cmdSession(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: session FILE")
	}
	st := state(ts)
	var b strings.Builder
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		command, ok := strings.CutPrefix(line, "$ ")
		if ok || strings.HasPrefix(line, "#") {
			b.WriteString(line)
		}
		if !ok {
			continue
		}
		var exit *exec.ExitError
		err := ts.Exec("sh", "-c", command)
		if err != nil && !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		prefixed(&b, "| ", st.normal(ts.ReadFile("stdout")))
		prefixed(&b, "! ", st.normal(ts.ReadFile("stderr")))
		if exit != nil {
			fmt.Fprintf(&b, "[%d]\n", exit.ExitCode())
		}
	}
	if b.Len() == 0 {
		ts.Fatalf("%s has no line that starts with \"$ \"", args[0])
	}
	fmt.Fprint(ts.Stdout(), b.String())
}

func prefixed(b *strings.Builder, prefix, text string) {
	for line := range strings.Lines(text) {
		b.WriteString(strings.TrimRight(prefix+line, " \n") + "\n")
	}
}

// What changes from run to run and from machine to machine.
var (
	runIDPattern    = regexp.MustCompile(`\b1[0-9]{15}\b`)
	datePattern     = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?( +\d[\d.µmsh]*s)?`)
	agedPattern     = regexp.MustCompile(`DATE {2,}`)
	tookPattern     = regexp.MustCompile(`\b(in|took|after) \d[\d.µmh]*s\b`)
	headPattern     = regexp.MustCompile(`TOOK +TAGS`)
	jsonTimePattern = regexp.MustCompile(`"(time|started)": ?"[^"]*"`)
	jsonSecsPattern = regexp.MustCompile(`"(seconds)": ?[0-9.e-]+`)
	caretPattern    = regexp.MustCompile(`(?m)^(\[[^ \]]*\]\]? |)[ ~^]*[~^][ ~^]*\n`)
	pidPattern      = regexp.MustCompile(`0x[0-9a-f]{6,}`)
	sdkPattern      = regexp.MustCompile(`sdk-[0-9a-f]{16}`)
	tempPattern     = regexp.MustCompile(`/\S*/mf-[0-9]+\b(/artifact-\w+)?`)
)

// normal replaces what changes: run ids by RUN1, RUN2… in the order they appear, times, durations, folders, and the
// marks under a traceback's lines, which not every Python prints.
func (st *scriptState) normal(text string) string {
	text = runIDPattern.ReplaceAllStringFunc(text, func(id string) string {
		if st.runs[id] == "" {
			st.runs[id] = fmt.Sprintf("RUN%d", len(st.runs)+1)
		}
		return st.runs[id]
	})
	text = datePattern.ReplaceAllString(text, "DATE")
	text = agedPattern.ReplaceAllString(text, "DATE  ")
	text = tookPattern.ReplaceAllString(text, "$1 0s")
	text = headPattern.ReplaceAllString(text, "TOOK  TAGS")
	text = jsonTimePattern.ReplaceAllString(text, `"$1":"TIME"`)
	text = jsonSecsPattern.ReplaceAllString(text, `"$1":0`)
	text = caretPattern.ReplaceAllString(text, "")
	text = pidPattern.ReplaceAllString(text, "0xADDRESS")
	text = tempPattern.ReplaceAllString(text, "$$TMP")
	text = strings.ReplaceAll(text, st.work, "$WORK")
	text = strings.ReplaceAll(text, st.cache, "$CACHE")
	text = sdkPattern.ReplaceAllString(text, "sdk-DIGEST")
	return strings.ReplaceAll(text, filepath.Dir(st.python), "$PYTHON")
}

// cmdRunID is "runid VARIABLE FILE": it puts the run id in the file into the environment.
func cmdRunID(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: runid VARIABLE FILE")
	}
	id := ts.ReadFile(args[1])
	state(ts).normal(id)
	ts.Setenv(args[0], id)
}

// cmdAwait is "await FILE…": it waits until the files are there.
func cmdAwait(ts *testscript.TestScript, neg bool, args []string) {
	deadline := time.Now().Add(30 * time.Second)
	for _, file := range args {
		for {
			if _, err := os.Stat(ts.MkAbs(file)); err == nil {
				break
			}
			if time.Now().After(deadline) {
				ts.Fatalf("%s does not appear", file)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// cmdInterrupt is "interrupt [TIMES]": Ctrl-C for the background command, a while apart when several.
func cmdInterrupt(ts *testscript.TestScript, neg bool, args []string) {
	cmds := ts.BackgroundCmds()
	if neg || len(cmds) != 1 {
		ts.Fatalf("interrupt wants one background command, there are %d", len(cmds))
	}
	state(ts).background = cmds[0]
	times := 1
	if len(args) == 1 {
		n, err := strconv.Atoi(args[0])
		ts.Check(err)
		times = n
	}
	for i := range times {
		if i > 0 {
			time.Sleep(300 * time.Millisecond)
		}
		ts.Check(cmds[0].Process.Signal(syscall.SIGINT))
	}
}

// cmdSameTree is "same-tree DIR" twice: the second time everything below the folder must be as the first time, names
// and contents.
func cmdSameTree(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: same-tree DIR")
	}
	now := map[string]string{}
	root := ts.MkAbs(args[0])
	ts.Check(filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			now[path] = "folder"
			return err
		}
		data, err := os.ReadFile(path)
		now[path] = string(data)
		return err
	}))
	st := state(ts)
	before := st.trees[root]
	if before == nil {
		st.trees[root] = now
		return
	}
	for path, text := range now {
		if was, ok := before[path]; !ok {
			ts.Fatalf("%s is new", path)
		} else if was != text {
			ts.Fatalf("%s has changed", path)
		}
	}
	for path := range before {
		if _, ok := now[path]; !ok {
			ts.Fatalf("%s is gone", path)
		}
	}
}

// cmdJSONLines is "json-lines": each line of standard output is a JSON object with an event, a time and a run.
func cmdJSONLines(ts *testscript.TestScript, neg bool, args []string) {
	lines := strings.Split(strings.TrimSpace(ts.ReadFile("stdout")), "\n")
	for _, line := range lines {
		var event struct{ Event, Time, Run string }
		if err := json.Unmarshal([]byte(line), &event); err != nil || event.Event == "" || event.Time == "" || event.Run == "" {
			ts.Fatalf("no event: %s (%v)", line, err)
		}
	}
}
