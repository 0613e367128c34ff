package diag_test

import (
	"strings"
	"testing"

	"github.com/mf-run/mf/diag"
)

func TestNearest(t *testing.T) {
	candidates := []string{"train", "train_all", "start", "end", "max-workers"}
	for name, want := range map[string]string{
		"tain": "train", "trian": "train", "TRAIN": "train", "strat": "start", "en": "end", "max_workers": "max-workers",
		"x": "", "": "", "trainall": "train_all", "zzzzz": "", strings.Repeat("train", 30): "",
	} {
		if got := diag.Nearest(name, candidates); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", name, got, want)
		}
	}
	if got := diag.Nearest("train", []string{"train"}); got != "" {
		t.Errorf("a name is near itself: %q", got)
	}
}
