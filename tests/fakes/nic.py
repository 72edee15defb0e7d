"""A NIC in memory that obeys Azure's rules, for the node's own tests; the contract suite holds it to the real adapter.

What it keeps: each change makes a new etag; a stale etag is refused; addresses are the lowest free of the subnet and
count only when the operation that brought them has Succeeded; one operation at a time; the subnet has an end; a caller
that goes away leaves its operation running. Tests steer it with `fail_next`, `hold`/`finish`, and `elsewhere_*`.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Network

from azure_cni.errors import (
    REFUSALS,
    CloudError,
    OperationFailed,
    PreconditionFailed,
    RequestRefused,
    ResourceBusy,
    SubnetFull,
)
from azure_cni.model.attachments import AttachedResource
from azure_cni.model.config_names import (
    BLOCK_SUFFIX,
    IPV6_BLOCK_SUFFIX,
    IPV6_SUFFIX,
    OUR_PREFIX,
    STATIC_SUFFIX,
    is_our_name,
)
from azure_cni.model.ipv6 import NO_IPV6, IPv6Configuration, IPv6Growth
from azure_cni.model.nic import (
    BLOCK_SIZE,
    MAX_CONFIGS_PER_NIC,
    AttachmentChange,
    ConfigName,
    ExcludedConfiguration,
    IPConfiguration,
    NicID,
    NicView,
    StaticConfiguration,
    total_size,
)
from fakes.nic_rules import attached_after, free_addresses, free_blocks, free_ipv6

NIC_ID = NicID("/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/networkInterfaces/vm1-nic")


class FakeNic:
    """Implements `azure_cni.node.azure_ports.Nic`.

    `adopted` are addresses of others' secondaries, `ours` of configurations made by an earlier agent. `room` is how
    many addresses the subnet still has for us (None: all of `subnet`). `limit` counts configurations, the primary
    included. `fail_next` is raised by the next write before anything changes, then forgotten. `groups` are the NIC's
    application security groups. `ipv6_space` is the subnet's IPv6 prefix (None: it has none), and `ipv6_blocks` False
    where Azure gives single addresses alone.
    """

    conclusive: tuple[type[CloudError], ...] = REFUSALS
    recovers = True
    takes_blocks = True

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
        groups: tuple[str, ...] = (),
        ipv6_space: str | None = None,
        ipv6_blocks: bool = True,
    ) -> None:
        self.subnet = IPv4Network(subnet)
        self.room = room
        self.limit = limit
        self.fail_next = fail_next
        self.refusal: CloudError | None = None
        """What every write is refused with."""
        self.fail_next_read: CloudError | None = None
        self.accepted: Callable[[], None] = lambda: None
        """Called when Azure has accepted a write, whose operation then goes on whatever becomes of the caller."""
        self.fail_operation: CloudError | None = None
        """The next write is accepted, and its operation then ends with this."""
        self.fail_growth: CloudError | None = None
        """As `fail_operation`, of the next write that adds."""
        self.reads = 0
        self.tries = 0
        """Writes that were sent to Azure, refused ones too."""
        self.writes = 0
        """Writes that Azure accepted."""
        self.taken: dict[IPv4Address, str] = {}
        """Addresses of the subnet that another resource has, by address."""
        self.fails_to_remove = False
        """Operations that remove something end badly, and remove nothing."""
        self.no_such_groups: set[str] = set()
        """Application security groups that do not exist."""
        self.groups = groups
        self.ipv6_space = None if ipv6_space is None else IPv6Network(ipv6_space)
        self.ipv6_blocks = ipv6_blocks
        self.ipv6: list[IPv6Configuration] = []
        self._names = itertools.count(1)
        self._versions = itertools.count(1)
        self._etag = ""
        self._running: asyncio.Event | None = None
        self._outcome: CloudError | None = None
        self._held = False
        self._failed = False
        self._attached: dict[str, str] = {}
        """Whom configurations serve, by name: those are for no pod."""
        self.resources: dict[str, frozenset[AttachedResource]] = {}
        """What pods can ask for, by the name of the configuration that has it."""
        self.refused_resources: dict[str, CloudError] = {}
        """By ID: a write that leaves one of these on the NIC is refused with its error."""
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
        self.tries += 1
        await asyncio.sleep(0)
        self._fail()
        self._refuse(seen, add=add, size=size, remove=remove, ipv6=ipv6)
        present = {config.name for config in self._configs} | {config.name for config in self.ipv6}
        if remove and not present & set(remove) and not (add or attach or ipv6 or self._failed):
            return self._view()
        resources = self._changed_resources(attach)
        self._accept(add=add, size=size, remove=remove, ipv6=ipv6)
        self.resources = {name: held for name, held in resources.items() if held}
        await self._operation()
        return await self.read()

    async def recover(self, seen: NicView, configs: Sequence[StaticConfiguration]) -> NicView:
        self.tries += 1
        await asyncio.sleep(0)
        self._fail()
        self._refuse(seen, add=0, remove=())
        holders = self.taken | {address: one.name for one in self._configs for address in one.addresses}
        for one in configs:
            if holder := next((holders[address] for address in one.addresses if address in holders), ""):
                raise RequestRefused(
                    f"cannot write {NIC_ID}: IP configuration {one.name} is using the private IP address {one} "
                    f"which is already allocated to resource {holder}",
                    azure_code="PrivateIPAddressIsAllocated",
                )
        self._accept(add=0, remove=())
        self._configs += [replace(_config(one.name, str(one.address), ready=False), size=one.size) for one in configs]
        if self.room is not None:
            self.room -= total_size(configs)
        await self._operation()
        return await self.read()

    async def set_security_groups(self, seen: NicView, groups: Sequence[str]) -> NicView:
        self.tries += 1
        await asyncio.sleep(0)
        self._fail()
        self._refuse(seen, add=0, remove=())
        if unknown := sorted(set(groups) & self.no_such_groups):
            raise RequestRefused(f"cannot write {NIC_ID}: InvalidResourceReference: {unknown} was not found")
        self._accept(add=0, remove=())
        self.groups = tuple(groups)
        await self._operation()
        return await self.read()

    # What a test may do to it.

    def hold(self) -> None:
        """Operations started from now on stay under way until `finish`."""
        self._held = True

    def finish(self) -> None:
        """The operation under way ends, as do those started from now on."""
        self._held = False
        if self._running is not None:
            self._end()

    def elsewhere_touch(self) -> None:
        """Another tool changes something that is not ours (a tag): only the etag shows it."""
        self._touch()

    def elsewhere_fail(self) -> None:
        """Another tool writes the NIC with nothing changed, and its operation ends badly."""
        self._failed = True
        self._touch()

    def elsewhere_repair(self) -> None:
        """Another tool writes the NIC with nothing changed, and a failed state ends."""
        self._failed = False
        self._touch()

    def elsewhere_add(self, address: str, *, name: str = "theirs", size: int = 1) -> None:
        """Another tool adds a secondary, ready at once; one that holds `size` addresses from this one on."""
        self._configs.append(replace(_config(name, address), size=size))
        self._touch()

    def elsewhere_attach(self, name: str, serves: str = "has the public IP address frontend") -> None:
        """Another tool attaches something to a configuration."""
        self._attached[name] = serves
        self._touch()

    def elsewhere_detach(self, name: str) -> None:
        """And takes it away again."""
        del self._attached[name]
        self._touch()

    def elsewhere_put(self, name: str, *resources: AttachedResource) -> None:
        """Another tool makes these what a configuration has of pools and public IP addresses."""
        self.resources[name] = frozenset(resources)
        self._touch()

    def attached_to(self, address: IPv4Address) -> frozenset[AttachedResource]:
        """What the configuration with that address has of pools and public IP addresses."""
        names = [config.name for config in self._configs if address in config.addresses]
        return frozenset().union(*(self.resources.get(name, frozenset()) for name in names))

    def elsewhere_regroup(self, groups: tuple[str, ...]) -> None:
        """Another tool puts the NIC into other application security groups."""
        self.groups = groups
        self._touch()

    def elsewhere_readdress(self, address: str) -> None:
        """Another tool gives the primary configuration another address."""
        self._configs = [
            replace(config, address=IPv4Address(address)) if config.primary else config for config in self._configs
        ]
        self._touch()

    def elsewhere_forget(self) -> None:
        """Another tool writes the NIC from its own template, which knows nothing of ours: a failed state ends. Its
        operation is under way until `finish`, after `hold`.
        """
        ours = [config for config in self._configs if is_our_name(config.name)]
        self._configs = [config for config in self._configs if config not in ours]
        self.room = None if self.room is None else self.room + sum(config.size for config in ours)
        self._failed = False
        self._touch()
        if self._held:
            self._running, self._outcome = asyncio.Event(), None

    def elsewhere_give(self, name: str) -> None:
        """Another tool takes a configuration away, and another node gets its address before anybody notices."""
        self.taken |= {
            address: "another node" for one in self._configs if one.name == name for address in one.addresses
        }
        self.elsewhere_remove(name)

    def elsewhere_remove(self, name: str) -> None:
        """Another tool takes a configuration away, and with it what it has attached."""
        self._configs = [config for config in self._configs if config.name != name]
        self.resources.pop(name, None)
        self._touch()

    def elsewhere_remove_ipv6(self) -> None:
        """Another tool takes away all of IPv6 that is ours."""
        self.ipv6 = []
        self._touch()

    @property
    def configs(self) -> tuple[IPConfiguration, ...]:
        """All ipConfigurations that are for pods or could be, and the primary."""
        return tuple(self._configs)

    @property
    def addresses(self) -> frozenset[IPv4Address]:
        """All addresses on the NIC, the primary included."""
        return frozenset(address for config in self._configs for address in config.addresses)

    # Azure's rules.

    def _fail(self) -> None:
        error, self.fail_next = self.fail_next or self.refusal, None
        if error is not None:
            raise error

    def _refuse(
        self, seen: NicView, *, add: int, remove: Collection[ConfigName], size: int = 1, ipv6: IPv6Growth = NO_IPV6
    ) -> None:
        if size not in {1, BLOCK_SIZE} or add % size:
            raise RequestRefused(f"cannot add {add} to {NIC_ID} by {size}")
        foreign = sorted(name for name in remove if not is_our_name(name))
        if foreign:
            raise RequestRefused(f"cannot remove {foreign} from {NIC_ID}: not ours")
        if self._running is not None:
            raise ResourceBusy(f"cannot write {NIC_ID}: an operation is under way")
        if seen.etag != self._etag:
            raise PreconditionFailed(f"cannot write {NIC_ID}: it is {self._etag}, seen was {seen.etag}")
        if serving := sorted((self._attached.keys() | self.resources.keys()) & set(remove)):
            raise RequestRefused(f"cannot remove {serving} from {NIC_ID}: not ours")
        self._refuse_ipv6(ipv6, remove)
        there = [config.name for config in self._configs] + [config.name for config in self.ipv6]
        after = sum(name not in remove for name in there) + add // size + ipv6.configs
        if after > self.limit:
            raise RequestRefused(f"cannot add {add} to {NIC_ID}: {after} of {self.limit}")
        found = len(list(self._free_blocks() if size > 1 else self._free_addresses()))
        room = min(self.room if self.room is not None else add, found * size)
        if add > room:
            raise SubnetFull(f"cannot add {add} to {NIC_ID}: {room} left in its subnet", azure_code="SubnetIsFull")

    def _refuse_ipv6(self, ipv6: IPv6Growth, remove: Collection[ConfigName]) -> None:
        blocks = [config.name for config in self.ipv6 if config.block]
        if removed := sorted(set(blocks) & set(remove)):
            raise RequestRefused(f"cannot remove {removed} from {NIC_ID}: not ours to remove")
        if ipv6 and self.ipv6_space is None:
            raise RequestRefused(f"cannot add {ipv6} to {NIC_ID}: its subnet has no IPv6 prefix")
        if ipv6.block and (blocks or not self.ipv6_blocks):
            raise RequestRefused(f"cannot add {ipv6} to {NIC_ID}: it has {blocks}, and Azure gives it no more")

    def _changed_resources(self, attach: Sequence[AttachmentChange]) -> dict[str, frozenset[AttachedResource]]:
        known = {config.name for config in self._configs if is_our_name(config.name)}
        if others := {change.config for change in attach} - known:
            raise RequestRefused(f"cannot attach to {sorted(others)} of {NIC_ID}: not ours")
        return attached_after(self.resources, attach, refused=self.refused_resources, nic=NIC_ID)

    def _accept(self, *, add: int, remove: Collection[ConfigName], size: int = 1, ipv6: IPv6Growth = NO_IPV6) -> None:
        stuck = bool(remove) and self.fails_to_remove
        leaving = [config for config in self._configs if not stuck and config.name in remove]
        self._configs = [config for config in self._configs if config not in leaving]
        removed = sum(config.size for config in leaving)
        self.ipv6 = [config for config in self.ipv6 if stuck or config.name not in remove]
        suffix6 = IPV6_BLOCK_SUFFIX if ipv6.block else IPV6_SUFFIX
        for _ in range(ipv6.configs):
            network = free_ipv6(self.ipv6_space, used=self.ipv6, block=ipv6.block)
            self.ipv6.append(
                IPv6Configuration(ConfigName(self._name() + suffix6), network, ready=False, block=ipv6.block)
            )
        free, suffix = (self._free_blocks(), BLOCK_SUFFIX) if size > 1 else (self._free_addresses(), "")
        self._configs += [
            replace(_config(self._name() + suffix, str(next(free)), ready=False), size=size) for _ in range(add // size)
        ]
        if self.room is not None:
            self.room += removed - add
        self.writes += 1
        self._touch()
        self._running = asyncio.Event()
        self._outcome, self.fail_operation = self.fail_operation, None
        if stuck:
            self._outcome = operation_failed()
        if add and self.fail_growth is not None:
            self._outcome, self.fail_growth = self.fail_growth, None
        self.accepted()

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
            self.ipv6 = [replace(config, ready=True) for config in self.ipv6]
        else:
            self._touch()
        self._running.set()
        self._running = None

    def _free_addresses(self) -> Iterator[IPv4Address]:
        return free_addresses(self.subnet, used=self.addresses | self.taken.keys())

    def _free_blocks(self) -> Iterator[IPv4Address]:
        return free_blocks(self.subnet, used=self.addresses | self.taken.keys())

    def _name(self) -> str:
        return f"{OUR_PREFIX}{next(self._names):08d}"

    def _touch(self) -> None:
        self._etag = f'W/"{next(self._versions)}"'

    def _view(self) -> NicView:
        return NicView(
            NIC_ID,
            self._etag,
            settled=self._running is None,
            configs=tuple(
                replace(config, attached=self.resources.get(config.name, frozenset()))
                for config in self._configs
                if config.name not in self._attached
            ),
            excluded=tuple(
                ExcludedConfiguration(
                    config.name, config.address, self._attached[config.name], public=True, span=config.size
                )
                for config in self._configs
                if config.name in self._attached
            ),
            failed=self._failed and self._running is None,
            security_groups=self.groups,
            ipv6=tuple(self.ipv6),
        )


def operation_failed(code: str = "InternalServerError") -> OperationFailed:
    """An operation that was accepted and then ended Failed."""
    return OperationFailed(f"the operation on {NIC_ID} ended Failed: {code}", azure_code=code)


def _config(name: str, address: str, *, primary: bool = False, ready: bool = True) -> IPConfiguration:
    static = primary or not is_our_name(name) or name.endswith(STATIC_SUFFIX)
    return IPConfiguration(ConfigName(name), IPv4Address(address), primary=primary, ready=ready, static=static)
