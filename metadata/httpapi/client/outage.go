package client

import (
	"fmt"
	"sync"
	"time"
)

// outage is what all calls of a client know together of the service being away.
type outage struct {
	base     string
	patience time.Duration
	notify   func(string)

	mu sync.Mutex
	// since and last are the times of the first and the newest failure since the last answer; zero when all is well.
	since, last time.Time
	told        bool
	// answered is whether the service has ever answered.
	answered bool
}

// forgotten is how long after the last failure an outage is no longer known to go on.
const forgotten = 2 * time.Minute

// failed notes a failed try and returns when the outage began. The first one to tell is passed on to notify.
func (o *outage) failed(now time.Time, cause error, tell bool) time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.since.IsZero() || now.Sub(o.last) > forgotten {
		o.since, o.told = now, false
	}
	o.last = now
	if tell && !o.told && o.notify != nil {
		o.told = true
		text := fmt.Sprintf("the metadata service %s is not available (%v)", o.base, cause)
		if o.patience > 0 {
			text += fmt.Sprintf(": waiting up to %s for it", o.patience)
		}
		o.notify(text)
	}
	return o.since
}

// succeeded notes an answer.
func (o *outage) succeeded(now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.answered = true
	if o.since.IsZero() {
		return
	}
	if o.told && o.notify != nil {
		o.notify(fmt.Sprintf("the metadata service %s is available again after %s", o.base, now.Sub(o.since).Round(time.Second)))
	}
	o.since, o.last, o.told = time.Time{}, time.Time{}, false
}

// hasAnswered reports whether the service has ever answered.
func (o *outage) hasAnswered() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.answered
}
