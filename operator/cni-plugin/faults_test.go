package main

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/types"
)

func TestWithoutAgent(t *testing.T) {
	hostname, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	absent := socketPath(t)
	abandoned := socketPath(t) // a socket file that no one listens on: the agent was killed
	listener := listen(t, abandoned).(*net.UnixListener)
	listener.SetUnlinkOnClose(false)
	listener.Close()

	codes := map[string]uint{"ADD": 11, "CHECK": 11, "GC": 11, "STATUS": 50}
	for verb, code := range codes {
		for socket, why := range map[string]string{absent: "no such file or directory", abandoned: "connection refused"} {
			e := wantError(t, call(t, envOf(verb), config("1.1.0", socket)), code,
				"cannot reach the azure-cni agent at "+socket+": connect: "+why,
				"is its pod running on this node? kubectl get pods -A -l app.kubernetes.io/name=azure-cni"+
					" --field-selector spec.nodeName="+strings.ToLower(hostname)+
					"; on a VM without Kubernetes: systemctl status azure-cni-docker")
			if e.CNIVersion != "1.1.0" {
				t.Errorf("%s: cniVersion %q, want the config's", verb, e.CNIVersion)
			}
		}
	}
}

func TestStatusWithoutAnAgentThatHasServed(t *testing.T) {
	absent := socketPath(t)
	mark := filepath.Join(filepath.Dir(absent), "served")
	if err := os.WriteFile(mark, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	wantSuccess(t, call(t, nodeEnv("STATUS"), config("1.1.0", absent)), "")
	for _, verb := range []string{"ADD", "CHECK", "GC"} {
		wantError(t, call(t, envOf(verb), config("1.1.0", absent)), 11, "cannot reach the azure-cni agent")
	}
	wantError(t, call(t, nodeEnv("STATUS"), `{"cniVersion":"1.1.0","name":"n","type":"azure-cni","socket":7}`), 7)

	agent := startAgent(t, 503, `{"cniVersion":"1.1.0","code":50,"msg":"this node cannot take a pod yet"}`)
	if err := os.WriteFile(filepath.Join(filepath.Dir(agent.socket), "served"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	wantError(t, call(t, nodeEnv("STATUS"), config("1.1.0", agent.socket)), 50, "this node cannot take a pod yet")
}

func TestTheAgentsErrorsPassThrough(t *testing.T) {
	agent := startAgent(t, 503, `{"cniVersion":"0.4.0","code":11,"msg":"cannot assign an address: 250 of 250 in use","details":"node full"}`)
	for _, verb := range []string{"ADD", "DEL", "CHECK"} {
		got := wantError(t, call(t, sandboxEnv(verb), config("0.4.0", agent.socket)), 11)
		want := cniError{"0.4.0", 11, "cannot assign an address: 250 of 250 in use", "node full"}
		if got != want {
			t.Errorf("%s: got %+v, want %+v", verb, got, want)
		}
	}
	wantNoRecords(t, agent.socket)

	agent = startAgent(t, 503, `{"cniVersion":"1.1.0","code":51,"msg":"not ready"}`)
	for _, verb := range []string{"GC", "STATUS"} {
		got := wantError(t, call(t, nodeEnv(verb), config("1.1.0", agent.socket)), 51)
		if want := (cniError{"1.1.0", 51, "not ready", ""}); got != want {
			t.Errorf("%s: got %+v, want %+v", verb, got, want)
		}
	}
}

var senselessAnswers = []struct{ name, raw, says string }{
	{"not HTTP", "SSH-2.0-OpenSSH_10\r\n", `it sent "SSH-2.0-OpenSSH_10\r\n"`},
	{"no status", "HTTP/1.1 OK\r\n\r\n", "it does not begin as HTTP/1.1"},
	{"no length", "HTTP/1.1 200 OK\r\n\r\n{}", "no Content-Length"},
	{"length in words", "HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\n{}", `it sent "Content-Length: two\r\n"`},
	{"absurd length", "HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", "no Content-Length from 0 to 1048576"},
	{"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", "Transfer-Encoding: chunked"},
	{"error without a body", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "HTTP status 404 without a CNI error"},
	{"error in prose", "HTTP/1.1 500 Oops\r\nContent-Length: 6\r\n\r\nbroken", `it sent "broken"`},
	{"error without a code", "HTTP/1.1 500 Oops\r\nContent-Length: 13\r\n\r\n" + `{"msg": "oh"}`, "HTTP status 500 without a CNI error"},
	{"error without words", "HTTP/1.1 500 Oops\r\nContent-Length: 12\r\n\r\n" + `{"code": 11}`, "HTTP status 500 without a CNI error"},
}

func TestAnswersWithoutSense(t *testing.T) {
	for _, c := range senselessAnswers {
		t.Run(c.name, func(t *testing.T) {
			socket := startRawAgent(t, func(conn net.Conn) {
				readRequest(conn)
				io.WriteString(conn, c.raw)
			})
			for verb := range since {
				wantError(t, call(t, envOf(verb), config("1.1.0", socket)), 999, "cannot read the answer of the azure-cni agent", c.says)
			}
			wantNoRecords(t, socket)
		})
	}
}

func TestAnAddResultMustBeReadable(t *testing.T) {
	cases := []struct{ name, reply, says string }{
		{"empty", "", "the result is not a JSON object"},
		{"cut", `{"cniVersion":"1.0.0","ips":[`, "the result is not a JSON object: unexpected end of JSON input"},
		{"not an object", `"1.0.0"`, "the result is not a JSON object"},
		{"other version", emptyResult("1.1.0"), `the result has cniVersion "1.1.0", the config "1.0.0"`},
		{"no version", `{}`, `the result has cniVersion "", the config "1.0.0"`},
		{"no address", `{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.300/24"}]}`, "it is no result of version 1.0.0: invalid CIDR address"},
		{"long prose", strings.Repeat("x", 1000), `it sent "` + strings.Repeat("x", 512) + `"`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			agent := startAgent(t, 200, c.reply)
			wantError(t, call(t, sandboxEnv("ADD"), config("1.0.0", agent.socket)), 999, "cannot read the answer", c.says)
		})
	}
}

// A DEL is carried out for a config of any version; what goes wrong then is said in one that exists.
func TestAnErrorHasAVersionThatTheRuntimeCanRead(t *testing.T) {
	agent := startAgent(t, 500, "broken")
	for _, version := range []string{"1.x", "latest"} {
		got := wantError(t, call(t, sandboxEnv("DEL"), config(version, agent.socket)), 999)
		if got.CNIVersion != "1.1.0" {
			t.Errorf("the error to a config of version %q has version %q, want 1.1.0", version, got.CNIVersion)
		}
	}
}

func TestAnAnswerThatBreaksOff(t *testing.T) {
	codes := map[string]uint{"ADD": 11, "CHECK": 11, "GC": 11, "STATUS": 50}
	for _, part := range []string{"", "HTTP/1.1 2", "HTTP/1.1 200 OK\r\nContent-Le", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"cniV"} {
		socket := startRawAgent(t, func(conn net.Conn) {
			readRequest(conn)
			io.WriteString(conn, part)
		})
		for verb, code := range codes {
			wantError(t, call(t, envOf(verb), config("1.1.0", socket)), code,
				"cannot reach the azure-cni agent at "+socket+": it closed the connection before its answer was complete")
		}
	}
}

func TestASlowAgentIsWaitedFor(t *testing.T) {
	socket := startRawAgent(t, func(conn net.Conn) {
		readRequest(conn)
		for _, part := range []string{"HTTP/1.1 200 OK\r\nConte", "nt-Length: 31\r\n\r\n", `{"cniVersion":"1.1.0"`, `,"ips":[]}`} {
			time.Sleep(100 * time.Millisecond)
			io.WriteString(conn, part)
		}
	})
	wantSuccess(t, call(t, sandboxEnv("ADD"), config("1.1.0", socket)), emptyResult("1.1.0"))
}

func TestASilentAgentIsGivenUpAfterTheVerbsTimeout(t *testing.T) {
	givenUp := make(chan struct{})
	defer close(givenUp)
	socket := startRawAgent(t, func(net.Conn) {
		select {
		case <-givenUp:
		case <-time.After(10 * time.Second): // so that a binary that never gives up fails here instead of hanging
		}
	})
	_, err := ask(socket, verb{"add", 50 * time.Millisecond}, []byte("{}"))
	var silent *noAnswer
	if !errors.As(err, &silent) || silent.cause != "no answer within 50ms" {
		t.Fatalf("got %v, want a *noAnswer that says: no answer within 50ms", err)
	}
}

func TestAPanicIsAnErrorThatTheRuntimeCanRead(t *testing.T) {
	printed, err := os.Create(filepath.Join(t.TempDir(), "stdout"))
	if err != nil {
		t.Fatal(err)
	}
	defer printed.Close()
	ours := os.Stdout
	os.Stdout = printed
	defer func() { os.Stdout = ours }()
	p := &plugin{cniVersion: "1.0.0", result: []byte("of an ADD")}
	exit := p.report(func() *types.Error {
		var missing *plugin
		return types.NewError(types.ErrInternal, missing.cniVersion, "")
	})
	stdout, err := os.ReadFile(printed.Name())
	if err != nil {
		t.Fatal(err)
	}
	got := wantError(t, outcome{exit, string(stdout), ""}, 999, "azure-cni "+version+" panicked: ", "nil pointer", "main.go:")
	if got.CNIVersion != "1.0.0" {
		t.Errorf("the error has version %q, the config 1.0.0", got.CNIVersion)
	}
}

func wantNoRecords(t *testing.T, socket string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(filepath.Dir(socket), "released")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("released/ exists although the agent answered (%v)", err)
	}
}
