"""Azure that accepts requests and does not answer, while a test wants that."""

from __future__ import annotations

import asyncio

from azure_cni.errors import CloudUnreachable
from azure_cni.model.identity import PRIMARY_NIC, NodeIdentity
from azure_cni.model.nic import NicView, SubnetID
from fakes.cloud import FakeCloud
from fakes.nic import FakeNic

HANGS_S = 120.0


class HangingNic(FakeNic):
    """Reads get no answer while it hangs."""

    hangs = False
    asked = 0

    async def read(self) -> NicView:
        if self.hangs:
            self.asked += 1
            await asyncio.sleep(HANGS_S)
            raise CloudUnreachable(f"cannot read the NIC: no answer within {HANGS_S:g} s")
        return await super().read()


class HangingCloud(FakeCloud):
    """Nobody says who the node is, while it hangs."""

    hangs = False

    async def identify(self, pod_subnet: SubnetID = PRIMARY_NIC) -> NodeIdentity:
        if self.hangs:
            await asyncio.sleep(HANGS_S)
            raise CloudUnreachable(f"cannot identify this node: no answer within {HANGS_S:g} s")
        return await super().identify(pod_subnet)
