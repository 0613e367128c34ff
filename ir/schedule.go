package ir

// Schedule says when a flow is run by itself.
type Schedule struct {
	// Cron is the expression in the standard form of five fields: minute, hour, day of month, month, day of week (0 is
	// Sunday). It is empty when the source's expression has no such form; CheckedSchedule says why.
	Cron string
	// Source is the expression as the user wrote it, or what weekly, daily and hourly stand for.
	Source string
	// Timezone is an IANA name such as "Europe/Helsinki"; empty means UTC.
	Timezone string
}

// Schedule returns what @schedule says; ok is false without it, and where it says that nothing is scheduled. An
// expression that cannot be read, which the compiler's passes refuse, has an empty Cron.
func (f *Flow) Schedule() (s Schedule, ok bool) {
	s, ok, _ = f.CheckedSchedule()
	return s, ok
}

// CheckedSchedule is Schedule with the reason for an empty Cron.
func (f *Flow) CheckedSchedule() (Schedule, bool, error) {
	d := f.Decorator("schedule")
	if d == nil {
		return Schedule{}, false, nil
	}
	s := Schedule{Timezone: d.Attributes.String("timezone", "")}
	switch {
	case d.Attributes.String("cron", "") != "":
		s.Source = d.Attributes.String("cron", "")
	case d.Attributes.Bool("weekly", false):
		s.Source = "0 0 * * 0"
	case d.Attributes.Bool("hourly", false):
		s.Source = "0 * * * *"
	case d.Attributes.Bool("daily", true):
		s.Source = "0 0 * * *"
	default:
		return Schedule{}, false, nil
	}
	var err error
	s.Cron, err = StandardCron(s.Source)
	return s, true, err
}
