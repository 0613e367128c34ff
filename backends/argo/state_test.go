package argo_test

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/argoproj/argo-workflows/v3/util/file"

	"github.com/mf-run/mf/backends"
	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

// maxWorkflow is the largest Workflow that Argo's controller keeps.
const maxWorkflow = 1 << 20

// finished is a run's object as Argo keeps it at the end: the spec, each template once more, and a status for each node.
func finished(t *testing.T, parsed *wfv1.WorkflowTemplate, splits int) *wfv1.Workflow {
	t.Helper()
	wf := submitted(parsed)
	c := controller{t: t, spec: &parsed.Spec, wf: wf.Name, pod: func(i ir.TaskInvocation) (map[string]string, bool) {
		n, err := i.PackSize()
		if err != nil {
			t.Fatal(err)
		}
		n = max(n, 1)
		return map[string]string{ir.OutputSplits: strconv.Itoa(splits), ir.OutputPacks: strconv.Itoa((splits + n - 1) / n)}, true
	}}
	if phase := c.run(); phase != wfv1.NodeSucceeded {
		t.Fatal(phase)
	}
	wf.Status.Nodes = c.nodes
	wf.Status.StoredWorkflowSpec = &parsed.Spec
	wf.Status.StoredTemplates = map[string]wfv1.Template{}
	for _, tmpl := range parsed.Spec.Templates {
		wf.Status.StoredTemplates["namespaced/"+parsed.Name+"/"+tmpl.Name] = tmpl
	}
	return wf
}

func size(t *testing.T, v any) int {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return len(text)
}

// wide makes the flow split over a constant with n items.
func wide(f *ir.Flow, n int) {
	items := "[" + strings.TrimSuffix(strings.Repeat("0,", n), ",") + "]"
	f.Constants = []ir.Constant{{Name: "xs", Type: "<class 'list'>", Value: json.RawMessage(items)}}
}

// TestTenThousandSplits: packed, a run of 10,000 splits stays below the limit as it is; with a pod for each it has to be
// compressed. What the check foretells of both is what it comes to.
func TestTenThousandSplits(t *testing.T) {
	for _, c := range []struct {
		name, flow   string
		splits, pack int
		finding      string
	}{
		{"packed", "made-foreach", 10_000, 50, ""},
		{"packed body of three", "made-foreach-body", 10_000, 50, ""},
		{"a pod each", "made-foreach", 10_000, 1, "foreach-wide"},
		{"too many pods", "made-foreach", 15_000, 1, "foreach-too-wide"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, list := emitted(t, c.flow, func(f *ir.Flow, o *backends.Options) {
				wide(f, c.splits)
				o.Pack = c.pack
			})
			wf := finished(t, template(t, c.flow, func(_ *ir.Flow, o *backends.Options) { o.Pack = c.pack }), c.splits)
			bytes := size(t, wf)
			text, err := json.Marshal(wf.Status.Nodes)
			if err != nil {
				t.Fatal(err)
			}
			nodes := len(wf.Status.Nodes)
			wf.Status.Nodes, wf.Status.CompressedNodes = nil, file.CompressEncodeString(string(text))
			compressed := size(t, wf)
			t.Logf("%d nodes, %d bytes each, %d KiB; compressed %d each, %d KiB", nodes, len(text)/nodes, bytes>>10,
				len(wf.Status.CompressedNodes)/nodes, compressed>>10)
			want := ""
			switch {
			case compressed > maxWorkflow:
				want = "foreach-too-wide"
			case bytes > maxWorkflow:
				want = "foreach-wide"
			}
			if want != c.finding {
				t.Errorf("the object calls for %q", want)
			}
			if len(list) > 1 || len(list) == 1 != (want != "") || want != "" && list[0].Code != want {
				t.Errorf("findings: %v", list)
			}
		})
	}
}

// TestWidths: where the source does not say how wide a foreach is, nothing is foretold.
func TestWidths(t *testing.T) {
	const many = 100_000
	parameter := func(p ir.Parameter) func(*ir.Flow, *backends.Options) {
		p.Name, p.Option = "xs", "xs"
		return func(f *ir.Flow, _ *backends.Options) { f.Parameters = []ir.Parameter{p} }
	}
	list := json.RawMessage("[" + strings.Repeat("1,", many/10) + "1]")
	for name, c := range map[string]struct {
		flow   string
		change func(*ir.Flow, *backends.Options)
		want   string
	}{
		"constant":         {"made-foreach", func(f *ir.Flow, _ *backends.Options) { wide(f, many) }, "foreach-too-wide"},
		"constant, packed": {"made-foreach", func(f *ir.Flow, o *backends.Options) { wide(f, many); o.Pack = 500 }, ""},
		"constant that a step writes": {"made-foreach", func(f *ir.Flow, _ *backends.Options) {
			wide(f, many)
			f.Steps[0].Writes = []ir.Use{{Name: "xs"}}
		}, ""},
		"constant that a step may write": {"made-foreach", func(f *ir.Flow, _ *backends.Options) {
			wide(f, many)
			f.Steps[0].WritesUnknown = true
		}, ""},
		"parameter": {"made-foreach", parameter(ir.Parameter{Type: ir.JSONType, Default: list}), "foreach-wide"},
		"parameter with separator": {"made-foreach", parameter(ir.Parameter{Type: ir.StringType, Separator: ",",
			Default: json.RawMessage(`"` + strings.Repeat("a,", 9_000) + `"`)}), "foreach-wide"},
		"parameter without default": {"made-foreach", parameter(ir.Parameter{Type: ir.JSONType}), ""},
		"gang": {"made-gang", func(f *ir.Flow, o *backends.Options) {
			f.Steps[0].Next.NumParallel, o.MaxWorkers = many, many
		}, "foreach-too-wide"},
		"outer of two": {"made-nested-foreach", func(f *ir.Flow, _ *backends.Options) {
			wide(f, many)
			f.Steps[0].Next.Foreach = "xs"
		}, "foreach-too-wide"},
		"nothing known": {"made-nested-foreach", nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			files, list := emitted(t, c.flow, c.change)
			if list.HasErrors() && !slices.ContainsFunc(list, func(d diag.Diagnostic) bool { return d.Code == "text-too-long" }) || c.want == "" && len(files) == 0 {
				t.Fatal(list)
			}
			got := ""
			for _, d := range list {
				if strings.HasPrefix(d.Code, "foreach-") {
					got = d.Code
				}
			}
			if got != c.want {
				t.Errorf("%q, want %q: %v", got, c.want, list)
			}
		})
	}
}
