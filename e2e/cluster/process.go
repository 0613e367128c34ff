//go:build linux

package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// identity names a process beyond the life of its id: two processes of one id do not start in one tick.
type identity struct {
	PID   int    `json:"pid"`
	Start string `json:"start"`
}

// identify reads the identity of a living process.
func identify(pid int) (identity, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return identity{}, err
	}
	// The second field is the program's name in parentheses, which may hold anything.
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	if len(fields) < 20 {
		return identity{}, fmt.Errorf("/proc/%d/stat is cut short", pid)
	}
	if fields[0] == "Z" {
		return identity{}, os.ErrProcessDone
	}
	return identity{pid, fields[19]}, nil
}

func (i identity) alive() bool {
	now, err := identify(i.PID)
	return err == nil && now == i
}

// kill sends a signal, unless the process is gone.
func (i identity) kill(sig syscall.Signal) {
	if i.alive() {
		_ = syscall.Kill(i.PID, sig)
	}
}

// end asks a process to end and, where that takes too long, makes it.
func (i identity) end(patience time.Duration) {
	i.kill(syscall.SIGTERM)
	for deadline := time.Now().Add(patience); i.alive(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			i.kill(syscall.SIGKILL)
			deadline = time.Now().Add(time.Hour)
		}
	}
}

// process is one running part of a cluster: a child of this process.
type process struct {
	identity
	name string
	log  string
	done chan struct{}
}

// startProcess starts a program in a session of its own, so that a Ctrl-C does not reach it.
func startProcess(name, dir string, env, args []string) (*process, error) {
	p := &process{name: name, log: filepath.Join(dir, "log", name+".log"), done: make(chan struct{})}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	go func() {
		_ = cmd.Wait()
		close(p.done)
	}()
	if p.identity, err = identify(cmd.Process.Pid); err != nil {
		<-p.done
		return nil, p.ended()
	}
	return p, nil
}

func (p *process) ended() error {
	return fmt.Errorf("%s has ended:\n%s", p.name, p.tail())
}

func (p *process) tail() string {
	data, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-3000):])
}

// await waits until check is content.
func (p *process) await(ctx context.Context, limit time.Duration, check func(ctx context.Context) error) error {
	gone := errors.New("gone")
	err := poll(ctx, limit, 100*time.Millisecond, func(ctx context.Context) error {
		select {
		case <-p.done:
			return nil
		default:
			return check(ctx)
		}
	})
	select {
	case <-p.done:
		err = gone
	default:
	}
	switch {
	case errors.Is(err, gone):
		return p.ended()
	case err != nil:
		return fmt.Errorf("%s is not ready: %w\n%s", p.name, err, p.tail())
	}
	return nil
}

// lock takes the lock that the owner of a cluster holds while it lives.
func lock(root string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(root, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// locked reports whether some process owns a cluster.
func locked(root string) bool {
	f, err := lock(root)
	if err != nil {
		return true
	}
	f.Close()
	return false
}

func awaitUnlocked(ctx context.Context, root string) error {
	return poll(ctx, 2*time.Minute, 50*time.Millisecond, func(context.Context) error {
		if locked(root) {
			return errors.New("the cluster is still being taken down")
		}
		return nil
	})
}

// stopStarting ends an owner that is still bringing its cluster up.
func stopStarting(ctx context.Context, root string, s *state) error {
	if err := syscall.Kill(s.Owner, syscall.SIGTERM); err != nil {
		return err
	}
	return awaitUnlocked(ctx, root)
}

// processes calls visit with each process of this machine and its arguments.
func processes(visit func(pid int, args []string)) error {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		data, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil || len(data) == 0 {
			continue
		}
		visit(pid, strings.Split(strings.TrimSuffix(string(data), "\x00"), "\x00"))
	}
	return nil
}

// children are the direct children of a process.
func children(pid int) []int {
	var list []int
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, task := range tasks {
		data, err := os.ReadFile(task)
		if err != nil {
			continue
		}
		for _, field := range strings.Fields(string(data)) {
			if child, err := strconv.Atoi(field); err == nil {
				list = append(list, child)
			}
		}
	}
	return list
}
