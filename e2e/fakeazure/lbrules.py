"""The rules of a load balancer's body: what it asks for, whether it may. Pure.

Sources: Azure REST specification (LoadBalancer), documentation "Azure Load Balancer components", "Outbound rules",
"Azure Load Balancer health probes" (a TCP or HTTP probe; HTTP probes of nine ports are not done), "Troubleshoot common
Azure deployment errors with Azure Load Balancer" (codes), and errors quoted in public issue trackers. Chosen where
nothing is known: the codes marked as our own.
"""

from collections.abc import Mapping
from typing import Any, Final

from fakeazure import errors
from fakeazure.errors import ArmError
from fakeazure.records import Document

FRONTENDS: Final = "frontendIPConfigurations"
POOLS: Final = "backendAddressPools"
RULES: Final = "loadBalancingRules"
PROBES: Final = "probes"
OUTBOUND: Final = "outboundRules"
CHILDREN: Final = (FRONTENDS, POOLS, RULES, PROBES, OUTBOUND)

NOT_PROBED_BY_HTTP: Final = frozenset({19, 21, 25, 70, 110, 119, 143, 220, 993})  # documentation, health probes
INTERVAL_S: Final = 5  # the same page: the shortest interval, and the default
LAST_PORT: Final = 65_535

RULE_DEFAULTS: Final[Mapping[str, Any]] = {
    "backendPort": 0,
    "idleTimeoutInMinutes": 4,
    "enableFloatingIP": False,
    "enableTcpReset": False,
    "disableOutboundSnat": False,
    "loadDistribution": "Default",
}
PROBE_DEFAULTS: Final[Mapping[str, Any]] = {
    "intervalInSeconds": 15,
    "numberOfProbes": 2,
    "probeThreshold": 1,
    "noHealthyBackendsBehavior": "AllProbedDown",
}
OUTBOUND_DEFAULTS: Final[Mapping[str, Any]] = {
    "allocatedOutboundPorts": 0,
    "idleTimeoutInMinutes": 4,
    "enableTcpReset": False,
}
DEFAULTS: Final[Mapping[str, Mapping[str, Any]]] = {
    RULES: RULE_DEFAULTS,
    PROBES: PROBE_DEFAULTS,
    OUTBOUND: OUTBOUND_DEFAULTS,
}
ASKED: Final[Mapping[str, frozenset[str]]] = {
    FRONTENDS: frozenset({"subnet", "publicIPAddress", "privateIPAddress", "privateIPAllocationMethod"}),
    POOLS: frozenset(),
    RULES: frozenset({*RULE_DEFAULTS, "protocol", "frontendPort", "frontendIPConfiguration", "backendAddressPool",
                      "backendAddressPools", "probe"}),
    PROBES: frozenset({*PROBE_DEFAULTS, "protocol", "port", "requestPath"}),
    OUTBOUND: frozenset({*OUTBOUND_DEFAULTS, "protocol", "frontendIPConfigurations", "backendAddressPool"}),
}  # fmt: skip
"""What each kind of child takes from a body; the rest is Azure's to show."""

Children = dict[str, dict[str, Document]]
"""By kind, then by name in lower case: {"name", "properties"} with all defaults filled in."""


def read_children(lb_id: str, properties: Document, *, sku: str) -> Children:
    """What a body asks for, checked against itself; raises ArmError."""
    _check_served(lb_id, properties)
    children = {kind: _read_list(lb_id, kind, properties.get(kind) or []) for kind in CHILDREN}
    if not children[FRONTENDS] and any(children.values()):
        text = f"Load balancer {lb_id} has no frontend IP configuration and cannot have child resources."
        raise ArmError(400, "LoadBalancerWithoutFrontendIPCantHaveChildResources", text, ())
    for frontend in children[FRONTENDS].values():
        _check_frontend(lb_id, frontend)
    for probe in children[PROBES].values():
        _check_probe(lb_id, probe)
    for rule in children[RULES].values():
        _check_rule(lb_id, rule, children)
    for rule in children[OUTBOUND].values():
        _check_outbound(lb_id, rule, children, sku=sku)
    _check_together(lb_id, children)
    return children


def _check_served(lb_id: str, properties: Document) -> None:
    """Refuse what this Azure does not have, rather than leave it out."""
    for kind in ("inboundNatRules", "inboundNatPools"):
        if properties.get(kind):
            raise errors.invalid_format(f"{kind} of {lb_id}: this Azure has none")
    for pool in properties.get(POOLS) or ():
        if (pool.get("properties") or {}).get("loadBalancerBackendAddresses"):
            raise errors.invalid_format(f"{POOLS} of {lb_id}: in this Azure IP configurations name their pools")


def child_id(lb_id: str, kind: str, name: str) -> str:
    return f"{lb_id}/{kind}/{name}"


def name_of(lb_id: str, kind: str, reference: Any) -> str | None:
    """The name, in lower case, of this load balancer's own child that a reference names; None for another's."""
    text = str((reference or {}).get("id") or "").lower()
    start = f"{lb_id}/{kind}/".lower()
    return text.removeprefix(start) if text.startswith(start) else None


def pools_of(lb_id: str, rule: Document) -> list[str]:
    """The names of a rule's pools: Azure takes one reference or a list."""
    properties = rule["properties"]
    references = properties.get("backendAddressPools") or [properties.get("backendAddressPool")]
    return [name for reference in references if (name := name_of(lb_id, POOLS, reference))]


def _read_list(lb_id: str, kind: str, items: Any) -> dict[str, Document]:
    if not isinstance(items, list) or not all(isinstance(item, dict) and item.get("name") for item in items):
        raise errors.invalid_format(f"{kind} of {lb_id}: each needs a name")
    made: dict[str, Document] = {}
    for item in items:
        given = {key: value for key, value in (item.get("properties") or {}).items() if value is not None}
        asked = {key: _plain(given[key]) for key in given if key in ASKED[kind]}
        properties = {**DEFAULTS.get(kind, {}), **asked}
        if item["name"].lower() in made:
            raise errors.duplicate_name(lb_id, item["name"])
        made[item["name"].lower()] = {"name": item["name"], "properties": properties}
    return made


def _plain(value: Any) -> Any:
    """A reference as its id alone, however much of the resource the caller sent."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return {"id": value["id"]} if isinstance(value, dict) and "id" in value else value


def _check_frontend(lb_id: str, frontend: Document) -> None:
    properties, where = frontend["properties"], child_id(lb_id, FRONTENDS, frontend["name"])
    if bool(properties.get("subnet")) == bool(properties.get("publicIPAddress")):
        text = f"Frontend IP configuration {where} must reference either a subnet or a public IP address."
        raise ArmError(400, "LoadBalancerFrontendIPConfigMustHaveSubnetOrPublicIP", text, ())  # our own code
    if properties.get("privateIPAllocationMethod") == "Static" and not properties.get("privateIPAddress"):
        raise errors.invalid_format(f"{where} is Static and names no privateIPAddress")


def _check_probe(lb_id: str, probe: Document) -> None:
    properties, where = probe["properties"], child_id(lb_id, PROBES, probe["name"])
    protocol, port = properties.get("protocol"), properties.get("port")
    if protocol not in {"Tcp", "Http"}:
        raise errors.invalid_format(f"protocol {protocol!r} of {where}: this Azure probes by Tcp and Http")
    if not isinstance(port, int) or not 1 <= port <= LAST_PORT:
        raise errors.invalid_format(f"port {port!r} of {where}")
    if protocol == "Http" and port in NOT_PROBED_BY_HTTP:
        raise errors.invalid_format(f"port {port} of {where} is not probed by HTTP")
    if (protocol == "Http") != bool(properties.get("requestPath")):
        raise errors.invalid_format(f"{where}: requestPath is for a probe by Http, which needs it")
    if properties["intervalInSeconds"] < INTERVAL_S:
        raise errors.invalid_format(f"intervalInSeconds of {where} is below {INTERVAL_S}")


def _check_rule(lb_id: str, rule: Document, children: Children) -> None:
    properties, where = rule["properties"], child_id(lb_id, RULES, rule["name"])
    _require(lb_id, FRONTENDS, properties.get("frontendIPConfiguration"), children, by=where)
    for pool in properties.get("backendAddressPools") or [properties.get("backendAddressPool")]:
        _require(lb_id, POOLS, pool, children, by=where)
    if properties.get("probe"):
        _require(lb_id, PROBES, properties["probe"], children, by=where)
    _check_ports(lb_id, properties, children, where=where)
    if properties["loadDistribution"] not in {"Default", "SourceIP", "SourceIPProtocol"}:
        raise errors.invalid_format(f"loadDistribution {properties['loadDistribution']!r} of {where}")


def _check_ports(lb_id: str, properties: Document, children: Children, *, where: str) -> None:
    ports = (properties.get("frontendPort"), properties["backendPort"])
    if properties.get("protocol") == "All":
        if ports != (0, 0):
            raise errors.invalid_format(f"{where}: protocol All takes all ports, so both ports are 0")
        frontend = children[FRONTENDS][name_of(lb_id, FRONTENDS, properties["frontendIPConfiguration"]) or ""]
        if not frontend["properties"].get("subnet"):
            raise errors.invalid_format(f"{where}: protocol All is for internal load balancers")
    elif properties.get("protocol") not in {"Tcp", "Udp"}:
        raise errors.invalid_format(f"protocol {properties.get('protocol')!r} of {where}")
    elif not all(isinstance(port, int) and 1 <= port <= LAST_PORT for port in ports):
        raise errors.invalid_format(f"ports {ports} of {where}")


def _check_outbound(lb_id: str, rule: Document, children: Children, *, sku: str) -> None:
    properties, where = rule["properties"], child_id(lb_id, OUTBOUND, rule["name"])
    if sku != "Standard":
        text = f"Outbound rule {where} needs a load balancer of SKU Standard."
        raise ArmError(400, "OutboundRulesNotSupportedOnBasicSku", text, ())  # our own code
    _require(lb_id, POOLS, properties.get("backendAddressPool"), children, by=where)
    references = properties.get("frontendIPConfigurations") or [None]
    for reference in references:
        _require(lb_id, FRONTENDS, reference, children, by=where)
        frontend = children[FRONTENDS][name_of(lb_id, FRONTENDS, reference) or ""]
        if not frontend["properties"].get("publicIPAddress"):
            text = f"Outbound rule {where} references {reference['id']}, which has no public IP address."
            raise ArmError(400, "OutboundRuleMustReferencePublicFrontend", text, ())  # our own code
    if properties.get("protocol") not in {"Tcp", "Udp", "All"}:
        raise errors.invalid_format(f"protocol {properties.get('protocol')!r} of {where}")
    if properties["allocatedOutboundPorts"] % 8:
        raise errors.invalid_format(f"allocatedOutboundPorts of {where} is no multiple of 8")


def _check_together(lb_id: str, children: Children) -> None:
    """What no two rules of a load balancer may share."""
    at_the_front: dict[tuple[Any, ...], str] = {}
    at_the_back: dict[tuple[Any, ...], str] = {}
    for rule in children[RULES].values():
        properties, where = rule["properties"], child_id(lb_id, RULES, rule["name"])
        frontend = name_of(lb_id, FRONTENDS, properties["frontendIPConfiguration"])
        other = at_the_front.setdefault((frontend, properties["protocol"], properties["frontendPort"]), where)
        if other != where:
            text = f"Load balancing rules {other} and {where} use the same frontend, protocol and port."
            raise ArmError(400, "RulesUseSameFrontendPortProtocolAndIPConfig", text, ())  # our own code
        for pool in () if properties["enableFloatingIP"] else pools_of(lb_id, rule):
            other = at_the_back.setdefault((pool, properties["protocol"], properties["backendPort"]), where)
            if other != where:
                raise _same_backend(lb_id, properties, pool, other, where)
    for rule in children[OUTBOUND].values():
        _check_not_inbound(lb_id, rule, children)


def _same_backend(lb_id: str, properties: Document, pool: str, one: str, other: str) -> ArmError:
    text = (
        f"Load balancing rules {one} and {other} with floating IP disabled use the same backend port "
        f"{properties['backendPort']} with protocol {properties['protocol']}, and must not be used with the same "
        f"backend address pool {child_id(lb_id, POOLS, pool)}."
    )
    return ArmError(400, "RulesUseSameBackendPortProtocolAndPool", text, ())


def _check_not_inbound(lb_id: str, outbound: Document, children: Children) -> None:
    """A frontend that gives a way out by its load-balancing rule cannot have an outbound rule, too."""
    automatic = {
        name_of(lb_id, FRONTENDS, rule["properties"]["frontendIPConfiguration"])
        for rule in children[RULES].values()
        if not rule["properties"]["disableOutboundSnat"]
    }
    for reference in outbound["properties"]["frontendIPConfigurations"]:
        if name_of(lb_id, FRONTENDS, reference) in automatic:
            text = (
                f"Load balancing rule must disable SNAT since same frontend IP configuration {reference['id']} is "
                f"referenced by outbound rule {child_id(lb_id, OUTBOUND, outbound['name'])}."
            )
            code = "LoadBalancingRuleMustDisableSNATSinceSameFrontendIPConfigurationIsReferencedByOutboundRule"
            raise ArmError(400, code, text, ())


def _require(lb_id: str, kind: str, reference: Any, children: Children, *, by: str) -> None:
    if name_of(lb_id, kind, reference) not in children[kind]:
        missing = str((reference or {}).get("id") or f"{lb_id}/{kind}/")
        raise errors.missing_reference(missing, by=by)
