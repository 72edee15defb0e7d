"""A metadata service that shows the addresses of a NIC, as late and as wrong as a test wants."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address

from azure_cni.errors import CloudError
from fakes.nic import FakeNic


class FakeMetadata:
    """Implements `azure_cni.node.azure_ports.ShownAddresses`."""

    def __init__(self, nic: FakeNic) -> None:
        self._nic = nic
        self.asked = 0
        self.error: CloudError | None = None
        self.hidden: set[IPv4Address] = set()
        """On the NIC, and never shown."""
        self.frozen: frozenset[IPv4Address] | None = None
        """What is shown instead of the NIC, as it is."""
        self.answer_s = 0.0
        self.others: dict[str, frozenset[IPv4Address]] = {}
        """What other NICs of the VM have, by their MACs."""

    async def addresses(self, mac: str) -> frozenset[IPv4Address]:
        self.asked += 1
        await asyncio.sleep(self.answer_s)
        if self.error is not None:
            raise self.error
        if mac in self.others:
            return self.others[mac]
        return self._nic.addresses - self.hidden if self.frozen is None else self.frozen
