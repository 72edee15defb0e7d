"""A pool in a pod subnet, on the VM's second NIC, in a real kernel.

The fabric carries by each NIC only what has an address of that NIC, and every reverse path filter is strict.
"""

from __future__ import annotations

import errno
import re
from dataclasses import replace
from pathlib import Path

import pytest

from datapath.namespaces import IN_EACH_MODE, caller_of
from datapath.node_site import IMDS, INTERNET, ON_PREM, PEER, PORT, PRIMARY, TABLE, WIRESERVER, A, Site, refusal
from datapath.pod_nic_site import (
    GUEST,
    NODE_PORT,
    POD_NIC_MAC,
    POD_PRIMARY,
    POD_TABLE,
    UNHELD,
    P,
    PodSubnet,
    Q,
    forwarded,
    plug_in,
)
from datapath.watched_node import watching
from fakes.waiting import PATIENCE_S, until

pytestmark = IN_EACH_MODE

DOCUMENT = Path(__file__).parents[2] / "docs" / "uninstall.md"
RETURN_RULE = "from 10.240.8.0/24 fwmark 0x40/0x40 lookup 1633906282"
POD_RULE = "from 10.240.8.0/24 fwmark 0/0x20 lookup 1633906283"


@pytest.fixture
def subnet(site: Site) -> PodSubnet:
    return plug_in(site)


def rules_of(site: Site) -> list[str]:
    shown = site.node.run("ip", "rule", "show").splitlines()
    return [line.split(":\t")[1].strip() for line in shown if line.startswith(("92:", "93:"))]


def routes_of(site: Site) -> list[str]:
    every = site.node.run("ip", "route", "show", "table", "all").splitlines()
    return [line.strip() for line in every if "table 1633906283" in line]


async def test_pods_reach_everybody_by_the_pods_nic_with_their_own_address(subnet: PodSubnet) -> None:
    report = await subnet.machine.datapath.apply_node(POD_TABLE)
    assert (report.conflicts, report.uplink.name, report.way_out) == ((), "eth1", "")
    pod = await subnet.machine.pod(P)
    assert [subnet.seen(pod, target) for target in (GUEST, PEER, ON_PREM, INTERNET)] == [P] * 4
    again = await subnet.machine.datapath.apply_node(POD_TABLE)
    assert (again.repaired, again.conflicts) == ((), ())


async def test_azures_platform_sees_the_nodes_own_address(subnet: PodSubnet) -> None:
    await subnet.machine.datapath.apply_node(replace(POD_TABLE, imds_allowed=True))
    pod = await subnet.machine.pod(P)
    assert (subnet.seen(pod, WIRESERVER, 53), subnet.seen(pod, IMDS, 80)) == (PRIMARY, PRIMARY)


async def test_the_guards_hold(subnet: PodSubnet) -> None:
    await subnet.machine.datapath.apply_node(POD_TABLE)
    pod = await subnet.machine.pod(P)
    for target in (WIRESERVER, IMDS):
        assert subnet.refusal(pod, target, 80) == errno.EHOSTUNREACH
    assert refusal(pod, UNHELD, PORT) == errno.EHOSTUNREACH
    for stolen in (Q, POD_PRIMARY, PRIMARY):
        pod.ip("address", "add", f"{stolen}/32", "dev", "eth0")
        with subnet.outside.listen(INTERNET, PORT), pod.socket() as thief:
            thief.bind((stolen, 0))
            thief.settimeout(0.5)
            with pytest.raises(TimeoutError):
                thief.connect((INTERNET, PORT))


@pytest.mark.parametrize("caller", [GUEST, PEER, INTERNET])
async def test_everybody_reaches_a_pod_at_its_address(subnet: PodSubnet, caller: str) -> None:
    await subnet.machine.datapath.apply_node(POD_TABLE)
    pod = await subnet.machine.pod(P)
    assert subnet.reached(P, PORT, by=pod, caller=caller, at=P) == caller


@pytest.mark.parametrize("masquerade", [True, False])
@pytest.mark.parametrize("target", [PRIMARY, POD_PRIMARY])
@pytest.mark.parametrize("caller", [GUEST, PEER, INTERNET, WIRESERVER])
async def test_a_node_port_answers_by_the_nic_that_it_was_called_at(
    subnet: PodSubnet, caller: str, target: str, *, masquerade: bool
) -> None:
    """The wireserver's are a load balancer's probes."""
    await subnet.machine.datapath.apply_node(POD_TABLE)
    pod = await subnet.machine.pod(P)
    forwarded(subnet, P, masquerade=masquerade)
    seen = subnet.reached(target, NODE_PORT, by=pod, caller=caller, at=P)
    assert seen in {PRIMARY, POD_PRIMARY} if masquerade else seen == caller


async def test_node_and_pods_reach_each_other(subnet: PodSubnet) -> None:
    await subnet.machine.datapath.apply_node(POD_TABLE)
    pod, other = await subnet.machine.pod(P), await subnet.machine.pod(Q)
    for caller, target, seen in ((subnet.node, P, PRIMARY), (other, P, Q)):
        with pod.listen(target, PORT) as listener:
            client = caller.socket()
            if caller is subnet.node:
                client.bind((PRIMARY, 0))
            assert caller_of(listener, client, (target, PORT)) == seen
    with subnet.node.listen(PRIMARY, PORT) as listener:
        assert caller_of(listener, pod.socket(), (PRIMARY, PORT)) == P


async def test_the_node_reaches_the_pod_subnet_from_either_address(subnet: PodSubnet) -> None:
    """As a component of the node calls a pod of another one; and is called at its own address by such a pod."""
    await subnet.machine.datapath.apply_node(POD_TABLE)
    assert subnet.seen(subnet.node, GUEST) == POD_PRIMARY
    assert subnet.seen(subnet.node, GUEST, bind=PRIMARY) == PRIMARY
    assert subnet.seen(subnet.node, INTERNET) == PRIMARY
    assert subnet.reached(PRIMARY, PORT, by=subnet.node, caller=GUEST, at=PRIMARY) == GUEST
    assert subnet.reached(POD_PRIMARY, PORT, by=subnet.node, caller=INTERNET, at=POD_PRIMARY) == INTERNET


@pytest.mark.parametrize("command", ["rule delete pref 92", "rule delete pref 93", "route flush table 1633906283"])
async def test_what_somebody_deletes_is_back_at_once(subnet: PodSubnet, command: str) -> None:
    await subnet.machine.datapath.apply_node(POD_TABLE)
    assert rules_of(subnet) == [RETURN_RULE, POD_RULE]
    assert ["via 10.240.8.1 dev eth1" in one for one in routes_of(subnet)] == [True]
    async with watching(subnet.machine, table=POD_TABLE):
        subnet.node.ip(*command.split())
        await until(
            lambda: rules_of(subnet) == [RETURN_RULE, POD_RULE] and len(routes_of(subnet)) == 1,
            within_s=PATIENCE_S,
            say=lambda: (rules_of(subnet), routes_of(subnet)),
        )


async def test_the_filter_of_the_nodes_nic_asks_with_the_mark(subnet: PodSubnet) -> None:
    await subnet.machine.datapath.apply_node(POD_TABLE)
    switch = "net/ipv4/conf/eth0/src_valid_mark"
    subnet.node.sysctl(switch, "0")
    words = "sysctl net.ipv4.conf.eth0.src_valid_mark was 0: set to 1"
    assert (await subnet.machine.datapath.apply_node(POD_TABLE)).repaired == (words,)
    assert subnet.node.sysctl(switch) == "1"


async def test_a_pool_on_the_nodes_own_nic_leaves_nothing_of_it(subnet: PodSubnet) -> None:
    """Also where another agent had the pool on the second NIC."""
    await subnet.machine.datapath.apply_node(POD_TABLE)
    await subnet.machine.datapath.apply_node(TABLE)
    assert (rules_of(subnet), routes_of(subnet)) == ([], [])
    await subnet.machine.datapath.apply_node(POD_TABLE)
    successor = subnet.machine.successor()
    try:
        await successor.apply_node(TABLE)
    finally:
        await successor.close()
    assert (rules_of(subnet), routes_of(subnet)) == ([], [])
    assert subnet.seen(await subnet.machine.pod(A), INTERNET) == PRIMARY


async def test_docs_uninstall_takes_all_of_it(subnet: PodSubnet) -> None:
    await subnet.machine.datapath.apply_node(POD_TABLE)
    await subnet.machine.pod(P)
    steps = re.search(r"## What stays.*?```console\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert steps is not None
    subnet.node.run("sh", "-ec", "\n".join(line for line in steps[1].splitlines() if not line.startswith("rm ")))
    assert (rules_of(subnet), routes_of(subnet)) == ([], [])


async def test_the_virtual_function_of_the_pods_nic_is_passed_over(subnet: PodSubnet) -> None:
    """With accelerated networking there is one that has the NIC's MAC, and no address."""
    subnet.node.batch(f"link add enP1 address {POD_NIC_MAC} type veth peer name far", "link set enP1 up")
    report = await subnet.machine.datapath.apply_node(POD_TABLE)
    assert report.uplink.name == "eth1"
    pod = await subnet.machine.pod(P)
    assert subnet.seen(pod, INTERNET) == P
