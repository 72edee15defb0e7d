"""What others take away of pods' IPv6 on a real kernel: it is heard of, and put right; and what is not heard."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from datapath.dual_site import A6, B6, DUAL, IPV6_RULE, PEER6, PRIMARY6, connected, pod, seen, spec_of
from datapath.machine import Machine
from datapath.namespaces import IN_EACH_MODE, PATIENCE_S, Namespace
from datapath.node_site import TABLE, A, B, Site
from datapath.watched_node import watching

pytestmark = IN_EACH_MODE

SILENCE_S = 0.3


@pytest.fixture
def site(machine: Machine) -> Site:
    return connected(machine)


@dataclass
class Watched:
    """A node that is watched, and its two pods."""

    site: Site
    one: Namespace
    other: Namespace

    def they_talk(self) -> bool:
        """A pod reaches the other one, the node a pod, and a pod a peer, as themselves."""
        calls = ((self.one, self.other, B6), (self.site.node, self.other, B6), (self.one, self.site.outside, PEER6))
        return [seen(*call) for call in calls] == [A6, PRIMARY6, A6]


@pytest.fixture
async def watched(site: Site) -> AsyncIterator[Watched]:
    datapath = site.machine.datapath
    await datapath.apply_node(DUAL)
    one, other = await pod(site.machine, A, A6), await pod(site.machine, B, B6)

    async with watching(site.machine, A, B, table=DUAL, ipv6={A: A6, B: B6}):
        yield Watched(site, one, other)


def state(site: Site) -> str:
    """All that the node holds for the IPv6 of its pods."""
    way = site.machine.way_to(B)
    near = site.node.run("ip", "-6", "neigh", "show", "dev", way, "nud", "permanent").splitlines()
    return "\n".join(
        [
            site.node.run("nft", "-s", "list", "ruleset"),
            site.node.sysctl("net/ipv6/conf/all/forwarding"),
            site.node.run("ip", "-6", "rule", "show"),
            *sorted(site.node.run("ip", "-6", "route", "show", "dev", way, "table", "main").splitlines()),
            *sorted(near),
            site.node.run("ip", "-6", "-o", "address", "show", "dev", "eth0", "scope", "global"),
        ]
    )


@pytest.mark.parametrize(
    "command",
    [
        "nft flush ruleset",
        "nft flush chain inet azure_cni ipv6_from_pods",
        "sysctl -q net.ipv6.conf.all.forwarding=0",
        "ip -6 rule delete pref 90",
        "ip -6 route flush dev LINK",
        f"ip -6 route delete {B6}",
        f"ip -6 route replace blackhole {B6} metric 1",
        "ip -6 neigh flush dev LINK nud permanent",
        f"ip -6 address add {B6}/128 dev eth0 nodad",
    ],
)
async def test_what_somebody_took_away_is_back(watched: Watched, command: str) -> None:
    site = watched.site
    right = state(site)
    site.node.run(*command.replace("LINK", site.machine.way_to(B)).split())
    assert state(site) != right
    async with asyncio.timeout(PATIENCE_S):
        while await asyncio.to_thread(state, site) != right:  # noqa: ASYNC110 - the kernel rings no bell here
            await asyncio.sleep(0.02)
    assert await asyncio.to_thread(watched.they_talk)


async def heard(site: Site) -> list[str]:
    """What was announced until there was silence; not what the kernel says late of the bridge's carrier."""
    causes: list[str] = []
    with contextlib.suppress(TimeoutError):
        while True:
            async with asyncio.timeout(SILENCE_S):
                causes.append((await site.machine.datapath.changed()).cause)
    return [cause for cause in causes if not cause.startswith("link ")]


async def test_the_coming_and_going_of_pods_is_not_heard(site: Site) -> None:
    """With each link the kernel removes its routes, and announces those of IPv6."""
    await site.machine.datapath.apply_node(DUAL)
    await pod(site.machine, B, B6)
    await heard(site)
    for _ in range(2):
        await pod(site.machine, A, A6)
        await site.machine.datapath.detach(spec_of(site.machine, A, A6).sandbox)
        await site.machine.datapath.settle()
    assert await heard(site) == []


OF_IPV6 = [
    "ip -6 route add 2001:db8:7::7/128 dev eth0",
    "ip -6 rule add pref 5000 from 2001:db8:9::/64 lookup 77",
    "ip -6 address add 2001:db8:8::8/128 dev eth0 nodad",
    "ip -6 neigh add 2001:db8::77 lladdr 02:00:00:00:00:77 nud permanent dev eth0",
    "ip -6 neigh delete 2001:db8::77 dev eth0",
    "sysctl -q net.ipv6.conf.all.forwarding=0",
]


async def test_in_one_family_nothing_of_ipv6_is_heard_and_with_both_it_is(site: Site) -> None:
    datapath = site.machine.datapath
    site.node.sysctl("net/ipv6/conf/all/forwarding", "1")
    await datapath.apply_node(TABLE)
    await heard(site)
    for command in OF_IPV6:
        site.node.run(*command.split())
    assert await heard(site) == []
    site.node.ip("-6", "rule", "add", "pref", *IPV6_RULE.split())
    await datapath.apply_node(DUAL)
    await heard(site)
    causes = []
    for command in ("ip -6 route delete 2001:db8:7::7", *OF_IPV6[3:], "ip -6 rule delete pref 5000"):
        site.node.run(*command.split())
        causes += await heard(site)
    assert causes == [
        "route 2001:db8:7::7/128 was removed",
        "neighbour 2001:db8::77 was removed",
        "forwarding of all links was turned off",
        "policy routing rules changed",
    ]
