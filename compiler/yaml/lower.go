package yaml

import (
	"fmt"

	"github.com/mf-run/mf/ir"
)

// lower turns a document without errors into IR.
func (d *decoder) lower(doc *document) *ir.Flow {
	flow := &ir.Flow{
		Version:    ir.Version,
		Name:       doc.Flow.text,
		Doc:        doc.Description,
		Source:     ir.Source{Language: ir.YAML, File: d.file},
		Span:       d.span(doc.Flow.node),
		Decorators: d.flowDecorate(doc),
	}
	for _, e := range doc.Parameters {
		flow.Parameters = append(flow.Parameters, d.lowerParameter(e))
	}
	for i := range doc.Steps {
		flow.Steps = append(flow.Steps, d.lowerStep(doc, i))
	}
	d.markGangs(flow)
	flow.Start, flow.End = ir.Endpoints(flow)
	return flow
}

func (d *decoder) lowerParameter(e entry[parameter]) ir.Parameter {
	p := &e.Value
	lowered := ir.Parameter{
		Name:      e.Name,
		Option:    e.Name,
		Type:      p.effectiveType(),
		Required:  p.Required,
		Help:      p.Help,
		Separator: p.Separator,
		Binary:    p.Binary,
		Encoding:  p.Encoding,
		Span:      d.span(e.key),
	}
	if p.Option.text != "" {
		lowered.Option = p.Option.text
	}
	if p.Default == nil {
		return lowered
	}
	lowered.Default = d.jsonOf(p.Default.node)
	if i, ok := p.Default.value.(int64); ok && lowered.Type == ir.FloatType {
		lowered.Default = floatJSON(float64(i))
	}
	return lowered
}

func (d *decoder) lowerStep(doc *document, i int) *ir.Step {
	e := &doc.Steps[i]
	s := &e.Value
	path := fmt.Sprintf("%s.steps[%d].value", rootPath, i)
	step := &ir.Step{
		Name:        e.Name,
		Doc:         s.Description,
		Span:        d.span(e.key),
		MarkedStart: s.Start,
		MarkedEnd:   s.End,
		Join:        s.Join,
		Decorators:  d.decorate(doc, s, path),
		Inputs:      d.uses(s.Inputs),
		Outputs:     d.uses(s.Outputs),
		Command:     d.lowerCommand(e),
	}
	step.Command.Image = doc.Image.text
	if s.Image.text != "" {
		step.Command.Image = s.Image.text
	}
	if s.Next != nil {
		step.Next = d.lowerNext(s.Next)
	}
	return step
}

// nothing is the shell line of a step that runs nothing.
const nothing = ":"

func (d *decoder) lowerCommand(e *entry[step]) *ir.Command {
	run := e.Value.Run
	if run == nil {
		return &ir.Command{Shell: nothing, Span: d.span(e.key)}
	}
	c := &ir.Command{Shell: run.shell, Span: d.span(run.node)}
	for _, arg := range run.args {
		c.Args = append(c.Args, arg.text)
	}
	return c
}

func (d *decoder) uses(names []name) []ir.Use {
	var uses []ir.Use
	for _, n := range names {
		uses = append(uses, ir.Use{Name: n.text, Span: d.span(n.node)})
	}
	return uses
}

func (d *decoder) target(n name) ir.Target { return ir.Target{Step: n.text, Span: d.span(n.node)} }

func (d *decoder) lowerNext(n *next) *ir.Transition {
	t := &ir.Transition{Kind: ir.Linear, Span: d.span(n.node)}
	switch m := n.Map; {
	case m == nil:
		if n.split {
			t.Kind = ir.Split
		}
		for _, step := range n.steps {
			t.Targets = append(t.Targets, d.target(step))
		}
	case m.Parallel != nil:
		t.Kind, t.NumParallel = ir.Parallel, int(*m.Parallel)
		t.Targets = []ir.Target{d.target(m.Step)}
	case m.Switch.text != "":
		t.Kind, t.Condition = ir.Switch, m.Switch.text
		seen := map[string]bool{}
		for _, c := range m.Cases {
			t.Cases = append(t.Cases, ir.Case{Value: c.value, Step: c.step.text, Span: d.span(c.key)})
			if !seen[c.step.text] {
				seen[c.step.text] = true
				t.Targets = append(t.Targets, d.target(c.step))
			}
		}
	default:
		t.Kind, t.Foreach = ir.Foreach, m.Foreach.text
		t.Targets = []ir.Target{d.target(m.Step)}
	}
	return t
}

// markGangs adds the decorator that Metaflow wants on a step whose tasks form a gang.
func (d *decoder) markGangs(flow *ir.Flow) {
	for _, s := range flow.Steps {
		if s.Next == nil || s.Next.Kind != ir.Parallel {
			continue
		}
		gang := flow.Step(s.Next.Targets[0].Step)
		if gang != nil && gang.Decorator("parallel") == nil {
			gang.Decorators = append(gang.Decorators, ir.Decorator{Name: "parallel", Span: s.Next.Span})
		}
	}
}
