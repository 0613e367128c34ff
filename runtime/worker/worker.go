package worker

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"time"
)

// ErrUnsupported: this operating system cannot run Python steps here.
var ErrUnsupported = errors.New("running Python steps needs Linux or macOS; compile and deploy work here")

// Options say how the Python process is started.
type Options struct {
	// Interpreter is the python3 to run.
	Interpreter string
	// SDKDir is the folder that holds mf_worker.py and the metaflow package.
	SDKDir string
	// FlowFile is the absolute path of the flow file; Class picks one of several flows in it and may be empty.
	FlowFile string
	Class    string
	// Dir is the working directory; empty for the current one.
	Dir string
	// Env is the whole environment, as "KEY=value"; PYTHONPATH and the protocol's own variable are added.
	Env []string
}

func (o Options) target() string {
	if o.Class == "" {
		return o.FlowFile
	}
	return o.FlowFile + ":" + o.Class
}

func (o Options) script() string { return filepath.Join(o.SDKDir, "mf_worker.py") }

// environment returns the process's environment.
func (o Options) environment() []string {
	path := o.SDKDir
	env := make([]string, 0, len(o.Env)+3)
	for _, kv := range o.Env {
		if rest, ok := cutPrefix(kv, "PYTHONPATH="); ok {
			if rest != "" && rest != o.SDKDir {
				path += string(filepath.ListSeparator) + rest
			}
			continue
		}
		env = append(env, kv)
	}
	return append(env, "PYTHONPATH="+path, "MF_PROTOCOL_FD=3")
}

func cutPrefix(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || s[:len(prefix)] != prefix {
		return "", false
	}
	return s[len(prefix):], true
}

// Exit says how a process ended.
type Exit struct {
	// Code is the exit code; meaningless when Signal is set.
	Code int
	// Signal is the number of the signal that ended the process; 0 if none.
	Signal int
	// MaxRSS is the peak resident memory in bytes; 0 when unknown.
	MaxRSS int64
	// CPU is the user and system time used; 0 when unknown.
	CPU time.Duration
	// Err is set when it could not be learned how the process ended.
	Err error
}

// String says how the process ended, in words that complete "the process …".
func (e Exit) String() string {
	switch {
	case e.Err != nil:
		return "was lost: " + e.Err.Error()
	case e.Signal != 0:
		return "was killed by signal " + signalName(e.Signal)
	default:
		return fmt.Sprintf("exited with code %d", e.Code)
	}
}

// Process is one step process.
type Process struct {
	// Conn is the task socket.
	Conn *Conn
	// Pid is the process id, also the id of its process group.
	Pid  int
	exit chan struct{}
	end  Exit
	// hangUp ends the process's side of the task socket; nil where there is none.
	hangUp func()
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.exit }

// Wait waits for the end of the process and says how it ended.
func (p *Process) Wait() Exit {
	<-p.exit
	return p.end
}

// finish says how the process ended. What it has sent can still be received, and then the end of it: children that it
// forked have the socket too, and may live longer.
func (p *Process) finish(e Exit) {
	if p.hangUp != nil {
		p.hangUp()
	}
	p.end = e
	close(p.exit)
}

// start starts cmd as the process and watches for its end.
func (p *Process) start(cmd *exec.Cmd) error {
	if err := cmd.Start(); err != nil {
		return err
	}
	p.Pid = cmd.Process.Pid
	go func() { p.finish(WaitExit(cmd)) }()
	return nil
}
