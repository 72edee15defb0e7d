"""Several networks in one pod, as Multus adds them, on a real kernel: of azure-cni alone, and of others beside it.

cnitool calls what Multus would: for each network its plugins, with the same container ID and another interface.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from azure_cni.model.identity import ModeName
from datapath.cluster_node import a_cluster_node, built, put_plugins, until_pods_can_start
from datapath.cnitool import CniTool, until
from datapath.docker_process import DockerVm
from datapath.docker_vm import PRIMARY
from datapath.namespaces import IN_EACH_MODE, Namespace, Namespaces, caller_of

pytestmark = IN_EACH_MODE
FURTHER = {"CNI_IFNAME": "net1"}
OTHERS = "192.168.77"


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("plugin"))


@dataclass(frozen=True)
class Networks:
    """Two networks of azure-cni, and one of the reference plugins, in a directory that no runtime reads (Multus' own
    objects hold them).
    """

    _cni: CniTool

    @property
    def vm(self) -> DockerVm:
        """The node."""
        return self._cni.vm

    def of(self, name: str) -> CniTool:
        """Calls that network."""
        return replace(self._cni, network=name, configurations="multus.d")


@pytest.fixture
def networks(namespaces: Namespaces, tmp_path: Path, plugin: Path, mode: ModeName) -> Iterator[Networks]:
    """On a node where pods can start."""
    write_networks(tmp_path)
    put_plugins(tmp_path, "bridge", "host-local")
    with a_cluster_node(namespaces, tmp_path, plugin, MODE=mode) as cni:
        until_pods_can_start(cni)
        yield Networks(cni)


def write_networks(directory: Path) -> None:
    ours: dict[str, Any] = {"type": "azure-cni", "socket": f"{directory}/run/cni.sock"}
    ranges = [[{"subnet": f"{OTHERS}.0/24"}]]
    bridge: dict[str, Any] = {"type": "bridge", "bridge": "others0", "isGateway": True}
    bridge["ipam"] = {"type": "host-local", "ranges": ranges, "dataDir": f"{directory}/host-local"}
    networks = {"azure-cni": ours, "storage": ours, "others": bridge}
    (directory / "multus.d").mkdir()
    for name, entry in networks.items():
        document = {"cniVersion": "1.1.0", "name": name, "plugins": [entry]}
        (directory / "multus.d" / f"{name}.conflist").write_text(json.dumps(document))


def reaches(pod: Namespace, node: Namespace, *, source: str = "") -> str:
    """By which address the node sees the pod, that may choose one."""
    with node.listen(PRIMARY, 8080) as listener:
        client = pod.socket()
        if source:
            client.bind((source, 0))
        return caller_of(listener, client, (PRIMARY, 8080))


def answers(pod: Namespace, node: Namespace, address: str) -> bool:
    with pod.listen(address, 8081) as listener:
        return bool(caller_of(listener, node.socket(), (address, 8081)))


def default_by(pod: Namespace) -> list[str]:
    return [route["dev"] for route in pod.show("route", "show", "default")]


def test_two_interfaces_of_azure_cni_answer_each_by_itself_and_the_first_is_the_way_out(
    namespaces: Namespaces, networks: Networks
) -> None:
    pod, node = namespaces.new(), networks.vm.node
    first, second = networks.of("azure-cni"), networks.of("storage")
    address = first.add(pod)
    result = json.loads(second.done("add", pod.path, **FURTHER))
    further = result["ips"][0]["address"].partition("/")[0]
    assert further != address
    assert default_by(pod) == ["eth0"]
    assert all(route["dst"] != "0.0.0.0/0" for route in result["routes"])
    assert [reaches(pod, node), reaches(pod, node, source=further)] == [address, further]
    assert [answers(pod, node, one) for one in (address, further)] == [True, True]
    for one, environment in ((first, {}), (second, FURTHER)):
        one.done("check", pod.path, **environment)
    assert json.loads(second.done("add", pod.path, **FURTHER)) == result, "a repeat gives the same"
    pod.ip("rule", "del", "from", further)
    assert f"lacks policy rule 1000: from {further}" in second.refused("check", pod.path, **FURTHER)
    second.done("del", pod.path, **FURTHER)
    assert pod.links() == {"lo", "eth0"}
    assert (reaches(pod, node), default_by(pod)) == (address, ["eth0"])
    first.done("check", pod.path)


def test_a_gc_of_one_network_leaves_the_others_alone(namespaces: Namespaces, networks: Networks) -> None:
    pod, other, node = namespaces.new(), namespaces.new(), networks.vm.node
    first, second = networks.of("azure-cni"), networks.of("storage")
    address, neighbour = first.add(pod), first.add(other)
    second.done("add", pod.path, **FURTHER)
    second.done("add", other.path, CNI_IFNAME="net7")
    second.call("gc", pod.path)  # cnitool lists no attachment: every one of this network goes
    until(lambda: pod.links() == {"lo", "eth0"} == other.links(), networks.vm)
    assert [reaches(one, node) for one in (pod, other)] == [address, neighbour]
    first.done("check", pod.path)
    further = second.add(pod, **FURTHER)
    first.call("gc", pod.path)
    until(lambda: "eth0" not in pod.links() | other.links(), networks.vm)
    assert pod.links() == {"lo", "net1"}
    assert reaches(pod, node, source=further) == further


def test_azure_cni_is_the_way_out_beside_another_plugins_further_interface(
    namespaces: Namespaces, networks: Networks
) -> None:
    pod, other, node = namespaces.new(), namespaces.new(), networks.vm.node
    first, second = networks.of("azure-cni"), networks.of("others")
    address = first.add(pod)
    theirs, further = (second.add(one, **FURTHER) for one in (other, pod))
    with other.listen(theirs, 8082) as listener:
        assert caller_of(listener, pod.socket(), (theirs, 8082)) == further
    assert (reaches(pod, node), default_by(pod)) == (address, ["eth0"])
    first.done("check", pod.path)
    second.done("del", pod.path, **FURTHER)
    assert reaches(pod, node) == address


def test_azure_cni_adds_a_further_interface_to_a_pod_of_another_plugin(
    namespaces: Namespaces, networks: Networks
) -> None:
    pod, node = namespaces.new(), networks.vm.node
    first, second = networks.of("others"), networks.of("azure-cni")
    theirs = first.add(pod)
    pod.ip("route", "add", "default", "via", f"{OTHERS}.1")
    further = second.add(pod, **FURTHER)
    assert default_by(pod) == ["eth0"]
    assert [reaches(pod, node), reaches(pod, node, source=further)] == [theirs, further]
    assert answers(pod, node, further)
    second.done("check", pod.path, **FURTHER)
    first.done("del", pod.path)
    assert pod.links() == {"lo", "net1"}
    assert reaches(pod, node, source=further) == further


def test_a_pod_with_no_other_way_out_has_one_by_whatever_its_interface_is_called(
    namespaces: Namespaces, networks: Networks
) -> None:
    pod, node = namespaces.new(), networks.vm.node
    first, second = networks.of("azure-cni"), networks.of("storage")
    made = json.loads(second.done("add", pod.path, **FURTHER))
    alone = made["ips"][0]["address"].partition("/")[0]
    assert (reaches(pod, node), default_by(pod)) == (alone, ["net1"])
    assert [route["dst"] for route in made["routes"]][-1] == "0.0.0.0/0"
    address = first.add(pod)
    assert (reaches(pod, node), default_by(pod)) == (address, ["eth0"])
    second.done("check", pod.path, **FURTHER)
