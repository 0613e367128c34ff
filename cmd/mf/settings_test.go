package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Each source wins over those behind it: environment, mf.yaml, Metaflow's environment, Metaflow's file, default. Flags win
// over all of them, which the scripts show.
func TestSettingsPrecedence(t *testing.T) {
	dir, home := t.TempDir(), t.TempDir()
	get := func(environ ...string) value {
		t.Helper()
		a := &app{environ: append([]string{"HOME=" + home}, environ...)}
		c, err := a.loadConfig(filepath.Join(dir, "sub"))
		if err != nil {
			t.Fatal(err)
		}
		return c.values["service-url"]
	}
	want := func(got value, text, source string) {
		t.Helper()
		if got.Text != text || !strings.Contains(got.Source, source) {
			t.Errorf("got %+v, want %q from %s", got, text, source)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	want(get(), "", "default")
	put(t, filepath.Join(home, ".metaflowconfig", "config.json"), `{"METAFLOW_SERVICE_URL": "http://json"}`)
	want(get(), "http://json", "config.json")
	put(t, filepath.Join(home, ".metaflowconfig", "config_team.json"), `{"METAFLOW_SERVICE_URL": "http://team"}`)
	want(get("METAFLOW_PROFILE=team"), "http://team", "config_team.json")
	want(get("METAFLOW_SERVICE_URL=http://menv"), "http://menv", "environment METAFLOW_SERVICE_URL")
	put(t, filepath.Join(dir, "mf.yaml"), "service-url: http://yaml\n")
	want(get("METAFLOW_SERVICE_URL=http://menv"), "http://yaml", "mf.yaml")
	want(get("METAFLOW_SERVICE_URL=http://menv", "MF_SERVICE_URL=http://env"), "http://env", "environment MF_SERVICE_URL")
	want(get("MF_SERVICE_URL=http://first", "MF_SERVICE_URL=http://last"), "http://last", "environment")
	put(t, filepath.Join(dir, "sub", "mf.yaml"), "service-url: http://nearest\n")
	want(get(), "http://nearest", filepath.Join("sub", "mf.yaml"))
	put(t, filepath.Join(dir, "sub", "mf.yaml"), "service-url:\n")
	want(get(), "http://json", "config.json")
}

func TestSettingsHaveTheirNames(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range settings {
		if seen[s.Key] || s.Help == "" || s.Key != strings.ToLower(s.Key) {
			t.Errorf("setting %q is there twice, has no help or capitals", s.Key)
		}
		seen[s.Key] = true
		if s.Metaflow != "" && !strings.HasPrefix(s.Metaflow, "METAFLOW_") {
			t.Errorf("setting %s follows %s", s.Key, s.Metaflow)
		}
	}
	if got := (setting{Key: "max-log-size"}).env(); got != "MF_MAX_LOG_SIZE" {
		t.Errorf("the environment variable is %s", got)
	}
}

// FuzzSettings: no mf.yaml makes the program panic, and what is refused is refused as wrong usage that names the file.
func FuzzSettings(f *testing.F) {
	for _, text := range []string{"", "max-workers: 3\n", "a: [", "- x", "python: {a: b}", "user: !!binary aGk=\n", "? [x]\n: y\n", "<<: {}\n", "\xff"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		dir := t.TempDir()
		put(t, filepath.Join(dir, "mf.yaml"), text)
		c, err := (&app{}).loadConfig(dir)
		if err == nil {
			c.get("python")
			return
		}
		if exit := asExit(err); exit == nil || exit.code != exitUsage || !strings.Contains(err.Error(), "mf.yaml") {
			t.Errorf("%q: %v", text, err)
		}
	})
}

// TestTargetSettings resolves a target's setting from everywhere it may stand.
func TestTargetSettings(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mf.yaml"), []byte("argo.namespace: file\nargo.cpu: 2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		environ, flags []string
		want           string
	}{
		{nil, nil, "file"},
		{[]string{"METAFLOW_KUBERNETES_NAMESPACE=metaflow"}, nil, "file"},
		{[]string{"MF_ARGO_NAMESPACE=env"}, nil, "env"},
		{[]string{"MF_ARGO_NAMESPACE=env"}, []string{"argo.namespace=flag"}, "flag"},
	} {
		a := &app{environ: c.environ}
		config, err := a.loadConfig(dir)
		if err != nil {
			t.Fatal(err)
		}
		got, err := config.targetSettings(c.flags)
		if err != nil || got["argo.namespace"] != c.want || got["argo.cpu"] != "2" {
			t.Errorf("%v %v: %v, %v", c.environ, c.flags, got, err)
		}
	}
	config, err := (&app{environ: []string{"METAFLOW_KUBERNETES_NAMESPACE=metaflow"}}).loadConfig(t.TempDir())
	if err != nil || config.target["argo.namespace"].Text != "metaflow" {
		t.Errorf("%+v, %v", config, err)
	}
	if _, err := config.targetSettings([]string{"nothing.known=1"}); err == nil {
		t.Error("an unknown setting is taken")
	}
}

func TestPacks(t *testing.T) {
	all, steps, err := packs([]string{"50", "score=10"})
	if err != nil || all != 50 || len(steps) != 1 || steps["score"] != 10 {
		t.Error(all, steps, err)
	}
	for _, bad := range []string{"x", "0", "a=", "a=-1", "100001"} {
		if _, _, err := packs([]string{bad}); err == nil {
			t.Errorf("--pack %s is taken", bad)
		}
	}
}
