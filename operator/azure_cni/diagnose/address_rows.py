"""Every address of a node, as ledger, kernel, NIC and API server have it, side by side; and where they differ.

The kubelet and the API server lag behind: an address that changed hands within the last minute is no difference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

import msgspec

from azure_cni.api.introspection import LinkReport, NodeReport, SlotReport
from azure_cni.diagnose.evidence import ClusterEvidence, PodFacts
from azure_cni.diagnose.pod_diagnosis import LAG_S, listed_addresses
from azure_cni.ipam.address_state import State
from azure_cni.model.text import few, seconds_of

ASSIGNED = State.ASSIGNED.value


class AddressRow(msgspec.Struct, frozen=True, rename="camel"):
    """One address. `kernel` is the link that it leads to, `nic` its ipConfiguration, `api` the pod that shows it.

    `differs`: how the four contradict each other, "" where they do not. What was not read is "?".
    """

    node: str
    address: str
    state: str
    pod: str
    since: str
    kernel: str
    nic: str
    api: str
    differs: str = ""


@dataclass(frozen=True, slots=True)
class _Sides:
    """What each of the four says of one address."""

    slot: SlotReport | None
    links: tuple[LinkReport, ...]
    config: str
    pods: tuple[PodFacts, ...]


def from_api(evidence: ClusterEvidence, nodes: Sequence[str] = ()) -> list[AddressRow]:
    """What the API server alone shows, of these nodes or of all: pools list what their NICs hold, pods what they have.

    Where two pools list one address, or a pod has one that its node's pool does not list, it differs.
    """
    pods = _Pods(evidence)
    listed = {pool.name: listed_addresses(pool) for pool in evidence.pools}
    times = Counter(address for addresses in listed.values() for address in addresses)
    rows: list[AddressRow] = []
    for node, addresses in sorted(listed.items()):
        if nodes and node not in nodes:
            continue
        own: dict[str, list[PodFacts]] = {}
        for pod in pods.on_node.get(node, ()):
            own.setdefault(pod.addresses[0], []).append(pod)
        unlisted = [address for address in own if address not in addresses]
        for address in _sorted([*addresses, *unlisted]):
            names = few([pod.full_name for pod in own.get(address, [])])
            differs = "" if address in addresses else "not on the NIC, as its agent last said"
            differs = "more than one pool lists it" if times[address] > 1 else differs
            state = ASSIGNED if names else "in the pool"
            rows.append(AddressRow(node, address, state, names, "", "?", addresses.get(address, ""), names, differs))
    return rows


def compare(reports: Iterable[NodeReport], evidence: ClusterEvidence) -> list[AddressRow]:
    """Of these nodes, from their agents' answers and the API server. Ages are by each agent's clock."""
    pods = _Pods(evidence)
    return [row for report in reports for row in _rows(report, pods)]


class _Pods:
    """Those that have addresses, by what they are looked for."""

    def __init__(self, evidence: ClusterEvidence) -> None:
        self.on_node: dict[str, list[PodFacts]] = {}
        self.with_address: dict[str, list[PodFacts]] = {}
        for pod in (one for one in evidence.pods if one.holds_address):
            self.on_node.setdefault(pod.node, []).append(pod)
            for address in dict.fromkeys(pod.addresses):
                self.with_address.setdefault(address, []).append(pod)


def _rows(report: NodeReport, pods: _Pods) -> Iterator[AddressRow]:
    """Each list of the report is gone through once: a node that was taken over decides how long they are."""
    now_s = seconds_of(report.time) or 0.0
    slots = {slot.address: slot for slot in reversed(report.slots)}  # of two for one address the first
    links: dict[str, list[LinkReport]] = {}
    for link in report.kernel.links:
        # Those of IPv6 go with the others, and neither ledger nor NIC lists them.
        for address in dict.fromkeys(address for address in link.addresses if ":" not in address):
            links.setdefault(address, []).append(link)
    configs = _configs(report)
    here = [pod.addresses[0] for pod in pods.on_node.get(report.node, ())]
    for address in _sorted([*slots, *links, *configs, *here]):
        sides = _Sides(
            slot=slots.get(address),
            links=tuple(links.get(address, ())),
            config=configs.get(address, ""),
            pods=tuple(pods.with_address.get(address, ())),
        )
        yield _row(report, address, sides, now_s)


def _configs(report: NodeReport) -> Mapping[str, str]:
    """What is on the NIC for pods: address to ipConfiguration."""
    shown = report.nic.configurations if report.nic else []
    return {address: one.name for one in shown if not one.primary and not one.why for address in one.addresses}


def _row(report: NodeReport, address: str, sides: _Sides, now_s: float) -> AddressRow:
    slot, here = sides.slot, [pod for pod in sides.pods if pod.node == report.node]
    since_s = seconds_of(slot.since) if slot else None
    settled = since_s is None or now_s - since_s > LAG_S
    differences = [*_of_node(report, sides), *(_of_api(report, sides) if settled else ())]
    interfaces = [name for link in sides.links for name in link.interfaces]
    return AddressRow(
        node=report.node,
        address=address,
        state=slot.state if slot else "unknown",
        pod=slot.holder if slot else "",
        since=slot.since if slot else "",
        kernel="?" if report.kernel.error else few(interfaces),
        nic=sides.config if report.nic else "?",
        api=few([pod.full_name for pod in here]),
        differs="; ".join(differences),
    )


def _of_node(report: NodeReport, sides: _Sides) -> Iterator[str]:
    """Between ledger, kernel and NIC, which one agent keeps."""
    slot, reads_kernel = sides.slot, not report.kernel.error
    if slot is None:
        if sides.links:
            yield "the node leads it to a sandbox, and the ledger does not know it"
        if sides.config and report.nic is not None and report.nic.settled:
            yield "on the NIC, and the ledger does not know it"
        return
    if slot.state == ASSIGNED and reads_kernel and not sides.links:
        yield "nothing on the node leads to its pod"
    if slot.state == ASSIGNED and any(link.container not in {"", slot.container} for link in sides.links):
        yield "the node leads it to another sandbox"
    if slot.state != ASSIGNED and sides.links:
        yield f"the node leads it to a sandbox, and it is {slot.state}"
    if report.nic is not None and not sides.config and not slot.excluded and slot.state != State.RELEASING.value:
        yield "not on the NIC"


def _of_api(report: NodeReport, sides: _Sides) -> Iterator[str]:
    """Between the ledger and the pods that the API server shows."""
    slot = sides.slot
    here = {pod.full_name for pod in sides.pods if pod.node == report.node}
    elsewhere = [pod.full_name for pod in sides.pods if pod.node != report.node]
    holder = slot.holder if slot and slot.state == ASSIGNED else ""
    if holder and slot is not None and slot.pod and holder not in here:
        yield f"the API server does not show it as the address of {holder}"
    for name in sorted(here - {holder}):
        yield f"the API server shows it for {name}"
    if elsewhere and slot is not None:
        yield f"the API server shows it for {few(elsewhere)} on another node"


def _sorted(addresses: Sequence[str]) -> list[str]:
    """Once each, in address order; what is none comes last."""

    def order(text: str) -> tuple[bool, int, str]:
        try:
            return False, int(IPv4Address(text)), text
        except ValueError:
            return True, 0, text

    return sorted(set(addresses), key=order)
