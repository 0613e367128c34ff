package argolive

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/mf-run/mf/backends/live"
)

// pod is what is read of a pod.
type pod struct {
	Metadata struct {
		Name        string            `json:"name"`
		Labels      map[string]string `json:"labels"`
		Annotations map[string]string `json:"annotations"`
	} `json:"metadata"`
	Spec struct {
		Containers []struct {
			Name      string `json:"name"`
			Resources struct {
				Requests map[string]string `json:"requests"`
			} `json:"resources"`
		} `json:"containers"`
	} `json:"spec"`
	Status struct {
		Phase      string    `json:"phase"`
		Reason     string    `json:"reason"`
		Message    string    `json:"message"`
		StartTime  time.Time `json:"startTime"`
		Conditions []struct {
			Type    string `json:"type"`
			Status  string `json:"status"`
			Reason  string `json:"reason"`
			Message string `json:"message"`
		} `json:"conditions"`
		InitContainers []container `json:"initContainerStatuses"`
		Containers     []container `json:"containerStatuses"`
	} `json:"status"`
	// event is the last warning about the pod.
	event string
}

type container struct {
	Name  string `json:"name"`
	Image string `json:"image"`
	State struct {
		Waiting *struct {
			Reason  string `json:"reason"`
			Message string `json:"message"`
		} `json:"waiting"`
		Terminated *struct {
			ExitCode int    `json:"exitCode"`
			Reason   string `json:"reason"`
			Message  string `json:"message"`
		} `json:"terminated"`
	} `json:"state"`
}

var podKind = &kind{name: "Pod", version: "v1", plural: "pods"}

// node is the id of the Workflow's node that the pod is for.
func (p *pod) node() string { return p.Metadata.Annotations["workflows.argoproj.io/node-id"] }

// pods returns the pods of a run that are not well; all of them where the run is under way. What may not be read is said
// in the notes: the rest of the status stands without.
func (e *Engine) pods(ctx context.Context, run string, phase live.Phase) (pods []pod, notes []string) {
	if phase == live.Succeeded {
		return nil, nil
	}
	query := map[string]string{"labelSelector": "workflows.argoproj.io/workflow=" + run}
	waiting := map[string]int{}
	err := list(ctx, e.api, podKind, query, "", func(p pod) {
		pods = append(pods, p)
		if p.Status.Phase == "Pending" {
			waiting[p.Metadata.Name] = len(pods) - 1
		}
	})
	if err != nil {
		return nil, []string{"what is wrong with pods could not be seen: " + err.Error()}
	}
	if len(waiting) == 0 {
		return pods, nil
	}
	events := &kind{name: "Event", version: "v1", plural: "events"}
	err = list(ctx, e.api, events, map[string]string{"fieldSelector": "involvedObject.kind=Pod,type=Warning"}, "", func(event struct {
		InvolvedObject struct{ Name string }
		Reason         string
		Message        string
	}) {
		if i, ok := waiting[event.InvolvedObject.Name]; ok {
			pods[i].event = event.Reason + ": " + event.Message
		}
	})
	if err != nil {
		notes = append(notes, "what holds pods up could not be seen in full: "+err.Error())
	}
	return pods, notes
}

// problem says in one line what keeps a pod from running or made it fail; empty for nothing.
func (p *pod) problem() string {
	if p.Status.Phase == "Succeeded" {
		return ""
	}
	for _, c := range append(p.Status.InitContainers[:len(p.Status.InitContainers):len(p.Status.InitContainers)], p.Status.Containers...) {
		if text := c.problem(); text != "" {
			return text
		}
	}
	if p.Status.Phase == "Failed" {
		return inWords(strings.TrimPrefix(p.Status.Reason+": "+p.Status.Message, ": "))
	}
	for _, c := range p.Status.Conditions {
		if c.Reason == "Unschedulable" {
			return "no node takes it" + p.requests(c.Message) + ": " + oneLine(c.Message)
		}
	}
	if p.Status.Phase == "Pending" && p.event != "" {
		return inWords(p.event)
	}
	return ""
}

// requests says what a step asks for, and where less of it, if that is why no node takes the pod.
func (p *pod) requests(message string) string {
	if !strings.Contains(message, "Insufficient") {
		return ""
	}
	for _, c := range p.Spec.Containers {
		var list []string
		for _, name := range []string{"cpu", "memory", "ephemeral-storage"} {
			if n := c.Resources.Requests[name]; n != "" {
				list = append(list, name+" "+n)
			}
		}
		if c.Name == "main" && len(list) > 0 {
			return fmt.Sprintf(" (it asks for %s; @resources, or the settings argo.cpu, argo.memory and argo.disk, ask for less)", strings.Join(list, ", "))
		}
	}
	return ""
}

func (c *container) problem() string {
	if w := c.State.Waiting; w != nil {
		switch w.Reason {
		case "", "PodInitializing", "ContainerCreating":
			return ""
		case "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable":
			return fmt.Sprintf("image %s cannot be pulled (%s): %s", c.Image, w.Reason, oneLine(w.Message))
		}
		return fmt.Sprintf("container %s cannot start (%s): %s", c.Name, w.Reason, oneLine(w.Message))
	}
	if t := c.State.Terminated; t != nil && t.ExitCode != 0 {
		return inWords(strings.TrimSuffix(fmt.Sprintf("%s: %s (exit code %d): %s", c.Name, t.Reason, t.ExitCode, t.Message), ": "))
	}
	return ""
}

// inWords adds to an engine's message what it means, where its word for it is known to few.
func inWords(message string) string {
	message = oneLine(message)
	for _, known := range []struct{ word, meaning string }{
		{"OOMKilled", "out of memory, give the step more"},
		{"Evicted", "the node was short of resources"},
		{"exit code 143", "it was told to stop"},
		{"FailedMount", "a volume or a secret is missing"},
		{"pod deleted", "somebody or the cluster removed the pod"},
	} {
		if strings.Contains(message, known.word) {
			return message + " (" + known.meaning + ")"
		}
	}
	return message
}
