"""Limits of a pod's traffic, by the reference plugin that the conflist names after ours, on a real kernel."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any

import pytest

from azure_cni.model.identity import ModeName
from datapath.cluster_node import a_cluster_node, built, put_plugins, until_pods_can_start
from datapath.cnitool import CniTool, until
from datapath.docker_vm import PRIMARY
from datapath.namespaces import IN_EACH_MODE, Namespace, Namespaces, Socket

pytestmark = IN_EACH_MODE
RATE = 8_000_000
"""Bits a second."""
BURST = 80_000
"""Bits that may pass at once."""
SENT = 1_000_000
"""Octets, which take a second by that rate."""
LIMITED = {"bandwidth": {"ingressRate": RATE, "ingressBurst": BURST, "egressRate": 2 * RATE, "egressBurst": BURST}}


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("plugin"))


def rates(node: Namespace) -> dict[str, int]:
    """Of each link that has a limit: octets a second."""
    listed: list[dict[str, Any]] = json.loads(node.run("tc", "-json", "qdisc", "show"))
    return {one["dev"]: one["options"]["rate"] for one in listed if one["kind"] == "tbf"}


def took_s(sender: Socket, receiver: Socket) -> float:
    """How long so much was on its way."""
    began_s = time.monotonic()
    with sender, receiver:
        sender.setblocking(False)
        left, missing = memoryview(bytes(SENT)), SENT
        while missing:
            with contextlib.suppress(BlockingIOError):
                left = left[sender.send(left) :] if left else left
            missing -= len(receiver.recv(1 << 16))
    return time.monotonic() - began_s


def connected(server: Namespace, address: str, client: Namespace) -> tuple[Socket, Socket]:
    """The server's end and the client's."""
    with server.listen(address, 8080) as listener:
        near = client.socket()
        near.connect((address, 8080))
        return listener.accept()[0], near


def test_what_a_pods_annotations_allow_is_what_it_gets_in_each_direction(
    namespaces: Namespaces, tmp_path: Path, plugin: Path, mode: ModeName
) -> None:
    put_plugins(tmp_path, "bandwidth")
    with a_cluster_node(namespaces, tmp_path, plugin, MODE=mode, CHAIN_BANDWIDTH="true") as cni:
        until_pods_can_start(cni)
        _limited(cni, namespaces.new(), namespaces.new())


def _limited(cni: CniTool, pod: Namespace, other: Namespace) -> None:
    node = cni.vm.node
    unlimited = cni.add(other)
    assert not rates(node), "a pod without annotations has no limit"
    before = node.links()
    result = json.loads(cni.done("add", pod.path, CAP_ARGS=json.dumps(LIMITED)))
    address = result["ips"][0]["address"].partition("/")[0]
    links = {interface["name"] for interface in result["interfaces"] if "sandbox" not in interface} - before
    assert node.links() - before == links
    link, ifb = sorted(links)  # ours, and one that the plugin calls bwp... and makes for what the pod sends
    assert link.startswith("acni")
    assert rates(node) == {link: RATE // 8, ifb: 2 * RATE // 8}
    at_node, at_pod = connected(node, PRIMARY, pod)
    assert took_s(at_node, at_pod) > 8 * (SENT - BURST) / RATE * 0.9
    at_node, at_pod = connected(node, PRIMARY, pod)
    assert took_s(at_pod, at_node) > 8 * (SENT - BURST) / (2 * RATE) * 0.9
    at_other, at_pod = connected(other, unlimited, pod)
    assert took_s(at_other, at_pod) > 8 * (SENT - BURST) / RATE * 0.9, "between pods of one node, too"
    cni.done("check", pod.path, CAP_ARGS=json.dumps(LIMITED))
    cni.done("del", pod.path, CAP_ARGS=json.dumps(LIMITED))
    until(lambda: node.links() == before, cni.vm)
    assert not rates(node)
    assert pod.links() == {"lo"}
    assert address not in node.run("ip", "route")


def test_a_node_without_the_plugin_takes_no_pods_until_it_is_there(
    namespaces: Namespaces, tmp_path: Path, plugin: Path, mode: ModeName
) -> None:
    with a_cluster_node(namespaces, tmp_path, plugin, MODE=mode, CHAIN_BANDWIDTH="true") as cni:
        until(lambda: "the plugin bandwidth is missing in" in cni.vm.said, cni.vm)
        assert "or set cni.chainBandwidth=false" in cni.vm.said
        assert not any((tmp_path / "net.d").glob("*.conflist"))
        put_plugins(tmp_path, "bandwidth")
        until_pods_can_start(cni)
