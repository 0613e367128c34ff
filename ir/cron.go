package ir

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// cronField is one field of a cron expression in its standard numbering.
type cronField struct {
	name     string
	min, max int
	names    []string
}

var cronFields = [...]cronField{
	{name: "minute", min: 0, max: 59},
	{name: "hour", min: 0, max: 23},
	{name: "day-of-month", min: 1, max: 31},
	{name: "month", min: 1, max: 12, names: []string{
		"JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"}},
	{name: "day-of-week", min: 0, max: 6, names: []string{"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"}},
}

const dayOfWeek = 4

var cronMacros = map[string]string{
	"@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@weekly": "0 0 * * 0",
	"@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *",
}

// StandardCron rewrites a cron expression in the standard form of five fields with numbers only. It reads that form
// (with names of months and days, "?" for "*", 7 for Sunday), the macros such as "@daily", and the form of six fields
// that Amazon EventBridge has and Metaflow documents: its last field is a year, and its days of the week count from 1
// for Sunday. What that form can say beyond the standard one (a year, L, W, #) is an error.
func StandardCron(text string) (string, error) {
	if macro, ok := cronMacros[strings.ToLower(strings.TrimSpace(text))]; ok {
		return macro, nil
	}
	fields := strings.Fields(text)
	aws := false
	switch len(fields) {
	case 5:
	case 6:
		if fields[5] != "*" {
			return "", fmt.Errorf("the year field %q: only * (every year) can be scheduled", fields[5])
		}
		aws = true
	default:
		return "", fmt.Errorf("a cron expression has 5 fields (minute hour day-of-month month day-of-week), not %d", len(fields))
	}
	standard := make([]string, len(cronFields))
	for i, def := range cronFields {
		offset, top := 0, def.max
		if i == dayOfWeek {
			if aws {
				offset = -1
			}
			top = 7
		}
		s, err := def.standard(fields[i], offset, top)
		if err != nil {
			return "", fmt.Errorf("the %s field %q: %w", def.name, fields[i], err)
		}
		standard[i] = s
	}
	return strings.Join(standard, " "), nil
}

// standard rewrites one field. Numbers have the offset added; top is the largest number that may be written, before it.
func (c cronField) standard(text string, offset, top int) (string, error) {
	if text == "*" || text == "?" {
		return "*", nil
	}
	var parts []string
	for part := range strings.SplitSeq(text, ",") {
		s, err := c.part(part, offset, top)
		if err != nil {
			return "", err
		}
		if !slices.Contains(parts, s) {
			parts = append(parts, s)
		}
	}
	return strings.Join(parts, ","), nil
}

// part rewrites one of the comma-separated parts of a field: *, n, n-m, each with an optional /step.
func (c cronField) part(text string, offset, top int) (string, error) {
	span, stepText, stepped := strings.Cut(text, "/")
	step := 1
	if stepped {
		var err error
		if step, err = strconv.Atoi(stepText); err != nil || step < 1 || step > c.max+1 {
			return "", fmt.Errorf("the step %q is not a number from 1 to %d", stepText, c.max+1)
		}
	}
	lo, hi := c.min, c.max
	if span != "*" && span != "?" {
		first, last, ranged := strings.Cut(span, "-")
		var err error
		if lo, err = c.number(first, offset, top); err != nil {
			return "", err
		}
		switch {
		case ranged:
			if hi, err = c.number(last, offset, top); err != nil {
				return "", err
			}
			if hi == 0 && lo > 0 && c.max == 6 { // up to Sunday
				hi = 7
			}
			if hi < lo {
				return "", fmt.Errorf("the range %q runs backwards", span)
			}
		case !stepped:
			hi = lo
		}
	}
	return c.write(lo, hi, step), nil
}

// write renders a range; a day of the week 7 is Sunday, number 0.
func (c cronField) write(lo, hi, step int) string {
	switch {
	case hi > c.max:
		var days []string
		for n := lo; n <= hi; n += step {
			if day := strconv.Itoa(n % (c.max + 1)); !slices.Contains(days, day) {
				days = append(days, day)
			}
		}
		return strings.Join(days, ",")
	case lo == hi:
		return strconv.Itoa(lo)
	}
	span := fmt.Sprintf("%d-%d", lo, hi)
	if lo == c.min && hi == c.max {
		span = "*"
	}
	if step > 1 {
		span += "/" + strconv.Itoa(step)
	}
	return span
}

func (c cronField) number(text string, offset, top int) (int, error) {
	if i := slices.Index(c.names, strings.ToUpper(text)); i >= 0 {
		return i + c.min, nil
	}
	n, err := strconv.Atoi(text)
	switch {
	case err == nil && n+offset >= c.min && n <= top:
		return n + offset, nil
	case err == nil:
		return 0, fmt.Errorf("%d is not from %d to %d", n, c.min-offset, top)
	case strings.ContainsAny(strings.ToUpper(text), "LW#"):
		return 0, fmt.Errorf("%q (L, W and #) is only known to Amazon EventBridge and cannot be scheduled", text)
	}
	return 0, fmt.Errorf("%q is not a number", text)
}

// AWSCron rewrites a standard cron expression of five fields in the six of Amazon EventBridge, which has "?" in one of the
// two day fields. An expression that restricts both days cannot be said there: it is an error.
func AWSCron(standard string) (string, error) {
	fields := strings.Fields(standard)
	if len(fields) != len(cronFields) {
		return "", fmt.Errorf("a standard cron expression has 5 fields, not %d", len(fields))
	}
	switch {
	case fields[dayOfWeek] == "*":
		fields[dayOfWeek] = "?"
	case fields[2] == "*":
		fields[2] = "?"
		shifted, err := shiftDays(fields[dayOfWeek])
		if err != nil {
			return "", err
		}
		fields[dayOfWeek] = shifted
	default:
		return "", fmt.Errorf("%q restricts the day of the month and the day of the week, which EventBridge cannot combine: "+
			"use one of them", standard)
	}
	return strings.Join(fields, " ") + " *", nil
}

// shiftDays numbers days of the week from 1 instead of 0. A "*" with a step is a range first, so that the step counts from
// Sunday in both numberings.
func shiftDays(field string) (string, error) {
	parts := strings.Split(field, ",")
	for i, part := range parts {
		span, step, stepped := strings.Cut(part, "/")
		if span == "*" {
			span = "0-6"
		}
		ends := strings.Split(span, "-")
		for j, end := range ends {
			n, err := parseIndex(end)
			if err != nil || n > 6 {
				return "", fmt.Errorf("the day-of-week field %q is not standard", field)
			}
			ends[j] = strconv.Itoa(n + 1)
		}
		parts[i] = strings.Join(ends, "-")
		if stepped {
			parts[i] += "/" + step
		}
	}
	return strings.Join(parts, ","), nil
}
