package tokens_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mf-run/mf/cmd/internal/tokens"
)

// theirs has the real Metaflow name prefixes, count tokens on and read and write the files of a folder.
const theirs = `
import json, sys
from metaflow import current
from metaflow.plugins.argo.argo_workflows_cli import resolve_workflow_name_v2
from metaflow.plugins.aws.step_functions.production_token import load_token, new_token, store_token

ask = json.load(sys.stdin)
found = {"read": load_token("by-mf"), "sequences": {}, "projects": [], "names": []}
for name in ask["names"]:
    current._update_env({"flow_name": name, "project_name": None})
    found["names"].append(resolve_workflow_name_v2(None, None)[1])
for project, branch in ask["projects"]:
    current._update_env({"project_name": project, "branch_name": branch, "flow_name": "Train",
                         "project_flow_name": "%s.%s.Train" % (project, branch)})
    found["projects"].append(resolve_workflow_name_v2(None, None)[1])
for prefix in ask["sequences"]:
    token, tokens = None, []
    for _ in range(30):
        token = new_token(prefix, token)
        tokens.append(token)
    found["sequences"][prefix] = tokens
store_token("by-metaflow", "from Metaflow \u00e9")
store_token("by-both", "second")
json.dump(found, sys.stdout)
`

// TestSharedWithMetaflow deploys, as far as tokens go, now with the one and now with the other.
func TestSharedWithMetaflow(t *testing.T) {
	python, err := filepath.Abs("../../../.cache/venv-metaflow/bin/python")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(python); err != nil {
		t.Fatal("there is no real Metaflow: run make setup")
	}
	home := t.TempDir()
	s := tokens.Store{Dir: filepath.Join(home, "tokens")}
	for prefix, token := range map[string]string{"by-mf": "from mf é", "by-both": "first"} {
		if err := s.Save(prefix, token); err != nil {
			t.Fatal(err)
		}
	}
	ask := map[string]any{
		"names":     []string{"Train", "Train_Flow2"},
		"projects":  [][]string{{"shop", "prod"}, {"shop", "user.ann"}, {"a_b", "test.x"}},
		"sequences": []string{"train", "a", "mfprj-abcdefghij234567", "long" + strings.Repeat("g", 100), "ä"},
	}
	in, err := json.Marshal(ask)
	if err != nil {
		t.Fatal(err)
	}
	var out, stderr bytes.Buffer
	cmd := exec.Command(python, "-c", theirs)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "METAFLOW_TOKEN_HOME=~/tokens", "USER=ann", "LANG=C.UTF-8"}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &out, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, &stderr)
	}
	var found struct {
		Read      string
		Names     []string
		Projects  []string
		Sequences map[string][]string
	}
	if err := json.Unmarshal(out.Bytes(), &found); err != nil {
		t.Fatal(err)
	}
	if found.Read != "from mf é" {
		t.Errorf("Metaflow reads %q", found.Read)
	}
	for prefix, want := range map[string]string{"by-metaflow": "from Metaflow é", "by-both": "second"} {
		if got, err := s.Load(prefix); got != want || err != nil {
			t.Errorf("mf reads %q, %v, want %q", got, err, want)
		}
	}
	for i, name := range []string{"Train", "Train_Flow2"} {
		if got := tokens.Prefix(name); got != found.Names[i] {
			t.Errorf("prefix of %s: %s, Metaflow's is %s", name, got, found.Names[i])
		}
	}
	for i, p := range [][]string{{"shop", "prod"}, {"shop", "user.ann"}, {"a_b", "test.x"}} {
		if got := tokens.ProjectPrefix(p[0], p[1]); got != found.Projects[i] {
			t.Errorf("prefix of %v: %s, Metaflow's is %s", p, got, found.Projects[i])
		}
	}
	if len(found.Sequences) != 5 {
		t.Errorf("sequences of %d prefixes", len(found.Sequences))
	}
	for prefix, want := range found.Sequences {
		live := ""
		for i, token := range want {
			d, err := tokens.Decide(tokens.Request{Name: "train", Prefix: prefix, Live: live, Stored: live, Generate: true})
			if err != nil || d.Token != token {
				t.Errorf("token %d of %s: %s, %v; Metaflow's is %s", i, prefix, d.Token, err, token)
				break
			}
			live = token
		}
	}
}
