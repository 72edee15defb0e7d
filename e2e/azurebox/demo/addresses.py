"""What there is: nodes, their pools, the pods with their addresses, and the same addresses in Azure."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address
from typing import Any

from azurebox.client import Box
from azurebox.demo.guide import Guide
from azurebox.demo.paper import aligned, pick
from azurebox.demo.workload import LABEL, Pod, addressed
from azurebox.steps import StepError

STATUS_WITHIN_S = 10  # a pool's status follows what happens within this time
QUOTA_WITHIN_S = 30  # the quota's, within 12 s; here the machine may be busy
SAMPLE = 4  # how many ipConfigurations of a NIC are shown


@dataclass(frozen=True, slots=True)
class Configuration:
    """An ipConfiguration of a NIC, as Azure shows it."""

    name: str
    address: IPv4Address
    state: str
    primary: bool


def show_nodes(guide: Guide, _: Box, __: Sequence[Pod]) -> None:
    """Nodes are Ready only by azure-cni."""
    guide.chapter(
        "Nodes",
        "Each VM is a node. A node turns Ready when azure-cni has an address for the next pod, and not before.",
    )
    text = guide.show("kubectl", "get", "nodes")
    waiting = [line.split()[0] for line in text.splitlines()[1:] if line.split()[1] != "Ready"]
    guide.judge(not waiting, "all are Ready.", f"not Ready: {', '.join(waiting)}")


def show_pools(guide: Guide, box: Box, _: Sequence[Pod]) -> None:
    """Pools know how many addresses pods have."""
    guide.chapter(
        "Pools",
        "Each node keeps a pool of addresses of the virtual network on its NIC: what pods have, and some more, so that "
        "the next pods need not wait for Azure. README.md explains the columns.",
    )
    with suppress(StepError):  # what is shown then is judged below
        box.wait_for(lambda: _assigned(box) == addressed(box), STATUS_WITHIN_S, "the pools to show the pods' addresses")
    guide.show("kubectl", "get", "nodeippools")
    columns = ("NAME", "PRIMARY-IP", "REASON", "SUBNET")
    guide.show("kubectl", "get", "nodeippools", "-o", "wide", shorten=partial(pick, columns=columns))
    expected, found = addressed(box), _assigned(box)
    guide.judge(
        found == expected,
        f"as many are assigned as there are pods: {_words(expected)}.",
        f"there are pods: {_words(expected)}; assigned are: {_words(found)}",
    )


def show_quota(guide: Guide, box: Box, _: Sequence[Pod]) -> None:
    """All nodes together stay within one quota."""
    guide.chapter(
        "The quota of the virtual network",
        "All pools together hold no more than their VNetQuota allows: the API server itself refuses a grant over it. "
        "The controller answers what nodes ask for, and paces their writes to Azure.",
    )
    with suppress(StepError):  # what is shown then is judged below
        box.wait_for(
            lambda: _quota(box)["status"]["assigned"] == sum(addressed(box).values()),
            QUOTA_WITHIN_S,
            "the quota to show the pods' addresses",
        )
    guide.show("kubectl", "get", "vnetquotas")
    quota, pods = _quota(box), sum(addressed(box).values())
    granted, held = quota["status"]["granted"], sum(len(held) for held in _held(box).values())
    found = (
        f"{held} addresses are on the NICs, {granted} are granted, {quota['spec']['limit']} allowed; "
        f"pods have {pods}, assigned are {quota['status']['assigned']}"
    )
    is_so = held <= granted <= quota["spec"]["limit"] and quota["status"]["assigned"] == pods
    guide.judge(is_so, f"{found}.", found)


def show_pods(guide: Guide, _: Box, pods: Sequence[Pod]) -> None:
    """Pods have addresses of the nodes' own subnet."""
    guide.chapter("Pods", "Every pod has an address of the subnet that the nodes themselves are in: no overlay.")
    columns = ("NAME", "READY", "STATUS", "AGE", "IP", "NODE")
    guide.show("kubectl", "get", "pods", "-l", LABEL, "-o", "wide", shorten=partial(pick, columns=columns))
    different = len({pod.address for pod in pods})
    guide.judge(
        different == len(pods),
        f"{len(pods)} pods, {different} addresses.",
        f"{len(pods)} pods have only {different} addresses",
    )


def show_nics(guide: Guide, box: Box, pods: Sequence[Pod]) -> None:
    """Azure says the same."""
    guide.chapter(
        "The same addresses in Azure",
        "Azure delivers to a VM what the ipConfigurations of its NIC hold, and drops all else. This is what the (fake) "
        "Azure Resource Manager has, in short.",
    )
    names = {nic["vm"]: nic["name"] for nic in box.azure("GET", "/nics")}
    for node in box.nodes:
        own = {pod.address: pod.name for pod in pods if pod.node == node}
        shorten = partial(digest, holders=own, whose="the node itself")
        text = guide.show("azure", f"/nics/{names[node]}", shorten=shorten)
        there = {held.address for held in configurations(json.loads(text)) if held.state == "Succeeded"}
        missing = [f"{name} {address}" for address, name in own.items() if address not in there]
        guide.judge(
            not missing,
            f"the addresses of all {len(own)} pods on {node} are on its NIC.",
            f"not on {names[node]}: {', '.join(missing)}",
        )


def configurations(nic: Mapping[str, Any]) -> list[Configuration]:
    """The ipConfigurations of a NIC from its document."""
    return [
        Configuration(
            entry["name"],
            IPv4Address(entry["properties"]["privateIPAddress"]),
            entry["properties"]["provisioningState"],
            entry["properties"]["primary"],
        )
        for entry in nic["properties"]["ipConfigurations"]
    ]


def digest(document: str, *, holders: Mapping[IPv4Address, str], whose: str, column: str = "POD") -> str:
    """A NIC's primary configuration, which is `whose`, and some of those that `holders` have by name, as a table."""
    every = configurations(json.loads(document))
    shown = [held for held in every if held.address in holders][: SAMPLE - 1]
    shown = [held for held in every if held.primary] + shown
    rows = [(held.name, held.address, held.state, holders.get(held.address, f"({whose})")) for held in shown]
    table = aligned([("IPCONFIGURATION", "ADDRESS", "STATE", column), *rows])
    return f"{table}\n(and {len(every) - len(shown)} more)"


def _held(box: Box) -> dict[str, list[Any]]:
    """What the nodes' NICs hold in Azure beside their primary addresses."""
    nics = {nic["vm"]: nic["name"] for nic in box.azure("GET", "/nics")}
    return {
        node: [
            entry
            for entry in box.azure("GET", f"/nics/{nics[node]}")["properties"]["ipConfigurations"]
            if not entry["properties"]["primary"]
        ]
        for node in box.nodes
    }


def _quota(box: Box) -> dict[str, Any]:
    """The quota of the box's one VNet."""
    [quota] = box.kubectl_json("get", "vnetquotas")["items"]
    return dict(quota)


def _assigned(box: Box) -> dict[str, int]:
    items: list[dict[str, Any]] = box.kubectl_json("get", "nodeippools")["items"]
    return {item["metadata"]["name"]: item.get("status", {}).get("assigned", 0) for item in items}


def _words(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number} on {node}" for node, number in counts.items())
