"""HCN by the stand-in for HNS, in this process, and the adapters of a Windows node."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Interface

from azure_cni.errors import DatapathError
from azure_cni.windows.adapters import Adapter
from azure_cni.windows.hcn import HcnCall, HcnError, HcnKind
from fakehns.service import FakeHns, RefusedCall


class StandInHcn:
    """What computenetwork.dll does: it passes calls to the service, and HRESULTs back."""

    def __init__(self, hns: FakeHns) -> None:
        self._hns = hns

    def enumerate(self, kind: HcnKind, query: str) -> str:
        try:
            return self._hns.enumerate(kind, query)
        except RefusedCall as refused:
            raise HcnError(HcnCall.ENUMERATE, kind, refused.result, refused.words) from refused

    def query(self, kind: HcnKind, identifier: str, query: str) -> str:
        try:
            return self._hns.query(kind, identifier, query)
        except RefusedCall as refused:
            raise HcnError(HcnCall.QUERY, kind, refused.result, refused.words) from refused

    def create(self, kind: HcnKind, document: str, *, network: str = "") -> str:
        try:
            return self._hns.create(kind, document, network)
        except RefusedCall as refused:
            raise HcnError(HcnCall.CREATE, kind, refused.result, refused.words) from refused

    def modify(self, kind: HcnKind, identifier: str, request: str) -> None:
        try:
            self._hns.modify(kind, identifier, request)
        except RefusedCall as refused:
            raise HcnError(HcnCall.MODIFY, kind, refused.result, refused.words) from refused

    def delete(self, kind: HcnKind, identifier: str) -> None:
        try:
            self._hns.delete(kind, identifier)
        except RefusedCall as refused:
            raise HcnError(HcnCall.DELETE, kind, refused.result, refused.words) from refused


class FakeAdapters:
    """The NIC, and what HNS makes of it: once there is an L2Bridge network, the switch's adapter has its address."""

    def __init__(self, hns: FakeHns, *, mac: str, primary: IPv4Address, mtu: int, prefix: int = 22) -> None:
        self._hns = hns
        self.nic = Adapter(
            index=2,
            name="Ethernet",
            mac=mac,
            mtu=mtu,
            addresses=(IPv4Interface(f"{primary}/{prefix}"),),
            gateway=IPv4Address("10.240.0.1"),
        )
        self.away = False
        """HNS is taking the adapter over: for some seconds the address is on none."""
        self.fails: DatapathError | None = None

    def read(self) -> Iterable[Adapter]:
        if self.fails is not None:
            raise self.fails
        nic = self.nic
        bridged = any(one["Type"] == "L2Bridge" for one in self._hns.objects["Network"].values())
        if not bridged and not self.away:
            return [nic]
        bare = Adapter(nic.index, nic.name, nic.mac, nic.mtu)
        switch = Adapter(9, f"vEthernet ({nic.name})", nic.mac, nic.mtu, nic.addresses, nic.gateway)
        return [bare] if self.away else [bare, switch]
