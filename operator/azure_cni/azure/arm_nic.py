"""The NIC behind the resource manager: read whole, changed, written whole, and only if it is still as it was read.

A write reads the NIC first, continues only if the NIC is still the one that the caller decided on, and also sends
If-Match: no recording shows that Azure honours it on NICs, so neither check is trusted alone. Between calls only the
configurations that worked are kept, because a NIC under an operation does not say which of its addresses worked before.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Network
from random import Random
from typing import Any

from azure_cni.azure import nic_document
from azure_cni.azure.arm import Arm
from azure_cni.azure.nic_changes import (
    StateLog,
    logged_write,
    new_names,
    refuse_foreign,
    refuse_parts,
    refuse_too_many,
)
from azure_cni.azure.nic_document import NicDocument
from azure_cni.azure.nics_beside import NicsBeside
from azure_cni.azure.resources import Resource
from azure_cni.errors import REFUSALS, PreconditionFailed, RequestRefused, ResourceBusy
from azure_cni.model.config_names import is_our_name, made_here
from azure_cni.model.ipv6 import NO_IPV6, IPv6Growth
from azure_cni.model.nic import Adopt, AttachmentChange, ConfigName, NicID, NicView, StaticConfiguration


class ArmNic:
    """Implements `azure_cni.node.azure_ports.Nic` for the NIC of that id. `chance` names new configurations; `beside`
    are the VM's further NICs.
    """

    conclusive = REFUSALS
    recovers = True
    takes_blocks = True

    def __init__(
        self, arm: Arm, nic_id: NicID, *, chance: Random, adopt: Adopt = Adopt.PLAIN, beside: Sequence[NicID] = ()
    ) -> None:
        self._arm = arm
        self._resource = Resource.parse(nic_id)
        self._chance = chance
        self._adopt = adopt
        self._states = StateLog()
        self._working: Mapping[ConfigName, IPv4Address | IPv6Network] = {}
        self._beside = NicsBeside(arm, beside)

    async def read(self) -> NicView:
        """One GET, and one of each further NIC."""
        document = await self._document()
        return self._view_of(document, beside=await self._beside.count())

    async def write(
        self,
        observed: NicView,
        *,
        add: int = 0,
        size: int = 1,
        remove: Collection[ConfigName] = (),
        attach: Sequence[AttachmentChange] = (),
        ipv6: IPv6Growth = NO_IPV6,
    ) -> NicView:
        """One change of the NIC as the port says; one whose last operation failed is written in any case."""
        what = f"change {self._resource.label}"
        refuse_parts(add=add, size=size, what=what)
        nic = await self._document()
        leaving = _refuse(nic, observed, add=add // size + ipv6.configs, remove=remove, attach=attach, what=what)
        if remove and not leaving and not (add or attach or ipv6 or nic.failed):
            return self._view_of(nic, beside=observed.beside)
        there = {config.name.lower() for config in nic.configs}
        names = new_names(self._chance, add=add, size=size, ipv6=ipv6, taken=there)
        body = nic_document.changed(nic, add=names, remove=leaving, attach=attach)
        done = await self._put(nic, body, added=len(names), removed=len(leaving), attached=len(attach))
        return self._view_of(done, beside=observed.beside)

    async def recover(self, observed: NicView, configs: Sequence[StaticConfiguration]) -> NicView:
        """As the port says."""
        nic = await self._document()
        what = f"take addresses back for {self._resource.label}"
        _refuse(nic, observed, add=len(configs), remove=(), attach=(), what=what)
        refuse_foreign({one.name for one in configs if not made_here(one.name, static=True)}, what=what)
        body = nic_document.changed(nic, add=configs, remove=())
        return self._view_of(await self._put(nic, body, added=len(configs)), beside=observed.beside)

    async def set_security_groups(self, observed: NicView, groups: Sequence[str]) -> NicView:
        """As the port says."""
        nic = await self._document()
        what = f"change the application security groups of {self._resource.label}"
        _refuse(nic, observed, add=0, remove=(), attach=(), what=what)
        done = await self._put(nic, nic_document.regrouped(nic, groups), regrouped=True)
        return self._view_of(done, beside=observed.beside)

    async def _document(self) -> NicDocument:
        return nic_document.check(await self._arm.get(self._resource), what=f"read {self._resource.label}")

    async def _put(
        self,
        before: NicDocument,
        body: dict[str, Any],
        *,
        added: int = 0,
        removed: int = 0,
        attached: int = 0,
        regrouped: bool = False,
    ) -> NicDocument:
        """Write and log it."""
        configs = len(before.configs)
        asked = {"nic": self._resource.name, "configs_before": configs, "add": added, "remove": removed}
        asked |= {"attach": attached} if attached else {}
        asked |= {"regrouped": True} if regrouped else {}
        with logged_write(**asked) as done:
            changes = bool(added or removed or attached or regrouped)
            answer = await self._arm.put(self._resource, body, if_match=before.etag, changes=changes)
            after = nic_document.check(answer, what=f"write {self._resource.label}")
            done |= {"configs": len(after.configs), "etag": after.etag}
        return after

    def _view_of(self, nic: NicDocument, *, beside: int) -> NicView:
        """`beside` as counted, or as observed before a write: that changes no other NIC, and may be a controller's."""
        self._states.note(nic.state)
        view = replace(nic_document.view(nic, working=self._working, adopt=self._adopt), beside=beside)
        self._working = view.working
        return view


def _refuse(
    nic: NicDocument,
    observed: NicView,
    *,
    add: int,
    remove: Collection[ConfigName],
    attach: Sequence[AttachmentChange],
    what: str,
) -> set[ConfigName]:
    """The configurations that will leave, for `add` new ones; raises before anything is written that must not be."""
    refuse_foreign({name for name in remove if not is_our_name(name)}, what=what)
    if nic.etag != observed.etag:
        raise PreconditionFailed(f"cannot {what}: it changed since it was read ({observed.etag}, now {nic.etag})")
    if not nic.settled:
        raise ResourceBusy(f"cannot {what}: Azure is still working on an earlier change of it")
    if others := {change.config for change in attach} - nic_document.attachable(nic):
        raise RequestRefused(
            f"cannot {what}: {', '.join(sorted(others))} was not made by azure-cni, which attaches nothing to others'"
        )
    leaving = {ConfigName(config.name) for config in nic.configs} & set(remove)
    refuse_foreign(leaving - nic_document.removable(nic), what=what)
    refuse_too_many(len(nic.configs) - len(leaving) + add, add=add, beside=observed.beside, what=what)
    return leaving
