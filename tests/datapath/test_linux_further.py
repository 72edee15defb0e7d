"""A further interface beside what others have made of a pod's routes, on a real kernel: these stay as they are."""

from __future__ import annotations

from dataclasses import replace

import pytest

from azure_cni.errors import DatapathError
from azure_cni.model.identity import LinkNames
from datapath.machine import Machine
from datapath.namespaces import IN_EACH_MODE, Namespace
from fakes.veth import VethSandbox

pytestmark = IN_EACH_MODE
A, B = "10.240.0.7", "10.240.0.8"
OTHERS = "192.168.77"
BY_TWO = f"nexthop via {OTHERS}.1 nexthop via {OTHERS}.2"


def of_others(machine: Machine, *default: str) -> Namespace:
    """A pod whose `eth0` and way out are another plugin's."""
    pod = machine.namespaces.new()
    pod.ip("link", "add", "eth0", "type", "veth", "peer", "name", "peer0")
    pod.ip("link", "set", "peer0", "up")
    pod.ip("link", "set", "eth0", "up")
    pod.ip("address", "add", f"{OTHERS}.9/24", "dev", "eth0")
    if "nhid" in default:
        for number in (1, 2):
            pod.ip("nexthop", "add", "id", f"{number}", "via", f"{OTHERS}.{number}", "dev", "eth0")
        pod.ip("nexthop", "add", "id", "3", "group", "1/2")
    pod.ip("route", "add", *default)
    return pod


def further(machine: Machine, pod: Namespace) -> VethSandbox:
    spec = machine.spec(A, pod=pod)
    return replace(spec, sandbox=spec.sandbox._replace(network="storage", ifname="net1"))


def ways_out(pod: Namespace) -> str:
    return pod.run("ip", "route", "show", "default").strip()


@pytest.mark.parametrize(
    "default",
    [
        f"default via {OTHERS}.1",
        "default dev eth0 scope link",
        f"default via {OTHERS}.1 metric 100",
        f"default {BY_TWO}",
        f"default metric 100 {BY_TWO}",
        "default nhid 3",
        "unreachable default",
        "blackhole default metric 100",
    ],
)
async def test_whatever_default_route_a_pod_has_stays_its_only_one(machine: Machine, default: str) -> None:
    pod = of_others(machine, *default.split())
    before = ways_out(pod)
    spec = further(machine, pod)
    wired = await machine.datapath.attach(spec)
    assert ways_out(pod) == before
    assert not any(route.is_default for route in wired.pod.routes)
    assert await machine.datapath.check(spec) == ()
    assert await machine.datapath.attach(spec) == wired
    await machine.datapath.detach(spec.sandbox)
    await machine.datapath.settle()
    assert (pod.links(), ways_out(pod)) == ({"lo", "eth0", "peer0"}, before)


def alias(machine: Machine, verb: str, name: str) -> None:
    machine.node.ip("link", "property", verb, "dev", "theirs0", "altname", name)


async def test_an_interface_of_others_is_left_alone_where_it_has_our_name_as_an_alternative_one(
    machine: Machine,
) -> None:
    """The kernel finds it by that, and would turn it off and delete it."""
    spec, derived = replace(machine.spec(B), pod=("shop", "web-0")), machine.spec(B).host_ifname
    machine.node.ip("link", "add", "theirs0", "up", "type", "veth", "peer", "name", "theirs1")
    alias(machine, "add", derived)
    with pytest.raises(DatapathError, match=f"theirs0 has the alternative name {derived}"):
        await machine.datapath.attach(spec)
    await machine.datapath.detach(spec.sandbox)
    await machine.datapath.settle()
    (link,) = machine.node.show("link", "show", "theirs0")
    assert "UP" in link["flags"]
    alias(machine, "del", derived)
    calico = machine.successor(link_names=LinkNames.CALICO)
    try:
        name = (await calico.attach(spec)).node[0].name
        await calico.detach(spec.sandbox)
        await calico.settle()
        alias(machine, "add", name)
        with pytest.raises(DatapathError, match=f"theirs0 has the alternative name {name}"):
            await calico.attach(spec)
    finally:
        await calico.close()
