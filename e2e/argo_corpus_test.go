//go:build e2e

package e2e

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/mf-run/mf/ir"
)

// notOnArgo are the valid flows of the corpus that do not run on the cluster of the tests.
var notOnArgo = map[string]struct {
	// why, and what shows it: a code that the compiler refuses the flow for Argo with, or an expression that the manifests
	// have. A flow of which neither is true any more has to be taken out of the list.
	why, code string
	manifest  *regexp.Regexp
}{
	"batch":           {why: "every step on Argo is a pod", code: "target-unsupported"},
	"yaml-decorators": {why: "its steps are in several namespaces", code: "namespaces-differ"},
	"kubernetes":      {why: "asks for two cores, which a node with two has not to give", manifest: regexp.MustCompile(`cpu: "2"`)},
	"resources":       {why: "asks for a GPU", manifest: regexp.MustCompile(`nvidia\.com/gpu`)},
	"yaml-defaults":   {why: "asks for a GPU", manifest: regexp.MustCompile(`nvidia\.com/gpu`)},
}

// notHere are flows that this machine does not run, so that there is nothing to compare with.
var notHere = map[string]string{
	"warn-missing-library": "unresolved", // the compiler's word where it is to be run
}

// givenInCorpus are values for parameters that have none.
var givenInCorpus = map[string][]string{
	"parameter-required":      {"--who", "Ada \"the first\" 😀"},
	"schedule-off":            {"--when", "now"},
	"yaml-parameter-required": {"--who", "Ada"},
}

// failing are the flows that fail, on any engine.
var failing = []string{"warn-artifact-hides-step", "warn-artifact-lost", "warn-artifact-read-only", "warn-artifact-unwritten"}

// tracebacks are artifacts that hold the paths of files.
var tracebacks = map[string][]string{"catch": {"problem"}, "catch-and-retry": {"problem"}}

// optionsInCorpus are those of mf deploy, where a flow is too large for a small machine as it is.
var optionsInCorpus = map[string][]string{
	"yaml-foreach-wide": {"--pack", "20"}, // 60 pods
}

// TestArgoCorpus runs the corpus on Argo and on this machine: both must leave the same artifacts, digest by digest.
func TestArgoCorpus(t *testing.T) {
	var names []string
	for _, dir := range validFlows(t) {
		name := filepath.Base(dir)
		if _, not := notOnArgo[name]; !not && notHere[name] == "" {
			names = append(names, name)
		}
	}
	runCorpus(t, names, optionsInCorpus)
}

// runCorpus runs flows of the corpus both ways and compares.
func runCorpus(t *testing.T, names []string, options map[string][]string) {
	t.Helper()
	wanted, err := regexp.Compile(*flowFlag)
	if err != nil {
		t.Fatal("the flows to run: ", err)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !wanted.MatchString(name) })
	names = partOf(t, names)
	all := newArgo(t).pairs(len(names), func(i int) pairing { return corpusPairing(t, names[i], options[names[i]]) })
	for i, p := range all {
		name := names[i]
		t.Run(name, func(t *testing.T) {
			if p.report != "" {
				t.Fatal(p.report)
			}
			if want := slices.Contains(failing, name); p.argo.failed != want {
				t.Errorf("failed: %v, want %v: %s", p.argo.failed, want, p.argo.message)
			}
		})
	}
}

// partOf returns the part of a list that -part asks for.
func partOf(t *testing.T, names []string) []string {
	t.Helper()
	if *partFlag == "" {
		return names
	}
	var part, parts int
	if n, err := fmt.Sscanf(*partFlag, "%d/%d", &part, &parts); n != 2 || err != nil || part < 0 || part >= parts {
		t.Fatalf("-part %s is no part, such as 0/3, 1/3 or 2/3", *partFlag)
	}
	var some []string
	for i, name := range names {
		if i%parts == part {
			some = append(some, name)
		}
	}
	t.Logf("part %d of %d: %s", part, parts, strings.Join(some, " "))
	return some
}

var partFlag = flag.String("part", os.Getenv("E2E_PART"), "part of the corpus that is run on Argo, as 0/3; else all")

var flowFlag = flag.String("flow", os.Getenv("E2E_FLOW"), "expression that the names of the flows have that are run on Argo; else all")

// packedInCorpus are flows that are run once more with several tasks in a container, and how.
var packedInCorpus = map[string][]string{
	"foreach-body":          {"--pack", "3"},
	"foreach-in-split":      {"--pack", "3"},
	"foreach-item-types":    {"--pack", "3"},
	"foreach-nested":        {"--pack", "3"},
	"split-in-foreach":      {"--pack", "3"},
	"recursion":             {"--pack", "collatz=3"},
	"recursion-in-foreach":  {"--pack", "3", "--pack", "climb=2"},
	"yaml-catch-in-foreach": {"--pack", "3"},
}

// TestArgoPacks runs some of the corpus with several splits, and rounds, in one container: that changes no artifact.
func TestArgoPacks(t *testing.T) {
	runCorpus(t, slices.Sorted(maps.Keys(packedInCorpus)), packedInCorpus)
}

// TestArgoCorpusLeftOut holds each flow that is left out to its reason.
func TestArgoCorpusLeftOut(t *testing.T) {
	flows := validFlows(t)
	known := func(name string) bool {
		return slices.ContainsFunc(flows, func(dir string) bool { return filepath.Base(dir) == name })
	}
	for name, left := range notOnArgo {
		if !known(name) {
			t.Errorf("there is no valid flow %s", name)
			continue
		}
		p := newPlace(t, repo(t, "testdata", "flows", name))
		out, stderr, err := p.output(p.env("MF_PYTHON="+metaflowPython(t), "MF_DATASTORE=s3://b/m"), mfBinary(t), "compile", sourceOf(t, p.dir), "--target", "argo", "-o", "-")
		switch {
		case left.code != "" && (err == nil || !strings.Contains(stderr, "["+left.code+"]")):
			t.Errorf("%s is left out because %s, but mf compile says %v\n%s", name, left.why, err, stderr)
		case left.manifest != nil && (err != nil || !left.manifest.MatchString(out)):
			t.Errorf("%s is left out because it %s, but its manifest does not say so: %v\n%s", name, left.why, err, stderr)
		}
	}
	for name := range notHere {
		p := newPlace(t, repo(t, "testdata", "flows", name))
		if _, stderr, err := p.output(p.env("MF_PYTHON="+metaflowPython(t)), mfBinary(t), "run", sourceOf(t, p.dir)); err == nil || strings.Contains(stderr, "resume:") {
			t.Errorf("%s is left out because mf run refuses it, but that says %v\n%s", name, err, stderr)
		}
	}
}

// validFlows are the folders of the corpus with a flow that compiles.
func validFlows(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob(repo(t, "testdata", "flows", "*", "ir.json"))
	if err != nil || len(found) < 100 {
		t.Fatal("flows: ", len(found), err)
	}
	for i := range found {
		found[i] = filepath.Dir(found[i])
	}
	return found
}

// sourceOf is the name of the flow's file in a folder.
func sourceOf(t *testing.T, dir string) string {
	t.Helper()
	for _, name := range []string{"flow.py", "flow.yaml"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return name
		}
	}
	t.Fatal("no flow in " + dir)
	return ""
}

// corpusPairing is a flow of the corpus. What cannot be read shows as a flow that cannot be run.
func corpusPairing(t *testing.T, name string, options []string) pairing {
	source := repo(t, "testdata", "flows", name)
	what := pairing{varying: tracebacks[name], given: givenInCorpus[name], options: options}
	data, err := os.ReadFile(filepath.Join(source, "ir.json"))
	if err == nil {
		var flow *ir.Flow
		if flow, err = ir.Unmarshal(data); err == nil {
			what.file, what.flow = filepath.Base(flow.Source.File), flow.Name
		}
	}
	what.write = func(dir string) error { return errors.Join(err, os.CopyFS(dir, os.DirFS(source))) }
	return what
}
