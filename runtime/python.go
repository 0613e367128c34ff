package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mf-run/mf/datastore"
	"github.com/mf-run/mf/ir"
	"github.com/mf-run/mf/runtime/worker"
)

// inlineMax is the largest payload that travels inside a message.
const inlineMax = 256 << 10

// session is one conversation with a Python process.
type session struct {
	run  *Run
	conn *worker.Conn
	// put takes each artifact as it is stored.
	put func(name string, art datastore.Artifact)
	// inputs are what the process may refer to by number.
	inputs []*Result
	// small stores what comes inside a message, large what comes as a file: hashing and compressing those takes the CPU.
	small, large errgroup.Group
	ahead        ahead
}

func newSession(r *Run, p *worker.Process, put func(string, datastore.Artifact), inputs []*Result) *session {
	s := &session{run: r, conn: p.Conn, put: put, inputs: inputs, ahead: ahead{run: r, inputs: inputs}}
	s.small.SetLimit(inFlight)
	s.large.SetLimit(2)
	return s
}

// stored waits for all artifacts handed over.
func (s *session) stored() error { return errors.Join(s.small.Wait(), s.large.Wait()) }

// ending is the process's last message.
type ending struct {
	OK         bool `json:"ok"`
	Transition *struct {
		Targets     []string `json:"targets"`
		Foreach     string   `json:"foreach"`
		NumSplits   int      `json:"num_splits"`
		NumParallel int      `json:"num_parallel"`
		Values      []string `json:"values"`
	} `json:"transition"`
	Exception *struct {
		Type      string `json:"type"`
		Message   string `json:"message"`
		Traceback string `json:"traceback"`
		Timeout   bool   `json:"timeout"`
	} `json:"exception"`
	Parameter string `json:"parameter"`
}

func (a *attempt) runPython(ctx context.Context) error {
	exit, end, overdue, err := a.converse(ctx)
	a.usage = exit
	var start *StartError
	switch {
	case errors.As(err, &start):
		a.notStarted(start)
	case err != nil:
		return err
	case end != nil && end.OK:
		a.taken = end.taken(a.task.Step)
	case end != nil && end.Exception != nil:
		a.failure = &Failure{Type: end.Exception.Type, Message: end.Exception.Message,
			Traceback: end.Exception.Traceback, Timeout: end.Exception.Timeout}
		a.note("%s", strings.TrimRight(end.Exception.Traceback, "\n"))
	default:
		a.crashed(ctx, exit, overdue)
	}
	if a.failure != nil && ctx.Err() != nil {
		a.failure.Stopped = true
	}
	return nil
}

func (e *ending) taken(step *ir.Step) *Taken {
	if e.Transition == nil {
		return nil
	}
	t := &Taken{Targets: e.Transition.Targets, Var: e.Transition.Foreach,
		Splits: e.Transition.NumSplits, Values: e.Transition.Values}
	if step.Next != nil && step.Next.Kind == ir.Parallel {
		t.Var, t.Splits, t.Values = "_parallel_ubf_iter", e.Transition.NumParallel, nil
	}
	return t
}

// crashed makes a failure of a process that ended without a word; overdue is watch's.
func (a *attempt) crashed(ctx context.Context, exit worker.Exit, overdue bool) {
	a.failure = &Failure{Message: "the step's process " + exit.String(), Crashed: true, Signal: exit.Signal}
	switch {
	case overdue:
		// It did not heed the time limit itself, so that it was ended from here.
		a.failure = &Failure{Timeout: true,
			Message: fmt.Sprintf("the step ran longer than its timeout of %s and did not stop by itself", a.task.Step.Timeout())}
	case toldToStop(ctx, exit):
		a.failure.Message = "the task was told to stop, and the step's process ended"
	case exit.Signal == 9:
		a.failure.Message += "; the system does this when memory runs out"
	case exit.Signal == 0 && exit.Err == nil:
		a.failure.Message += " before the step was complete"
	}
	a.note("%s", a.failure.Message)
}

// toldToStop reports whether the process ended because somebody wants the task to end. An engine may tell all processes of
// a container at once, so that the process is gone before ctx is cancelled.
func toldToStop(ctx context.Context, exit worker.Exit) bool {
	if ctx.Err() != nil || exit.Signal != int(syscall.SIGTERM) && exit.Err == nil {
		return ctx.Err() != nil
	}
	select {
	case <-ctx.Done():
		return true
	case <-time.After(stopPause):
		return false
	}
}

// stopPause is how much earlier than this program the step's process may hear that the task is to stop.
const stopPause = 300 * time.Millisecond

// converse starts the process, serves it until its last message and waits for its end. overdue is watch's.
func (a *attempt) converse(ctx context.Context) (exit worker.Exit, end *ending, overdue bool, err error) {
	pipes, stdout, stderr, err := a.openPipes()
	if err != nil {
		return exit, nil, false, err
	}
	defer pipes.drain()
	p, err := a.run.launch(ctx, stdout, stderr)
	if err != nil {
		return exit, nil, false, err
	}
	defer p.Conn.Close()
	var limit time.Duration
	if limit = a.task.Step.Timeout(); limit > 0 {
		// The process enforces the limit itself; one that ignores it is ended here.
		limit += a.run.Grace
	}
	stop := a.watch(ctx, p, limit)
	s := newSession(a.run, p, a.put, a.task.Inputs)
	if err := a.begun(); err != nil {
		p.Kill()
		p.Wait()
		stop()
		return exit, nil, false, err
	}
	if p.Conn.Send(a.job(), nil) == nil {
		end, err = s.serve(context.WithoutCancel(ctx))
	}
	if err != nil {
		p.Kill()
	}
	exit = p.Wait()
	overdue = stop()
	if end == nil {
		p.Terminate() // what the process had started, and cannot end any more
	}
	return exit, end, overdue, err
}

// watch stops the process when ctx is cancelled or the limit, if any, has passed: politely, then not. stop ends the watch and
// reports whether it was the limit: how the process took that, its exit code does not tell.
func (a *attempt) watch(ctx context.Context, p *worker.Process, limit time.Duration) (stop func() (overdue bool)) {
	finished := make(chan struct{})
	var late atomic.Bool
	var overdue <-chan time.Time
	if limit > 0 {
		overdue = time.After(limit)
	}
	go func() {
		select {
		case <-finished:
			return
		case <-p.Done():
			return
		case <-overdue:
			select {
			case <-p.Done(): // at the same moment
				return
			default:
				late.Store(true)
			}
		case <-ctx.Done():
		}
		p.Terminate()
		select {
		case <-finished:
		case <-p.Done():
		case <-time.After(a.run.Grace):
			p.Kill()
		case <-a.run.Abort:
			p.Kill()
		}
	}()
	return func() bool {
		close(finished)
		return late.Load()
	}
}

// serve answers the process until its last message, and waits until all is stored. It returns nil, nil when the process
// went away without one.
func (s *session) serve(ctx context.Context) (*ending, error) {
	end, err := s.answerAll(ctx)
	if storeErr := s.stored(); err == nil {
		err = storeErr
	}
	return end, err
}

func (s *session) answerAll(ctx context.Context) (*ending, error) {
	for {
		msg, err := s.conn.Recv()
		if wentAway(err) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if msg.Op == "done" {
			end := &ending{}
			if err := json.Unmarshal(msg.JSON, end); err != nil {
				return nil, fmt.Errorf("reading the end of the step: %w", err)
			}
			return end, nil
		}
		if err := s.handle(ctx, msg); wentAway(err) {
			return nil, nil // before it had the answer
		} else if err != nil {
			return nil, err
		}
	}
}

// wentAway reports whether an error of the task socket means that the process has ended.
func wentAway(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// request holds the fields of all of the process's messages but the last.
type request struct {
	Name       string         `json:"name"`
	Type       string         `json:"type"`
	Size       int64          `json:"size"`
	Path       string         `json:"path"`
	Digest     string         `json:"digest"`
	Input      int            `json:"input"`
	IsText     bool           `json:"is_text"`
	Encoding   string         `json:"encoding"`
	Descriptor map[string]any `json:"descriptor"`
}

func (s *session) handle(ctx context.Context, msg worker.Message) error {
	var req request
	if err := json.Unmarshal(msg.JSON, &req); err != nil {
		return fmt.Errorf("reading a message of the step: %w", err)
	}
	switch msg.Op {
	case "get":
		return s.answer(s.get(ctx, req))
	case "put":
		return s.store(ctx, req, msg.Data)
	case "ref":
		if req.Input < 0 || req.Input >= len(s.inputs) {
			return fmt.Errorf("the step refers to input %d of %d", req.Input, len(s.inputs))
		}
		art, ok := s.inputs[req.Input].Artifacts[req.Name]
		if !ok {
			return fmt.Errorf("the step refers to artifact %q, which input %d does not have", req.Name, req.Input)
		}
		s.put(req.Name, art)
		return nil
	case "include":
		descriptor, err := s.run.Store.SaveInclude(ctx, s.run.Flow.Name, req.Path, req.IsText, req.Encoding)
		if err != nil {
			return s.refuse(err)
		}
		return s.conn.Send(map[string]any{"op": "included", "descriptor": descriptor}, nil)
	case "file":
		return s.answer(s.file(ctx, req))
	default:
		return fmt.Errorf("unknown message %q of the step", msg.Op)
	}
}

// payload is data on its way to the process: in memory, or a file that the process deletes.
type payload struct {
	data []byte
	path string
}

func (s *session) answer(p payload, err error) error {
	if err != nil {
		return s.refuse(err)
	}
	head := map[string]any{"op": "data", "path": nil}
	if p.path != "" {
		head["path"] = p.path
	}
	return s.conn.Send(head, p.data)
}

func (s *session) refuse(err error) error {
	return s.conn.Send(map[string]any{"op": "error", "message": err.Error()}, nil)
}

func (s *session) get(ctx context.Context, req request) (payload, error) {
	s.ahead.asked(ctx, req.Name, req.Digest)
	if data, ok := s.run.blobs.get(req.Digest); ok && len(data) <= inlineMax {
		return payload{data: data}, nil
	}
	body, err := s.run.Store.Open(ctx, s.run.Flow.Name, req.Digest)
	if err != nil {
		return payload{}, fmt.Errorf("reading artifact %s: %w", req.Name, err)
	}
	p, err := s.spool(body)
	if err != nil {
		return payload{}, fmt.Errorf("reading artifact %s: %w", req.Name, err)
	}
	if p.path == "" {
		s.run.blobs.add(req.Digest, p.data)
	}
	return p, nil
}

func (s *session) file(ctx context.Context, req request) (payload, error) {
	body, err := s.run.Store.OpenInclude(ctx, req.Descriptor)
	if err != nil {
		return payload{}, fmt.Errorf("reading an included file: %w", err)
	}
	return s.spool(body)
}

// spool takes what is small into memory and the rest into a file.
func (s *session) spool(body io.ReadCloser) (payload, error) {
	defer body.Close()
	head, err := io.ReadAll(io.LimitReader(body, inlineMax+1))
	if err != nil || len(head) <= inlineMax {
		return payload{data: head}, err
	}
	f, err := os.CreateTemp(s.run.TempDir, "get-*")
	if err != nil {
		return payload{}, err
	}
	_, err = f.Write(head)
	if err == nil {
		_, err = io.Copy(f, body)
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		os.Remove(f.Name())
		return payload{}, err
	}
	return payload{path: f.Name()}, nil
}

// store keeps one artifact, while the process pickles the next.
func (s *session) store(ctx context.Context, req request, data []byte) error {
	art := datastore.Artifact{Type: req.Type, Encoding: encoding}
	if req.Path == "" {
		s.small.Go(func() error {
			digest, err := s.run.Store.SaveBytes(ctx, s.run.Flow.Name, data)
			if err != nil {
				return fmt.Errorf("storing artifact %s: %w", req.Name, err)
			}
			art.Digest, art.Size = digest, int64(len(data))
			s.run.blobs.add(digest, data)
			s.put(req.Name, art)
			return nil
		})
		return nil
	}
	if rel, err := filepath.Rel(s.run.TempDir, req.Path); err != nil || !filepath.IsLocal(rel) {
		return fmt.Errorf("the step hands over %s, which is outside its folder", req.Path)
	}
	s.large.Go(func() error {
		defer os.Remove(req.Path)
		digest, size, err := s.run.Store.SaveFile(ctx, s.run.Flow.Name, req.Path)
		if err != nil {
			return fmt.Errorf("storing artifact %s: %w", req.Name, err)
		}
		art.Digest, art.Size = digest, size
		s.put(req.Name, art)
		return nil
	})
	return nil
}
