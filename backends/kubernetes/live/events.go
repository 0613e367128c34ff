package live

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// news is what the events of a namespace last said. One list is read for all Jobs there, however many wait.
type news struct {
	asked  time.Time
	asking bool
	hints  map[string]string // by the kind and the name of the object
}

// hint says what keeps a pod that says nothing itself, by the events: a volume, a quota. Empty for nothing that is known;
// that events may not be read is no harm.
func (s *Shipper) hint(ctx context.Context, namespace, object string, now time.Time) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.news[namespace]
	if n == nil {
		n = &news{}
		s.news[namespace] = n
	}
	if n.asking || now.Sub(n.asked) < eventsAfter {
		return n.hints[object]
	}
	n.asking, n.asked = true, now
	s.mu.Unlock()
	hints, err := s.readEvents(ctx, namespace)
	s.mu.Lock()
	if n.asking = false; err == nil {
		n.hints = hints
		for _, h := range s.shipments {
			if h.namespace == namespace {
				h.wake()
			}
		}
	}
	return n.hints[object]
}

// eventsPerPage bounds a single answer.
const eventsPerPage = 1000

// readEvents reads what the events of a namespace say is in the way, by the kind and the name of the object.
func (s *Shipper) readEvents(ctx context.Context, namespace string) (map[string]string, error) {
	type word struct {
		at   time.Time
		text string
	}
	warned, progress := map[string]word{}, map[string]time.Time{}
	for opt := (metav1.ListOptions{Limit: eventsPerPage}); ; {
		if !s.turn(ctx) {
			return nil, ctx.Err()
		}
		request, cancel := context.WithTimeout(ctx, requestTimeout)
		list, err := s.core.Events(namespace).List(request, opt)
		cancel()
		if err != nil {
			return nil, err
		}
		for i := range list.Items {
			e := &list.Items[i]
			object, at := e.InvolvedObject.Kind+"/"+e.InvolvedObject.Name, lastSeen(e)
			switch {
			case e.Type == corev1.EventTypeNormal && slices.Contains(progresses, e.Reason):
				if at.After(progress[object]) {
					progress[object] = at
				}
			// That a pod could not be scheduled its own status says, for as long as it is so.
			case e.Type == corev1.EventTypeWarning && e.Reason != "FailedScheduling" && !at.Before(warned[object].at):
				warned[object] = word{at, fmt.Sprintf("the pod does not start (%s): %s", e.Reason, oneLine(e.Message))}
			}
		}
		if opt.Continue = list.Continue; opt.Continue == "" {
			break
		}
	}
	hints := map[string]string{}
	for object, w := range warned {
		if !progress[object].After(w.at) {
			hints[object] = w.text
		}
	}
	return hints, nil
}

// progresses are the reasons of events that say that an object gets on: what was in the way before no more is.
var progresses = []string{"Scheduled", "SuccessfulAttachVolume", "Pulling", "Pulled", "Created", "Started", "SuccessfulCreate"}

// lastSeen is when an event happened last.
func lastSeen(e *corev1.Event) time.Time {
	switch {
	case e.Series != nil:
		return e.Series.LastObservedTime.Time
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp.Time
	}
	return e.EventTime.Time
}
