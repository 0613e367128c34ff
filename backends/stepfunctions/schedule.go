package stepfunctions

import (
	"fmt"
	"strings"

	"github.com/mf-run/mf/diag"
	"github.com/mf-run/mf/ir"
)

// schedule is EventBridge Scheduler's CreateSchedule request.
type schedule struct {
	Name                       string `json:"Name"`
	Description                string `json:"Description"`
	ScheduleExpression         string `json:"ScheduleExpression"`
	ScheduleExpressionTimezone string `json:"ScheduleExpressionTimezone"`
	FlexibleTimeWindow         struct {
		Mode string `json:"Mode"`
	} `json:"FlexibleTimeWindow"`
	State  string `json:"State"`
	Target struct {
		Arn     string `json:"Arn"`
		RoleArn string `json:"RoleArn"`
		Input   string `json:"Input"`
	} `json:"Target"`
}

// schedule returns nil for a flow without one.
func (e *emitter) schedule() *schedule {
	said, ok, err := e.flow.CheckedSchedule()
	if !ok {
		return nil
	}
	span := e.flow.Decorator("schedule").Span
	cron := ""
	switch fields := strings.Fields(said.Source); {
	case err == nil:
		cron, err = ir.AWSCron(said.Cron)
	case len(fields) == 6:
		// What only EventBridge can say.
		cron, err = strings.Join(fields, " "), nil
	}
	if err != nil {
		e.list = append(e.list, diag.Errorf(span, "bad-schedule", "the schedule %q: %v", said.Source, err))
		return nil
	}
	s := &schedule{
		Name:                       shorten(e.name, maxScheduleName),
		Description:                fmt.Sprintf("Starts flow %s (%s)", e.flow.Name, said.Source),
		ScheduleExpression:         "cron(" + cron + ")",
		ScheduleExpressionTimezone: said.Timezone,
		State:                      "ENABLED",
	}
	if s.ScheduleExpressionTimezone == "" {
		s.ScheduleExpressionTimezone = "UTC"
	}
	s.FlexibleTimeWindow.Mode = "OFF"
	s.Target.Arn = fmt.Sprintf("arn:%s:states:%s:%s:stateMachine:%s",
		e.setting(setPartition), e.setting(setRegion), e.setting(setAccount), e.name)
	s.Target.RoleArn = e.setting(setScheduleRole)
	s.Target.Input = `{"parameters": {}}`
	return s
}
