//go:build linux

package cluster

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// Some files are not where the parts were told to keep theirs, for they have fixed places.
const (
	kubeletFolder  = "/var/lib/kubelet"
	logLinks       = "/var/log/containers"
	shimFolder     = "/run/containerd"
	shimAddresses  = "run/io.containerd.runtime.v2.task/*/*/address"
	kubeletSockets = "device-plugins"
)

// removeOutside removes what the parts of the cluster in dir left elsewhere. Folders go if nothing else is in them.
func removeOutside(dir string) {
	// The sockets of shims that were killed. Containerd knows them by a file in each container's folder.
	addresses, _ := filepath.Glob(filepath.Join(dir, shimAddresses))
	for _, file := range addresses {
		data, err := os.ReadFile(file)
		if path, ok := strings.CutPrefix(strings.TrimSpace(string(data)), "unix://"); err == nil && ok && strings.HasPrefix(path, shimFolder) {
			_ = os.Remove(path)
		}
	}
	// The links by which tools that gather logs find those of containers.
	links, _ := filepath.Glob(logLinks + "/*.log")
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && strings.HasPrefix(target, dir+"/") {
			_ = os.Remove(link)
		}
	}
	// The socket on which devices announce themselves, unless another kubelet listens there.
	socket := filepath.Join(kubeletFolder, kubeletSockets, "kubelet.sock")
	if conn, err := net.Dial("unix", socket); err == nil {
		conn.Close()
	} else {
		_ = os.Remove(socket)
	}
	for _, folder := range []string{filepath.Join(kubeletFolder, kubeletSockets), kubeletFolder, logLinks,
		filepath.Join(shimFolder, "s"), filepath.Join(shimFolder, "runc"), shimFolder} {
		_ = os.Remove(folder)
	}
}

// Left lists what is there of a cluster of this clone: processes, mounts, folders. After Down that is nothing.
func Left(repo string) ([]string, error) {
	top, err := root(repo)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(top, "cluster")
	var left []string
	err = processes(func(pid int, args []string) {
		name := filepath.Base(args[0])
		ours := name == "etcd" || name == "containerd" || strings.HasPrefix(name, "containerd-shim") || strings.HasPrefix(args[0], top+"/bin/")
		if ours && strings.Contains(strings.Join(args, " "), top+"/") {
			left = append(left, fmt.Sprintf("process %d, %s", pid, name))
		}
	})
	if err != nil {
		return nil, err
	}
	mounts, err := mountsBelow(dir)
	for _, point := range mounts {
		left = append(left, "mount "+point)
	}
	for _, path := range []string{dir, stateFile(top)} {
		if _, err := os.Lstat(path); err == nil {
			left = append(left, path)
		}
	}
	links, _ := filepath.Glob(logLinks + "/*.log")
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && strings.HasPrefix(target, dir+"/") {
			left = append(left, link)
		}
	}
	return left, err
}
