"""Route tables and service endpoints in the fabric, with real traffic: which way it takes, and who sees whom."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from azurebox.fabric.appliance import become_appliance, spoken_through
from azurebox.fabric.kernel import configure
from datapath.fabric_lab import (
    PRIMARY_1,
    PRIMARY_2,
    SECOND_1,
    SECOND_2,
    Lab,
    a_nic,
    an_address,
    with_nic,
)
from datapath.namespaces import NEEDS_ROOT
from fakeazure.effective import EffectiveNetwork, EffectiveSubnet
from fakeazure.effectivefilters import (
    EffectiveEnd,
    EffectiveRoute,
    EffectiveRouteTable,
    EffectiveRule,
    EffectiveSecurityGroup,
    EffectiveStorage,
)
from fakeazure.securitygroups import effective

pytestmark = NEEDS_ROOT

PORT = 7000
PEER, ONPREM, INTERNET = "10.241.0.4", "192.168.50.10", "203.0.113.10"
STORAGE = "198.51.100.2"
IMDS = ("169.254.169.254", 80)
TABLE = "/tables/Main"
NODES, APPS = "/vnets/main/subnets/nodes", "/vnets/main/subnets/apps"
APPLIANCE, OTHER = "10.240.4.4", "10.240.4.5"


def route(prefix: str, kind: str, hop: str | None = None) -> EffectiveRoute:
    return EffectiveRoute(f"{kind}-{prefix}", prefix, kind, hop)  # type: ignore[arg-type]


def routed(network: EffectiveNetwork, *routes: EffectiveRoute) -> EffectiveNetwork:
    """The network with these routes on the subnet of the two VMs."""
    main, *others = network.vnets
    nodes = replace(main.subnets[0], route_table_id=TABLE.lower())
    table = EffectiveRouteTable(TABLE, routes)
    main = replace(main, subnets=(nodes, *main.subnets[1:]))
    return replace(network, vnets=(main, *others), route_tables=(table,))


@pytest.fixture
def wide(lab: Lab) -> Iterator[Lab]:
    """The lab with a second subnet, in which are an appliance and another VM."""
    prefix = lab.fabric.prefix
    main, *others = lab.network.vnets
    apps = EffectiveSubnet(APPS, prefix="10.240.4.0/24", default_outbound=True)
    nics = [
        replace(
            a_nic(f"{prefix}-{name}", mac, (an_address(address, primary=True),)),
            subnet_id=APPS,
            ip_forwarding=forwards,
        )
        for name, mac, address, forwards in (
            ("fw", "00:0d:3a:00:00:03", APPLIANCE, True),
            ("app", "00:0d:3a:00:00:04", OTHER, False),
        )
    ]
    before = lab.network
    main = replace(main, subnets=(*main.subnets, apps))
    lab.network = replace(before, vnets=(main, *others), nics=(*before.nics, *nics))
    for nic in nics:
        lab.fabric.attach(nic.vm_name, nic.mac)
        address = nic.addresses[0].address
        configure(
            nic.vm_name,
            [f"address replace {address}/24 dev eth0", "route replace default via 10.240.4.1 dev eth0"],
        )
    become_appliance(f"{prefix}-fw")
    try:
        lab.apply()
        yield lab
    finally:
        lab.close()
        lab.network = before
        for nic in nics:
            lab.fabric.detach(nic.vm_name)


def seen_by_appliance(lab: Lab) -> set[tuple[str, str]]:
    """Who spoke to whom through it."""
    return {(str(one), str(other)) for one, other in spoken_through(f"{lab.fabric.prefix}-fw")}


@contextmanager
def called(lab: Lab, place: str, source: str, target: str) -> Iterator[str]:
    """Call the target's listener; the address that it sees."""
    listener = lab.listener(place, target, PORT)
    lab.connect(lab.vm1, source, (target, PORT))
    accepted, caller = listener.accept()
    accepted.close()
    yield caller[0]
    listener.close()


def test_traffic_goes_through_the_appliance_and_keeps_its_source(wide: Lab) -> None:
    wide.apply(routed(wide.network, route("10.241.0.0/16", "VirtualAppliance", APPLIANCE)))
    assert wide.whoami(wide.vm1, SECOND_1, PEER) == {"host": "peer", "caller": SECOND_1}
    assert seen_by_appliance(wide) == {(SECOND_1, PEER)}  # the way back has no such route
    assert wide.whoami(wide.vm1, SECOND_1, ONPREM) == {"host": "onprem", "caller": SECOND_1}
    assert (SECOND_1, ONPREM) not in seen_by_appliance(wide)


def test_a_neighbour_of_the_same_subnet_by_a_more_specific_route(wide: Lab) -> None:
    wide.apply(routed(wide.network, route("10.240.0.0/22", "VirtualAppliance", APPLIANCE)))
    with called(wide, wide.vm2, SECOND_1, SECOND_2) as caller:
        assert caller == SECOND_1
    assert {(SECOND_1, SECOND_2), (SECOND_2, SECOND_1)} <= seen_by_appliance(wide)


def test_the_longest_prefix_decides(wide: Lab) -> None:
    wide.apply(
        routed(
            wide.network,
            route("10.241.0.0/16", "None"),
            route(f"{PEER}/32", "VirtualAppliance", APPLIANCE),
            route("0.0.0.0/0", "None"),
        )
    )
    assert wide.whoami(wide.vm1, SECOND_1, PEER)["caller"] == SECOND_1
    assert (SECOND_1, PEER) in seen_by_appliance(wide)
    assert wide.unanswered(wide.vm2, PRIMARY_2, (INTERNET, 80))
    assert wide.whoami(wide.vm1, SECOND_1, ONPREM)["caller"] == SECOND_1  # the gateway's own prefix is longer than /0


@pytest.mark.parametrize("prefix", ["10.241.0.0/16", f"{PEER}/32"])
def test_none_drops(wide: Lab, prefix: str) -> None:
    wide.apply(routed(wide.network, route(prefix, "None")))
    assert wide.unanswered(wide.vm1, SECOND_1, (PEER, 80))
    assert wide.connects(wide.vm1, SECOND_1, (ONPREM, 80))


def test_an_appliance_without_ip_forwarding_gets_nothing(wide: Lab) -> None:
    network = routed(wide.network, route("10.241.0.0/16", "VirtualAppliance", APPLIANCE))
    wide.apply(with_nic(network, 2, ip_forwarding=False))
    assert wide.unanswered(wide.vm1, SECOND_1, (PEER, 80))


def test_an_appliance_that_nobody_is_drops(wide: Lab) -> None:
    wide.apply(routed(wide.network, route("10.241.0.0/16", "VirtualAppliance", "10.240.4.99")))
    assert wide.unanswered(wide.vm1, SECOND_1, (PEER, 80))


def test_internet_is_no_way_into_the_vnet_and_a_way_to_the_internet(wide: Lab) -> None:
    wide.apply(routed(wide.network, route("0.0.0.0/0", "Internet"), route("10.241.0.0/16", "Internet")))
    assert wide.whoami(wide.vm2, PRIMARY_2, INTERNET)["host"] == "internet"
    assert wide.unanswered(wide.vm1, SECOND_1, (PEER, 80))


def test_the_vnets_own_route_beats_a_wider_one_and_yields_to_the_same(wide: Lab) -> None:
    wide.listener(wide.vm2, SECOND_2, PORT)
    wide.apply(routed(wide.network, route("10.0.0.0/8", "None")))
    assert wide.connects(wide.vm1, SECOND_1, (SECOND_2, PORT))
    wide.apply(routed(wide.network, route("10.240.0.0/16", "None")))
    assert wide.unanswered(wide.vm1, SECOND_1, (SECOND_2, PORT))
    wide.apply(routed(wide.network, route("10.240.0.0/16", "None"), route("10.240.0.0/22", "VnetLocal")))
    assert wide.connects(wide.vm1, SECOND_1, (SECOND_2, PORT))


def test_the_platform_is_no_matter_of_routes(wide: Lab) -> None:
    wide.listener(wide.fabric.namespace, *IMDS)
    wide.apply(routed(wide.network, route("0.0.0.0/0", "None"), route("169.254.0.0/16", "None")))
    assert wide.connects(wide.vm1, PRIMARY_1, IMDS)


def test_routes_are_those_of_a_subnet(wide: Lab) -> None:
    wide.apply(routed(wide.network, route("10.241.0.0/16", "None")))
    assert wide.connects(f"{wide.fabric.prefix}-app", OTHER, (PEER, 80))


def with_storage(
    network: EffectiveNetwork, *, endpoints: tuple[str, ...], allowed: tuple[str, ...]
) -> EffectiveNetwork:
    """A storage account that lets in the subnets `allowed`; those in `endpoints` have a service endpoint."""
    main, *others = network.vnets
    subnets = tuple(
        replace(subnet, service_endpoints=("Microsoft.Storage",)) if subnet.subnet_id in endpoints else subnet
        for subnet in main.subnets
    )
    account = EffectiveStorage("data", open=False, subnet_ids=allowed)
    return replace(network, vnets=(replace(main, subnets=subnets), *others), storage=(account,))


def status_of(lab: Lab, namespace: str, source: str) -> tuple[int, str]:
    """What the storage host answers."""
    calling = lab.connect(namespace, source, (STORAGE, 80))
    calling.sendall(b"GET /whoami HTTP/1.0\r\n\r\n")
    with calling.makefile("rb") as reply:
        head, _, body = reply.read().partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode()


def test_a_subnet_with_the_endpoint_is_let_in_by_its_private_address(wide: Lab) -> None:
    wide.apply(with_storage(wide.network, endpoints=(NODES,), allowed=(NODES,)))
    for source in (PRIMARY_1, SECOND_1):
        status, body = status_of(wide, wide.vm1, source)
        assert status == 200
        assert json.loads(body) == {"host": "storage", "caller": source, "subnet": NODES}
    status, body = status_of(wide, f"{wide.fabric.prefix}-app", OTHER)
    assert (status, "AuthorizationFailure" in body) == (403, True)


def test_an_endpoint_alone_lets_nobody_in(wide: Lab) -> None:
    wide.apply(with_storage(wide.network, endpoints=(NODES, APPS), allowed=(APPS,)))
    assert status_of(wide, wide.vm1, PRIMARY_1)[0] == 403
    assert status_of(wide, f"{wide.fabric.prefix}-app", OTHER)[0] == 200


def test_without_the_endpoint_a_subnet_comes_by_its_public_address(wide: Lab) -> None:
    network = with_storage(wide.network, endpoints=(), allowed=())
    wide.apply(replace(network, storage=(EffectiveStorage("data", open=True, subnet_ids=()),)))
    status, body = status_of(wide, wide.vm2, PRIMARY_2)
    assert status == 200
    assert json.loads(body)["caller"].startswith("198.51.100.")
    assert json.loads(body)["subnet"] == ""
    assert wide.unanswered(wide.vm1, SECOND_1, (STORAGE, 80))  # no way out of its own


def test_an_endpoint_is_not_overridden_by_a_route(wide: Lab) -> None:
    network = with_storage(wide.network, endpoints=(NODES,), allowed=(NODES,))
    wide.apply(routed(network, route("0.0.0.0/0", "None"), route(f"{STORAGE}/32", "None")))
    assert status_of(wide, wide.vm1, SECOND_1)[0] == 200


def test_a_security_group_judges_both_legs_through_an_appliance(wide: Lab) -> None:
    """What the source's and the appliance's NICs let through is judged again where it arrives."""
    deny = EffectiveRule(
        "closed",
        100,
        "Inbound",
        allow=False,
        protocol="Tcp",
        source=EffectiveEnd((f"{SECOND_1}/32",), (), ("*",)),
        destination=EffectiveEnd(("*",), (), ("*",)),
    )
    opened, closed = (
        EffectiveSecurityGroup(f"/groups/{name}", name, (*rules, *effective(f"/groups/{name}", {}).rules))
        for name, rules in (("open", ()), ("closed", (deny,)))
    )
    network = routed(wide.network, route("10.240.0.0/22", "VirtualAppliance", APPLIANCE))
    network = replace(network, security_groups=(opened, closed))
    for index, group in ((0, opened), (1, closed), (2, opened)):
        network = with_nic(network, index, security_group_id=group.group_id)
    wide.listener(wide.vm2, SECOND_2, PORT)
    wide.apply(network)
    assert wide.unanswered(wide.vm1, SECOND_1, (SECOND_2, PORT))
    assert (SECOND_1, SECOND_2) in seen_by_appliance(wide)
    assert wide.connects(wide.vm1, PRIMARY_1, (SECOND_2, PORT))


def test_the_prefixes_of_routes_belong_to_the_tag_virtual_network(wide: Lab) -> None:
    """Azure documentation, "Virtual network service tags"; so a default route opens the default rules."""
    group = effective("/groups/plain", {})
    network = with_nic(replace(wide.network, security_groups=(group,)), 1, security_group_id=group.group_id)
    public = "198.51.100.1"
    wide.listener(wide.vm2, SECOND_2, PORT)
    wide.apply(network)
    assert wide.unanswered(wide.fabric.namespace, public, (SECOND_2, PORT))
    wide.apply(routed(network, route(f"{public}/32", "Internet")))
    assert wide.connects(wide.fabric.namespace, public, (SECOND_2, PORT))
