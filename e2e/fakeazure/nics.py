"""Writing network interfaces: acceptance, operation, end.

On acceptance the document shows what was asked for, new addresses are taken from the subnet and removed ones stop
working; they are given back, and new ones work, when the operation has Succeeded. A NIC that no VM has is written at
once. A newer write of the same NIC cancels the one under way and replaces what it asked for.
Chosen where nothing is known: the etag changes on acceptance and when an operation ends badly, not when it Succeeded.
"""

from dataclasses import dataclass, replace
from typing import Any

from fakeazure import errors, lbmembers
from fakeazure.effective import EffectiveAddress
from fakeazure.names import Names, parse_path
from fakeazure.network import Network
from fakeazure.nicrules import allocate, check_vm, read_configs, read_settings, references
from fakeazure.operations import SUPERSEDED, Ending, Operation, Operations
from fakeazure.records import Document, IpConfig, Nic

VM_GONE = errors.ArmError(
    409,
    "OperationNotAllowed",
    "Operation 'startTenantUpdate' is not allowed on VM since the VM is marked for deletion.",
)


@dataclass(frozen=True, slots=True)
class Draft:
    """A body that has been read and found right, its addresses not taken yet."""

    nic_id: str
    existing: Nic | None
    location: str
    tags: dict[str, str] | None
    settings: Document
    configs: tuple[IpConfig, ...]

    def references(self) -> list[tuple[str, str]]:
        """(action, id) of all that the writer must be allowed to join."""
        return list(references(self.configs, self.settings))


@dataclass(slots=True)
class Nics:
    """The writes; `network` keeps the result, `operations` shows when one has ended."""

    network: Network
    operations: Operations
    names: Names

    def __post_init__(self) -> None:
        self.operations.finish = self.finish

    def read(self, nic_id: str, body: Any) -> Draft:
        """Check a body against everything but the free space; raises ArmError."""
        if not isinstance(body, dict):
            raise errors.invalid_content("the body is not an object")
        existing = self.network.nics.get(nic_id.lower())
        location = body.get("location")
        if not location:
            raise errors.location_required()
        if existing and existing.location != location.lower().replace(" ", ""):
            group = parse_path(nic_id).group  # type: ignore[union-attr]
            raise errors.location_differs(nic_id, group=group, has=existing.location, wanted=location)
        properties = body.get("properties") or {}
        suffix = existing.settings["dnsSettings"]["internalDomainNameSuffix"] if existing else self._dns_suffix()
        return Draft(
            nic_id=existing.id if existing else nic_id,
            existing=existing,
            location=location.lower().replace(" ", ""),
            tags=body.get("tags"),
            settings=read_settings(properties, dns_suffix=suffix),
            configs=read_configs(properties, nic_id=nic_id, existing=existing),
        )

    def write(
        self, draft: Draft, *, now: float, duration_s: float, ending: Ending | None = None, kind: str = "nic.put"
    ) -> tuple[Nic, Operation | None]:
        """Accept a write; the operation is None when it was done at once. Raises ArmError and then changes nothing."""
        for _, missing in draft.references():
            if not self.network.exists(missing):
                raise errors.missing_reference(missing, by=draft.nic_id)
        check_vm(self.network.beside(draft.existing), draft.configs, nic_id=draft.nic_id)
        self.network.check_public_addresses(draft.nic_id, draft.configs)
        lbmembers.check_nic(self.network.others, draft.nic_id, draft.configs)
        subnet = self.network.subnets[draft.configs[0].subnet_id.lower()]
        vnet = self.network.vnet_of(subnet.id)
        room = self.network.room_in(vnet)
        configs = allocate(draft.configs, nic_id=draft.nic_id, subnet=subnet, vnet_room=room, vnet_id=vnet.id)
        if draft.existing is None:
            return self._create(draft, configs, now=now), None
        nic = replace(
            draft.existing,
            etag=self.names.etag(),
            tags=draft.tags,
            settings=draft.settings,
            configs=configs,
        )
        self.operations.cancel(nic.operation_id, SUPERSEDED)
        if not nic.vm_id:
            nic = self._settled(nic, configs)
            self.network.put_nic(nic, at=now, cause="write of an unattached NIC")
            return nic, None
        operation = self.operations.start(kind, nic.id, location=nic.location, due=now + duration_s, ending=ending)
        goal = {config.address for config in configs}
        nic = replace(
            nic,
            state="Updating",
            operation_id=operation.id,
            effective=tuple(address for address in nic.effective if address.address in goal),
            held=_united(nic.held, configs),
        )
        self.network.put_nic(nic, at=now, cause="write accepted", operation_id=operation.id)
        return nic, operation

    def delete(self, nic: Nic, *, now: float, duration_s: float, ending: Ending | None = None) -> Operation:
        """Start the deletion of a NIC that no VM has; raises ArmError."""
        if nic.vm_id:
            raise errors.nic_in_use(nic.id, nic.vm_id)
        self.operations.cancel(nic.operation_id, SUPERSEDED)
        operation = self.operations.start(
            "nic.delete", nic.id, location=nic.location, due=now + duration_s, ending=ending
        )
        nic = replace(nic, state="Deleting", operation_id=operation.id, effective=())
        self.network.put_nic(nic, at=now, cause="deletion accepted", operation_id=operation.id)
        return operation

    def finish(self, operation: Operation, at: float) -> None:
        """Bring the NIC to where its operation ended."""
        nic = self.network.nics.get(operation.resource_id.lower())
        if nic is None or nic.operation_id != operation.id:
            return
        cause = f"operation {operation.status}"
        if operation.status == "Succeeded" and operation.kind == "nic.delete":
            self.network.drop_nic(nic, at=at, cause=cause, operation_id=operation.id)
            return
        nic = self._spoiled(nic, operation.ending) if operation.ending else self._settled(nic, nic.configs)
        self.network.put_nic(nic, at=at, cause=cause, operation_id=operation.id)

    def attach(self, nic: Nic, vm_id: str, *, primary: bool, now: float) -> Nic:
        """Give a NIC to a VM: it gets its MAC address, and its addresses work at once."""
        nic = replace(nic, vm_id=vm_id, mac=nic.mac or self.names.mac(), is_primary=primary, etag=self.names.etag())
        nic = self._settled(nic, nic.configs)
        self.network.put_nic(nic, at=now, cause="VM created")
        return nic

    def detach(self, nic: Nic, *, now: float) -> Nic:
        """The VM goes and the NIC stays, with its addresses; a write under way fails."""
        self.operations.cancel(nic.operation_id, VM_GONE, "Failed")
        state = "Failed" if nic.operation_id else nic.state
        nic = replace(nic, vm_id="", etag=self.names.etag())
        nic = replace(self._settled(nic, nic.settled), state=state)
        self.network.put_nic(nic, at=now, cause="VM deleted")
        return nic

    def change_behind(self, nic: Nic, configs: tuple[IpConfig, ...], *, now: float, cause: str) -> Nic:
        """Set configurations as somebody else's finished write would have, leaving a write under way to its fate."""
        changed = {config.name: config for config in configs}
        gone = {config.name for config in nic.settled} - changed.keys()
        goal = [config for config in nic.configs if config.name not in gone]
        goal += [config for config in configs if config.name not in {other.name for other in nic.configs}]
        after = self._settled(nic, configs)
        after = replace(
            after,
            etag=self.names.etag(),
            configs=tuple(goal),
            state=nic.state,
            operation_id=nic.operation_id,
            held=_united(after.held, tuple(goal)),
        )
        self.network.put_nic(after, at=now, cause=cause)
        return after

    def leave_pools(self, pool_ids: set[str], *, now: float) -> None:
        """These pools, by ids in lower case, are gone: no configuration names them any longer."""
        for nic in lbmembers.nics_in(self.network.nics.values(), pool_ids):
            configs = tuple(lbmembers.without_pools(config, pool_ids) for config in nic.configs)
            settled = tuple(lbmembers.without_pools(config, pool_ids) for config in nic.settled)
            working = {address.address for address in nic.effective}
            effective = self.network.programmed(
                [config for config in settled if config.address in working], nic.effective
            )
            changed = replace(nic, etag=self.names.etag(), configs=configs, settled=settled, effective=effective)
            self.network.put_nic(changed, at=now, cause="a load balancer's pool is gone")

    def _create(self, draft: Draft, configs: tuple[IpConfig, ...], *, now: float) -> Nic:
        nic = Nic(
            id=draft.nic_id,
            location=draft.location,
            etag=self.names.etag(),
            guid=self.names.guid(),
            state="Succeeded",
            configs=configs,
            tags=draft.tags,
            settings=draft.settings,
        )
        nic = self._settled(nic, configs)
        self.network.put_nic(nic, at=now, cause="created")
        return nic

    def _settled(self, nic: Nic, configs: tuple[IpConfig, ...]) -> Nic:
        """Everything that these configurations say works (once a VM has the NIC) and is held, nothing more."""
        return replace(
            nic,
            state="Succeeded",
            operation_id="",
            configs=configs,
            settled=configs,
            effective=self.network.programmed(configs, nic.effective) if nic.vm_id else (),
            held=tuple(config.address for config in configs),
        )

    def _spoiled(self, nic: Nic, ending: Ending) -> Nic:
        """The NIC after an operation that ended badly."""
        etag = self.names.etag()
        if ending.leaves == "goal":
            working: tuple[EffectiveAddress, ...] = nic.effective
            addresses = {address.address for address in working}
            return replace(
                nic,
                etag=etag,
                state=ending.status,
                operation_id="",
                settled=tuple(config for config in nic.configs if config.address in addresses),
                held=tuple(config.address for config in nic.configs),
            )
        configs = nic.settled if ending.leaves == "previous" else _half_way(nic.settled, nic.configs)
        return replace(self._settled(nic, configs), etag=etag, state=ending.status)

    def _dns_suffix(self) -> str:
        return f"{self.names.word(26)}.bx.internal.cloudapp.net"


def _half_way(settled: tuple[IpConfig, ...], goal: tuple[IpConfig, ...]) -> tuple[IpConfig, ...]:
    """Half of the removals and half of the additions between the two, rounded up."""
    wanted, there = {config.address for config in goal}, {config.address for config in settled}
    removals = [config.address for config in settled if config.address not in wanted]
    additions = [config for config in goal if config.address not in there]
    gone = set(removals[: (len(removals) + 1) // 2])
    return tuple(config for config in settled if config.address not in gone) + tuple(
        additions[: (len(additions) + 1) // 2]
    )


def _united(held: tuple[str, ...], configs: tuple[IpConfig, ...]) -> tuple[str, ...]:
    """What is held already, then what the configurations add."""
    return tuple(dict.fromkeys([*held, *(config.address for config in configs)]))
