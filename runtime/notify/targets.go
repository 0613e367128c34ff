package notify

import (
	"cmp"
	"context"
	"fmt"
	"strings"
)

// Outcome is how a run ended.
type Outcome struct {
	Flow string `json:"flow"`
	Run  string `json:"run"`
	// Success is false for a run that failed, was stopped or was lost; Status is the engine's word.
	Success bool   `json:"success"`
	Status  string `json:"status"`
	// Engine is Metaflow's name of it.
	Engine string `json:"engine,omitempty"`
	// Failure is what is known of the reason, one line.
	Failure string `json:"failure,omitempty"`
	// Project and Branch are those of @project.
	Project string `json:"project,omitempty"`
	Branch  string `json:"branch,omitempty"`
	// Page is the address of a page that shows the run.
	Page string `json:"url,omitempty"`
}

// Pathspec is Flow/run.
func (o Outcome) Pathspec() string { return o.Flow + "/" + o.Run }

// Summary is the outcome in one line.
func (o Outcome) Summary() string {
	if o.Success {
		return o.Pathspec() + " succeeded"
	}
	text := o.Pathspec() + " failed"
	if o.Failure != "" {
		text += ": " + o.Failure
	}
	return text
}

// Targets are those that are told. All are secrets; empty for not at all.
type Targets struct {
	// Slack is the URL of an incoming webhook.
	Slack string
	// PagerDuty is the integration key of a service (Events API v2).
	PagerDuty string
	// PagerDutyURL is where PagerDuty's API is; empty for DefaultPagerDutyURL.
	PagerDutyURL string
	// Webhook is a URL that an Outcome is posted to.
	Webhook string
}

// DefaultPagerDutyURL is where the Events API is for accounts outside the EU.
const DefaultPagerDutyURL = "https://events.pagerduty.com"

// None reports whether nobody is told.
func (t Targets) None() bool { return t.Slack == "" && t.PagerDuty == "" && t.Webhook == "" }

// Tell tells all of them, whoever fails, and returns what went wrong.
func (t Targets) Tell(ctx context.Context, p *Poster, o Outcome) []error {
	var errs []error
	tell := func(who, address string, body any) {
		if err := p.Post(ctx, address, nil, body); err != nil {
			errs = append(errs, fmt.Errorf("notifying %s: %w", who, err))
		}
	}
	if t.Slack != "" {
		tell("Slack", t.Slack, slackMessage(o))
	}
	if t.PagerDuty != "" {
		path, body := t.pagerDutyEvent(o)
		tell("PagerDuty", strings.TrimSuffix(cmp.Or(t.PagerDutyURL, DefaultPagerDutyURL), "/")+path, body)
	}
	if t.Webhook != "" {
		tell("the webhook", t.Webhook, o)
	}
	return errs
}

func slackMessage(o Outcome) any {
	sign := ":rotating_light: "
	if o.Success {
		sign = ":white_check_mark: "
	}
	// The three characters that Slack reads as markup.
	text := sign + strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(o.Summary())
	if o.Page != "" {
		text += " <" + o.Page + "|show>"
	}
	return map[string]string{"text": text}
}

// maxPagerDutySummary is the longest summary that PagerDuty takes.
const maxPagerDutySummary = 1024

// pagerDutyEvent raises an alert for a failure, and records a success as a change.
func (t Targets) pagerDutyEvent(o Outcome) (path string, body any) {
	summary := o.Summary()
	if runes := []rune(summary); len(runes) > maxPagerDutySummary {
		summary = string(runes[:maxPagerDutySummary-1]) + "…"
	}
	details := map[string]string{"flow": o.Flow, "run": o.Run, "status": o.Status}
	if o.Project != "" {
		details["project"], details["branch"] = o.Project, o.Branch
	}
	payload := map[string]any{"summary": summary, "source": o.Pathspec(), "custom_details": details}
	event := map[string]any{"routing_key": t.PagerDuty, "payload": payload}
	if o.Page != "" {
		event["links"] = []any{map[string]string{"href": o.Page, "text": "the run"}}
	}
	if o.Success {
		return "/v2/change/enqueue", event
	}
	payload["severity"] = "error"
	// Several words about one run are one alert.
	event["event_action"], event["dedup_key"] = "trigger", o.Pathspec()
	return "/v2/enqueue", event
}
