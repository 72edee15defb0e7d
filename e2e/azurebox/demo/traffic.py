"""Who the other side sees: from pod to pod, by a name, to an on-premises host, to a host on the internet."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from ipaddress import IPv4Address

from azurebox.client import Box
from azurebox.demo.guide import Guide
from azurebox.demo.workload import PORT, Pod, workload_name
from azurebox.fabric import Fabric
from azurebox.fabric.topology import INTERNET_HOST, ONPREM
from azurebox.steps import StepError

DNS_WITHIN = "30s"
CURL = ("curl", "-sSf", "-m", "5")


def show_pod_to_pod(guide: Guide, _: Box, pods: Sequence[Pod]) -> None:
    """A server sees the pod that calls."""
    caller, server = pods[0], next(pod for pod in pods if pod.node != pods[0].node)
    guide.chapter(
        "From pod to pod",
        f"A pod on {caller.node} calls one on {server.node}, which answers with the address and port that it sees "
        "calling. The frame leaves with the pod's own address; the virtual network carries it like that of any VM.",
    )
    url = f"http://{server.address}:{PORT}/clientip"
    seen = guide.show("kubectl", "exec", caller.name, "--", *CURL, url).rpartition(":")[0]
    guide.judge(
        seen == str(caller.address),
        f"the server saw {seen}, the pod {caller.name} itself.",
        f"the server saw {seen or 'nobody'}, and not the pod {caller.name}, which has {caller.address}",
    )


def show_name(guide: Guide, box: Box, pods: Sequence[Pod]) -> None:
    """A Service is found by its name."""
    caller, server = pods[0], next(pod for pod in pods if pod.node != pods[0].node)
    name = workload_name(server.node)
    guide.chapter(
        "By name",
        f"The pods on {server.node} have a Service, {name}. Its name leads to an address of Services, by the cluster's "
        "DNS (CoreDNS, in pods like any others), and kube-proxy from there to one of the pods, which sees who calls.",
    )
    with suppress(StepError):  # what is shown then is judged below
        box.kubectl("rollout", "status", "deployment/coredns", "--namespace=kube-system", f"--timeout={DNS_WITHIN}")
    found = guide.show("kubectl", "exec", caller.name, "--", "getent", "hosts", name)
    seen = guide.show("kubectl", "exec", caller.name, "--", *CURL, f"http://{name}/clientip").rpartition(":")[0]
    guide.judge(
        name in found and seen == str(caller.address),
        f"the name was found, and a pod behind it saw {seen}, the pod {caller.name} itself.",
        f"{name} was found as {found.strip() or 'nothing'}, and a pod behind it saw {seen or 'nobody'}; "
        f"{caller.name} has {caller.address}",
    )


def show_onprem(guide: Guide, _: Box, pods: Sequence[Pod]) -> None:
    """So does a host on the premises."""
    caller = pods[0]
    guide.chapter(
        "From a pod to an on-premises host",
        "Firewalls and logs over there know each pod by its own address: the chart's value routablePrefixes has "
        f"their network. The host {ONPREM.address} says whom it sees.",
    )
    seen = whoami(guide.show("kubectl", "exec", caller.name, "--", *CURL, f"http://{ONPREM.address}/whoami"))
    guide.judge(
        seen == caller.address,
        f"the on-premises host saw {seen}, the pod {caller.name} itself.",
        f"the on-premises host saw {seen}, and not the pod {caller.name}, which has {caller.address}",
    )


def show_internet(
    guide: Guide,
    box: Box,
    pods: Sequence[Pod],
    *,
    public_addresses: Callable[[], Mapping[IPv4Address, IPv4Address]] = lambda: Fabric().public_addresses(),
) -> None:
    """The internet sees the node; `public_addresses` shows who leaves the VNet as whom."""
    caller = pods[0]
    guide.chapter(
        "From a pod to the internet",
        "Azure gives a way out to the NIC's primary address only, so pods leave with that, and Azure makes a public "
        f"address of it. The host {INTERNET_HOST.address} sees a pod as the node that it is on.",
    )
    url = f"http://{INTERNET_HOST.address}/whoami"
    seen = whoami(guide.show("kubectl", "exec", caller.name, "--", *CURL, url))
    node = whoami(guide.show("exec", caller.node, "--", "busybox", "wget", "-qO-", url))
    primary = IPv4Address(next(nic["primary"] for nic in box.azure("GET", "/nics") if nic["vm"] == caller.node))
    public = public_addresses().get(primary)
    guide.judge(
        seen == node == public,
        f"the internet saw {seen} both times, which is what Azure makes of {primary}, the primary address of "
        f"{caller.node}.",
        f"the internet saw {seen} for the pod and {node} for its node {caller.node}, whose primary address {primary} "
        f"has the public address {public}",
    )


def whoami(reply: str) -> IPv4Address:
    """Whom a host beyond the VNet saw calling, from its reply."""
    return IPv4Address(json.loads(reply)["caller"])
