package runtime

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/ir"
)

// Gangs is what the members of gangs that run in containers of their own need to find each other.
type Gangs struct {
	// Address is where this container is reached by the others; empty if nobody said.
	Address string
	// Timeout is how long a member waits for the others to come. One of which nothing is heard for a tenth of it counts as
	// lost, but no sooner than after five seconds and no later than after a minute.
	Timeout time.Duration
}

// The members of a gang meet in the datastore. Each has an object of its own there, in which it says where it stands, and
// writes it anew as long as it lives. The first member leads: the others read its object alone, it reads all of theirs.
//
//	mf.gangs/<flow>/<run>/<step>/<task that splits>/<index>.json
//
// A leader that begins anew is another gang: its attempt tells them apart, and says whom a member has joined. Either all
// members succeed or none: a member whose step is done waits for the others with what it has produced.
const gangFolder = "mf.gangs"

// The phases of a member.
const (
	phaseWaiting  = "waiting"  // for the others
	phaseRunning  = "running"  // its step; of a leader: all have come
	phaseEnded    = "ended"    // its step, well; its record is written but for its end
	phaseComplete = "complete" // of a leader: all have ended well
	phaseFailed   = "failed"
)

// memberState is what a member says of itself.
type memberState struct {
	Phase   string `json:"phase"`
	Attempt int    `json:"attempt"`
	// Leader is the attempt of the leader that the member has joined.
	Leader  int    `json:"leader"`
	Address string `json:"address,omitempty"`
	// Beat is another number each time.
	Beat int64 `json:"beat"`
	// Why is, of a member that has failed, what to tell the others.
	Why string `json:"why,omitempty"`
	// Members are, of a leader whose gang is complete, the attempts of all, by index.
	Members []int `json:"members,omitempty"`
}

// member is a task's part in a gang while it runs.
type member struct {
	run    *Run
	task   *Task
	folder string

	writing sync.Mutex // one write at a time, so that a later one wins
	mu      sync.Mutex // guards the fields below
	me      memberState
	heard   map[int]heard // by index

	stopBeats context.CancelFunc
	beats     sync.WaitGroup
}

// heard is when a member's object last changed, and was last looked at.
type heard struct {
	beat       int64
	attempt    int
	at, looked time.Time
}

// gangError is a gang that cannot go on. The message says why, in words that hold for all members.
type gangError struct{ message string }

// Error implements error.
func (e *gangError) Error() string { return e.message }

func gangFolderOf(ref datastore.TaskRef, path ir.SplitPath) string {
	return strings.Join([]string{gangFolder, ref.Flow, ref.Run, ref.Step, TaskID(path.Parent(), ir.NoIteration)}, "/")
}

func gangKey(folder string, index int) string { return folder + "/" + strconv.Itoa(index) + ".json" }

// enterGang makes the attempt known to the other members and waits for them. The task's Gang says afterwards where the
// leader is. The error is a *gangError where the gang does not come together, and ctx's where that is done.
func (a *attempt) enterGang(ctx context.Context) error {
	r, t := a.run, a.task
	m := &member{run: r, task: t, folder: gangFolderOf(t.Ref, t.Path), heard: map[int]heard{}}
	m.me = memberState{Phase: phaseWaiting, Attempt: t.Attempt, Leader: t.Attempt, Address: r.Gangs.Address}
	if m.me.Address == "" {
		return &gangError{fmt.Sprintf("a member of a gang of %d cannot say where it is: %s is not set", t.Gang.Size, ir.EnvAddress)}
	}
	if t.Gang.Index > 0 {
		m.me.Leader = -1
	}
	if err := m.say(ctx, nil); err != nil {
		return err
	}
	beating, cancel := context.WithCancel(context.WithoutCancel(ctx))
	m.stopBeats = cancel
	m.beats.Go(func() { m.beat(beating) })
	a.member = m
	_, pause := t.Step.Retry()
	limit := r.Gangs.Timeout + pause // others may still wait to be tried again
	wait := limit
	if t.Gang.Index > 0 {
		wait += 2 * whileWaiting // so that the leader, which knows who is missing, is the one to give up
	}
	err := m.until(ctx, wait, whileWaiting, m.joined)
	if errors.Is(err, errTooLong) {
		err = m.incomplete(ctx, limit)
	}
	return err
}

// The longest pauses between two looks at the others.
const (
	whileWaiting = 2 * time.Second
	whileRunning = 5 * time.Second
)

// errTooLong is that a condition has not come about in time.
var errTooLong = errors.New("it took too long")

// until asks, at first often, until the answer is yes.
func (m *member) until(ctx context.Context, limit, most time.Duration, ask func(context.Context) (bool, error)) error {
	const first = 100 * time.Millisecond
	var late <-chan time.Time
	if limit > 0 {
		late = time.After(limit)
	}
	most = min(most, m.run.Gangs.beat())
	for pause := first; ; pause = min(pause*5/4, most) {
		ok, err := ask(ctx)
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-late:
			return errTooLong
		case <-time.After(pause):
		}
	}
}

// joined is whether the gang has come together.
func (m *member) joined(ctx context.Context) (bool, error) {
	if m.task.Gang.Index == 0 {
		return m.gathered(ctx)
	}
	leader, err := m.read(ctx, 0)
	if err != nil {
		return false, err
	}
	m.mu.Lock()
	mine := m.me
	m.mu.Unlock()
	switch {
	case leader.Attempt < 0:
		return false, nil // it has not come yet
	case leader.Phase == phaseWaiting && leader.Attempt != mine.Leader:
		return false, m.say(ctx, func(s *memberState) { s.Leader = leader.Attempt })
	case leader.Attempt != mine.Leader || len(leader.Members) > m.task.Gang.Index && leader.Members[m.task.Gang.Index] != mine.Attempt:
		return false, nil // a gang without this container
	case leader.Phase == phaseFailed:
		return false, &gangError{leader.Why}
	case leader.Phase == phaseWaiting:
		return false, nil
	}
	m.task.Gang.MainIP = leader.Address
	return true, m.say(ctx, func(s *memberState) { s.Phase = phaseRunning })
}

// gathered is whether all have joined this leader.
func (m *member) gathered(ctx context.Context) (bool, error) {
	members := make([]int, m.task.Gang.Size)
	members[0] = m.task.Attempt
	states, err := m.readOthers(ctx)
	if err != nil {
		return false, err
	}
	for i, s := range states {
		switch {
		case i == 0:
		case s.Leader != m.task.Attempt || s.Phase != phaseWaiting && s.Phase != phaseFailed:
			return false, nil
		case s.Phase == phaseFailed:
			return false, &gangError{s.Why}
		default:
			members[i] = s.Attempt
		}
	}
	m.task.Gang.MainIP = m.me.Address
	return true, m.say(ctx, func(s *memberState) { s.Phase, s.Members = phaseRunning, members })
}

// incomplete says who is missing.
func (m *member) incomplete(ctx context.Context, limit time.Duration) error {
	n := m.task.Gang.Size
	advice := fmt.Sprintf("all %d have to run at once: is there room for as many pods, and does the engine let as many run (parallelism, --max-workers)?", n)
	if m.task.Gang.Index > 0 {
		return &gangError{fmt.Sprintf("the gang of %d did not come together within %s; %s", n, limit, advice)}
	}
	var missing []string
	states, err := m.readOthers(ctx)
	if err != nil {
		return err
	}
	for i, s := range states {
		if i > 0 && s.Leader != m.task.Attempt && len(missing) < maxMissing {
			missing = append(missing, strconv.Itoa(i))
		}
	}
	return &gangError{fmt.Sprintf("the gang of %d did not come together within %s: no word of member %s; %s", n, limit, strings.Join(missing, ", "), advice)}
}

// maxMissing is how many members a message names.
const maxMissing = 8

// watch cancels the step when the gang cannot go on. The cause of the context is a *gangError then.
func (m *member) watch(ctx context.Context) (watched context.Context, stop func()) {
	watched, cancel := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		err := m.until(watched, 0, whileRunning, func(ctx context.Context) (bool, error) { return false, m.check(ctx) })
		if gone := (*gangError)(nil); errors.As(err, &gone) {
			cancel(err)
		} else if watched.Err() == nil {
			m.run.warn("the gang of %s is no longer watched: %v", m.task.Ref, err)
		}
	})
	return watched, func() {
		cancel(nil)
		watching.Wait()
	}
}

// check is nil as long as the others go on.
func (m *member) check(ctx context.Context) error {
	if m.task.Gang.Index == 0 {
		_, err := m.allEnded(ctx)
		return err
	}
	_, err := m.released(ctx)
	return err
}

// released is whether the leader says that all have ended well.
func (m *member) released(ctx context.Context) (bool, error) {
	s, err := m.read(ctx, 0)
	if err != nil {
		return false, err
	}
	m.mu.Lock()
	leader := m.me.Leader
	m.mu.Unlock()
	switch {
	case s.Attempt != leader:
		return false, &gangError{"member 0 of the gang has begun anew"}
	case s.Phase == phaseFailed:
		return false, &gangError{s.Why}
	case s.Phase == phaseComplete:
		return true, nil
	}
	return false, m.alive(0, s)
}

// allEnded is whether all other members have ended well.
func (m *member) allEnded(ctx context.Context) (bool, error) {
	states, err := m.readOthers(ctx)
	if err != nil {
		return false, err
	}
	m.mu.Lock()
	members := m.me.Members
	m.mu.Unlock()
	ended := true
	for i, s := range states {
		if i == 0 {
			continue
		}
		switch {
		case s.Attempt > members[i]:
			return false, &gangError{fmt.Sprintf("member %d of the gang has begun anew", i)}
		case s.Attempt < members[i]: // a word of an earlier container that is slow to end
			s = memberState{}
		case s.Phase == phaseFailed:
			return false, &gangError{s.Why}
		}
		ended = ended && s.Phase == phaseEnded
		if err := m.alive(i, s); err != nil {
			return false, err
		}
	}
	return ended, nil
}

// alive is nil unless nothing has been heard of a member for long. Where nothing could be looked at for much of that time, it
// begins anew: while the datastore is away, nobody is heard.
func (m *member) alive(index int, s memberState) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	last, known := m.heard[index]
	now := time.Now() // a time span on this machine, not a time
	lost := m.run.Gangs.lost()
	if !known || s.Attempt != last.attempt || s.Beat != last.beat || now.Sub(last.looked) > lost/2 {
		last = heard{s.Beat, s.Attempt, now, now}
	}
	last.looked = now
	m.heard[index] = last
	if silence := now.Sub(last.at); silence > lost {
		return &gangError{fmt.Sprintf("member %d of the gang is gone: nothing was heard of it for %s", index, silence.Round(time.Second))}
	}
	return nil
}

// lost is how long nothing may be heard of a member.
func (g Gangs) lost() time.Duration { return min(max(g.Timeout/10, 5*time.Second), time.Minute) }

// beat is the pause between two words of a member.
func (g Gangs) beat() time.Duration { return g.lost() / 6 }

// end waits, with a step that is done, until all are. A *gangError says why the gang has failed.
func (m *member) end(ctx context.Context) error {
	if m.task.Gang.Index > 0 {
		if err := m.say(ctx, func(s *memberState) { s.Phase = phaseEnded }); err != nil {
			return err
		}
		return m.until(ctx, 0, whileWaiting, m.released)
	}
	if err := m.until(ctx, 0, whileWaiting, m.allEnded); err != nil {
		return err
	}
	return m.say(ctx, func(s *memberState) { s.Phase = phaseComplete })
}

// leave tells the others of a failure, and ends the beats.
func (m *member) leave(ctx context.Context, f *Failure) error {
	m.stopBeats()
	m.beats.Wait()
	if f == nil {
		return nil
	}
	why := f.Message
	if f.Type != typeGang {
		why = fmt.Sprintf("member %d of the gang failed: %s", m.task.Gang.Index, f.Summary())
	}
	return m.say(ctx, func(s *memberState) { s.Phase, s.Why = phaseFailed, why })
}

// typeGang is the type of the failure of a member that ends because of another.
const typeGang = "mf.GangFailed"

// beat says now and then that the member lives.
func (m *member) beat(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(m.run.Gangs.beat()):
		}
		if err := m.say(ctx, nil); err != nil && ctx.Err() == nil {
			m.run.warn("member %d of the gang of %s could not say that it lives: %v", m.task.Gang.Index, m.task.Ref, err)
		}
	}
}

// say changes what the member says of itself, and says it. It is not given up half way, or an earlier word could arrive
// after a later one.
func (m *member) say(ctx context.Context, change func(*memberState)) error {
	m.writing.Lock()
	defer m.writing.Unlock()
	m.mu.Lock()
	if change != nil {
		change(&m.me)
	}
	m.me.Beat++
	data, err := json.Marshal(m.me)
	m.mu.Unlock()
	if err == nil {
		err = m.run.Store.Backend().Put(context.WithoutCancel(ctx), gangKey(m.folder, m.task.Gang.Index), bytes.NewReader(data), datastore.PutOptions{})
	}
	if err != nil {
		return fmt.Errorf("speaking to the gang of %s: %w", m.task.Ref, err)
	}
	return nil
}

// readOthers reads what all but the leader say of themselves, by index.
func (m *member) readOthers(ctx context.Context) ([]memberState, error) {
	states := make([]memberState, m.task.Gang.Size)
	var g errgroup.Group
	g.SetLimit(maxReading)
	for i := 1; i < len(states); i++ {
		g.Go(func() (err error) {
			states[i], err = m.read(ctx, i)
			return err
		})
	}
	return states, g.Wait()
}

func (m *member) read(ctx context.Context, index int) (memberState, error) {
	s, err := readMember(ctx, m.run.Store, m.folder, index)
	if err != nil {
		return s, fmt.Errorf("listening to the gang of %s: %w", m.task.Ref, err)
	}
	return s, nil
}

// readMember reads what a member says of itself. One that has said nothing yet has joined nobody.
func readMember(ctx context.Context, store *datastore.Store, folder string, index int) (memberState, error) {
	s := memberState{Attempt: -1, Leader: -1}
	body, _, err := store.Backend().Get(ctx, gangKey(folder, index))
	if errors.Is(err, datastore.ErrNotFound) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	data, err := io.ReadAll(io.LimitReader(body, 1<<20))
	if err = errors.Join(err, body.Close()); err != nil {
		return s, err
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return s, fmt.Errorf("%s is not the expected JSON: %w", gangKey(folder, index), err)
	}
	return s, nil
}
