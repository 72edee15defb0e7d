package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/utils"
	cniversion "github.com/containernetworking/cni/pkg/version"
)

// runDel carries out a DEL without skel, which refuses one for what it does not need: no CNI_PATH, a config that is not
// JSON or of a version that this build does not speak, a namespace path that now leads elsewhere (/proc/PID/ns/net of a
// process that has ended). A pod whose DEL fails never ends, so only what names the sandbox is required.
func (p *plugin) runDel(env func(string) string, stdin io.Reader) *types.Error {
	args := &skel.CmdArgs{
		ContainerID: env("CNI_CONTAINERID"),
		Netns:       env("CNI_NETNS"),
		IfName:      env("CNI_IFNAME"),
		Args:        env("CNI_ARGS"),
		Path:        env("CNI_PATH"),
	}
	args.StdinData, _ = io.ReadAll(stdin) // what could not be read is missing, and may be
	conf := lenientConfig(args.StdinData)
	p.cniVersion = conf.CNIVersion
	if err := namesSandbox(args); err != nil {
		return err
	}
	err := p.del(args, conf)
	var known *types.Error
	if err != nil && !errors.As(err, &known) {
		known = types.NewError(types.ErrInternal, err.Error(), "")
	}
	return known
}

// del succeeds without the agent: a pod must be able to end while the agent restarts or is upgraded. The agent
// carries out the record as soon as it is back. A runtime on a node without an agent tries pods again and again, each
// time in a new sandbox that it then deletes: of one that never got an address there is nothing to record.
func (p *plugin) del(args *skel.CmdArgs, conf delConf) error {
	request := delRequest(args, conf)
	_, err := ask(conf.Socket, verbDel, request)
	var silent *noAnswer
	if !errors.As(err, &silent) {
		return err
	}
	runDir := runDirOf(conf.RunDir, conf.Socket)
	if !silent.reached && !mayHoldAddress(runDir, args.ContainerID) {
		return nil
	}
	dir := filepath.Join(runDir, "released")
	if err := writeRecord(dir, recordName(conf.Name, args.ContainerID, args.IfName), request); err != nil {
		return types.NewError(types.ErrIOFailure,
			fmt.Sprintf("cannot record the release of %s/%s in %s: %v", args.ContainerID, args.IfName, dir, err), silent.Error())
	}
	return nil
}

// delConf is all that a DEL uses of its config.
type delConf struct {
	CNIVersion string
	Name       string
	Socket     string
	RunDir     string
}

// lenientConfig reads what it can: each key separately, with a default for one that is missing or of no use.
func lenientConfig(data []byte) delConf {
	conf := delConf{CNIVersion: cniversion.Current(), Socket: defaultSocket}
	var keys map[string]json.RawMessage
	if json.Unmarshal(data, &keys) != nil {
		return conf
	}
	for key, into := range map[string]*string{
		"cniVersion": &conf.CNIVersion, "name": &conf.Name, "socket": &conf.Socket, "runDir": &conf.RunDir,
	} {
		var value string
		if json.Unmarshal(keys[key], &value) == nil && value != "" {
			*into = value
		}
	}
	if !isSocketName(conf.Socket) {
		conf.Socket = defaultSocket
	}
	if !filepath.IsAbs(conf.RunDir) {
		conf.RunDir = ""
	}
	return conf
}

// namesSandbox checks the two variables that say which sandbox is meant, as skel does for the other verbs.
func namesSandbox(args *skel.CmdArgs) *types.Error {
	for _, one := range []struct {
		name, value string
		validate    func(string) *types.Error
	}{
		{"CNI_CONTAINERID", args.ContainerID, utils.ValidateContainerID},
		{"CNI_IFNAME", args.IfName, utils.ValidateInterfaceName},
	} {
		if one.value == "" {
			return types.NewError(types.ErrInvalidEnvironmentVariables,
				fmt.Sprintf("required env variables [%s] missing", one.name), "")
		}
		if err := one.validate(one.value); err != nil {
			return err
		}
	}
	return nil
}

// delRequest is the body for DEL, and the record of one. Of the config it has the network's name and the version only:
// nothing else in it can then be in the way.
func delRequest(args *skel.CmdArgs, conf delConf) []byte {
	cniArgs, err := parseArgs(args.Args)
	if err != nil {
		cniArgs = map[string]string{}
	}
	config, err := json.Marshal(struct {
		CNIVersion string `json:"cniVersion"`
		Name       string `json:"name"`
	}{conf.CNIVersion, conf.Name})
	if err != nil {
		panic(err) // strings: cannot fail
	}
	return withConfig(sandboxFields(args, cniArgs), config)
}
