package tablestest

import (
	"slices"
	"strings"
	"time"

	"github.com/mf-run/mf/metadata/tables"
)

const inactive = 360

func (s *suite) runs(flow string, q tables.Query) []tables.Run {
	s.t.Helper()
	got, err := s.Runs(s.ctx, flow, q, inactive)
	s.ok(err)
	return got
}

func runsArePaged(s *suite) {
	s.flow("F")
	s.flow("G")
	var want, both []string
	for i := range 3 {
		for _, name := range []string{"a", "", "b"} { // of one time
			if name != "" {
				name += number(int64(i))
			}
			r := s.run("F", name)
			want = append([]string{runText(r)}, want...)
			both = append([]string{runText(r)}, both...)
		}
		s.clock.Add(time.Second)
		both = append([]string{runText(s.run("G", ""))}, both...)
		s.clock.Add(time.Second)
	}
	cursor := func(r tables.Run) tables.Cursor { return tables.Cursor{TsEpoch: r.TsEpoch, ID: r.RunNumber} }
	for _, limit := range []int{1, 2, 3, 4, 8, 9, 10, 500} {
		got := paged(s, limit, cursor, func(p *tables.Page) ([]tables.Run, error) {
			return s.Runs(s.ctx, "F", tables.Query{Page: p}, inactive)
		})
		s.same(texts(got, runText), want)
		got = paged(s, limit, cursor, func(p *tables.Page) ([]tables.Run, error) {
			return s.Runs(s.ctx, "", tables.Query{Page: p}, inactive)
		})
		s.same(texts(got, runText), both)
		// Filters go before the cut.
		got = paged(s, limit, cursor, func(p *tables.Page) ([]tables.Run, error) {
			q := tables.Query{Page: p, Filters: []tables.Filter{{Field: "run_id", Op: "sw", Values: []*string{ptr("b")}}}}
			return s.Runs(s.ctx, "F", q, inactive)
		})
		s.same(texts(got, runText), []string{"b2", "b1", "b0"})
	}
	s.same(len(s.runs("F", tables.Query{})), 9)
	s.same(len(s.runs("", tables.Query{})), 12)
	if n := len(s.runs("F", tables.Query{Page: &tables.Page{}})); n != 1 {
		s.fail("%d rows for a page of 0, want the one that shows that there are more", n)
	}
	after := &tables.Cursor{TsEpoch: 1, ID: 1}
	s.same(len(s.runs("F", tables.Query{Page: &tables.Page{Limit: 5, After: after}})), 0)
}

// filterCase is a filter and the names of the rows that pass it.
type filterCase struct {
	field, op string
	values    []string // "null" stands for a nil
	want      string   // names, apart by blanks, in order
}

func (c filterCase) filter() tables.Filter {
	f := tables.Filter{Field: c.field, Op: c.op}
	for _, v := range c.values {
		if v == "null" {
			f.Values = append(f.Values, nil)
		} else {
			f.Values = append(f.Values, &v)
		}
	}
	return f
}

// someRuns adds four runs, a second apart; the first has no name and nulls throughout.
func (s *suite) someRuns() map[string]string {
	s.flow("F")
	names := map[string]string{}
	for i, r := range []tables.Run{
		{},
		{
			RunID: ptr("alpha-1"), UserName: ptr("ann"), Tags: list("x", "prod", "ä"), SystemTags: list("user:ann"),
			LastHeartbeat: ptr(int64(1000)),
		},
		{
			RunID: ptr("Alpha_2"), UserName: ptr("bob"), Tags: list("x"), SystemTags: list("user:zed"),
			LastHeartbeat: ptr(int64(2000)),
		},
		{RunID: ptr("beta%3"), UserName: ptr("Ann"), Tags: list(), SystemTags: list("user:Ann", `q"'`)},
	} {
		r.FlowID = "F"
		got, err := s.CreateRun(s.ctx, r)
		s.ok(err)
		names[runText(got)] = number(int64(i))
		names["#"+number(int64(i))] = number(got.RunNumber)
		names["@"+number(int64(i))] = number(got.TsEpoch)
		s.clock.Add(time.Second)
	}
	return names
}

// passing returns the names of the runs that pass a query, sorted.
func (s *suite) passing(names map[string]string, q tables.Query) string {
	s.t.Helper()
	got := texts(s.runs("F", q), func(r tables.Run) string { return names[runText(r)] })
	slices.Sort(got)
	return strings.Join(got, " ")
}

func runsAreFiltered(s *suite) {
	n := s.someRuns()
	cases := []filterCase{
		{"flow_id", "eq", []string{"F"}, "0 1 2 3"},
		{"flow_id", "eq", []string{"G"}, ""},
		{"flow_id", "ne", []string{"F"}, ""},
		{"flow_id", "co", []string{"f"}, "0 1 2 3"},
		{"run_number", "eq", []string{n["#2"]}, "2"},
		{"run_number", "eq", []string{n["#2"], n["#0"]}, "0 2"},
		{"run_number", "ne", []string{n["#2"]}, "0 1 3"},
		{"run_number", "ge", []string{n["#2"]}, "2 3"},
		{"run_number", "gt", []string{n["#2"]}, "3"},
		{"run_number", "le", []string{n["#2"]}, "0 1 2"},
		{"run_number", "lt", []string{n["#2"]}, "0 1"},
		{"run_number", "is", []string{"null"}, ""},
		{"run_id", "eq", []string{"alpha-1"}, "1"},
		{"run_id", "eq", []string{"alpha-1", "null"}, "0 1"},
		{"run_id", "ne", []string{"alpha-1"}, "2 3"},
		{"run_id", "ne", []string{"null"}, "0"},
		{"run_id", "is", []string{"null"}, "0"},
		{"run_id", "co", []string{"LPHA"}, "1 2"},
		{"run_id", "sw", []string{"ALPHA"}, "1 2"},
		{"run_id", "ew", []string{"a-1", "%3"}, "1 3"},
		{"run_id", "li", []string{"alpha-1"}, "1"},
		{"run_id", "li", []string{"alpha%"}, "1 2"},
		{"run_id", "li", []string{"alpha__"}, "1 2"},
		{"run_id", "li", []string{`alpha\_2`}, "2"},
		{"run_id", "li", []string{`%\%3`}, "3"},
		{"run_id", "li", []string{"alpha"}, ""},
		{"run_id", "co", []string{""}, "1 2 3"},
		{"run_id", "eq", []string{"' OR 1=1 --"}, ""},
		{"run_id", "co", []string{`'"; DROP TABLE runs_v3; --`}, ""},
		{"user_name", "eq", []string{"ann"}, "1"},
		{"user_name", "li", []string{"ann"}, "1 3"},
		{"user_name", "ge", []string{"b"}, "2"},
		{"user_name", "lt", []string{"b"}, "1 3"},
		{"user_name", "is", []string{"null"}, "0"},
		{"ts_epoch", "eq", []string{n["@1"]}, "1"},
		{"ts_epoch", "gt", []string{n["@1"]}, "2 3"},
		{"ts_epoch", "le", []string{n["@1"]}, "0 1"},
		{"ts_epoch", "ne", []string{n["@1"], n["@2"]}, "0 1 2 3"},
		{"last_heartbeat_ts", "ge", []string{"1500"}, "2"},
		{"last_heartbeat_ts", "lt", []string{"1500"}, "1"},
		{"last_heartbeat_ts", "ne", []string{"1000"}, "2"},
		{"last_heartbeat_ts", "eq", []string{"null", "1000"}, "0 1 3"},
		{"tags", "eq", []string{`["x"]`}, "2"},
		{"tags", "eq", []string{`[ "x", "prod", "\u00e4" ]`}, "1"},
		{"tags", "ne", []string{`["x"]`}, "1 3"},
		{"tags", "is", []string{"null"}, "0"},
		{"system_tags", "eq", []string{`["user:zed"]`}, "2"},
		{"system_tags", "lt", []string{"null"}, "0"},
		{"user", "eq", []string{"ann"}, "1"},
		{"user", "eq", []string{"bob"}, ""}, // nothing vouches for the name
		{"user", "co", []string{"AN"}, "1 3"},
		{"user", "is", []string{"null"}, "0 2"},
	}
	for _, c := range cases {
		got := s.passing(n, tables.Query{Filters: []tables.Filter{c.filter()}})
		if got != c.want {
			s.t.Errorf("%s:%s=%q: got runs %q, want %q", c.field, c.op, c.values, got, c.want)
		}
		for _, r := range s.runs("F", tables.Query{Filters: []tables.Filter{c.filter()}}) {
			s.same(r.Status, "")
		}
	}
	two := []tables.Filter{
		filterCase{field: "run_id", op: "sw", values: []string{"alpha"}}.filter(),
		filterCase{field: "run_id", op: "ew", values: []string{"2", "3"}}.filter(),
	}
	s.same(s.passing(n, tables.Query{Filters: two}), "2")
}

// runsFilterErrors: what Postgres has no operator for, or cannot read as the column's type, is its error.
func runsFilterErrors(s *suite) {
	s.someRuns()
	for _, c := range []filterCase{
		{field: "run_number", op: "eq", values: []string{"abc"}},
		{field: "run_number", op: "eq", values: []string{huge}},
		{field: "run_number", op: "co", values: []string{"1"}},
		{field: "ts_epoch", op: "sw", values: []string{"1"}},
		{field: "ts_epoch", op: "lt", values: []string{"x"}},
		{field: "last_heartbeat_ts", op: "li", values: []string{"1"}},
		{field: "tags", op: "co", values: []string{"a"}},
		{field: "tags", op: "eq", values: []string{"a"}},
		{field: "run_id", op: "is", values: []string{"a"}},
		{field: "run_id", op: "eq", values: []string{"a\x00"}},
	} {
		_, err := s.Runs(s.ctx, "F", tables.Query{Filters: []tables.Filter{c.filter()}, Page: &tables.Page{Limit: 5}}, inactive)
		if err == nil {
			s.t.Errorf("%s:%s=%q was accepted", c.field, c.op, c.values)
			continue
		}
		s.refused(err)
	}
}

func runsByTags(s *suite) {
	n := s.someRuns()
	for _, half := range []tables.Run{{RunID: ptr("half-user"), Tags: list("x")}, {RunID: ptr("half-system"), SystemTags: list("x", "user:ann")}} {
		half.FlowID = "F"
		_, err := s.CreateRun(s.ctx, half) // null on one side makes both null
		s.ok(err)
		n[*half.RunID] = *half.RunID
	}
	for _, c := range []struct {
		tags []tables.TagFilter
		want string
	}{
		{[]tables.TagFilter{{Op: "all", Values: []string{"x"}}}, "1 2"},
		{[]tables.TagFilter{{Op: "all", Values: []string{"x", "user:ann"}}}, "1"},
		{[]tables.TagFilter{{Op: "all", Values: []string{"user:Ann"}}}, "3"},
		{[]tables.TagFilter{{Op: "all", Values: []string{"X"}}}, ""},
		{[]tables.TagFilter{{Op: "all", Values: []string{"user:"}}}, ""},
		{[]tables.TagFilter{{Op: "all", Values: []string{`q"'`}}}, "3"},
		{[]tables.TagFilter{{Op: "any", Values: []string{"prod", "user:Ann"}}}, "1 3"},
		{[]tables.TagFilter{{Op: "any", Values: []string{"none"}}}, ""},
		{[]tables.TagFilter{{Op: "any", Values: []string{"ä"}}}, "1"},
		{[]tables.TagFilter{{Op: "likeall", Values: []string{"user:", "x"}}}, "1 2"},
		{[]tables.TagFilter{{Op: "likeall", Values: []string{"ro", "ä"}}}, "1"},
		{[]tables.TagFilter{{Op: "likeany", Values: []string{"zed", "prod"}}}, "1 2"},
		{[]tables.TagFilter{{Op: "likeany", Values: []string{"nobody"}}}, ""},
		{[]tables.TagFilter{{Op: "all", Values: []string{"x"}}, {Op: "any", Values: []string{"prod", "y"}}}, "1"},
		{[]tables.TagFilter{{Op: "all", Values: []string{"'); DROP TABLE runs_v3; --"}}}, ""},
	} {
		if got := s.passing(n, tables.Query{Tags: c.tags}); got != c.want {
			s.t.Errorf("%+v: got runs %q, want %q", c.tags, got, c.want)
		}
	}
	both := tables.Query{
		Tags:    []tables.TagFilter{{Op: "all", Values: []string{"x"}}},
		Filters: []tables.Filter{filterCase{field: "user_name", op: "eq", values: []string{"bob"}}.filter()},
		Page:    &tables.Page{Limit: 5},
	}
	s.same(s.passing(n, both), "2")
}

func runsByStatus(s *suite) {
	s.flow("F")
	fresh, old := ptr(s.seconds()-inactive+100), ptr(s.seconds()-inactive-100)
	type write struct{ field, value string }
	ended := func(ok string) []write { return []write{{"attempt", "0"}, {"attempt_ok", ok}} }
	names := map[string]string{}
	for _, c := range []struct {
		name, step string
		beat       *int64
		writes     []write
	}{
		{"completed", "end", nil, ended("True")},
		{"lower", "end", old, ended("true")},
		{"failed", "end", fresh, ended("False")},
		{"retried", "end", old, append(ended("False"), write{"attempt", "1"})},
		{"mended", "end", old, append(ended("False"), write{"attempt", "1"}, write{"attempt_ok", "True"})},
		{"beating", "start", fresh, ended("False")},
		{"began", "end", fresh, ended("")[:1]},
		{"silent", "start", old, ended("True")},
		{"heartless", "start", nil, nil},
	} {
		run, err := s.CreateRun(s.ctx, tables.Run{FlowID: "F", RunID: &c.name, LastHeartbeat: c.beat})
		s.ok(err)
		names[c.name] = c.name
		_, k := s.task(s.step(run, c.step), "")
		for _, w := range c.writes {
			row := tables.Metadatum{FieldName: w.field, Type: w.field, Value: w.value, Tags: list("attempt_id:0")}
			s.addMetadata(k, 1, row)
			s.clock.Add(time.Millisecond)
		}
	}
	for _, c := range []filterCase{
		{"status", "eq", []string{"completed"}, "completed lower mended"},
		{"status", "eq", []string{"failed"}, "failed heartless silent"},
		{"status", "eq", []string{"running"}, "beating began retried"},
		{"status", "eq", []string{"running", "failed"}, "beating began failed heartless retried silent"},
		{"status", "ne", []string{"running"}, "completed failed heartless lower mended silent"},
	} {
		q := tables.Query{Filters: []tables.Filter{c.filter()}, Page: &tables.Page{Limit: 50}}
		if got := s.passing(names, q); got != c.want {
			s.t.Errorf("%s %q: got %q, want %q", c.op, c.values, got, c.want)
		}
		for _, r := range s.runs("F", q) {
			if c.op == "eq" && !slices.Contains(c.values, r.Status) {
				s.t.Errorf("run %s has status %q", *r.RunID, r.Status)
			}
		}
		unpaged := tables.Query{Filters: q.Filters}
		s.same(s.passing(names, unpaged), c.want)
	}
}

func taskCursor(t tables.Task) tables.Cursor { return tables.Cursor{TsEpoch: t.TsEpoch, ID: t.TaskID} }

func tasksArePaged(s *suite) {
	s.flow("F")
	run := s.run("F", "")
	k, other := s.step(run, "start"), s.step(run, "other")
	var want []string
	for i := range 3 {
		for _, name := range []string{"a", "", "b"} {
			if name != "" {
				name += number(int64(i))
			}
			t, _ := s.task(k, name)
			want = append([]string{taskText(t)}, want...)
			s.task(other, name)
		}
		s.clock.Add(time.Second)
	}
	for _, limit := range []int{1, 2, 8, 9, 10} {
		got := paged(s, limit, taskCursor, func(p *tables.Page) ([]tables.Task, error) {
			return s.Tasks(s.ctx, k, tables.Query{Page: p})
		})
		s.same(texts(got, taskText), want)
		got = paged(s, limit, taskCursor, func(p *tables.Page) ([]tables.Task, error) {
			q := tables.Query{Page: p, Filters: []tables.Filter{{Field: "task_name", Op: "ne", Values: []*string{ptr("a1")}}}}
			return s.Tasks(s.ctx, k, q)
		})
		s.same(texts(got, taskText), []string{"b2", "a2", "b1", "b0", "a0"})
	}
	all, err := s.Tasks(s.ctx, k, tables.Query{})
	s.ok(err)
	s.same(len(all), 9)
	// Time goes before the number: a clock may be put back.
	s.clock.Add(-time.Hour)
	s.task(k, "early")
	for _, limit := range []int{1, 9, 20} {
		got := paged(s, limit, taskCursor, func(p *tables.Page) ([]tables.Task, error) {
			return s.Tasks(s.ctx, k, tables.Query{Page: p})
		})
		s.same(texts(got, taskText), append(slices.Clone(want), "early"))
	}
}

func tasksAreFiltered(s *suite) {
	s.flow("F")
	k := s.step(s.run("F", "r"), "start")
	ids, times := make([]string, 3), make([]string, 3)
	names := map[int64]string{}
	for i, row := range []tables.Task{
		{},
		{TaskName: ptr("t-One"), UserName: ptr("ann"), LastHeartbeat: ptr(int64(1000))},
		{TaskName: ptr("t-two"), UserName: ptr("bob"), LastHeartbeat: ptr(int64(2000))},
	} {
		t, err := s.CreateTask(s.ctx, k, row)
		s.ok(err)
		ids[i], times[i], names[t.TaskID] = number(t.TaskID), number(t.TsEpoch), number(int64(i))
		s.clock.Add(time.Second)
	}
	for _, c := range []filterCase{
		{"task_id", "eq", []string{ids[1]}, "1"},
		{"task_id", "gt", []string{ids[1]}, "2"},
		{"task_id", "ne", []string{ids[1]}, "0 2"},
		{"task_name", "li", []string{"T-ONE"}, "1"},
		{"task_name", "sw", []string{"t-"}, "1 2"},
		{"task_name", "is", []string{"null"}, "0"},
		{"task_name", "eq", []string{"t-two", "null"}, "0 2"},
		{"user_name", "eq", []string{"ann"}, "1"},
		{"ts_epoch", "le", []string{times[1]}, "0 1"},
		{"last_heartbeat_ts", "ge", []string{"1000"}, "1 2"},
		{"last_heartbeat_ts", "is", []string{"null"}, "0"},
	} {
		got, err := s.Tasks(s.ctx, k, tables.Query{Filters: []tables.Filter{c.filter()}})
		s.ok(err)
		found := texts(got, func(t tables.Task) string { return names[t.TaskID] })
		slices.Sort(found)
		if text := strings.Join(found, " "); text != c.want {
			s.t.Errorf("%s:%s=%q: got tasks %q, want %q", c.field, c.op, c.values, text, c.want)
		}
	}
	for _, c := range []filterCase{
		{field: "task_id", op: "eq", values: []string{"abc"}}, {field: "task_id", op: "co", values: []string{"1"}},
	} {
		_, err := s.Tasks(s.ctx, k, tables.Query{Filters: []tables.Filter{c.filter()}})
		s.refused(err)
	}
}

func filteredTasks(s *suite) {
	s.flow("F")
	for _, name := range []string{"", "named"} {
		run := s.run("F", name)
		k := s.step(run, "start")
		t0, k0 := s.task(k, "")
		t1, k1 := s.task(k, "t-1")
		t2, k2 := s.task(k, "")
		s.task(k, "without")
		_, other := s.task(s.step(run, "other"), "")
		s.addMetadata(k2, 2, tables.Metadatum{FieldName: "a", Value: "apple"}, tables.Metadatum{FieldName: "a", Value: "apricot"})
		s.addMetadata(k0, 2, tables.Metadatum{FieldName: "a", Value: "banana"}, tables.Metadatum{FieldName: "b", Value: "apple\npie"})
		s.addMetadata(k1, 1, tables.Metadatum{FieldName: "b", Value: "Cherry"})
		s.addMetadata(other, 1, tables.Metadatum{FieldName: "a", Value: "apple"})
		rows := map[string]tables.Task{"0": t0, "1": t1, "2": t2}
		for _, c := range []struct {
			field, pattern *string
			want           string
		}{
			{nil, nil, "0 1 2"},
			{ptr("a"), nil, "0 2"},
			{ptr("b"), nil, "0 1"},
			{ptr("none"), nil, ""},
			{nil, ptr("apple"), "0 2"},
			{nil, ptr("^app?le$"), "2"},
			{nil, ptr("e.p"), "0"}, // a newline is a character like any other
			{nil, ptr("cherry"), ""},
			{nil, ptr(".*"), "0 1 2"},
			{nil, ptr("[cC]herry|apricot"), "1 2"},
			{ptr("a"), ptr("apple"), "2"}, // both of one row
			{ptr("b"), ptr("an{1}an"), ""},
			{ptr("a"), ptr("'; DROP TABLE tasks_v3; --"), ""},
		} {
			for _, text := range []string{runText(run), number(run.RunNumber)} {
				got, err := s.FilteredTasks(s.ctx, tables.Key{Flow: "F", Run: text, Step: "start"}, c.field, c.pattern)
				s.ok(err)
				var want []tables.Task
				for _, i := range strings.Fields(c.want) {
					want = append(want, tables.Task{
						FlowID: "F", RunNumber: run.RunNumber, RunID: run.RunID, StepName: "start", TaskID: rows[i].TaskID,
						TaskName: rows[i].TaskName,
					})
				}
				s.same(got, want)
			}
		}
		_, err := s.FilteredTasks(s.ctx, k, nil, ptr("a("))
		s.refused(err, "2201B")
		_, err = s.FilteredTasks(s.ctx, k, ptr("a"), ptr("[a"))
		s.refused(err, "2201B")
	}
}
