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

	"github.com/mf-run/mf/backends/kubernetes"
	"github.com/mf-run/mf/backends/live/cluster"
)

// podLog reads the log of a pod's container into the voyage's lines.
type podLog struct {
	cancel context.CancelFunc
	// done is closed when all of the log was read, or no more can be had; err says why then.
	done chan struct{}
	err  error
}

// openLog starts to read.
func (r *voyage) openLog(p *corev1.Pod) *podLog {
	ctx, cancel := context.WithCancel(r.ctx)
	l := &podLog{cancel: cancel, done: make(chan struct{})}
	r.done.Go(func() {
		defer close(l.done)
		seen, pause := 0, firstPause
		for {
			n, err := r.read(ctx, p.Name, seen)
			seen += n
			if n > 0 {
				pause = firstPause
			}
			if ctx.Err() != nil || apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
				l.err = err
				return
			}
			if state, _ := r.look(); err == nil && (!state.taskOver.IsZero() || judge(state, r.opt.Now()).phase == ended) {
				return
			}
			// The connection broke, or the kubelet is not ready: from the beginning again, past what was seen.
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

// read follows the log from its beginning and hands on all but the first lines. It returns how many it handed on; no error
// means that the container has ended.
func (r *voyage) read(ctx context.Context, pod string, skip int) (n int, err error) {
	if err := r.limiter.Wait(ctx); err != nil {
		return 0, err
	}
	body, err := r.core.Pods(r.namespace).GetLogs(pod,
		&corev1.PodLogOptions{Container: kubernetes.ContainerName, Follow: true}).Stream(ctx)
	if err != nil {
		return 0, err
	}
	defer body.Close()
	buf := bufio.NewReaderSize(body, 64<<10)
	for {
		line, err := buf.ReadString('\n')
		if line != "" && (err == nil || errors.Is(err, io.EOF)) {
			if skip > 0 {
				skip--
			} else {
				select {
				case r.lines <- strings.TrimSuffix(line, "\n"):
					n++
				case <-ctx.Done():
					return n, ctx.Err()
				}
			}
		}
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

func (r *voyage) print(line string) {
	if r.hear.Line != nil {
		r.hear.Line(line)
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
	return whole && r.log.err == nil
}
