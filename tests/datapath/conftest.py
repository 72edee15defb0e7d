"""A node of its own for each test, alone or on its network."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from azure_cni.linux.datapath import LinuxDatapath
from datapath.fabric_lab import Lab, a_lab
from datapath.machine import Machine
from datapath.namespaces import OUR_RULE, Namespaces
from datapath.node_site import Site, connected


@pytest.fixture
def namespaces() -> Iterator[Namespaces]:
    with Namespaces() as made:
        yield made


@pytest.fixture
async def machine(namespaces: Namespaces) -> AsyncIterator[Machine]:
    node = namespaces.new("node")
    node.sysctl("net/ipv4/ip_forward", "1")
    node.ip("rule", "add", "pref", *OUR_RULE.split())
    datapath = LinuxDatapath(node_netns=node.path)
    yield Machine(namespaces, node, datapath)
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
