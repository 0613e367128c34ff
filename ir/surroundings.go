package ir

// What backends put into a container's environment about what is around a run, and mf-task reads.
const (
	// EnvEventsURL is the address to which events are published, that of a webhook event source; unset means nowhere.
	EnvEventsURL = "MF_EVENTS_URL"
	// EnvEventsToken is the bearer token for EnvEventsURL. It is a secret: backends never set it.
	EnvEventsToken = "MF_EVENTS_TOKEN"
	// EnvEventPayloadPrefix + "event_" or "run_" + any name is the payload of an event that started the run, a JSON object
	// or null. The name is Metaflow's.
	EnvEventPayloadPrefix = "METAFLOW_ARGO_EVENT_PAYLOAD_"
	// EnvNotifyOn says when an exit invocation notifies: NotifyError, NotifySuccess or NotifyBoth; unset means never.
	EnvNotifyOn = "MF_NOTIFY_ON"
	// EnvFailures is what the engine says of the nodes that failed, for an exit invocation: a JSON array of objects, which
	// may be quoted as a text and may be cut off anywhere.
	EnvFailures = "MF_ENGINE_FAILURES"
	// EnvRunURL is the address of a page that shows the run, for notifications; unset means none.
	EnvRunURL = "MF_RUN_URL"
)

// The values of EnvNotifyOn.
const (
	NotifyError   = "error"
	NotifySuccess = "success"
	NotifyBoth    = "both"
)

// Where an exit invocation notifies. They are secrets: backends name a secret that holds them, and never their values.
const (
	// EnvNotifySlack is the URL of an incoming webhook of Slack.
	EnvNotifySlack = "MF_NOTIFY_SLACK_URL"
	// EnvNotifyPagerDuty is the integration key (routing key) of a service of PagerDuty.
	EnvNotifyPagerDuty = "MF_NOTIFY_PAGERDUTY_KEY"
	// EnvNotifyWebhook is a URL to which a JSON object is posted.
	EnvNotifyWebhook = "MF_NOTIFY_WEBHOOK_URL"
)

// FinishedEvent is the name of the event that a run's end publishes, Metaflow's. Without a @project, project and branch
// are empty.
func FinishedEvent(project, branch, flow string) string {
	if project != "" {
		flow = project + "." + branch + "." + flow
	}
	return "metaflow." + flow + ".end"
}
