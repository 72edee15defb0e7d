"""Security groups, application security groups, route tables, subnets and storage: the real SDK against the fake."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from azure.mgmt.network.models import (
    ApplicationSecurityGroup,
    NetworkSecurityGroup,
    Route,
    RouteTable,
    SecurityRule,
    ServiceEndpointPropertiesFormat,
    Subnet,
)

from contract.azure_world import ServedAzure, served
from fakeazure import FakeAzure, errors, filters, resources

APPLIANCE = "VirtualAppliance"
DEFAULT_RULES = [
    ("AllowVnetInBound", 65000, "Inbound", "Allow", "VirtualNetwork", "VirtualNetwork"),
    ("AllowAzureLoadBalancerInBound", 65001, "Inbound", "Allow", "AzureLoadBalancer", "*"),
    ("DenyAllInBound", 65500, "Inbound", "Deny", "*", "*"),
    ("AllowVnetOutBound", 65000, "Outbound", "Allow", "VirtualNetwork", "VirtualNetwork"),
    ("AllowInternetOutBound", 65001, "Outbound", "Allow", "*", "Internet"),
    ("DenyAllOutBound", 65500, "Outbound", "Deny", "*", "*"),
]
"""Azure documentation, "Network security groups": the default security rules."""


@pytest.fixture
async def world() -> AsyncIterator[ServedAzure]:
    async with served(FakeAzure(seed=1), secondaries=1, subnets={"nodes": "10.240.0.0/24"}) as world:
        yield world


def a_rule(name: str = "web", **changes: Any) -> SecurityRule:
    given = {
        "priority": 200,
        "direction": "Inbound",
        "access": "Deny",
        "protocol": "Tcp",
        "source_address_prefix": "VirtualNetwork",
        "source_port_range": "*",
        "destination_address_prefix": "10.240.0.5",
        "destination_port_ranges": ["80", "8000-8100"],
    }
    return SecurityRule(name=name, **{**given, **changes})


async def write_group(world: ServedAzure, *rules: SecurityRule, name: str = "nsg") -> NetworkSecurityGroup:
    body = NetworkSecurityGroup(location="eastus", security_rules=list(rules))
    poller = await world.network.network_security_groups.begin_create_or_update("azbox", name, body)
    return await poller.result()


async def refused(work: Any) -> tuple[int, str]:
    with pytest.raises(HttpResponseError) as raised:
        await work
    return raised.value.status_code, raised.value.error.code


async def test_a_new_group_has_the_default_rules(world: ServedAzure) -> None:
    group = await write_group(world)
    assert [
        (
            rule.name,
            rule.priority,
            rule.direction,
            rule.access,
            rule.source_address_prefix,
            rule.destination_address_prefix,
        )
        for rule in group.default_security_rules
    ] == DEFAULT_RULES
    assert (group.security_rules, group.provisioning_state) == ([], "Succeeded")


async def test_a_group_is_read_as_it_was_written_and_listed(world: ServedAzure) -> None:
    written = await write_group(world, a_rule())
    read = await world.network.network_security_groups.get("azbox", "nsg")
    assert read.as_dict() == written.as_dict()
    (rule,) = read.security_rules
    assert rule.destination_port_ranges == ["80", "8000-8100"]
    assert rule.id == f"{read.id}/securityRules/web"
    assert [one.name async for one in world.network.network_security_groups.list("azbox")] == ["nsg"]
    assert [one.name async for one in world.network.network_security_groups.list_all()] == ["nsg"]


async def test_rules_come_and_go_one_by_one(world: ServedAzure) -> None:
    await write_group(world, a_rule())
    poller = await world.network.security_rules.begin_create_or_update(
        "azbox", "nsg", "dns", a_rule("dns", priority=210)
    )
    assert (await poller.result()).priority == 210
    assert (await world.network.security_rules.get("azbox", "nsg", "dns")).protocol == "Tcp"
    await (await world.network.security_rules.begin_delete("azbox", "nsg", "web")).result()
    assert [rule.name for rule in (await world.network.network_security_groups.get("azbox", "nsg")).security_rules] == [
        "dns"
    ]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"priority": 99}, "SecurityRuleInvalidPriority"),
        ({"priority": 4097}, "SecurityRuleInvalidPriority"),
        ({"source_address_prefix": "10.0.0.0/33"}, "SecurityRuleInvalidAddressPrefix"),
        ({"source_address_prefix": "NoSuchTag"}, "SecurityRuleInvalidAddressPrefix"),
        ({"source_address_prefix": None}, "SecurityRuleParameterNotSpecified"),
        ({"destination_port_ranges": ["70000"]}, "SecurityRuleInvalidPortRange"),
        ({"destination_port_ranges": ["90-80"]}, "SecurityRuleInvalidPortRange"),
        ({"protocol": "Gre"}, "InvalidRequestFormat"),
        ({"name": "-web"}, "InvalidRequestFormat"),
    ],
)
async def test_rules_that_azure_refuses(world: ServedAzure, changes: dict[str, Any], code: str) -> None:
    assert await refused(write_group(world, a_rule(**changes))) == (400, code)
    assert not any(document["name"] == "nsg" for document in world.azure.network.others.values())


async def test_two_rules_of_one_direction_differ_in_priority(world: ServedAzure) -> None:
    await write_group(world, a_rule("one"), a_rule("other", direction="Outbound"))
    assert await refused(write_group(world, a_rule("one"), a_rule("other"))) == (400, "SecurityRuleConflict")


async def test_what_a_rule_means_to_the_fabric(world: ServedAzure) -> None:
    group = await write_group(world, a_rule(priority=300), a_rule("first", priority=100))
    (effective,) = world.azure.effective().security_groups
    assert (effective.group_id, effective.name) == (group.id, "nsg")
    assert [rule.name for rule in effective.rules if rule.direction == "Inbound"] == [
        "first", "web", "AllowVnetInBound", "AllowAzureLoadBalancerInBound", "DenyAllInBound",
    ]  # fmt: skip
    first = effective.rules[0]
    assert (first.allow, first.protocol, first.source.prefixes) == (False, "Tcp", ("VirtualNetwork",))
    assert (first.destination.prefixes, first.destination.ports) == (("10.240.0.5",), ("80", "8000-8100"))


async def test_a_group_knows_who_refers_to_it_and_stays_until_nobody_does(world: ServedAzure) -> None:
    group = await write_group(world)
    document = world.azure.nic("vm1-nic")
    document["properties"]["networkSecurityGroup"] = {"id": group.id}
    path = document["id"]
    assert (await world.request("PUT", path, body=document)).status == 200
    subnets = world.network.subnets
    body = Subnet(address_prefix="10.240.0.0/24", network_security_group=NetworkSecurityGroup(id=group.id))
    subnet = await (await subnets.begin_create_or_update("azbox", "vnet", "nodes", body)).result()
    read = await world.network.network_security_groups.get("azbox", "nsg")
    assert [nic.id for nic in read.network_interfaces] == [path]
    assert [one.id for one in read.subnets] == [subnet.id]
    effective = world.azure.effective()
    assert effective.nics[0].security_group_id == group.id
    assert effective.vnets[0].subnets[0].security_group_id == group.id

    async def delete() -> None:
        await (await world.network.network_security_groups.begin_delete("azbox", "nsg")).result()

    assert await refused(delete()) == (400, "InUseNetworkSecurityGroupCannotBeDeleted")
    await (
        await subnets.begin_create_or_update("azbox", "vnet", "nodes", Subnet(address_prefix="10.240.0.0/24"))
    ).result()
    document["properties"].pop("networkSecurityGroup")
    await world.request("PUT", path, body=document)
    await delete()
    assert world.azure.effective().security_groups == ()


async def test_a_stale_write_of_a_group_is_refused(world: ServedAzure) -> None:
    group = await write_group(world)
    await write_group(world, a_rule())
    body = NetworkSecurityGroup(location="eastus")
    stale = world.network.network_security_groups.begin_create_or_update(
        "azbox", "nsg", body, headers={"If-Match": group.etag}
    )
    assert await refused(stale) == (412, "PreconditionFailed")


async def test_application_security_groups_are_those_of_all_configurations_of_a_nic(world: ServedAzure) -> None:
    body = ApplicationSecurityGroup(location="eastus")
    groups = world.network.application_security_groups
    made = [await (await groups.begin_create_or_update("azbox", name, body)).result() for name in ("web", "db")]
    document = world.azure.nic("vm1-nic")
    first, second = document["properties"]["ipConfigurations"]
    first["properties"]["applicationSecurityGroups"] = [{"id": group.id} for group in made]
    response = await world.request("PUT", document["id"], body=document)
    error = (await response.json())["error"]
    assert (response.status, error["code"]) == (
        400,
        "AllIpConfigurationsOnANicMustBelongToTheSameApplicationSecurityGroups",
    )
    # the same ones in another order, and in another spelling, are the same
    second["properties"]["applicationSecurityGroups"] = [{"id": group.id.upper()} for group in reversed(made)]
    assert (await world.request("PUT", document["id"], body=document)).status == 200
    addresses = world.azure.effective().nics[0].addresses
    assert [len(address.application_security_groups) for address in addresses] == [2, 2]

    async def delete() -> None:
        await (await groups.begin_delete("azbox", "web")).result()

    assert await refused(delete()) == (400, "InUseApplicationSecurityGroupCannotBeDeleted")


async def test_a_rule_may_name_application_security_groups_that_exist(world: ServedAzure) -> None:
    rule = a_rule(destination_address_prefix=None)
    rule.destination_application_security_groups = [ApplicationSecurityGroup(id="/subscriptions/s/none")]
    assert await refused(write_group(world, rule)) == (400, "InvalidResourceReference")
    group_id = world.azure.add_other("applicationSecurityGroups", "web")
    rule.destination_application_security_groups = [ApplicationSecurityGroup(id=group_id)]
    await write_group(world, rule)
    assert world.azure.effective().security_groups[0].rules[0].destination.group_ids == (group_id,)
    assert list(filters.users(world.azure.network, group_id)) == [
        ("securityRules", world.azure.effective().security_groups[0].group_id)
    ]


async def test_route_tables(world: ServedAzure) -> None:
    routes = [
        Route(name="out", address_prefix="0.0.0.0/0", next_hop_type=APPLIANCE, next_hop_ip_address="10.240.0.9"),
        Route(name="never", address_prefix="192.168.0.0/16", next_hop_type="None"),
    ]
    tables = world.network.route_tables

    async def write(*wanted: Route) -> RouteTable:
        body = RouteTable(location="eastus", routes=list(wanted))
        return await (await tables.begin_create_or_update("azbox", "table", body)).result()

    table = await write(*routes)
    assert [(route.name, route.next_hop_type) for route in table.routes] == [
        ("out", "VirtualAppliance"),
        ("never", "None"),
    ]
    (effective,) = world.azure.effective().route_tables
    assert [(route.prefix, route.kind, route.next_hop) for route in effective.routes] == [
        ("0.0.0.0/0", "VirtualAppliance", "10.240.0.9"),
        ("192.168.0.0/16", "None", None),
    ]
    twice = Route(name="again", address_prefix="0.0.0.0/0", next_hop_type="Internet")
    assert await refused(write(*routes, twice)) == (400, "RouteConflict")
    nowhere = Route(name="nowhere", address_prefix="10.0.0.0/8", next_hop_type=APPLIANCE)
    assert await refused(write(nowhere)) == (400, "InvalidRouteNextHopIPAddress")
    body = Subnet(address_prefix="10.240.0.0/24", route_table=RouteTable(id=table.id))
    await (await world.network.subnets.begin_create_or_update("azbox", "vnet", "nodes", body)).result()
    assert world.azure.effective().vnets[0].subnets[0].route_table_id == table.id

    async def delete() -> None:
        await (await tables.begin_delete("azbox", "table")).result()

    assert await refused(delete()) == (400, "InUseRouteTableCannotBeDeleted")


async def test_a_subnet_is_made_and_holds_what_was_written(world: ServedAzure) -> None:
    body = Subnet(
        address_prefix="10.240.4.0/24",
        service_endpoints=[ServiceEndpointPropertiesFormat(service="Microsoft.Storage")],
        default_outbound_access=False,
    )
    subnets = world.network.subnets
    await (await subnets.begin_create_or_update("azbox", "vnet", "apps", body)).result()
    read = await subnets.get("azbox", "vnet", "apps")
    assert (read.address_prefix, read.default_outbound_access) == ("10.240.4.0/24", False)
    assert [endpoint.service for endpoint in read.service_endpoints] == ["Microsoft.Storage"]
    vnet = await world.network.virtual_networks.get("azbox", "vnet")
    assert [subnet.name for subnet in vnet.subnets] == ["nodes", "apps"]
    world.azure.add_vm("vm2", subnet="apps")
    assert (
        world.azure.nic("vm2-nic")["properties"]["ipConfigurations"][0]["properties"]["privateIPAddress"]
        == "10.240.4.4"
    )


@pytest.mark.parametrize(
    ("name", "prefix", "code"),
    [
        ("apps", "10.250.0.0/24", "NetcfgSubnetRangeOutsideVnet"),
        ("apps", "10.240.0.128/25", "NetcfgSubnetRangesOverlap"),
        ("nodes", "10.240.1.0/24", "InUsePrefixCannotBeDeleted"),
        ("apps", "nonsense", "InvalidRequestFormat"),
    ],
)
async def test_subnets_that_azure_refuses(world: ServedAzure, name: str, prefix: str, code: str) -> None:
    work = world.network.subnets.begin_create_or_update("azbox", "vnet", name, Subnet(address_prefix=prefix))
    assert await refused(work) == (400, code)
    assert [subnet.name async for subnet in world.network.subnets.list("azbox", "vnet")] == ["nodes"]


async def test_the_writer_of_a_subnet_may_join_what_it_names(world: ServedAzure) -> None:
    group = await write_group(world)
    world.azure.identity.set_permissions(["*", "!Microsoft.Network/networkSecurityGroups/join/action"])
    body = Subnet(address_prefix="10.240.0.0/24", network_security_group=NetworkSecurityGroup(id=group.id))
    work = world.network.subnets.begin_create_or_update("azbox", "vnet", "nodes", body)
    assert await refused(work) == (403, "LinkedAuthorizationFailed")


async def test_a_storage_account_lets_in_only_subnets_with_the_endpoint(world: ServedAzure) -> None:
    azure, subnet = world.azure, world.azure.subnet("nodes")
    with pytest.raises(errors.ArmError) as raised:
        resources.put_storage(azure, "data", open_to_all=False, subnet_ids=[subnet.id])
    assert raised.value.code == "SubnetsHaveNoServiceEndpointsConfigured"
    subnet.service_endpoints = ("Microsoft.Storage",)
    resources.put_storage(azure, "data", open_to_all=False, subnet_ids=[subnet.id])
    (account,) = azure.effective().storage
    assert (account.name, account.open, account.subnet_ids) == ("data", False, (subnet.id,))


async def test_listeners_hear_of_each_change(world: ServedAzure) -> None:
    heard: list[int] = []
    world.azure.subscribe(lambda network: heard.append(len(network.security_groups)))
    await write_group(world)
    await write_group(world, name="other")
    await (await world.network.network_security_groups.begin_delete("azbox", "nsg")).result()
    assert heard == [1, 2, 1]
