package main

import (
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// A unix socket with a full queue refuses with EAGAIN at once: 30 pods that start together must not see that.
func TestAFullQueueIsWaitedFor(t *testing.T) {
	socket := socketPath(t)
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), socket)
	defer file.Close()
	if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: socket}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	for { // fill the queue
		conn, err := net.Dial("unix", socket)
		if err != nil {
			break
		}
		defer conn.Close()
	}
	listener, err := net.FileListener(file)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	time.AfterFunc(200*time.Millisecond, func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				readRequest(conn)
				_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 31\r\n\r\n" + emptyResult("1.1.0")))
			}()
		}
	})
	wantSuccess(t, call(t, sandboxEnv("ADD"), config("1.1.0", socket)), emptyResult("1.1.0"))
}
