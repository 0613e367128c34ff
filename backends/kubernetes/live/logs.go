package live

import (
	"bufio"
	"context"
	"errors"
	"io"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/mf-run/mf/backends/kubernetes"
	"github.com/mf-run/mf/backends/live/cluster"
)

// logLine is a line that a container printed. gap says that lines may be missing in front of it.
type logLine struct {
	text string
	gap  bool
}

// podLog reads the log of a pod's container into the voyage's lines.
type podLog struct {
	cancel context.CancelFunc
	// done is closed when all of the log was read, or no more can be had; err says why then, and torn that lines may be
	// missing.
	done chan struct{}
	err  error
	torn bool

	started time.Time // the container's start
	// last is when the node wrote the line that was handed on last, same how many lines of that moment there were.
	last time.Time
	same int
	// bare is how many lines without a time were handed on where none has one.
	bare int
}

// lateLog is how long after its container's start a log is read from its beginning: the kubelet may keep only the end of a
// long one.
const lateLog = 30 * time.Second

// openLog starts to read.
func (r *voyage) openLog(p *corev1.Pod) *podLog {
	ctx, cancel := context.WithCancel(r.ctx)
	l := &podLog{cancel: cancel, done: make(chan struct{})}
	if c := status(p.Status.ContainerStatuses, kubernetes.ContainerName); c != nil && c.State.Running != nil {
		l.started = c.State.Running.StartedAt.Time
	} else if c != nil && c.State.Terminated != nil {
		l.started = c.State.Terminated.StartedAt.Time
	}
	r.done.Go(func() {
		defer close(l.done)
		pause := firstPause
		for {
			n, whole, err := r.read(ctx, p.Name, l)
			if n > 0 {
				pause = firstPause
			}
			if whole || ctx.Err() != nil || apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
				l.err = err
				return
			}
			// The connection broke, or the kubelet is not ready.
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
			}
			pause = min(2*pause, longestPause)
		}
	})
	return l
}

// taskIsOver reports whether the container is known to have ended.
func (r *voyage) taskIsOver() bool {
	state, _ := r.look()
	return !state.taskOver.IsZero() || judge(state, r.opt.Now()).phase == ended
}

// read follows the log from where it was left, and hands on n lines. whole says that there is no more to come.
func (r *voyage) read(ctx context.Context, pod string, l *podLog) (n int, whole bool, err error) {
	if !r.turn(ctx) {
		return 0, false, ctx.Err()
	}
	opt := &corev1.PodLogOptions{Container: kubernetes.ContainerName, Follow: true, Timestamps: true}
	again := !l.last.IsZero()
	if again {
		since := metav1.NewTime(l.last.Truncate(time.Second)) // no finer ones are taken
		opt.SinceTime = &since
	}
	body, err := r.core.Pods(r.namespace).GetLogs(pod, opt).Stream(ctx)
	if err != nil {
		return 0, false, err
	}
	defer body.Close()
	// Where the log begins behind the line that was the last, it has been rotated meanwhile.
	gap := !again && !l.started.IsZero() && r.opt.Now().Sub(l.started) > lateLog
	before, seeking := l.same, again
	skip := l.bare
	buf := bufio.NewReaderSize(body, 64<<10)
	for {
		line, err := buf.ReadString('\n')
		// A piece of a line is one where the container ended with it. Else the connection did, and it comes again.
		if line != "" && (err == nil || errors.Is(err, io.EOF) && r.taskIsOver()) {
			at, text := stamped(strings.TrimSuffix(line, "\n"))
			switch {
			case at.IsZero() && !again && skip > 0:
				skip--
			case seeking && !at.IsZero() && !at.After(l.last):
				if at.Equal(l.last) {
					before--
					seeking = before > 0
				}
			default:
				if !at.IsZero() {
					gap, seeking = gap || seeking, false
				}
				l.torn = l.torn || gap || at.IsZero()
				select {
				case r.lines <- logLine{text, gap}:
					n++
					l.note(at)
				case <-ctx.Done():
					return n, false, ctx.Err()
				}
				gap = false
			}
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return n, false, err
		}
		if err != nil {
			whole = r.taskIsOver()
			l.torn = l.torn || whole && seeking
			return n, whole, nil
		}
	}
}

// note remembers a line that was handed on.
func (l *podLog) note(at time.Time) {
	switch {
	case at.IsZero() && l.last.IsZero():
		l.bare++
	case at.IsZero():
	case at.Equal(l.last):
		l.same++
	default:
		l.last, l.same = at, 1
	}
}

// stamped takes the kubelet's time off a line. A line of the kubelet's own, which says that it cannot read the log, has none;
// there are kubelets that give none at all.
func stamped(line string) (at time.Time, text string) {
	stamp, text, ok := strings.Cut(line, " ")
	if at, err := time.Parse(time.RFC3339Nano, stamp); ok && err == nil {
		return at, text
	}
	return time.Time{}, line
}

func (r *voyage) print(line logLine) {
	if line.gap && r.hear.Gap != nil {
		r.hear.Gap()
	}
	if r.hear.Line != nil {
		r.hear.Line(line.text)
	}
}

// drain hands on what is left of the log of a pod that has ended. It reports whether all of it was had.
func (r *voyage) drain() (whole bool) {
	if r.log == nil {
		return false
	}
	whole = true
	late := time.After(logGrace)
	for {
		select {
		case line := <-r.lines:
			r.print(line)
			continue
		case <-r.log.done:
		case <-late:
			whole = false
			r.log.cancel()
			<-r.log.done
		}
		break
	}
	for {
		select {
		case line := <-r.lines:
			r.print(line)
			continue
		default:
		}
		break
	}
	if r.log.err != nil && apierrors.IsForbidden(r.log.err) && r.hear.Silent != nil {
		r.hear.Silent(r.in(r.namespace).Explain(cluster.Request{Verb: "get", Resource: "pods/log"}, r.log.err))
	}
	return whole && r.log.err == nil && !r.log.torn
}
