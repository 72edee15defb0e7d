// Microsoft's own library for HNS (hcsshim) as a program: what a container runtime does with it, and what it reads.
//
//	oracle.exe decode          documents from standard input, in its types; prints what is wrong with each
//	oracle.exe show            all networks, endpoints and namespaces
//	oracle.exe network NAME ADAPTER SUBNET GATEWAY
//	oracle.exe namespace       prints its ID
//	oracle.exe endpoint NETWORK NAME ADDRESS PREFIX-LENGTH GATEWAY NAMESPACE
//	oracle.exe remove NAMESPACE
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/Microsoft/hcsshim/hcn"
)

func main() {
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(verb string, arguments []string) error {
	switch verb {
	case "decode":
		return decodeAll()
	case "show":
		return show()
	case "network":
		return makeNetwork(arguments[0], arguments[1], arguments[2], arguments[3])
	case "namespace":
		made, err := hcn.NewNamespace(hcn.NamespaceTypeHost).Create()
		if err == nil {
			fmt.Println(made.Id)
		}
		return err
	case "endpoint":
		return makeEndpoint(arguments)
	case "remove":
		found, err := hcn.GetNamespaceByID(arguments[0])
		if err != nil {
			return err
		}
		return found.Delete()
	}
	return fmt.Errorf("no verb %s", verb)
}

func makeNetwork(name, adapter, subnet, gateway string) error {
	settings, err := json.Marshal(hcn.NetAdapterNameNetworkPolicySetting{NetworkAdapterName: adapter})
	if err != nil {
		return err
	}
	routes := []hcn.Route{{NextHop: gateway, DestinationPrefix: "0.0.0.0/0"}}
	_, err = (&hcn.HostComputeNetwork{
		Name:          name,
		Type:          hcn.L2Bridge,
		Flags:         hcn.EnableNonPersistent,
		SchemaVersion: hcn.V2SchemaVersion(),
		Policies:      []hcn.NetworkPolicy{{Type: hcn.NetAdapterName, Settings: settings}},
		Ipams:         []hcn.Ipam{{Type: "Static", Subnets: []hcn.Subnet{{IpAddressPrefix: subnet, Routes: routes}}}},
	}).Create()
	return err
}

func makeEndpoint(arguments []string) error {
	network, err := hcn.GetNetworkByName(arguments[0])
	if err != nil {
		return err
	}
	length, err := strconv.ParseUint(arguments[3], 10, 8)
	if err != nil {
		return err
	}
	made, err := network.CreateEndpoint(&hcn.HostComputeEndpoint{
		Name:             arguments[1],
		SchemaVersion:    hcn.V2SchemaVersion(),
		IpConfigurations: []hcn.IpConfig{{IpAddress: arguments[2], PrefixLength: uint8(length)}},
		Routes:           []hcn.Route{{NextHop: arguments[4], DestinationPrefix: "0.0.0.0/0"}},
	})
	if err != nil {
		return err
	}
	return made.NamespaceAttach(arguments[5])
}

func show() error {
	networks, err := hcn.ListNetworks()
	if err != nil {
		return err
	}
	endpoints, err := hcn.ListEndpoints()
	if err != nil {
		return err
	}
	namespaces, err := hcn.ListNamespaces()
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"networks": networks, "endpoints": endpoints, "namespaces": namespaces,
	})
}

// decodeAll reads [{"kind": KIND, "document": {...}}, ...] and prints as many texts, "" for each that is right.
func decodeAll() error {
	var given []struct {
		Kind     string          `json:"kind"`
		Document json.RawMessage `json:"document"`
	}
	if err := json.NewDecoder(os.Stdin).Decode(&given); err != nil {
		return err
	}
	faults := make([]string, len(given))
	for i, one := range given {
		if err := decode(one.Kind, one.Document); err != nil {
			faults[i] = err.Error()
		}
	}
	return json.NewEncoder(os.Stdout).Encode(faults)
}

func decode(kind string, document []byte) error {
	switch kind {
	case "network":
		var read hcn.HostComputeNetwork
		return errors.Join(strictly(document, &read), each(read.Policies, networkPolicy))
	case "endpoint":
		var read hcn.HostComputeEndpoint
		return errors.Join(strictly(document, &read), each(read.Policies, endpointPolicy))
	case "endpoint request":
		var read hcn.ModifyEndpointSettingRequest
		var settings hcn.PolicyEndpointRequest
		return errors.Join(strictly(document, &read), strictly(read.Settings, &settings), each(settings.Policies, endpointPolicy))
	case "namespace request":
		var read hcn.ModifyNamespaceSettingRequest
		var settings map[string]string // hcsshim makes this one from a map, too
		return errors.Join(strictly(document, &read), strictly(read.Settings, &settings))
	case "query":
		return strictly(document, &hcn.HostComputeQuery{})
	}
	return fmt.Errorf("no kind of document %s", kind)
}

func networkPolicy(policy hcn.NetworkPolicy) error {
	if policy.Type != hcn.NetAdapterName {
		return fmt.Errorf("a policy %s", policy.Type)
	}
	return strictly(policy.Settings, &hcn.NetAdapterNameNetworkPolicySetting{})
}

func endpointPolicy(policy hcn.EndpointPolicy) error {
	settings := map[hcn.EndpointPolicyType]any{
		hcn.ACL:         &hcn.AclPolicySetting{},
		hcn.OutBoundNAT: &hcn.OutboundNatPolicySetting{},
		hcn.PortMapping: &hcn.PortMappingPolicySetting{},
		hcn.SDNRoute:    &hcn.SDNRoutePolicySetting{},
	}[policy.Type]
	if settings == nil {
		return fmt.Errorf("a policy %s", policy.Type)
	}
	return strictly(policy.Settings, settings)
}

func each[P any](policies []P, check func(P) error) error {
	var faults []error
	for _, policy := range policies {
		faults = append(faults, check(policy))
	}
	return errors.Join(faults...)
}

// strictly is json.Unmarshal that refuses fields which the type has not, and what comes after the document.
func strictly(document []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(document))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return errors.New("something comes after the document")
	}
	return nil
}
