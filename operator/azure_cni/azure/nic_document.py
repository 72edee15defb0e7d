"""A NIC's document: what the rest of the product may know of it, and the document that a write sends back. Pure.

A write replaces the whole NIC: what is left out is deleted or falls back to its default. So a change is a copy of what
was read with configurations taken out and put in, and everything else as it came, known to us or not; Azure ignores
the fields that are its own. A Dynamic configuration keeps its address for as long as it exists.
Configurations that no pod can use (IPv6, /28 blocks) are written back like all others and not shown.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from ipaddress import IPv4Address
from typing import Any

from azure_cni.api.nic import ConfigName, IPConfiguration, NicID, NicView
from azure_cni.errors import CloudUnreachable

Document = Mapping[str, Any]

RUNNING = frozenset({"Creating", "Updating", "Deleting"})
"""provisioningState while an operation works on the NIC; Succeeded, Failed and Canceled are ends."""


def check(document: Document, *, what: str) -> Document:
    """The document, if it is a NIC's with all that is needed to write it back; CloudUnreachable otherwise."""
    configs = document.get("properties", {}).get("ipConfigurations")
    if document.get("etag") and configs and any(_is_primary(config, configs) for config in configs):
        return document
    raise CloudUnreachable(f"cannot {what}: the answer has no etag, or no primary ipConfiguration: is it a NIC?")


def is_settled(document: Document) -> bool:
    """Whether no operation works on the NIC now."""
    return document["properties"].get("provisioningState") not in RUNNING


def has_failed(document: Document) -> bool:
    """Whether the last operation ended badly. Writing the NIC again, even unchanged, is Azure's documented cure."""
    return document["properties"].get("provisioningState") in {"Failed", "Canceled"}


def working(document: Document) -> dict[ConfigName, IPv4Address]:
    """The configurations whose last operation Succeeded, with their addresses."""
    found = {}
    for config in document["properties"]["ipConfigurations"]:
        address = _address(config)
        if address is not None and config["properties"].get("provisioningState") == "Succeeded":
            found[ConfigName(config["name"])] = address
    return found


def view(document: Document, *, known: Mapping[ConfigName, IPv4Address]) -> NicView:
    """The NIC as the product sees it.

    While Azure works on a NIC it shows all its configurations as Updating, also those that have worked for days.
    `known` are those seen working before: with the same address they are ready still.
    """
    configs = document["properties"]["ipConfigurations"]
    ready = {**known, **working(document)}
    return NicView(
        nic_id=NicID(document["id"]),
        etag=document["etag"],
        settled=is_settled(document),
        configs=tuple(_config(config, configs, ready=ready) for config in configs if _is_usable(config, configs)),
        failed=has_failed(document),
    )


def changed(document: Document, *, add: Iterable[ConfigName], remove: Collection[ConfigName]) -> dict[str, Any]:
    """The document to write: without the configurations in `remove`, with new ones named as in `add`.

    New ones are in the primary's subnet and application security groups (Azure wants those alike on all of a NIC),
    and in none of its load balancer pools: those are the node's.
    """
    configs = document["properties"]["ipConfigurations"]
    primary = next(config for config in configs if _is_primary(config, configs))
    kept = [config for config in configs if config["name"] not in remove]
    properties = {**document["properties"], "ipConfigurations": kept + [_new(name, primary) for name in add]}
    return {**document, "properties": properties}


def _new(name: ConfigName, primary: Document) -> dict[str, Any]:
    like = primary["properties"]
    groups = like.get("applicationSecurityGroups")
    return {
        "name": name,
        "properties": {
            "privateIPAllocationMethod": "Dynamic",
            "privateIPAddressVersion": "IPv4",
            "primary": False,
            "subnet": {"id": like["subnet"]["id"]},
            **({"applicationSecurityGroups": groups} if groups else {}),
        },
    }


def _config(config: Document, configs: Collection[Document], *, ready: Mapping[ConfigName, Any]) -> IPConfiguration:
    name, address = ConfigName(config["name"]), _address(config)
    return IPConfiguration(
        name=name,
        address=address,
        primary=_is_primary(config, configs),
        ready=address is not None and ready.get(name) == address,
        public=bool(config["properties"].get("publicIPAddress")),
    )


def _is_primary(config: Document, configs: Collection[Document]) -> bool:
    return bool(config["properties"].get("primary")) or len(configs) == 1  # a sole one is primary without saying so


def _is_usable(config: Document, configs: Collection[Document]) -> bool:
    properties = config["properties"]
    text = properties.get("privateIPAddress") or ""
    single_v4 = properties.get("privateIPAddressVersion", "IPv4") == "IPv4" and "/" not in text
    return _is_primary(config, configs) or (single_v4 and not properties.get("privateIPAddressPrefixLength"))


def _address(config: Document) -> IPv4Address | None:
    text = config["properties"].get("privateIPAddress") or ""
    return IPv4Address(text) if text and "/" not in text and ":" not in text else None
