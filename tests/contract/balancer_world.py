"""Bodies of load balancers as `az network lb` sends them, for the contract tests of the fake Azure."""

from typing import Any

from contract.azure_world import ServedAzure

NETWORK = "Microsoft.Network"
Document = dict[str, Any]


def id_of(world: ServedAzure, kind: str, name: str) -> str:
    return world.azure.id_of("azbox", f"{NETWORK}/{kind}", name)


def own(world: ServedAzure, kind: str, name: str, *, lb: str = "lb") -> Document:
    """A reference to a child of the load balancer itself."""
    return {"id": f"{id_of(world, 'loadBalancers', lb)}/{kind}/{name}"}


def frontend(world: ServedAzure, *, public_ip: str = "", address: str = "", name: str = "front") -> Document:
    if public_ip:
        return {"name": name, "properties": {"publicIPAddress": {"id": id_of(world, "publicIPAddresses", public_ip)}}}
    static = {"privateIPAllocationMethod": "Static", "privateIPAddress": address} if address else {}
    return {"name": name, "properties": {"subnet": {"id": world.azure.subnet().id}, **static}}


def rule(world: ServedAzure, *, name: str = "http", lb: str = "lb", **changes: Any) -> Document:
    properties = {
        "frontendIPConfiguration": own(world, "frontendIPConfigurations", "front", lb=lb),
        "backendAddressPool": own(world, "backendAddressPools", "pods", lb=lb),
        "probe": own(world, "probes", "alive", lb=lb),
        "protocol": "Tcp",
        "frontendPort": 80,
        "backendPort": 8080,
    }
    return {"name": name, "properties": {**properties, **changes}}


def a_balancer(
    world: ServedAzure, *, front: Document | None = None, lb: str = "lb", sku: str = "Standard", **changes: Any
) -> Document:
    """A body with one frontend, pool, probe and rule; `changes` are properties that it has instead."""
    properties = {
        "frontendIPConfigurations": [front or frontend(world)],
        "backendAddressPools": [{"name": "pods"}],
        "probes": [
            {"name": "alive", "properties": {"protocol": "Tcp", "port": 8080, "intervalInSeconds": 5}},
        ],
        "loadBalancingRules": [rule(world, lb=lb)],
    }
    return {"location": "eastus", "sku": {"name": sku}, "properties": {**properties, **changes}}


async def put(world: ServedAzure, kind: str, name: str, body: Document) -> tuple[int, Document]:
    """The status and body of a PUT."""
    response = await world.request("PUT", id_of(world, kind, name), body=body)
    return response.status, await response.json()


async def refused(world: ServedAzure, kind: str, name: str, body: Document) -> tuple[int, str]:
    """The status and code of a PUT that must fail."""
    status, document = await put(world, kind, name, body)
    return status, document["error"]["code"]


async def make_public_ip(world: ServedAzure, name: str) -> Document:
    """A Standard public IP address, made as a client makes it."""
    body = {
        "location": "eastus",
        "sku": {"name": "Standard"},
        "properties": {"publicIPAllocationMethod": "Static"},
    }
    poller = await world.network.public_ip_addresses.begin_create_or_update("azbox", name, body)
    return dict((await poller.result()).as_dict())


async def put_in_pools(world: ServedAzure, nic: str, address: str, *pools: str) -> tuple[int, str]:
    """Name these pools in the configuration with this address; status and error code."""
    document = world.azure.nic(nic)
    for config in document["properties"]["ipConfigurations"]:
        if config["properties"]["privateIPAddress"] == address:
            config["properties"]["loadBalancerBackendAddressPools"] = [{"id": pool} for pool in pools]
    response = await world.request("PUT", document["id"], body=document)
    return response.status, (await response.json()).get("error", {}).get("code", "")
