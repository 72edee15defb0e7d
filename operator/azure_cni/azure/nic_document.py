"""A NIC's document: what the rest of the product may know of it, and the document that a write sends back. Pure.

A write replaces the whole NIC: what is left out is deleted or falls back to its default. So a change is a copy of what
was read with configurations taken out and put in, and everything else as it came, known to us or not; Azure ignores
the fields that are its own. A Dynamic configuration keeps its address for as long as it exists.

Of the configurations one is the primary, some are for pods, and the rest is excluded and written back like the others:
what cannot be read, what no pod can use (IPv6, blocks), what serves somebody else, what shows an address twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any, Final, TypeAlias

from azure_cni.api.nic import (
    Adopt,
    ConfigName,
    ExcludedConfiguration,
    IPConfiguration,
    NicID,
    NicView,
    is_our_name,
)
from azure_cni.api.text import legible
from azure_cni.azure import documents, ip_configurations
from azure_cni.azure.ip_configurations import SUCCEEDED, Configuration
from azure_cni.errors import CloudUnreachable

Document: TypeAlias = Mapping[str, Any]

FAILED: Final = frozenset({"failed", "canceled"})
ENDS: Final = FAILED | {SUCCEEDED}
"""provisioningState, in lower case, once no operation works on the NIC. Any other, also one not known here, is of an
operation under way: to wait for it costs time, and to write into it could cost a pod its address."""
RUNNING: Final = frozenset({"creating", "updating", "deleting"})
"""Those that Azure documents for an operation under way."""


@dataclass(frozen=True, slots=True)
class NicDocument:
    """A NIC's document, decoded: `raw` is what Azure sent."""

    raw: Document
    shown: documents.Nic
    configs: tuple[Configuration, ...]

    @property
    def etag(self) -> str:
        """Of the NIC as it was read."""
        return self.shown.etag or ""

    @property
    def mac(self) -> str:
        """As Azure writes it, "" for a NIC that was never attached."""
        return self.shown.properties.mac_address or ""

    @property
    def state(self) -> str:
        """Its provisioningState in lower case."""
        return (self.shown.properties.provisioning_state or "").lower()

    @property
    def settled(self) -> bool:
        """No operation works on it now."""
        return self.state in ENDS

    @property
    def failed(self) -> bool:
        """The last operation ended badly. Writing the NIC again, even unchanged, is Azure's documented cure."""
        return self.state in FAILED

    @property
    def primary(self) -> Configuration | None:
        """The first that says so; a sole one is primary without saying so."""
        flagged = next((config for config in self.configs if config.readable and config.flagged), None)
        return flagged or (self.configs[0] if len(self.configs) == 1 and self.configs[0].readable else None)


def decoded(document: Document, *, what: str) -> NicDocument:
    """A NIC's document; CloudUnreachable when it is another's, whatever its configurations."""
    shown = documents.decoded(document, documents.Nic, what=what)
    return NicDocument(document, shown, tuple(map(ip_configurations.read, shown.properties.ip_configurations or ())))


def check(document: Document, *, what: str) -> NicDocument:
    """The document decoded, if it has all that is needed to write it back; CloudUnreachable otherwise."""
    nic = decoded(document, what=what)
    if nic.etag and nic.primary is not None:
        return nic
    raise CloudUnreachable(f"cannot {what}: the answer has no etag, or no primary ipConfiguration: is it a NIC?")


def view(
    nic: NicDocument | Document, *, known: Mapping[ConfigName, IPv4Address], adopt: Adopt = Adopt.PLAIN
) -> NicView:
    """The NIC as the product sees it.

    While Azure works on a NIC it shows all its configurations as Updating, also those that have worked for days.
    `known` are those seen working before: with the same address they are ready still.
    """
    nic = _checked(nic)
    configs: list[IPConfiguration] = []
    excluded: list[ExcludedConfiguration] = []
    names = Counter(config.name.lower() for config in nic.configs)
    taken = _addresses_of_others(nic)
    for config in nic.configs:
        is_primary = config is nic.primary
        why = "" if is_primary else _why(config, taken=taken, adopt=adopt, alone=names[config.name.lower()] == 1)
        if why:
            excluded.append(ExcludedConfiguration(config.name, config.address, why, public=config.public))
            continue
        configs.append(_shown(config, primary=is_primary, known=known))
        if config.address is not None:
            taken.setdefault(config.address, f"shows the address of {config.name}")
    return NicView(
        NicID(nic.shown.id), nic.etag, nic.settled, tuple(configs), failed=nic.failed, excluded=tuple(excluded)
    )


def changed(
    nic: NicDocument | Document, *, add: Iterable[ConfigName], remove: Collection[ConfigName]
) -> dict[str, Any]:
    """The document to write: without our configurations in `remove`, with new ones named as in `add`.

    New ones are in the primary's subnet and application security groups (Azure wants those alike on all of a NIC),
    and in none of its load balancer pools: those are the node's. A sole configuration that does not say that it is the
    primary says so from now on, else Azure refuses the second one.
    """
    nic = _checked(nic)
    leaving = set(remove) & ours(nic)
    kept = [_kept(config, nic.primary) for config in nic.configs if config.name not in leaving]
    properties = {**nic.raw["properties"], "ipConfigurations": kept + [_new(name, nic) for name in add]}
    return {**nic.raw, "properties": properties}


def ours(nic: NicDocument | Document) -> set[ConfigName]:
    """The configurations that this product made and may delete."""
    return {config.name for config in view(nic, known={}).secondaries if config.ours}


def _checked(nic: NicDocument | Document) -> NicDocument:
    return nic if isinstance(nic, NicDocument) else check(nic, what="use a NIC")


def _addresses_of_others(nic: NicDocument) -> dict[IPv4Address, str]:
    """The addresses that are in use by more than a pod, and what a configuration does that shows one of them."""
    others = {config.address: config.name for config in nic.configs if config.why and config.address is not None}
    taken = {address: f"shows the address of {name or 'another'}" for address, name in others.items()}
    if nic.primary is not None and nic.primary.address is not None:
        taken[nic.primary.address] = "shows the node's own address"
    return taken


def _why(config: Configuration, *, taken: Mapping[IPv4Address, str], adopt: Adopt, alone: bool) -> str:
    """Why no pod gets a secondary, "" if one may."""
    if config.why:
        return config.why
    if config.flagged:
        return "says that it is the primary, and another one is"
    if not alone:
        return "has the name of another"
    if config.address is not None and config.address in taken:
        return taken[config.address]
    return "" if is_our_name(config.name) and config.dynamic else _why_not_of_others(config, adopt)


def _why_not_of_others(config: Configuration, adopt: Adopt) -> str:
    """One that others made and that serves nobody. Without an address it would count as held, and never be of use."""
    if config.address is None:
        return "has no address"
    return "was not made by azure-cni, and azure.adopt is none" if adopt is Adopt.NONE else ""


def _shown(config: Configuration, *, primary: bool, known: Mapping[ConfigName, IPv4Address]) -> IPConfiguration:
    name = ConfigName(config.name)
    ready = config.works or (config.address is not None and known.get(name) == config.address)
    return IPConfiguration(name, config.address, primary=primary, ready=ready, static=not config.dynamic)


def _kept(config: Configuration, primary: Configuration | None) -> Any:
    if config is not primary or config.flagged:
        return config.raw
    return {**config.raw, "properties": {**config.raw["properties"], "primary": True}}


def _new(name: ConfigName, nic: NicDocument) -> dict[str, Any]:
    if nic.primary is None or not nic.primary.subnet_id:
        raise CloudUnreachable(
            f"cannot add to NIC {legible(nic.shown.id)}: its primary ipConfiguration names no subnet"
        )
    groups = nic.primary.properties.application_security_groups
    return {
        "name": name,
        "properties": {
            "privateIPAllocationMethod": "Dynamic",
            "privateIPAddressVersion": "IPv4",
            "primary": False,
            "subnet": {"id": nic.primary.subnet_id},
            **({"applicationSecurityGroups": groups} if groups else {}),
        },
    }
