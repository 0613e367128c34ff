package compiler

import (
	"time"
	// Time zones are known without the machine's own list of them.
	_ "time/tzdata"

	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

// checkSchedule reports cron expressions and time zones that cannot be read, triggers that say nothing or too much, and
// parameters that nobody would give a value when the flow starts by itself.
func checkSchedule(u *unit) {
	for _, name := range []string{"trigger", "trigger_on_finish"} {
		if d := u.flow.Decorator(name); d != nil {
			u.trigger(d)
		}
	}
	on, finish := u.flow.Decorator("trigger"), u.flow.Decorator("trigger_on_finish")
	if on != nil && finish != nil {
		u.add(diag.Errorf(first(finish.Span, u.flowSpan()), "decorators-clash", "flow %s has both %s and %s",
			u.flow.Name, u.at("trigger"), u.at("trigger_on_finish")).
			WithDetail("A flow is triggered in one way.").
			WithNote(first(on.Span, u.flowSpan()), "the other is here"))
	}
	if d := u.flow.Decorator("schedule"); d != nil {
		u.schedule(d)
		if _, scheduled := u.flow.Schedule(); scheduled {
			u.unattended(d)
		}
	}
}

// unattended reports parameters that must be given where nobody is there to give them.
func (u *unit) unattended(schedule *ir.Decorator) {
	for i := range u.flow.Parameters {
		p := &u.flow.Parameters[i]
		if p.Required && (p.Default == nil || isNull(p.Default)) && p.DefaultFunc == "" {
			u.add(diag.Errorf(p.Span, "schedule-parameter",
				"parameter %s is required, but nobody gives it a value when flow %s runs by its schedule", p.Option, u.flow.Name).
				WithDetail("Give it a default.").
				WithNote(first(schedule.Span, u.flowSpan()), "the schedule"))
		}
	}
}

func (u *unit) schedule(d *ir.Decorator) {
	span := first(d.Span, u.flowSpan())
	s, ok, err := u.flow.CheckedSchedule()
	if err != nil {
		u.add(diag.Errorf(span, "schedule-cron", "flow %s has the schedule %q: %v", u.flow.Name, s.Source, err).
			WithDetail("For example, \"0 6 * * MON-FRI\" is 6 o'clock on working days."))
	}
	if !ok || s.Timezone == "" {
		return
	}
	if _, err := time.LoadLocation(s.Timezone); err != nil || s.Timezone == "Local" {
		u.add(diag.Errorf(span, "schedule-timezone", "flow %s has a schedule in the time zone %q, which does not exist", u.flow.Name, s.Timezone).
			WithDetail("Use a name such as Europe/Helsinki or UTC."))
	}
}

// trigger checks that exactly one of the two ways to name events (flows) is used.
func (u *unit) trigger(d *ir.Decorator) {
	one, many := "event", "events"
	if d.Name == "trigger_on_finish" {
		one, many = "flow", "flows"
	}
	hasOne, hasMany := given(d.Attributes[one]), given(d.Attributes[many])
	span := first(d.Span, u.flowSpan())
	switch {
	case hasOne && hasMany:
		u.add(diag.Errorf(span, "trigger-events", "%s of flow %s has both %s and %s", u.at(d.Name), u.flow.Name, one, many).
			WithDetail("Use one of them."))
	case !hasOne && !hasMany:
		u.add(diag.Errorf(span, "trigger-events", "%s of flow %s names no %s", u.at(d.Name), u.flow.Name, one).
			WithDetail("%s", u.say("Write @"+d.Name+"("+one+"='name').", "Write "+d.Name+": {"+one+": name}.")))
	}
}

// given reports whether an attribute is set to something, as Python's truth has it.
func given(v any) bool {
	switch v := v.(type) {
	case nil:
		return false
	case string:
		return v != ""
	case []any:
		return len(v) > 0
	case map[string]any:
		return len(v) > 0
	case bool:
		return v
	}
	return true
}
