"""The plugin's verbs as a container runtime calls them: the binary that is installed, its agent, and the kernel.

The runtime of the box asks for ADD and DEL alone. Here the test is the runtime, of sandboxes that no pod has.
"""

import json
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface
from typing import Any

import pytest

from azurebox.client import Box
from azurebox.steps import wait_for
from scenarios.harness.node import BINARY, CONFLIST, Answer, Node
from scenarios.harness.pods import NAMESPACE, Pod, servers

VERSION = "1.1.0"
IFNAME = "eth0"
LEFT_S = 60
FORGOTTEN_S = 20
"""For one command to containerd: to kill a task twice may never be answered."""
DEAD_S = 240.0
"""Until the address of a dead sandbox is back: a minute of grace, a list of pods, and the pass after that."""
CTR = "ctr=/opt/azbox/containerd/ctr; [ -x $ctr ] || ctr=ctr"
NOTHING: Mapping[str, Any] = {}


@dataclass
class Sandbox:
    """A network namespace in the VM, and what the plugin answered to its ADD."""

    node: Node
    container: str = field(default_factory=lambda: f"scenario-{secrets.token_hex(4)}")
    netns: str = ""
    """Its path, where that is not the usual one."""
    pod: str = ""
    """The name that the runtime says its pod has."""
    result: dict[str, Any] = field(default_factory=dict)

    @property
    def address(self) -> IPv4Address:
        """What ADD gave it."""
        return IPv4Interface(self.result["ips"][0]["address"]).ip

    @property
    def attachment(self) -> tuple[str, str]:
        """How ledger and runtime name it."""
        return self.container, IFNAME

    def call(self, command: str, config: Mapping[str, object] = NOTHING) -> Answer:
        """One verb for it, as a runtime would call the plugin of the node's conflist."""
        netns = self.netns or f"/run/netns/{self.container}"
        place = {"CNI_NETNS": netns, "CNI_IFNAME": IFNAME, "CNI_CONTAINERID": self.container}
        if self.pod:
            place["CNI_ARGS"] = f"K8S_POD_NAMESPACE={NAMESPACE};K8S_POD_NAME={self.pod};K8S_POD_UID={self.container}"
        return call(self.node, command, config, place)

    def start_process(self) -> str:
        """Start a process, and wait until it is in the namespace; its number in the VM."""
        sleep = f"ip netns exec {self.container} sleep 600 >/dev/null 2>&1 & echo $!"
        pid = self.node.run("sh", "-c", sleep).strip()
        wait_for(
            lambda: pid in self.node.run("ip", "netns", "pids", self.container).split(),
            timeout_s=LEFT_S,
            what=f"a process in {self.container}",
        )
        return pid

    def check(self, result: Mapping[str, object] | None = None) -> Answer:
        """CHECK with what ADD gave, or another result."""
        return self.call("CHECK", {"prevResult": result or self.result})

    def add(self) -> None:
        """ADD that must succeed."""
        self.result = accepted(self.call("ADD"))

    def inside(self, *argv: str) -> str:
        """Run `ip` in the namespace."""
        return self.node.run("ip", "-n", self.container, *argv)


@pytest.fixture
def sandbox(nodes: list[Node]) -> Iterator[Callable[[], Sandbox]]:
    """Makes sandboxes on the first node; each is deleted in the end, attached or not."""
    with ExitStack() as stack:

        def make() -> Sandbox:
            made = Sandbox(nodes[0])
            made.node.run("ip", "netns", "add", made.container)
            stack.callback(made.node.run, "ip", "netns", "delete", made.container)
            stack.callback(made.call, "DEL")
            return made

        yield make


def call(
    node: Node, command: str, config: Mapping[str, object] = NOTHING, environment: Mapping[str, str] = NOTHING
) -> Answer:
    """Call the plugin on a node, with the configuration of its conflist and what `config` adds."""
    conflist = json.loads(node.run("cat", CONFLIST))
    conf = {**conflist["plugins"][0], "cniVersion": VERSION, "name": conflist["name"], **config}
    env = {"CNI_COMMAND": command, "CNI_PATH": "/opt/cni/bin", **environment}
    return node.ask([BINARY], stdin=json.dumps(conf), env=env)


def collect(node: Node, valid: Collection[tuple[str, str]]) -> Answer:
    """GC with these attachments as the valid ones."""
    listed = [{"containerID": container, "ifname": ifname} for container, ifname in valid]
    return call(node, "GC", {"cni.dev/valid-attachments": listed})


def accepted(answer: Answer) -> dict[str, Any]:
    """Its document, {} when it has none; the test fails unless the plugin succeeded."""
    assert answer.status == 0, answer.output + answer.error
    return dict(json.loads(answer.output or "{}"))


def refused(answer: Answer, code: int, *words: str) -> None:
    """The test fails unless the plugin refused with that code, in these words."""
    assert answer.status != 0
    error = json.loads(answer.output)
    assert error["code"] == code, error
    assert [word for word in words if word not in error["msg"]] == [], error


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


def test_the_older_sandbox_of_a_pod_that_the_runtime_forgot(box: Box, nodes: list[Node]) -> None:
    """The runtime lost its records, and the pod lives on in a new sandbox: the address of the old one comes back."""
    node = nodes[0]
    with servers(box, "forgotten", node=node.name, replicas=1) as forgotten:
        (pod,) = forgotten.pods()
        (old,) = held_by(node, pod)
        forget(box, node, pod)
        box.wait_for(lambda: len(held_by(node, pod)) == 2, DEAD_S, f"a new sandbox of {pod.name}")
        (new,) = held_by(node, pod) - {old}
        box.wait_for(lambda: held_by(node, pod) == {new}, DEAD_S, "the old sandbox to be taken back")
        (now,) = forgotten.ready(1)
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
