// Cyclonus' cases against a cluster: its pods, NetworkPolicies and steps, and connections between its pods that are
// really made.
//
//	probes [-only N,N...] [-every N] [-wait SECONDS] IMAGE
//
// KUBECONFIG says which cluster. Whether a connection passes is asked in the pods' own network namespaces, since all
// pods run on this machine: an exec for each of the 324 connections of a step would take most of the time. Each case is
// printed with "passed", or with the connections that went otherwise than cyclonus expects; then a summary. Any such
// case ends it with 1. Connections go to the pods' Services, whose names are looked up in the API server: there need be
// no name server, and cyclonus knows no address of a Service that a case makes. SCTP is left out.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mattfenwick/cyclonus/pkg/connectivity"
	"github.com/mattfenwick/cyclonus/pkg/connectivity/probe"
	"github.com/mattfenwick/cyclonus/pkg/generator"
	"github.com/mattfenwick/cyclonus/pkg/kube"
	"github.com/mattfenwick/cyclonus/pkg/worker"
	"github.com/sirupsen/logrus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/retry"
)

const podsWithinSeconds = 180

var names, podNames = []string{"x", "y", "z"}, []string{"a", "b", "c"}

// What was seen.
type counts struct{ cases, passed, steps, connections, blocked int }

func main() {
	logrus.SetLevel(logrus.ErrorLevel)
	only := flag.String("only", "", "only these cases, by the numbers that a run prints, with commas between")
	every := flag.Int("every", 1, "only each n-th case")
	wait := flag.Int("wait", 1, "seconds between a change and the connections")
	flag.Parse()
	chosen, err := choose(*only, *every)
	if flag.NArg() != 1 || err != nil {
		fmt.Fprintln(os.Stderr, "usage: probes [-only N,N...] [-every N] [-wait SECONDS] IMAGE")
		os.Exit(2)
	}
	found, err := run(flag.Arg(0), chosen, *wait)
	fmt.Printf("cases %d passed %d steps %d connections %d blocked %d\n",
		found.cases, found.passed, found.steps, found.connections, found.blocked)
	if err != nil {
		fmt.Fprintln(os.Stderr, "probes:", err)
		os.Exit(2)
	}
	if found.passed < found.cases {
		os.Exit(1)
	}
}

// Whether a case is run, by its number from 1.
func choose(only string, every int) (func(number int) bool, error) {
	if only == "" {
		if every < 1 {
			return nil, fmt.Errorf("-every must be at least 1")
		}
		return func(number int) bool { return (number-1)%every == 0 }, nil
	}
	numbers := map[int]bool{}
	for _, text := range strings.Split(only, ",") {
		number, err := strconv.Atoi(text)
		if err != nil {
			return nil, err
		}
		numbers[number] = true
	}
	return func(number int) bool { return numbers[number] }, nil
}

func run(image string, chosen func(number int) bool, wait int) (counts, error) {
	found := counts{}
	cluster, err := unlimited()
	if err != nil {
		return found, err
	}
	near := &machine{Kubernetes: cluster, image: image, networks: map[string]int{}}
	defer near.close()
	served := []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP}
	resources, err := probe.NewDefaultResources(
		near, names, podNames, []int{80, 81}, served, nil, podsWithinSeconds, false, "")
	if err != nil {
		return found, err
	}
	defer func() {
		for _, name := range names {
			_ = cluster.DeleteNamespace(name)
		}
	}()
	last, err := resources.GetPod("z", "c")
	if err != nil {
		return found, err
	}
	interpreter := connectivity.NewInterpreter(near, resources, &connectivity.InterpreterConfig{
		ResetClusterBeforeTestCase: true, VerifyClusterStateBeforeTestCase: true, KubeProbeRetries: 1,
		PerturbationWaitSeconds: wait, BatchJobs: true, IgnoreLoopback: true, JobTimeoutSeconds: 1,
	})
	for number, one := range generator.NewTestCaseGenerator(true, last.IP, names, nil, nil).GenerateAllTestCases() {
		if !chosen(number + 1) {
			continue
		}
		started := time.Now()
		result := interpreter.ExecuteTestCase(one)
		if result.Err != nil {
			return found, fmt.Errorf("cannot carry out case %d, %q: %w", number+1, one.Description, result.Err)
		}
		found.count(number+1, result, time.Since(started))
	}
	return found, nil
}

// A client that never waits before a request: each step asks for each pod's Service some 80 times.
func unlimited() (*kube.Kubernetes, error) {
	cluster, err := kube.NewKubernetesForContext("")
	if err != nil {
		return nil, err
	}
	cluster.RestConfig.QPS = -1
	cluster.ClientSet, err = kubernetes.NewForConfig(cluster.RestConfig)
	return cluster, err
}

func (c *counts) count(number int, result *connectivity.Result, took time.Duration) {
	c.cases++
	word := "passed"
	if !result.Passed(true) {
		word = "failed"
	} else {
		c.passed++
	}
	for _, step := range result.Steps {
		c.steps++
		for _, key := range step.LastKubeProbe().Wrapped.Keys() {
			for _, answer := range step.LastKubeProbe().Get(key.From, key.To).JobResults {
				c.connections++
				if answer.Combined == probe.ConnectivityBlocked {
					c.blocked++
				}
			}
		}
	}
	fmt.Printf("case %d %s in %.1f s: %s\n", number, word, took.Seconds(), result.TestCase.Description)
	if word == "failed" {
		for place, step := range result.Steps {
			fmt.Printf("step %d, %d tries\n", place+1, len(step.KubeProbes))
			for _, line := range differences(step) {
				fmt.Println(line)
			}
		}
	}
}

// What went otherwise than cyclonus expects, a line for each connection.
func differences(step *connectivity.StepResult) (lines []string) {
	for _, key := range step.LastKubeProbe().Wrapped.Keys() {
		if key.From == key.To { // as IgnoreLoopback says
			continue
		}
		expected := step.SimulatedProbe.Get(key.From, key.To).JobResults
		for connection, seen := range step.LastKubeProbe().Get(key.From, key.To).JobResults {
			if wanted := expected[connection]; wanted == nil || wanted.Combined != seen.Combined {
				lines = append(lines, fmt.Sprintf("  %s to %s, %s: %s", key.From, key.To, connection, seen.Combined))
			}
		}
	}
	sort.Strings(lines)
	return lines
}

// The cluster, whose pods run on this machine.
type machine struct {
	*kube.Kubernetes
	image    string
	guard    sync.Mutex
	networks map[string]int // descriptors, by the pods' UIDs
}

// Its image is one that the nodes have.
func (m *machine) CreatePod(pod *corev1.Pod) (*corev1.Pod, error) {
	for place := range pod.Spec.Containers {
		pod.Spec.Containers[place].Image = m.image
	}
	return m.Kubernetes.CreatePod(pod)
}

// Written again where somebody else wrote the pod meanwhile, as the kubelet does: cyclonus would end all cases.
func (m *machine) SetPodLabels(namespace, name string, labels map[string]string) (written *corev1.Pod, err error) {
	err = retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		written, err = m.Kubernetes.SetPodLabels(namespace, name, labels)
		return err
	})
	return written, err
}

func (m *machine) SetNamespaceLabels(name string, labels map[string]string) (written *corev1.Namespace, err error) {
	err = retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		written, err = m.Kubernetes.SetNamespaceLabels(name, labels)
		return err
	})
	return written, err
}

// What cyclonus' worker would do in the pod: all connections of a pod at once, and the answers as JSON.
func (m *machine) ExecuteRemoteCommand(namespace, pod, _ string, command []string) (string, string, error, error) {
	batch := worker.Batch{}
	if err := json.Unmarshal([]byte(command[len(command)-1]), &batch); err != nil {
		return "", "", nil, err
	}
	network, err := m.networkOf(namespace, pod)
	if err != nil {
		return "", "", nil, err
	}
	if err := m.resolve(batch.Requests); err != nil {
		return "", "", nil, err
	}
	answers, err := json.Marshal(connectAll(network, batch.Requests))
	return string(answers), "", nil, err
}

// Puts the Services' addresses in the place of their names, which are NAME.NAMESPACE.svc.cluster.local.
func (m *machine) resolve(requests []*worker.Request) error {
	known := map[string]string{}
	for _, request := range requests {
		name := request.Host
		if known[name] == "" {
			parts := strings.Split(name, ".")
			if len(parts) < 2 {
				return fmt.Errorf("cannot look up %q: it is no name of a Service", name)
			}
			service, err := m.GetService(parts[1], parts[0])
			if err != nil {
				return err
			}
			known[name] = service.Spec.ClusterIP
		}
		request.Host = known[name]
	}
	return nil
}
