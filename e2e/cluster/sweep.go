//go:build linux

package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// stopOrder is the order in which parts end: those that would start pods anew first, and the one that keeps everything
// else's state last.
var stopOrder = []string{partArgo, partKubelet, partScheduler, partControllers, partContainerd, partAPIServer, partEtcd}

// sweep ends what is left of a cluster and removes all that it wrote.
func sweep(root string, s *state) error {
	for _, name := range stopOrder {
		if id, ok := s.Parts[name]; ok {
			// Databases and containers are thrown away: nothing is worth waiting for.
			id.end(3 * time.Second)
		}
		if name == partContainerd {
			if err := endContainers(root); err != nil {
				return err
			}
		}
	}
	dir := filepath.Join(root, "cluster")
	if err := unmountBelow(dir); err != nil {
		return err
	}
	if _, ran := s.Parts[partKubelet]; ran {
		removeGroups()
		removeOutside(dir)
	}
	var problems []error
	for _, path := range []string{dir, s.Memory} {
		if path != "" {
			problems = append(problems, removeAll(path))
		}
	}
	if err := errors.Join(problems...); err != nil {
		return err
	}
	return os.Remove(stateFile(root))
}

// endContainers ends the containers of our containerd and the shims that look after them. A shim outlives containerd; its
// arguments name the socket.
func endContainers(root string) error {
	socket := containerdSocket(root)
	var left []identity
	for range 3 { // a shim may be about to start one more
		err := processes(func(pid int, args []string) {
			if !strings.HasPrefix(filepath.Base(args[0]), "containerd-shim") || !slices.Contains(args, socket) {
				return
			}
			for _, member := range append(children(pid), pid) {
				if id, err := identify(member); err == nil {
					id.kill(syscall.SIGKILL)
					left = append(left, id)
				}
			}
		})
		if err != nil {
			return err
		}
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		left = slices.DeleteFunc(left, func(id identity) bool { return !id.alive() })
		if len(left) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d processes of containers do not end, such as %d", len(left), left[0].PID)
		}
	}
}

// mountsBelow lists the mounts below a folder, the innermost first.
func mountsBelow(dir string) ([]string, error) {
	data, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	var points []string
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) > 1 && strings.HasPrefix(fields[1], dir+"/") {
			points = append(points, fields[1])
		}
	}
	slices.Sort(points)
	slices.Reverse(points)
	return points, nil
}

// unmountBelow undoes all mounts below a folder.
func unmountBelow(dir string) error {
	for range 3 {
		points, err := mountsBelow(dir)
		if err != nil || len(points) == 0 {
			return err
		}
		for _, point := range points {
			_ = syscall.Unmount(point, syscall.MNT_DETACH)
		}
	}
	return fmt.Errorf("mounts below %s cannot be undone", dir)
}

// removeGroups removes the control groups of pods that are gone. Those in use stay: the kernel removes none of them.
func removeGroups() {
	groups, _ := filepath.Glob("/sys/fs/cgroup/kubepods")
	old, _ := filepath.Glob("/sys/fs/cgroup/*/kubepods")
	for _, group := range append(groups, old...) {
		var dirs []string
		_ = filepath.WalkDir(group, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		slices.Reverse(dirs)
		for _, dir := range dirs {
			_ = syscall.Rmdir(dir)
		}
	}
}

// removeAll removes a folder in which something may still be closing its files.
func removeAll(dir string) (err error) {
	for range 50 {
		if err = os.RemoveAll(dir); err == nil {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return err
}
