"""Load balancers as resources: a body becomes a document, members show in its pools, and references hold.

A NIC's IP configuration names its pools; the load balancer shows them back as `backendIPConfigurations`. Sources: see
`fakeazure.lbrules` and `fakeazure.lbmembers`. Chosen where nothing is known: when a pool or its load balancer is
deleted, the IP configurations that were in it no longer name it.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from fakeazure import errors, tracked
from fakeazure.errors import ArmError
from fakeazure.lbmembers import different_skus, members, sku_name
from fakeazure.lbrules import (
    FRONTENDS,
    OUTBOUND,
    POOLS,
    PROBES,
    RULES,
    Children,
    child_id,
    name_of,
    pools_of,
    read_children,
)
from fakeazure.names import parent
from fakeazure.records import Document

if TYPE_CHECKING:
    from fakeazure.fake import FakeAzure

KIND: Final = "loadBalancers"


def write(azure: "FakeAzure", resource_id: str, body: Any) -> Document:
    """Make or change a load balancer; gives what GET shows. Raises ArmError and then changes nothing."""
    body = tracked.object_of(body)
    before = azure.network.others.get(resource_id.lower())
    lb_id = before["id"] if before else resource_id
    sku = (body.get("sku") or {}).get("name") or sku_name(before) or "Basic"
    if sku_name(before) not in {"", sku}:
        text = f"SKU property of {lb_id} cannot be updated from {sku_name(before)} to {sku}."
        raise ArmError(400, "LoadBalancerSkuCannotBeUpdated", text, ())  # our own code
    children = read_children(lb_id, body.get("properties") or {}, sku=sku)
    for frontend in children[FRONTENDS].values():
        _check_references(azure, child_id(lb_id, FRONTENDS, frontend["name"]), frontend["properties"], sku=sku)
    kept = {kind: list(made.values()) for kind, made in children.items()}
    document = tracked.new_document(azure, lb_id, KIND, {**body, "sku": {"name": sku}}, kept)
    addresses = _allocated(azure, lb_id, children)
    _release(azure, before)
    azure.network.others[lb_id.lower()] = document
    for name, address in addresses.items():
        subnet_id = children[FRONTENDS][name.lower()]["properties"]["subnet"]["id"]
        azure.network.subnets[subnet_id.lower()].take(address, child_id(lb_id, FRONTENDS, name))
    for frontend_id, properties in _public_frontends(azure, document):
        properties["ipConfiguration"] = {"id": frontend_id}
    gone = {child_id(lb_id, POOLS, name).lower() for name in _names(before, POOLS) - set(children[POOLS])}
    azure.nics.leave_pools(gone, now=azure.now())
    azure.network.notify()
    return shown(azure, document)


def delete(azure: "FakeAzure", document: Document) -> None:
    """Forget it; its members stay, and no longer name its pools."""
    del azure.network.others[document["id"].lower()]
    _release(azure, document)
    gone = {child_id(document["id"], POOLS, name).lower() for name in _names(document, POOLS)}
    azure.nics.leave_pools(gone, now=azure.now())
    azure.network.notify()


def shown(azure: "FakeAzure", document: Document) -> Document:
    """The document as GET gives it: ids, states, and what refers to what."""
    properties = document["properties"]
    if POOLS not in properties:
        return document
    lists = {
        kind: [_shown_child(azure, document, kind, item) for item in properties[kind]]
        for kind in (FRONTENDS, POOLS, RULES, PROBES, OUTBOUND)
    }
    return {**document, "properties": {**properties, **lists, "inboundNatRules": [], "inboundNatPools": []}}


def shown_child(azure: "FakeAzure", document: Document, kind: str, name: str) -> Document | None:
    """One child by its kind and name, None when there is none of that name."""
    for item in document["properties"].get(kind, ()):
        if item["name"].lower() == name.lower():
            return _shown_child(azure, document, kind, item)
    return None


def _check_references(azure: "FakeAzure", frontend_id: str, properties: Document, *, sku: str) -> None:
    if subnet := properties.get("subnet"):
        if subnet["id"].lower() not in azure.network.subnets:
            raise errors.missing_reference(subnet["id"], by=frontend_id)
        return
    public_ip_id = properties["publicIPAddress"]["id"]
    document = azure.network.others.get(public_ip_id.lower())
    if document is None:
        raise errors.missing_reference(public_ip_id, by=frontend_id)
    if sku_name(document) not in {"", sku}:
        raise different_skus({sku: parent(frontend_id), sku_name(document): document["id"]})
    owner = document["properties"].get("ipConfiguration") or document["properties"].get("natGateway")
    if owner and owner["id"].lower() != frontend_id.lower():
        raise errors.public_address_in_use(document["id"], by=frontend_id, owner_id=owner["id"])


def _allocated(azure: "FakeAzure", lb_id: str, children: Children) -> dict[str, str]:
    """The private address of each internal frontend, by its name; nothing is taken yet. Raises ArmError."""
    given: dict[str, str] = {}
    for frontend in children[FRONTENDS].values():
        properties, name = frontend["properties"], frontend["name"]
        if "subnet" not in properties:
            continue
        frontend_id = child_id(lb_id, FRONTENDS, name)
        subnet = azure.network.subnets[properties["subnet"]["id"].lower()]
        method = properties.setdefault("privateIPAllocationMethod", "Dynamic")
        own = subnet.held_by(frontend_id)
        address = properties.get("privateIPAddress") if method == "Static" else own
        address = address or next((free for free in subnet.free_addresses() if free not in given.values()), None)
        if address is None:
            raise errors.subnet_is_full(subnet.id, prefix=str(subnet.prefix), count=1)
        holder = subnet.holder(address) if subnet.contains(address) else None
        if not subnet.contains(address):
            raise errors.address_not_in_subnet(frontend_id, address=address, prefix=str(subnet.prefix))
        if subnet.is_reserved(address):
            raise errors.address_reserved(frontend_id, address=address, prefix=str(subnet.prefix))
        if address in given.values() or (holder and not holder.lower().startswith(f"{lb_id}/".lower())):
            raise errors.address_is_allocated(frontend_id, address=address, owner_id=holder or lb_id)
        properties["privateIPAddress"] = given[name] = address
    return given


def _release(azure: "FakeAzure", document: Document | None) -> None:
    """Give back what a load balancer's frontends hold: private addresses and public IPs."""
    if document is None:
        return
    for frontend in document["properties"].get(FRONTENDS, ()):
        properties = frontend["properties"]
        if "subnet" in properties:
            azure.network.subnets[properties["subnet"]["id"].lower()].release([properties["privateIPAddress"]])
    for _, public in _public_frontends(azure, document):
        public.pop("ipConfiguration", None)


def _public_frontends(azure: "FakeAzure", document: Document) -> Iterator[tuple[str, Document]]:
    """Id of each frontend with a public IP, and that public IP's properties."""
    for frontend in document["properties"].get(FRONTENDS, ()):
        reference = frontend["properties"].get("publicIPAddress")
        if reference and (public := azure.network.others.get(reference["id"].lower())):
            yield child_id(document["id"], FRONTENDS, frontend["name"]), public["properties"]


def _names(document: Document | None, kind: str) -> set[str]:
    return {item["name"].lower() for item in document["properties"].get(kind, ())} if document else set()


def _shown_child(azure: "FakeAzure", document: Document, kind: str, item: Document) -> Document:
    lb_id = document["id"]
    own_id = child_id(lb_id, kind, item["name"])
    return {
        "name": item["name"],
        "id": own_id,
        "etag": document["etag"],
        "type": f"Microsoft.Network/loadBalancers/{kind}",
        "properties": {
            "provisioningState": "Succeeded",
            **item["properties"],
            **dict(_referrers(azure, document, kind, item["name"].lower(), own_id)),
        },
    }


def _referrers(
    azure: "FakeAzure", document: Document, kind: str, name: str, own_id: str
) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """What Azure shows at a child of those that refer to it; a list that would be empty is left out."""
    lb_id, properties = document["id"], document["properties"]

    def names_of(rule: Document) -> list[str | None]:
        if kind == POOLS:
            return [*pools_of(lb_id, rule)]
        return [name_of(lb_id, kind, rule["properties"].get("probe" if kind == PROBES else "frontendIPConfiguration"))]

    if kind in {FRONTENDS, POOLS, PROBES}:
        rules = [{"id": child_id(lb_id, RULES, rule["name"])} for rule in properties[RULES] if name in names_of(rule)]
        if rules:
            yield RULES, rules
    if kind == POOLS and (inside := members(azure.network.nics.values(), own_id)):
        yield "backendIPConfigurations", [{"id": config_id} for config_id in inside]
