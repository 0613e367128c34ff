package live

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestEvents: what keeps pods that say nothing is read in one request for all of them, and is forgotten when they get on.
func TestEvents(t *testing.T) {
	t.Parallel()
	a := newAPI(t)
	var ahead atomic.Int64
	clock := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	s := a.shipper(Options{Outage: time.Hour, Patience: 20 * time.Second, Now: clock})
	said := func(kind, reason, pod string) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.events = append(a.events, corev1.Event{
			ObjectMeta: metav1.ObjectMeta{Name: reason + pod}, Type: kind, Reason: reason, Message: "volume \"data\".",
			LastTimestamp: metav1.NewTime(clock()), InvolvedObject: corev1.ObjectReference{Kind: "Pod", Name: pod + "-x"},
		})
	}
	jobs := []string{"a", "b", "c"}
	var hear [3]heard
	var ended [3]<-chan came
	look := func() {
		for _, name := range jobs {
			a.setPod(name, podOf(corev1.PodPending, waits("ContainerCreating", "")))
		}
	}
	for i, name := range jobs {
		ended[i] = start(t.Context(), s, jobNamed(name), hear[i].listener())
		said(corev1.EventTypeWarning, "FailedMount", name)
	}
	until(t, "Jobs", func() bool { return len(a.left()) == len("a b c") })
	look()
	time.Sleep(50 * time.Millisecond)
	if n := a.count("GET events"); n != 0 {
		t.Errorf("events are asked for at once, %d times", n)
	}
	ahead.Add(int64(16 * time.Second))
	look()
	for i := range jobs {
		until(t, "a hint", func() bool { return hear[i].String() == `the pod does not start (FailedMount): volume "data"` })
	}
	if n := a.count("GET events"); n != 1 {
		t.Errorf("events were asked for %d times", n)
	}
	// The first two get on, one of them to be kept by something else; the last one is not waited for any longer.
	ahead.Add(int64(16 * time.Second))
	said(corev1.EventTypeNormal, "Pulling", "a")
	said(corev1.EventTypeNormal, "Pulling", "b")
	look()
	until(t, "events", func() bool { return a.count("GET events") == 2 })
	time.Sleep(300 * time.Millisecond) // and what follows from them
	ahead.Add(int64(16 * time.Second))
	said(corev1.EventTypeWarning, "FailedMount", "b")
	look()
	if got := await(t, ended[2], 5*time.Second); !strings.HasPrefix(got.ending.Why, `the pod does not start (FailedMount): volume "data"; it was waited for `) {
		t.Errorf("got %v", got)
	}
	time.Sleep(50 * time.Millisecond)
	for i, name := range jobs[:2] {
		select {
		case got := <-ended[i]:
			t.Errorf("%s ended: %v", name, got)
		default:
		}
		a.setPod(name, podOf(corev1.PodSucceeded, ends(0, "", "")))
		await(t, ended[i], 5*time.Second)
	}
}
