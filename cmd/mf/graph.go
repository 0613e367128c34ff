package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mf-run/mf/ir"
)

func (a *app) graphCommand() *cobra.Command {
	var flags flowFlags
	var format, out string
	cmd := &cobra.Command{
		Use: "graph FLOW", Short: "Show a flow's graph",
		Long: "Show a flow's graph as text, or as a picture: dot (Graphviz), mermaid, svg.", Args: exactly("FLOW"),
	}
	cmd.Flags().StringVar(&format, "format", "text", "text, dot, mermaid or svg")
	cmd.Flags().StringVarP(&out, "output", "o", "", "file to write to")
	flags.register(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.graph(cmd.Context(), args[0], format, out, flags)
	}
	return cmd
}

func (a *app) graph(ctx context.Context, flowPath, format, out string, flags flowFlags) error {
	draw := map[string]func(io.Writer, *ir.Graph){"text": drawText, "dot": drawDot, "mermaid": drawMermaid, "svg": drawSVG}[format]
	if draw == nil {
		return usagef("unknown format %q; it is one of text, dot, mermaid, svg", format)
	}
	arg, err := parseFlowArg(flowPath)
	if err != nil {
		return err
	}
	c, err := a.loadConfig(arg.dir())
	if err != nil {
		return err
	}
	flow, err := a.mustLoad(ctx, c, arg, flags, nil, false)
	if err != nil {
		return err
	}
	var b strings.Builder
	draw(&b, ir.NewGraph(flow))
	if out == "" || out == "-" {
		_, err = io.WriteString(a.stdout, b.String())
		return err
	}
	return writeAtomic(out, []byte(b.String()))
}

// edge is one arrow of a picture.
type edge struct{ from, to, label string }

func edges(g *ir.Graph) []edge {
	var list []edge
	for _, name := range g.Order() {
		next := g.Step(name).Next
		if next == nil {
			continue
		}
		switch next.Kind {
		case ir.Foreach:
			list = append(list, edge{name, next.Targets[0].Step, "each of " + next.Foreach})
		case ir.Parallel:
			label := "gang"
			if next.NumParallel > 0 {
				label = fmt.Sprintf("gang of %d", next.NumParallel)
			}
			list = append(list, edge{name, next.Targets[0].Step, label})
		case ir.Switch:
			for _, cs := range next.Cases {
				list = append(list, edge{name, cs.Step, next.Condition + " = " + strings.Trim(string(cs.Value), `"`)})
			}
		default:
			for _, t := range next.Targets {
				list = append(list, edge{name, t.Step, ""})
			}
		}
	}
	return list
}

// drawText prints a step a line, indented by its depth, with where it goes.
func drawText(w io.Writer, g *ir.Graph) {
	f := g.Flow()
	fmt.Fprintf(w, "%s\n", f.Name)
	if f.Doc != "" {
		fmt.Fprintf(w, "%s\n", strings.TrimSpace(strings.SplitN(strings.TrimSpace(f.Doc), "\n", 2)[0]))
	}
	out := map[string][]string{}
	for _, e := range edges(g) {
		text := e.to
		if e.label != "" {
			text += " (" + e.label + ")"
		}
		out[e.from] = append(out[e.from], text)
	}
	for _, name := range g.Order() {
		step := g.Step(name)
		kind := ""
		if step.Join {
			kind = " joins " + g.JoinedSplit(name)
		}
		decorators := ""
		for _, d := range step.Decorators {
			decorators += " @" + d.Name
		}
		fmt.Fprintf(w, "%s%s%s%s", strings.Repeat("  ", g.Depth(name)+1), name, kind, decorators)
		if next := out[name]; len(next) > 0 {
			fmt.Fprintf(w, " -> %s", strings.Join(next, ", "))
		}
		fmt.Fprintln(w)
	}
}

func quote(s string) string { return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"` }

func drawDot(w io.Writer, g *ir.Graph) {
	fmt.Fprintf(w, "digraph %s {\n  rankdir=TB;\n  node [shape=box, style=rounded, fontname=\"Helvetica\"];\n", quote(g.Flow().Name))
	for _, name := range g.Order() {
		fmt.Fprintf(w, "  %s;\n", quote(name))
	}
	for _, e := range edges(g) {
		fmt.Fprintf(w, "  %s -> %s", quote(e.from), quote(e.to))
		if e.label != "" {
			fmt.Fprintf(w, " [label=%s]", quote(e.label))
		}
		fmt.Fprintln(w, ";")
	}
	fmt.Fprintln(w, "}")
}

func drawMermaid(w io.Writer, g *ir.Graph) {
	fmt.Fprintln(w, "flowchart TD")
	ids := map[string]string{}
	for i, name := range g.Order() {
		// Mermaid has reserved words, "end" among them, so steps get ids of their own.
		ids[name] = fmt.Sprintf("s%d", i)
		fmt.Fprintf(w, "  %s[\"%s\"]\n", ids[name], name)
	}
	for _, e := range edges(g) {
		arrow := "-->"
		if e.label != "" {
			arrow = `-->|"` + strings.ReplaceAll(e.label, `"`, "#quot;") + `"|`
		}
		fmt.Fprintf(w, "  %s %s %s\n", ids[e.from], arrow, ids[e.to])
	}
}
