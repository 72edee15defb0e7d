package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
)

// What runtimes and cnitool do by libcni, with the real binary: which DELs and which GC reach the agent.

const gcFile = "gc-libcni.json"

var (
	kept  = types.GCAttachment{ContainerID: sandboxEnv("GC")["CNI_CONTAINERID"], IfName: "eth0"}
	stale = types.GCAttachment{ContainerID: "stale", IfName: "eth0"}
)

// runtimeOn is libcni with a cache of its own and both sandboxes attached.
func runtimeOn(t *testing.T, agent *fakeAgent) (*libcni.CNIConfig, *libcni.NetworkConfigList) {
	t.Helper()
	list, err := libcni.ConfListFromBytes([]byte(`{"cniVersion":"1.1.0","name":"azure-cni","plugins":[` +
		`{"type":"azure-cni","socket":"` + agent.socket + `"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	cni := libcni.NewCNIConfigWithCacheDir([]string{filepath.Dir(binary)}, t.TempDir(), nil)
	for _, one := range []types.GCAttachment{kept, stale} {
		sandbox := &libcni.RuntimeConf{ContainerID: one.ContainerID, IfName: one.IfName, NetNS: "/run/netns/" + one.ContainerID}
		if _, err := cni.AddNetworkList(context.Background(), list, sandbox); err != nil {
			t.Fatal(err)
		}
	}
	return cni, list
}

// asked returns for each request after the ADDs its verb and, of a DEL, its container.
func asked(t *testing.T, agent *fakeAgent) []string {
	t.Helper()
	var all []string
	for _, got := range agent.requests() {
		verb := strings.TrimPrefix(strings.Fields(got.line)[1], "/cni/v1/")
		var body struct{ ContainerID string }
		mustDecode(t, got.body, &body)
		if verb != "add" {
			all = append(all, strings.TrimSpace(verb+" "+body.ContainerID))
		}
	}
	slices.Sort(all)
	return all
}

// attachments returns the list that the GC request has under the key, and whether it has the key.
func attachments(t *testing.T, agent *fakeAgent, key string) ([]types.GCAttachment, bool) {
	t.Helper()
	requests := agent.requests()
	var body struct{ Config map[string]json.RawMessage }
	mustDecode(t, requests[len(requests)-1].body, &body)
	raw, found := body.Config[key]
	var listed []types.GCAttachment
	if found {
		mustDecode(t, string(raw), &listed)
	}
	return listed, found
}

func TestGCFreesWhatTheRuntimeDoesNotList(t *testing.T) {
	agent := startAgent(t, 200, `{"cniVersion":"1.1.0","ips":[]}`)
	cni, list := runtimeOn(t, agent)
	if err := cni.GCNetworkList(context.Background(), list, &libcni.GCArgs{ValidAttachments: []types.GCAttachment{kept}}); err != nil {
		t.Fatal(err)
	}
	if got, want := asked(t, agent), []string{"del stale", "gc"}; !slices.Equal(got, want) {
		t.Errorf("the agent was asked %q, want %q", got, want)
	}
	for _, key := range []string{"cni.dev/valid-attachments", "cni.dev/attachments"} {
		if got, found := attachments(t, agent, key); !found || !slices.Equal(got, []types.GCAttachment{kept}) {
			t.Errorf("%s is %+v (%v), want %+v", key, got, found, kept)
		}
	}
	requests := agent.requests()
	body := strings.ReplaceAll(requests[len(requests)-1].body, agent.socket, defaultSocket)
	body = strings.ReplaceAll(body, filepath.Dir(binary), "/opt/cni/bin")
	if *update {
		if err := os.WriteFile(filepath.Join("testdata", "requests", gcFile), []byte(body), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want := readFile(t, "requests/"+gcFile); body != want {
		t.Errorf("request is\n%s\nwant\n%s", body, want)
	}
}

// cnitool gc without attachments means it: libcni detaches all that its cache knows, and the cache is containerd's too.
func TestGCOfNoAttachmentsDetachesEverything(t *testing.T) {
	agent := startAgent(t, 200, `{"cniVersion":"1.1.0","ips":[]}`)
	cni, list := runtimeOn(t, agent)
	if err := cni.GCNetworkList(context.Background(), list, &libcni.GCArgs{}); err != nil {
		t.Fatal(err)
	}
	if got, want := asked(t, agent), []string{"del " + kept.ContainerID, "del stale", "gc"}; !slices.Equal(got, want) {
		t.Errorf("the agent was asked %q, want %q", got, want)
	}
	if got, found := attachments(t, agent, "cni.dev/valid-attachments"); !found || len(got) != 0 {
		t.Errorf("valid attachments are %+v (%v), want an empty list", got, found)
	}
}

// Without arguments libcni names no list, and the agent then refuses: not said is not none.
func TestGCWithoutArgumentsNamesNoList(t *testing.T) {
	agent := startAgent(t, 200, `{"cniVersion":"1.1.0","ips":[]}`)
	cni, list := runtimeOn(t, agent)
	if err := cni.GCNetworkList(context.Background(), list, nil); err != nil {
		t.Fatal(err)
	}
	if _, found := attachments(t, agent, "cni.dev/valid-attachments"); found {
		t.Error("the request names a list of valid attachments, want none")
	}
}
