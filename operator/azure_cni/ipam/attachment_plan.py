"""What is to be attached to the addresses of pods: from what pods ask for, and what the NIC shows, to its next change.

A pod's pools and public IP address belong to the address that it holds now, and to no other. They are added when the
pod has its address, and removed when the pod begins to end, asks for something else, or may not have it any more.

The NIC is the record. Whatever one of our configurations has attached and its pod does not want is removed, whoever
attached it, if it is one of the resources that azure-cni manages: those that the chart's values allow to any namespace,
and those that this node had attached before the values changed. A configuration with anything else attached is somebody
else's: no pod gets its address.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias

from azure_cni.ipam.address_state import Holder, Slot
from azure_cni.ipam.limits import ATTACH_WRITE_S, ATTACH_WRITES_AT_ONCE
from azure_cni.model.attachments import MOST_CHANGED, AttachedResource, AttachmentKind, listable
from azure_cni.model.nic import AttachmentChange, ConfigName, ExcludedConfiguration, IPConfiguration, NicView

Resources: TypeAlias = frozenset[AttachedResource]

NONE: Final[Resources] = frozenset()


class Suspect(NamedTuple):
    """What a refusal is held against: a resource wherever it is added, or on `config` alone."""

    resource: AttachedResource
    config: ConfigName | None = None


def admitted(view: NicView, managed: Resources) -> NicView:
    """The NIC with those configurations excluded that have something attached that is not in `managed`."""
    foreign = {config.name: config for config in view.secondaries if config.attached - managed}
    if not foreign:
        return view
    configs = tuple(config for config in view.configs if config.name not in foreign)
    excluded = tuple(_excluded(config, managed) for config in foreign.values())
    return replace(view, configs=configs, excluded=view.excluded + excluded)


def _excluded(config: IPConfiguration, managed: Resources) -> ExcludedConfiguration:
    other = min(config.attached - managed)
    return ExcludedConfiguration(
        config.name,
        config.address,
        why=other.use,
        public=config.public,
        attached=config.attached & managed,
        size=config.size if config.ours else 0,
        span=config.size,
    )


def wishes(
    slots: Iterable[Slot], asked_by: Callable[[Holder], Resources | None], view: NicView
) -> dict[IPv4Address, Resources | None]:
    """What each assigned address should have attached; None where that is not known, and it stays as it is.

    `asked_by`: what the holder's pod asks for and may have; None while nothing is known of the pod.
    """
    asked = {slot.address: asked_by(slot.holder) for slot in serving(slots) if slot.holder is not None}
    owners = _owners(asked, view)
    wanted: dict[IPv4Address, Resources | None] = {slot.address: NONE for slot in slots if slot.holder is not None}
    for address, resources in asked.items():
        mine = frozenset(resource for resource in resources or () if owners.get(resource, address) == address)
        wanted[address] = None if resources is None else mine
    return wanted


def serving(slots: Iterable[Slot]) -> tuple[Slot, ...]:
    """Of each pod the address by which its clients know it, those of later pods last: the first of its newest sandbox.

    Another sandbox of it is about to end, and a further interface (Multus) is not the way to answer what comes from
    beyond the node.
    """
    first: dict[tuple[str, str, str, str], Slot] = {}
    held = ((slot.holder, slot) for slot in slots if slot.holder is not None)
    for holder, slot in sorted(held, key=lambda item: (item[1].since_s, int(item[1].address))):
        pod = (holder.pod_namespace, holder.pod_name, holder.pod_uid)
        first.setdefault((*pod, holder.sandbox.container_id), slot)
    return tuple({pod[:-1]: slot for pod, slot in first.items()}.values())


def _owners(asked: Mapping[IPv4Address, Resources | None], view: NicView) -> dict[AttachedResource, IPv4Address]:
    """Which address gets each public IP address: one whose pod asks for it, and that has it; else the first of them to
    which it can be attached.
    """
    shown = {config.address: config for config in view.all_secondaries}
    owners: dict[AttachedResource, IPv4Address] = {}
    for has_it in (True, False):
        for address, resources in asked.items():
            config = shown.get(address)
            for resource in resources or ():
                there = config is not None and resource in config.attached
                suits = there if has_it else config is not None and is_for_attachments(config)
                if resource.kind is AttachmentKind.PUBLIC_IP and suits:
                    owners.setdefault(resource, address)
    return owners


def changes(
    view: NicView,
    slots: Iterable[Slot],
    wanted: Mapping[IPv4Address, Resources | None],
    *,
    held_back: Collection[Suspect] = (),
    failed: Mapping[ConfigName, Resources] = MappingProxyType({}),
) -> tuple[AttachmentChange, ...]:
    """What to change on the NIC, in its order. `held_back` is not added now, to any ipConfiguration or to the
    one named: Azure has refused it a moment ago.

    `failed` is removed from these configurations, whoever wants it: the NIC shows it, and Azure could not attach it.
    """
    address_of = {slot.config: slot.address for slot in slots if slot.holder is not None}
    shown = NONE.union(*(config.attached for config in view.all_secondaries))
    if not shown and not any(wanted.values()):  # most nodes, in each pass
        return ()
    # A public IP address that moves is removed in one write and added in the next: Azure refuses both at once.
    later = {resource for resource in shown if resource.kind is AttachmentKind.PUBLIC_IP}
    later |= {resource for resource, only in held_back if only is None}
    later_there = {(resource, only) for resource, only in held_back if only is not None}
    found = []
    for config in view.all_secondaries:
        address = address_of.get(ConfigName(config.name))
        want = wanted.get(address, NONE) if address is not None else NONE
        want = (config.attached if want is None else want) - failed.get(ConfigName(config.name), NONE)
        add = want - config.attached - later if takes_attachments(config) else NONE
        add = frozenset(it for it in add if (it, config.name) not in later_there) if later_there else add
        remove = config.attached - want
        if add or remove:
            found.append(AttachmentChange(ConfigName(config.name), add, remove))
    return tuple(found)


def without(view: NicView, failed: Mapping[ConfigName, Resources]) -> NicView:
    """The NIC without what it shows and Azure could not attach."""
    if not failed:
        return view
    configs = (replace(it, attached=it.attached - failed.get(it.name, NONE)) for it in view.configs)
    return replace(view, configs=tuple(configs))


def lacking(view: NicView, wanted: Mapping[IPv4Address, Resources | None]) -> frozenset[Suspect]:
    """What some address should have and has not: each resource by itself, and with the address' ipConfiguration."""
    there = {config.address: config for config in view.all_secondaries}
    found: set[Suspect] = set()
    for address, want in wanted.items():
        config = there.get(address) if want else None
        missing = (want or NONE) - (config.attached if config is not None else NONE)
        found |= {Suspect(resource) for resource in missing}
        found |= {Suspect(resource, ConfigName(config.name)) for resource in missing if config is not None}
    return frozenset(found)


def is_for_attachments(config: IPConfiguration | ExcludedConfiguration) -> bool:
    """Whether azure-cni made it for one address, on such a NIC, and nothing of others is attached: else nothing ever is
    for a pod.
    """
    return isinstance(config, IPConfiguration) and config.ours and config.size == 1 and config.attachable


def takes_attachments(config: IPConfiguration | ExcludedConfiguration) -> bool:
    """Whether something may be attached to it now: Azure has finished it, too."""
    return is_for_attachments(config) and isinstance(config, IPConfiguration) and config.ready


def in_one_write(found: tuple[AttachmentChange, ...]) -> tuple[AttachmentChange, ...]:
    """What of the changes one NIC operation can say, what is removed first; the rest goes in the writes after it."""
    removed, added = (NONE.union(*sets) for sets in ([it.remove for it in found], [it.add for it in found]))
    told = frozenset(listable([*sorted(removed), *sorted(added - removed)]))
    reduced = (replace(it, add=_some(it.add & told), remove=_some(it.remove & told)) for it in found)
    return tuple(change for change in reduced if change.add or change.remove)


def _some(resources: Resources) -> Resources:
    return resources if len(resources) <= MOST_CHANGED else frozenset(sorted(resources)[:MOST_CHANGED])


def added_by(changes: Collection[AttachmentChange]) -> Resources:
    """All that is added."""
    return NONE.union(*(change.add for change in changes))


def after(view: NicView, found: Collection[AttachmentChange]) -> Resources:
    """All that is attached to secondaries once these changes are made."""
    removed = {change.config: change.remove for change in found}
    return added_by(found).union(*(it.attached - removed.get(ConfigName(it.name), NONE) for it in view.all_secondaries))


@dataclass(frozen=True, slots=True)
class AttachmentPace:
    """How often a node writes its NIC for what pods have attached: `left` writes could be made at boot time `since_s`.

    Pods' owners decide how often that changes, and each change would be a write from a budget that all nodes share. All
    changes that wait go in the next write, so a pace delays each by seconds and loses none.
    """

    left: float = ATTACH_WRITES_AT_ONCE
    since_s: float = 0.0

    def next_at_s(self, now_s: float) -> float:
        """Boot time from which the next write may be made; `now_s` if it may be made now."""
        return now_s + max(0.0, 1.0 - self.left_at(now_s)) * ATTACH_WRITE_S

    def after_write(self, now_s: float) -> AttachmentPace:
        """With one write less."""
        return AttachmentPace(max(0.0, self.left_at(now_s) - 1.0), now_s)

    def left_at(self, now_s: float) -> float:
        """How many may be made at once then; a part of one is on its way."""
        return min(ATTACH_WRITES_AT_ONCE, self.left + max(0.0, now_s - self.since_s) / ATTACH_WRITE_S)
