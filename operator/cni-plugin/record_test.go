package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// records returns the files in released/ beside the socket, by name.
func records(t *testing.T, socket string) map[string]string {
	t.Helper()
	dir := filepath.Join(filepath.Dir(socket), "released")
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, entry := range entries {
		content, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		found[entry.Name()] = string(content)
	}
	return found
}

func TestDelWithoutAgentIsRecorded(t *testing.T) {
	socket := socketPath(t)
	assigned(t, socket, "c"+strings.Repeat("0", 300))
	wantSuccess(t, call(t, sandboxEnv("DEL"), config("1.1.0", socket)), "")
	first := records(t, socket)

	// The record is what the agent would have been sent.
	agent := startAgent(t, 200, "{}")
	wantSuccess(t, call(t, sandboxEnv("DEL"), config("1.1.0", agent.socket)), "")
	sent := strings.ReplaceAll(agent.requests()[0].body, agent.socket, socket)
	for name, content := range first {
		if !regexp.MustCompile(`^[0-9a-f]{32}\.json$`).MatchString(name) || content != sent {
			t.Errorf("record %s is %s\nwant %s", name, content, sent)
		}
		info, err := os.Stat(filepath.Join(filepath.Dir(socket), "released", name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("record's mode is %v, want 0600 (%v)", info.Mode(), err)
		}
	}

	// Again: the same one. Another interface or container: another one.
	wantSuccess(t, call(t, sandboxEnv("DEL"), config("1.1.0", socket)), "")
	if again := records(t, socket); len(first) != 1 || len(again) != 1 {
		t.Errorf("%d and then %d records, want 1 and 1", len(first), len(again))
	}
	for name, value := range map[string]string{"CNI_IFNAME": "net1", "CNI_CONTAINERID": "c" + strings.Repeat("0", 300)} {
		env := sandboxEnv("DEL")
		env[name] = value
		wantSuccess(t, call(t, env, config("1.1.0", socket)), "")
	}
	if all := records(t, socket); len(all) != 3 {
		t.Errorf("%d records, want 3", len(all))
	}
}

// A pipe is in no directory, so a node with one names a directory. Here a socket stands for the pipe.
func TestTheConfigMayNameTheDirectoryOfRecordsAndMark(t *testing.T) {
	socket, runDir := socketPath(t), filepath.Dir(socketPath(t))
	conf := strings.Replace(config("1.1.0", socket), "{", fmt.Sprintf(`{"runDir":%q,`, runDir), 1)
	assigned(t, filepath.Join(runDir, "cni.sock"))
	wantSuccess(t, call(t, sandboxEnv("DEL"), conf), "")
	if found := records(t, filepath.Join(runDir, "cni.sock")); len(found) != 1 {
		t.Errorf("%d records in runDir, want 1", len(found))
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(socket), "released")); !os.IsNotExist(err) {
		t.Errorf("beside the socket is a directory of records, too (%v)", err)
	}
	wantError(t, call(t, nodeEnv("STATUS"), conf), 50)
	if err := os.WriteFile(filepath.Join(runDir, "served"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	wantSuccess(t, call(t, nodeEnv("STATUS"), conf), "")
	relative := strings.Replace(conf, runDir, "run", 1)
	wantError(t, call(t, nodeEnv("STATUS"), relative), 7, `cannot use runDir "run" of the network config`)
}

// The agent looks for a sandbox's record by its name before an ADD (host/run_directory.py): the same here and there
// (tests/unit/host/test_released.py).
func TestTheNameOfARecordIsWhatTheAgentLooksFor(t *testing.T) {
	got := recordName("azure-cni", "4f1c9a2be07d35c86ab1f2d3e4c5b6a7980f1e2d3c4b5a69788796a5b4c3d2e1", "eth0")
	if want := "5ced3d9a1d7d6402ad82f42355d3dcf0.json"; got != want {
		t.Errorf("the name is %s, want %s", got, want)
	}
}

// The agent lets a DEL change nothing for another network, so neither may its record take the place of that network's.
func TestDelsOfTwoNetworksAreTwoRecords(t *testing.T) {
	socket := socketPath(t)
	assigned(t, socket)
	own := config("1.1.0", socket)
	for _, conf := range []string{own, strings.Replace(own, `"name":"azure-cni"`, `"name":"storage"`, 1), own} {
		wantSuccess(t, call(t, sandboxEnv("DEL"), conf), "")
	}
	all := records(t, socket)
	for _, network := range []string{"azure-cni", "storage"} {
		found := 0
		for _, content := range all {
			if strings.Contains(content, `"name":"`+network+`"`) {
				found++
			}
		}
		if found != 1 {
			t.Errorf("%d records of network %s, want 1: %v", found, network, all)
		}
	}
}

func TestDelWhoseAnswerIsLostIsRecorded(t *testing.T) {
	for _, part := range []string{"", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{"} {
		socket := startRawAgent(t, func(conn net.Conn) {
			readRequest(conn)
			io.WriteString(conn, part)
		})
		wantSuccess(t, call(t, sandboxEnv("DEL"), config("1.1.0", socket)), "")
		if found := records(t, socket); len(found) != 1 {
			t.Errorf("after %q: %d records, want 1", part, len(found))
		}
	}
}

func TestDelNeedsNoNamespace(t *testing.T) {
	socket := socketPath(t)
	env := sandboxEnv("DEL")
	delete(env, "CNI_NETNS")
	delete(env, "CNI_ARGS")
	assigned(t, socket)
	wantSuccess(t, call(t, env, config("1.1.0", socket)), "")
	for _, content := range records(t, socket) {
		if !strings.Contains(content, `"netns":""`) || !strings.Contains(content, `"args":{}`) {
			t.Errorf("record is %s, want empty netns and args", content)
		}
	}
}

// A DEL that fails is tried again for ever, and its pod never ends: whatever a DEL does not need may be wrong.
func TestDelFailsForNothingThatItDoesNotNeed(t *testing.T) {
	own := func(socket, more string) string { return strings.TrimSuffix(config("1.1.0", socket), "}") + more + "}" }
	cases := []struct {
		name, variable, value string
		config                func(socket string) string
	}{
		{"args without a value", "CNI_ARGS", "K8S_POD_NAME", nil},
		{"args without a key", "CNI_ARGS", "A=1;=2;;B", nil},
		{"no path", "CNI_PATH", "", nil},
		{"a namespace that is gone", "CNI_NETNS", "/run/netns/gone", nil},
		{"a process that is gone", "CNI_NETNS", "/proc/0/ns/net", nil},
		{"a process number that is another's now", "CNI_NETNS", "/proc/self/ns/net", nil},
		{"unknown keys", "", "", func(socket string) string { return own(socket, `,"sokcet":1,"ipam":{"type":"x"}`) }},
		{"a previous result in prose", "", "", func(socket string) string { return own(socket, `,"prevResult":"none"`) }},
		{"a deep previous result", "", "", func(socket string) string {
			return own(socket, `,"prevResult":`+strings.Repeat("[", 5000)+strings.Repeat("]", 5000))
		}},
		{"a previous result of another version", "", "", func(socket string) string { return own(socket, `,"prevResult":{"cniVersion":"9"}`) }},
		{"a version of tomorrow", "", "", func(socket string) string { return config("2.0.0", socket) }},
		{"no version", "", "", func(socket string) string { return `{"name":"azure-cni","socket":"` + socket + `"}` }},
		{"no name", "", "", func(socket string) string { return `{"cniVersion":"1.1.0","socket":"` + socket + `"}` }},
		{"a version that is a number", "", "", func(socket string) string { return `{"cniVersion":1,"socket":"` + socket + `"}` }},
	}
	for _, c := range cases {
		env := sandboxEnv("DEL")
		if c.variable != "" {
			env[c.variable] = c.value
		}
		if c.config == nil {
			c.config = func(socket string) string { return config("1.1.0", socket) }
		}
		t.Run(c.name+", with an agent", func(t *testing.T) {
			agent := startAgent(t, 200, "{}")
			wantSuccess(t, call(t, env, c.config(agent.socket)), "")
			if got := agent.requests(); len(got) != 1 || !strings.Contains(got[0].body, sandboxEnv("DEL")["CNI_CONTAINERID"]) {
				t.Errorf("the agent got %+v, want one request for the container", got)
			}
		})
		t.Run(c.name+", without an agent", func(t *testing.T) {
			socket := socketPath(t)
			assigned(t, socket)
			wantSuccess(t, call(t, env, c.config(socket)), "")
			if found := records(t, socket); len(found) != 1 {
				t.Errorf("%d records, want 1", len(found))
			}
		})
	}
}

func TestAConfigThatCannotBeReadLeavesDelTheUsualSocket(t *testing.T) {
	usual := delConf{CNIVersion: "1.1.0", Socket: defaultSocket}
	for _, config := range []string{"", "{", "[]", "null", "\xff", `{"socket":5}`, `{"socket":"cni.sock"}`, `{"socket":""}`} {
		if got := lenientConfig([]byte(config)); got != usual {
			t.Errorf("%q: got %+v, want %+v", config, got, usual)
		}
	}
}

func TestDelThatCannotBeRecordedFails(t *testing.T) {
	socket := socketPath(t)
	assigned(t, socket)
	released := filepath.Join(filepath.Dir(socket), "released")
	if err := os.WriteFile(released, nil, 0o600); err != nil { // a file in its place: root may write to any directory
		t.Fatal(err)
	}
	wantError(t, call(t, sandboxEnv("DEL"), config("1.1.0", socket)), 5,
		"cannot record the release of 4f1c9a2be07d35c86ab1f2d3e4c5b6a7980f1e2d3c4b5a69788796a5b4c3d2e1/eth0 in "+released, "not a directory",
		"cannot reach the azure-cni agent at "+socket)
}

func TestRecordsWrittenAtOnceStayWhole(t *testing.T) {
	socket := socketPath(t)
	assigned(t, socket)
	var calls sync.WaitGroup
	for range 16 {
		calls.Add(1)
		go func() {
			defer calls.Done()
			if got := call(t, sandboxEnv("DEL"), config("1.1.0", socket)); got.exit != 0 {
				t.Errorf("exit %d: %s", got.exit, got.stdout)
			}
		}()
	}
	calls.Wait()
	found := records(t, socket)
	if len(found) != 1 {
		t.Fatalf("%d files, want one record and no temporary file", len(found))
	}
	for _, content := range found {
		if !strings.HasSuffix(content, `"config":{"cniVersion":"1.1.0","name":"azure-cni"}}`) {
			t.Errorf("record is %s", content)
		}
	}
}

func TestAFailedRecordLeavesNoTemporaryFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "taken.json", "child"), 0o700); err != nil { // rename onto it fails
		t.Fatal(err)
	}
	if err := writeRecord(dir, "taken.json", []byte("{}")); err == nil {
		t.Fatal("writing onto a directory succeeded")
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v (%v)", entries, err)
	}
}

func TestDelOfASandboxThatHasNoAddressLeavesNoRecord(t *testing.T) {
	id := sandboxEnv("DEL")["CNI_CONTAINERID"]
	cases := map[string]struct {
		file, content string
		records       int
	}{
		"no agent has ever run":            {"served", "", 0},
		"the ledger does not name it":      {"ledger.sqlite", "SQLite format 3\x00" + strings.Repeat("a", 10000), 0},
		"the ledger names it":              {"ledger.sqlite", strings.Repeat("\x00", 9000) + id + "eth0", 1},
		"the ledger's journal names it":    {"ledger.sqlite-journal", "\xd9\xd5" + id + "eth0", 1},
		"the ledger is larger than any is": {"ledger.sqlite", strings.Repeat("a", maxLedger+1), 1},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			socket := socketPath(t)
			if err := os.WriteFile(filepath.Join(filepath.Dir(socket), c.file), []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
			wantSuccess(t, call(t, sandboxEnv("DEL"), config("1.1.0", socket)), "")
			if c.records == 0 {
				wantNoRecords(t, socket)
			} else if found := records(t, socket); len(found) != c.records {
				t.Errorf("%d records, want %d", len(found), c.records)
			}
		})
	}
}

func TestALedgerThatCannotBeReadCostsNoRelease(t *testing.T) {
	socket := socketPath(t)
	if err := os.Mkdir(filepath.Join(filepath.Dir(socket), "ledger.sqlite"), 0o700); err != nil {
		t.Fatal(err)
	}
	wantSuccess(t, call(t, sandboxEnv("DEL"), config("1.1.0", socket)), "")
	if found := records(t, socket); len(found) != 1 {
		t.Errorf("%d records, want 1", len(found))
	}
}

func TestRecordsAreBounded(t *testing.T) {
	socket := socketPath(t)
	env := sandboxEnv("DEL")
	assigned(t, socket, "another")
	wantSuccess(t, call(t, env, config("1.1.0", socket)), "")
	released := filepath.Join(filepath.Dir(socket), "released")
	for n := range maxRecords - 1 {
		if err := os.WriteFile(filepath.Join(released, fmt.Sprintf("%d.json", n)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	wantSuccess(t, call(t, env, config("1.1.0", socket)), "") // replaces its own
	env["CNI_CONTAINERID"] = "another"
	wantError(t, call(t, env, config("1.1.0", socket)), 5,
		"cannot record the release of another/eth0", "4096 records wait there for an agent already", "cannot reach the azure-cni agent")
}

func TestDelOfAContainerWhoseLongNameTheLedgerSplitsIsRecorded(t *testing.T) {
	socket := socketPath(t)
	name := strings.Repeat("0123456789abcdef", 64)
	assigned(t, socket, name[:600]+"\x00 the rest is on another page \x00"+name[600:])
	env := sandboxEnv("DEL")
	env["CNI_CONTAINERID"] = name
	wantSuccess(t, call(t, env, config("1.1.0", socket)), "")
	if all := records(t, socket); len(all) != 1 {
		t.Errorf("%d records, want 1", len(all))
	}
}
