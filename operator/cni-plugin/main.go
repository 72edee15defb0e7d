// The CNI plugin azure-cni: what the container runtime runs for each pod.
//
// It turns one CNI verb into one request to the azure-cni agent of this node and prints the answer. It holds no
// state and knows neither Azure nor Kubernetes, so an old binary works with a new agent. The one thing it does
// alone is to write down a DEL that the agent did not answer, so that pods can end while the agent is away.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime/debug"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	cniversion "github.com/containernetworking/cni/pkg/version"
)

// version is set by the build: -ldflags "-X main.version=1.2.3".
var version = "dev"

// Listed one by one rather than "from 0.3.0 on": a version that the agent cannot render must not appear by
// updating a library.
var specVersions = cniversion.PluginSupports("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")

func main() {
	if len(os.Args) == 2 && os.Args[1] == "--version" {
		fmt.Println("azure-cni", version)
		return
	}
	about := "CNI plugin azure-cni " + version + ": gives pods addresses of the Azure virtual network, through the" +
		" azure-cni agent of this node.\nIt is run by the container runtime, not by hand; for the node's addresses see:" +
		" kubectl get nodeippools"

	os.Exit(run(about))
}

// run carries out the verb that the environment names and returns the exit status.
func run(about string) int {
	p := &plugin{cniVersion: cniversion.Current()}
	funcs := skel.CNIFuncs{Add: p.add, Check: p.check, GC: p.gc, Status: p.status}
	return p.report(func() *types.Error {
		if os.Getenv("CNI_COMMAND") == "DEL" {
			return p.runDel(os.Getenv, os.Stdin)
		}
		return skel.PluginMainFuncsWithError(funcs, specVersions, about)
	})
}

// report makes a call, prints its result or its error for the runtime, and returns the exit status.
func (p *plugin) report(call func() *types.Error) int {
	if err := recovered(call); err != nil {
		printError(p.cniVersion, err)
		return 1
	}
	// Printed only now: skel still looks at the network namespace after add returned, and the runtime must never
	// see a result followed by an error.
	if _, err := os.Stdout.Write(p.result); err != nil {
		fmt.Fprintln(os.Stderr, "cannot print the result:", err)
		return 1
	}
	return 0
}

// recovered makes a panic an error: of a call that prints none, a runtime knows only that it failed.
func recovered(call func() *types.Error) (err *types.Error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = types.NewError(types.ErrInternal, fmt.Sprintf("the CNI plugin azure-cni %s panicked: %v", version, cause),
				"this is a fault of the plugin, please report it: "+string(debug.Stack()))
		}
	}()
	return call()
}

// printError writes the error to standard output as the specification wants it: skel's own printing leaves out
// cniVersion. A DEL is carried out for a config of any version, and an error names one that the runtime can read.
func printError(cniVersion string, err *types.Error) {
	if _, _, _, unread := cniversion.ParseVersion(cniVersion); unread != nil {
		cniVersion = cniversion.Current()
	}
	out, _ := json.Marshal(struct {
		CNIVersion string `json:"cniVersion"`
		*types.Error
	}{cniVersion, err}) // strings and a number: cannot fail
	fmt.Println(string(out))
}
