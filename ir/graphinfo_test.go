package ir_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/mf-run/mf/ir"
)

// TestGraphInfoAsMetaflow compares with what real Metaflow says about the corpus's flows (testdata/metaflow_graphs.py
// asked it): the order of the steps, what they are, and how they are nested.
func TestGraphInfoAsMetaflow(t *testing.T) {
	b, err := os.ReadFile("testdata/metaflow_graphs.json")
	if err != nil {
		t.Fatal(err)
	}
	var graphs map[string]struct {
		Steps     json.RawMessage `json:"steps"`
		Structure any             `json:"graph_structure"`
	}
	if err := json.Unmarshal(b, &graphs); err != nil {
		t.Fatal(err)
	}
	if len(graphs) < 50 {
		t.Fatalf("only %d graphs", len(graphs))
	}
	for name, want := range graphs {
		t.Run(name, func(t *testing.T) {
			b, err := os.ReadFile(filepath.Join("../testdata/flows", name, "ir.json"))
			if err != nil {
				t.Fatal(err)
			}
			f, err := ir.Unmarshal(b)
			if err != nil {
				t.Fatal(err)
			}
			info := ir.GraphInfo(f)
			structure, _ := info.Get("graph_structure")
			if got := asJSON(t, structure); got != asJSON(t, want.Structure) {
				t.Errorf("structure %s, want %s", got, asJSON(t, want.Structure))
			}
			steps, _ := info.Get("steps")
			wantSteps := compactJSON(t, want.Steps)
			if name == "config" { // Metaflow names the config, the IR its value
				wantSteps = strings.NewReplacer("config:settings.fast", "quick", "config:settings.slow", "thorough").Replace(wantSteps)
			}
			if got, want := keptOf(t, steps.(ir.Ordered)), wantSteps; got != want {
				t.Errorf("steps\n%s, want\n%s", got, want)
			}
		})
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func compactJSON(t *testing.T, raw json.RawMessage) string {
	t.Helper()
	return strings.NewReplacer(" ", "", "\n", "").Replace(string(raw))
}

// keptOf reduces the steps to what the comparison is about.
func keptOf(t *testing.T, steps ir.Ordered) string {
	t.Helper()
	var kept ir.Ordered
	for _, step := range steps {
		var entry ir.Ordered
		for _, kv := range step.Value.(ir.Ordered) {
			switch kv.Key {
			case "line", "source_file", "doc", "decorators", "node_info":
			default:
				entry = append(entry, kv)
			}
		}
		kept = append(kept, ir.KV{Key: step.Key, Value: entry})
	}
	return asJSON(t, kept)
}

func TestGraphInfoKeys(t *testing.T) {
	f := full()
	f.Steps = []*ir.Step{{Name: "start", Doc: "d", Decorators: f.Steps[0].Decorators, Next: parseStep("start>end").Next}, {Name: "end"}}
	info := ir.GraphInfo(f)
	var keys []string
	for _, kv := range info {
		keys = append(keys, kv.Key.(string))
	}
	want := "file start_step end_step parameters constants steps graph_structure doc decorators extensions"
	if got := strings.Join(keys, " "); got != want {
		t.Errorf("keys %s, want %s", got, want)
	}
	for key, want := range map[string]string{
		"file": `"f.py"`, "start_step": `"start"`, "end_step": `"end"`,
		"parameters": `[{"name":"a","type":"Parameter"},{"name":"s","type":"Parameter"},{"name":"f","type":"IncludeFile"},{"name":"c","type":"Config"}]`,
		"constants":  `[{"name":"N","type":"int"}]`,
		"decorators": `[{"name":"schedule","attributes":{"cron":null,"daily":true},"statically_defined":true,"inserted_by":null}]`,
	} {
		got, _ := info.Get(key)
		if asJSON(t, got) != want {
			t.Errorf("%s is %s, want %s", key, asJSON(t, got), want)
		}
	}
	steps, _ := info.Get("steps")
	start, _ := steps.(ir.Ordered).Get("start")
	decorators, _ := start.(ir.Ordered).Get("decorators")
	if got := asJSON(t, decorators); !strings.Contains(got, `"statically_defined":false`) || !strings.Contains(got, `"l":[1,"a"]`) {
		t.Errorf("decorators of start: %s", got)
	}
}

// TestGraphInfoOfManySwitches: listing each path through n switches in a row would take 2 to the n names.
func TestGraphInfoOfManySwitches(t *testing.T) {
	lines := []string{"start>q0"}
	for i := range 500 {
		lines = append(lines, fmt.Sprintf("q%d?a%d,b%d", i, i, i), fmt.Sprintf("a%d>q%d", i, i+1), fmt.Sprintf("b%d>q%d", i, i+1))
	}
	lines = append(lines, "q500>end", "end")
	info := ir.GraphInfo(flow(lines...))
	structure, _ := info.Get("graph_structure")
	if n := count(structure); n < 1500 || n > 200_000 {
		t.Errorf("the structure holds %d names", n)
	}
	// The first switches meet again; the order of what is listed stays.
	list := structure.([]any)
	want := []any{"start", "q0", []any{[]any{"a0"}, []any{"b0"}}, "q1"}
	if !reflect.DeepEqual(list[:4], want) {
		t.Errorf("the structure starts with %v, want %v", list[:4], want)
	}
}

func count(v any) int {
	list, ok := v.([]any)
	if !ok {
		return 1
	}
	n := 0
	for _, e := range list {
		n += count(e)
	}
	return n
}
