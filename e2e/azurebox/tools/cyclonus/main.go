// The verdicts of kube-network-policies' engine beside those of cyclonus, for every case that cyclonus generates.
//
//	cyclonus [without-policies]
//
// cyclonus brings the cases (pods, namespaces, NetworkPolicies, and what is changed step by step) and says which
// connections must pass. For each of them a first packet is built and judged as two nodes with the engine would: by its
// own parser and evaluator, and only where the engine's rules would send the packet to its queue. Each difference is
// printed, then a summary; any difference ends it with 1. With `without-policies` the engine sees none, so that what it
// takes to fail can be tried. What is not here: the engine's rules themselves, its watches, and the kernel.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"

	"github.com/mattfenwick/cyclonus/pkg/connectivity"
	"github.com/mattfenwick/cyclonus/pkg/connectivity/probe"
	"github.com/mattfenwick/cyclonus/pkg/generator"
	"github.com/mattfenwick/cyclonus/pkg/kube"
	"github.com/mattfenwick/cyclonus/pkg/matcher"
	"github.com/sirupsen/logrus"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"sigs.k8s.io/kube-network-policies/pkg/api"
	"sigs.k8s.io/kube-network-policies/pkg/network"
	"sigs.k8s.io/kube-network-policies/pkg/networkpolicy"
	"sigs.k8s.io/kube-network-policies/pkg/podinfo"
)

const withoutPolicies = "without-policies"

var (
	nodes     = []string{"vm1", "vm2"}
	protocols = map[corev1.Protocol]byte{corev1.ProtocolTCP: 6, corev1.ProtocolUDP: 17, corev1.ProtocolSCTP: 132}
)

// What was compared.
type counts struct{ cases, steps, connections, dropped, differ int }

func main() {
	logrus.SetLevel(logrus.ErrorLevel)
	blind := slices.Equal(os.Args[1:], []string{withoutPolicies})
	if len(os.Args) > 1 && !blind {
		fmt.Fprintln(os.Stderr, "usage: cyclonus [without-policies]")
		os.Exit(2)
	}
	found, err := compareAll(context.Background(), blind)
	if err != nil {
		fmt.Fprintln(os.Stderr, "cyclonus:", err)
		os.Exit(2)
	}
	fmt.Printf("cases %d steps %d connections %d dropped %d differ %d\n",
		found.cases, found.steps, found.connections, found.dropped, found.differ)
	if found.differ > 0 {
		os.Exit(1)
	}
}

func compareAll(ctx context.Context, blind bool) (counts, error) {
	found := counts{}
	names := []string{"x", "y", "z"}
	first, err := newState(names)
	if err != nil {
		return found, err
	}
	pod, err := first.Resources.GetPod("z", "c")
	if err != nil {
		return found, err
	}
	for _, one := range generator.NewTestCaseGenerator(true, pod.IP, names, nil, nil).GenerateAllTestCases() {
		state, err := newState(names)
		if err != nil {
			return found, err
		}
		found.cases++
		for number, step := range one.Steps {
			for _, action := range step.Actions {
				if err := apply(state, action); err != nil {
					return found, fmt.Errorf("cannot apply step %d of %q: %w", number+1, one.Description, err)
				}
			}
			found.steps++
			where := fmt.Sprintf("%s, step %d", one.Description, number+1)
			if err := compare(ctx, state, step, blind, where, &found); err != nil {
				return found, err
			}
		}
	}
	return found, nil
}

// Three namespaces of three pods each, as cyclonus makes them by default, in a cluster that exists in memory only.
func newState(names []string) (*connectivity.TestCaseState, error) {
	cluster := kube.NewMockKubernetes(1.0)
	served := []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP}
	resources, err := probe.NewDefaultResources(
		cluster, names, []string{"a", "b", "c"}, []int{80, 81}, served, nil, 60, false, "none")
	return &connectivity.TestCaseState{Kubernetes: cluster, Resources: resources}, err
}

// As cyclonus' own interpreter does, which probes a real cluster afterwards.
func apply(state *connectivity.TestCaseState, action *generator.Action) error {
	switch {
	case action.CreatePolicy != nil:
		return state.CreatePolicy(action.CreatePolicy.Policy)
	case action.UpdatePolicy != nil:
		return state.UpdatePolicy(action.UpdatePolicy.Policy)
	case action.DeletePolicy != nil:
		return state.DeletePolicy(action.DeletePolicy.Namespace, action.DeletePolicy.Name)
	case action.CreateNamespace != nil:
		return state.CreateNamespace(action.CreateNamespace.Namespace, action.CreateNamespace.Labels)
	case action.SetNamespaceLabels != nil:
		return state.SetNamespaceLabels(action.SetNamespaceLabels.Namespace, action.SetNamespaceLabels.Labels)
	case action.DeleteNamespace != nil:
		return state.DeleteNamespace(action.DeleteNamespace.Namespace)
	case action.CreatePod != nil:
		return state.CreatePod(action.CreatePod.Namespace, action.CreatePod.Pod, action.CreatePod.Labels)
	case action.SetPodLabels != nil:
		return state.SetPodLabels(action.SetPodLabels.Namespace, action.SetPodLabels.Pod, action.SetPodLabels.Labels)
	case action.DeletePod != nil:
		return state.DeletePod(action.DeletePod.Namespace, action.DeletePod.Pod)
	}
	return fmt.Errorf("it is of no kind that is known: %+v", action)
}

func compare(
	ctx context.Context, state *connectivity.TestCaseState, step *generator.TestStep, blind bool, where string,
	found *counts,
) error {
	engines := map[string]*engine{}
	for _, node := range nodes {
		one, err := newEngine(ctx, node, state, blind)
		if err != nil {
			return err
		}
		engines[node] = one
	}
	wanted := matcher.BuildNetworkPolicies(true, state.Policies)
	for _, job := range (&probe.JobBuilder{}).GetJobsForProbeConfig(state.Resources, step.Probe).Valid {
		if job.FromKey == job.ToKey {
			continue // a pod's packet to itself does not leave it
		}
		passes := true
		for _, node := range slices.Compact([]string{nodeOf(job.FromKey), nodeOf(job.ToKey)}) {
			allowed, err := engines[node].judge(ctx, job)
			if err != nil {
				return fmt.Errorf("cannot judge %s of %s: %w", job.Key(), where, err)
			}
			passes = passes && allowed
		}
		found.connections++
		if !passes {
			found.dropped++
		}
		if expected := wanted.IsTrafficAllowed(job.Traffic()).IsAllowed(); expected != passes {
			found.differ++
			fmt.Printf("%s: %s passes %t, expected %t\n", where, job.Key(), passes, expected)
		}
	}
	return nil
}

// Pods "c" are on the second node, all others on the first: so there are connections within a node and between two.
func nodeOf(key string) string {
	if key[len(key)-1] == 'c' {
		return nodes[1]
	}
	return nodes[0]
}

// One node's.
type engine struct {
	policies *networkpolicy.PolicyEngine
	queued   map[netip.Addr]bool
}

// The stores are filled here instead of by watches: the informers are never started.
func newEngine(
	ctx context.Context, node string, state *connectivity.TestCaseState, blind bool,
) (*engine, error) {
	factory := informers.NewSharedInformerFactory(fake.NewSimpleClientset(), 0)
	namespaces, pods := factory.Core().V1().Namespaces(), factory.Core().V1().Pods()
	policies := factory.Networking().V1().NetworkPolicies()
	evaluator := networkpolicy.NewStandardNetworkPolicy(node, namespaces, pods, policies)
	provider := podinfo.NewInformerProvider(pods, namespaces, nil, nil)
	for name, labels := range state.Resources.Namespaces {
		complete := map[string]string{corev1.LabelMetadataName: name}
		for key, value := range labels {
			complete[key] = value
		}
		object := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: complete}}
		if err := namespaces.Informer().GetIndexer().Add(object); err != nil {
			return nil, err
		}
	}
	for _, pod := range state.Resources.Pods {
		object := pod.KubePod()
		object.Spec.NodeName = nodeOf(pod.PodString().String())
		object.Status = corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: pod.IP, PodIPs: []corev1.PodIP{{IP: pod.IP}},
		}
		if err := pods.Informer().GetIndexer().Add(object); err != nil {
			return nil, err
		}
	}
	for _, policy := range state.Policies {
		object, err := stored(policy)
		if err != nil {
			return nil, err
		}
		if blind {
			continue
		}
		if err := policies.Informer().GetIndexer().Add(object); err != nil {
			return nil, err
		}
	}
	made := &engine{networkpolicy.NewPolicyEngine(provider, []api.PolicyEvaluator{evaluator}), map[netip.Addr]bool{}}
	addresses, all, err := made.policies.GetManagedIPs(ctx)
	if err != nil || all {
		return nil, fmt.Errorf("cannot say which packets are queued on %s (all: %t): %w", node, all, err)
	}
	for _, address := range addresses {
		made.queued[address] = true
	}
	return made, nil
}

// As the API server returns it: with its defaults, and without lists that are empty.
func stored(policy *networkingv1.NetworkPolicy) (*networkingv1.NetworkPolicy, error) {
	text, err := json.Marshal(policy)
	if err != nil {
		return nil, err
	}
	object := &networkingv1.NetworkPolicy{}
	if err := json.Unmarshal(text, object); err != nil {
		return nil, err
	}
	for _, rule := range object.Spec.Ingress {
		setProtocols(rule.Ports)
	}
	for _, rule := range object.Spec.Egress {
		setProtocols(rule.Ports)
	}
	return object, nil
}

func setProtocols(ports []networkingv1.NetworkPolicyPort) {
	for place := range ports {
		if ports[place].Protocol == nil {
			tcp := corev1.ProtocolTCP
			ports[place].Protocol = &tcp
		}
	}
}

// Whether the first packet of the connection passes this node.
func (e *engine) judge(ctx context.Context, job *probe.Job) (bool, error) {
	from, to := netip.MustParseAddr(job.FromIP), netip.MustParseAddr(job.ToIP)
	if !e.queued[from] && !e.queued[to] {
		return true, nil
	}
	packet, err := network.ParsePacket(firstPacket(from, to, protocols[job.Protocol], uint16(job.ResolvedPort)))
	if err != nil {
		return false, err
	}
	if !packet.DstIP.Equal(net.IP(to.AsSlice())) || packet.DstPort != job.ResolvedPort {
		return false, fmt.Errorf("it was parsed as %s", packet)
	}
	return e.policies.EvaluatePacket(ctx, &packet)
}

// An IPv4 header and the ports; the rest is only as long as each protocol's header.
func firstPacket(from, to netip.Addr, protocol byte, port uint16) []byte {
	packet := make([]byte, 40)
	packet[0], packet[9] = 4<<4|5, protocol
	copy(packet[12:16], from.AsSlice())
	copy(packet[16:20], to.AsSlice())
	packet[20], packet[21] = 0xC0, 0x00 // from port 49152
	packet[22], packet[23] = byte(port>>8), byte(port)
	packet[32] = 5 << 4 // the length of a TCP header, in words
	return packet
}
