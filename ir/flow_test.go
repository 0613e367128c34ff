package ir_test

import (
	"encoding/json"
	"strings"

	"github.com/mf-run/mf/ir"
)

// parseStep makes a step from a line: its name; "(" for a join; then ">" and one or several targets, "*" and the target of a
// foreach, "=" and that of a gang, or "?" and the targets of a switch.
func parseStep(line string) *ir.Step {
	at := strings.IndexAny(line, ">*=?")
	if at < 0 {
		at = len(line)
	}
	name, join := strings.CutSuffix(line[:at], "(")
	s := &ir.Step{Name: name, Join: join}
	if at == len(line) {
		return s
	}
	targets := strings.Split(line[at+1:], ",")
	next := &ir.Transition{}
	for _, t := range targets {
		next.Targets = append(next.Targets, ir.Target{Step: t})
	}
	switch line[at] {
	case '>':
		next.Kind = ir.Linear
		if len(targets) > 1 {
			next.Kind = ir.Split
		}
	case '*':
		next.Kind, next.Foreach = ir.Foreach, "items"
	case '=':
		next.Kind, next.NumParallel = ir.Parallel, 2
	case '?':
		next.Kind, next.Condition = ir.Switch, "choice"
		for _, t := range targets {
			next.Cases = append(next.Cases, ir.Case{Value: json.RawMessage(`"` + t + `"`), Step: t})
		}
	}
	s.Next = next
	return s
}
