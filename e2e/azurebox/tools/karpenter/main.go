// What Karpenter makes of a node and of pods, by its own functions.
//
//	karpenter < FILE
//
// FILE is a JSON object: a `node`, the `nodeClaim` that it belongs to, and `pods`. The answer is one, too:
// `provisionable`, the pods for which Karpenter looks for capacity; `fits`, the pods that it would put on this node, as
// far as taints decide that; and `waitsFor`, the startup taint that has to go before the node counts as initialized.
// What is not here: its simulation of capacity, its loops, and its cloud providers.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	corev1 "k8s.io/api/core/v1"
	v1 "sigs.k8s.io/karpenter/pkg/apis/v1"
	"sigs.k8s.io/karpenter/pkg/controllers/nodeclaim/lifecycle"
	"sigs.k8s.io/karpenter/pkg/controllers/state"
	"sigs.k8s.io/karpenter/pkg/scheduling"
	"sigs.k8s.io/karpenter/pkg/utils/pod"
)

type question struct {
	Node      *corev1.Node  `json:"node"`
	NodeClaim *v1.NodeClaim `json:"nodeClaim"`
	Pods      []*corev1.Pod `json:"pods"`
}

type answer struct {
	Provisionable []string `json:"provisionable"`
	Fits          []string `json:"fits"`
	WaitsFor      string   `json:"waitsFor"`
}

func main() {
	asked := question{}
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		fmt.Fprintln(os.Stderr, "karpenter: cannot read the question:", err)
		os.Exit(1)
	}
	if err := json.NewEncoder(os.Stdout).Encode(judged(asked)); err != nil {
		fmt.Fprintln(os.Stderr, "karpenter: cannot print the answer:", err)
		os.Exit(1)
	}
}

func judged(asked question) answer {
	said := answer{Provisionable: []string{}, Fits: []string{}}
	node := state.NewNode()
	node.Node, node.NodeClaim = asked.Node, asked.NodeClaim
	taints := scheduling.Taints(node.Taints())
	for _, one := range asked.Pods {
		if pod.IsProvisionable(one) {
			said.Provisionable = append(said.Provisionable, one.Name)
		}
		if taints.ToleratesPod(one) == nil {
			said.Fits = append(said.Fits, one.Name)
		}
	}
	if taint, removed := lifecycle.StartupTaintsRemoved(asked.Node, asked.NodeClaim); !removed {
		said.WaitsFor = taint.Key
	}
	return said
}
