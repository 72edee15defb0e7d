"""The NIC of an instance of a Uniform scale set: read as a NIC, changed by writes of the instance's model.

`scale_set_model` says how the two belong together. The instance is read before its NIC: an operation that ends between
the two reads leaves the NIC newer, and a write that is decided from that is refused by the instance's etag. A write is
done when the NIC shows it: an operation may have Succeeded, and have changed nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from ipaddress import IPv4Address
from random import Random
from typing import Any, Final

from azure_cni.azure import nic_document, scale_set_model
from azure_cni.azure.arm import Arm
from azure_cni.azure.nic_changes import StateLog, logged_write, new_names, refuse_foreign, refuse_too_many
from azure_cni.azure.nic_document import Document, NicDocument
from azure_cni.azure.polling import LAGGING_S
from azure_cni.azure.resources import Resource
from azure_cni.azure.scale_set_model import InstanceModel
from azure_cni.errors import REFUSALS, OutcomeUnknown, PreconditionFailed, RequestRefused, ResourceBusy
from azure_cni.model.config_names import is_our_name
from azure_cni.model.ipv6 import NO_IPV6, IPv6Growth
from azure_cni.model.nic import Adopt, AttachmentChange, ConfigName, NicID, NicView, StaticConfiguration
from azure_cni.model.text import addresses

REREADS_S: Final = LAGGING_S[:2]
"""Pauses before the NIC is read again that differs from its instance's model, though nothing works on either: a read
may lag."""


class ScaleSetNic:
    """Implements `azure_cni.node.azure_ports.Nic` for the NIC of that id. `chance` names new configurations.

    Without `shrink` no address is taken off the NIC: what only the model has may leave it.
    """

    conclusive = REFUSALS
    recovers = False
    takes_blocks = False

    def __init__(
        self, arm: Arm, nic_id: NicID, *, chance: Random, adopt: Adopt = Adopt.PLAIN, shrink: bool = False
    ) -> None:
        self._arm = arm
        self._nic = Resource.parse(nic_id)
        self._instance = Resource.parse(self._nic.instance_id)
        self._chance = chance
        self._adopt = adopt
        self._shrink = shrink
        self._states = StateLog()
        self._working: dict[ConfigName, IPv4Address] = {}

    async def read(self) -> NicView:
        """One GET of the instance, and one of its NIC; more only where a read lags."""
        return self._view_of(*await self._documents())

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
        """One write of the instance, as the port says; nothing can be attached to a pod's configuration."""
        what = f"change {self._nic.label}"
        if size != 1 or ipv6:
            raise RequestRefused(
                f"cannot {what}: an instance of a Uniform scale set gets no blocks of addresses, and none of IPv6"
            )
        self._arm.instance_gate.check(self._instance, what=what)
        model, nic = await self._documents()
        self._refuse_early(model, nic, observed, remove=remove, attach=attach, what=what)
        names = (*model.configs, *(config.name for config in nic.configs))
        there = {name.lower(): ConfigName(name) for name in names}  # to Azure, two that differ in case are one
        leaving = set(there.values()) & set(remove)
        self._refuse_kept(leaving - scale_set_model.removable(model, nic, shrink=self._shrink), what=what)
        refuse_too_many(len(there) - len(leaving) + add, add=add, what=what)
        if remove and not leaving and not add and not self._view_of(model, nic).failed:
            return self._view_of(model, nic)
        new = new_names(self._chance, add=add, taken=set(there))
        body = scale_set_model.changed(model, nic, observed=observed, add=new, remove=leaving)
        return await self._put(model, nic, body, added=new, removed=leaving)

    async def recover(self, observed: NicView, configs: Sequence[StaticConfiguration]) -> NicView:
        """Refused: the model of an instance names no addresses."""
        raise RequestRefused(
            f"cannot take {addresses(len(configs))} back for {observed.nic_id}: Azure chooses the addresses of an "
            "instance of a Uniform scale set"
        )

    async def set_security_groups(self, observed: NicView, groups: Sequence[str]) -> NicView:
        """As the port says."""
        what = f"change the application security groups of {self._nic.label}"
        self._arm.instance_gate.check(self._instance, what=what)
        model, nic = await self._documents()
        self._refuse_early(model, nic, observed, remove=(), attach=(), what=what)
        body = scale_set_model.regrouped(model, nic, groups, observed=observed)
        return await self._put(model, nic, body, regrouped=True)

    async def _documents(self) -> tuple[InstanceModel, NicDocument]:
        model = self._model(await self._arm.get(self._instance))
        nic = await self._document()
        for pause_s in REREADS_S:
            if (
                model.failed
                or nic.failed
                or not (model.settled and nic.settled and scale_set_model.differs(model, nic))
            ):
                break
            await self._arm.pause(pause_s)
            nic = await self._document()
        return model, nic

    def _model(self, found: Document) -> InstanceModel:
        return scale_set_model.decoded(found, self._nic.name, what=f"read {self._instance.label}")

    async def _document(self) -> NicDocument:
        return nic_document.check(await self._arm.get(self._nic), what=f"read {self._nic.label}")

    async def _put(
        self,
        model: InstanceModel,
        nic: NicDocument,
        body: dict[str, Any],
        *,
        added: Collection[ConfigName] = (),
        removed: Collection[ConfigName] = (),
        regrouped: bool = False,
    ) -> NicView:
        asked = {
            "nic": self._nic.name,
            "instance": self._instance.label,
            "configs_before": len(nic.configs),
            "add": len(added),
            "remove": len(removed),
        } | ({"regrouped": True} if regrouped else {})
        with logged_write(**asked) as done:
            # Whether the etag counts every write is not documented: what the NIC shows decides.
            found = await self._arm.put(self._instance, body, if_match=model.etag, changes=False)
            view = await self._shown(self._model(found), added=set(added), removed=set(removed))
            done |= {"configs": view.config_count, "etag": view.etag}
        return view

    async def _shown(self, model: InstanceModel, *, added: set[ConfigName], removed: set[ConfigName]) -> NicView:
        """The NIC once it shows the write that left this model; OutcomeUnknown when it does not within a while.

        The instance is not read once more: Azure allows 12 reads of one a minute, and a write has taken two.
        """
        for pause_s in (*LAGGING_S, None):
            view = self._view_of(model, await self._document())
            missing = added - {config.name for config in view.configs if config.address is not None}
            left = removed & {config.name for config in view.configs}
            if not missing and not left and (view.settled or pause_s is None):
                return view
            if pause_s is not None:
                await self._arm.pause(pause_s)
        raise OutcomeUnknown(
            f"cannot write {self._instance.label}: Azure says that it is done, and of the ipConfigurations on "
            f"{self._nic.label} {len(missing)} are missing, and {len(left)} should be gone"
        )

    def _view_of(self, model: InstanceModel, nic: NicDocument) -> NicView:
        self._states.note(nic.state if model.settled else model.state)
        shown = nic_document.view(nic, working=self._working, adopt=self._adopt)
        self._working = {config.name: config.address for config in shown.configs if config.ready and config.address}
        return scale_set_model.view(model, nic, shown, shrink=self._shrink)

    def _refuse_early(
        self,
        model: InstanceModel,
        nic: NicDocument,
        observed: NicView,
        *,
        remove: Collection[ConfigName],
        attach: Sequence[AttachmentChange],
        what: str,
    ) -> None:
        refuse_foreign({name for name in remove if not is_our_name(name)}, what=what)
        if model.etag != observed.etag:
            raise PreconditionFailed(
                f"cannot {what}: its instance changed since it was read ({observed.etag}, now {model.etag})"
            )
        if not (model.settled and nic.settled):
            raise ResourceBusy(f"cannot {what}: Azure is still working on an earlier change of it")
        if attach:
            raise RequestRefused(
                f"cannot {what}: pods of a Uniform scale set get no load balancer pool and no public IP address of "
                "their own; use plain VMs or a Flexible scale set for them"
            )

    def _refuse_kept(self, names: Collection[ConfigName], *, what: str) -> None:
        if names and not self._shrink:
            raise RequestRefused(
                f"cannot {what}: no address is taken off the NIC of an instance of a Uniform scale set "
                f"({', '.join(sorted(names))}) unless scaleSets.shrink is true"
            )
        refuse_foreign(names, what=what)
