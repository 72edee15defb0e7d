"""What others take away on a real kernel, and how pods have it again: by what is heard, long before a comparison."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from ipaddress import IPv4Address

import pytest

from datapath.namespaces import IN_EACH_MODE, PATIENCE_S, Namespace, caller_of
from datapath.node_site import IMDS, INTERNET, PEER, PORT, PRIMARY, TABLE, WIRESERVER, A, B, Site, refusal
from datapath.watched_node import watching

pytestmark = IN_EACH_MODE


@dataclass
class Watched:
    """A node that is watched, and its two pods."""

    site: Site
    one: Namespace
    other: Namespace

    async def soon(self, fact: Callable[[], bool]) -> None:
        """Wait until something is so."""
        async with asyncio.timeout(PATIENCE_S):
            while not await asyncio.to_thread(fact):  # noqa: ASYNC110 - the kernel rings no bell here
                await asyncio.sleep(0.02)

    def they_talk(self) -> bool:
        """A pod reaches the other one, the node a pod, and a pod a peer, as themselves."""
        with contextlib.suppress(OSError), self.other.listen(B, PORT) as listener:
            listener.settimeout(3)
            clients = [self.one.socket(), self.site.node.socket()]
            for client in clients:
                client.settimeout(3)
            callers = [caller_of(listener, client, (B, PORT)) for client in clients]
            return [*callers, self.site.seen(self.one, PEER)] == [A, PRIMARY, A]
        return False


@pytest.fixture
async def watched(site: Site) -> AsyncIterator[Watched]:
    datapath, primary = site.machine.datapath, IPv4Address(PRIMARY)
    await datapath.apply_node(TABLE)
    one, other = [await site.machine.pod(address, node_address=primary) for address in (A, B)]
    async with watching(site.machine, A, B):
        yield Watched(site, one, other)


@pytest.mark.parametrize("command", ["flush ruleset", "delete table inet azure_cni", "flush table inet azure_cni"])
async def test_the_guard_and_the_translation_are_back(watched: Watched, command: str) -> None:
    site = watched.site
    site.node.run("nft", *command.split())
    await watched.soon(lambda: "no table" not in table_of(site) and table_of(site).count("reject") >= 4)
    for target, port in ((WIRESERVER, 80), (IMDS, 80)):
        assert site.refusal(watched.one, target, port) == errno.EHOSTUNREACH
    assert site.seen(watched.one, INTERNET) == PRIMARY


def table_of(site: Site) -> str:
    try:
        return site.node.run("nft", "list", "table", "inet", "azure_cni")
    except AssertionError:
        return "no table"


@pytest.mark.parametrize(
    "switch", ["net/ipv4/ip_forward", "net/ipv4/conf/all/forwarding", "net/ipv4/conf/eth0/forwarding", "LINK"]
)
async def test_forwarding_that_was_turned_off_is_on(watched: Watched, switch: str) -> None:
    link = watched.site.machine.way_to(A)
    path = f"net/ipv4/conf/{link}/forwarding" if switch == "LINK" else switch
    watched.site.node.sysctl(path, "0")
    await watched.soon(lambda: watched.site.node.sysctl(path) == "1")
    assert watched.they_talk()


@pytest.mark.parametrize(
    "command",
    [
        *("route flush dev LINK", "neigh flush dev LINK nud permanent", "route flush proto static"),
        *("route replace blackhole 10.240.0.8", "route replace 10.240.0.8 dev eth0"),
    ],
)
async def test_what_leads_to_a_pod_is_back(watched: Watched, command: str) -> None:
    site = watched.site
    link = site.machine.way_to(B)
    site.node.ip(*command.replace("LINK", link).split())
    if "proto" in command:
        site.node.ip("route", "replace", "default", "via", "10.240.0.1")
    await watched.soon(lambda: len(site.node.show("route", "show", B, "dev", link)) == 2 and "PERM" in near(site, link))
    spec = site.machine.spec(B, node_address=IPv4Address(PRIMARY))
    assert await site.machine.datapath.check(spec) == ()
    assert watched.they_talk()


def near(site: Site, link: str) -> str:
    return site.node.run("ip", "neigh", "show", "dev", link)


async def test_routes_are_back_when_the_primary_address_is(watched: Watched) -> None:
    node = watched.site.node
    node.ip("address", "delete", f"{PRIMARY}/22", "dev", "eth0")
    node.ip("address", "add", f"{PRIMARY}/22", "dev", "eth0")
    node.ip("route", "add", "default", "via", "10.240.0.1")
    await watched.soon(watched.they_talk)


async def test_pods_addresses_that_somebody_puts_on_the_uplink_leave_it(watched: Watched) -> None:
    node = watched.site.node
    node.ip("address", "add", f"{A}/22", "dev", "eth0")
    await watched.soon(lambda: A not in node.run("ip", "-o", "address", "show", "dev", "eth0"))
    assert watched.they_talk()


@pytest.mark.parametrize("switches", [{"all": 1, "default": 1}, {"all": 1, "eth0": 1, "LINK": 1}])
async def test_strict_reverse_path_filters_take_nothing_from_pods(watched: Watched, switches: dict[str, int]) -> None:
    """Every pod's address is routed to its own link, and what comes by the NIC would leave by it: nothing to drop."""
    link = watched.site.machine.way_to(A)
    for name, value in switches.items():
        watched.site.node.sysctl(f"net/ipv4/conf/{name.replace('LINK', link)}/rp_filter", str(value))
    assert watched.they_talk()
    assert watched.site.seen(watched.one, INTERNET) == PRIMARY
    assert watched.site.seen(watched.one, WIRESERVER, 53) == PRIMARY
    pod = await watched.site.machine.pod("10.240.0.9", node_address=IPv4Address(PRIMARY))  # public
    with pod.listen("10.240.0.9", PORT) as listener:
        client = watched.site.outside.socket()
        client.bind((INTERNET, 0))
        assert caller_of(listener, client, ("10.240.0.9", PORT)) == INTERNET


async def test_a_new_pod_forwards_whatever_the_default_is(site: Site) -> None:
    await site.machine.datapath.apply_node(TABLE)
    site.node.sysctl("net/ipv4/conf/default/forwarding", "0")
    pod = await site.machine.pod(A, node_address=IPv4Address(PRIMARY))
    assert site.seen(pod, PEER) == A
    other = await site.machine.pod(B, node_address=IPv4Address(PRIMARY))
    assert refusal(pod, B, PORT) == errno.ECONNREFUSED
    assert refusal(other, A, PORT) == errno.ECONNREFUSED
