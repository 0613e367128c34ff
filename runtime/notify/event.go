package notify

import (
	"context"
	"fmt"
	"time"

	"github.com/mf-run/mf/ir"
)

// Finished is the end step of a run that succeeded.
type Finished struct {
	Flow, Run, Step, Task string
	// Project is nil without @project.
	Project *Project
	// At is when.
	At time.Time
}

// Project is the deployment's place in a @project.
type Project struct {
	Name, Branch       string
	Production, IsUser bool
}

// Publish publishes the event that @trigger_on_finish of other flows waits for, Metaflow's or mf's, to a webhook of Argo
// Events. It may be published more than once; its id is the same then.
func (f Finished) Publish(ctx context.Context, p *Poster, address string, headers map[string]string) error {
	name, payload := f.event()
	if err := p.Post(ctx, address, headers, map[string]any{"name": name, "payload": payload}); err != nil {
		return fmt.Errorf("publishing the event %s: %w", name, err)
	}
	return nil
}

// event has Metaflow's fields. Those that are true are Python's text for it, by which sensors choose.
func (f Finished) event() (name string, payload map[string]any) {
	const yes = "True"
	pathspec := f.Flow + "/" + f.Run + "/" + f.Step + "/" + f.Task
	payload = map[string]any{
		"id": pathspec, "pathspec": pathspec, "flow_name": f.Flow, "run_id": f.Run, "step_name": f.Step, "task_id": f.Task,
		"timestamp": f.At.Unix(), "utc_date": f.At.UTC().Format("20060102"),
		"generated-by-metaflow": true, "auto-generated-by-metaflow": yes,
	}
	name = ir.FinishedEvent("", "", f.Flow)
	if p := f.Project; p != nil {
		name = ir.FinishedEvent(p.Name, p.Branch, f.Flow)
		payload["project_name"], payload["branch_name"] = p.Name, p.Branch
		payload["project_flow_name"] = p.Name + "." + p.Branch + "." + f.Flow
		if p.Production {
			payload["is_production"] = yes
		}
		if p.IsUser {
			payload["is_user_branch"] = yes
		}
	}
	payload["name"] = name
	return name, payload
}
