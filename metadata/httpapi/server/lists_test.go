package server

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPaging(t *testing.T) {
	overAll(t, func(t *testing.T, a *api) {
		a.want("POST", "/flows/F", `{}`, 200, "")
		for i := range 7 {
			a.want("POST", "/flows/F/run", fmt.Sprintf(`{"user_name":"u%d","run_number":"r-%d","tags":[],"system_tags":["user:u%d"]}`, i%2, i, i), 200, "")
		}
		var seen []string
		cursor := ""
		for range 3 {
			got := a.want("GET", "/flows/F/runs?_limit=3&_cursor="+url.QueryEscape(cursor), "", 200, "")
			if got.head.Get("X-Limit") != "3" {
				t.Errorf("X-Limit %q", got.head.Get("X-Limit"))
			}
			for _, r := range parse(t, got.body).([]any) {
				seen = append(seen, r.(map[string]any)["run_number"].(string))
			}
			cursor = got.head.Get("X-Next-Cursor")
			raw, err := base64.StdEncoding.DecodeString(cursor)
			if want := `{"ts_epoch": `; err != nil || cursor != "" && (!strings.HasPrefix(string(raw), want) || !strings.Contains(string(raw), `, "run_number": `)) {
				t.Errorf("cursor %q", raw)
			}
		}
		if diff := cmp.Diff([]string{"r-6", "r-5", "r-4", "r-3", "r-2", "r-1", "r-0"}, seen); diff != "" || cursor != "" {
			t.Error(diff, cursor)
		}
		for query, want := range map[string][2]string{ // X-Limit, whether there is a cursor
			"_limit=": {"50", ""}, "_cursor=": {"50", ""}, "_limit=9999": {"500", ""}, "_limit=7": {"7", ""}, "_limit=6": {"6", "yes"},
			"_limit=0": {"0", ""}, "user_name=u0": {"50", ""}, "nothing=1": {"", ""}, "_x=1": {"", ""}, "user_name:=u0": {"", ""},
			"_limit=99999999999999999999": {"500", ""},
		} {
			got := a.want("GET", "/flows/F/runs?"+query, "", 200, "")
			if l, c := got.head.Get("X-Limit"), got.head.Get("X-Next-Cursor"); l != want[0] || (c != "") != (want[1] != "") {
				t.Errorf("%s: X-Limit %q, cursor %q", query, l, c)
			}
		}
		for _, bad := range []string{"!!", "bm90IGpzb24=", b64(`{}`), b64(`{"ts_epoch":1}`), b64(`{"ts_epoch":1,"run_number":"x"}`), b64(`[]`), b64(`{"ts_epoch":null,"run_number":1}`)} {
			a.want("GET", "/flows/F/runs?_cursor="+url.QueryEscape(bad), "", 400, `"Invalid cursor"`)
		}
		a.want("GET", "/flows/F/runs?_cursor="+url.QueryEscape(b64(`{"ts_epoch": "1", "run_number": 1}`)), "", 200, `[]`)
		for _, bad := range []string{"x", "-1", "1.5"} {
			a.want("GET", "/flows/F/runs?_limit="+bad, "", 500, "")
			a.want("GET", "/flows?_limit="+bad, "", 500, "")
		}
		a.want("POST", "/flows/G", `{}`, 200, "")
		got := a.want("GET", "/flows?_limit=1", "", 200, "")
		next := a.want("GET", "/flows?_limit=1&_cursor="+got.head.Get("X-Next-Cursor"), "", 200, "")
		if f, g := member1(t, got, "flow_id"), member1(t, next, "flow_id"); f != "G" || g != "F" {
			t.Errorf("flows %s, %s", f, g)
		}
	})
}

func b64(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

func TestPagingBelow(t *testing.T) {
	overAll(t, func(t *testing.T, a *api) {
		run, task := started(a)
		step := "/flows/F/runs/" + run + "/steps/start"
		a.want("POST", step+"/tasks/"+task+"/metadata", `[{"field_name":"a"},{"field_name":"b"},{"field_name":"c"}]`, 200, "")
		for _, p := range []string{step + "/tasks/" + task + "/metadata", "/flows/F/runs/" + run + "/metadata"} {
			got := a.want("GET", p+"?_limit=2", "", 200, "")
			next := a.want("GET", p+"?_limit=2&_cursor="+got.head.Get("X-Next-Cursor"), "", 200, "")
			if f, g := member1(t, got, "field_name"), member1(t, next, "field_name"); f != "c" || g != "a" {
				t.Errorf("%s: %s, %s", p, f, g)
			}
		}
		a.want("POST", step+"/task", `{"task_id":"t2","user_name":"bob"}`, 200, "")
		got := a.want("GET", step+"/tasks?_limit=1", "", 200, "")
		next := a.want("GET", step+"/tasks?_limit=1&_cursor="+got.head.Get("X-Next-Cursor"), "", 200, "")
		if f, g := member1(t, got, "task_id"), member1(t, next, "task_id"); f != "t2" || g != task {
			t.Errorf("tasks %s, %s", f, g)
		}
		if f := member1(t, a.want("GET", step+"/tasks?user_name:sw=B", "", 200, ""), "task_id"); f != "t2" {
			t.Errorf("task %s", f)
		}
		a.want("GET", step+"/tasks?ts_epoch:gt=x", "", 400, `"invalid ts_epoch: expected integer epoch milliseconds, got 'x'"`)
	})
}

func TestFilters(t *testing.T) {
	overAll(t, func(t *testing.T, a *api) {
		a.want("POST", "/flows/F", `{}`, 200, "")
		a.want("POST", "/flows/F/run", `{"run_number":"one","user_name":"ann","tags":["x","y"],"system_tags":["user:ann"]}`, 200, "")
		a.want("POST", "/flows/F/run", `{"run_number":"two","user_name":"bob","tags":["y"],"system_tags":["s"]}`, 200, "")
		a.want("POST", "/flows/F/run", `{"run_number":"three"}`, 200, "")
		for query, want := range map[string]string{
			"user_name=ann": "one", "user_name:eq=ann,bob": "two one", "user_name:ne=ann": "two", "user_name=null": "three",
			"user_name:co=N": "one", "user_name:ew=ob": "two", "user=ann": "one", "user=bob": "", "run_id:sw=t": "three two",
			"user_name=ann&run_id=two": "", "user_name=ann&run_id=one": "one", "_tags=x,y": "one", "_tags:any=x,y": "two one",
			"_tags:all=y": "two one", "_tags:likeany=user": "one", "_tags=s": "two", "ts_epoch:gt=5": "three two one", "ts_epoch:lt=5": "",
			"run_id=one%27%3B+DROP+TABLE+runs_v3%3B--": "", "_tags=%27%29%3B+DROP+TABLE+runs_v3%3B--": "",
		} {
			got := a.want("GET", "/flows/F/runs?"+query, "", 200, "")
			var ids []string
			for _, r := range parse(t, got.body).([]any) {
				ids = append(ids, r.(map[string]any)["run_number"].(string))
			}
			if s := strings.Join(ids, " "); s != want {
				t.Errorf("%s: %q, want %q", query, s, want)
			}
		}
		got := a.want("GET", "/flows/F/runs?status=running,failed,completed", "", 200, "")
		if s := member1(t, got, "status"); s != "running" {
			t.Errorf("status %s", s)
		}
		for query, want := range map[string]string{
			"ts_epoch:zz=1": "unsupported operator 'zz' for field 'ts_epoch'", "status=bogus": "unsupported status filter: bogus",
			"ts_epoch=abc":         "invalid ts_epoch: expected integer epoch milliseconds, got 'abc'",
			"last_heartbeat_ts=1,": "invalid last_heartbeat_ts: expected integer epoch milliseconds, got ''",
		} {
			a.want("GET", "/flows/F/runs?"+query, "", 400, fmt.Sprintf("%q", want))
		}
	})
}

func TestMutateTags(t *testing.T) {
	overAll(t, func(t *testing.T, a *api) {
		run, _ := started(a)
		path := "/flows/F/runs/" + run + "/tag/mutate"
		sorted := func(r result) string {
			var b struct{ Tags []string }
			if err := json.Unmarshal([]byte(r.body), &b); err != nil || b.Tags == nil {
				t.Fatalf("%s: %v", r.body, err)
			}
			return strings.Join(sortedTexts(b.Tags), " ")
		}
		for _, c := range [][2]string{
			{`{}`, "a b"}, {`{"tags_to_add":["c","c"]}`, "a b c"}, {`{"tags_to_remove":["a"]}`, "b c"},
			{`{"tags_to_add":["b"],"tags_to_remove":["b","none"]}`, "b c"}, {`{"tags_to_add":["user:ann"]}`, "b c"},
			{`{"tags_to_remove":["b","c"]}`, ""}, {`{"tags_to_add":["ü \""]}`, `ü "`},
		} {
			if got := sorted(a.want("PATCH", path, c[0], 200, "")); got != c[1] {
				t.Errorf("%s: %q, want %q", c[0], got, c[1])
			}
		}
		a.want("PATCH", path, `{"tags_to_remove":["user:ann"]}`, 422, `"Cannot remove tags that are existing system tags {'user:ann'}"`)
		a.want("PATCH", path, `{"tags_to_add":null}`, 400, `"tags_to_add must be a list"`)
		a.want("PATCH", path, `{"tags_to_remove":"x"}`, 400, `"tags_to_remove must be a list"`)
		a.want("PATCH", path, `{"tags_to_remove":["x",5]}`, 400, `"All tag values must be strings"`)
		a.want("PATCH", path, `[]`, 500, "")
		a.want("PATCH", "/flows/F/runs/none/tag/mutate", `{"tags_to_add":["c"]}`, 404, `{}`)
		a.want("POST", "/flows/F/run", `{"run_number":"null-tags"}`, 200, "")
		a.want("PATCH", "/flows/F/runs/null-tags/tag/mutate", `{"tags_to_add":["c"]}`, 500, "")
		got := a.want("GET", "/flows/F/runs/"+run+"/steps/start", "", 200, "")
		if !strings.Contains(got.body, `"tags":["ü \""]`) {
			t.Error(got.body)
		}
	})
}

func TestHostileTexts(t *testing.T) {
	overAll(t, func(t *testing.T, a *api) {
		for i, evil := range []string{`x'; DROP TABLE runs_v3; --`, `"); DELETE FROM flows_v3; --`, `%_\\$1?`, `a/b/../c`, "ü 😀 \u202e", `$1`, `{}`, ` `} {
			in, name := url.PathEscape(evil), fmt.Sprintf("%d-%s", i, evil)
			text, _ := json.Marshal(evil)
			named, _ := json.Marshal(name)
			flow := "/flows/" + in
			a.want("POST", flow, `{"user_name":`+string(text)+`,"tags":[`+string(text)+`]}`, 200, "")
			got := a.want("POST", flow+"/run", `{"run_number":`+string(named)+`,"user_name":`+string(text)+`,"tags":[],"system_tags":[`+string(text)+`]}`, 200, "")
			if member(t, got, "run_number") != name || member(t, got, "flow_id") != evil {
				t.Error(got.body)
			}
			run := flow + "/runs/" + url.PathEscape(name)
			a.want("POST", run+"/steps/"+in+"/step", `{"user_name":`+string(text)+`}`, 200, "")
			a.want("POST", run+"/steps/"+in+"/task", `{"task_id":`+string(named)+`}`, 200, "")
			task := run + "/steps/" + in + "/tasks/" + url.PathEscape(name)
			a.want("POST", task+"/metadata", `[{"field_name":`+string(text)+`,"value":`+string(text)+`,"type":`+string(text)+`,"tags":[`+string(text)+`]}]`, 200, `{"metadata_created":1}`)
			a.want("POST", task+"/artifact", `[{"name":`+string(text)+`,"location":`+string(text)+`,"sha":`+string(text)+`}]`, 200, `{"artifacts_created":1}`)
			a.want("POST", task+"/heartbeat", "", 200, "")
			a.want("PATCH", run+"/tag/mutate", `{"tags_to_add":[`+string(named)+`]}`, 200, `{"tags":[`+string(named)+`]}`)
			for _, path := range []string{task + "/metadata", task + "/artifacts", run + "/steps", run + "/steps/" + in + "/tasks", flow + "/runs?_limit=5",
				flow + "/runs?user_name:eq=" + url.QueryEscape(evil) + "&_tags=" + url.QueryEscape(name)} {
				if got := member1(t, a.want("GET", path, "", 200, ""), "flow_id"); got != evil {
					t.Errorf("%s: flow %q", path, got)
				}
			}
			got = a.want("GET", task+"/artifacts/"+in, "", 200, "")
			if member(t, got, "location") != evil || member(t, got, "task_id") != name || member(t, got, "step_name") != evil {
				t.Error(got.body)
			}
			a.want("GET", run+"/steps/"+in+"/filtered_tasks?metadata_field_name="+url.QueryEscape(evil), "", 200, "["+quoted(evil+"/"+name+"/"+evil+"/"+name)+"]")
		}
	})
}

func quoted(s string) string {
	text, _ := json.Marshal(s)
	return string(text)
}
