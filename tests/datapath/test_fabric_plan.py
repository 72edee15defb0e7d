"""What the fabric decides before it touches the kernel: cables, views and public addresses. Needs no root."""

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from azurebox.fabric.plan import EMPTY, EVERYTHING, NOTHING, Plan, make_plan
from azurebox.fabric.ruleset import render
from azurebox.steps import StepError
from datapath.fabric_lab import (
    PRIMARY_1,
    PRIMARY_2,
    PUBLIC_IP,
    PUBLISHED_1,
    a_network,
    a_nic,
    an_address,
    with_nic,
    without_address,
)
from fakeazure.effective import EffectiveNetwork

NETWORK = a_network("box")
BORROWERS = without_address(NETWORK, 0, PUBLISHED_1)  # no VM of it has a public IP of its own
CABLES = {
    "p-vm1": "00:0d:3a:00:00:01",
    "p-vm2": "00:0d:3a:00:00:02",
    "p-peer": "00:0d:3a:00:f0:01",
    "p-onprem": "00:0d:3a:00:f0:02",
}


def plan_of(
    network: EffectiveNetwork, *, cables: dict[str, str] = CABLES, lent: dict[IPv4Address, IPv4Address] | None = None
) -> Plan:
    return make_plan(network, cables=cables, lent=lent or {})


def test_cables_find_their_nics_by_mac() -> None:
    plan = plan_of(with_nic(NETWORK, 0, mac="00:0D:3A:00:00:01"))
    assert {port.device: port.primary for port in plan.ports} == {
        "p-vm1": IPv4Address(PRIMARY_1),
        "p-vm2": IPv4Address(PRIMARY_2),
        "p-peer": None,
        "p-onprem": None,
    }
    assert plan.unused == ()


def test_a_nic_without_cable_is_left_out_and_a_cable_without_nic_is_shut() -> None:
    cables = {"p-vm1": CABLES["p-vm1"], "p-new": "00:0d:3a:00:00:77"}
    plan = plan_of(NETWORK, cables=cables)
    assert [port.device for port in plan.ports] == ["p-vm1"]
    assert plan.unused == ("p-new",)
    assert 'device "p-new" priority 0; policy accept;\ndrop\n' in render(plan)
    assert PRIMARY_2 not in render(plan)


def test_a_nic_that_azure_has_stripped_of_its_addresses_lets_nothing_pass() -> None:
    plan = plan_of(with_nic(NETWORK, 0, addresses=()))
    assert plan.ports[0].addresses == ()
    assert PRIMARY_1 not in render(plan)


def test_views_follow_peering() -> None:
    plan = plan_of(NETWORK)
    by_device = {port.device: port.view for port in plan.ports}
    assert plan.views[by_device["p-vm1"]] == {"p-vm1", "p-vm2", "p-peer", "p-onprem"}
    assert by_device["p-onprem"] == EVERYTHING

    alone = plan_of(replace(NETWORK, vnets=(replace(NETWORK.vnets[0], peered_vnet_ids=()), NETWORK.vnets[1])))
    by_device = {port.device: port.view for port in alone.ports}
    assert alone.views[by_device["p-vm1"]] == {"p-vm1", "p-vm2", "p-onprem"}
    assert alone.views[by_device["p-peer"]] == {"p-peer", "p-onprem"}


def test_the_peer_reaches_nothing_when_no_vnet_holds_its_address() -> None:
    plan = plan_of(replace(NETWORK, vnets=NETWORK.vnets[:1]))
    assert {port.device: port.view for port in plan.ports}["p-peer"] == NOTHING
    assert plan.views[NOTHING] == frozenset()


def test_vms_borrow_outbound_addresses_in_the_order_of_their_nics() -> None:
    public = plan_of(BORROWERS).public
    assert public[IPv4Address(PRIMARY_1)] == IPv4Address("198.51.100.10")
    assert public[IPv4Address(PRIMARY_2)] == IPv4Address("198.51.100.11")
    public = plan_of(NETWORK).public
    assert public[IPv4Address(PUBLISHED_1)] == IPv4Address(PUBLIC_IP)
    assert IPv4Address(PRIMARY_1) not in public  # its VM has a public IP


def test_a_borrowed_address_is_kept_unless_it_became_someones_own() -> None:
    lent = {IPv4Address(PRIMARY_2): IPv4Address("198.51.100.10")}
    public = plan_of(BORROWERS, lent=lent).public
    assert public[IPv4Address(PRIMARY_2)] == IPv4Address("198.51.100.10")
    assert public[IPv4Address(PRIMARY_1)] == IPv4Address("198.51.100.11")

    lent = {IPv4Address(PRIMARY_2): IPv4Address(PUBLIC_IP)}
    public = plan_of(NETWORK, lent=lent).public
    assert public[IPv4Address(PRIMARY_2)] == IPv4Address("198.51.100.10")


def test_no_public_address_is_lent_twice_and_the_last_one_is_reported() -> None:
    crowd = [
        a_nic(f"box-{n}", f"00:0d:3a:00:01:{n:02x}", (an_address(f"10.240.1.{n}", primary=True),)) for n in range(245)
    ]
    cables = {f"p-{n}": nic.mac for n, nic in enumerate(crowd)}
    # .10 to .253 are there to lend, .254 is the peer's
    public = plan_of(replace(NETWORK, nics=tuple(crowd[:244])), cables=cables).public
    assert len(set(public.values())) == 244
    with pytest.raises(StepError, match="cannot lend a default outbound address"):
        plan_of(replace(NETWORK, nics=tuple(crowd)), cables=cables)


def test_the_empty_plan_lets_nothing_through() -> None:
    text = render(EMPTY)
    assert 'device "core1" priority 0; policy accept;\nip daddr vmap @everything\ndrop\n' in text
    assert "fwd" not in text
