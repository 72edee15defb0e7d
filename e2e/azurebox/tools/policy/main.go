// The policy engine of kube-network-policies, where the kernel may have no queue in nftables.
//
//	policy [-own-rules [-fail-open]] QUEUE NODE FILE
//	policy -kubeconfig KUBECONFIG [-own-rules [-fail-open]] QUEUE NODE
//
// FILE is a List of Namespaces, Pods and NetworkPolicies as the API server would return them; with -kubeconfig the
// engine watches them there. With -own-rules the engine's own controller runs: it loads its nftables rules, and answers
// their queue. Without, for kernels that have no queue in nftables, somebody else fills the queue: every packet is
// parsed, evaluated and answered as the controller does, and each verdict is printed: source, destination, port,
// verdict.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/florianl/go-nfqueue/v2"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/kube-network-policies/pkg/api"
	"sigs.k8s.io/kube-network-policies/pkg/dataplane"
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
	flags := flag.NewFlagSet("policy", flag.ContinueOnError)
	ownRules := flags.Bool("own-rules", false, "run the engine's own controller")
	failOpen := flags.Bool("fail-open", false, "as the engine's flag of that name")
	kubeconfig := flags.String("kubeconfig", "", "the way to the API server, which has the objects then")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	if flags.NArg() != 3 && (*kubeconfig == "" || flags.NArg() != 2) {
		return fmt.Errorf("usage: policy [-own-rules [-fail-open]] QUEUE NODE FILE, or -kubeconfig FILE QUEUE NODE")
	}
	queue, err := strconv.ParseUint(flags.Arg(0), 10, 16)
	if err != nil {
		return fmt.Errorf("cannot use the queue %q: %w", flags.Arg(0), err)
	}
	client, err := clientOf(*kubeconfig, flags.Arg(2))
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	engine, err := newEngine(ctx, flags.Arg(1), client)
	if err != nil {
		return err
	}
	if !*ownRules {
		return answer(ctx, engine, uint16(queue))
	}
	// The rest as the chart sets it.
	config := dataplane.Config{FailOpen: *failOpen, QueueID: int(queue), StrictMode: true, NetfilterBug1766Fix: true}
	controller, err := dataplane.NewController(engine, config)
	if err != nil {
		return fmt.Errorf("cannot make the engine's controller: %w", err)
	}
	return controller.Run(ctx)
}

// The API server, or what stands in for it with the objects of a file.
func clientOf(kubeconfig, file string) (kubernetes.Interface, error) {
	if kubeconfig == "" {
		objects, err := read(file)
		return fake.NewSimpleClientset(objects...), err
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("cannot use the kubeconfig: %w", err)
	}
	return kubernetes.NewForConfig(config)
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

func newEngine(
	ctx context.Context, node string, client kubernetes.Interface,
) (*networkpolicy.PolicyEngine, error) {
	factory := informers.NewSharedInformerFactory(client, 0)
	namespaces, pods := factory.Core().V1().Namespaces(), factory.Core().V1().Pods()
	policies := factory.Networking().V1().NetworkPolicies()
	evaluator := networkpolicy.NewStandardNetworkPolicy(node, namespaces, pods, policies)
	provider := podinfo.NewInformerProvider(pods, namespaces, nil, nil)
	factory.Start(ctx.Done())
	for kind, synced := range factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			return nil, fmt.Errorf("cannot list the %v", kind)
		}
	}
	return networkpolicy.NewPolicyEngine(provider, []api.PolicyEvaluator{evaluator}), nil
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
