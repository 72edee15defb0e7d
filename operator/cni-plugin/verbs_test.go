package main

import (
	"encoding/json"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"
)

var allVersions = []string{"0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"}

// since is the specification version that introduced the verb.
var since = map[string]string{"ADD": "0.3.0", "DEL": "0.3.0", "CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}

func envOf(verb string) map[string]string {
	if verb == "GC" || verb == "STATUS" {
		return nodeEnv(verb)
	}
	return sandboxEnv(verb)
}

func TestEachVerbInEachVersion(t *testing.T) {
	for verb, first := range since {
		for _, v := range allVersions {
			t.Run(verb+" "+v, func(t *testing.T) {
				reply, stdout := "{}", ""
				if verb == "ADD" {
					reply, stdout = " "+emptyResult(v)+"\n", " "+emptyResult(v)+"\n" // verbatim, spaces too
				}
				agent := startAgent(t, 200, reply)
				got := call(t, envOf(verb), config(v, agent.socket))
				if slices.Index(allVersions, v) < slices.Index(allVersions, first) {
					wantError(t, got, 1, "config version does not allow "+verb)
					if n := len(agent.requests()); n != 0 {
						t.Errorf("the agent got %d requests, want none", n)
					}
					return
				}
				wantSuccess(t, got, stdout)
				requests := agent.requests()
				if len(requests) != 1 {
					t.Fatalf("the agent got %d requests, want 1", len(requests))
				}
				head := requests[0]
				head.body = ""
				want := request{"POST /cni/v1/" + strings.ToLower(verb) + " HTTP/1.1", "azure-cni", "application/json", ""}
				if head != want {
					t.Errorf("request %+v, want %+v", head, want)
				}
			})
		}
	}
}

func TestVersionListsWhatWeSpeak(t *testing.T) {
	got := call(t, map[string]string{"CNI_COMMAND": "VERSION"}, `{"cniVersion":"1.1.0"}`)
	var info struct {
		CNIVersion        string   `json:"cniVersion"`
		SupportedVersions []string `json:"supportedVersions"`
	}
	if err := json.Unmarshal([]byte(got.stdout), &info); err != nil || got.exit != 0 {
		t.Fatalf("exit %d, stdout %q: %v", got.exit, got.stdout, err)
	}
	if info.CNIVersion != "1.1.0" || !reflect.DeepEqual(info.SupportedVersions, allVersions) {
		t.Errorf("got %+v, want 1.1.0 and %q", info, allVersions)
	}
}

func TestUnsupportedVersionsAreRefused(t *testing.T) {
	agent := startAgent(t, 200, "{}")
	for _, v := range []string{"", "0.1.0", "0.2.0", "1.2.0", "2.0.0"} {
		wantError(t, call(t, sandboxEnv("ADD"), config(v, agent.socket)), 1, "incompatible CNI versions", `"0.3.0"`, `"1.1.0"`)
	}
	if n := len(agent.requests()); n != 0 {
		t.Errorf("the agent got %d requests, want none", n)
	}
}

func TestMissingVariablesAreNamed(t *testing.T) {
	needed := map[string][]string{
		"ADD":    {"CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"},
		"CHECK":  {"CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"},
		"DEL":    {"CNI_CONTAINERID", "CNI_IFNAME"},
		"GC":     {"CNI_PATH"},
		"STATUS": {"CNI_PATH"},
	}
	agent := startAgent(t, 200, emptyResult("1.1.0"))
	for verb, names := range needed {
		for _, name := range names {
			env := envOf(verb)
			delete(env, name)
			wantError(t, call(t, env, config("1.1.0", agent.socket)), 4, "required env variables ["+name+"] missing")
		}
		if verb != "DEL" { // which stops at the first
			wantError(t, call(t, map[string]string{"CNI_COMMAND": verb}, config("1.1.0", agent.socket)), 4, strings.Join(names, ","))
		}
	}
	if n := len(agent.requests()); n != 0 {
		t.Errorf("the agent got %d requests, want none", n)
	}
}

func TestInvalidVariablesAreNamed(t *testing.T) {
	cases := []struct{ name, value, says string }{
		{"CNI_COMMAND", "FROBNICATE", "unknown CNI_COMMAND: FROBNICATE"},
		{"CNI_CONTAINERID", "../../etc", "invalid characters in containerID"},
		{"CNI_IFNAME", "a/b", "interface name contains /"},
		{"CNI_IFNAME", "sixteencharacter", "interface name is too long"},
		{"CNI_ARGS", "K8S_POD_NAME", `cannot read CNI_ARGS: "K8S_POD_NAME" is not KEY=VALUE`},
		{"CNI_ARGS", "A=1;=2", `"=2" is not KEY=VALUE`},
		{"CNI_ARGS", "A=1;;B=2", `CNI_ARGS is "A=1;;B=2"`},
	}
	agent := startAgent(t, 200, emptyResult("1.1.0"))
	for _, c := range cases {
		env := sandboxEnv("ADD")
		env[c.name] = c.value
		wantError(t, call(t, env, config("1.1.0", agent.socket)), 4, c.says)
	}
	if n := len(agent.requests()); n != 0 {
		t.Errorf("the agent got %d requests, want none", n)
	}
}

func TestTheNodesOwnNamespaceIsRefusedBeforeTheAgentHears(t *testing.T) {
	agent := startAgent(t, 200, emptyResult("1.1.0"))
	env := sandboxEnv("ADD")
	env["CNI_NETNS"] = "/proc/self/ns/net"
	wantError(t, call(t, env, config("1.1.0", agent.socket)), 8, "/proc/self/ns/net is the node's own network namespace")
	if n := len(agent.requests()); n != 0 {
		t.Errorf("the agent got %d requests, want none", n)
	}
}

var malformedConfigs = []struct {
	stdin string
	code  uint
	says  string
}{
	{"", 6, "unexpected end of JSON input"},
	{"{", 6, "unexpected end of JSON input"},
	{"[]", 6, "cannot unmarshal array"},
	{"null", 7, "missing network name"},
	{`{"cniVersion":"1.1.0"}`, 7, "missing network name"},
	{`{"cniVersion":"1.1.0","name":"a b"}`, 7, "invalid characters found in network name"},
	{`{"cniVersion":11,"name":"azure-cni"}`, 6, "cniVersion"},
	{`{"cniVersion":"1.x","name":"azure-cni"}`, 1, "1.x"},
	{`{"cniVersion":"1.1.0","name":"azure-cni","socket":5}`, 7, `cannot use key "socket" of the network config: it is a number, not a string`},
	{`{"cniVersion":"1.1.0","name":"azure-cni","socket":"cni.sock"}`, 7, `"cni.sock" of the network config: it is not an absolute path (default: /run/azure-cni/cni.sock)`},
}

func TestMalformedConfigs(t *testing.T) {
	for _, c := range malformedConfigs {
		t.Run(c.stdin, func(t *testing.T) {
			wantError(t, call(t, sandboxEnv("ADD"), c.stdin), c.code, c.says)
		})
	}
}

func TestVersionFlag(t *testing.T) {
	out, err := exec.Command(binary, "--version").Output()
	if err != nil || string(out) != "azure-cni 1.2.3-test\n" {
		t.Errorf("got %q (%v)", out, err)
	}
}

func TestWithoutCommandItSaysWhatItIs(t *testing.T) {
	got := call(t, nil, "")
	if got.exit != 0 || got.stdout != "" {
		t.Errorf("exit %d, stdout %q; want exit 0 and nothing", got.exit, got.stdout)
	}
	for _, text := range []string{"CNI plugin azure-cni 1.2.3-test", "not by hand", "0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0"} {
		if !strings.Contains(got.stderr, text) {
			t.Errorf("stderr does not say %q: %q", text, got.stderr)
		}
	}
}
