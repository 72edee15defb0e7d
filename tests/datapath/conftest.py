"""A node of its own for each test, alone or on its network."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from azure_cni.model.identity import ModeName
from datapath.docker_process import DockerVm
from datapath.fabric_lab import Lab, a_lab
from datapath.left_behind import take_away
from datapath.machine import DatapathInMode, Machine
from datapath.namespaces import OUR_RULE, Namespaces
from datapath.node_site import Site, connected


@pytest.fixture(scope="session", autouse=True)
def nothing_left_behind() -> None:
    """Namespaces of runs that were killed are gone before the first test."""
    if os.geteuid() == 0:
        take_away()


@pytest.fixture
def namespaces() -> Iterator[Namespaces]:
    with Namespaces() as made:
        yield made


@pytest.fixture
def vm(namespaces: Namespaces, tmp_path: Path) -> Iterator[DockerVm]:
    """A VM with the Docker plugin."""
    started = DockerVm(namespaces, tmp_path)
    yield started
    started.kill()


@pytest.fixture
def mode(request: pytest.FixtureRequest) -> ModeName:
    """The mode of the node: `transparent`, or each of them where a module or a test says so (IN_EACH_MODE)."""
    return ModeName(getattr(request, "param", ModeName.TRANSPARENT))


@pytest.fixture
async def machine(namespaces: Namespaces, mode: ModeName) -> AsyncIterator[Machine]:
    node = namespaces.new("node")
    node.sysctl("net/ipv4/ip_forward", "1")
    node.ip("rule", "add", "pref", *OUR_RULE.split())
    datapath = DatapathInMode(mode, node_netns=node.path)
    yield Machine(namespaces, node, mode, datapath)
    await datapath.close()


@pytest.fixture
def site(machine: Machine) -> Site:
    return connected(machine)


@pytest.fixture(scope="module")
def whole() -> Iterator[Lab]:
    """A network that the tests of a module share."""
    with a_lab("fb") as lab:
        yield lab


@pytest.fixture
def lab(whole: Lab) -> Iterator[Lab]:
    """The same as it was at first, without the sockets of the test before."""
    whole.apply()
    yield whole
    whole.close()
