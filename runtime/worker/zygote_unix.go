//go:build unix

package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func signalName(n int) string {
	s := syscall.Signal(n)
	if name := unix.SignalName(s); name != "" {
		return fmt.Sprintf("%d (%s)", n, name)
	}
	return fmt.Sprint(n)
}

// Zygote is a Python process that has loaded the flow and forks a child for each task. Its methods may be called
// concurrently.
type Zygote struct {
	cmd  *exec.Cmd
	sock *net.UnixConn
	conn *Conn

	mu      sync.Mutex
	nextID  int
	waiting map[string]chan Message // answers to fork, by id
	running map[string]*Process
	answers chan Message // answers to describe
	forked  bool         // whether it has: the flow is loaded then
	dead    error        // why the zygote is gone
	gone    chan struct{}
}

// StartZygote starts the process. stdout and stderr receive what the flow prints while it is loaded.
func StartZygote(opt Options, stdout, stderr *os.File) (*Zygote, error) {
	sock, peer, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer peer.Close()
	cmd := exec.Command(opt.Interpreter, opt.script(), opt.target())
	cmd.Dir = opt.Dir
	cmd.Env = opt.environment()
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.ExtraFiles = []*os.File{peer}
	// A group of its own: Ctrl-C on the terminal reaches mf alone, which then ends the tasks in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		sock.Close()
		return nil, fmt.Errorf("starting %s: %w", opt.Interpreter, err)
	}
	z := &Zygote{
		cmd: cmd, sock: sock, conn: NewConn(sock),
		waiting: map[string]chan Message{}, running: map[string]*Process{},
		answers: make(chan Message, 1), gone: make(chan struct{}),
	}
	go z.receive()
	return z, nil
}

func socketPair() (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("making a socket pair: %w", err)
	}
	unix.CloseOnExec(fds[0])
	unix.CloseOnExec(fds[1])
	ours, peer := os.NewFile(uintptr(fds[0]), "mf"), os.NewFile(uintptr(fds[1]), "step")
	conn, err := net.FileConn(ours)
	ours.Close()
	if err != nil {
		peer.Close()
		return nil, nil, fmt.Errorf("making a socket pair: %w", err)
	}
	return conn.(*net.UnixConn), peer, nil
}

func (z *Zygote) receive() {
	var err error
	for {
		var msg Message
		if msg, err = z.conn.Recv(); err != nil {
			break
		}
		z.dispatch(msg)
	}
	state := z.cmd.Wait()
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || err == nil {
		err = fmt.Errorf("the Python process that holds the flow ended")
		if state != nil {
			err = fmt.Errorf("the Python process that holds the flow ended: %w", state)
		}
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	z.dead = err
	close(z.gone)
	for id, p := range z.running {
		delete(z.running, id)
		p.finish(Exit{Err: err})
	}
}

func (z *Zygote) dispatch(msg Message) {
	var head struct {
		ID     string  `json:"id"`
		Code   int     `json:"code"`
		Signal int     `json:"signal"`
		MaxRSS int64   `json:"max_rss"`
		CPU    float64 `json:"cpu"`
	}
	if err := json.Unmarshal(msg.JSON, &head); err != nil {
		return
	}
	switch msg.Op {
	case "forked":
		z.mu.Lock()
		answer := z.waiting[head.ID]
		delete(z.waiting, head.ID)
		z.forked = true
		z.mu.Unlock()
		if answer != nil {
			answer <- msg
		}
	case "exited":
		z.mu.Lock()
		p := z.running[head.ID]
		delete(z.running, head.ID)
		z.mu.Unlock()
		if p != nil {
			p.finish(Exit{Code: head.Code, Signal: head.Signal, MaxRSS: head.MaxRSS,
				CPU: time.Duration(head.CPU * float64(time.Second))})
		}
	default:
		z.answers <- msg
	}
}

// Describe loads the flow and returns the answer, whose form compiler/python defines. It must not be called again
// before the first call has returned.
func (z *Zygote) Describe(ctx context.Context, request DescribeRequest) (json.RawMessage, error) {
	request.Op = "describe"
	if err := z.conn.Send(request, nil); err != nil {
		return nil, z.cause(err)
	}
	return z.answer(ctx, "described")
}

// Load has the flow loaded and returns the interpreter's sys.version at once; that the flow cannot be loaded shows with
// its tasks. It must be called at most once, and not together with Describe.
func (z *Zygote) Load(ctx context.Context, request LoadRequest) (version string, err error) {
	request.Op = "load"
	if err := z.conn.Send(request, nil); err != nil {
		return "", z.cause(err)
	}
	raw, err := z.answer(ctx, "loading")
	if err != nil {
		return "", err
	}
	var loading struct {
		Python string `json:"python"`
	}
	if err := json.Unmarshal(raw, &loading); err != nil {
		return "", fmt.Errorf("reading a message of the Python process: %w", err)
	}
	return loading.Python, nil
}

func (z *Zygote) answer(ctx context.Context, op string) (json.RawMessage, error) {
	select {
	case msg := <-z.answers:
		if msg.Op != op {
			return nil, fmt.Errorf("unexpected answer %q of the Python process", msg.Op)
		}
		return msg.JSON, nil
	case <-z.gone:
		return nil, z.cause(nil)
	case <-ctx.Done():
		z.giveUp()
		return nil, ctx.Err()
	}
}

// giveUp ends a zygote for which nobody waits any longer. It may load the flow for long yet, and hears nothing meanwhile. One
// that has forked is left alone: it answers soon, and knows how its children end.
func (z *Zygote) giveUp() {
	z.mu.Lock()
	defer z.mu.Unlock()
	if !z.forked && z.dead == nil {
		SignalGroup(z.cmd.Process.Pid, true)
	}
}

// cause prefers the reason of the zygote's end over err.
func (z *Zygote) cause(err error) error {
	select {
	case <-z.gone:
	case <-time.After(200 * time.Millisecond):
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.dead != nil {
		return z.dead
	}
	return err
}

// connected returns a process that is yet to start, and the end of the task socket that it is to be given. That stays open
// here until the process has ended.
func connected() (*Process, *os.File, error) {
	sock, peer, err := socketPair()
	if err != nil {
		return nil, nil, err
	}
	p := &Process{Conn: NewConn(sock), exit: make(chan struct{})}
	p.hangUp = func() {
		_ = unix.Shutdown(int(peer.Fd()), unix.SHUT_RDWR)
		peer.Close()
	}
	return p, peer, nil
}

// discard lets go of a process that has not started.
func (p *Process) discard() {
	p.hangUp()
	p.Conn.Close()
}

// Fork starts a child, which waits until the flow is loaded. It takes over stdout and stderr and closes them. Where ctx is done
// before there is a child, its error is returned; the zygote may be gone then.
func (z *Zygote) Fork(ctx context.Context, stdout, stderr *os.File) (*Process, error) {
	defer stdout.Close()
	defer stderr.Close()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p, peer, err := connected()
	if err != nil {
		return nil, err
	}
	answer := make(chan Message, 1)
	z.mu.Lock()
	if z.dead != nil {
		z.mu.Unlock()
		p.discard()
		return nil, z.dead
	}
	z.nextID++
	id := fmt.Sprint(z.nextID)
	z.waiting[id] = answer
	z.running[id] = p
	z.mu.Unlock()

	frame, err := encode(map[string]string{"op": "fork", "id": id}, nil)
	if err == nil {
		// Fd also puts the descriptors into blocking mode, which the child needs.
		rights := unix.UnixRights(int(peer.Fd()), int(stdout.Fd()), int(stderr.Fd()))
		z.conn.mu.Lock()
		_, _, err = z.sock.WriteMsgUnix(frame, rights, nil)
		z.conn.mu.Unlock()
	}
	if err != nil {
		z.mu.Lock()
		delete(z.waiting, id)
		delete(z.running, id)
		z.mu.Unlock()
		p.discard()
		return nil, z.cause(fmt.Errorf("asking for a step process: %w", err))
	}
	select {
	case msg := <-answer:
		return p, p.forked(msg)
	case <-z.gone:
	case <-ctx.Done():
		z.giveUp()
		select {
		case msg := <-answer:
			return p, p.forked(msg)
		case <-z.gone:
		}
	}
	p.Conn.Close()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return nil, z.cause(nil)
}

func (p *Process) forked(answer Message) error {
	var forked struct {
		Pid int `json:"pid"`
	}
	if err := json.Unmarshal(answer.JSON, &forked); err != nil {
		return fmt.Errorf("reading a message of the Python process: %w", err)
	}
	p.Pid = forked.Pid
	return nil
}

// Close ends the zygote and, after a grace, what it still runs.
func (z *Zygote) Close() error {
	z.sock.Close()
	select {
	case <-z.gone:
	case <-time.After(10 * time.Second):
		_ = z.cmd.Process.Kill()
		<-z.gone
	}
	return nil
}

// Spawn starts a process of its own for one task. It takes over stdout and stderr and closes them.
func Spawn(opt Options, stdout, stderr *os.File) (*Process, error) {
	defer stdout.Close()
	defer stderr.Close()
	p, peer, err := connected()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(opt.Interpreter, opt.script(), "--task", opt.target())
	cmd.Dir = opt.Dir
	cmd.Env = opt.environment()
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.ExtraFiles = []*os.File{peer}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.start(cmd); err != nil {
		p.discard()
		return nil, fmt.Errorf("starting %s: %w", opt.Interpreter, err)
	}
	return p, nil
}

// WaitExit waits for a started command and says how it ended.
func WaitExit(cmd *exec.Cmd) Exit {
	err := cmd.Wait()
	state := cmd.ProcessState
	if state == nil {
		return Exit{Err: err}
	}
	exit := Exit{Code: state.ExitCode(), CPU: state.UserTime() + state.SystemTime()}
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		exit.Signal = int(status.Signal())
	}
	if usage, ok := state.SysUsage().(*syscall.Rusage); ok {
		exit.MaxRSS = maxRSS(usage)
	}
	return exit
}

// Terminate asks the process and everything it started to end.
func (p *Process) Terminate() { SignalGroup(p.Pid, false) }

// Kill ends the process and everything it started.
func (p *Process) Kill() { SignalGroup(p.Pid, true) }

// SignalGroup sends SIGTERM, or SIGKILL, to a process group.
func SignalGroup(pid int, kill bool) {
	if pid <= 0 {
		return
	}
	sig := syscall.SIGTERM
	if kill {
		sig = syscall.SIGKILL
	}
	// The group may be gone already; there is nothing to do about it then.
	_ = syscall.Kill(-pid, sig)
}
