"""For the first nodes with a real Windows: does with HNS what an agent does, and what HNS has to refuse, and prints
what it answers, one call a line. The lines are replayed in the stand-in for HNS (docs/windows.md).

    python -m azure_cni.windows.hns_recording ADDRESS

ADDRESS is one of the NIC's subnet that nobody has. The network `azure` stays, as an agent needs it; all else is removed
again. A step that fails is part of the record, and the next one is made.
"""

from __future__ import annotations

import asyncio
import json
import platform
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Final, TextIO

import msgspec

from azure_cni import __version__
from azure_cni.datapath.hcn_documents import endpoint_of, network_document
from azure_cni.datapath.node_table import NodeTable
from azure_cni.errors import AzureCniError, ConfigInvalid
from azure_cni.ipam.address_state import LinkParameters, Sandbox
from azure_cni.node.ports import SandboxSpec
from azure_cni.windows.adapter_list import AdapterList
from azure_cni.windows.adapters import Adapter, Adapters, segment_of
from azure_cni.windows.datapath import NETWORK, HcnDatapath
from azure_cni.windows.hcn import Hcn, HcnKind, HcnService
from azure_cni.windows.hcn_endpoints import has
from azure_cni.windows.libraries import load_libraries
from azure_cni.windows.recording import RecordHead, RecordingHcn

SANDBOX: Final = Sandbox("azure-cni", "hns-recording", "eth0")
ROUTABLE: Final = (IPv4Network("10.0.0.0/8"), IPv4Network("192.168.0.0/16"))
"""Before and after a change of the VNet's prefixes."""
_NAME_ONE: Final = "name one of the NIC's subnet that nobody has"
_VERSION: Final = {"Major": 2, "Minor": 0}
_NOBODYS: Final = "00000000-0000-4000-8000-000000000001"
_SETTLE_S: Final = 60.0
"""For how long the NIC may be away while HNS takes it over."""


def main(arguments: list[str]) -> int:
    """The exit code."""
    try:
        if len(arguments) != 1:
            raise ConfigInvalid("cannot record HNS: name one address of the NIC's subnet that nobody has")
        address = IPv4Address(arguments[0])
        libraries = load_libraries()
        asyncio.run(record(libraries.hcn, AdapterList(libraries.iphlpapi), address, output=sys.stdout))
    except (AzureCniError, ValueError) as error:
        print(f"hns_recording: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


async def record(hcn: Hcn, adapters: Adapters, address: IPv4Address, *, output: TextIO) -> None:
    """Make the calls, and write them down. DatapathError where the node has no NIC in the address' subnet."""

    def write(line: msgspec.Struct) -> None:
        output.write(json.dumps(msgspec.to_builtins(line)) + "\n")  # in ASCII: a pipe takes the node's own code page
        output.flush()

    adapter, primary = nic_for(address, adapters)
    _require_unused(hcn, address)
    write(RecordHead(system=platform.platform(), agent=__version__, time=datetime.now(UTC).isoformat()))
    recording = RecordingHcn(hcn, write)
    datapath = HcnDatapath(recording, adapters)
    try:
        await _Session(recording, datapath, adapter, primary, address).make()
    finally:
        await datapath.close()


def nic_for(address: IPv4Address, adapters: Adapters) -> tuple[Adapter, IPv4Address]:
    """The adapter whose subnet the address is in, and the node's own address there. ConfigInvalid, also for an address
    that somebody has to have.
    """
    listed = list(adapters.read())
    if any(address == own.ip for adapter in listed for own in adapter.addresses):
        raise ConfigInvalid(f"cannot record HNS with {address}: the node itself has it; {_NAME_ONE}")
    for adapter in listed:
        for own in adapter.addresses:
            if address in own.network and adapter.gateway is not None:
                _require_free(address, own.network, adapter.gateway)
                return adapter, own.ip
    raise ConfigInvalid(f"cannot record HNS with {address}: no adapter with a gateway has a subnet with it")


def _require_free(address: IPv4Address, subnet: IPv4Network, gateway: IPv4Address) -> None:
    if address in {gateway, subnet.network_address, subnet.broadcast_address}:
        raise ConfigInvalid(f"cannot record HNS with {address}: nobody in {subnet} may have it; {_NAME_ONE}")


def _require_unused(hcn: Hcn, address: IPv4Address) -> None:
    """A pod's endpoint with the address would be removed, as one that is left over. AzureCniError."""
    service = HcnService(hcn)
    shown = [endpoint_of(found) for found in service.find(HcnKind.ENDPOINT)]
    holders = [one.name or one.id for one in shown if has(one, address)]
    if holders:
        raise ConfigInvalid(f"cannot record HNS with {address}: HCN endpoint {holders[0]} has it; {_NAME_ONE}")


class _Session:
    """The steps. One that fails has been written down."""

    def __init__(
        self, hcn: RecordingHcn, datapath: HcnDatapath, adapter: Adapter, primary: IPv4Address, address: IPv4Address
    ) -> None:
        self._hcn, self._datapath, self._adapter = hcn, datapath, adapter
        self._primary, self._address = primary, address
        self._table = NodeTable(
            uplink_mac=adapter.mac,
            primary=primary,
            pool=frozenset({address}),
            public=frozenset(),
            routable=frozenset(ROUTABLE[:1]),
            imds_allowed=False,
        )

    async def make(self) -> None:
        """All of them."""
        await self._step("the network", self._network)
        namespace = self._identifier(lambda: self._hcn.create(HcnKind.NAMESPACE, _text(Type="Host")), "a namespace")
        link = LinkParameters(self._adapter.mtu, self._primary)
        spec = SandboxSpec(SANDBOX, namespace, (self._address,), link)
        await self._step("ADD", lambda: self._datapath.attach(spec))
        await self._step("ADD again", lambda: self._datapath.attach(spec))
        await self._step("CHECK", lambda: self._datapath.check(spec))
        changed = replace(self._table, routable=frozenset(ROUTABLE))
        await self._step("other prefixes", lambda: self._datapath.apply_node(changed))
        await self._step("CHECK of these", lambda: self._datapath.check(spec))
        await self._step("the network again", lambda: self._datapath.apply_node(changed))
        self._refused()
        await self._step("DEL", lambda: self._datapath.detach(SANDBOX))
        await self._step("DEL again", lambda: self._datapath.detach(SANDBOX))
        self._identifier(lambda: self._hcn.delete(HcnKind.NAMESPACE, namespace), "the namespace goes")

    async def _network(self) -> None:
        """The NIC is away for seconds after it was made."""
        async with asyncio.timeout(_SETTLE_S):
            while True:
                try:
                    await self._datapath.apply_node(self._table)
                except AzureCniError:
                    await asyncio.sleep(1)
                else:
                    return

    def _refused(self) -> None:
        """What HNS has to refuse; the codes are what is wanted. Should it take one, that is removed again."""
        segment = segment_of(self._adapter, self._primary)
        network = self._network_id()
        for step, document in self._bad_endpoints().items():
            make = partial(self._hcn.create, HcnKind.ENDPOINT, document, network=network)
            if made := self._identifier(make, step):
                self._identifier(partial(self._hcn.delete, HcnKind.ENDPOINT, made), f"{step}, removed")
        same_name, step = json.dumps(network_document(NETWORK, segment)), "a second network of the name"
        made = self._identifier(lambda: self._hcn.create(HcnKind.NETWORK, same_name), step)
        if made and made.lower() != network:
            self._identifier(partial(self._hcn.delete, HcnKind.NETWORK, made), f"{step}, removed")
        for kind in HcnKind:
            self._identifier(partial(self._hcn.query, kind, _NOBODYS, _text()), "a read of what is not there")
            self._identifier(partial(self._hcn.delete, kind, _NOBODYS), "a removal of what is not there")

    def _bad_endpoints(self) -> dict[str, str]:
        address = [{"IpAddress": str(self._address), "PrefixLength": 24}]
        beyond = [{"IpAddress": "203.0.113.9", "PrefixLength": 24}]
        return {
            "an address twice": _text(Name="acni-recording-2", IpConfigurations=address),
            "an address beyond the subnet": _text(Name="acni-recording-3", IpConfigurations=beyond),
            "a policy that is none": _text(Name="acni-recording-4", Policies=[{"Type": "Nonsense", "Settings": {}}]),
            "a field that is none": _text(Name="acni-recording-5", Nonsense=1),
            "no document": "{",
        }

    async def _step(self, name: str, work: Callable[[], Awaitable[object]]) -> None:
        self._hcn.step = name
        try:
            await work()
        except (AzureCniError, TimeoutError) as error:
            print(f"hns_recording: {name}: {error}", file=sys.stderr)  # noqa: T201

    def _identifier(self, work: Callable[[], str | None], name: str) -> str:
        """The ID of what was made, "" where it was not, or nothing is answered."""
        self._hcn.step = name
        try:
            made = json.loads(work() or "{}")
        except (AzureCniError, ValueError) as error:  # ValueError: HNS answered something that is not JSON
            print(f"hns_recording: {name}: {error}", file=sys.stderr)  # noqa: T201
            return ""
        return str(made.get("ID", "")) if isinstance(made, dict) else ""

    def _network_id(self) -> str:
        """A GUID that no network has where there is none."""
        self._hcn.step = "the network's ID"
        try:
            found = HcnService(self._hcn).identifiers(HcnKind.NETWORK, Name=NETWORK)
        except AzureCniError as error:
            print(f"hns_recording: the network's ID: {error}", file=sys.stderr)  # noqa: T201
            return _NOBODYS
        return found[0] if found else _NOBODYS


def _text(**fields: Any) -> str:
    return json.dumps({"SchemaVersion": _VERSION, **fields})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
