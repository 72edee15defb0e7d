"""What people read of a write is what came of it, not what was asked for."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pytest

from azure_cni.ipam.sizing import Policy
from azure_cni.model.ipv6 import NO_IPV6, IPv6Growth
from azure_cni.model.nic import AttachmentChange, ConfigName, NicView
from fakes.nic import FakeNic
from fakes.simulated_node import SimulatedNode

pytestmark = pytest.mark.looptime


class Hurried(FakeNic):
    """A NIC from which another tool takes what was added last, right after our first write."""

    async def write(
        self,
        seen: NicView,
        *,
        add: int = 0,
        size: int = 1,
        remove: Collection[ConfigName] = (),
        attach: Sequence[AttachmentChange] = (),
        ipv6: IPv6Growth = NO_IPV6,
    ) -> NicView:
        written = await super().write(seen, add=add, size=size, remove=remove, attach=attach, ipv6=ipv6)
        if self.writes > 1:
            return written
        self.elsewhere_remove(written.secondaries[-1].name)
        return await self.read()


async def test_an_event_counts_what_is_on_the_nic():
    async with SimulatedNode(nic=Hurried(), policy=Policy(size=4)).running() as node:
        await node.until(lambda: node.counts.free == 4)
        said = [event.message for event in node.events.published if event.reason == "PoolGrew"]
    assert said == [
        "added 3 of 4 addresses (keep addresses ready); 3 on the NIC",
        "added 1 address (keep addresses ready); 4 on the NIC",
    ]
