"""CNI without Kubernetes, on a real kernel: cnitool calls every verb of the plugin that the process installed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from azurebox import tools
from bench.__main__ import build_plugin
from datapath.cnitool import CniTool, until
from datapath.docker_process import DockerVm
from datapath.docker_vm import PRIMARY
from datapath.namespaces import NEEDS_ROOT, Namespaces, caller_of

pytestmark = NEEDS_ROOT


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tools.ensure_tools((tools.CNITOOL,))
    return build_plugin(tmp_path_factory.mktemp("plugin"))


@pytest.fixture
def cni(namespaces: Namespaces, tmp_path: Path, plugin: Path) -> Iterator[CniTool]:
    (tmp_path / "var").mkdir()
    vm = DockerVm(namespaces, tmp_path, str(plugin))
    try:
        until(lambda: any((tmp_path / "net.d").glob("*.conflist")), vm)
        yield CniTool(vm)
    finally:
        vm.kill()


def test_every_verb_of_a_containers_life(cni: CniTool, namespaces: Namespaces) -> None:
    container = namespaces.new()
    cni.done("status", container.path)
    address = cni.add(container)
    with cni.vm.node.listen(PRIMARY, 8080) as listener:
        assert caller_of(listener, container.socket(), (PRIMARY, 8080)) == address
    cni.done("check", container.path)
    assert f"{address}  joined  azure-cni" in cni.vm.status()[1]  # in the same list as Docker's containers
    container.ip("route", "flush", "table", "main")
    assert "is not as it should be" in cni.refused("check", container.path)
    cni.done("del", container.path)
    cni.done("del", container.path)
    assert container.links() == {"lo"}
    assert "0 assigned, 15 free, 1 cooling" in cni.vm.status()[1]


def test_a_gc_of_cnitool_detaches_what_cnitool_attached(cni: CniTool, namespaces: Namespaces) -> None:
    container = namespaces.new()
    cni.add(container)
    cni.call("gc", container.path)
    until(lambda: ", 0 assigned" in cni.vm.status()[1], cni.vm)


def test_an_address_that_is_asked_for_is_had_or_refused_in_words(cni: CniTool, namespaces: Namespaces) -> None:
    one, other = namespaces.new(), namespaces.new()
    free = cni.add(one)
    cni.done("del", one.path)
    assert cni.add(one, CAP_ARGS=json.dumps({"ips": [f"{free}/22"]})) == free
    assert f"cannot assign {free}: it is assigned to" in cni.refused("add", other.path, CNI_ARGS=f"IP={free}")
    assert "this VM's NIC does not hold it" in cni.refused("add", other.path, CNI_ARGS="IP=10.240.3.250")
    mac = json.dumps({"mac": "02:00:00:00:00:01"})
    assert "cannot use the MAC '02:00:00:00:00:01'" in cni.refused("add", other.path, CAP_ARGS=mac)
    ports = json.dumps({"portMappings": [{"hostPort": 80, "containerPort": 80, "protocol": "tcp"}]})
    assert "cannot publish" in cni.refused("add", other.path, CAP_ARGS=ports)
    assert "1 assigned" in cni.vm.status()[1]


def test_a_container_whose_end_nobody_heard_of_gives_its_address_back_when_the_plugin_is_back(
    cni: CniTool, namespaces: Namespaces, plugin: Path
) -> None:
    container = namespaces.new()
    cni.add(container)
    cni.vm.kill()
    cni.done("del", container.path)
    again = DockerVm(namespaces, cni.vm.directory, str(plugin), node=cni.vm.node)
    try:
        until(lambda: ", 0 assigned" in again.status()[1], again)
    finally:
        again.kill()
