"""The model of an instance of a Uniform scale set: which ipConfigurations its NICs are to have. Pure.

The NIC of such an instance is read only; what changes it is a write of the instance with its network profile. Model and
NIC are two documents, and they can differ: an operation that failed may have changed the model alone, a removal may not
reach the NIC, and reimaging an instance puts its model back. So a view is of both. What only the model has comes with
the next write, whoever makes it: it is held, and no pod gets it. What only the NIC has would leave with that write: a
write of ours puts it back into the model. While the two differ the view says that the NIC has failed, and the cure is
the same as for any other: to write it once more.

A write sends the network profile and nothing else, because Azure leaves unchanged what is absent, and refuses some of
what it shows: an image of another tenant, for one. Of the profile it takes arrays as a whole, so all NICs go back as
they were read. Addresses are always Dynamic there, and only the NIC shows them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from azure_cni.azure import documents, nic_document
from azure_cni.azure.nic_document import Document, NicDocument
from azure_cni.errors import CloudUnreachable
from azure_cni.model.config_names import is_our_name
from azure_cni.model.nic import ConfigName, ExcludedConfiguration, IPConfiguration, NicView
from azure_cni.model.text import legible

_GROUPS: Final = "applicationSecurityGroups"


@dataclass(frozen=True, slots=True)
class InstanceModel:
    """An instance, as far as its network goes, and that of one of its NICs: `configs` as they were read, by name."""

    etag: str
    state: str
    location: str
    nics: tuple[Document, ...]
    nic: str
    configs: Mapping[str, Document]

    @property
    def settled(self) -> bool:
        """No operation works on it now."""
        return self.state in nic_document.ENDS

    @property
    def failed(self) -> bool:
        """The last operation ended badly."""
        return self.state in nic_document.FAILED


def decoded(document: Document, nic: str, *, what: str) -> InstanceModel:
    """The instance with the model of its NIC of that name; CloudUnreachable when it lacks what a write needs."""
    shown = documents.decoded(document, documents.InstanceShape, what=what)
    models = [documents.decoded(raw, documents.NicModel, what=what) for raw in shown.nics]
    mine = next((model for model in models if model.name.lower() == nic.lower()), None)
    if mine is not None and shown.etag:
        found = mine.properties.ip_configurations or []
        configs = {documents.decoded(one, documents.ConfigurationModel, what=what).name: one for one in found}
        if len(configs) < len(found):
            raise CloudUnreachable(f"cannot {what}: two ipConfigurations of NIC {legible(nic)} have one name")
        state = (shown.properties.provisioning_state or "").lower()
        return InstanceModel(shown.etag, state, shown.location, tuple(shown.nics), mine.name, configs)
    raise CloudUnreachable(
        f"cannot {what}: the answer has no etag, or no network profile with NIC {legible(nic)}: is it an instance of a "
        "Uniform scale set?"
    )


def differs(model: InstanceModel, nic: NicDocument) -> bool:
    """Whether model and NIC name different configurations. While an operation works on one of them, they may."""
    return _names(model.configs) != _names(config.name for config in nic.configs)


def view(model: InstanceModel, nic: NicDocument, shown: NicView, *, shrink: bool) -> NicView:
    """Both as one NIC, of which `shown` is what the NIC's document says. Without `shrink`, what is on the NIC stays.

    Its etag is that of the instance: the only one that guards a write.
    """
    there = _names(config.name for config in nic.configs)
    coming = [name for name in model.configs if name.lower() not in there]
    # What somebody has attached to one of ours is somebody else's here: nothing is attached, or removed, for a pod.
    free = [config for config in shown.configs if config.primary or not config.attached]
    used = [config for config in shown.configs if config not in free]
    configs = tuple(replace(config, kept=config.ours and not shrink, attachable=False) for config in free)
    why = "is in the model of the instance, and not on its NIC"
    settled = shown.settled and model.settled
    return replace(
        shown,
        etag=model.etag,
        settled=settled,
        failed=shown.failed or model.failed or (settled and differs(model, nic)),
        configs=configs + tuple(_coming(name) for name in coming if is_our_name(name)),
        excluded=shown.excluded
        + tuple(
            ExcludedConfiguration(
                it.name, it.address, min(it.attached).use, public=it.public, size=it.size, span=it.size
            )
            for it in used
        )
        + tuple(ExcludedConfiguration(name, None, why) for name in coming if not is_our_name(name)),
    )


def removable(model: InstanceModel, nic: NicDocument, *, shrink: bool) -> set[ConfigName]:
    """What this product made and may remove: what only the model has, and with `shrink` what is on the NIC, too."""
    there = _names(config.name for config in nic.configs)
    coming = {ConfigName(name) for name in model.configs if is_our_name(name) and name.lower() not in there}
    return coming | (nic_document.removable(nic) if shrink else set())


def changed(
    model: InstanceModel,
    nic: NicDocument,
    *,
    observed: NicView,
    add: Iterable[ConfigName] = (),
    remove: Collection[ConfigName] = (),
) -> dict[str, Any]:
    """The document to write: the view of both without `remove`, and with new configurations named as in `add`.

    What only the NIC has is put back if it was `observed` when the write was decided: a read that lags may show again
    what has left, and no grant covers that.
    """
    there, known, leaving = _names(model.configs), _names(config.name for config in observed.configs), _names(remove)
    lost = [name for name in sorted(nic_document.ours(nic)) if name.lower() in known - there]
    kept = [_kept(name, raw, nic) for name, raw in model.configs.items() if name.lower() not in leaving]
    return _body(model, kept + [_new(name, model, nic) for name in (*lost, *add) if name.lower() not in leaving])


def regrouped(model: InstanceModel, nic: NicDocument, groups: Iterable[str], *, observed: NicView) -> dict[str, Any]:
    """The document to write: every configuration in these application security groups, and in no other."""
    references = [{"id": group} for group in groups]
    configs = changed(model, nic, observed=observed)["properties"]["networkProfileConfiguration"][
        "networkInterfaceConfigurations"
    ]
    mine = next(one for one in configs if one["name"] == model.nic)["properties"]["ipConfigurations"]
    return _body(model, [_in_groups(config, references) for config in mine])


def _coming(name: str) -> IPConfiguration:
    return IPConfiguration(ConfigName(name), None, primary=False, ready=False, attachable=False)


def _body(model: InstanceModel, configs: list[Document]) -> dict[str, Any]:
    nics = [
        {**raw, "properties": {**raw["properties"], "ipConfigurations": configs}} if raw["name"] == model.nic else raw
        for raw in model.nics
    ]
    profile = {"networkInterfaceConfigurations": nics}
    return {"location": model.location, "properties": {"networkProfileConfiguration": profile}}


def _kept(name: str, raw: Document, nic: NicDocument) -> Document:
    """As it was read. A sole configuration need not say that it is the primary one; beside others it must."""
    if nic.primary is None or name.lower() != nic.primary.name.lower():
        return raw
    return {**raw, "properties": {**raw["properties"], "primary": True}}


def _new(name: ConfigName, model: InstanceModel, nic: NicDocument) -> Document:
    """In the subnet and the application security groups of the primary one, and in none of its pools."""
    named = nic.primary.name.lower() if nic.primary else None
    primary = next((raw for key, raw in model.configs.items() if key.lower() == named), None)
    properties = primary.get("properties") if primary else None
    if not isinstance(properties, Mapping) or not properties.get("subnet"):
        raise CloudUnreachable(
            f"cannot add to NIC {legible(nic.shown.id)}: the model of its instance names no subnet for the NIC's "
            "primary ipConfiguration"
        )
    kept = {key: properties[key] for key in ("subnet", _GROUPS) if properties.get(key)}
    return {"name": name, "properties": {"primary": False, "privateIPAddressVersion": "IPv4", **kept}}


def _in_groups(raw: Document, references: list[dict[str, str]]) -> Document:
    kept = {key: value for key, value in raw["properties"].items() if key != _GROUPS}
    return {**raw, "properties": {**kept, **({_GROUPS: references} if references else {})}}


def _names(names: Iterable[str]) -> set[str]:
    return {name.lower() for name in names}
