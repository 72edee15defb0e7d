package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/mattfenwick/cyclonus/pkg/worker"
	"golang.org/x/sys/unix"
)

// On a busy machine 2 s were too few for connections that no policy forbids.
const patience = 5 * time.Second

// A descriptor of the pod's network namespace. It is that of any process whose control group carries the pod's UID.
func (m *machine) networkOf(namespace, name string) (int, error) {
	pod, err := m.GetPod(namespace, name)
	if err != nil {
		return 0, err
	}
	uid := string(pod.UID)
	m.guard.Lock()
	defer m.guard.Unlock()
	if known, ok := m.networks[uid]; ok {
		return known, nil
	}
	groups, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		return 0, err
	}
	for _, group := range groups {
		text, err := os.ReadFile(group)
		if err != nil || !strings.Contains(string(text), uid) {
			continue
		}
		network, err := unix.Open(filepath.Join(filepath.Dir(group), "ns/net"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			m.networks[uid] = network
			return network, nil
		}
	}
	return 0, fmt.Errorf("cannot find a process of pod %s/%s (%s) on this machine", namespace, name, uid)
}

func (m *machine) close() {
	for _, network := range m.networks {
		_ = unix.Close(network)
	}
}

func connectAll(network int, requests []*worker.Request) []*worker.Result {
	answers := make([]*worker.Result, len(requests))
	var all sync.WaitGroup
	for place, request := range requests {
		all.Go(func() {
			answers[place] = &worker.Result{Request: request}
			if err := connect(network, strings.ToLower(string(request.Protocol)), request.Address()); err != nil {
				answers[place].Error = err.Error()
			}
		})
	}
	all.Wait()
	return answers
}

// As `agnhost connect` does: by TCP the connection, by UDP an answer.
func connect(network int, protocol, address string) error {
	// The thread is not given back: it ends with this goroutine, in the pod's namespace.
	runtime.LockOSThread()
	if err := unix.Setns(network, unix.CLONE_NEWNET); err != nil {
		return err
	}
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	conn, err := (&net.Dialer{}).DialContext(ctx, protocol, address)
	if err != nil || protocol == "tcp" {
		if err == nil {
			err = conn.Close()
		}
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("hostname\n")); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 1024))
	return err
}
