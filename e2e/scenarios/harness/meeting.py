"""Who meets whom: which server answers a caller, and as which address it sees him."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from azurebox.client import Box
from azurebox.fabric.topology import Place
from azurebox.machine import NETNS
from azurebox.steps import StepError, capture
from scenarios.harness.node import Node
from scenarios.harness.pods import INSIDE, NAMESPACE, PORT, Pod, Workload

Asker = Pod | Place
"""Who calls: a pod, or a host beyond the VMs."""

ENOUGH = 16
"""Connections after which one of a few servers has been met almost certainly."""
PROGRAMMED_S = 120.0
"""Until kube-proxy has followed a change, on a busy machine."""


@dataclass(frozen=True, slots=True)
class Meeting:
    """One connection: the server's host name ("" where nobody answered), and the caller's address as it sees it."""

    server: str
    seen: str
    """Or why nobody answered."""


def meet(box: Box, caller: Asker, target: str, *, times: int = ENOUGH) -> list[Meeting]:
    """Connections, one after the other, from a pod or a host beyond the VMs to the test server at HOST:PORT."""
    return [Meeting(server, seen) for server, seen in _inside(box, caller, "meet", str(times), target)]


def ask_from(box: Box, caller: Asker, target: str) -> str:
    """What HOST:PORT/PATH answers to a caller, asked by the name before an @; "!" and why, where it does not."""
    return str(_inside(box, caller, "ask", target)[target])


def _inside(box: Box, caller: Asker, *words: str) -> Any:
    command = ["python3", "-c", INSIDE, *words]
    if isinstance(caller, Pod):
        return json.loads(box.kubectl("exec", "-n", NAMESPACE, caller.name, "--", *command))
    namespace = f"--net={NETNS / f'azbox-{caller.name}'}"
    return json.loads(capture(["nsenter", namespace, "--", *command], what=f"{words[0]} from {caller.name}"))


def await_meetings(
    box: Box, caller: Asker, target: str, *, servers: Collection[Pod], seen: Collection[IPv4Address | IPv6Address]
) -> None:
    """Wait until a caller meets just these servers, and they see him as just these addresses."""
    expected = ({server.name for server in servers}, {str(address) for address in seen})

    def met() -> bool:
        meetings = meet(box, caller, target)
        found = ({meeting.server for meeting in meetings}, {meeting.seen for meeting in meetings})
        if found != expected:
            raise StepError("not yet", output=f"{caller.name} meets and is seen as {found}, expected {expected}")
        return True

    box.wait_for(met, PROGRAMMED_S, f"{caller.name} to meet who it should at {target}")


def await_return(box: Box, node: Node, workload: Workload, caller: Pod, *, count: int, within_s: float) -> None:
    """Reboot a node: its `count` pods, and no others, come back with new wires, and answer a caller by their addresses.

    What its NIC held, it holds still.
    """
    before, held, wires = {pod.uid for pod in workload.pods()}, node.on_nic(), node.links()
    box.reboot(node.name)

    def back() -> list[Pod] | None:
        """All have new wires, and Kubernetes shows the addresses by which the node knows them."""
        pods, now = workload.pods(), node.links()
        known = {slot.pod: slot.address for slot in node.slots() if slot.pod}
        shown = {f"{NAMESPACE}/{pod.name}": pod.address for pod in pods if pod.ready}
        return pods if shown == known and len(shown) == len(now) == count and not now & wires else None

    pods = box.wait_for(back, within_s, "the pods to be wired again")
    assert {pod.uid for pod in pods} == before
    assert node.on_nic() == held
    for pod in pods:
        await_meetings(box, caller, f"{pod.address}:{PORT}", servers=[pod], seen={caller.address})
    node.agrees(assigned=count)


def await_answer(box: Box, caller: Asker, target: str) -> None:
    """Wait until somebody answers a caller there."""
    box.wait_for(
        lambda: meet(box, caller, target, times=1)[0].server,
        PROGRAMMED_S,
        f"somebody to answer {caller.name} at {target}",
    )


def await_silence(box: Box, caller: Asker, target: str) -> None:
    """Wait until nobody answers a caller there."""

    def silent() -> bool:
        (meeting,) = meet(box, caller, target, times=1)
        if meeting.server:
            raise StepError("not yet", output=f"{meeting} answers {caller.name}")
        return True

    box.wait_for(silent, PROGRAMMED_S, f"nobody to answer {caller.name} at {target}")
