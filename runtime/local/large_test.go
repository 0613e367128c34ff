package local_test

import (
	"fmt"
	goruntime "runtime"
	"strings"
	"testing"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/pickle"
	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/runtime"
	"github.com/mf-run/mf/runtime/local"
)

// TestLargeValues has parameters and items that no environment holds: one by one, all together, and with a NUL in them.
func TestLargeValues(t *testing.T) {
	parameters := map[string]string{"ids": strings.Repeat("x", 200_000), "small": "s"}
	const many, each = 10, 120_000 // each of which fits
	for i := range many {
		parameters[fmt.Sprintf("p%d", i)] = strings.Repeat("p", each)
	}
	var source strings.Builder
	source.WriteString("flow: Big\nparameters:\n")
	for name, value := range parameters {
		fmt.Fprintf(&source, "  %s: {default: %s}\n", name, value)
	}
	source.WriteString(`
steps:
  start:
    run: |
      echo "small $MF_PARAM_small, ids ${MF_PARAM_ids-in a file of $(wc -c < $MF_INPUTS/ids.json)}"
      for i in 0 1 2 3 4 5 6 7 8 9; do
        eval "p=\${MF_PARAM_p$i-}"
        if [ -n "$p" ]; then echo "variable ${#p}"; else echo "file $(wc -c < $MF_INPUTS/p$i.json)"; fi
      done
      y=$(head -c 150000 /dev/zero | tr '\000' y)
      printf '["%s", "short", "a\\u0000b"]' $y > $MF_OUTPUTS/xs.json
    outputs: [xs]
    next: {foreach: xs, step: work}
  work:
    run: echo "${MF_ITEM-in a file of $(wc -c < $MF_INPUTS/item.json)}"
    next: join
  join: {join: true, run: ":", next: end}
  end:
    run: ['true', '{ids}']
`)
	b, log := newBed(t), &strings.Builder{}
	r := b.runWith(t.Context(), b.flow(source.String()), local.Options{MaxWorkers: 1}, func(r *runtime.Run) {
		r.Output = func(l runtime.Line) { fmt.Fprintf(log, "%s: %s\n", l.Task.Ref.Step, l.Text) }
	}, "MF_PARAM_ids=mf-blob:in an engine's own form")
	if r.err != nil || r.status != metadata.Failed || len(r.Failed) != 1 || r.Failed[0].Task.Step.Name != "end" {
		t.Fatalf("%+v", r)
	}
	if why := r.Failed[0].Failure.Message; !strings.Contains(why, "$MF_INPUTS") {
		t.Errorf("an argument that is too large: %s", why)
	}
	for _, want := range []string{
		"start: small s, ids in a file of 200003\n", "work: in a file of 150003\n", "work: short\n", "work: in a file of 11\n",
		"start: variable 120000\n", "start: file 120003\n",
		"work: the environment has no place for all values (of at most 128 KiB each, without NUL); left out: MF_ITEM, which is in " +
			"$MF_INPUTS/item.json; MF_PARAM_ids, which is in $MF_INPUTS/ids.json",
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %q:\n%.5000s", want, log)
		}
	}
	if n := strings.Count(log.String(), "start: variable"); n < many/2 {
		t.Errorf("%d of %d variables were left", n, many)
	}
	if n := strings.Count(log.String(), "start: the environment has no place"); n != 1 {
		t.Errorf("that was said %d times", n)
	}
}

// TestLargeOutputs has the files of a command stored as what Marshal makes of them, without holding them in memory.
func TestLargeOutputs(t *testing.T) {
	const n = 32 << 20
	b := newBed(t)
	flow := b.flow(`
flow: Outputs
steps:
  start:
    run: |
      head -c 33554432 /dev/zero > $MF_OUTPUTS/raw
      head -c 33554432 /dev/zero | tr '\000' y > $MF_OUTPUTS/text.txt
      printf short > $MF_OUTPUTS/short.txt
    next: end
  end: {run: ":"}
`)
	var before, after goruntime.MemStats
	goruntime.ReadMemStats(&before)
	r := b.run(t.Context(), flow, local.Options{})
	goruntime.ReadMemStats(&after)
	if r.err != nil || r.status != metadata.Succeeded {
		t.Fatalf("%+v", r)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > n {
		t.Errorf("storing two files of %d bytes took %d bytes of memory", n, took)
	}
	for name, want := range map[string]any{
		"raw": make([]byte, n), "text": strings.Repeat("y", n), "short": "short",
	} {
		data, err := pickle.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		got := r.End.Artifacts[name]
		if got.Digest != datastore.Digest(data) || got.Size != int64(len(data)) || got.Type != pickle.TypeName(want) {
			t.Errorf("%s is %+v", name, got)
		}
	}
	bad := b.run(t.Context(), b.flow(`
flow: Bad
steps:
  start:
    run: (head -c 300000 /dev/zero; printf '\377') > $MF_OUTPUTS/text.txt
    next: end
  end: {run: ":"}
`), local.Options{})
	if len(bad.Failed) != 1 || !strings.Contains(bad.Failed[0].Failure.Message, "text.txt cannot be stored: the text is not UTF-8") {
		t.Errorf("%+v", bad)
	}
}
