"""The plugin's verbs as a container runtime calls them: the binary that is installed, its agent, and the kernel.

The runtime of the box asks for ADD and DEL alone. Here the test is the runtime, of sandboxes that no pod has.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from azurebox.client import Box
from scenarios.harness.node import Node
from scenarios.harness.pods import NAMESPACE, Pod, Workload, servers
from scenarios.harness.runtime import IFNAME, LEFT_S, VERSION, Sandbox, accepted, collect, refused, sandboxes

FORGOTTEN_S = 20
"""For one command to containerd: to kill a task twice may never be answered."""
DEAD_S = 240.0
"""Until the address of a dead sandbox is back: a minute of grace, a list of pods, and the pass after that."""
CTR = "ctr=/opt/azbox/containerd/ctr; [ -x $ctr ] || ctr=ctr"


@pytest.fixture
def sandbox(nodes: list[Node]) -> Iterator[Callable[[], Sandbox]]:
    """Makes sandboxes on the first node."""
    with sandboxes(nodes[0]) as make:
        yield make


@pytest.fixture(scope="module")
def forgotten(box: Box, nodes: list[Node]) -> Iterator[tuple[Workload, Pod, tuple[str, str]]]:
    """A pod whose sandbox the runtime forgot, and its new one. The old one's grace passes beside what else is dead."""
    node = nodes[0]
    with servers(box, "forgotten", node=node.name, replicas=1) as workload:
        (pod,) = workload.pods()
        (old,) = held_by(node, pod)
        forget(box, node, pod)
        box.wait_for(lambda: len(held_by(node, pod)) == 2, DEAD_S, f"a new sandbox of {pod.name}")
        (new,) = held_by(node, pod) - {old}
        yield workload, pod, new


def test_a_sandbox_from_add_to_del(box: Box, sandbox: Callable[[], Sandbox]) -> None:
    """ADD gives it an address of the NIC and a way out, CHECK reports what is damaged, DEL may come twice."""
    one = sandbox()
    node = one.node
    refused(one.check(imagined(one)), 3, one.container[:12], "the ledger holds no address for it")
    one.add()
    assert one.address in node.on_nic()
    assert one.address in node.routes()
    assert str(one.address) in one.inside("-4", "address", "show", "dev", IFNAME)
    assert "default" in one.inside("-4", "route", "show")
    assert accepted(one.call("ADD")) == one.result, "a repeat gives the same"
    assert accepted(one.call("STATUS")) == {}
    assert accepted(one.check()) == {}

    node.run("ip", "route", "delete", f"{one.address}/32")  # which the agent hears of, and puts back
    box.wait_for(lambda: one.check().status == 0, LEFT_S, "the route to be back")
    one.inside("link", "set", IFNAME, "down")
    refused(one.check(), 5, "is not as it should be", f"pod: interface {IFNAME} is down")

    assert [accepted(one.call("DEL", {"prevResult": one.result})) for _ in range(2)] == [{}, {}]
    assert one.attachment not in node.attachments()
    box.wait_for(lambda: f"{IFNAME}@" not in one.inside("link", "show"), LEFT_S, "its link to be gone")
    box.wait_for(lambda: not node.links(), LEFT_S, "the links to be gone")
    node.agrees(assigned=0)


def test_gc_frees_what_the_runtime_does_not_list_and_nothing_else(box: Box, sandbox: Callable[[], Sandbox]) -> None:
    """Of three attachments, a pod's among them, the one that is not in the list goes."""
    kept, stale = sandbox(), sandbox()
    node = kept.node
    with servers(box, "living", node=node.name, replicas=1) as living:
        kept.add()
        stale.add()
        (pod,) = living.ready(1)
        valid = node.attachments() - {stale.attachment}
        assert len(valid) == 2
        assert accepted(collect(node, valid)) == {}
        assert node.attachments() == valid
        assert {slot.address for slot in node.slots() if slot.state == "assigned"} == {kept.address, pod.address}
        box.wait_for(lambda: stale.address not in node.routes(), LEFT_S, "its route to be gone")
        assert accepted(kept.check()) == {}
        assert accepted(collect(node, valid)) == {}
        assert living.ready(1) == [pod]
        assert accepted(stale.call("DEL")) == {}, "a DEL of what is gone succeeds"


def test_a_sandbox_whose_namespace_is_named_by_a_process(sandbox: Callable[[], Sandbox]) -> None:
    """As cri-dockerd does: the agent's container does not have the process, so the binary passes its namespace."""
    one = sandbox()
    pid = one.start_process()
    try:
        one.netns = f"/proc/{pid}/ns/net"
        one.add()
        inside = [interface for interface in one.result["interfaces"] if interface["name"] == IFNAME]
        assert [interface["sandbox"] for interface in inside] == [one.netns]
        assert str(one.address) in one.inside("-4", "address", "show", "dev", IFNAME)
        assert accepted(one.check()) == {}
        one.inside("link", "set", IFNAME, "down")
        refused(one.check(), 5, f"pod: interface {IFNAME} is down")
    finally:
        one.node.run("kill", "-KILL", pid)
    assert accepted(one.call("DEL")) == {}, "a DEL needs no namespace"
    assert one.attachment not in one.node.attachments()


@pytest.mark.usefixtures("forgotten")
def test_sandboxes_without_a_pod_are_taken_back_unless_something_runs_in_them(
    box: Box, sandbox: Callable[[], Sandbox]
) -> None:
    """As when the runtime died between ADD and its records. One that never had a pod, empty as it is, stays too."""
    empty, occupied, bare = sandbox(), sandbox(), sandbox()
    node = empty.node
    for one in (empty, occupied):
        one.pod = one.container
        one.add()
    bare.add()
    pid = occupied.start_process()
    try:
        box.wait_for(lambda: empty.attachment not in node.attachments(), DEAD_S, "what is dead to be taken back")
        box.wait_for(lambda: f"{IFNAME}@" not in empty.inside("link", "show"), LEFT_S, "its link to be gone")
        assert node.attachments() >= {occupied.attachment, bare.attachment}
        assert accepted(occupied.check()) == {}
        assert accepted(bare.check()) == {}
    finally:
        node.run("kill", "-KILL", pid)


def test_the_older_sandbox_of_a_pod_that_the_runtime_forgot(
    box: Box, nodes: list[Node], forgotten: tuple[Workload, Pod, tuple[str, str]]
) -> None:
    """The runtime lost its records, and the pod lives on in a new sandbox: the address of the old one comes back."""
    node = nodes[0]
    workload, pod, new = forgotten
    box.wait_for(lambda: held_by(node, pod) == {new}, DEAD_S, "the old sandbox to be taken back")
    (now,) = workload.ready(1)
    assert (now.uid, now.address in node.routes()) == (pod.uid, True)


def held_by(node: Node, pod: Pod) -> set[tuple[str, str]]:
    """The sandboxes that hold an address for a pod, as container and interface."""
    return node.attachments(pod_uid=pod.uid)


def forget(box: Box, node: Node, pod: Pod) -> None:
    """Have the runtime forget a pod: its processes are killed, its records removed, and no DEL comes."""
    status = box.kubectl_json("get", "pod", "-n", NAMESPACE, pod.name)["status"]
    containers = [one["containerID"].rpartition("/")[2] for one in status["containerStatuses"]]
    sandboxes = [container for container, _ in held_by(node, pod)]
    box.stop(f"{node.name}-kubelet")
    try:
        for container in (*containers, *sandboxes):
            for command in ("task kill -s SIGKILL", "task rm -f", "container rm", "sandboxes rm --force"):
                node.run("sh", "-c", f"{CTR}; timeout {FORGOTTEN_S} $ctr -n k8s.io {command} {container} || true")
    finally:
        try:
            box.stop(f"{node.name}-containerd")
        finally:
            box.start(f"{node.name}-containerd")
            box.start(f"{node.name}-kubelet")


def imagined(sandbox: Sandbox) -> dict[str, Any]:
    """A result that nobody gave."""
    return {
        "cniVersion": VERSION,
        "interfaces": [{"name": IFNAME, "sandbox": f"/run/netns/{sandbox.container}"}],
        "ips": [{"address": "10.240.0.99/32", "interface": 0}],
    }
