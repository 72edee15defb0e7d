package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/containernetworking/cni/pkg/ns"
	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	cniversion "github.com/containernetworking/cni/pkg/version"
)

// The verbs of the agent, and how long the runtime may be kept waiting for each.
var (
	verbAdd    = verb{"add", 30 * time.Second}   // the agent waits up to 5 s for its pool to grow; the rest is for a busy node
	verbCheck  = verb{"check", 30 * time.Second} // CHECK and GC: as long as an ADD, for they may queue behind one
	verbGC     = verb{"gc", 30 * time.Second}
	verbDel    = verb{"del", 10 * time.Second}   // one without an answer is recorded, so waiting longer gains nothing
	verbStatus = verb{"status", 5 * time.Second} // the runtime asks every few seconds; an agent this slow is not available
)

// plugin carries out the verbs. skel calls one of them, once, after it has checked the environment, the spec version
// and that the config is JSON. Only DEL goes past skel: see runDel.
type plugin struct {
	cniVersion string // of the config as soon as it was read
	result     []byte // what to print when all went well
}

func (p *plugin) add(args *skel.CmdArgs) error {
	// skel makes this check too, but only when the sandbox is already set up.
	if same, err := ns.CheckNetNS(args.Netns); err != nil {
		return err
	} else if same {
		return types.NewError(types.ErrInvalidNetNS,
			fmt.Sprintf("cannot add %s/%s: CNI_NETNS %s is the node's own network namespace", args.ContainerID, args.IfName, args.Netns), "")
	}
	result, err := p.askAboutSandbox(verbAdd, args)
	if err != nil {
		return withCode(types.ErrTryAgainLater, err)
	}
	if err := checkResult(result, p.cniVersion); err != nil {
		return err
	}
	p.result = result
	return nil
}

func (p *plugin) check(args *skel.CmdArgs) error {
	_, err := p.askAboutSandbox(verbCheck, args)
	return withCode(types.ErrTryAgainLater, err)
}

func (p *plugin) gc(args *skel.CmdArgs) error {
	conf, err := p.readConfig(args)
	if err != nil {
		return err
	}
	_, err = ask(conf.Socket, verbGC, nodeRequest(args))
	return withCode(types.ErrTryAgainLater, err)
}

// status succeeds without the agent where one has served since the node booted: runtimes make the whole node NotReady
// of a failure, for an agent that is back in seconds. Meanwhile DEL is recorded, and ADD asks the runtime to try again.
func (p *plugin) status(args *skel.CmdArgs) error {
	conf, err := p.readConfig(args)
	if err != nil {
		return err
	}
	_, err = ask(conf.Socket, verbStatus, nodeRequest(args))
	var silent *noAnswer
	if errors.As(err, &silent) && hasServed(runDirOf(conf.RunDir, conf.Socket)) {
		return nil
	}
	return withCode(types.ErrPluginNotAvailable, err)
}

// hasServed: the agent has left its mark in its directory since the node booted.
func hasServed(runDir string) bool {
	_, err := os.Stat(filepath.Join(runDir, "served"))
	return err == nil && filesAreOfThisBoot()
}

func (p *plugin) askAboutSandbox(v verb, args *skel.CmdArgs) ([]byte, error) {
	conf, err := p.readConfig(args)
	if err != nil {
		return nil, err
	}
	request, err := sandboxRequest(args)
	if err != nil {
		return nil, err
	}
	netns, err := unseenNamespace(args.Netns)
	if err != nil {
		return nil, err
	}
	defer netns.Close() // of nil: an error that means nothing
	return askAbout(netns, conf.Socket, v, request)
}

// unseenNamespace opens a namespace whose path means nothing to the agent, nil for any other: cri-dockerd names those of
// processes, and the agent's container has none of the node's.
func unseenNamespace(path string) (*os.File, error) {
	if !strings.HasPrefix(path, "/proc/") {
		return nil, nil
	}
	netns, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // of a FIFO the opening would wait for a writer
	if err != nil {
		return nil, types.NewError(types.ErrInvalidNetNS, fmt.Sprintf("cannot open CNI_NETNS: %v", err), "has its process ended?")
	}
	return netns, nil
}

// withCode gives an agent that does not answer the code that the verb's caller understands; the agent's own errors
// keep theirs.
func withCode(code uint, err error) error {
	var silent *noAnswer
	if errors.As(err, &silent) {
		return types.NewError(code, silent.Error(), silent.hint())
	}
	return err
}

// checkResult refuses what the runtime could not read: a result must be one of the version that the config asked for, and
// the runtime's library must know what is in it.
func checkResult(result []byte, cniVersion string) error {
	var head struct {
		CNIVersion string `json:"cniVersion"`
	}
	if err := json.Unmarshal(result, &head); err != nil {
		return unreadable(fmt.Sprintf("the result is not a JSON object: %v", err), result)
	}
	if head.CNIVersion != cniVersion {
		return unreadable(fmt.Sprintf("the result has cniVersion %q, the config %q", head.CNIVersion, cniVersion), result)
	}
	if _, err := cniversion.NewResult(cniVersion, result); err != nil {
		return unreadable(fmt.Sprintf("it is no result of version %s: %v", cniVersion, err), result)
	}
	return nil
}
