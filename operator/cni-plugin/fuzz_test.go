package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	cniversion "github.com/containernetworking/cni/pkg/version"
)

// Whatever comes by standard input, by the environment or from the socket, a call ends in time, with a result or an error
// that the official library reads, and without a panic. The tests here call run, as main does, in the process of the test:
// some thousand calls a second. odd_test.go draws the same inputs in each run; `make fuzz` has Go look for others, led by
// what they reach.

// hangsAfter is far beyond each limit that a call has: nothing but a hang reaches it.
const hangsAfter = 2 * time.Minute

// manner is how the agent gives its answer.
type manner uint8

const (
	atOnce      manner = iota
	inPieces           // a few bytes at a time
	unheard            // without having read the request
	thenSilence        // and holds the connection open: the call has to give up
	manners            // how many there are
)

// input is all that a call takes from outside.
type input struct {
	command, containerID, netns, ifName, args, path string
	stdin                                           []byte
	answer                                          []byte // the bytes on the socket, head and body
	manner                                          manner
}

func FuzzConfig(f *testing.F) {
	l := newLaboratory(f)
	for _, in := range corpus(f) {
		f.Add(in.command, in.stdin)
	}
	f.Fuzz(func(t *testing.T, command string, stdin []byte) {
		in := plain(command)
		in.stdin = stdin
		must(t, l.try(in))
	})
}

func FuzzEnvironment(f *testing.F) {
	l := newLaboratory(f)
	for _, in := range corpus(f) {
		f.Add(in.command, in.containerID, in.netns, in.ifName, in.args, in.path)
	}
	f.Fuzz(func(t *testing.T, command, containerID, netns, ifName, args, path string) {
		in := plain(command)
		in.containerID, in.netns, in.ifName, in.args, in.path = containerID, netns, ifName, args, path
		must(t, l.try(in))
	})
}

func FuzzAnswer(f *testing.F) {
	l := newLaboratory(f)
	for _, in := range corpus(f) {
		f.Add(in.command, in.answer, uint8(in.manner))
	}
	f.Fuzz(func(t *testing.T, command string, answer []byte, how uint8) {
		in := plain(command)
		in.answer, in.manner = answer, manner(how)%manners
		must(t, l.try(in))
	})
}

// laboratory has an agent that gives the answer of the input under test, and the standard streams of the call as files.
type laboratory struct {
	dir                   string // of the sockets, on a file system in memory where there is one
	stdin, stdout, stderr *os.File

	mu       sync.Mutex
	now      input
	requests [][]byte      // bodies that came whole
	done     chan struct{} // closed when the call is over
}

func newLaboratory(t testing.TB) *laboratory {
	t.Helper()
	memory := "/dev/shm"
	if _, err := os.Stat(memory); err != nil {
		memory = ""
	}
	dir, err := os.MkdirTemp(memory, "azcni")
	if err != nil {
		t.Fatal(err)
	}
	l := &laboratory{dir: dir}
	was := [...]*os.File{os.Stdin, os.Stdout, os.Stderr}
	usual := defaultSocket
	defaultSocket = l.socket()
	t.Cleanup(func() {
		os.Stdin, os.Stdout, os.Stderr = was[0], was[1], was[2]
		defaultSocket = usual
		os.RemoveAll(dir)
	})
	for name, file := range map[string]**os.File{"in": &l.stdin, "out": &l.stdout, "err": &l.stderr} {
		if *file, err = os.Create(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, socket := range []string{l.socket(), filepath.Join(dir, netnsSocket)} {
		go l.serve(listen(t, socket))
	}
	return l
}

func (l *laboratory) socket() string { return filepath.Join(l.dir, "cni.sock") }

func (l *laboratory) serve(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go l.answer(conn)
	}
}

func (l *laboratory) answer(conn net.Conn) {
	defer conn.Close()
	l.mu.Lock()
	in, done := l.now, l.done
	l.mu.Unlock()
	if in.manner != unheard {
		if body := wholeRequest(conn); body != nil {
			l.mu.Lock()
			l.requests = append(l.requests, body)
			l.mu.Unlock()
		}
	}
	step := len(in.answer)
	if in.manner == inPieces {
		step = len(in.answer)/5 + 1
	}
	for at := 0; at < len(in.answer); at += step {
		if _, err := conn.Write(in.answer[at:min(at+step, len(in.answer))]); err != nil {
			return
		}
	}
	if in.manner == thenSilence {
		<-done
	}
}

// wholeRequest reads one request, nil of one that is none.
func wholeRequest(conn net.Conn) []byte {
	var got []byte
	buffer := make([]byte, 4096)
	for {
		n, err := conn.Read(buffer)
		got = append(got, buffer[:n]...)
		head, body, found := bytes.Cut(got, []byte("\r\n\r\n"))
		if _, length, said := strings.Cut(string(head), "Content-Length: "); found && said {
			var want int
			if _, wrong := fmt.Sscan(length, &want); wrong == nil && len(body) >= want {
				return body
			}
		}
		if err != nil {
			return nil
		}
	}
}

// errLeads: the config names a socket outside of the laboratory's directory, beside which a DEL would write.
var errLeads = errors.New("the config names a file of this machine")

func must(t *testing.T, err error) {
	t.Helper()
	if err == errLeads {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// try makes the call and judges what a runtime sees of it.
func (l *laboratory) try(in input) error {
	if l.leads(in.stdin) {
		return errLeads
	}
	for _, text := range []*string{&in.command, &in.containerID, &in.netns, &in.ifName, &in.args, &in.path} {
		*text = strings.ReplaceAll(*text, "\x00", "") // no process has one in its environment
	}
	got, err := l.call(in)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, body := range l.requests {
		if !json.Valid(body) {
			return fmt.Errorf("the agent was sent what is not JSON: %q", body)
		}
	}
	return judge(got, in)
}

func judge(got outcome, in input) error {
	if got.stderr != "" && in.command != "" {
		return fmt.Errorf("%s writes to standard error: %q", in.command, got.stderr)
	}
	switch {
	case strings.Contains(got.stdout, " panicked: "):
		return errors.New(got.stdout)
	case got.exit == 1:
		return judgeError(got.stdout)
	case got.exit != 0:
		return fmt.Errorf("exit %d", got.exit)
	case in.command == "VERSION":
		_, err := (&cniversion.PluginDecoder{}).Decode([]byte(got.stdout))
		return err
	case in.command == "ADD":
		return judgeResult(got.stdout, in.stdin)
	case got.stdout != "":
		return fmt.Errorf("%s prints %q", in.command, got.stdout)
	}
	return nil
}

func (l *laboratory) leads(stdin []byte) bool {
	var conf netConf
	_ = json.Unmarshal(stdin, &conf)
	for _, socket := range []string{conf.Socket, lenientConfig(stdin).Socket} {
		if filepath.IsAbs(socket) && filepath.Dir(filepath.Clean(socket)) != l.dir {
			return true
		}
	}
	return false
}

func (l *laboratory) call(in input) (outcome, error) {
	os.RemoveAll(filepath.Join(l.dir, "released"))
	done := make(chan struct{})
	l.mu.Lock()
	l.now, l.requests, l.done = in, nil, done
	l.mu.Unlock()
	defer close(done)
	defer patient(in.manner != thenSilence)()
	setEnvironment(in)
	for _, file := range []*os.File{l.stdin, l.stdout, l.stderr} {
		if err := file.Truncate(0); err != nil {
			return outcome{}, err
		}
		file.Seek(0, io.SeekStart)
	}
	l.stdin.Write(in.stdin)
	l.stdin.Seek(0, io.SeekStart)
	os.Stdin, os.Stdout, os.Stderr = l.stdin, l.stdout, l.stderr
	watchdog := time.AfterFunc(hangsAfter, func() { panic(fmt.Sprintf("no end after %s: %+q", hangsAfter, in)) })
	exit := run("about")
	watchdog.Stop()
	stdout, err := os.ReadFile(l.stdout.Name())
	if err != nil {
		return outcome{}, err
	}
	stderr, err := os.ReadFile(l.stderr.Name())
	return outcome{exit, string(stdout), string(stderr)}, err
}

// patient sets how long the verbs wait for an answer: as ever, or hardly at all for one that will not come.
func patient(asEver bool) (restore func()) {
	all := []*verb{&verbAdd, &verbCheck, &verbGC, &verbDel, &verbStatus}
	var were []time.Duration
	for _, v := range all {
		were = append(were, v.timeout)
		if !asEver {
			v.timeout = 5 * time.Millisecond
		}
	}
	return func() {
		for i, v := range all {
			v.timeout = were[i]
		}
	}
}

func setEnvironment(in input) {
	for name, value := range map[string]string{
		"CNI_COMMAND": in.command, "CNI_CONTAINERID": in.containerID, "CNI_NETNS": in.netns, "CNI_IFNAME": in.ifName,
		"CNI_ARGS": in.args, "CNI_PATH": in.path,
	} {
		os.Setenv(name, value)
	}
}

// judgeError: one document, with a version that the specification could have, a code and words.
func judgeError(stdout string) error {
	var e cniError
	decoder := json.NewDecoder(strings.NewReader(stdout))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&e); err != nil || decoder.More() {
		return fmt.Errorf("no CNI error (%v): %q", err, stdout)
	}
	if _, _, _, err := cniversion.ParseVersion(e.CNIVersion); err != nil || e.Code == 0 || e.Msg == "" {
		return fmt.Errorf("an error without a version (%v), a code or words: %q", err, stdout)
	}
	for _, trace := range []string{"goroutine ", "panic:", "runtime error"} {
		if strings.Contains(e.Msg, trace) {
			return fmt.Errorf("a trace: %q", stdout)
		}
	}
	return nil
}

// judgeResult: the runtime's library reads it in the version that the config asked for.
func judgeResult(stdout string, stdin []byte) error {
	var conf netConf
	if err := json.Unmarshal(stdin, &conf); err != nil {
		return fmt.Errorf("a result for a config that cannot be read (%v): %q", err, stdin)
	}
	if _, err := cniversion.NewResult(conf.CNIVersion, []byte(stdout)); err != nil {
		return fmt.Errorf("the library cannot read the result (%v): %q", err, stdout)
	}
	return nil
}
