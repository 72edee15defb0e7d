//go:build unix

package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// received is what the agent's second socket got.
type received struct {
	file os.FileInfo
	path string
}

// startNetnsAgent answers one request on the second socket beside `socket`.
func startNetnsAgent(t *testing.T, socket, reply string) <-chan received {
	t.Helper()
	listener := listen(t, filepath.Join(filepath.Dir(socket), netnsSocket))
	got := make(chan received, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		first, oob := make([]byte, 1), make([]byte, 256)
		_, n, _, _, err := conn.(*net.UnixConn).ReadMsgUnix(first, oob)
		if err != nil {
			t.Errorf("cannot read the first byte: %v", err)
			return
		}
		messages, err := syscall.ParseSocketControlMessage(oob[:n])
		if err != nil || len(messages) != 1 {
			t.Errorf("%d control messages, want one (%v)", len(messages), err)
			return
		}
		fds, err := syscall.ParseUnixRights(&messages[0])
		if err != nil || len(fds) != 1 {
			t.Errorf("%d descriptors, want one (%v)", len(fds), err)
			return
		}
		file := os.NewFile(uintptr(fds[0]), "netns")
		defer file.Close()
		info, _ := file.Stat()
		request, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			t.Errorf("no request follows: %v", err)
			return
		}
		_, _ = io.Copy(io.Discard, request.Body)
		got <- received{info, request.URL.Path}
		answer := http.Response{StatusCode: 200, ProtoMajor: 1, ProtoMinor: 1, ContentLength: int64(len(reply)), Body: io.NopCloser(strings.NewReader(reply))}
		_ = answer.Write(conn)
	}()
	return got
}

func TestANamespaceOfAProcessIsPassedToTheAgent(t *testing.T) {
	target := filepath.Join(t.TempDir(), "netns") // any file that is not the binary's own namespace
	if err := os.WriteFile(target, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	want, err := os.Stat(target)
	if err != nil {
		t.Fatal(err)
	}
	for verb, reply := range map[string]string{"ADD": emptyResult("1.1.0"), "CHECK": "{}"} {
		agent := startAgent(t, 500, "not this one")
		got := startNetnsAgent(t, agent.socket, reply)
		env := sandboxEnv(verb)
		env["CNI_NETNS"] = "/proc/self/root" + target
		stdout := ""
		if verb == "ADD" {
			stdout = reply
		}
		wantSuccess(t, call(t, env, config("1.1.0", agent.socket)), stdout)
		if one := <-got; !os.SameFile(one.file, want) || one.path != "/cni/v1/"+strings.ToLower(verb) {
			t.Errorf("%s: the agent got %+v, want the namespace and the verb", verb, one)
		}
		if n := len(agent.requests()); n != 0 {
			t.Errorf("%s: the first socket got %d requests, want none", verb, n)
		}
	}
}

func TestANamespaceOfAProcessNeedsTheSecondSocketForNothingButAddAndCheck(t *testing.T) {
	agent := startAgent(t, 200, "{}")
	env := sandboxEnv("DEL")
	env["CNI_NETNS"] = "/proc/1234567/ns/net"
	wantSuccess(t, call(t, env, config("1.1.0", agent.socket)), "")
	for _, verb := range []string{"ADD", "CHECK"} {
		env := sandboxEnv(verb)
		env["CNI_NETNS"] = "/proc/1234567/ns/net"
		wantError(t, call(t, env, config("1.1.0", agent.socket)), 8, "cannot open CNI_NETNS: open /proc/1234567/ns/net: no such file", "has its process ended?")
		env["CNI_NETNS"] = "/proc/self/root" + binary
		wantError(t, call(t, env, config("1.1.0", agent.socket)), 11, netnsSocket+": connect: no such file", "an agent that is older than this binary")
	}
}

func TestAFifoInPlaceOfANamespaceIsNotWaitedFor(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "netns")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	opened := make(chan error, 1)
	go func() {
		file, err := unseenNamespace("/proc/self/root" + fifo)
		file.Close()
		opened <- err
	}()
	select {
	case <-opened:
	case <-time.After(hangsAfter):
		t.Error("it waits for somebody who writes")
	}
}
