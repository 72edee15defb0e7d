"""The tour of the cluster: make it, show everything in order, say what to try next, and fail when something was wrong.

Each part goes on from whatever state is there: after Ctrl-C the same command completes what is missing, and `down`
takes away what there is.
"""

import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial

from azurebox import clusterdns, lifecycle, release
from azurebox.client import Box
from azurebox.demo import addresses, commandline, features, figures, traffic, workload
from azurebox.demo.course import play, report
from azurebox.demo.guide import BOX, Guide
from azurebox.demo.paper import Paper
from azurebox.demo.workload import PODS_PER_NODE, Pod
from azurebox.facts import CONTROL_PLANE, DEFAULT_NODES
from azurebox.steps import step

Scene = Callable[[Guide, Box, Sequence[Pod]], None]

SCENES: Sequence[Scene] = (
    addresses.show_nodes,
    addresses.show_pools,
    addresses.show_pods,
    addresses.show_nics,
    addresses.show_quota,
    traffic.show_pod_to_pod,
    traffic.show_name,
    traffic.show_onprem,
    traffic.show_internet,
    features.show_attachments,
    figures.show_prometheus,
    figures.show_latency,
    figures.show_memory,
    commandline.show_status,
)

CALLS = "sum by (node, operation, code) (azure_cni_azure_request_duration_seconds_count)"
NEXT: Mapping[str, Sequence[str]] = {
    "Let 60 pods run on the first node, and see its pool grow. Then 10 again: what they gave back cools for a while; "
    "some minutes later the pool shrinks.": (
        "e2e/box kubectl scale deployment demo-vm1 --replicas=60",
        "e2e/box kubectl get nodeippools --watch",
    ),
    "Why a node has what it has, in conditions and events:": ("e2e/box kubectl describe nodeippool azbox-vm1",),
    "Set spec.limit for all nodes together to 5 more than is GRANTED (less than that is refused): pods that find no "
    "address say why, and start when you set it back.": (
        "e2e/box kubectl get vnetquotas",
        "e2e/box kubectl edit vnetquota azbox-vnet",
        "e2e/box kubectl scale deployment demo-vm1 --replicas=100",
        "e2e/box azure-cni why -n default",
    ),
    "Trouble in Azure: for half a minute the subnet is full. See what waiting pods say, and that they start when the "
    "agent has asked again. (e2e/box azure alone lists what else can go wrong.)": (
        "e2e/box azure fault subnet-full --seconds 30",
        "e2e/box kubectl scale deployment demo-vm2 --replicas=40",
        "e2e/box kubectl events --types=Warning",
    ),
    "Delete the agents: pods keep their network, and the new agents know them all.": (
        "e2e/box kubectl delete pods -n kube-system -l app.kubernetes.io/instance=azure-cni",
    ),
    "Ask Prometheus something else (docs/metrics.md), such as how often Azure was called, and what it answered:": (
        f"{BOX} exec {CONTROL_PLANE} -- {shlex.join(figures.query(CALLS))}",
    ),
    "What pods are to their node, a link and two routes each:": ("e2e/box exec azbox-vm1 -- ip route",),
    "Who has which address, by ledger, kernel, NIC and API server side by side; and who had one a while ago:": (
        "e2e/box azure-cni addresses azbox-vm1 --check",
        "e2e/box azure-cni who 10.240.0.36 --history",
    ),
    "Prove the network with pods that are gone afterwards; and see hop by hop what packets of one of the list meet:": (
        "e2e/box azure-cni test",
        "e2e/box kubectl get pods",
        "e2e/box azure-cni trace POD 203.0.113.10",
    ),
    "Take everything away, without a trace:": ("make down",),
}


def run(helm_arguments: Sequence[str], *, alone: Callable[[], AbstractContextManager[None]]) -> int:
    """Make, show, report; the exit status. `alone` keeps other commands from changing the box while it is made.

    Raises:
        StepError: there is no cluster to show.

    """
    began = time.monotonic()
    paper = Paper()
    guide = Guide(paper)
    paper.line(paper.strong("azure-cni: pods with addresses of an Azure virtual network"), indent="")
    guide.chapter(
        "A cluster",
        "A real Kubernetes cluster in network namespaces of this machine, on a fake of Azure that keeps Azure's rules. "
        "The first time everything is built from source, which takes some minutes, and kept.",
    )
    paper.line("")
    with alone():
        lifecycle.up(DEFAULT_NODES)
        clusterdns.apply()
        release.install(helm_arguments)
    box = Box()
    with step(f"pods: {PODS_PER_NODE} on each node"):
        pods = workload.start(box)
    play(guide, [partial(scene, guide, box, pods) for scene in SCENES])
    return report(guide, NEXT, took_s=time.monotonic() - began, remains="The cluster keeps running until `make down`.")
