"""A NIC's document: the view of it for the rest of the product, and the document that a write sends back. Pure.

A write replaces the whole NIC: an omitted field is deleted or falls back to its default. So a change copies what was
read, removes or adds configurations, and keeps everything else, including fields that we do not know; Azure ignores
the fields that it owns. A Dynamic configuration keeps its address as long as it exists.

One configuration is the primary, some are for pods, and the rest is excluded (`pod_configurations`) but written back
like the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Network
from typing import Any, Final, TypeAlias

from azure_cni.azure import documents, ip_configurations, pod_configurations
from azure_cni.azure.ip_configurations import SUCCEEDED, Configuration
from azure_cni.errors import CloudUnreachable
from azure_cni.model.attachments import AttachedResource, AttachmentKind
from azure_cni.model.config_names import is_block_name, is_ipv6_block_name, is_ipv6_name
from azure_cni.model.ipv6 import IPV6_BLOCK_LENGTH, IPv6Configuration
from azure_cni.model.nic import (
    BLOCK_LENGTH,
    Adopt,
    AttachmentChange,
    ConfigName,
    ExcludedConfiguration,
    IPConfiguration,
    NicID,
    NicView,
    StaticConfiguration,
)
from azure_cni.model.text import legible

Document: TypeAlias = Mapping[str, Any]
Working: TypeAlias = Mapping[ConfigName, IPv4Address | IPv6Network]
"""What worked before, of each configuration."""

FAILED: Final = frozenset({"failed", "canceled"})
ENDS: Final = FAILED | {SUCCEEDED}
"""provisioningState, in lower case, once no operation works on the NIC. Any other, also one not known here, is of an
operation under way: to wait for it costs time, and to write into it could cost a pod its address."""
RUNNING: Final = frozenset({"creating", "updating", "deleting"})
"""Those that Azure documents for an operation under way."""

_POOLS: Final = "loadBalancerBackendAddressPools"
_PUBLIC_IP: Final = "publicIPAddress"


@dataclass(frozen=True, slots=True)
class NicDocument:
    """A NIC's document, decoded: `raw` is what Azure sent."""

    raw: Document
    shown: documents.NicShape
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
    def vm_id(self) -> str:
        """The resource ID of the VM that it is on; "" for one that is on none, or where that cannot be read."""
        vm = documents.readable(self.shown.properties.virtual_machine, documents.Reference)
        return (vm.id if vm is not None else None) or ""

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
    shown = documents.decoded(document, documents.NicShape, what=what)
    return NicDocument(document, shown, tuple(map(ip_configurations.read, shown.properties.ip_configurations or ())))


def check(document: Document, *, what: str) -> NicDocument:
    """The document decoded, if it has all that is needed to write it back; CloudUnreachable otherwise."""
    nic = decoded(document, what=what)
    if nic.etag and nic.primary is not None:
        return nic
    raise CloudUnreachable(f"cannot {what}: the answer has no etag, or no primary ipConfiguration: is it a NIC?")


def view(nic: NicDocument | Document, *, working: Working, adopt: Adopt = Adopt.PLAIN) -> NicView:
    """The NIC as the product sees it.

    While Azure works on a NIC it shows all its configurations as Updating, also those that have worked for days.
    `working` are those that worked before: with the same address they are still ready.
    """
    nic = _checked(nic)
    configs: list[IPConfiguration] = []
    excluded: list[ExcludedConfiguration] = []
    ipv6: list[IPv6Configuration] = []
    reasons = pod_configurations.exclusions(nic.configs, primary=nic.primary, adopt=adopt)
    for config, why in zip(nic.configs, reasons, strict=True):
        if pod_configurations.is_our_ipv6(config, nic.configs):
            ipv6.append(_shown_ipv6(config, working=working))
        elif why:
            excluded.append(
                ExcludedConfiguration(config.name, config.address, why, public=config.public, span=config.size)
            )
        else:
            configs.append(_shown(config, primary=config is nic.primary, working=working))
    return NicView(
        NicID(nic.shown.id),
        nic.etag,
        nic.settled,
        tuple(configs),
        failed=nic.failed,
        excluded=tuple(excluded),
        security_groups=nic.primary.security_groups if nic.primary else (),
        ipv6=tuple(ipv6),
    )


def changed(
    nic: NicDocument | Document,
    *,
    add: Iterable[ConfigName | StaticConfiguration],
    remove: Collection[ConfigName],
    attach: Iterable[AttachmentChange] = (),
) -> dict[str, Any]:
    """The document to write: without our configurations in `remove`, with new ones as in `add` (Dynamic, where they are
    only named), and with the changes `attach` of what ours have attached.

    Its name says what a new one is: a block (`is_block_name`), or of IPv6 (`is_ipv6_name`). New ones are in the
    primary's subnet and application security groups (Azure wants those alike on all of a NIC), and in none of its load
    balancer pools: those are the node's. A sole configuration that does not say that it is the primary says so from now
    on, else Azure refuses the second one.
    """
    nic = _checked(nic)
    leaving, changes = set(remove) & removable(nic), {change.config: change for change in attach}
    kept = [
        _attached(config, changes[ConfigName(config.name)]) if config.name in changes else _kept(config, nic.primary)
        for config in nic.configs
        if config.name not in leaving
    ]
    properties = {**nic.raw["properties"], "ipConfigurations": kept + [_new(one, nic) for one in add]}
    return {**nic.raw, "properties": properties}


def regrouped(nic: NicDocument | Document, groups: Iterable[str]) -> dict[str, Any]:
    """The document to write: every configuration in these application security groups, others' too, and in no other."""
    nic = _checked(nic)
    references = [{"id": group} for group in groups]
    configs = [_in_groups(_kept(config, nic.primary), references) for config in nic.configs]
    return {**nic.raw, "properties": {**nic.raw["properties"], "ipConfigurations": configs}}


def _in_groups(raw: Any, references: list[dict[str, str]]) -> Any:
    if not isinstance(raw, Mapping) or not isinstance(raw.get("properties"), Mapping):
        return raw
    kept = {key: value for key, value in raw["properties"].items() if key != "applicationSecurityGroups"}
    return {**raw, "properties": {**kept, **({"applicationSecurityGroups": references} if references else {})}}


def ours(nic: NicDocument | Document) -> set[ConfigName]:
    """The configurations for pods that this product made."""
    return {config.name for config in view(nic, working={}).secondaries if config.ours}


def removable(nic: NicDocument | Document) -> set[ConfigName]:
    """What may be deleted: those of them to which nothing is attached, and single addresses of IPv6."""
    shown = view(nic, working={})
    return {config.name for config in shown.secondaries if config.ours and not config.attached} | {
        config.name for config in shown.ipv6 if not config.block
    }


def _checked(nic: NicDocument | Document) -> NicDocument:
    return nic if isinstance(nic, NicDocument) else check(nic, what="use a NIC")


def attachable(nic: NicDocument | Document) -> set[ConfigName]:
    """The configurations whose attachments this product may change: those that it made, and of which each is one."""
    nic = _checked(nic)
    names = Counter(config.name.lower() for config in nic.configs)
    return {
        ConfigName(config.name)
        for config in nic.configs
        if config.readable
        and config is not nic.primary
        and pod_configurations.is_ours(config)
        and not is_ipv6_name(config.name)
        and names[config.name.lower()] == 1
    }


def _shown(config: Configuration, *, primary: bool, working: Working) -> IPConfiguration:
    name = ConfigName(config.name)
    ready = config.works or (config.address is not None and working.get(name) == config.address)
    attached = frozenset() if primary else config.attached
    return IPConfiguration(
        name,
        config.address,
        primary=primary,
        ready=ready,
        static=not config.dynamic,
        size=config.size,
        attached=attached,
    )


def _shown_ipv6(config: Configuration, *, working: Working) -> IPv6Configuration:
    name = ConfigName(config.name)
    ready = config.works or (config.ipv6 is not None and working.get(name) == config.ipv6)
    return IPv6Configuration(name, config.ipv6, ready=ready, block=is_ipv6_block_name(name))


def _kept(config: Configuration, primary: Configuration | None) -> Any:
    if config is not primary or config.flagged:
        return config.raw
    return {**config.raw, "properties": {**config.raw["properties"], "primary": True}}


def _attached(config: Configuration, change: AttachmentChange) -> dict[str, Any]:
    """The configuration with the change made. References that stay go back as they were read."""
    properties = dict(config.raw["properties"])
    pools, public_ip = properties.get(_POOLS) or [], properties.get(_PUBLIC_IP)
    kept = [pool for pool in pools if _resource(pool) not in change.remove]
    there = {_resource(pool) for pool in kept}
    added = sorted(resource for resource in change.add - there if resource.kind is AttachmentKind.POOL)
    properties[_POOLS] = [*kept, *({"id": resource.id} for resource in added)]
    if _resource(public_ip) in change.remove:
        public_ip = None
    wanted = [resource for resource in change.add if resource.kind is AttachmentKind.PUBLIC_IP]
    properties[_PUBLIC_IP] = public_ip or ({"id": wanted[0].id} if wanted else None)
    for name in (_POOLS, _PUBLIC_IP):
        if not properties[name]:
            del properties[name]
    return {**config.raw, "properties": properties}


def _resource(reference: object) -> AttachedResource | None:
    return AttachedResource.parse(ip_configurations.id_of(reference))


def _new(wanted: ConfigName | StaticConfiguration, nic: NicDocument) -> dict[str, Any]:
    static = wanted if isinstance(wanted, StaticConfiguration) else None
    if nic.primary is None or not nic.primary.subnet_id:
        what = f"cannot add to NIC {legible(nic.shown.id)}"
        raise CloudUnreachable(f"{what}: its primary ipConfiguration names no subnet")
    groups = nic.primary.properties.application_security_groups
    name = static.name if static else ConfigName(str(wanted))
    return {
        "name": name,
        "properties": {
            "privateIPAllocationMethod": "Static" if static else "Dynamic",
            **({"privateIPAddress": str(static)} if static else {}),
            **_prefix_length(name),
            "privateIPAddressVersion": "IPv6" if is_ipv6_name(name) else "IPv4",
            "primary": False,
            "subnet": {"id": nic.primary.subnet_id},
            **({"applicationSecurityGroups": groups} if groups else {}),
        },
    }


def _prefix_length(name: ConfigName) -> dict[str, int]:
    if is_ipv6_block_name(name):
        return {"privateIPAddressPrefixLength": IPV6_BLOCK_LENGTH}
    return {"privateIPAddressPrefixLength": BLOCK_LENGTH} if is_block_name(name) else {}
