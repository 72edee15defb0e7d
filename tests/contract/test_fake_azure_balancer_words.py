"""The words of the command line about load balancers, public IP addresses, NAT gateways and further NICs."""

from collections.abc import AsyncIterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from contract.test_fake_azure_admin import Box
from fakeazure import FakeAzure
from fakeazure.adminbalancers import ROUTES
from fakeazure.imds import document


@pytest.fixture
async def box(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> AsyncIterator[Box]:
    azure = FakeAzure(seed=1)
    azure.add_vnet(subnets={"nodes": "10.240.0.0/27", "back": "10.240.1.0/27"})
    azure.add_vm("vm1", secondaries=2)
    azure.add_vm("vm2", secondaries=1)
    async with azure.serve(admin_socket=tmp_path / "admin.sock"):
        yield Box(azure, tmp_path / "admin.sock", capsys)


async def test_an_internal_load_balancer_and_its_members(box: Box) -> None:
    assert await box.say("load-balancers") == "no load-balancers\n"
    words = ("--backend-port", "8080", "--probe", "http:8080/healthz", "--interval", "7", "--threshold", "2")
    shown = await box.say("add-load-balancer", "web", "--address", "10.240.0.20", *words)
    assert "web   Standard  10.240.0.20  tcp/80  8080" in shown
    await box.say("join", "web", "10.240.0.5", "10.240.0.8")
    assert "10.240.0.5 10.240.0.8" in await box.say("load-balancers")
    rule = box.azure.effective().load_balancers[0].rules[0]
    assert rule.probe is not None
    assert (rule.probe.path, rule.probe.interval_s, rule.probe.threshold) == ("/healthz", 7.0, 2)
    assert '"backendIPConfigurations"' in await box.say("load-balancer", "web")

    box.azure.healthy_members = lambda: {(rule.probe.probe_id, IPv4Address("10.240.0.8"))} if rule.probe else set()
    row = (await box.say("load-balancers")).splitlines()[1]
    assert row.split()[-2:] == ["10.240.0.8", "10.240.0.5"]
    await box.say("leave", "web", "10.240.0.5")
    assert "10.240.0.5" not in await box.say("load-balancers")
    assert "no NIC has 10.240.0.99" in await box.say("join", "web", "10.240.0.99", code=1)
    assert "no loadBalancers 'other'" in await box.say("join", "other", "10.240.0.5", code=1)
    assert "say tcp:PORT or http:PORT/PATH" in await box.say("add-load-balancer", "x", "--probe", "icmp", code=1)
    await box.say("delete-load-balancer", "web")
    assert box.azure.effective().load_balancers == ()


async def test_a_public_load_balancer_and_a_way_out(box: Box) -> None:
    await box.say("add-public-ip", "front")
    await box.say("add-load-balancer", "web", "--public-ip", "front", "--outbound", "--floating-ip")
    assert "web   Standard  198.51.100.128  tcp/80  floating" in await box.say("load-balancers")
    assert "loadBalancers/web/frontendIPConfigurations" not in await box.say("public-ips")
    assert "front  198.51.100.128  Standard  web/frontend" in await box.say("public-ips")
    assert "PublicIPAddressCannotBeDeleted" in await box.say("delete-public-ip", "front", code=1)
    (outbound,) = box.azure.effective().load_balancers[0].outbound_rules
    assert (outbound.protocol, outbound.public_addresses) == ("All", ("198.51.100.128",))


async def test_a_public_ip_is_assigned_and_taken_away(box: Box) -> None:
    await box.say("add-public-ip", "own")
    await box.say("assign", "own", "10.240.0.6")
    assert "own   198.51.100.128  Standard  vm1-nic/secondary-2" in await box.say("public-ips")
    assert [one.public_ip for one in box.azure.effective().nics[0].addresses] == [None, None, "198.51.100.128"]
    assert "PublicIPAddressInUse" in await box.say("assign", "own", "10.240.0.8", code=1)
    await box.say("assign", "own")
    assert [one.public_ip for one in box.azure.effective().nics[0].addresses] == [None, None, None]
    assert "no IP configuration has it" in await box.say("assign", "own", code=1)
    await box.say("delete-public-ip", "own")
    assert await box.say("public-ips") == "no public-ips\n"


async def test_a_nat_gateway_comes_and_goes_with_its_address(box: Box) -> None:
    assert "nat   198.51.100.128  nodes" in await box.say("add-nat-gateway", "nat", "nodes")
    assert box.azure.effective().vnets[0].subnets[0].nat_addresses == ("198.51.100.128",)
    await box.say("add-nat-gateway", "nat", "back")
    assert [one.nat_addresses for one in box.azure.effective().vnets[0].subnets] == [(), ("198.51.100.128",)]
    assert "nat   198.51.100.128  back" in await box.say("nat-gateways")
    await box.say("delete-nat-gateway", "nat")
    assert (await box.say("nat-gateways"), await box.say("public-ips")) == ("no nat-gateways\n", "no public-ips\n")


async def test_a_vm_with_two_nics(box: Box) -> None:
    await box.say("add-nic", "vm1", "--subnet", "back")
    assert "vm1-nic2  vm1  back" in await box.say("nics")
    first, *_, second = (nic for nic in box.azure.effective().nics if nic.vm_name == "vm1")
    assert [first.is_primary, second.is_primary] == [True, False]
    assert second.addresses[0].address == "10.240.1.4"
    assert len(box.azure.vm("vm1").document()["properties"]["networkProfile"]["networkInterfaces"]) == 2
    interfaces = document(box.azure, box.azure.vm("vm1"))["network"]["interface"]
    assert [one["ipv4"]["subnet"][0]["address"] for one in interfaces] == ["10.240.0.0", "10.240.1.0"]
    assert "not one of its further NICs" in await box.say("remove-nic", "vm1", "vm1-nic", code=1)
    await box.say("remove-nic", "vm1", "vm1-nic2")
    assert "vm1-nic2" not in await box.say("nics")
    await box.say("add-nic", "vm1", "--subnet", "back")
    await box.say("delete-vm", "vm1")
    assert "vm1" not in await box.say("nics")


async def test_the_help_names_each_word(box: Box) -> None:
    said = await box.say("--help")
    for word in ("load-balancers", "add-load-balancer", "join", "leave", "public-ips", "assign", "add-nat-gateway"):
        assert word in said


def test_every_route_is_said_in_the_modules_docstring() -> None:
    text = __import__("fakeazure.adminbalancers", fromlist=["__doc__"]).__doc__ or ""
    for method, path in ROUTES:
        assert any(line.split()[:2] == [method, path] for line in text.splitlines()), (method, path)
