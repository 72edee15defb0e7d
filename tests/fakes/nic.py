"""A NIC in memory that obeys Azure's rules, for the node's own tests; the contract suite holds it to the real adapter.

What it keeps: each change makes a new etag; a stale etag is refused; addresses are the lowest free of the subnet and
count only when the operation that brought them has Succeeded; one operation at a time; the subnet has an end; a caller
that goes away leaves its operation running. Tests steer it with `fail_next`, `hold`/`finish`, and `elsewhere_*`.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

from azure_cni.api.nic import (
    MAX_CONFIGS_PER_NIC,
    OUR_PREFIX,
    ConfigName,
    ExcludedConfiguration,
    IPConfiguration,
    NicID,
    NicView,
    is_our_name,
)
from azure_cni.errors import (
    REFUSALS,
    CloudError,
    OperationFailed,
    PreconditionFailed,
    RequestRefused,
    ResourceBusy,
    SubnetFull,
)

NIC_ID = NicID("/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/networkInterfaces/vm1-nic")
RESERVED_AT_THE_START = 4  # Azure keeps .0 to .3 and the last address of each subnet


class FakeNic:
    """Implements `azure_cni.node.ports.Nic`.

    `adopted` are addresses of others' secondaries, `ours` of configurations made by an earlier agent. `room` is how
    many addresses the subnet still has for us (None: all of `subnet`). `limit` counts configurations, the primary
    included. `fail_next` is raised by the next write before anything changes, then forgotten.
    """

    conclusive: tuple[type[CloudError], ...] = REFUSALS

    def __init__(
        self,
        *,
        primary: str = "10.240.0.4",
        adopted: Iterable[str] = (),
        ours: Iterable[str] = (),
        subnet: str = "10.240.0.0/22",
        room: int | None = None,
        limit: int = MAX_CONFIGS_PER_NIC,
        fail_next: CloudError | None = None,
    ) -> None:
        self.subnet = IPv4Network(subnet)
        self.room = room
        self.limit = limit
        self.fail_next = fail_next
        self.fail_next_read: CloudError | None = None
        self.fail_operation: CloudError | None = None
        """The next write is accepted, and its operation then ends with this."""
        self.reads = 0
        self.tries = 0
        """Writes that were sent to Azure, refused ones too."""
        self.writes = 0
        """Writes that Azure accepted."""
        self._names = itertools.count(1)
        self._versions = itertools.count(1)
        self._etag = ""
        self._running: asyncio.Event | None = None
        self._outcome: CloudError | None = None
        self._held = False
        self._failed = False
        self._attached: dict[str, str] = {}
        """Whom configurations serve, by name: those are for no pod."""
        self._configs = [_config("ipconfig1", primary, primary=True)]
        self._configs += [_config(f"adopted-{text.replace('.', '-')}", text) for text in adopted]
        self._configs += [_config(self._name(), text) for text in ours]
        self._touch()

    # The port.

    async def read(self) -> NicView:
        self.reads += 1
        await asyncio.sleep(0)
        error, self.fail_next_read = self.fail_next_read, None
        if error is not None:
            raise error
        return self._view()

    async def write(self, seen: NicView, *, add: int = 0, remove: Collection[ConfigName] = ()) -> NicView:
        self.tries += 1
        await asyncio.sleep(0)
        error, self.fail_next = self.fail_next, None
        if error is not None:
            raise error
        self._refuse(seen, add=add, remove=remove)
        present = {config.name for config in self._configs}
        if remove and not present & set(remove) and not add and not self._failed:
            return self._view()
        self._accept(add=add, remove=remove)
        await self._operation()
        return await self.read()

    # What a test may do to it.

    def hold(self) -> None:
        """Operations begun from now on stay under way until `finish`."""
        self._held = True

    def finish(self) -> None:
        """The operation under way ends, as do those begun from now on."""
        self._held = False
        if self._running is not None:
            self._end()

    def elsewhere_touch(self) -> None:
        """Another tool changes something that is not ours (a tag): only the etag tells."""
        self._touch()

    def elsewhere_add(self, address: str, *, name: str = "theirs") -> None:
        """Another tool adds a secondary, ready at once."""
        self._configs.append(_config(name, address))
        self._touch()

    def elsewhere_attach(self, name: str, serves: str = "has the public IP address frontend") -> None:
        """Another tool attaches something to a configuration."""
        self._attached[name] = serves
        self._touch()

    def elsewhere_detach(self, name: str) -> None:
        """And takes it away again."""
        del self._attached[name]
        self._touch()

    def elsewhere_readdress(self, address: str) -> None:
        """Another tool gives the primary configuration another address."""
        self._configs = [
            replace(config, address=IPv4Address(address)) if config.primary else config for config in self._configs
        ]
        self._touch()

    def elsewhere_remove(self, name: str) -> None:
        """Another tool takes a configuration away."""
        self._configs = [config for config in self._configs if config.name != name]
        self._touch()

    @property
    def addresses(self) -> frozenset[IPv4Address]:
        """All addresses on the NIC, the primary included."""
        return frozenset(config.address for config in self._configs if config.address)

    # Azure's rules.

    def _refuse(self, seen: NicView, *, add: int, remove: Collection[ConfigName]) -> None:
        foreign = sorted(name for name in remove if not is_our_name(name))
        if foreign:
            raise RequestRefused(f"cannot remove {foreign} from {NIC_ID}: not ours")
        if self._running is not None:
            raise ResourceBusy(f"cannot write {NIC_ID}: an operation is under way")
        if seen.etag != self._etag:
            raise PreconditionFailed(f"cannot write {NIC_ID}: it is {self._etag}, seen was {seen.etag}")
        if serving := sorted(self._attached.keys() & set(remove)):
            raise RequestRefused(f"cannot remove {serving} from {NIC_ID}: not ours")
        after = sum(config.name not in remove for config in self._configs) + add
        if after > self.limit:
            raise RequestRefused(f"cannot add {add} to {NIC_ID}: {after} of {self.limit}")
        room = min(self.room if self.room is not None else add, len(list(self._free_addresses())))
        if add > room:
            raise SubnetFull(f"cannot add {add} to {NIC_ID}: {room} left in its subnet", azure_code="SubnetIsFull")

    def _accept(self, *, add: int, remove: Collection[ConfigName]) -> None:
        before = len(self._configs)
        self._configs = [config for config in self._configs if config.name not in remove]
        removed = before - len(self._configs)
        free = self._free_addresses()
        self._configs += [_config(self._name(), str(next(free)), ready=False) for _ in range(add)]
        if self.room is not None:
            self.room += removed - add
        self.writes += 1
        self._touch()
        self._running = asyncio.Event()
        self._outcome, self.fail_operation = self.fail_operation, None

    async def _operation(self) -> None:
        running, outcome = self._running, self._outcome
        assert running is not None
        if not self._held:
            self._end()
        await running.wait()
        if outcome is not None:
            outcome.accepted = True
            raise outcome

    def _end(self) -> None:
        assert self._running is not None
        self._failed = self._outcome is not None
        if not self._failed:
            self._configs = [replace(config, ready=True) for config in self._configs]
        else:
            self._touch()
        self._running.set()
        self._running = None

    def _free_addresses(self) -> Iterator[IPv4Address]:
        for address in self.subnet:
            offset = int(address) - int(self.subnet.network_address)
            usable = RESERVED_AT_THE_START <= offset < self.subnet.num_addresses - 1
            if usable and address not in self.addresses:
                yield address

    def _name(self) -> str:
        return f"{OUR_PREFIX}{next(self._names):08d}"

    def _touch(self) -> None:
        self._etag = f'W/"{next(self._versions)}"'

    def _view(self) -> NicView:
        return NicView(
            NIC_ID,
            self._etag,
            settled=self._running is None,
            configs=tuple(config for config in self._configs if config.name not in self._attached),
            excluded=tuple(
                ExcludedConfiguration(config.name, config.address, self._attached[config.name], public=True)
                for config in self._configs
                if config.name in self._attached
            ),
            failed=self._failed and self._running is None,
        )


def operation_failed(code: str = "InternalServerError") -> OperationFailed:
    """An operation that was accepted and then ended Failed."""
    return OperationFailed(f"the operation on {NIC_ID} ended Failed: {code}", azure_code=code)


def _config(name: str, address: str, *, primary: bool = False, ready: bool = True) -> IPConfiguration:
    static = primary or not is_our_name(name)
    return IPConfiguration(ConfigName(name), IPv4Address(address), primary=primary, ready=ready, static=static)
