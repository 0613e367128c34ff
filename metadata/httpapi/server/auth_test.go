package server

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/token"
)

// memTokens is a token.Store in memory.
type memTokens struct {
	mu    sync.Mutex
	rows  map[string]token.Token
	asked atomic.Int64
	fault error
}

func (m *memTokens) AddToken(_ context.Context, t token.Token) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.rows == nil {
		m.rows = map[string]token.Token{}
	}
	m.rows[t.ID] = t
	return nil
}

func (m *memTokens) Tokens(context.Context) ([]token.Token, error) { return nil, nil }

func (m *memTokens) Token(_ context.Context, id string) (token.Token, error) {
	m.asked.Add(1)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fault != nil {
		return token.Token{}, m.fault
	}
	if t, ok := m.rows[id]; ok {
		return t, nil
	}
	return token.Token{}, metadata.ErrNotFound
}

func (m *memTokens) RevokeToken(_ context.Context, id string, now time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.rows[id]
	t.Revoked = now
	m.rows[id] = t
	return nil
}

// make stores a token and returns its text.
func (m *memTokens) make(t *testing.T, row token.Token) (text, id string) {
	t.Helper()
	made, text, err := token.New(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	row.ID, row.Hash = made.ID, made.Hash
	_ = m.AddToken(context.Background(), row)
	return text, made.ID
}

// as returns the same server called with a token.
func (a *api) as(t *testing.T, text string) *api {
	return &api{t: t, h: a.h, head: http.Header{"Authorization": {"Bearer " + text}}}
}

func TestTokensAreAsked(t *testing.T) {
	tokens := &memTokens{}
	now := time.Now()
	var logged bytes.Buffer
	a := newAPI(t, Config{DB: newMemDB(), Store: newMemStore(), Tokens: tokens, Now: func() time.Time { return now },
		Logger: slog.New(slog.NewJSONHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	good, id := tokens.make(t, token.Token{Role: token.Write})
	expired, _ := tokens.make(t, token.Token{Role: token.Write, Expires: now.Add(-time.Second)})
	revoked, _ := tokens.make(t, token.Token{Role: token.Write, Revoked: now.Add(-time.Second)})
	unknown := "mf_000000000000_" + strings.Repeat("x", 43)

	body := ""
	for name, head := range map[string]http.Header{
		"none": {}, "unknown": {"Authorization": {"Bearer " + unknown}}, "expired": {"Authorization": {"Bearer " + expired}},
		"revoked": {"Authorization": {"Bearer " + revoked}}, "wrong secret": {"Authorization": {"Bearer " + good[:len(good)-43] + strings.Repeat("A", 43)}},
		"basic": {"Authorization": {"Basic " + good}}, "garbage": {"X-Api-Key": {"garbage"}}, "empty": {"Authorization": {""}},
	} {
		b := &api{t: t, h: a.h, head: head}
		for _, r := range []result{b.do("GET", "/flows", ""), b.do("POST", "/flows/F", "{}"), b.do("GET", "/metrics", ""), b.do("GET", "/auth/token", "")} {
			if r.status != 401 || !strings.HasPrefix(r.head.Get("WWW-Authenticate"), "Bearer") {
				t.Errorf("%s: %d %v", name, r.status, r.head)
			}
			if body == "" {
				body = r.body
			}
			if r.body != body {
				t.Errorf("%s: another text: %s", name, r.body)
			}
		}
		b.want("GET", "/mf/v1/info", "", 401, `{"code":"unauthorized","message":"<any>"}`)
	}
	for _, open := range []string{"/ping", "/version", "/healthcheck"} {
		a.text("GET", open, "", 200, "")
	}
	a.as(t, good).want("GET", "/flows", "", 200, "[]")
	a.as(t, good).text("GET", "/metrics", "", 200, "mf_service_")
	(&api{t: t, h: a.h, head: http.Header{"X-Api-Key": {good}}}).want("GET", "/flows", "", 200, "[]")
	(&api{t: t, h: a.h, head: http.Header{"Authorization": {"bearer " + good}}}).want("GET", "/flows", "", 200, "[]")

	behind := http.Header{"Authorization": {"Bearer eyJ0"}, "X-Api-Key": {good}} // a proxy's own token beside ours
	(&api{t: t, h: a.h, head: behind}).want("GET", "/flows", "", 200, "[]")

	// A valid token is remembered for five seconds, and no longer.
	asked := tokens.asked.Load()
	a.as(t, good).want("GET", "/flows", "", 200, "")
	_ = tokens.RevokeToken(context.Background(), id, now)
	now = now.Add(4 * time.Second)
	a.as(t, good).want("GET", "/flows", "", 200, "")
	if n := tokens.asked.Load(); n != asked {
		t.Errorf("the database was asked %d more times", n-asked)
	}
	now = now.Add(time.Second)
	a.as(t, good).want("GET", "/flows", "", 401, "")

	tokens.fault = fmt.Errorf("away: %w", metadata.ErrUnavailable)
	a.as(t, good).want("GET", "/flows", "", 503, "")
	for _, secret := range []string{good[len(good)-43:], expired[len(expired)-43:], "Authorization", "Bearer"} {
		if strings.Contains(logged.String(), secret) {
			t.Errorf("the log tells %q", secret)
		}
	}
	if !strings.Contains(logged.String(), `"token":"`+id+`"`) {
		t.Error("the log does not tell the token's id")
	}
}

// shared is a server with runs of two flows and two projects, in Metaflow's tables and in mf's store: F has a run of
// project p and one of none, G one of project q that says p in a user tag.
func shared(t *testing.T) (a *api, tokens *memTokens, ids map[string]string) {
	t.Helper()
	tokens = &memTokens{}
	store := newMemStore()
	a = newAPI(t, Config{DB: newMemDB(), Store: store, Tokens: tokens})
	text, _ := tokens.make(t, token.Token{Role: token.Admin})
	admin := a.as(t, text)
	ids = map[string]string{}
	for _, flow := range []string{"F", "G"} {
		admin.want("POST", "/flows/"+flow, "{}", 200, "")
	}
	for _, r := range [][4]string{
		{"Fp", "F", "project:p", "x"}, {"F0", "F", "none", "x"}, {"Gq", "G", "project:q", "project:p"},
	} {
		body := fmt.Sprintf(`{"system_tags":[%q],"tags":[%q]}`, r[2], r[3])
		ids[r[0]] = member(t, admin.want("POST", "/flows/"+r[1]+"/run", body, 200, ""), "run_number")
		base := "/flows/" + r[1] + "/runs/" + ids[r[0]]
		admin.want("POST", base+"/steps/s/step", "{}", 200, "")
		ids[r[0]+"task"] = member(t, admin.want("POST", base+"/steps/s/task", "{}", 200, ""), "task_id")
		_, err := store.CreateRun(context.Background(), metadata.Run{FlowID: r[1], RunID: ids[r[0]], SystemTags: []string{r[2]}, Tags: []string{r[3]}})
		if err != nil {
			t.Fatal(err)
		}
	}
	return a, tokens, ids
}

func TestTokenScopes(t *testing.T) {
	a, tokens, ids := shared(t)
	everything := "Fp F0 Gq"
	for _, c := range []struct {
		name  string
		token token.Token
		// runs are those it may use, flows those that it sees in the list, create where it may make runs: flow/project.
		runs, flows, create string
	}{
		{"all", token.Token{Role: token.Write}, everything, "G F", "F/p F/- G/q"},
		{"admin", token.Token{Role: token.Admin}, everything, "G F", "F/p F/- G/q"},
		{"reader", token.Token{Role: token.Read}, everything, "G F", ""},
		{"flow F", token.Token{Role: token.Write, Flows: []string{"F"}}, "Fp F0", "F", "F/p F/-"},
		{"project p", token.Token{Role: token.Write, Projects: []string{"p"}}, "Fp", "", "F/p"},
		{"project q", token.Token{Role: token.Write, Projects: []string{"q"}}, "Gq", "", "G/q"},
		{"project q or flow F", token.Token{Role: token.Write, Flows: []string{"F"}, Projects: []string{"q"}}, everything, "F", "F/p F/- G/q"},
		{"reader of q", token.Token{Role: token.Read, Projects: []string{"q", "r"}}, "Gq", "", ""},
		{"nothing there", token.Token{Role: token.Write, Flows: []string{"H"}}, "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			text, _ := tokens.make(t, c.token)
			b := a.as(t, text)
			writes := c.token.Role != token.Read
			for _, id := range strings.Fields(everything) {
				may := strings.Contains(" "+c.runs+" ", " "+id+" ")
				base := "/flows/" + id[:1] + "/runs/" + ids[id]
				checkRun(t, b, base, ids[id+"task"], may, writes)
				checkOwn(t, b, id[:1], ids[id], may, writes)
			}
			got := parse(t, b.want("GET", "/flows", "", 200, "").body).([]any)
			var flows []string
			for _, f := range got {
				flows = append(flows, f.(map[string]any)["flow_id"].(string))
			}
			if got, want := strings.Join(sortedTexts(flows), " "), strings.Join(sortedTexts(strings.Fields(c.flows)), " "); got != want {
				t.Errorf("flows %q, want %q", got, want)
			}
			checkLists(t, b, c.token, c.runs, ids)
			for _, make := range []string{"F/p", "F/-", "G/q"} {
				status := 403
				if strings.Contains(c.create, make) {
					status = 200
				}
				flow, project, _ := strings.Cut(make, "/")
				made := b.want("POST", "/flows/"+flow+"/run", `{"run_number":"new-`+c.name+project+`","system_tags":["project:`+project+`"]}`, status, "")
				if status == 200 && !strings.Contains(made.body, "new-") {
					t.Error(made.body)
				}
				b.want("POST", "/mf/v1/runs", fmt.Sprintf(`{"FlowID":%q,"RunID":"new-%s-%s","SystemTags":["project:%s"]}`, flow, c.name, project, project), status, "")
			}
		})
	}
}

// checkRun does every kind of request about a run.
func checkRun(t *testing.T, b *api, base, task string, may, writes bool) {
	t.Helper()
	taskPath := base + "/steps/s/tasks/" + task
	for _, path := range []string{base, base + "/steps", base + "/metadata", base + "/artifacts", base + "/steps/s", base + "/steps/s/tasks",
		base + "/steps/s/filtered_tasks", base + "/steps/s/artifacts", taskPath, taskPath + "/metadata", taskPath + "/artifacts", taskPath + "/attempt/0/artifacts"} {
		if got := b.do("GET", path, ""); got.status != statusIf(may) {
			t.Errorf("GET %s: %d %s", path, got.status, got.body)
		}
	}
	for _, r := range [][3]string{
		{"POST", base + "/heartbeat", ""}, {"POST", taskPath + "/heartbeat", ""}, {"PATCH", base + "/tag/mutate", `{}`},
		{"POST", taskPath + "/metadata", `[{}]`}, {"POST", taskPath + "/artifact", `[]`}, {"POST", base + "/steps/s/task", `{}`},
	} {
		if got := b.do(r[0], r[1], r[2]); got.status != statusIf(may && writes) {
			t.Errorf("%s %s: %d %s", r[0], r[1], got.status, got.body)
		}
	}
}

func statusIf(may bool) int {
	if may {
		return 200
	}
	return 403
}

// checkOwn does every kind of request about a run on mf's routes.
func checkOwn(t *testing.T, b *api, flow, run string, may, writes bool) {
	t.Helper()
	base := "/mf/v1/flows/" + flow + "/runs/" + run
	for _, path := range []string{base, base + "/tasks", base + "/metadata?step=s", base + "/artifacts"} {
		if got := b.do("GET", path, ""); got.status != statusIf(may) {
			t.Errorf("GET %s: %d %s", path, got.status, got.body)
		}
	}
	step := fmt.Sprintf(`{"FlowID":%q,"RunID":%q,"StepName":"s"}`, flow, run)
	for _, r := range [][3]string{
		{"PUT", base, `{"Status":"running"}`}, {"POST", base + "/steps/s/tasks", `{}`},
		{"POST", "/mf/v1/record", `{"Steps":[` + step + `]}`},
		{"POST", "/mf/v1/heartbeat", fmt.Sprintf(`{"Flow":%q,"Run":%q}`, flow, run)},
	} {
		if got := b.do(r[0], r[1], r[2]); got.status != statusIf(may && writes) {
			t.Errorf("%s %s: %d %s", r[0], r[1], got.status, got.body)
		}
	}
	// One row of another run spoils a batch.
	row := fmt.Sprintf(`{"FlowID":%q,"RunID":%q,"StepName":"s","TaskID":"spoilt"}`, flow, run)
	got := b.do("POST", "/mf/v1/record", `{"Tasks":[`+row+`],"Artifacts":[{"FlowID":"other","RunID":"1","StepName":"s","TaskID":"1","Name":"x"}]}`)
	if got.status == 200 {
		t.Errorf("a batch for another flow was recorded: %s", got.body)
	}
	if may {
		if list := b.do("GET", base+"/tasks", ""); strings.Contains(list.body, "spoilt") {
			t.Errorf("a part of a refused batch was recorded: %s", list.body)
		}
	}
}

// checkLists lists runs in all ways.
func checkLists(t *testing.T, b *api, limits token.Token, runs string, ids map[string]string) {
	t.Helper()
	known := map[string]string{}
	for _, name := range []string{"Fp", "F0", "Gq"} {
		known[name[:1]+"/"+ids[name]] = name
	}
	names := func(r result, flow, run string) string {
		var seen []string
		for _, row := range parse(t, r.body).([]any) {
			m := row.(map[string]any)
			if name, ok := known[fmt.Sprint(m[flow])+"/"+fmt.Sprint(m[run])]; ok {
				seen = append(seen, name)
			}
		}
		return strings.Join(sortedTexts(seen), " ")
	}
	var all []string
	for _, flow := range []string{"F", "G"} {
		var want []string
		for _, r := range strings.Fields(runs) {
			if r[:1] == flow {
				want = append(want, r)
				all = append(all, r)
			}
		}
		status := 200
		if len(limits.Flows) > 0 && len(limits.Projects) == 0 && limits.Flows[0] != flow {
			status = 403
		}
		for _, query := range []string{"", "?_limit=500", "?_tags:any=project:p,project:q,none"} {
			got := b.want("GET", "/flows/"+flow+"/runs"+query, "", status, "")
			if status == 200 {
				if s := names(got, "flow_id", "run_number"); s != strings.Join(sortedTexts(want), " ") {
					t.Errorf("runs of %s%s: %q, want %q", flow, query, s, want)
				}
			}
		}
		got := b.want("GET", "/mf/v1/runs?flow="+flow, "", status, "")
		if status == 200 {
			if s := names(got, "FlowID", "RunID"); s != strings.Join(sortedTexts(want), " ") {
				t.Errorf("mf's runs of %s: %q, want %q", flow, s, want)
			}
		}
	}
	if s := names(b.want("GET", "/mf/v1/runs", "", 200, ""), "FlowID", "RunID"); s != strings.Join(sortedTexts(all), " ") {
		t.Errorf("mf's runs: %q, want %q", s, all)
	}
}

func TestProjectTokenOnAbsentRun(t *testing.T) {
	a, tokens, _ := shared(t)
	text, _ := tokens.make(t, token.Token{Role: token.Write, Projects: []string{"p"}})
	b := a.as(t, text)
	for _, path := range []string{"/flows/F/runs/4711", "/flows/F/runs/none/steps", "/flows/F/runs/none/steps/s/tasks"} {
		b.want("GET", path, "", 404, `{}`)
	}
	b.want("GET", "/mf/v1/flows/F/runs/none", "", 404, `{"code":"not_found","message":"<any>"}`)
	b.want("POST", "/mf/v1/heartbeat", `{"Flow":"F","Run":"none"}`, 200, `{"WaitSeconds":10}`)
	b.want("GET", "/flows/F", "", 200, "")
	b.want("POST", "/flows/New", "{}", 200, "")
	b.want("GET", "/mf/v1/runs?limit=x", "", 400, "")
	only, _ := tokens.make(t, token.Token{Role: token.Write, Flows: []string{"F"}})
	a.as(t, only).want("GET", "/flows/G", "", 403, "")
	a.as(t, only).want("POST", "/flows/G2", "{}", 403, "")
	a.as(t, only).want("GET", "/flows?_limit=1", "", 200, "")
}

func TestPagesOfOtherSites(t *testing.T) {
	a := newAPI(t, Config{DB: newMemDB(), Store: newMemStore()})
	for _, c := range []struct {
		head   http.Header
		status int
	}{
		{http.Header{"Origin": {"http://evil.example"}}, 403},
		{http.Header{"Origin": {"null"}}, 403},
		{http.Header{"Sec-Fetch-Site": {"cross-site"}, "Origin": {"http://service"}}, 403},
		{http.Header{"Sec-Fetch-Site": {"same-origin"}}, 409},
		{http.Header{"Origin": {"http://service"}}, 409},
		{nil, 409},
	} {
		a.head = nil
		a.do("POST", "/flows/F", "{}")
		a.head = c.head
		a.want("POST", "/flows/F", "{}", c.status, "")
		a.want("GET", "/flows/F", "", 200, "")
	}
}
