package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mf-run/mf/internal/testserver"
	"github.com/mf-run/mf/metadata/postgres"
	"github.com/mf-run/mf/metadata/sqlite"
	"github.com/mf-run/mf/metadata/tables"
)

// api calls a server's handler.
type api struct {
	t *testing.T
	h http.Handler
	// head is sent with every request.
	head http.Header
}

func newAPI(t *testing.T, conf Config) *api {
	t.Helper()
	return &api{t: t, h: New(conf).Handler()}
}

// result is an answer.
type result struct {
	status int
	head   http.Header
	body   string
}

func (a *api) do(method, path, body string) result {
	a.t.Helper()
	r := httptest.NewRequest(method, "http://service"+path, strings.NewReader(body))
	for k, v := range a.head {
		r.Header[k] = v
	}
	w := httptest.NewRecorder()
	a.h.ServeHTTP(w, r)
	return result{w.Code, w.Header(), w.Body.String()}
}

// want does a request and compares status and body, that as JSON. "<any>" in the wanted body's texts fits all values.
func (a *api) want(method, path, body string, status int, want string) result {
	a.t.Helper()
	got := a.do(method, path, body)
	if got.status != status {
		a.t.Fatalf("%s %s: status %d, want %d; body %s", method, path, got.status, status, got.body)
	}
	if want == "" {
		return got
	}
	if !fit(parse(a.t, got.body), parse(a.t, want)) {
		a.t.Fatalf("%s %s:\n got %s\nwant %s", method, path, got.body, want)
	}
	return got
}

// text is want for a body that is not JSON, of which a part is looked for.
func (a *api) text(method, path, body string, status int, part string) result {
	a.t.Helper()
	got := a.do(method, path, body)
	if got.status != status || !strings.Contains(got.body, part) {
		a.t.Fatalf("%s %s: %d %q, want %d and %q", method, path, got.status, got.body, status, part)
	}
	return got
}

func parse(t *testing.T, text string) any {
	t.Helper()
	var v any
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&v); err != nil || d.More() {
		t.Fatalf("not one JSON value: %q: %v", text, err)
	}
	return v
}

// fit compares JSON values; wanted texts "<any>" fit all.
func fit(got, want any) bool {
	switch w := want.(type) {
	case string:
		return w == "<any>" || got == want
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok || len(g) != len(w) {
			return false
		}
		for k := range w {
			if v, ok := g[k]; !ok || !fit(v, w[k]) {
				return false
			}
		}
		return true
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(w) {
			return false
		}
		for i := range w {
			if !fit(g[i], w[i]) {
				return false
			}
		}
		return true
	}
	return cmp.Equal(got, want)
}

// databases are what the wire is tested over.
func databases(t *testing.T, test func(t *testing.T, db tables.DB, store Store)) {
	t.Run("memory", func(t *testing.T) { test(t, newMemDB(), newMemStore()) })
	t.Run("sqlite", func(t *testing.T) {
		store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "metadata.db"), sqlite.Options{Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		test(t, store.Tables(), store)
	})
	t.Run("postgres", func(t *testing.T) {
		store := openPostgres(t)
		defer store.Close()
		test(t, store.Tables(), store)
	})
}

func openPostgres(t testing.TB) *postgres.Store {
	t.Helper()
	url := testserver.Database(t)
	store, err := postgres.OpenForMigration(t.Context(), url, postgres.Options{Now: time.Now})
	if err == nil {
		err = store.Migrate(t.Context(), func(tables.Migration) {})
	}
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func overAll(t *testing.T, test func(t *testing.T, a *api)) {
	databases(t, func(t *testing.T, db tables.DB, store Store) {
		test(t, newAPI(t, Config{DB: db, Store: store, Version: "0.0-test"}))
	})
}

const tags = `"tags":["a","b"],"system_tags":["user:ann","metaflow_version:2.19.39"]`

// started registers flow F, a run with these tags by ann, the step start and a task; it returns their numbers.
func started(a *api) (run, task string) {
	a.t.Helper()
	a.want("POST", "/flows/F", `{}`, 200, "")
	run = member(a.t, a.want("POST", "/flows/F/run", `{"user_name":"ann",`+tags+`}`, 200, ""), "run_number")
	a.want("POST", "/flows/F/runs/"+run+"/steps/start/step", `{"tags":["x"],"system_tags":["y"]}`, 200, "")
	task = member(a.t, a.want("POST", "/flows/F/runs/"+run+"/steps/start/task", `{"tags":["x"],"system_tags":["y"]}`, 200, ""), "task_id")
	return run, task
}

func member(t *testing.T, r result, name string) string {
	t.Helper()
	return fmt.Sprint(parse(t, r.body).(map[string]any)[name])
}

func TestFlows(t *testing.T) {
	overAll(t, func(t *testing.T, a *api) {
		a.want("GET", "/flows", "", 200, `[]`)
		a.want("GET", "/flows/F", "", 404, `{}`)
		flow := `{"flow_id":"F","user_name":"ann","ts_epoch":"<any>","tags":["a","b"],"system_tags":["user:ann"]}`
		got := a.want("POST", "/flows/F", `{"user_name":"ann","tags":["a","b"],"system_tags":["user:ann"],"ts_epoch":5}`, 200, flow)
		if ts := member(t, got, "ts_epoch"); len(ts) != 13 {
			t.Errorf("ts_epoch is %s", ts)
		}
		for k, want := range map[string]string{
			"Content-Type": "text/plain; charset=utf-8", "Metadata_service_version": "2.5.1", "Content-Length": fmt.Sprint(len(got.body)),
		} {
			if k == "Metadata_service_version" {
				if v := versionOf(got.head); len(v) != 1 || v[0] != want {
					t.Errorf("version header is %q", v)
				}
			} else if v := got.head.Get(k); v != want {
				t.Errorf("header %s is %q, want %q", k, v, want)
			}
		}
		a.want("GET", "/flows/F", "", 200, flow)
		a.want("GET", "/flows", "", 200, `[`+flow+`]`)
		dup := a.want("POST", "/flows/F", `{}`, 409, "")
		pgError(t, dup, "23505")
		a.want("POST", "/flows/G%2FH%20%C3%BC", `{}`, 200, `{"flow_id":"G/H ü","user_name":null,"ts_epoch":"<any>","tags":null,"system_tags":null}`)
		a.want("GET", "/flows/G%2FH%20%C3%BC", "", 200, "")
		for _, bad := range []string{``, `nonsense`, `[]`, `"x"`, `{"user_name":{}}`, "{\"user_name\":\"\xff\"}", strings.Repeat("[", 5000)} {
			got := a.want("POST", "/flows/Bad", bad, 500, `{"traceback":"<any>","detail":"<any>","status":500,"title":"Internal Server Error","type":"about:blank"}`)
			if versionOf(got.head) == nil {
				t.Error("no version header")
			}
		}
		pgError(t, a.want("POST", "/flows/"+strings.Repeat("x", 256), `{}`, 500, ""), "22001")
	})
}

// pgError checks a body that is a JSON text encoded twice.
func pgError(t *testing.T, r result, code string) {
	t.Helper()
	inner, ok := parse(t, r.body).(string)
	if !ok {
		t.Fatalf("no string: %s", r.body)
	}
	want := `{"err_msg":{"pgerror":"<any>","pgcode":"` + code + `","diag":{"message_primary":"<any>","severity":"ERROR"}}}`
	if !fit(parse(t, inner), parse(t, want)) {
		t.Fatalf("got %s, want %s", inner, want)
	}
}

func TestRuns(t *testing.T) {
	overAll(t, func(t *testing.T, a *api) {
		pgError(t, a.want("POST", "/flows/F/run", `{}`, 404, ""), "23503")
		a.want("POST", "/flows/F", `{}`, 200, "")
		row := `{"flow_id":"F","run_number":%s,"user_name":"ann","ts_epoch":"<any>",` + tags + `,"last_heartbeat_ts":"<any>"%s}`
		got := a.want("POST", "/flows/F/run", `{"user_name":"ann",`+tags+`}`, 200, fmt.Sprintf(row, `"<any>"`, ""))
		n := member(t, got, "run_number")
		verified := fmt.Sprintf(row, n, `,"user":"ann"`)
		if beat := member(t, got, "last_heartbeat_ts"); len(beat) != 10 {
			t.Errorf("heartbeat is %s", beat)
		}
		a.want("GET", "/flows/F/runs/"+n, "", 200, verified)
		a.want("GET", "/flows/F/runs", "", 200, `[`+verified+`]`)
		a.want("GET", "/flows/F/runs/none", "", 404, `{}`)
		a.want("GET", "/flows/F/runs/123456", "", 404, `{}`)
		a.want("GET", "/flows/G/runs/"+n, "", 404, `{}`)
		a.want("GET", "/flows/G/runs", "", 200, `[]`)
		pgError(t, a.want("GET", "/flows/F/runs/99999999999999999999", "", 500, ""), "22003")

		named := `{"flow_id":"F","run_number":"argo-x","user_name":null,"ts_epoch":"<any>","tags":null,"system_tags":[],"last_heartbeat_ts":null}`
		a.want("POST", "/flows/F/run", `{"run_number":"argo-x","system_tags":[]}`, 200, named)
		a.want("GET", "/flows/F/runs/argo-x", "", 200, named)
		pgError(t, a.want("POST", "/flows/F/run", `{"run_number":"argo-x"}`, 409, ""), "23505")
		got = a.want("POST", "/flows/F/run", `{"run_number":"12"}`, 500, "")
		if d := member(t, got, "detail"); d != "provided run_id may not be a numeric" {
			t.Error(d)
		}
		a.want("POST", "/flows/F/run", `{"run_number":12}`, 500, "")
		got = a.want("POST", "/flows/F/run", `{"run_number":null,"tags":{"k":[1,2.5,null,true]}}`, 200, "")
		if !strings.Contains(got.body, `"tags":{"k"`) {
			t.Error(got.body)
		}
	})
}

func TestHeartbeatCapable(t *testing.T) {
	for tags, want := range map[string]bool{
		``: true, `null`: true, `[]`: false, `["2.2.12"]`: false, `5`: true, `[5]`: true, `"x"`: false, `{}`: false,
		`["metaflow_version:0.5"]`: false, `["metaflow_version:1.13"]`: false, `["metaflow_version:1"]`: false,
		`["metaflow_version:1.14.0"]`: true, `["metaflow_version:1.22.1"]`: true, `["metaflow_version:2.0.0"]`: false,
		`["metaflow_version:2"]`: false, `["metaflow_version:2.0.5"]`: false, `["metaflow_version:v2.0.5"]`: false,
		`["metaflow_version:2.2.11"]`: false, `["metaflow_version:2.2.11.9"]`: false, `["metaflow_version:2.2.12"]`: true,
		`["metaflow_version:2.2.12+ab1234"]`: true, `["metaflow_version:2.2.12rc1"]`: true, `["metaflow_version:2.3"]`: true,
		`["metaflow_version:2.12.24.post9-git2a5367b+ob(v1)"]`: true, `["metaflow_version:3"]`: true,
		`["metaflow_version:custom-1"]`: true, `["metaflow_version:master"]`: true, `["metaflow_version: 2.0"]`: true,
		`["x","metaflow_version:2.0","metaflow_version:3"]`: false, `["metaflow_version:99999999999999999999999"]`: true,
	} {
		if got := beats(tables.JSON(tags)); got != want {
			t.Errorf("%s: %v, want %v", tags, got, want)
		}
	}
}

func TestStepsAndTasks(t *testing.T) {
	overAll(t, func(t *testing.T, a *api) {
		run, task := started(a)
		step := fmt.Sprintf(`{"flow_id":"F","run_number":"%s","step_name":"start","user_name":"","ts_epoch":"<any>",%s}`, run, tags)
		base := "/flows/F/runs/" + run + "/steps"
		a.want("GET", base+"/start", "", 200, step)
		a.want("GET", base, "", 200, `[`+step+`]`)
		a.want("GET", base+"/none", "", 404, `{}`)
		a.want("GET", "/flows/F/runs/none/steps", "", 200, `[]`)
		pgError(t, a.want("POST", base+"/start/step", `{}`, 409, ""), "23505")
		for _, path := range []string{"/flows/F/runs/999999/steps/start/step", "/flows/F/runs/none/steps/start/task", "/flows/G/runs/" + run + "/steps/start/step"} {
			got := a.want("POST", path, `{}`, 500, "")
			if d := member(t, got, "detail"); d != "'run_number'" {
				t.Errorf("%s: detail %q", path, d)
			}
		}
		pgError(t, a.want("POST", base+"/none/task", `{}`, 404, ""), "23503")

		row := fmt.Sprintf(`{"flow_id":"F","run_number":%s,"step_name":"start","task_id":%%s,"user_name":null,"ts_epoch":"<any>",%s,"last_heartbeat_ts":%%s}`, run, tags)
		first := fmt.Sprintf(row, task, "null")
		a.want("GET", base+"/start/tasks/"+task, "", 200, first)
		a.want("GET", base+"/start/tasks", "", 200, `[`+first+`]`)
		a.want("GET", base+"/start/tasks/none", "", 404, `{}`)
		a.want("GET", base+"/start/tasks/987654", "", 404, `{}`)
		named := fmt.Sprintf(row, `"t-1"`, `"<any>"`)
		a.want("POST", base+"/start/task", `{"task_id":"t-1"}`, 200, named)
		a.want("GET", base+"/start/tasks/t-1", "", 200, named)
		pgError(t, a.want("POST", base+"/start/task", `{"task_id":"t-1"}`, 409, ""), "23505")
		a.want("POST", base+"/start/task", `{"task_id":"17"}`, 400, `{"message":"provided task_name may not be a numeric"}`)
		a.want("GET", "/flows/F/runs/"+run+"/steps/none/tasks", "", 200, `[]`)

		a.want("POST", "/flows/F/run", `{"run_number":"named"}`, 200, "")
		got := a.want("POST", "/flows/F/runs/named/steps/start/step", `{"user_name":"bob"}`, 200, "")
		if member(t, got, "run_number") != "named" || member(t, got, "user_name") != "bob" {
			t.Error(got.body)
		}
		got = a.want("POST", "/flows/F/runs/named/steps/start/task", `{}`, 200, "")
		if member(t, got, "run_number") != "named" {
			t.Error(got.body)
		}
	})
}

func TestHeartbeats(t *testing.T) {
	overAll(t, func(t *testing.T, a *api) {
		a.want("POST", "/flows/F", `{}`, 200, "")
		run := member(t, a.want("POST", "/flows/F/run", `{"system_tags":[],"tags":[]}`, 200, ""), "run_number")
		base := "/flows/F/runs/" + run
		a.want("POST", base+"/steps/start/step", `{}`, 200, "")
		task := member(t, a.want("POST", base+"/steps/start/task", `{"system_tags":[]}`, 200, ""), "task_id")
		if v := member(t, a.want("GET", base, "", 200, ""), "last_heartbeat_ts"); v != "<nil>" {
			t.Errorf("heartbeat is %s", v)
		}
		const answer = `"{\"wait_time_in_seconds\": 10}"`
		for range 2 { // the second one is fresh
			a.want("POST", base+"/heartbeat", "", 200, answer)
			a.want("POST", base+"/steps/start/tasks/"+task+"/heartbeat", "garbage", 200, answer)
		}
		a.want("POST", "/flows/F/runs/77777/heartbeat", "{}", 404, answer)
		a.want("POST", "/flows/F/runs/none/heartbeat", "{}", 404, answer)
		a.want("POST", base+"/steps/start/tasks/none/heartbeat", "{}", 404, answer)
		a.want("POST", base+"/steps/none/tasks/"+task+"/heartbeat", "{}", 404, answer)
		if v := member(t, a.want("GET", base+"/steps/start/tasks/"+task, "", 200, ""), "last_heartbeat_ts"); len(v) != 10 {
			t.Errorf("heartbeat is %s", v)
		}
	})
}

func TestMetadata(t *testing.T) {
	overAll(t, func(t *testing.T, a *api) {
		run, task := started(a)
		path := "/flows/F/runs/" + run + "/steps/start/tasks/" + task + "/metadata"
		got := a.want("POST", path, `[{"field_name":"attempt","value":"0","type":"attempt","user_name":"ann","tags":["attempt_id:0"],"system_tags":null},
			{}, {"value":5}, {"value":true}, {"value":1.5}, {"value":null}, {"value":{}}, {"field_name":"`+strings.Repeat("x", 256)+`"},
			{"field_name":"q'\" ü\n","value":"'; DROP TABLE runs_v3; --"}]`, 200, `{"metadata_created":6}`)
		if versionOf(got.head) != nil || got.head.Get("Content-Type") != "text/plain; charset=utf-8" {
			t.Errorf("headers %v", got.head)
		}
		list := parse(t, a.want("GET", path, "", 200, "").body).([]any)
		if len(list) != 6 {
			t.Fatalf("%d rows", len(list))
		}
		var values []any
		for _, m := range list {
			values = append(values, m.(map[string]any)["value"])
		}
		if diff := cmp.Diff([]any{"'; DROP TABLE runs_v3; --", "1.5", "true", "5", " ", "0"}, values); diff != "" {
			t.Error(diff)
		}
		first := `{"id":"<any>","flow_id":"F","run_number":` + run + `,"step_name":"start","task_id":` + task +
			`,"field_name":"attempt","value":"0","type":"attempt","user_name":"ann","ts_epoch":"<any>","tags":["attempt_id:0"],"system_tags":null}`
		if !fit(list[5], parse(t, first)) {
			t.Errorf("got %v, want %s", list[5], first)
		}
		all := parse(t, a.want("GET", "/flows/F/runs/"+run+"/metadata", "", 200, "").body).([]any)
		if len(all) != 6 {
			t.Errorf("%d rows of the run", len(all))
		}
		a.want("GET", "/flows/F/runs/none/metadata", "", 200, `[]`)
		a.want("GET", strings.Replace(path, "start", "none", 1), "", 200, `[]`)
		const parent = `{"message":"need to register run_id and task_id first"}`
		for _, p := range []string{strings.Replace(path, "/F/", "/G/", 1), strings.Replace(path, "start", "none", 1), strings.Replace(path, "/tasks/"+task, "/tasks/876543", 1)} {
			a.want("POST", p, `[{"field_name":"x"}]`, 400, parent)
			a.want("POST", p, `{}`, 400, parent)
			a.want("POST", p, `[]`, 400, parent)
		}
		a.want("POST", path, `[]`, 200, `{"metadata_created":0}`)
		a.text("POST", path, `{}`, 500, "500: ")
		a.text("POST", path, `[1]`, 500, "500: ")
		a.text("POST", path, `[`, 500, "500: ")

		filtered := "/flows/F/runs/" + run + "/steps/start/filtered_tasks"
		spec := `["F/` + run + `/start/` + task + `"]`
		a.want("GET", filtered, "", 200, spec)
		a.want("GET", filtered+"?metadata_field_name=attempt&pattern=%5E0%24", "", 200, spec)
		a.want("GET", filtered+"?metadata_field_name=attempt&pattern=1", "", 200, `[]`)
		a.want("GET", filtered+"?pattern=%5B", "", 500, "")
		a.want("GET", "/flows/F/runs/none/steps/start/filtered_tasks", "", 200, `[]`)
	})
}

func TestArtifacts(t *testing.T) {
	overAll(t, func(t *testing.T, a *api) {
		run, task := started(a)
		base := "/flows/F/runs/" + run + "/steps/start/tasks/" + task
		row := func(name string, attempt int) string {
			return fmt.Sprintf(`{"name":%q,"location":"l","ds_type":"s3","sha":"00ff","type":"metaflow.artifact","content_type":"pickle-v4","user_name":"ann","attempt_id":%d,"tags":["x"],"system_tags":["y"]}`, name, attempt)
		}
		shown := func(name string, attempt int) string {
			return fmt.Sprintf(`{"flow_id":"F","run_number":%s,"step_name":"start","task_id":%s,"name":%q,"location":"l","ds_type":"s3","sha":"00ff","type":"metaflow.artifact","content_type":"pickle-v4","user_name":"ann","attempt_id":%d,"ts_epoch":"<any>",%s}`,
				run, task, name, attempt, tags)
		}
		a.want("GET", base+"/artifacts", "", 200, `[]`)
		a.want("GET", base+"/attempt/x/artifacts", "", 200, `[]`)
		a.want("POST", base+"/artifact", `[`+row("name", 0)+`,`+row("old", 0)+`,`+row("old", 0)+`,{"name":null},{"attempt_id":"x"},{"sha":[]}]`, 200, `{"artifacts_created":2}`)
		time.Sleep(2 * time.Millisecond) // the next rows are to be newer
		a.want("POST", base+"/artifact", `[`+row("name", 1)+`]`, 200, `{"artifacts_created":1}`)
		a.want("POST", base+"/artifact", `[`+row("name", 1)+`]`, 200, `{"artifacts_created":0}`)
		for _, p := range []string{base, "/flows/F/runs/" + run + "/steps/start", "/flows/F/runs/" + run} {
			a.want("GET", p+"/artifacts", "", 200, `[`+shown("name", 1)+`]`)
			got := a.want("GET", p+"/artifacts?_limit=1", "", 200, "")
			next := a.want("GET", p+"/artifacts?_limit=1&_cursor="+got.head.Get("X-Next-Cursor"), "", 200, "")
			names := []string{member1(t, got, "name"), member1(t, next, "name")}
			if diff := cmp.Diff([]string{"name", "old"}, names); diff != "" || next.head.Get("X-Next-Cursor") != "" {
				t.Error(diff, next.head)
			}
		}
		a.want("GET", base+"/artifacts/name", "", 200, shown("name", 1))
		a.want("GET", base+"/artifacts/old", "", 404, `{}`)
		a.want("GET", base+"/artifacts/name/attempt/0", "", 200, shown("name", 0))
		a.want("GET", base+"/artifacts/name/attempt/7", "", 404, `{}`)
		a.want("GET", base+"/artifacts/name/attempt/x", "", 500, "")
		got := a.want("GET", base+"/attempt/0/artifacts", "", 200, "")
		if n := len(parse(t, got.body).([]any)); n != 2 || versionOf(got.head) != nil {
			t.Errorf("%d artifacts of attempt 0, headers %v", n, got.head)
		}
		a.want("GET", base+"/attempt/9/artifacts", "", 200, `[]`)
		a.text("GET", base+"/attempt/x/artifacts", "", 500, "500: ")
		a.want("POST", "/flows/F/runs/"+run+"/steps/none/tasks/1/artifact", `[`+row("a", 0)+`]`, 400, `{"message":"need to register run_id and task_id first"}`)
		blank := a.want("POST", base+"/artifact", `[{"attempt_id":2,"user_name":null}]`, 200, `{"artifacts_created":1}`)
		if versionOf(blank.head) != nil {
			t.Error("a version header")
		}
		got = a.want("GET", base+"/attempt/2/artifacts", "", 200, "")
		if member1(t, got, "sha") != " " || member1(t, got, "name") != " " || member1(t, got, "user_name") != "<nil>" {
			t.Error(got.body)
		}
	})
}

// member1 is member of a list's first element.
func member1(t *testing.T, r result, name string) string {
	t.Helper()
	list, ok := parse(t, r.body).([]any)
	if !ok || len(list) == 0 {
		t.Fatalf("no list with rows: %s", r.body)
	}
	return fmt.Sprint(list[0].(map[string]any)[name])
}
