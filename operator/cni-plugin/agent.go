package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/containernetworking/cni/pkg/types"
)

const (
	connectTimeout = 2 * time.Second // an agent that accepts no connection for this long is stuck, not busy
	connectPause   = 10 * time.Millisecond

	netnsSocket = "netns.sock" // beside the other: the agent takes requests here that begin with a descriptor

	maxReply = 1 << 20 // bytes; a result is about one thousand
)

// connection is one to the agent, over whatever this system has for that.
type connection interface {
	io.ReadWriteCloser
	SetDeadline(time.Time) error
}

// verb is one operation of the agent: its name in the path of the request, and how long to wait for the answer.
type verb struct {
	name    string
	timeout time.Duration
}

// noAnswer: the agent was not reached, or was lost before its answer was whole. What was asked may have been done.
type noAnswer struct {
	socket  string
	cause   string
	reached bool // some process took the connection: it may still carry out what it was asked
}

func (e *noAnswer) Error() string {
	return fmt.Sprintf("cannot reach the azure-cni agent at %s: %s", e.socket, e.cause)
}

func (e *noAnswer) hint() string {
	node, err := os.Hostname()
	if err != nil {
		node = "NODE"
	}
	hint := "is its pod running on this node? kubectl get pods -A -l app.kubernetes.io/name=azure-cni" +
		" --field-selector spec.nodeName=" + strings.ToLower(node) + hintWithoutKubernetes
	if filepath.Base(e.socket) == netnsSocket {
		hint += "; an agent that is older than this binary cannot take a namespace that is named by a process (cri-dockerd)"
	}
	return hint
}

// ask sends one request to the agent and returns the body of its answer. An error is a *noAnswer, or a *types.Error:
// the agent's own, or 999 for an answer that makes no sense.
func ask(socket string, v verb, request []byte) ([]byte, error) {
	return askAbout(nil, socket, v, request)
}

// askAbout passes a network namespace along, unless it is nil; the agent takes such requests on a socket of their own.
func askAbout(netns *os.File, socket string, v verb, request []byte) ([]byte, error) {
	if netns != nil {
		socket = passSocket(socket)
	}
	conn, err := connect(socket)
	if err != nil {
		return nil, &noAnswer{socket, cause(err, v), false}
	}
	defer conn.Close()
	status, body, err := exchange(conn, netns, v, request)
	var senseless *types.Error
	switch {
	case errors.As(err, &senseless):
		return nil, senseless
	case err != nil:
		return nil, &noAnswer{socket, cause(err, v), true}
	case status != 200:
		return nil, agentError(status, body)
	}
	return body, nil
}

func exchange(conn connection, netns *os.File, v verb, request []byte) (status int, body []byte, err error) {
	if err := conn.SetDeadline(time.Now().Add(v.timeout)); err != nil {
		return 0, nil, err
	}
	if netns != nil {
		if err := passDescriptor(conn, netns); err != nil {
			return 0, nil, err
		}
	}
	head := fmt.Sprintf("POST /cni/v1/%s HTTP/1.1\r\nHost: azure-cni\r\nConnection: close\r\n"+
		"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n", v.name, len(request))
	if _, err := conn.Write(append([]byte(head), request...)); err != nil {
		return 0, nil, err
	}
	return readReply(conn)
}

// readReply reads an HTTP/1.1 response that has a Content-Length. Not with net/http: measured, that makes the binary
// 6.5 MB instead of 2.8 and each call 1 ms longer.
func readReply(conn io.Reader) (status int, body []byte, err error) {
	r := bufio.NewReader(io.LimitReader(conn, maxReply))
	first, err := r.ReadString('\n')
	if err != nil {
		return 0, nil, err
	}
	proto, rest, _ := strings.Cut(strings.TrimSpace(first), " ")
	code, _, _ := strings.Cut(rest, " ")
	if status, err = strconv.Atoi(code); err != nil || !strings.HasPrefix(proto, "HTTP/1.") {
		return 0, nil, unreadable("it does not begin as HTTP/1.1", []byte(first))
	}
	length, err := readHeader(r)
	if err != nil {
		return 0, nil, err
	}
	body = make([]byte, length)
	_, err = io.ReadFull(r, body)
	return status, body, err
}

// readHeader reads up to the empty line and returns the Content-Length.
func readHeader(r *bufio.Reader) (int, error) {
	var header strings.Builder
	length := -1
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return 0, err
		}
		if strings.TrimSpace(line) == "" {
			break
		}
		header.WriteString(line)
		name, value, _ := strings.Cut(line, ":")
		if strings.EqualFold(name, "Content-Length") {
			if length, err = strconv.Atoi(strings.TrimSpace(value)); err != nil {
				length = -1
			}
		}
	}
	if length < 0 || length > maxReply {
		return 0, unreadable(fmt.Sprintf("it has no Content-Length from 0 to %d", maxReply), []byte(header.String()))
	}
	return length, nil
}

// agentError is the CNI error in an answer that is not 200.
func agentError(status int, body []byte) *types.Error {
	var agents types.Error
	if err := json.Unmarshal(body, &agents); err != nil || agents.Code == 0 || agents.Msg == "" {
		return unreadable(fmt.Sprintf("HTTP status %d without a CNI error", status), body)
	}
	return &agents
}

// unreadable is the error for an answer that did come but makes no sense; its details show the beginning.
func unreadable(why string, what []byte) *types.Error {
	const shown = 512
	what = what[:min(len(what), shown)]
	return types.NewError(types.ErrInternal, "cannot read the answer of the azure-cni agent: "+why, fmt.Sprintf("it sent %q", what))
}

// cause says why there is no answer without repeating the socket's path.
func cause(err error, v verb) string {
	var op *net.OpError
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Sprintf("no answer within %s", v.timeout)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), wasLost(err):
		return "it closed the connection before its answer was complete"
	case errors.As(err, &op):
		return op.Err.Error()
	default:
		return err.Error()
	}
}
