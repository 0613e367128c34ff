package python_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mf-run/mf/compiler/python"
)

// BenchmarkLoad measures the whole way from a file of many steps to its flow, interpreter included.
func BenchmarkLoad(b *testing.B) {
	dir := unpacked(b)
	for _, steps := range []int{10, 1000, 10000} {
		file := filepath.Join(b.TempDir(), "flow.py")
		if err := os.WriteFile(file, []byte(chain(steps)), 0o644); err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprint(steps), func(b *testing.B) {
			for b.Loop() {
				flow, found, err := python.Load(b.Context(), file, python.Options{SDKDir: dir, Interpreter: interpreter()})
				if err != nil || len(found) > 0 || len(flow.Steps) != steps {
					b.Fatal(err, found)
				}
			}
		})
	}
}

// chain returns the source of a flow of that many steps in a row.
func chain(steps int) string {
	var s strings.Builder
	s.WriteString("from metaflow import FlowSpec, retry, step\n\n\nclass Chain(FlowSpec):\n")
	for i := range steps {
		name := fmt.Sprintf("s%d", i)
		switch i {
		case 0:
			name = "start"
		case steps - 1:
			name = "end"
		}
		fmt.Fprintf(&s, "    @retry(times=2)\n    @step\n    def %s(self):\n        self.x%d = %d\n", name, i, i)
		switch {
		case i == steps-2:
			s.WriteString("        self.next(self.end)\n")
		case i < steps-2:
			fmt.Fprintf(&s, "        self.next(self.s%d)\n", i+1)
		}
		s.WriteString("\n")
	}
	return s.String()
}
