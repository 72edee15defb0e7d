"""What goes wrong in Azure: reported in words that a person can act on, and right again without help."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import pytest

from azurebox.client import Box
from azurebox.steps import StepError
from scenarios.harness.cloud import TROUBLES, Cloud
from scenarios.harness.node import AT_REST, Node
from scenarios.harness.pods import Workload, event_for, servers
from scenarios.harness.product import Product

TOLD_S = 120
RIGHT_AGAIN_S = 180
THROTTLED_S = 30
ROOM_AGAIN_S = 240  # docs/operations.md: within two minutes, and then Azure has to add them


@pytest.fixture
def workload(box: Box, nodes: list[Node], reset: Callable[[], None]) -> Iterator[Workload]:
    """A workload on the first node that uses up all of its pool but for what `growing` adds."""
    reset()
    with servers(box, "load", node=nodes[0].name) as made:
        yield made


@contextmanager
def paused(nodes: Sequence[Node]) -> Iterator[None]:
    """These nodes keep what they hold."""
    for node in nodes:
        node.want(paused=True)
    try:
        yield
    finally:
        for node in nodes:
            node.want()


def test_a_full_subnet(box: Box, workload: Workload, cloud: Cloud, nodes: list[Node]) -> None:
    """The pods for which there is room start, the others wait with an event; they start when the subnet has room."""
    node = nodes[0]
    with paused(nodes[1:]):  # else what others hold idle is taken back for pods that wait
        with cloud.subnet_left_with(2):
            waiting = workload.scale_beyond(20, ready=18)
            event_for(box, waiting[0].name, "NoAddress", "SubnetFull", _where(node))
            _holds(box, node, "SubnetFull", "SubnetFull", "nodes")
            event_for(box, node.name, "SubnetFull", "Free addresses in the subnet, or enlarge it", kind="NodeIPPool")
        started = workload.ready(20, timeout_s=ROOM_AGAIN_S)
        assert {pod.uid for pod in waiting} <= {pod.uid for pod in started}
        box.wait_for(lambda: node.condition("SubnetFull")["status"] == "False", TOLD_S, "SubnetFull to end")


@pytest.mark.parametrize(
    ("action", "scope"),
    [
        ("Microsoft.Network/networkInterfaces/write", "networkInterfaces/azbox-vm1-nic"),
        ("Microsoft.Network/virtualNetworks/subnets/join/action", "subnets/nodes"),
    ],
    ids=["write", "join"],
)
def test_a_missing_permission(
    box: Box, workload: Workload, cloud: Cloud, nodes: list[Node], action: str, scope: str
) -> None:
    """Azure answers 403: the pool's event and condition name the permission and its scope; the pod's names the pool."""
    node = nodes[0]
    with cloud.without(action):
        (waiting,) = workload.scale_beyond(17, ready=16)
        assert action not in event_for(box, waiting.name, "NoAddress", "AccessDenied", _where(node))
        event_for(box, node.name, "AccessDenied", action, scope, kind="NodeIPPool")
        _holds_not(box, node, "Ready", "AccessDenied", action)
    workload.ready(17, timeout_s=RIGHT_AGAIN_S)
    box.wait_for(lambda: node.condition("Ready")["reason"] == "PodsCanStart", TOLD_S, "the pool to be ready again")


def test_throttling(box: Box, workload: Workload, cloud: Cloud, nodes: list[Node]) -> None:
    """Azure answers 429: pod and condition say so and when it is tried again, and nobody asks before that time."""
    node, asked = nodes[0], cloud.requests()
    # All but one of those that find an address run already: the time that they take is no part of the time to wait.
    node.want(size=AT_REST.allocated)
    workload.settle(AT_REST.allocated - 1)
    with cloud.fault("throttle", at=node.nic_name, operation="nic.put", seconds=THROTTLED_S):
        node.want()
        (waiting,) = workload.scale_beyond(17, ready=16)
        event_for(box, waiting.name, "NoAddress", "Throttled", "tried again at 20", _where(node))
        _holds(box, node, "Throttled", "Throttled", "Azure asks to wait", "tried again at 20")
        workload.ready(17, timeout_s=RIGHT_AGAIN_S)
    assert cloud.requests() - asked == 2, "one refused, one accepted"
    box.wait_for(lambda: node.condition("Throttled")["status"] == "False", TOLD_S, "Throttled to end")


def test_a_nic_that_others_work_on(box: Box, workload: Workload, cloud: Cloud, nodes: list[Node]) -> None:
    """Azure refuses a write because another operation holds the NIC: the pod waits and says so, and then starts."""
    node = nodes[0]
    with cloud.fault("busy", at=node.nic_name, times=0):
        (waiting,) = workload.scale_beyond(17, ready=16)
        event_for(box, waiting.name, "NoAddress", "NicUpdating", _where(node))
        _holds_not(box, node, "Ready", "NicUpdating", "another operation is under way")
    workload.ready(17, timeout_s=RIGHT_AGAIN_S)


def test_one_write_that_goes_wrong(
    box: Box, cloud: Cloud, nodes: list[Node], reset: Callable[[], None], figure: Callable[[str], None]
) -> None:
    """Whatever happens to a write, the pool ends with what was asked for: no address too many, none that is not there.

    Both nodes at once, each with every other trouble: up by four addresses with each, and down again with each.
    """
    reset()
    asked = cloud.requests()
    with ThreadPoolExecutor() as both:
        list(both.map(lambda node, kinds: _suffer(box, cloud, node, kinds), nodes, (TROUBLES[::2], TROUBLES[1::2])))
    for node in nodes:
        node.agrees()
        node.want()
    tags = nodes[0].nic()["tags"] | nodes[1].nic()["tags"]
    assert tags.keys() >= {"touched-by", "written-by"}, "what another tool wrote is gone"
    figure(f"{2 * len(TROUBLES)} writes of NICs that went wrong were right after {cloud.requests() - asked} requests")


def test_a_silent_metadata_service(
    box: Box, workload: Workload, cloud: Cloud, product: Product, nodes: list[Node]
) -> None:
    """An agent that starts while IMDS is silent says so, serves pods from what is there, and goes on afterwards."""
    node = nodes[0]
    running = workload.settle(1)[0]
    with cloud.fault("silent", at=node.name, operation="imds.*", times=0):
        product.restart(node)
        event_for(box, node.name, "AzureUnreachable", "instance metadata", "no answer", kind="NodeIPPool")
        box.wait_for(
            lambda: node.condition("Ready")["reason"] == "AzureUnreachable", TOLD_S, "the condition Ready to say so too"
        )
        assert "is this an Azure VM" in node.condition("Ready")["message"]
        assert workload.settle(4)[0].node == node.name  # the ledger has free addresses, and they work
    box.wait_for(lambda: node.condition("Ready")["reason"] == "PodsCanStart", RIGHT_AGAIN_S, "the pool to be right")
    assert running.address in {pod.address for pod in workload.settle(17)}
    product.await_ready()


def test_addresses_that_come_and_go_behind_our_back(box: Box, workload: Workload, nodes: list[Node]) -> None:
    """Another tool adds two addresses, and takes that of a running pod: the first are used, the second is reported.

    It is found by the metadata service, or at the next write of the NIC, which fails (412).
    """
    node = nodes[0]
    robbed = workload.settle(1)[0]
    added = box.azure("POST", f"/nics/{node.nic_name}/appear", {"count": 2})["addresses"]
    box.azure("POST", f"/nics/{node.nic_name}/vanish", {"addresses": [str(robbed.address)], "taken": True})
    node.want(size=20)
    _holds(box, node, "Drifted", "AddressesLost", str(robbed.address))
    box.wait_for(lambda: node.counts().allocated == 20, TOLD_S, "20 addresses on the NIC")
    assert set(added) <= {str(slot.address) for slot in node.slots()}
    workload.settle(0)
    box.wait_for(lambda: node.condition("Drifted")["status"] == "False", TOLD_S, "Drifted to end with the pod")
    node.want(size=1)
    box.wait_for(partial(_is_right, node, len(added)), TOLD_S, "only what others brought to be left")
    assert {str(address) for address in node.on_nic()} == set(added)
    # It was used like any other address and never deleted: they have to take it away themselves.
    box.azure("POST", f"/nics/{node.nic_name}/vanish", {"addresses": added})
    box.azure("POST", "/give-back", {})
    node.want()


def test_a_lost_address_is_found_when_somebody_asks(box: Box, workload: Workload, nodes: list[Node]) -> None:
    """Nothing writes the NIC, and the next look at it is minutes away: an annotation has the agent look now."""
    node = nodes[0]
    robbed = workload.settle(1)[0]
    node.want(paused=True)
    box.azure("POST", f"/nics/{node.nic_name}/vanish", {"addresses": [str(robbed.address)]})
    asked = node.read_now()
    _holds(box, node, "Drifted", "AddressesLost", str(robbed.address))
    answered = partial(_was_read_for, node, asked)
    box.wait_for(answered, TOLD_S, "the pool to say that it was read for the annotation")
    workload.settle(0)
    box.wait_for(lambda: node.condition("Drifted")["status"] == "False", TOLD_S, "Drifted to end with the pod")
    node.want()
    box.wait_for(partial(_is_right, node, AT_REST.allocated), RIGHT_AGAIN_S, "the pool to be whole again")


def _suffer(box: Box, cloud: Cloud, node: Node, kinds: Sequence[str]) -> None:
    """Grow the pool with each trouble, then shrink it with each."""
    size = AT_REST.allocated
    for step in (4, -4):
        for kind in kinds:
            size += step
            with cloud.fault(kind, at=node.nic_name):
                node.want(size=size)
                box.wait_for(
                    partial(_is_right, node, size), RIGHT_AGAIN_S, f"{size} addresses on {node.name} after {kind}"
                )
                assert cloud.in_force(node.nic_name) == [], f"{kind} did not happen"


def _is_right(node: Node, size: int) -> bool:
    on_nic, known, ledger = node.on_nic(), node.known_to_nft(), node.ledger()
    if (len(on_nic), on_nic, ledger.allocated) != (size, known, size) or node.state() != "Succeeded":
        raise StepError("not yet", output=f"NIC {len(on_nic)}, {node.state()}; nftables {len(known)}; {ledger}")
    return True


def _was_read_for(node: Node, request: str) -> bool:
    return bool(node.pool()["status"]["lastRead"].get("request") == request)


def _where(node: Node) -> str:
    """What a pod's event says instead of Azure's words: tenants read it."""
    return f"to see why: kubectl describe nodeippool {node.name}"


def _holds(box: Box, node: Node, kind: str, reason: str, *words: str, status: str = "True") -> None:
    def found() -> bool:
        condition = node.condition(kind)
        if (condition["status"], condition["reason"]) != (status, reason):
            raise StepError("not yet", output=str(condition))
        return all(word in condition["message"] for word in words)

    box.wait_for(found, TOLD_S, f"the condition {kind} to be {status} because of {reason}, naming {words}")


def _holds_not(box: Box, node: Node, kind: str, reason: str, *words: str) -> None:
    _holds(box, node, kind, reason, *words, status="False")
