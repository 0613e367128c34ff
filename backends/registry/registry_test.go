package registry_test

import (
	"strings"
	"testing"

	"github.com/mf-run/mf/backends/registry"
)

func TestTargets(t *testing.T) {
	targets := registry.Targets()
	prefixes := map[string]string{}
	for i, b := range registry.All() {
		target := b.Features().Target
		if target != targets[i] {
			t.Errorf("target %d is %s, not %s", i, target, targets[i])
		}
		if got, ok := registry.Get(target); !ok || got != b {
			t.Errorf("Get(%s) = %v, %v", target, got, ok)
		}
		for _, s := range b.Settings() {
			prefix, word, dotted := strings.Cut(s.Name, ".")
			if !dotted || word == "" {
				t.Errorf("setting %s has no prefix", s.Name)
			}
			if owner, taken := prefixes[prefix]; taken && owner != target {
				t.Errorf("setting %s of %s has the prefix of %s", s.Name, target, owner)
			}
			prefixes[prefix] = target
		}
	}
	if _, ok := registry.Get("cron"); ok {
		t.Error("there is a target cron")
	}
}

func TestCheckSettings(t *testing.T) {
	if l := registry.CheckSettings(map[string]string{"argo.namespace": "x"}); len(l) > 0 {
		t.Error(l)
	}
	for _, name := range []string{"ago.namespace", "argo", ""} {
		if l := registry.CheckSettings(map[string]string{name: "x"}); !l.HasErrors() {
			t.Errorf("setting %q is taken", name)
		}
	}
}
