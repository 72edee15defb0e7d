package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// The tests run the real binary as a runtime does, in its own process with environment and standard input, against a
// fake agent on a socket in a temporary directory. The fake's HTTP is net/http's: a second opinion on ours.

var binary string

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "azure-cni-test-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "azure-cni")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w -X main.version=1.2.3-test", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "cannot build the binary: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// outcome is what a runtime sees of one call.
type outcome struct {
	exit           int
	stdout, stderr string
}

func call(t testing.TB, env map[string]string, stdin string) outcome {
	t.Helper()
	cmd := exec.Command(binary)
	cmd.Env = []string{} // not nil, which would mean ours
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("cannot run %s: %v", binary, err)
	}
	return outcome{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// sandboxEnv is the environment that containerd gives for one pod.
func sandboxEnv(verb string) map[string]string {
	return map[string]string{
		"CNI_COMMAND":     verb,
		"CNI_CONTAINERID": "4f1c9a2be07d35c86ab1f2d3e4c5b6a7980f1e2d3c4b5a69788796a5b4c3d2e1",
		"CNI_NETNS":       "/var/run/netns/cni-6a1f0c2e-93b4-4d58-8f27-1c0e5b7a9d34",
		"CNI_IFNAME":      "eth0",
		"CNI_ARGS": "K8S_POD_INFRA_CONTAINER_ID=4f1c9a2be07d35c86ab1f2d3e4c5b6a7980f1e2d3c4b5a69788796a5b4c3d2e1;" +
			"K8S_POD_UID=0d9c1f7e-5b2a-4c83-9e64-7f10a2b3c4d5;IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-5d4f8",
		"CNI_PATH": "/opt/cni/bin",
	}
}

// nodeEnv is the environment of the verbs that are about no sandbox.
func nodeEnv(verb string) map[string]string {
	return map[string]string{"CNI_COMMAND": verb, "CNI_PATH": "/opt/cni/bin"}
}

func config(cniVersion, socket string) string {
	return fmt.Sprintf(`{"cniVersion":%q,"name":"azure-cni","type":"azure-cni","socket":%q}`, cniVersion, socket)
}

// assigned writes a ledger that names the container of sandboxEnv, as that of an agent does that is away now.
func assigned(t testing.TB, socket string, containerIDs ...string) {
	t.Helper()
	containerIDs = append(containerIDs, sandboxEnv("DEL")["CNI_CONTAINERID"])
	content := "SQLite format 3\x00" + strings.Repeat("\x00", 4000) + strings.Join(containerIDs, "eth0\x00")
	if err := os.WriteFile(filepath.Join(filepath.Dir(socket), "ledger.sqlite"), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// emptyResult is the shortest ADD result.
func emptyResult(cniVersion string) string {
	return fmt.Sprintf(`{"cniVersion":%q,"ips":[]}`, cniVersion)
}

// request is one request that the fake agent got.
type request struct {
	line string // method, path and protocol
	host string
	kind string
	body string
}

// fakeAgent answers every request in the same way and remembers what it was asked.
type fakeAgent struct {
	socket string
	mu     sync.Mutex
	got    []request
}

func startAgent(t testing.TB, status int, reply string) *fakeAgent {
	t.Helper()
	a := &fakeAgent{socket: socketPath(t)}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("cannot read the request's body: %v", err)
		}
		a.mu.Lock()
		a.got = append(a.got, request{r.Method + " " + r.RequestURI + " " + r.Proto, r.Host, r.Header.Get("Content-Type"), string(body)})
		a.mu.Unlock()
		w.WriteHeader(status)
		io.WriteString(w, reply)
	})}
	listener := listen(t, a.socket)
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return a
}

func (a *fakeAgent) requests() []request {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]request(nil), a.got...)
}

// startRawAgent serves each connection with a function, for agents that do not even speak HTTP.
func startRawAgent(t testing.TB, serve func(net.Conn)) (socket string) {
	t.Helper()
	socket = socketPath(t)
	listener := listen(t, socket)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serve(conn)
			conn.Close()
		}
	}()
	return socket
}

// readRequest takes one whole request off the connection, so that closing it sends no reset.
func readRequest(conn net.Conn) {
	buffer := make([]byte, 64<<10)
	_, _ = conn.Read(buffer)
}

func listen(t testing.TB, socket string) net.Listener {
	t.Helper()
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return listener
}

// socketPath is short, as the kernel allows 107 bytes and t.TempDir repeats the name of the test.
func socketPath(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "azcni")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "cni.sock")
}

// cniError is an error as the specification describes it.
type cniError struct {
	CNIVersion string `json:"cniVersion"`
	Code       uint   `json:"code"`
	Msg        string `json:"msg"`
	Details    string `json:"details"`
}

// wantError checks that the call failed with this code and says each of the texts, in msg or details.
func wantError(t *testing.T, got outcome, code uint, says ...string) cniError {
	t.Helper()
	var e cniError
	decoder := json.NewDecoder(strings.NewReader(got.stdout))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&e); err != nil {
		t.Fatalf("stdout is no CNI error: %v: %q", err, got.stdout)
	}
	if decoder.More() {
		t.Errorf("stdout has more than one document: %q", got.stdout)
	}
	if got.exit != 1 || e.Code != code || e.CNIVersion == "" || e.Msg == "" {
		t.Errorf("exit %d with %+v, want exit 1 with code %d", got.exit, e, code)
	}
	for _, text := range says {
		if !strings.Contains(e.Msg+" "+e.Details, text) {
			t.Errorf("the error does not say %q: %+v", text, e)
		}
	}
	return e
}

func wantSuccess(t testing.TB, got outcome, stdout string) {
	t.Helper()
	if got.exit != 0 || got.stdout != stdout || got.stderr != "" {
		t.Fatalf("exit %d, stdout %q, stderr %q; want exit 0, stdout %q", got.exit, got.stdout, got.stderr, stdout)
	}
}
