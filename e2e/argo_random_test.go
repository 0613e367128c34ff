//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/mf-run/mf/e2e/flowgen"
)

// TestArgoRandom runs random flows on Argo and on this machine: both must leave the same artifacts. A third of them run packed.
// What shows a difference is made smaller.
func TestArgoRandom(t *testing.T) {
	a := newArgo(t)
	numbers := seeds(t, 1, 30)
	t.Logf("seeds %d to %d", numbers[0], numbers[len(numbers)-1])
	flows := make([]*flowgen.Flow, len(numbers))
	for i, seed := range numbers {
		flows[i] = flowgen.New(seed, flowgen.Options{Tasks: 10 + int(seed%5)})
	}
	all := a.pairs(len(flows), func(i int) pairing { return randomPairing(flows[i]) })
	for i, f := range flows {
		t.Run(strconv.FormatUint(f.Seed, 10), func(t *testing.T) {
			next := func() pair { return all[i] }
			randomFlow(t, f, func(f *flowgen.Flow) string {
				p := next()
				next = func() pair { return a.pair(t.TempDir(), randomPairing(f)) }
				if p.report == "" && p.here.failed {
					return "a random flow does not fail, but: " + p.here.message
				}
				return p.report
			})
		})
	}
}

func randomPairing(f *flowgen.Flow) pairing {
	return pairing{
		write: func(dir string) error { return os.WriteFile(filepath.Join(dir, "flow.py"), []byte(f.Python()), 0o644) },
		file:  "flow.py", flow: f.Name(), given: givenFlags(f.Given()), options: packed(f), varying: f.Varying(),
	}
}

// packed are the options with which a third of the flows are deployed: several splits, or rounds, share a container.
func packed(f *flowgen.Flow) (options []string) {
	if f.Seed%3 != 0 {
		return nil
	}
	options = []string{"--pack", "2"}
	for _, loop := range f.Loops() {
		options = append(options, "--pack", loop+"=2")
	}
	return options
}
