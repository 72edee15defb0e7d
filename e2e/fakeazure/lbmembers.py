"""Who is in a load balancer's pools, and what the IP configurations of one NIC must have in common. Pure.

Sources: "Different basic sku and standard sku load balancer or public Ip resources ... is not allowed"
(MCW-SAP-NetWeaver-on-Azure issue 15; its code is in Azure's documentation, "Troubleshoot common Azure deployment errors
with Azure Load Balancer"), and from that page `AnotherInternalLoadBalancerExists`, whose words are our own.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from fakeazure.errors import ArmError
from fakeazure.lbrules import FRONTENDS, POOLS
from fakeazure.names import parent
from fakeazure.records import Document, IpConfig, Nic


def sku_name(document: Mapping[str, Any] | None) -> str:
    """`Basic` or `Standard`; "" for a document without one, which a test put there."""
    return str(((document or {}).get("sku") or {}).get("name") or "")


def members(nics: Iterable[Nic], pool_id: str) -> list[str]:
    """The ids of the IP configurations that name this pool."""
    key = pool_id.lower()
    return [
        f"{nic.id}/ipConfigurations/{config.name}"
        for nic in nics
        for config in nic.configs
        if key in map(str.lower, config.pool_ids)
    ]


def has_child(document: Document, resource_id: str) -> bool:
    """Whether an id below a load balancer names something; a bare document of a test admits any."""
    kind, name = resource_id.rsplit("/", 2)[1:]
    known = {key.lower(): value for key, value in document["properties"].items()}
    if POOLS not in document["properties"]:
        return True
    return name.lower() in {item["name"].lower() for item in known.get(kind.lower(), ())}


def check_nic(others: Mapping[str, Document], nic_id: str, configs: tuple[IpConfig, ...]) -> None:
    """What the load balancers and public IPs of one NIC must have in common; raises ArmError."""
    balancers = {parent(pool).lower(): parent(pool) for config in configs for pool in config.pool_ids}
    public_ips = {config.public_ip_id.lower(): config.public_ip_id for config in configs if config.public_ip_id}
    skus: dict[str, str] = {}
    for key, resource_id in {**balancers, **public_ips}.items():
        if sku := sku_name(others.get(key)):
            skus.setdefault(sku, resource_id)
    if len(skus) > 1:
        raise different_skus(skus)
    internal = [resource_id for key, resource_id in balancers.items() if _is_internal(others.get(key))]
    if len(internal) > 1:
        text = (
            f"Network interface {nic_id} uses load balancers {' and '.join(internal)}, which are both of type "
            "Internal. Only one load balancer of each type can be used by the same network interfaces."
        )
        raise ArmError(400, "AnotherInternalLoadBalancerExists", text, ())


def _is_internal(document: Document | None) -> bool:
    frontends = (document or {"properties": {}})["properties"].get(FRONTENDS, ())
    return any(frontend["properties"].get("subnet") for frontend in frontends)


def different_skus(skus: dict[str, str]) -> ArmError:
    where = " and ".join(skus[sku] for sku in sorted(skus))
    text = f"Different basic sku and standard sku load balancer or public Ip resources is not allowed {where}."
    return ArmError(400, "DifferentSkuLoadBalancersAndPublicIPAddressNotAllowed", text, ())


def nics_in(nics: Iterable[Nic], pool_ids: set[str]) -> list[Nic]:
    """The NICs with an IP configuration in one of these pools."""
    return [
        nic
        for nic in nics
        if any(pool.lower() in pool_ids for config in (*nic.configs, *nic.settled) for pool in config.pool_ids)
    ]


def without_pools(config: IpConfig, pool_ids: set[str]) -> IpConfig:
    """The configuration without these pools, whose ids are in lower case."""
    left = [{"id": pool} for pool in config.pool_ids if pool.lower() not in pool_ids]
    rest = {key: value for key, value in config.rest.items() if key != "loadBalancerBackendAddressPools"}
    return replace(config, rest={**rest, "loadBalancerBackendAddressPools": left} if left else rest)
