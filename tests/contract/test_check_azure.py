"""`azure-cni check --azure` as a person runs it: the real SDK, with the person's credential, against the fake Azure.

The cluster behind it is fake; what of Azure is looked at, how it is judged, and which command is named, is not.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from contract.check_azure_world import CODES, NODES, World, azure_and_a_person
from fakeazure import natgateways
from fakeazure.adminbalancers import Join, PutLoadBalancer, PutPublicIp
from fakeazure.adminfilters import ChangeSubnet, PutResource


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[World]:
    async with azure_and_a_person(monkeypatch, tmp_path) as opened:
        yield opened


def rule(name: str, *, priority: int = 200, **changes: Any) -> dict[str, Any]:
    given = {
        "priority": priority,
        "direction": "Inbound",
        "access": "Deny",
        "protocol": "*",
        "sourceAddressPrefix": "*",
        "sourcePortRange": "*",
        "destinationAddressPrefix": "*",
        "destinationPortRange": "*",
    }
    return {"name": name, "properties": given | changes}


@pytest.mark.parametrize("flags", [("--azure",), ("--pre", "--azure")])
async def test_all_is_well_and_only_reads_were_made(world: World, flags: tuple[str, ...]) -> None:
    answer = await world.answer(*flags, installed="--pre" not in flags)
    found = {one["code"]: one for one in answer["checks"] if one["group"] == "azure"}
    assert {code: found[code]["result"] for code in CODES} == dict.fromkeys(CODES, "good")
    assert (answer["exit"], answer["notes"]) == (0, [])
    assert "default outbound access" in found["NoWayOut"]["message"]
    assert not [name for name in world.azure.calls if name.endswith((".put", ".delete"))]


async def test_azure_is_asked_only_by_whom_wants_it(world: World) -> None:
    before = dict(world.azure.calls)
    answer = await world.answer()
    assert dict(world.azure.calls) == before
    assert "azure-cni check --azure" in answer["notes"][0]


@pytest.mark.parametrize("where", [{"subnet": "nodes"}, {"nic": "vm1-nic"}])
async def test_a_group_that_shuts_pods_off(world: World, where: dict[str, str]) -> None:
    world.put_group("strict", rule("no-vnet", sourceAddressPrefix="VirtualNetwork"), **where)
    found = await world.check("--azure")
    shut = found["PodsShutOff"]
    named = "vm1, vm2" if "subnet" in where else "vm1"
    assert shut["result"] == "bad"
    assert shut["message"] == (
        f"{named}: rule no-vnet (priority 200) of group strict denies traffic from the VNet to pods"
    )
    assert shut["command"] == (
        f"az network nsg rule create --subscription {world.azure.subscription_id} -g azbox --nsg-name strict "
        "-n azure-cni-inbound-199 --priority 199 --direction Inbound --access Allow --protocol '*' "
        "--source-address-prefixes VirtualNetwork --destination-address-prefixes VirtualNetwork "
        "--destination-port-ranges '*'"
    )
    assert (await world.answer("--azure"))["exit"] == 1
    await world.mend(shut["command"])
    assert (await world.check("--azure"))["PodsShutOff"]["result"] == "good"


async def test_a_group_that_shuts_probes_out(world: World) -> None:
    within = {"sourceAddressPrefix": "10.240.0.0/16", "access": "Allow"}
    world.put_group(
        "strict", rule("inside", priority=100, **within), rule("nothing-else", priority=4096), subnet="nodes"
    )
    found = await world.check("--azure")
    assert found["PodsShutOff"]["result"] == "good"
    assert found["ProbesShutOut"]["result"] == "warning"
    assert found["ProbesShutOut"]["message"] == (
        "vm1, vm2: rule nothing-else (priority 4096) of group strict denies traffic from load balancers' probes "
        "(168.63.129.16)"
    )
    await world.mend(found["ProbesShutOut"]["command"])
    assert (await world.check("--azure"))["ProbesShutOut"]["result"] == "good"


async def test_a_group_that_keeps_nodes_from_azure(world: World) -> None:
    world.put_group(
        "strict", rule("no-internet", direction="Outbound", destinationAddressPrefix="Internet"), nic="vm2-nic"
    )
    found = (await world.check("--azure"))["OutboundDenied"]
    assert found["result"] == "bad"
    assert "to Azure Resource Manager" in found["message"]
    assert "--destination-address-prefixes AzureResourceManager --destination-port-ranges 443" in found["command"]
    await world.mend(found["command"])
    assert (await world.check("--azure"))["OutboundDenied"]["result"] == "good"


async def test_the_nic_of_a_pod_subnet_is_the_one_that_is_judged(world: World) -> None:
    """Its pods leave it with their own addresses, for which Azure lends no way out. The nodes' own subnet has one."""
    world.azure.add_nic("vm1", subnet="others")
    found = await ways_out_of_pods(world)
    assert found["result"] == "bad"
    assert "vm1: subnet others has no NAT gateway and no route to a firewall" in found["message"]
    assert "vm2" not in found["message"]
    await world.mend(found["command"])
    found = await ways_out_of_pods(world)
    assert (found["result"], "NAT gateway azure-cni-nat" in found["message"]) == ("good", True)


async def ways_out_of_pods(world: World) -> dict[str, Any]:
    answer = await world.answer("--azure", nics={"vm1": "vm1-nic2"})
    return next(one for one in answer["checks"] if one["code"] == "NoWayOut")


async def test_a_private_subnet_without_a_gateway(world: World) -> None:
    ChangeSubnet(name="nodes", default_outbound=False).run(world.azure)
    found = (await world.check("--azure"))["NoWayOut"]
    assert found["result"] == "bad"
    assert "vm1, vm2: subnet nodes has no NAT gateway and no default outbound access" in found["message"]
    assert f"az network vnet subnet update --ids {world.azure.subnet('nodes').id}" in found["command"]
    await world.mend(found["command"])
    found = (await world.check("--azure"))["NoWayOut"]
    assert (found["result"], "NAT gateway azure-cni-nat" in found["message"]) == ("good", True)


@pytest.mark.parametrize(
    ("hop", "result", "words"),
    [
        ({"nextHopType": "VirtualAppliance", "nextHopIpAddress": "10.240.1.4"}, "good", "appliance 10.240.1.4"),
        ({"nextHopType": "None"}, "bad", "route out of route table table drops it"),
    ],
)
async def test_a_route_for_everything(world: World, hop: dict[str, str], result: str, words: str) -> None:
    routes = [{"name": "out", "properties": {"addressPrefix": "0.0.0.0/0", **hop}}]
    PutResource(kind="routeTables", name="table", properties={"routes": routes}).run(world.azure)
    ChangeSubnet(name="nodes", route_table="table", default_outbound=False).run(world.azure)
    found = (await world.check("--azure"))["NoWayOut"]
    assert (found["result"], words in found["message"]) == (result, True)


async def test_a_gateway_is_a_way_out_once_it_has_an_address(world: World) -> None:
    azure = world.azure
    gateway = natgateways.write(
        azure, azure.id_of("azbox", "Microsoft.Network/natGateways", "nat"), {"location": azure.location}
    )["id"]
    azure.associate_nat_gateway("nodes", gateway)
    found = (await world.check("--azure"))["NoWayOut"]
    assert found["result"] == "bad"
    assert "NAT gateway nat of subnet nodes has no public IP address" in found["message"]
    address = azure.add_public_ip("out", "203.0.113.7")
    natgateways.write(
        azure, gateway, {"location": azure.location, "properties": {"publicIpAddresses": [{"id": address}]}}
    )
    found = (await world.check("--azure"))["NoWayOut"]
    assert (found["result"], "vm1, vm2: NAT gateway nat" in found["message"]) == ("good", True)


async def test_a_balancer_whose_pool_the_cloud_controller_fills_by_writing_nics(world: World) -> None:
    azure, service = world.azure, "a" + 31 * "0"
    made = PutLoadBalancer(name="kubernetes-internal", subnet="nodes", pool="kubernetes").run(azure)
    made["properties"]["loadBalancingRules"][0]["name"] = f"{service}-TCP-80"
    PutLoadBalancer(name="kubernetes-internal", document=made).run(azure)
    primary = azure.nic("vm1-nic")["properties"]["ipConfigurations"][0]["properties"]["privateIPAddress"]
    Join(name="kubernetes-internal", pool="kubernetes", addresses=(primary,)).run(azure)
    found = await world.check("--azure")
    assert found["PoolsByNic"]["result"] == "warning"
    assert "load balancer kubernetes-internal has NICs of nodes in its pools: vm1;" in found["PoolsByNic"]["message"]
    assert found["PoolsByNic"]["command"] == (
        f"az network nic ip-config address-pool remove --subscription {azure.subscription_id} -g azbox --nic-name "
        f"vm1-nic --ip-config-name ipconfig1 --address-pool {made['id']}/backendAddressPools/kubernetes"
    )
    await world.mend(found["PoolsByNic"]["command"])
    assert (await world.check("--azure"))["PoolsByNic"]["result"] == "good"
    assert (found["NoWayOut"]["result"], found["ProbesShutOut"]["result"]) == ("bad", "good")
    assert (
        "vm1: subnet nodes has no NAT gateway, and being in a pool of kubernetes-internal"
        in found["NoWayOut"]["message"]
    )


async def test_an_outbound_rule_is_a_way_out_and_its_pool_no_mistake(world: World) -> None:
    azure = world.azure
    PutPublicIp(name="out").run(azure)
    PutLoadBalancer(name="outbound", public_ip="out", outbound=True).run(azure)
    primaries = tuple(
        str(azure.nic(f"{name}-nic")["properties"]["ipConfigurations"][0]["properties"]["privateIPAddress"])
        for name in NODES
    )
    Join(name="outbound", addresses=primaries).run(azure)
    found = await world.check("--azure")
    assert (found["NoWayOut"]["result"], found["PoolsByNic"]["result"]) == ("good", "good")
    assert "load balancer outbound" in found["NoWayOut"]["message"]


@pytest.mark.parametrize(("mode", "result"), [("Uniform", "warning"), ("", "warning"), ("Flexible", "good")])
async def test_a_scale_set_is_what_azure_says(world: World, mode: str, result: str) -> None:
    sets = world.azure.id_of("azbox", "Microsoft.Compute/virtualMachineScaleSets", "workers")
    world.azure.scale_sets[sets.lower()] = mode
    answer = await world.answer("--pre", "--azure", installed=False, vm1=f"{sets}/virtualMachines/3")
    found = {one["code"]: one for one in answer["checks"] if one["group"] == "azure"}
    assert found["ScaleSetMode"]["result"] == result
    assert found["NicNotFound"]["result"] == "unknown"


async def test_vms_of_nodes_that_do_not_name_them_are_found_by_name(world: World) -> None:
    group = world.azure.vm("vm1").id.partition("/providers/")[0]
    answer = await world.answer("--pre", "--azure", installed=False, vm1="", vm2="")
    assert next(one for one in answer["checks"] if one["code"] == "NicNotFound")["result"] == "unknown"
    answer = await world.answer("--pre", "--azure", "--resource-group", group, installed=False, vm1="", vm2="")
    assert {one["code"]: one["result"] for one in answer["checks"] if one["group"] == "azure"} == dict.fromkeys(
        CODES, "good"
    )
