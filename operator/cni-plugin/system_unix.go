//go:build unix

package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// defaultSocket is where the agent listens unless the config says otherwise. A variable, so that no test with a config
// that names no socket asks the agent of the machine that it runs on.
var defaultSocket = "/run/azure-cni/cni.sock"

const socketRule = "not an absolute path"

const hintWithoutKubernetes = "; on a VM without Kubernetes: systemctl status azure-cni-docker"

func isSocketName(name string) bool { return filepath.IsAbs(name) }

// directoryOf is where the agent that listens at a socket keeps its files: that of the socket.
func directoryOf(socket string) string { return filepath.Dir(socket) }

// passSocket takes requests that begin with a descriptor. It is beside the other.
func passSocket(socket string) string { return filepath.Join(filepath.Dir(socket), netnsSocket) }

// connect tries again while the queue of the socket is full, which a burst of pods makes it for milliseconds: a unix
// socket refuses then instead of blocking.
func connect(socket string) (connection, error) {
	addr := &net.UnixAddr{Name: socket, Net: "unix"}
	giveUp := time.Now().Add(connectTimeout)
	for {
		conn, err := net.DialUnix("unix", nil, addr)
		if err == nil {
			return conn, nil
		}
		if !errors.Is(err, syscall.EAGAIN) || time.Now().After(giveUp) {
			return nil, err
		}
		time.Sleep(connectPause)
	}
}

// passDescriptor sends an open file as the ancillary data of one byte (unix(7), SCM_RIGHTS).
func passDescriptor(conn connection, file *os.File) error {
	unix, ok := conn.(*net.UnixConn)
	if !ok {
		return fmt.Errorf("a %T passes no descriptors", conn)
	}
	_, _, err := unix.WriteMsgUnix([]byte{0}, syscall.UnixRights(int(file.Fd())), nil)
	return err
}

// wasLost says whether an error means that the agent closed the connection.
func wasLost(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// filesAreOfThisBoot: the agent's directory is on a file system that a reboot clears.
func filesAreOfThisBoot() bool { return true }
