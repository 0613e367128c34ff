package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/datastore/memory"
)

// awayStore is a datastore that is away for a while. What is asked of it then is answered after that, and a bit: each
// caller tries again at moments of its own.
type awayStore struct {
	datastore.Backend
	from, to time.Time

	mu     sync.Mutex
	waited time.Duration
}

func (b *awayStore) wait() {
	if now := time.Now(); now.After(b.from) && now.Before(b.to) {
		b.mu.Lock()
		b.waited = (b.waited + 700*time.Millisecond) % (5 * time.Second)
		more := b.waited
		b.mu.Unlock()
		time.Sleep(b.to.Sub(now) + more)
	}
}

func (b *awayStore) Put(ctx context.Context, key string, body io.Reader, opt datastore.PutOptions) error {
	b.wait()
	return b.Backend.Put(ctx, key, body, opt)
}

func (b *awayStore) Get(ctx context.Context, key string) (io.ReadCloser, []byte, error) {
	b.wait()
	return b.Backend.Get(ctx, key)
}

// watchedGang is a gang of three whose members all run and watch each other.
type watchedGang struct {
	members [3]*member
	watched [3]context.Context
	stop    []func()
}

func watchGang(t *testing.T, store datastore.Backend, timeout time.Duration) *watchedGang {
	t.Helper()
	r := &Run{Store: datastore.New(store), Gangs: Gangs{Timeout: timeout}}
	g := &watchedGang{}
	for i := range g.members {
		m := &member{run: r, folder: "gang", heard: map[int]heard{},
			task: &Task{Gang: &Gang{Size: len(g.members), Index: i}, Ref: datastore.TaskRef{Task: fmt.Sprint(i)}}}
		m.me = memberState{Phase: phaseRunning, Members: make([]int, len(g.members))}
		if err := m.say(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		beating, cancel := context.WithCancel(t.Context())
		m.stopBeats = cancel
		m.beats.Go(func() { m.beat(beating) })
		g.members[i] = m
	}
	for i, m := range g.members {
		watched, stop := m.watch(t.Context())
		g.watched[i] = watched
		g.stop = append(g.stop, m.stopBeats, m.beats.Wait, stop)
	}
	return g
}

func (g *watchedGang) close() {
	for _, stop := range g.stop {
		stop()
	}
}

// TestGangOutlivesOutage: that nothing was heard of the others for as long as the datastore was away means nothing.
func TestGangOutlivesOutage(t *testing.T) {
	for _, away := range []time.Duration{40 * time.Second, 70 * time.Second, 8 * time.Minute} {
		for moment := range 12 { // of the pauses between two beats and two looks
			synctest.Test(t, func(t *testing.T) {
				from := time.Now().Add(time.Minute + time.Duration(moment)*time.Second)
				g := watchGang(t, &awayStore{Backend: memory.New(time.Now), from: from, to: from.Add(away)}, 10*time.Minute)
				defer g.close()
				time.Sleep(away + 5*time.Minute)
				for i, watched := range g.watched {
					if err := context.Cause(watched); err != nil {
						t.Errorf("after %s, member %d: %v", away, i, err)
					}
				}
			})
		}
	}
}

// TestGangMissesMember: one that is gone is missed in time, also where it went during an outage, and whatever the timeout.
func TestGangMissesMember(t *testing.T) {
	for _, timeout := range []time.Duration{time.Second, 20 * time.Second, 10 * time.Minute, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			store := &awayStore{Backend: memory.New(time.Now), from: time.Now().Add(2 * time.Minute)}
			store.to = store.from.Add(5 * time.Minute)
			g := watchGang(t, store, timeout)
			defer g.close()
			time.Sleep(30 * time.Second)
			if timeout == time.Hour {
				time.Sleep(time.Until(store.to) - time.Second)
			}
			g.members[2].stopBeats()
			begun := time.Now()
			<-g.watched[0].Done()
			var gone *gangError
			if err := context.Cause(g.watched[0]); !errors.As(err, &gone) || !strings.Contains(gone.message, "member 2 of the gang is gone") {
				t.Errorf("%s: %v", timeout, err)
			}
			if took, most := time.Since(begun), g.members[0].run.Gangs.lost()+4*whileRunning; took > most {
				t.Errorf("%s: it took %s, want %s at the most", timeout, took, most)
			}
		})
	}
}
