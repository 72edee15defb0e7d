package main

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	cniversion "github.com/containernetworking/cni/pkg/version"
)

// testdata/ holds the two halves of the protocol between this binary and the agent, for the tests of both: see
// testdata/README.md.

var update = flag.Bool("update", false, "write testdata/requests from what the binary sends")

const awkwardConfig = `{
  "name": "azure-cni",  "type":"azure-cni",
  "socket": "/run/azure-cni/cni.sock",
  "args": {"cni": {"labels": [{"key": "note", "value": "a<b && \u00fc\u2028 ü 1e3"}]}},
  "cniVersion": "1.1.0"
}
`

// vector is one call of the binary, and the file that holds the request it must send.
type vector struct {
	file   string
	env    map[string]string
	config string
}

func vectors(t *testing.T) []vector {
	var all []vector
	for _, v := range allVersions {
		plain := config(v, defaultSocket)
		after := strings.TrimSuffix(plain, "}") + `,"prevResult":` + readFile(t, "replies/200-add-"+v+".json") + "}"
		all = append(all, vector{"add-" + v, sandboxEnv("ADD"), plain})
		switch v {
		case "0.3.0", "0.3.1": // know neither CHECK nor a prevResult for DEL
			all = append(all, vector{"del-" + v, sandboxEnv("DEL"), plain})
		default:
			all = append(all, vector{"del-" + v, sandboxEnv("DEL"), after}, vector{"check-" + v, sandboxEnv("CHECK"), after})
		}
	}
	bare := sandboxEnv("DEL")
	delete(bare, "CNI_NETNS")
	delete(bare, "CNI_ARGS")
	valid := `{"cniVersion":"1.1.0","name":"azure-cni","type":"azure-cni","cni.dev/valid-attachments":[` +
		`{"containerID":"` + sandboxEnv("GC")["CNI_CONTAINERID"] + `","ifname":"eth0"}]}`
	return append(all,
		vector{"add-awkward", sandboxEnv("ADD"), awkwardConfig},
		vector{"del-bare", bare, config("1.1.0", defaultSocket)},
		vector{"gc-1.1.0", nodeEnv("GC"), strings.TrimSuffix(valid, "}") + `,"socket":"` + defaultSocket + `"}`},
		vector{"status-1.1.0", nodeEnv("STATUS"), config("1.1.0", defaultSocket)},
	)
}

func TestRequestsAreThoseInTestdata(t *testing.T) {
	seen := map[string]bool{gcFile: true} // by gc_test.go
	for _, v := range vectors(t) {
		seen[v.file+".json"] = true
		t.Run(v.file, func(t *testing.T) {
			var head struct{ CNIVersion string }
			if err := json.Unmarshal([]byte(v.config), &head); err != nil {
				t.Fatal(err)
			}
			agent := startAgent(t, 200, emptyResult(head.CNIVersion))
			if got := call(t, v.env, strings.ReplaceAll(v.config, defaultSocket, agent.socket)); got.exit != 0 {
				t.Fatalf("exit %d: %s", got.exit, got.stdout)
			}
			body := strings.ReplaceAll(agent.requests()[0].body, agent.socket, defaultSocket)
			conf := v.config
			if v.env["CNI_COMMAND"] == "DEL" {
				conf = `{"cniVersion":"` + head.CNIVersion + `","name":"azure-cni"}`
			}
			if !strings.HasSuffix(body, `,"config":`+conf+"}") || !json.Valid([]byte(body)) {
				t.Errorf("request does not hold the config as given: %s", body)
			}
			if *update {
				if err := os.WriteFile(filepath.Join("testdata", "requests", v.file+".json"), []byte(body), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if want := readFile(t, "requests/"+v.file+".json"); body != want {
				t.Errorf("request is\n%s\nwant\n%s", body, want)
			}
		})
	}
	for _, name := range list(t, "requests") {
		if !seen[name] {
			t.Errorf("testdata/requests/%s is sent by no test", name)
		}
	}
}

// releases has what agents of other releases answer, a directory for each (docs/releases.md).
const releases = "../../tests/unit/releases"

// Each example of an agent's answer is one that the official library reads without losing a key, and reaches the
// runtime unchanged; those that agents of other releases gave as well.
func TestRepliesInTestdata(t *testing.T) {
	files := []string{}
	for _, name := range list(t, "replies") {
		files = append(files, filepath.Join("testdata", "replies", name))
	}
	recorded, err := filepath.Glob(releases + "/*/replies/*.json")
	if err != nil || len(recorded) == 0 {
		t.Fatalf("no answers of other releases in %s (%v)", releases, err)
	}
	for _, file := range append(files, recorded...) {
		t.Run(file, func(t *testing.T) {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			reply, name := string(content), filepath.Base(file)
			status, err := strconv.Atoi(name[:3])
			if err != nil {
				t.Fatal(err)
			}
			agent := startAgent(t, status, reply)
			if status != 200 {
				var want cniError
				mustDecode(t, reply, &want)
				if got := wantError(t, call(t, sandboxEnv("ADD"), config("1.1.0", agent.socket)), want.Code); got != want {
					t.Errorf("got %+v, want %+v", got, want)
				}
				return
			}
			cniVersion := strings.TrimSuffix(strings.TrimPrefix(name, "200-add-"), ".json")
			wantSuccess(t, call(t, sandboxEnv("ADD"), config(cniVersion, agent.socket)), reply)

			result, err := cniversion.NewResult(cniVersion, []byte(reply))
			if err != nil {
				t.Fatal(err)
			}
			again, err := json.Marshal(result)
			if err != nil {
				t.Fatal(err)
			}
			var got, want map[string]any
			mustDecode(t, string(again), &got)
			mustDecode(t, reply, &want)
			delete(got, "dns") // the library's types before 1.0.0 always write an empty one
			if !reflect.DeepEqual(got, want) {
				t.Errorf("the library reads\n%v\nof\n%v", got, want)
			}
		})
	}
}

func list(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join("testdata", dir))
	if err != nil || len(entries) == 0 {
		t.Fatalf("no files in testdata/%s (%v)", dir, err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

func readFile(t testing.TB, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func mustDecode(t *testing.T, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatal(err)
	}
}
