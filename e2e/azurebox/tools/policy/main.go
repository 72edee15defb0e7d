// The policy engine of kube-network-policies over a queue that iptables fills, for kernels without nftables' own queue.
//
//	policy QUEUE NODE FILE
//
// FILE is a List of Namespaces, Pods and NetworkPolicies as the API server would return them. Every packet of the queue
// is parsed, evaluated and answered as the engine's own controller does; each verdict is printed: source, destination,
// port, verdict. What is not here: the controller's nftables rules, and its watches.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/florianl/go-nfqueue/v2"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/kube-network-policies/pkg/api"
	"sigs.k8s.io/kube-network-policies/pkg/network"
	"sigs.k8s.io/kube-network-policies/pkg/networkpolicy"
	"sigs.k8s.io/kube-network-policies/pkg/podinfo"

	corev1 "k8s.io/api/core/v1"
)

const (
	headers  = 128 // octets of a packet, as the controller takes them
	longest  = 1024
	patience = 100 * time.Millisecond
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "policy:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) != 3 {
		return fmt.Errorf("usage: policy QUEUE NODE FILE")
	}
	queue, err := strconv.ParseUint(arguments[0], 10, 16)
	if err != nil {
		return fmt.Errorf("cannot use the queue %q: %w", arguments[0], err)
	}
	objects, err := read(arguments[2])
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	engine := newEngine(ctx, arguments[1], objects)
	return answer(ctx, engine, uint16(queue))
}

func read(file string) ([]runtime.Object, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	decode := scheme.Codecs.UniversalDeserializer().Decode
	decoded, _, err := decode(text, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", file, err)
	}
	list, ok := decoded.(*corev1.List)
	if !ok {
		return nil, fmt.Errorf("cannot read %s: it is no List", file)
	}
	objects := make([]runtime.Object, 0, len(list.Items))
	for _, item := range list.Items {
		object, _, err := decode(item.Raw, nil, nil)
		if err != nil {
			return nil, fmt.Errorf("cannot read %s: %w", file, err)
		}
		objects = append(objects, object)
	}
	return objects, nil
}

func newEngine(ctx context.Context, node string, objects []runtime.Object) *networkpolicy.PolicyEngine {
	factory := informers.NewSharedInformerFactory(fake.NewSimpleClientset(objects...), 0)
	namespaces, pods := factory.Core().V1().Namespaces(), factory.Core().V1().Pods()
	policies := factory.Networking().V1().NetworkPolicies()
	evaluator := networkpolicy.NewStandardNetworkPolicy(node, namespaces, pods, policies)
	provider := podinfo.NewInformerProvider(pods, namespaces, nil, nil)
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	return networkpolicy.NewPolicyEngine(provider, []api.PolicyEvaluator{evaluator})
}

func answer(ctx context.Context, engine *networkpolicy.PolicyEngine, number uint16) error {
	queue, err := nfqueue.Open(&nfqueue.Config{
		NfQueue: number, Flags: nfqueue.NfQaCfgFlagGSO, MaxPacketLen: headers, MaxQueueLen: longest,
		Copymode: nfqueue.NfQnlCopyPacket, WriteTimeout: patience,
	})
	if err != nil {
		return fmt.Errorf("cannot open queue %d: %w", number, err)
	}
	defer queue.Close()
	judge := func(packet nfqueue.Attribute) int {
		verdict := nfqueue.NfDrop
		parsed, err := network.ParsePacket(*packet.Payload)
		if err == nil {
			if allowed, failure := engine.EvaluatePacket(ctx, &parsed); failure == nil && allowed {
				verdict = nfqueue.NfAccept
			}
		}
		word := map[int]string{nfqueue.NfDrop: "drop", nfqueue.NfAccept: "accept"}[verdict]
		fmt.Println(parsed.SrcIP, parsed.DstIP, parsed.DstPort, word)
		if err := queue.SetVerdict(*packet.PacketID, verdict); err != nil {
			fmt.Fprintln(os.Stderr, "policy: cannot answer:", err)
		}
		return 0
	}
	if err := queue.RegisterWithErrorFunc(ctx, judge, func(error) int { return 0 }); err != nil {
		return fmt.Errorf("cannot read queue %d: %w", number, err)
	}
	fmt.Println("ready")
	<-ctx.Done()
	return nil
}
