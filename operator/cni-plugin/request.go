package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
)

// netConf is the little that the binary itself reads of its configuration. All else in it, unknown keys too, is the
// agent's to judge.
type netConf struct {
	CNIVersion string `json:"cniVersion"`
	Socket     string `json:"socket"`
	RunDir     string `json:"runDir"`
}

// runDirOf is the directory in which binary and agent leave each other files: that of the socket, unless the config
// names another one, as it has to where the socket is a pipe, which is in no directory.
func runDirOf(configured, socket string) string {
	if configured != "" {
		return configured
	}
	return directoryOf(socket)
}

func (p *plugin) readConfig(args *skel.CmdArgs) (netConf, error) {
	conf := netConf{Socket: defaultSocket}
	err := json.Unmarshal(args.StdinData, &conf)
	p.cniVersion = conf.CNIVersion
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return conf, invalidConfig("cannot use key %q of the network config: it is a %s, not a string", wrong.Field, wrong.Value)
	}
	if err != nil {
		return conf, invalidConfig("cannot read the network config: %v", err)
	}
	if conf.Socket != defaultSocket && !isSocketName(conf.Socket) {
		return conf, invalidConfig("cannot use socket %q of the network config: it is "+socketRule+" (default: %s)", conf.Socket, defaultSocket)
	}
	if conf.RunDir != "" && !filepath.IsAbs(conf.RunDir) {
		return conf, invalidConfig("cannot use runDir %q of the network config: it is not an absolute path (default: the socket's directory)", conf.RunDir)
	}
	return conf, nil
}

func invalidConfig(format string, values ...any) *types.Error {
	return types.NewError(types.ErrInvalidNetworkConfig, fmt.Sprintf(format, values...), "")
}

// sandboxRequest is the body for ADD and CHECK.
func sandboxRequest(args *skel.CmdArgs) ([]byte, error) {
	cniArgs, err := parseArgs(args.Args)
	if err != nil {
		return nil, err
	}
	return withConfig(sandboxFields(args, cniArgs), args.StdinData), nil
}

// sandboxFields are the keys of a body about one sandbox, the config left out.
func sandboxFields(args *skel.CmdArgs, cniArgs map[string]string) any {
	return struct {
		ContainerID string            `json:"containerID"`
		Netns       string            `json:"netns"`
		IfName      string            `json:"ifname"`
		Args        map[string]string `json:"args"`
		Path        string            `json:"path"`
	}{args.ContainerID, args.Netns, args.IfName, cniArgs, args.Path}
}

// nodeRequest is the body for the verbs about the whole network on this node: GC and STATUS.
func nodeRequest(args *skel.CmdArgs) []byte {
	return withConfig(struct {
		Path string `json:"path"`
	}{args.Path}, args.StdinData)
}

// withConfig encodes the fields and adds the config as it came, byte for byte: encoding/json would reformat it.
func withConfig(fields any, conf []byte) []byte {
	body, err := json.Marshal(fields)
	if err != nil {
		panic(err) // strings and a map of strings: cannot fail
	}
	body = append(body[:len(body)-1], `,"config":`...)
	body = append(body, conf...)
	return append(body, '}')
}

// parseArgs reads CNI_ARGS, "K=V;K2=V2".
func parseArgs(raw string) (map[string]string, error) {
	args := map[string]string{}
	if raw == "" {
		return args, nil
	}
	for _, pair := range strings.Split(raw, ";") {
		key, value, found := strings.Cut(pair, "=")
		if !found || key == "" {
			return nil, types.NewError(types.ErrInvalidEnvironmentVariables,
				fmt.Sprintf("cannot read CNI_ARGS: %q is not KEY=VALUE", pair), fmt.Sprintf("CNI_ARGS is %q", raw))
		}
		args[key] = value
	}
	return args, nil
}
