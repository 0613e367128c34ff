package ir_test

import (
	"strings"
	"testing"

	"github.com/mf-run/mf/ir"
)

func TestStandardCron(t *testing.T) {
	for text, want := range map[string]string{
		"0 6 * * *":            "0 6 * * *",
		"  0   6 * * MON-FRI ": "0 6 * * 1-5",
		"*/15 0 1,15 jan sun":  "*/15 0 1,15 1 0",
		"0 0 * * 7":            "0 0 * * 0",
		"0 0 * * 5-7":          "0 0 * * 5,6,0",
		"0 0 * * fri-sun":      "0 0 * * 5,6,0",
		"0 0 ? * 0-7":          "0 0 * * 0,1,2,3,4,5,6",
		"5/20 * * * *":         "5-59/20 * * * *",
		"0/20 * * * *":         "*/20 * * * *",
		"1,1,2 * * * *":        "1,2 * * * *",
		"0-59 * * * *":         "* * * * *",
		"@daily":               "0 0 * * *",
		" @Weekly ":            "0 0 * * 0",
		// Six fields count days of the week from Sunday = 1.
		"0 10 ? * MON-FRI *": "0 10 * * 1-5",
		"0 10 ? * 2-6 *":     "0 10 * * 1-5",
		"0 0 ? * 1 *":        "0 0 * * 0",
		"0 0 ? * 7 *":        "0 0 * * 6",
		"0 0 1 * ? *":        "0 0 1 * *",
		"0/10 8-18 ? * * *":  "*/10 8-18 * * *",
	} {
		got, err := ir.StandardCron(text)
		if err != nil || got != want {
			t.Errorf("%q: %q, %v, want %q", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"":                    "5 fields",
		"* * * *":             "not 4",
		"* * * * * * *":       "not 7",
		"60 * * * *":          `the minute field "60": 60 is not from 0 to 59`,
		"* 24 * * *":          "hour",
		"* * 0 * *":           "day-of-month",
		"* * * 13 *":          "month",
		"* * * * 8":           "8 is not from 0 to 7",
		"* * * * funday":      `"funday" is not a number`,
		"5-1 * * * *":         "backwards",
		"*/0 * * * *":         "step",
		"*/x * * * *":         "step",
		"0 0 L * *":           "Amazon EventBridge",
		"0 0 ? * 2#1 *":       "Amazon EventBridge",
		"0 0 * * ? 2030":      "the year field",
		"0 0 ? * 0 *":         "0 is not from 1 to 7",
		"-1 * * * *":          "not a number",
		"1,,2 * * * *":        "not a number",
		"@reboot":             "not 1",
		"99999999999 * * * *": "not from 0 to 59",
	} {
		if got, err := ir.StandardCron(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %q, %v, want an error with %q", text, got, err, want)
		}
	}
}

func TestAWSCron(t *testing.T) {
	for text, want := range map[string]string{
		"0 6 * * *":     "0 6 * * ? *",
		"0 6 1 * *":     "0 6 1 * ? *",
		"0 6 * * 1-5":   "0 6 ? * 2-6 *",
		"0 6 * * 0,6":   "0 6 ? * 1,7 *",
		"0 6 * * */2":   "0 6 ? * 1-7/2 *",
		"0 6 * * 1-5/2": "0 6 ? * 2-6/2 *",
	} {
		got, err := ir.AWSCron(text)
		if err != nil || got != want {
			t.Errorf("%q: %q, %v, want %q", text, got, err, want)
		}
	}
	for _, text := range []string{"0 6 1 * 1", "0 6 *", "0 6 * * MON", "0 6 * * 7"} {
		if got, err := ir.AWSCron(text); err == nil {
			t.Errorf("%q: %q, want an error", text, got)
		}
	}
}

func TestSchedule(t *testing.T) {
	for _, c := range []struct {
		attributes ir.Attributes
		want       ir.Schedule
		ok         bool
	}{
		{ir.Attributes{}, ir.Schedule{Cron: "0 0 * * *", Source: "0 0 * * *"}, true},
		{ir.Attributes{"daily": true, "weekly": true, "cron": nil}, ir.Schedule{Cron: "0 0 * * 0", Source: "0 0 * * 0"}, true},
		{ir.Attributes{"daily": true, "hourly": true}, ir.Schedule{Cron: "0 * * * *", Source: "0 * * * *"}, true},
		{ir.Attributes{"daily": false}, ir.Schedule{}, false},
		{ir.Attributes{"cron": "0 6 ? * MON *", "timezone": "Europe/Helsinki"},
			ir.Schedule{Cron: "0 6 * * 1", Source: "0 6 ? * MON *", Timezone: "Europe/Helsinki"}, true},
		{ir.Attributes{"cron": "nonsense"}, ir.Schedule{Source: "nonsense"}, true},
	} {
		f := &ir.Flow{Decorators: []ir.Decorator{deco("schedule", c.attributes)}}
		if got, ok := f.Schedule(); got != c.want || ok != c.ok {
			t.Errorf("%v: %+v %v, want %+v %v", c.attributes, got, ok, c.want, c.ok)
		}
	}
	if _, ok := (&ir.Flow{}).Schedule(); ok {
		t.Error("a flow without @schedule has one")
	}
}

func FuzzStandardCron(f *testing.F) {
	f.Add("0 0 ? * 2-6 *")
	f.Add("*/15 0 1,15 jan fri-sun")
	f.Fuzz(func(t *testing.T, text string) {
		standard, err := ir.StandardCron(text)
		if err != nil {
			return
		}
		again, err := ir.StandardCron(standard)
		if err != nil || again != standard {
			t.Errorf("%q became %q, which becomes %q (%v)", text, standard, again, err)
		}
		aws, err := ir.AWSCron(standard)
		if err != nil {
			return
		}
		if back, err := ir.StandardCron(aws); err != nil {
			t.Errorf("%q became %q for AWS, which cannot be read: %v", standard, aws, err)
		} else if !strings.Contains(standard, "*/") && back != standard {
			t.Errorf("%q became %q for AWS and came back as %q", standard, aws, back)
		}
	})
}
