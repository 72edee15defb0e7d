"""Links that are named as Calico looks for them, beside others, in a real kernel: found, repaired and ended alike."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from azure_cni.errors import DatapathError
from azure_cni.linux.datapath import LinuxDatapath
from azure_cni.linux.link_messages import add_alias
from azure_cni.linux.netlink import Netlink
from azure_cni.model.identity import LinkNames
from azure_cni.node.ports import SandboxSpec
from datapath.machine import Machine
from datapath.namespaces import IN_EACH_MODE, Namespace, caller_of

pytestmark = IN_EACH_MODE
A, B, NODE = "10.240.0.7", "10.240.0.8", "10.240.0.4"
POD = ("shop", "web-0")
NAME = "acni" + hashlib.sha1(b"shop.web-0", usedforsecurity=False).hexdigest()[:11]
"""What libcalico makes of it (VethNameForWorkload), with the prefix `acni`."""


@pytest.fixture
async def calico(machine: Machine) -> AsyncIterator[LinuxDatapath]:
    """The data plane of an agent with `linkNames: calico`."""
    datapath = machine.successor(link_names=LinkNames.CALICO)
    yield datapath
    await datapath.close()


def a_spec(machine: Machine, address: str) -> SandboxSpec:
    """A sandbox of the one pod."""
    return replace(machine.spec(address), pod=POD)


def named(node: Namespace) -> dict[str, list[str]]:
    """The links of pods, each with its alternative names."""
    links = node.show("link")
    return {link["ifname"]: link.get("altnames", []) for link in links if link["ifname"].startswith("acni")}


async def test_a_link_has_the_name_of_its_pod_and_is_found_by_its_sandbox(
    machine: Machine, calico: LinuxDatapath
) -> None:
    spec, derived = a_spec(machine, A), machine.spec(A).host_ifname
    wired = await calico.attach(spec)
    assert (wired.node[0].name, named(machine.node)) == (NAME, {NAME: [derived]})
    machine.node.ip("address", "add", f"{NODE}/32", "dev", "lo")
    with machine.node.listen(NODE, 8080) as listener:
        assert caller_of(listener, machine.pods[A].socket(), (NODE, 8080)) == A
    for any_agent in (calico, machine.datapath):  # the latter names links after sandboxes
        assert await any_agent.check(spec) == ()
        (observed,) = await any_agent.sandboxes()
        assert (observed.key, observed.node[0].name) == (any_agent.key(spec.sandbox), NAME)
        assert any_agent.is_complete(observed, spec)
        machine.node.run("ip", "route", "flush", "dev", machine.way_to(A))
        (observed,) = await any_agent.sandboxes()
        assert not any_agent.is_complete(observed, spec)
        assert await any_agent.restore_routes(spec)
        assert await any_agent.check(spec) == ()
    await machine.datapath.detach(spec.sandbox)
    await machine.datapath.settle()
    assert named(machine.node) == {}


async def test_a_repeat_keeps_the_name_that_the_link_has(machine: Machine, calico: LinuxDatapath) -> None:
    first, second = a_spec(machine, A), replace(machine.spec(B), pod=("shop", "web-1"))
    assert (await machine.datapath.attach(first)).node[0].name == machine.spec(A).host_ifname
    assert (await calico.attach(first)).node[0].name == machine.spec(A).host_ifname
    made = await calico.attach(second)
    assert await machine.datapath.attach(second) == made
    assert {one.key for one in await calico.sandboxes()} == {calico.key(one.sandbox) for one in (first, second)}


async def test_a_name_passes_to_the_pods_next_sandbox_once_its_former_one_has_ended(
    machine: Machine, calico: LinuxDatapath
) -> None:
    former, following = a_spec(machine, A), a_spec(machine, B)
    await calico.attach(former)
    with pytest.raises(DatapathError, match=f"its pod's former sandbox still has the link {NAME}, by which Calico"):
        await calico.attach(following)
    assert await calico.check(former) == ()
    await calico.detach(former.sandbox)
    await calico.attach(following)
    assert named(machine.node) == {NAME: [machine.spec(B).host_ifname]}
    await calico.detach(former.sandbox)  # a runtime repeats it
    await calico.settle()
    assert await calico.check(following) == ()


async def test_a_link_of_an_agent_that_died_before_it_had_both_names_is_made_again_or_removed(
    machine: Machine, calico: LinuxDatapath
) -> None:
    spec = a_spec(machine, A)
    await calico.attach(spec)
    machine.node.run("ip", "link", "property", "del", "dev", NAME, "altname", machine.spec(A).host_ifname)
    (observed,) = await calico.sandboxes()
    assert observed.key == NAME, "by no sandbox's name: a repair removes it, where the ADD is not repeated"
    await calico.attach(spec)
    assert named(machine.node) == {NAME: [machine.spec(A).host_ifname]}
    machine.node.run("ip", "link", "property", "del", "dev", NAME, "altname", machine.spec(A).host_ifname)
    (observed,) = await calico.sandboxes()
    await calico.remove(observed.key)
    await calico.settle()
    assert named(machine.node) == {}


async def test_a_kernel_without_alternative_names_leaves_nothing(
    machine: Machine, calico: LinuxDatapath, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before Linux 5.5 the kernel does not know the message."""
    change = Netlink.change

    def old(self: Netlink, *requests: object) -> None:
        unknown = add_alias("", 0, "").kind
        change(self, *(replace(one, kind=250) if one.kind == unknown else one for one in requests))

    monkeypatch.setattr(Netlink, "change", old)
    said = rf"{NAME} the alternative name {machine.spec(A).host_ifname} \(linkNames: calico needs Linux 5\.5 or later\)"
    with pytest.raises(DatapathError, match=said):
        await calico.attach(a_spec(machine, A))
    assert named(machine.node) == {}


async def test_only_what_kubernetes_knows_of_a_pod_has_its_name(machine: Machine, calico: LinuxDatapath) -> None:
    second = replace(a_spec(machine, A), sandbox=machine.spec(A).sandbox._replace(ifname="net1"))
    for spec in (second, machine.spec(B)):
        assert (await calico.attach(spec)).node[0].name == calico.key(spec.sandbox)
