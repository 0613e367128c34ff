//go:build unix

package main

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/mf-run/mf/internal/testserver"
	"github.com/mf-run/mf/ir"
)

// lostFlow has tasks that end their container, and one that ends its own process.
const lostFlow = `
flow: Lost
steps:
  start: {run: 'echo "[0, 1, 2, 3, 4, 5]" > $MF_OUTPUTS/xs.json', outputs: [xs], next: {foreach: xs, step: work}}
  work:
    run: |
      echo "work $MF_ITEM" >> $TRACE
      case " $POISON " in *" $MF_ITEM "*) kill -9 $PPID; sleep 1; exit 1;; esac
      [ $MF_ITEM != 4 ] || kill -9 $$
      echo $((MF_ITEM * 10)) > $MF_OUTPUTS/y.json
    catch: {var: why}
    next: join
  join:
    join: true
    inputs: [y]
    run: cat $MF_INPUTS/*/y.json | tr '\n' ' '; echo
    next: alone
  alone:
    run: 'echo alone >> $TRACE; [ -z "$FAIL" ] || exit 7'
    catch: {var: why}
    next: end
  end:
    catch: {var: why}
    run: echo end >> $TRACE; kill -9 $PPID; sleep 1
`

// lostContainer is what an engine sees of a container that was killed.
const lostContainer = -1

// TestLostPacks loses containers of a pack under @catch. Only tasks whose code has begun count as crashed: the others run,
// to the engine's last attempt.
func TestLostPacks(t *testing.T) {
	s := deploy(t, testserver.NewBucket(t), "flow.yaml", lostFlow)
	taken := s.tracing()
	out, _ := outputs(t)
	s.env = append(s.env, out, ir.EnvPackWorkers+"=1", "POISON=0 2 3", "PATH=/usr/bin:/bin")
	s.runPacked(0, ir.TaskInvocation{Step: "start", Pack: "50"})
	for attempt, want := range []struct {
		code int
		ran  []string
	}{
		{lostContainer, []string{"work 0"}},
		{lostContainer, []string{"work 1", "work 2"}},
		{lostContainer, []string{"work 3"}},
		{0, []string{"work 4", "work 5"}}, // no attempt is left, which could record the crash of 4
	} {
		s.runPacked(want.code, ir.TaskInvocation{Step: "work", Path: "0*50", Attempt: strconv.Itoa(attempt)})
		if got := taken(); !slices.Equal(got, want.ran) {
			t.Errorf("attempt %d ran %v, want %v", attempt, got, want.ran)
		}
	}
	const crashed = "crashed on each of its 1 attempts"
	for id, want := range map[string]struct {
		status  string
		attempt int
		failure string
	}{
		"t-0": {"caught", 1, crashed}, "t-1": {"succeeded", 1, ""}, "t-2": {"caught", 2, crashed}, "t-3": {"caught", 3, crashed},
		"t-4": {"caught", 3, "killed by signal 9"}, "t-5": {"succeeded", 3, ""},
	} {
		got := s.state("work", id)
		if got.Status != want.status || got.Attempt != want.attempt || !strings.Contains(got.Failure, want.failure) {
			t.Errorf("%s stands at %+v, want %+v", id, got, want)
		}
	}
	s.run(0, "join", "", 0)
	if got := s.log("join", "t", 0); got != "10 50 \n" {
		t.Errorf("log %q", got)
	}
}

// TestLostBeforeItBegan: an engine's attempts of which the records know nothing are none of the step's own.
func TestLostBeforeItBegan(t *testing.T) {
	s := deploy(t, testserver.NewBucket(t), "flow.yaml", lostFlow)
	taken := s.tracing()
	s.env = append(s.env, "POISON=none", "PATH=/usr/bin:/bin")
	s.run(0, "start", "", 0)
	s.runPacked(0, ir.TaskInvocation{Step: "work", Path: "0..5", Attempt: "3"})
	s.run(0, "join", "", 0)
	taken()
	s.run(0, "alone", "", 2, "FAIL=1")
	if got := taken(); !slices.Equal(got, []string{"alone"}) {
		t.Errorf("it ran %v", got)
	}
	if state := s.state("alone", "t"); state.Status != "caught" || state.Attempt != 2 || !strings.Contains(state.Failure, "code 7") {
		t.Errorf("alone stands at %+v", state)
	}
	s.run(lostContainer, "end", "", 1)
	s.run(0, "end", "", 2)
	if got := taken(); !slices.Equal(got, []string{"end"}) {
		t.Errorf("it ran %v", got)
	}
	if state := s.state("end", "t"); state.Status != "caught" || state.Attempt != 2 {
		t.Errorf("end stands at %+v", state)
	}
}
