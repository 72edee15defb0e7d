package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
)

// network is a runtime's view of the plugin: libcni, which every runtime uses, with a cache of its own.
func network(t *testing.T, agent *fakeAgent) (*libcni.CNIConfig, *libcni.NetworkConfigList) {
	t.Helper()
	list, err := libcni.NetworkConfFromBytes(fmt.Appendf(nil, `{"cniVersion":"1.1.0","name":"azure-cni","plugins":[%s]}`,
		config("1.1.0", agent.socket)))
	if err != nil {
		t.Fatal(err)
	}
	return libcni.NewCNIConfigWithCacheDir([]string{filepath.Dir(binary)}, t.TempDir(), nil), list
}

func attachment(container string) *libcni.RuntimeConf {
	return &libcni.RuntimeConf{ContainerID: container, NetNS: "/var/run/netns/" + container, IfName: "eth0"}
}

// asked are the requests since the last look: verb and container, for GC the valid attachments.
func (a *fakeAgent) asked(t *testing.T, since int) []string {
	t.Helper()
	var found []string
	for _, r := range a.requests()[since:] {
		var body struct {
			ContainerID string `json:"containerID"`
			Config      struct {
				Valid json.RawMessage `json:"cni.dev/valid-attachments"`
			} `json:"config"`
		}
		if err := json.Unmarshal([]byte(r.body), &body); err != nil {
			t.Fatal(err)
		}
		found = append(found, r.line[len("POST /cni/v1/"):len(r.line)-len(" HTTP/1.1")]+" "+body.ContainerID+string(body.Config.Valid))
	}
	return found
}

func TestGCAsLibcniCallsIt(t *testing.T) {
	agent := startAgent(t, 200, emptyResult("1.1.0"))
	runtime, list := network(t, agent)
	ctx := context.Background()
	for _, container := range []string{"kept", "stale"} {
		if _, err := runtime.AddNetworkList(ctx, list, attachment(container)); err != nil {
			t.Fatal(err)
		}
	}
	want := func(since int, expected ...string) {
		t.Helper()
		if got := agent.asked(t, since); !reflect.DeepEqual(got, expected) {
			t.Errorf("the agent was asked %q, want %q", got, expected)
		}
	}
	want(0, "add kept", "add stale")

	valid := []types.GCAttachment{{ContainerID: "kept", IfName: "eth0"}}
	if err := runtime.GCNetworkList(ctx, list, &libcni.GCArgs{ValidAttachments: valid}); err != nil {
		t.Fatal(err)
	}
	want(2, "del stale", `gc [{"containerID":"kept","ifname":"eth0"}]`)

	// As `cnitool gc` does it without attachments: nothing is valid, so libcni itself detaches all that it has cached.
	if err := runtime.GCNetworkList(ctx, list, &libcni.GCArgs{}); err != nil {
		t.Fatal(err)
	}
	want(4, "del kept", "gc null")
}

// podman asks for an address and a MAC by capabilities, and Multus by these and by CNI_ARGS. libcni drops in silence what
// the conflist does not declare.
func TestWhatARuntimeAsksForReachesTheAgentOnlyWhereTheConflistDeclaresIt(t *testing.T) {
	agent := startAgent(t, 200, emptyResult("1.1.0"))
	runtime, _ := network(t, agent)
	asking := attachment("asks")
	asking.CapabilityArgs = map[string]any{"ips": []string{"10.240.0.36"}, "mac": "02:00:00:00:00:01"}
	asking.Args = [][2]string{{"IgnoreUnknown", "1"}, {"IP", "10.240.0.36"}}
	for i, declared := range []string{`,"capabilities":{"ips":true,"mac":true}`, ""} {
		list, err := libcni.NetworkConfFromBytes(fmt.Appendf(nil, `{"cniVersion":"1.1.0","name":"azure-cni","plugins":[`+
			`{"type":"azure-cni","socket":%q%s}]}`, agent.socket, declared))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := runtime.AddNetworkList(context.Background(), list, asking); err != nil {
			t.Fatal(err)
		}
		var body struct {
			Args   map[string]string
			Config struct{ RuntimeConfig map[string]any }
		}
		mustDecode(t, agent.requests()[i].body, &body)
		var want map[string]any
		if declared != "" {
			want = map[string]any{"ips": []any{"10.240.0.36"}, "mac": "02:00:00:00:00:01"}
		}
		if got := body.Config.RuntimeConfig; !reflect.DeepEqual(got, want) {
			t.Errorf("with %q the agent was given %v, want %v", declared, got, want)
		}
		if body.Args["IP"] != "10.240.0.36" {
			t.Errorf("CNI_ARGS reach the agent in any case, and it was given %v", body.Args)
		}
	}
}

func TestStatusAsLibcniAsksForIt(t *testing.T) {
	agent := startAgent(t, 503, `{"cniVersion":"1.1.0","code":50,"msg":"this node cannot take a pod yet"}`)
	runtime, list := network(t, agent)
	err := runtime.GetStatusNetworkList(context.Background(), list)
	if reported, ok := err.(*types.Error); !ok || reported.Code != types.ErrPluginNotAvailable || reported.Msg != "this node cannot take a pod yet" {
		t.Errorf("got %v, want the agent's error with code 50", err)
	}
	list.CNIVersion = "1.0.0"
	if err := runtime.GetStatusNetworkList(context.Background(), list); err != nil {
		t.Errorf("got %v: of a conflist of 1.0.0 nobody is asked", err)
	}
	if got := agent.asked(t, 0); !reflect.DeepEqual(got, []string{"status "}) {
		t.Errorf("the agent was asked %q, want one STATUS", got)
	}
}
