"""From the documents of load balancers to what the fabric does with them. Pure.

Sources, Azure documentation: "Outbound rules" (a rule with a public frontend also gives its members a way out, for its
own protocol, unless `disableOutboundSnat`), "Health probes" (numberOfProbes has no effect, probeThreshold has).
Load balancers of SKU Basic are not carried out: Azure retired them in September 2025.
"""

from collections.abc import Callable, Iterator, Mapping

from fakeazure.effectivebalancing import BalancingRule, EffectiveLoadBalancer, HealthProbe, OutboundRule
from fakeazure.lbmembers import sku_name
from fakeazure.lbrules import FRONTENDS, OUTBOUND, POOLS, PROBES, RULES, child_id, name_of, pools_of
from fakeazure.names import parent
from fakeazure.records import Document

PublicAddress = Callable[[str | None], str | None]
"""From the id of a public IP resource to its address."""


def effective_balancers(
    others: Mapping[str, Document], public_address: PublicAddress
) -> tuple[EffectiveLoadBalancer, ...]:
    """All load balancers that are carried out, in the order of their making."""
    return tuple(
        _effective(document, public_address)
        for document in others.values()
        if POOLS in document["properties"] and sku_name(document) == "Standard"
    )


def _effective(document: Document, public_address: PublicAddress) -> EffectiveLoadBalancer:
    lb_id, properties = document["id"], document["properties"]
    frontends = {item["name"].lower(): item["properties"] for item in properties[FRONTENDS]}
    probes = {item["name"].lower(): item for item in properties[PROBES]}
    rules = [_rule(lb_id, item, frontends, probes, public_address) for item in properties[RULES]]
    explicit = [_outbound(lb_id, item, frontends, public_address) for item in properties[OUTBOUND]]
    return EffectiveLoadBalancer(
        lb_id=lb_id,
        pool_ids=tuple(child_id(lb_id, POOLS, item["name"]) for item in properties[POOLS]),
        rules=tuple(rules),
        outbound_rules=(*explicit, *_implicit(rules, properties[RULES])),
    )


def _rule(
    lb_id: str,
    item: Document,
    frontends: Mapping[str, Document],
    probes: Mapping[str, Document],
    public_address: PublicAddress,
) -> BalancingRule:
    properties = item["properties"]
    frontend = frontends[name_of(lb_id, FRONTENDS, properties["frontendIPConfiguration"]) or ""]
    subnet = frontend.get("subnet")
    probe = probes.get(name_of(lb_id, PROBES, properties.get("probe")) or "")
    return BalancingRule(
        rule_id=child_id(lb_id, RULES, item["name"]),
        frontend=frontend["privateIPAddress"] if subnet else _literal(frontend, public_address),
        vnet_id=parent(subnet["id"]) if subnet else "",
        protocol=properties["protocol"],
        frontend_port=properties["frontendPort"],
        backend_port=properties["backendPort"],
        floating_ip=properties["enableFloatingIP"],
        affinity=properties["loadDistribution"],
        pool_ids=tuple(child_id(lb_id, POOLS, name) for name in pools_of(lb_id, item)),
        probe=_probe(lb_id, probe) if probe else None,
    )


def _probe(lb_id: str, item: Document) -> HealthProbe:
    properties = item["properties"]
    path = properties.get("requestPath") or ""
    return HealthProbe(
        probe_id=child_id(lb_id, PROBES, item["name"]),
        protocol=properties["protocol"],
        port=properties["port"],
        path=path if not path or path.startswith("/") else f"/{path}",
        interval_s=float(properties["intervalInSeconds"]),
        threshold=properties["probeThreshold"],
        used_when_all_down=properties["noHealthyBackendsBehavior"] == "AllProbedUp",
    )


def _outbound(
    lb_id: str, item: Document, frontends: Mapping[str, Document], public_address: PublicAddress
) -> OutboundRule:
    names = [name_of(lb_id, FRONTENDS, reference) or "" for reference in item["properties"]["frontendIPConfigurations"]]
    return OutboundRule(
        public_addresses=tuple(_literal(frontends[name], public_address) for name in names),
        pool_ids=(child_id(lb_id, POOLS, pools_of(lb_id, item)[0]),),
        protocol=item["properties"]["protocol"],
    )


def _implicit(rules: list[BalancingRule], items: list[Document]) -> Iterator[OutboundRule]:
    for rule, item in zip(rules, items, strict=True):
        if not rule.vnet_id and not item["properties"]["disableOutboundSnat"]:
            yield OutboundRule((rule.frontend,), rule.pool_ids, rule.protocol)


def _literal(frontend: Document, public_address: PublicAddress) -> str:
    address = public_address(frontend["publicIPAddress"]["id"])
    if address is None:
        raise KeyError(f"no address at {frontend['publicIPAddress']['id']}")
    return address
