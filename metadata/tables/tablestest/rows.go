package tablestest

import (
	"strconv"
	"strings"
	"time"

	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/tables"
)

func (s *suite) addMetadata(k tables.Key, want int, rows ...tables.Metadatum) {
	s.t.Helper()
	n, err := s.AddMetadata(s.ctx, k, rows)
	s.ok(err)
	s.same(n, want)
}

func (s *suite) addArtifacts(k tables.Key, want int, rows ...tables.Artifact) {
	s.t.Helper()
	n, err := s.AddArtifacts(s.ctx, k, rows)
	s.ok(err)
	s.same(n, want)
}

func fieldName(m tables.Metadatum) string { return m.FieldName }

func attemptAndName(a tables.Artifact) string { return strconv.FormatInt(a.AttemptID, 10) + a.Name }

func metadataRows(s *suite) {
	s.flow("F")
	for _, name := range []string{"", "named"} {
		run := s.run("F", name, "t")
		task, k := s.task(s.step(run, "start"), name)
		second, k2 := s.task(k, "")
		row := tables.Metadatum{
			FieldName: "attempt", Value: "0", Type: "attempt", UserName: ptr("u"), Tags: list("attempt_id:0"), SystemTags: list("s"),
			// None of these is read.
			FlowID: "G", RunNumber: 9, RunID: ptr("other"), StepName: "x", TaskID: 9, TaskName: ptr("x"), ID: 9, TsEpoch: 9,
		}
		again := row
		again.Value = "1"
		s.addMetadata(k, 3, row, row, again) // the same field may be there several times
		s.clock.Add(time.Second)
		s.addMetadata(k2, 1, row)
		s.addMetadata(k, 0)
		want := row
		want.FlowID, want.RunNumber, want.RunID, want.StepName = "F", run.RunNumber, run.RunID, "start"
		want.TaskID, want.TaskName, want.TsEpoch = task.TaskID, task.TaskName, s.now()-1000
		for _, text := range []string{k.Task, number(task.TaskID)} {
			got, err := s.TaskMetadata(s.ctx, tables.Key{Flow: "F", Run: number(run.RunNumber), Step: "start", Task: text}, nil)
			s.ok(err)
			if len(got) != 3 || got[0].ID <= got[1].ID || got[1].ID <= got[2].ID {
				s.fail("want three rows, the newest first, got %+v", got)
			}
			for i, value := range []string{"1", "0", "0"} {
				want.Value, want.ID = value, got[i].ID
				s.same(got[i], want)
			}
		}
		all, err := s.RunMetadata(s.ctx, k, nil)
		s.ok(err)
		s.same(len(all), 4)
		all, err = s.RunMetadata(s.ctx, k, &tables.Page{Limit: 1})
		s.ok(err)
		s.same(len(all), 2)
		s.same(all[0].TaskID, second.TaskID)
	}
}

func (s *suite) orphans(k tables.Key) []tables.Key {
	return []tables.Key{
		{Flow: "G", Run: k.Run, Step: k.Step, Task: k.Task},
		{Flow: k.Flow, Run: "none", Step: k.Step, Task: k.Task},
		{Flow: k.Flow, Run: "0", Step: k.Step, Task: k.Task},
		{Flow: k.Flow, Run: k.Run, Step: k.Step, Task: "none"},
		{Flow: k.Flow, Run: k.Run, Step: k.Step, Task: "999999"},
		{Flow: k.Flow, Run: k.Run, Step: k.Step},
	}
}

func metadataNeedsItsTask(s *suite) {
	_, _, k := s.place("", "")
	for _, orphan := range s.orphans(k) {
		for _, rows := range [][]tables.Metadatum{nil, {{FieldName: "f"}}} {
			_, err := s.AddMetadata(s.ctx, orphan, rows)
			s.is(err, tables.ErrNoParent)
		}
		for _, rows := range [][]tables.Artifact{nil, {{Name: "a"}}} {
			_, err := s.AddArtifacts(s.ctx, orphan, rows)
			s.is(err, tables.ErrNoParent)
		}
	}
}

var (
	// longest is the longest text that a column of names takes: 255 characters, of several bytes each.
	longest = strings.Repeat("é", 254) + "🙂"
	tooLong = longest + "x"
)

// metadataBadRows: a row that the database refuses keeps no other out, and is not counted.
func metadataBadRows(s *suite) {
	_, _, k := s.place("", "")
	good := func(name string) tables.Metadatum { return tables.Metadatum{FieldName: name, Value: "v", Type: "t"} }
	s.addMetadata(k, 5,
		good("a"), good(tooLong), good("b"), tables.Metadatum{FieldName: "c", Value: "a\x00b"}, good(longest),
		tables.Metadatum{FieldName: "d", Type: tooLong}, tables.Metadatum{FieldName: "e", UserName: &tooLong},
		tables.Metadatum{FieldName: "f", Tags: tables.JSON(`["unfinished"`)}, good("g"), good("a"), good("bad\xff"))
	got, err := s.TaskMetadata(s.ctx, k, nil)
	s.ok(err)
	s.same(texts(got, fieldName), []string{"a", "g", longest, "b", "a"})
	s.addMetadata(k, 0, good(tooLong))
	many := make([]tables.Metadatum, 300)
	for i := range many {
		many[i] = good("n" + strconv.Itoa(i))
	}
	many[150] = good(tooLong)
	s.addMetadata(k, 299, many...)
	got, err = s.TaskMetadata(s.ctx, k, nil)
	s.ok(err)
	s.same(len(got), 304)
	s.same(got[0].FieldName, "n299")
}

func metadataLargeValue(s *suite) {
	_, _, k := s.place("", "")
	value := strings.Repeat("ä0123456789", 3<<20/12)
	s.addMetadata(k, 2, tables.Metadatum{FieldName: "big", Value: value}, tables.Metadatum{FieldName: "small", Value: "x"})
	got, err := s.TaskMetadata(s.ctx, k, nil)
	s.ok(err)
	if len(got) != 2 || got[1].Value != value {
		s.fail("the value did not come back")
	}
}

func metadataIsPaged(s *suite) {
	run, _, k := s.place("", "")
	_, k2 := s.task(k, "named")
	var want, wantFirst []string
	for i := range 4 {
		var rows []tables.Metadatum
		for j := range 3 { // of one time
			name := strconv.Itoa(i) + strconv.Itoa(j)
			rows = append(rows, tables.Metadatum{FieldName: name})
			want = append([]string{name}, want...)
		}
		task := k
		if i == 2 {
			task = k2
		} else {
			wantFirst = append([]string{rows[2].FieldName, rows[1].FieldName, rows[0].FieldName}, wantFirst...)
		}
		s.addMetadata(task, 3, rows...)
		s.clock.Add(time.Second)
	}
	cursor := func(m tables.Metadatum) tables.Cursor { return tables.Cursor{TsEpoch: m.TsEpoch, ID: m.ID} }
	for _, limit := range []int{1, 2, 3, 11, 12, 13} {
		got := paged(s, limit, cursor, func(p *tables.Page) ([]tables.Metadatum, error) {
			return s.RunMetadata(s.ctx, tables.Key{Flow: "F", Run: runText(run)}, p)
		})
		s.same(texts(got, fieldName), want)
		got = paged(s, limit, cursor, func(p *tables.Page) ([]tables.Metadatum, error) { return s.TaskMetadata(s.ctx, k, p) })
		s.same(texts(got, fieldName), wantFirst)
	}
}

func artifactRows(s *suite) {
	s.flow("F")
	for _, name := range []string{"", "named"} {
		run := s.run("F", name, "t")
		task, k := s.task(s.step(run, "start"), name)
		sent := tables.Artifact{
			Name: "x", Location: ":root:s3://b/c", DsType: "s3", Sha: ptr("da39"), Type: ptr("metaflow.artifact"),
			ContentType: ptr("pickle-v4"), UserName: ptr("u"), AttemptID: 1, Tags: list("own"),
			// None of these is read.
			FlowID: "G", RunNumber: 9, RunID: ptr("other"), StepName: "x", TaskID: 9, TaskName: ptr("x"), TsEpoch: 9,
		}
		s.addArtifacts(k, 1, sent)
		want := sent
		want.FlowID, want.RunNumber, want.RunID, want.StepName = "F", run.RunNumber, run.RunID, "start"
		want.TaskID, want.TaskName, want.TsEpoch = task.TaskID, task.TaskName, s.now()
		want.Tags, want.SystemTags = run.Tags, run.SystemTags
		for _, key := range []tables.Key{
			k, {Flow: "F", Run: number(run.RunNumber), Step: "start", Task: number(task.TaskID)},
		} {
			for _, attempt := range []*int64{nil, ptr(int64(1))} {
				got, err := s.Artifact(s.ctx, key, "x", attempt)
				if attempt == nil { // there is no artifact "name", so the attempt is 0
					s.is(err, metadata.ErrNotFound)
					continue
				}
				s.ok(err)
				s.same(got, want)
			}
			for _, wide := range []tables.Key{
				key, {Flow: "F", Run: key.Run, Step: "start"}, {Flow: "F", Run: key.Run},
			} {
				for _, page := range []*tables.Page{nil, {Limit: 9}} {
					got, err := s.Artifacts(s.ctx, wide, page)
					s.ok(err)
					s.same(got, []tables.Artifact{want})
				}
			}
			got, err := s.ArtifactsOfAttempt(s.ctx, key, 1)
			s.ok(err)
			s.same(got, []tables.Artifact{want})
			got, err = s.ArtifactsOfAttempt(s.ctx, key, 0)
			s.ok(err)
			s.same(got, []tables.Artifact(nil))
		}
	}
}

// artifactsBadRows: a row that is there already, or that the database refuses, is not counted.
func artifactsBadRows(s *suite) {
	_, _, k := s.place("", "")
	a := func(name string) tables.Artifact { return tables.Artifact{Name: name, Location: "l", DsType: "d"} }
	first, second := a("a"), a("a")
	first.Location = "first"
	second.Location = "second"
	wrong := a("attempt")
	wrong.AttemptID = 40_000 // beyond the 16 bits of Metaflow's column
	sha := a("sha")
	sha.Sha = &tooLong
	s.addArtifacts(k, 4, first, second, a(tooLong), a("b"), wrong, sha, a("nul\x00"), a("bad\xff"), a(longest), a("c"))
	s.addArtifacts(k, 1, second, a("d"), a("b"))
	s.addArtifacts(k, 0, second)
	got, err := s.Artifacts(s.ctx, k, &tables.Page{Limit: 50})
	s.ok(err)
	s.same(texts(got, func(a tables.Artifact) string { return a.Name }), []string{longest, "d", "c", "b", "a"})
	s.same(got[4].Location, "first")
	many := make([]tables.Artifact, 300)
	for i := range many {
		many[i] = a("n" + strconv.Itoa(i))
	}
	many[150], many[200] = a(tooLong), a("a")
	s.addArtifacts(k, 298, many...)
}

// attempts adds artifacts of three attempts, a second apart: "x" in all, "gone" in the first only, "name" in the first two.
func (s *suite) attempts(k tables.Key) {
	for attempt, names := range [][]string{{"name", "x", "gone"}, {"name", "x", "y"}} {
		for _, name := range names {
			s.addArtifacts(k, 1, tables.Artifact{Name: name, AttemptID: int64(attempt), Location: "l"})
		}
		s.clock.Add(time.Second)
	}
}

func artifactsOfTheHighestAttempt(s *suite) {
	_, first, k := s.place("named", "")
	_, k2 := s.task(k, "second")
	s.attempts(k)
	s.addArtifacts(k2, 1, tables.Artifact{Name: "gone"})
	names := func(k tables.Key, page *tables.Page) map[string]int {
		found, err := s.Artifacts(s.ctx, k, page)
		s.ok(err)
		got := map[string]int{}
		for _, a := range found {
			text := attemptAndName(a)
			if a.TaskID != first.TaskID {
				text = "second/" + text
			}
			got[text]++
		}
		return got
	}
	s.same(names(k, nil), map[string]int{"1name": 1, "1x": 1, "1y": 1})
	both := map[string]int{"1name": 1, "1x": 1, "1y": 1, "second/0gone": 1}
	k.Task = ""
	s.same(names(k, nil), both)
	k.Step = ""
	s.same(names(k, nil), both)
	// Paged, the newest of each name counts, whatever its attempt.
	both["0gone"] = 1
	s.same(names(k, &tables.Page{Limit: 50}), both)
}

func artifactsPagedAreTheNewest(s *suite) {
	_, _, k := s.place("", "")
	s.addArtifacts(k, 2, tables.Artifact{Name: "x", AttemptID: 2}, tables.Artifact{Name: "y", AttemptID: 2})
	s.clock.Add(time.Second)
	s.addArtifacts(k, 1, tables.Artifact{Name: "x", AttemptID: 1}) // written late
	got, err := s.Artifacts(s.ctx, k, &tables.Page{Limit: 9})
	s.ok(err)
	s.same(texts(got, attemptAndName), []string{"1x", "2y"})
	unpaged, err := s.Artifacts(s.ctx, k, nil)
	s.ok(err)
	s.same(len(unpaged), 2)
	for _, a := range unpaged {
		s.same(a.AttemptID, int64(2))
	}
}

func artifactsArePaged(s *suite) {
	run, _, k := s.place("", "")
	step := k
	step.Task = ""
	_, k2 := s.task(k, "")
	end := s.step(run, "end")
	_, k3 := s.task(end, "")
	for _, key := range []tables.Key{k, k2, k3} {
		s.addArtifacts(key, 2, tables.Artifact{Name: "a"}, tables.Artifact{Name: "b"})
	}
	s.clock.Add(time.Second)
	s.addArtifacts(k, 2, tables.Artifact{Name: "a", AttemptID: 1}, tables.Artifact{Name: "c"})
	cursor := func(a tables.Artifact) tables.Cursor {
		return tables.Cursor{TsEpoch: a.TsEpoch, ID: a.TaskID, Name: a.Name}
	}
	for _, c := range []struct {
		key  tables.Key
		want []string
	}{
		{tables.Key{Flow: "F", Run: k.Run}, []string{"0c", "1a", "0b", "0a", "0b", "0a", "0b"}},
		{step, []string{"0c", "1a", "0b", "0a", "0b"}},
		{k, []string{"0c", "1a", "0b"}},
	} {
		for limit := 1; limit <= 8; limit++ {
			got := paged(s, limit, cursor, func(p *tables.Page) ([]tables.Artifact, error) { return s.Artifacts(s.ctx, c.key, p) })
			s.same(texts(got, attemptAndName), c.want)
			for i := 3; i < len(got); i++ {
				if got[i].TaskID > got[i-1].TaskID {
					s.fail("the tasks are not in descending order: %+v", got)
				}
			}
		}
	}
}

func artifactOfTheLatestAttempt(s *suite) {
	_, _, k := s.place("named", "t")
	get := func(name string, attempt *int64, want string) {
		s.t.Helper()
		got, err := s.Artifact(s.ctx, k, name, attempt)
		if want == "" {
			s.is(err, metadata.ErrNotFound)
			return
		}
		s.ok(err)
		s.same(attemptAndName(got), want)
	}
	s.addArtifacts(k, 2, tables.Artifact{Name: "z", AttemptID: 0}, tables.Artifact{Name: "z", AttemptID: 3})
	get("z", nil, "0z") // without a "name"
	s.attempts(k)
	get("x", nil, "1x")
	get("gone", nil, "")
	get("gone", ptr(int64(0)), "0gone")
	get("x", ptr(int64(0)), "0x")
	get("x", ptr(int64(2)), "")
	get("x", ptr(int64(-1)), "")
	get("z", nil, "")
	get("z", ptr(int64(3)), "3z")
	get("none", nil, "")
	// The newest "name" counts, not the one of the highest attempt.
	s.addArtifacts(k, 2, tables.Artifact{Name: "name", AttemptID: 3}, tables.Artifact{Name: "only", AttemptID: 2})
	s.clock.Add(time.Second)
	s.addArtifacts(k, 1, tables.Artifact{Name: "name", AttemptID: 2})
	get("only", nil, "2only")
	get("z", nil, "")
}
