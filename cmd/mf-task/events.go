package main

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/mf-run/mf/cmd/internal/stores"
	"github.com/mf-run/mf/ir"
	"github.com/mf-run/mf/runtime"
	"github.com/mf-run/mf/runtime/notify"
)

const (
	// envEventsAuth is "service" where the webhook wants what the metadata service does.
	envEventsAuth = "METAFLOW_ARGO_EVENTS_WEBHOOK_AUTH"
	// publishTimeout bounds how long the end of a run is published.
	publishTimeout = 2 * time.Minute
)

// publish tells other flows that the run has succeeded, where there is an address for it. That it could not be told fails
// nothing: the run has succeeded.
func (w *work) publish(ctx context.Context) {
	address := w.env(ir.EnvEventsURL)
	if address == "" || w.flow == nil || w.req.Step != w.flow.End || ctx.Err() != nil {
		return
	}
	f := notify.Finished{Flow: w.req.Flow, Run: w.req.Run, Step: w.req.Step, Task: runtime.TaskID(nil, ir.NoIteration), At: w.now()}
	if p := w.invoked.Run.Project; p != nil {
		f.Project = &notify.Project{Name: p.Name, Branch: p.Branch, Production: p.IsProduction, IsUser: p.IsUserBranch}
	}
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	if err := f.Publish(ctx, &notify.Poster{}, address, w.eventHeaders()); err != nil {
		w.warn("%v; flows that wait for the end of this run are not started", err)
	}
}

// eventHeaders authorize at the webhook.
func (p *program) eventHeaders() map[string]string {
	headers := map[string]string{}
	if p.env(envEventsAuth) == "service" {
		// What is no JSON object has been reported where the service was opened.
		_ = json.Unmarshal([]byte(p.env(stores.EnvServiceHeaders)), &headers)
		if key := p.env(stores.EnvServiceKey); key != "" {
			headers["x-api-key"] = key
		}
	}
	if token := p.env(ir.EnvEventsToken); token != "" {
		headers["Authorization"] = "Bearer " + token
	}
	return headers
}

// triggers returns what started the run, as Metaflow records it with the start task; empty where no event did.
func (p *program) triggers() string {
	type trigger struct {
		Timestamp any    `json:"timestamp"`
		ID        any    `json:"id"`
		Name      any    `json:"name"`
		Type      string `json:"type"`
	}
	var list []trigger
	for _, kv := range p.environ {
		rest, ok := strings.CutPrefix(kv, ir.EnvEventPayloadPrefix)
		name, text, _ := strings.Cut(rest, "=")
		if !ok || text == "" || text == "null" {
			continue
		}
		kind, _, _ := strings.Cut(name, "_")
		t := trigger{}
		dec := json.NewDecoder(strings.NewReader(text))
		dec.UseNumber()
		_ = dec.Decode(&t) // an event of others may hold anything
		t.Type = kind
		list = append(list, t)
	}
	if len(list) == 0 {
		return ""
	}
	// Made of what was JSON.
	out, _ := json.Marshal(list)
	return string(out)
}
