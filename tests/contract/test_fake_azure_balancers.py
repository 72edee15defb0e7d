"""Load balancers, public IP addresses and NAT gateways of the fake: the real SDK, references, refusals, read-back."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

from contract.azure_world import ServedAzure, served
from contract.balancer_world import (
    a_balancer,
    frontend,
    id_of,
    make_public_ip,
    own,
    put,
    put_in_pools,
    refused,
    rule,
)
from fakeazure import FakeAzure
from fakeazure.effectivebalancing import HealthProbe, OutboundRule

LB, IP, GATEWAY = "loadBalancers", "publicIPAddresses", "natGateways"
OUTBOUND_BODY = {"protocol": "All", "allocatedOutboundPorts": 0}


@pytest.fixture
async def world() -> AsyncIterator[ServedAzure]:
    async with served(FakeAzure(seed=1), secondaries=2) as world:
        yield world


async def test_the_sdk_makes_reads_lists_and_deletes_a_load_balancer(world: ServedAzure) -> None:
    balancers = world.network.load_balancers
    poller = await balancers.begin_create_or_update("azbox", "lb", a_balancer(world))
    made = await poller.result()
    assert (made.provisioning_state, made.sku.name) == ("Succeeded", "Standard")
    assert made.frontend_ip_configurations[0].private_ip_address == "10.240.0.7"  # the first that is free
    assert made.load_balancing_rules[0].load_distribution == "Default"
    assert made.probes[0].probe_threshold == 1

    assert [one.name async for one in balancers.list("azbox")] == ["lb"]
    assert [one.name async for one in balancers.list_all()] == ["lb"]
    pools = world.network.load_balancer_backend_address_pools
    assert [pool.name async for pool in pools.list("azbox", "lb")] == ["pods"]
    assert (await world.network.load_balancer_probes.get("azbox", "lb", "alive")).port == 8080
    with pytest.raises(ResourceNotFoundError):
        await pools.get("azbox", "lb", "others")

    await (await balancers.begin_delete("azbox", "lb")).result()
    with pytest.raises(ResourceNotFoundError):
        await balancers.get("azbox", "lb")
    assert world.azure.subnet().holder("10.240.0.7") is None


async def test_a_pool_shows_the_configurations_that_name_it(world: ServedAzure) -> None:
    await put(world, LB, "lb", a_balancer(world))
    pool = own(world, "backendAddressPools", "pods")["id"]
    assert await put_in_pools(world, "vm1-nic", "10.240.0.5", pool.upper()) == (200, "")
    shown = await world.network.load_balancer_backend_address_pools.get("azbox", "lb", "pods")
    config = f"{world.azure.nic('vm1-nic')['id']}/ipConfigurations/secondary-1"
    assert [item.id for item in shown.backend_ip_configurations] == [config]
    assert [item.id for item in shown.load_balancing_rules] == [own(world, "loadBalancingRules", "http")["id"]]
    assert await put_in_pools(world, "vm1-nic", "10.240.0.5") == (200, "")
    shown = await world.network.load_balancer_backend_address_pools.get("azbox", "lb", "pods")
    assert not shown.backend_ip_configurations


async def test_a_pool_that_is_not_there_refuses_the_nic(world: ServedAzure) -> None:
    await put(world, LB, "lb", a_balancer(world))
    missing = own(world, "backendAddressPools", "other")["id"]
    assert await put_in_pools(world, "vm1-nic", "10.240.0.5", missing) == (400, "InvalidResourceReference")
    elsewhere = own(world, "backendAddressPools", "pods", lb="lb2")["id"]
    assert await put_in_pools(world, "vm1-nic", "10.240.0.5", elsewhere) == (400, "InvalidResourceReference")


async def test_a_nic_takes_one_sku_and_one_internal_load_balancer(world: ServedAzure) -> None:
    await put(world, LB, "lb", a_balancer(world))
    await put(world, LB, "basic", a_balancer(world, lb="basic", sku="Basic"))
    await put(world, LB, "second", a_balancer(world, lb="second"))
    pools = [own(world, "backendAddressPools", "pods", lb=name)["id"] for name in ("lb", "basic", "second")]
    assert await put_in_pools(world, "vm1-nic", "10.240.0.5", pools[0]) == (200, "")
    mixed = (400, "DifferentSkuLoadBalancersAndPublicIPAddressNotAllowed")
    assert await put_in_pools(world, "vm1-nic", "10.240.0.6", pools[1]) == mixed
    assert await put_in_pools(world, "vm1-nic", "10.240.0.6", pools[2]) == (400, "AnotherInternalLoadBalancerExists")
    assert await put_in_pools(world, "vm1-nic", "10.240.0.6", pools[0]) == (200, "")


async def test_a_pool_that_goes_leaves_no_reference_behind(world: ServedAzure) -> None:
    await put(world, LB, "lb", a_balancer(world, backendAddressPools=[{"name": "pods"}, {"name": "more"}]))
    both = [own(world, "backendAddressPools", name)["id"] for name in ("pods", "more")]
    assert await put_in_pools(world, "vm1-nic", "10.240.0.5", *both) == (200, "")
    await put(world, LB, "lb", a_balancer(world))
    nic = world.azure.effective().nics[0]
    assert nic.addresses[1].load_balancer_pools == (both[0],)
    await (await world.network.load_balancers.begin_delete("azbox", "lb")).result()
    assert world.azure.effective().nics[0].addresses[1].load_balancer_pools == ()
    assert "loadBalancerBackendAddressPools" not in str(world.azure.nic("vm1-nic"))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"frontendIPConfigurations": []}, "LoadBalancerWithoutFrontendIPCantHaveChildResources"),
        ({"backendAddressPools": []}, "InvalidResourceReference"),
        ({"probes": []}, "InvalidResourceReference"),
        ({"probes": [{"name": "alive", "properties": {"protocol": "Http", "port": 80}}]}, "InvalidRequestFormat"),
        ({"probes": [{"name": "alive", "properties": {"protocol": "Tcp", "port": 0}}]}, "InvalidRequestFormat"),
        ({"backendAddressPools": [{"name": "pods"}, {"name": "PODS"}]}, "DuplicateResourceName"),
        ({"inboundNatRules": [{"name": "ssh"}]}, "InvalidRequestFormat"),
        (
            {"backendAddressPools": [{"name": "pods", "properties": {"loadBalancerBackendAddresses": [{}]}}]},
            "InvalidRequestFormat",
        ),
    ],
)
async def test_a_body_that_does_not_hold_together(world: ServedAzure, changes: dict[str, Any], code: str) -> None:
    assert await refused(world, LB, "lb", a_balancer(world, **changes)) == (400, code)
    assert world.azure.effective().load_balancers == ()


async def test_what_two_rules_must_not_share(world: ServedAzure) -> None:
    def with_rule(**changes: Any) -> dict[str, Any]:
        return a_balancer(world, loadBalancingRules=[rule(world), rule(world, name="two", **changes)])

    assert await refused(world, LB, "lb", with_rule(backendPort=1)) == (
        400,
        "RulesUseSameFrontendPortProtocolAndIPConfig",
    )
    same = (400, "RulesUseSameBackendPortProtocolAndPool")
    assert await refused(world, LB, "lb", with_rule(frontendPort=81)) == same
    assert (await put(world, LB, "lb", with_rule(frontendPort=81, enableFloatingIP=True)))[0] == 201


async def test_frontends_hold_their_addresses(world: ServedAzure) -> None:
    assert await refused(world, LB, "lb", a_balancer(world, front=frontend(world, address="10.240.0.4"))) == (
        400,
        "PrivateIPAddressIsAllocated",
    )
    outside = a_balancer(world, front=frontend(world, address="10.250.0.4"))
    assert await refused(world, LB, "lb", outside) == (400, "PrivateIPAddressNotInSubnet")
    assert (await put(world, LB, "lb", a_balancer(world, front=frontend(world, address="10.240.0.100"))))[0] == 201
    assert world.azure.subnet().holder("10.240.0.100") == own(world, "frontendIPConfigurations", "front")["id"]
    assert (await put(world, LB, "lb", a_balancer(world)))[1]["properties"]["frontendIPConfigurations"][0][
        "properties"
    ]["privateIPAddress"] == "10.240.0.100"  # a dynamic one stays what it is
    missing = a_balancer(world, front=frontend(world, public_ip="none"))
    assert await refused(world, LB, "lb", missing) == (400, "InvalidResourceReference")


async def test_a_public_frontend_has_its_address_alone(world: ServedAzure) -> None:
    ip = await make_public_ip(world, "ip")
    await put(world, LB, "lb", a_balancer(world, front=frontend(world, public_ip="ip")))
    shown = await world.network.public_ip_addresses.get("azbox", "ip")
    assert shown.ip_configuration.id == own(world, "frontendIPConfigurations", "front")["id"]
    with pytest.raises(HttpResponseError) as caught:
        await world.network.public_ip_addresses.begin_delete("azbox", "ip")
    assert caught.value.error.code == "PublicIPAddressCannotBeDeleted"
    second = a_balancer(world, lb="two", front=frontend(world, public_ip="ip"))
    assert await refused(world, LB, "two", second) == (400, "PublicIPAddressInUse")
    balancer = world.azure.effective().load_balancers[0]
    assert [one.frontend for one in balancer.rules] == [ip["properties"]["ipAddress"]]
    await (await world.network.load_balancers.begin_delete("azbox", "lb")).result()
    await (await world.network.public_ip_addresses.begin_delete("azbox", "ip")).result()
    assert [one async for one in world.network.public_ip_addresses.list_all()] == []


async def test_the_fabric_hears_of_rules_probes_and_ways_out(world: ServedAzure) -> None:
    await make_public_ip(world, "ip")
    http = {"protocol": "Http", "port": 8081, "requestPath": "healthz", "intervalInSeconds": 6, "probeThreshold": 2}
    body = a_balancer(
        world,
        front=frontend(world, public_ip="ip"),
        probes=[{"name": "alive", "properties": http}],
        loadBalancingRules=[rule(world, loadDistribution="SourceIP")],
    )
    await put(world, LB, "lb", body)
    balancer = world.azure.effective().load_balancers[0]
    probe = own(world, "probes", "alive")["id"]
    assert balancer.rules[0].probe == HealthProbe(probe, "Http", 8081, "/healthz", 6.0, 2, used_when_all_down=False)
    assert (balancer.rules[0].affinity, balancer.rules[0].vnet_id) == ("SourceIP", "")
    assert balancer.outbound_rules == (OutboundRule((balancer.rules[0].frontend,), balancer.rules[0].pool_ids, "Tcp"),)

    outbound = {
        **OUTBOUND_BODY,
        "frontendIPConfigurations": [own(world, "frontendIPConfigurations", "front")],
        "backendAddressPool": own(world, "backendAddressPools", "pods"),
    }
    body["properties"]["outboundRules"] = [{"name": "out", "properties": outbound}]
    both = "LoadBalancingRuleMustDisableSNATSinceSameFrontendIPConfigurationIsReferencedByOutboundRule"
    assert await refused(world, LB, "lb", body) == (400, both)
    body["properties"]["loadBalancingRules"] = [rule(world, disableOutboundSnat=True)]
    assert (await put(world, LB, "lb", body))[0] == 200
    assert [one.protocol for one in world.azure.effective().load_balancers[0].outbound_rules] == ["All"]


async def test_outbound_rules_need_a_public_frontend_of_sku_standard(world: ServedAzure) -> None:
    outbound = {
        **OUTBOUND_BODY,
        "frontendIPConfigurations": [own(world, "frontendIPConfigurations", "front")],
        "backendAddressPool": own(world, "backendAddressPools", "pods"),
    }
    rules = [{"name": "out", "properties": outbound}]
    internal = a_balancer(world, outboundRules=rules)
    assert await refused(world, LB, "lb", internal) == (400, "OutboundRuleMustReferencePublicFrontend")
    basic = a_balancer(world, sku="Basic", outboundRules=rules)
    assert await refused(world, LB, "lb", basic) == (400, "OutboundRulesNotSupportedOnBasicSku")


async def test_public_ip_addresses_are_standard_and_static(world: ServedAzure) -> None:
    one, two = await make_public_ip(world, "one"), await make_public_ip(world, "two")
    assert [ip["properties"]["ipAddress"] for ip in (one, two)] == ["198.51.100.128", "198.51.100.129"]
    again = await make_public_ip(world, "one")
    assert again["properties"]["ipAddress"] == "198.51.100.128"
    body = {"location": "eastus", "properties": {"publicIPAllocationMethod": "Static"}}
    assert await refused(world, IP, "three", body) == (400, "IPv4BasicSkuPublicIpCountLimitReached")
    dynamic = {"location": "eastus", "sku": {"name": "Standard"}, "properties": {"publicIPAllocationMethod": "Dynamic"}}
    assert await refused(world, IP, "three", dynamic) == (400, "StandardSkuPublicIPAddressesMustBeStatic")


async def test_a_nat_gateway_serves_its_subnets(world: ServedAzure) -> None:
    ip = await make_public_ip(world, "ip")
    body = {"location": "eastus", "sku": {"name": "Standard"}, "properties": {"publicIpAddresses": [{"id": ip["id"]}]}}
    poller = await world.network.nat_gateways.begin_create_or_update("azbox", "nat", body)
    gateway = await poller.result()
    world.azure.associate_nat_gateway("nodes", gateway.id)
    assert world.azure.effective().vnets[0].subnets[0].nat_addresses == ("198.51.100.128",)
    shown = await world.network.subnets.get("azbox", "vnet", "nodes")
    assert shown.nat_gateway.id == gateway.id
    assert [item.id for item in (await world.network.nat_gateways.get("azbox", "nat")).subnets] == [shown.id]
    again = await make_public_ip(world, "ip")
    assert again["properties"]["natGateway"]["id"] == gateway.id
    with pytest.raises(HttpResponseError) as caught:
        await world.network.nat_gateways.begin_delete("azbox", "nat")
    assert caught.value.error.code == "InUseNatGatewayCannotBeDeleted"
    assert await refused(world, LB, "lb", a_balancer(world, front=frontend(world, public_ip="ip"))) == (
        400,
        "PublicIPAddressInUse",
    )
    world.azure.associate_nat_gateway("nodes", "")
    await (await world.network.nat_gateways.begin_delete("azbox", "nat")).result()
    assert world.azure.effective().vnets[0].subnets[0].nat_addresses == ()
    await (await world.network.public_ip_addresses.begin_delete("azbox", "ip")).result()


@pytest.mark.parametrize(
    ("denied", "code"),
    [
        ("Microsoft.Network/loadBalancers/write", "AuthorizationFailed"),
        ("Microsoft.Network/publicIPAddresses/join/action", "LinkedAuthorizationFailed"),
    ],
)
async def test_a_writer_needs_its_rights(world: ServedAzure, denied: str, code: str) -> None:
    await make_public_ip(world, "ip")
    world.azure.identity.set_permissions(("*", f"!{denied}"), principal="*")
    body = a_balancer(world, front=frontend(world, public_ip="ip"))
    assert await refused(world, LB, "lb", body) == (403, code)


async def test_the_document_of_a_load_balancer_can_be_sent_back(world: ServedAzure) -> None:
    await put(world, LB, "lb", a_balancer(world))
    response = await world.get(id_of(world, LB, "lb"))
    document = await response.json()
    status, again = await put(world, LB, "lb", document)
    assert status == 200
    assert _without_etags(again) == _without_etags(document)


def _without_etags(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_etags(item) for key, item in value.items() if key != "etag"}
    return [_without_etags(item) for item in value] if isinstance(value, list) else value
