package server

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOwnRoutes(t *testing.T) {
	a := newAPI(t, Config{DB: newMemDB(), Store: newMemStore(), Version: "1"})
	got := a.want("POST", "/mf/v1/runs", `{"FlowID":"F","UserName":"ann","Tags":["x"],"SystemTags":["s"],"Status":"running"}`, 200, "")
	if got.head.Get("Content-Type") != "application/json" {
		t.Error(got.head)
	}
	id := member(t, got, "RunID")
	base := "/mf/v1/flows/F/runs/" + id
	a.want("POST", "/mf/v1/runs", `{"FlowID":"F","RunID":"`+id+`"}`, 409, `{"code":"exists","message":"<any>"}`)
	a.want("POST", "/mf/v1/runs", `{"FlowID":"F","Tags":[""]}`, 422, `{"code":"invalid_tag","message":"<any>"}`)
	for _, bad := range []string{`{}`, `[]`, `{`, ``, `{"FlowID":5}`} {
		a.want("POST", "/mf/v1/runs", bad, 400, `{"code":"invalid","message":"<any>"}`)
	}
	a.want("PUT", base, `{"Status":"failed","FinishedMs":5,"Failure":"it broke"}`, 200, `{}`)
	a.want("PUT", "/mf/v1/flows/F/runs/none", `{"Status":"failed"}`, 404, `{"code":"not_found","message":"<any>"}`)
	run := a.want("GET", base, "", 200, "")
	if member(t, run, "Status") != "failed" || member(t, run, "Failure") != "it broke" {
		t.Error(run.body)
	}
	a.want("GET", "/mf/v1/flows/F/runs/none", "", 404, `{"code":"not_found","message":"<any>"}`)
	a.want("GET", "/mf/v1/runs?flow=none", "", 200, `[]`)
	if member1(t, a.want("GET", "/mf/v1/runs?status=failed&tag=x&tag=s&limit=1", "", 200, ""), "RunID") != id {
		t.Error("the run is not listed")
	}
	a.want("GET", "/mf/v1/runs?limit=-1", "", 400, `{"code":"invalid","message":"<any>"}`)

	ids := fmt.Sprintf(`"FlowID":"F","RunID":%q,"StepName":"s"`, id)
	batch := `{"Steps":[{` + ids + `}],"Tasks":[{` + ids + `,"TaskID":"0"}],"Metadata":[{` + ids + `,"TaskID":"0","FieldName":"f","Value":"v","TsEpoch":7,"Tags":["attempt_id:0"]}],
		"Artifacts":[{` + ids + `,"TaskID":"0","Name":"x","Sha":"00"}]}`
	a.want("POST", "/mf/v1/record", batch, 200, `{}`)
	// A retry adds no metadata row twice; a new request does.
	a.want("POST", "/mf/v1/record", `{"Retry":true,`+batch[1:], 200, `{}`)
	if n := len(parse(t, a.want("GET", base+"/metadata?step=s&task=0", "", 200, "").body).([]any)); n != 1 {
		t.Errorf("%d rows after a retry", n)
	}
	a.want("POST", "/mf/v1/record", batch, 200, `{}`)
	if n := len(parse(t, a.want("GET", base+"/metadata", "", 200, "").body).([]any)); n != 2 {
		t.Errorf("%d rows", n)
	}
	a.want("POST", "/mf/v1/record", `{"Steps":[{"FlowID":"F","RunID":"none","StepName":"s"}]}`, 404, `{"code":"not_found","message":"<any>"}`)
	a.want("POST", "/mf/v1/record", `{}`, 200, `{}`)
	if member1(t, a.want("GET", base+"/artifacts?step=s", "", 200, ""), "Sha") != "00" || member1(t, a.want("GET", base+"/tasks", "", 200, ""), "TaskID") != "0" {
		t.Error("rows are missing")
	}
	if id := member(t, a.want("POST", base+"/steps/t%2Fu/tasks", `{"UserName":"ann"}`, 200, ""), "StepName"); id != "t/u" {
		t.Errorf("step %q", id)
	}
	a.want("POST", base+"/steps/s/tasks", `{"TaskID":"0"}`, 409, `{"code":"exists","message":"<any>"}`)
	a.want("POST", "/mf/v1/flows/F/runs/none/steps/s/tasks", `{}`, 404, `{"code":"not_found","message":"<any>"}`)
	a.want("POST", "/mf/v1/heartbeat", fmt.Sprintf(`{"Flow":"F","Run":%q,"Tasks":[{"Step":"s","Task":"0"},{"Step":"s","Task":"unknown"}]}`, id), 200, `{"WaitSeconds":25}`)
}

func TestHeartbeatsGoToTheHeart(t *testing.T) {
	store := newMemStore()
	a := newAPI(t, Config{DB: newMemDB(), Store: store})
	a.want("POST", "/mf/v1/heartbeat", `{"Flow":"F","Run":"1","Tasks":[{"Step":"s","Task":"0"}]}`, 200, `{"WaitSeconds":25}`)
	if len(store.beats) != 1 || len(store.beats[0]) != 1 || store.beats[0][0].String() != "F/1/s/0" {
		t.Error(store.beats)
	}
}

func TestPackedRecord(t *testing.T) {
	a := newAPI(t, Config{DB: newMemDB(), Store: newMemStore()})
	a.want("POST", "/mf/v1/runs", `{"FlowID":"F","RunID":"r"}`, 200, "")
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	fmt.Fprint(w, `{"Steps":[{"FlowID":"F","RunID":"r","StepName":"s"}],"Tasks":[{"FlowID":"F","RunID":"r","StepName":"s","TaskID":"t"}]}`)
	_ = w.Close()
	a.head = http.Header{"Content-Encoding": {"gzip"}}
	a.want("POST", "/mf/v1/record", b.String(), 200, `{}`)
	a.head = nil
	if got := a.want("GET", "/mf/v1/flows/F/runs/r/tasks?step=s", "", 200, ""); !strings.Contains(got.body, `"TaskID":"t"`) {
		t.Error(got.body)
	}
}

// fill sets all fields of a struct to values that differ.
func fill(v any, texts []string) {
	e := reflect.ValueOf(v).Elem()
	for i := range e.NumField() {
		switch f := e.Field(i); f.Kind() {
		case reflect.String:
			f.SetString(e.Type().Field(i).Name + " \"ü<>&\n")
		case reflect.Slice:
			f.Set(reflect.ValueOf(texts))
		default:
			f.SetInt(int64(i) - 3)
		}
	}
}

func TestOwnRowsAreComplete(t *testing.T) {
	for _, texts := range [][]string{nil, {}, {"a", "\x01\"b"}} {
		checkRow(t, texts, appendOwnRun)
		checkRow(t, texts, appendOwnTask)
		checkRow(t, texts, appendOwnMetadatum)
		checkRow(t, texts, appendOwnArtifact)
	}
}

// checkRow reads what was appended as encoding/json does.
func checkRow[T any](t *testing.T, texts []string, one func([]byte, *T) []byte) {
	t.Helper()
	var row, zero, got T
	for _, want := range []*T{&zero, &row} {
		text := one(nil, want)
		got = *new(T)
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		if err := d.Decode(&got); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if diff := cmp.Diff(*want, got); diff != "" {
			t.Error(diff)
		}
		fill(&row, texts)
	}
}
