"""Multus itself over azure-cni, on a real kernel: azure-cni as the cluster's network, and as a pod's further one.

For a DEL, Multus keeps of each network's configuration only the fields that it knows itself. So azure-cni gets none of
its own then, `socket` among them, and finds the agent where it is on every node.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from azure_cni.model.identity import ModeName
from azurebox import tools
from datapath.cluster_node import a_cluster_node, built, put_plugins, until_pods_can_start
from datapath.cnitool import CniTool, until
from datapath.docker_vm import PRIMARY
from datapath.multus_site import ATTACHMENTS, CNI_ARGS, Objects, serving, write_multus
from datapath.namespaces import IN_EACH_MODE, Namespace, Namespaces, caller_of

pytestmark = [
    *IN_EACH_MODE,
    pytest.mark.skipif(
        not tools.path("multus").exists(), reason="multus is not built: `e2e/box tools multus` builds it, in minutes"
    ),
]
OTHERS = "192.168.77"


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("plugin"))


@dataclass(frozen=True)
class Site:
    """A node on which the runtime calls Multus."""

    cni: CniTool
    objects: Objects
    server: str

    @property
    def node(self) -> Namespace:
        return self.cni.vm.node

    def delegating_to(self, primary: Path) -> CniTool:
        write_multus(self.cni.vm.directory, self.server, primary=primary)
        return replace(self.cni, network="multus-cni-network", configurations="multus.net", as_installed=True)

    @property
    def ours(self) -> Path:
        """azure-cni's conflist, as the agent has written it."""
        (found,) = (self.cni.vm.directory / "net.d").glob("*.conflist")
        return found


@pytest.fixture
def site(namespaces: Namespaces, tmp_path: Path, plugin: Path, mode: ModeName) -> Iterator[Site]:
    put_plugins(tmp_path, "bridge", "host-local", "multus")
    objects = Objects()
    objects.define("storage", ours(tmp_path))
    objects.define("others", others(tmp_path))
    with a_cluster_node(namespaces, tmp_path, plugin, MODE=mode) as cni, serving(objects, cni.vm.node) as server:
        until_pods_can_start(cni)
        yield Site(cni, objects, server)


def ours(directory: Path) -> dict[str, Any]:
    return {"cniVersion": "1.0.0", "name": "storage", "type": "azure-cni", "socket": f"{directory}/run/cni.sock"}


def others(directory: Path) -> dict[str, Any]:
    addresses = {"type": "host-local", "ranges": [[{"subnet": f"{OTHERS}.0/24"}]], "dataDir": f"{directory}/addresses"}
    bridge = {"cniVersion": "1.0.0", "name": "others", "type": "bridge", "bridge": "others0", "isGateway": True}
    return bridge | {"ipam": addresses}


def address_of(pod: Namespace, interface: str) -> str:
    (link,) = pod.show("-4", "address", "show", "dev", interface)
    return str(link["addr_info"][0]["local"])


def reaches(pod: Namespace, node: Namespace, source: str) -> str:
    with node.listen(PRIMARY, 8080) as listener:
        client = pod.socket()
        client.bind((source, 0))
        return caller_of(listener, client, (PRIMARY, 8080))


def test_multus_has_azure_cni_make_eth0_and_another_plugin_net1(namespaces: Namespaces, site: Site) -> None:
    pod, multus = namespaces.new(), site.delegating_to(site.ours)
    site.objects.want("others")
    address = multus.add(pod, CNI_ARGS=CNI_ARGS)
    assert f"{ATTACHMENTS}others" in site.objects.read
    assert pod.links() == {"lo", "eth0", "net1"}
    assert [route["dev"] for route in pod.show("route", "show", "default")] == ["eth0"]
    assert address_of(pod, "eth0") == address == reaches(pod, site.node, address)
    assert address_of(pod, "net1").startswith(OTHERS)
    multus.done("check", pod.path, CNI_ARGS=CNI_ARGS)
    multus.done("del", pod.path, CNI_ARGS=CNI_ARGS)
    until(lambda: pod.links() == {"lo"}, site.cni.vm)


def test_multus_has_azure_cni_make_net1_beside_another_plugins_eth0(
    namespaces: Namespaces, site: Site, tmp_path: Path
) -> None:
    primary = tmp_path / "others.conf"
    primary.write_text(str(site.objects.at[f"{ATTACHMENTS}others"]["spec"]["config"]))
    pod, multus = namespaces.new(), site.delegating_to(primary)
    site.objects.want("storage")
    theirs = multus.add(pod, CNI_ARGS=CNI_ARGS)
    assert pod.links() == {"lo", "eth0", "net1"}
    further = address_of(pod, "net1")
    assert (address_of(pod, "eth0"), theirs.startswith(OTHERS), further.startswith("10.240.")) == (theirs, True, True)
    assert reaches(pod, site.node, further) == further
    multus.done("check", pod.path, CNI_ARGS=CNI_ARGS)
    multus.done("del", pod.path, CNI_ARGS=CNI_ARGS)
    until(lambda: pod.links() == {"lo"}, site.cni.vm)


def test_multus_gives_a_pod_two_interfaces_of_azure_cni(namespaces: Namespaces, site: Site) -> None:
    pod, multus = namespaces.new(), site.delegating_to(site.ours)
    site.objects.want("storage")
    first = multus.add(pod, CNI_ARGS=CNI_ARGS)
    further = address_of(pod, "net1")
    assert first != further
    assert [reaches(pod, site.node, one) for one in (first, further)] == [first, further]
    multus.done("check", pod.path, CNI_ARGS=CNI_ARGS)
    multus.done("del", pod.path, CNI_ARGS=CNI_ARGS)
    until(lambda: pod.links() == {"lo"}, site.cni.vm)
