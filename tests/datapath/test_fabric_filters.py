"""Security groups in the fabric, with real traffic: who is let through, by which rule, and what a change does."""

import socket
from dataclasses import replace

import pytest

from azurebox.fabric.kernel import configure
from datapath.fabric_lab import (
    PRIMARY_1,
    PRIMARY_2,
    PUBLISHED_1,
    SECOND_1,
    SECOND_2,
    SILENCE_S,
    Lab,
    an_address,
    arrivals,
    with_nic,
)
from datapath.filters_lab import end, on_nic, on_subnet, rule
from datapath.namespaces import NEEDS_ROOT
from fakeazure.effective import EffectiveNetwork

pytestmark = NEEDS_ROOT

PORT, OTHER_PORT = 7000, 7001
PEER, ONPREM, INTERNET = "10.241.0.4", "192.168.50.10", "203.0.113.10"
IMDS, WIRESERVER, ARM = ("169.254.169.254", 80), "168.63.129.16", ("198.51.100.1", 443)
DENY_IN = rule("deny", 100, "Inbound", allow=False, protocol="Tcp", target=end(SECOND_2, ports=("7000",)))
DENY_OUT = rule("deny-out", 100, "Outbound", allow=False, protocol="Tcp", source=end(SECOND_2))


def test_a_denied_address_is_out_of_reach_and_others_of_the_nic_are_not(lab: Lab) -> None:
    for address in (PRIMARY_2, SECOND_2):
        for port in (PORT, OTHER_PORT):
            lab.listener(lab.vm2, address, port)
    lab.apply(on_nic(lab.network, 1, DENY_IN))
    assert lab.unanswered(lab.vm1, SECOND_1, (SECOND_2, PORT))
    assert lab.unanswered(lab.place("peer"), PEER, (SECOND_2, PORT))
    assert lab.unanswered(lab.place("onprem"), ONPREM, (SECOND_2, PORT))
    assert lab.connects(lab.vm1, SECOND_1, (SECOND_2, OTHER_PORT))
    assert lab.connects(lab.vm1, SECOND_1, (PRIMARY_2, PORT))


def test_what_is_allowed_comes_with_its_own_address(lab: Lab) -> None:
    listener = lab.listener(lab.vm2, SECOND_2, OTHER_PORT)
    lab.apply(on_nic(lab.network, 1, DENY_IN))
    for place, source in ((lab.vm1, SECOND_1), (lab.place("peer"), PEER), (lab.place("onprem"), ONPREM)):
        lab.connect(place, source, (SECOND_2, OTHER_PORT))
        accepted, caller = listener.accept()
        accepted.close()
        assert caller[0] == source


def test_the_other_protocol_is_not_denied(lab: Lab) -> None:
    receiver, sender = lab.udp(lab.vm2, SECOND_2, PORT), lab.udp(lab.vm1, SECOND_1)
    lab.apply(on_nic(lab.network, 1, DENY_IN))
    sender.sendto(b"datagram", (SECOND_2, PORT))
    assert arrivals(receiver, b"datagram") == [(b"datagram", SECOND_1)]


def test_a_denied_source_cannot_call_and_can_be_called(lab: Lab) -> None:
    """Stateful: the answers of a flow from outside are not judged by the outbound rules."""
    lab.listener(lab.vm1, PRIMARY_1, PORT)
    listener = lab.listener(lab.vm2, SECOND_2, PORT)
    lab.apply(on_nic(lab.network, 1, DENY_OUT))
    assert lab.unanswered(lab.vm2, SECOND_2, (PRIMARY_1, PORT))
    assert lab.connects(lab.vm2, PRIMARY_2, (PRIMARY_1, PORT))
    client = lab.connect(lab.vm1, SECOND_1, (SECOND_2, PORT))
    server, _ = listener.accept()
    with server:
        server.sendall(b"an answer")
        assert client.recv(10) == b"an answer"


def test_the_lowest_number_decides(lab: Lab) -> None:
    lab.listener(lab.vm2, SECOND_2, PORT)
    allow = rule("allow", 99, "Inbound", allow=True, source=end(SECOND_1))
    lab.apply(on_nic(lab.network, 1, DENY_IN, allow))
    assert lab.connects(lab.vm1, SECOND_1, (SECOND_2, PORT))
    assert lab.unanswered(lab.vm1, PRIMARY_1, (SECOND_2, PORT))
    lab.apply(on_nic(lab.network, 1, DENY_IN, replace(allow, priority=101)))
    assert lab.unanswered(lab.vm1, SECOND_1, (SECOND_2, PORT))


def test_subnet_and_nic_must_both_allow(lab: Lab) -> None:
    lab.listener(lab.vm2, SECOND_2, PORT)
    allow = rule("allow", 100, "Inbound", allow=True, source=end(SECOND_1))
    deny = rule("deny-all", 200, "Inbound", allow=False)
    both = on_subnet(on_nic(lab.network, 1, allow, deny), allow, deny)
    lab.apply(both)
    assert lab.connects(lab.vm1, SECOND_1, (SECOND_2, PORT))
    lab.apply(on_subnet(on_nic(lab.network, 1, deny), allow, deny))
    assert lab.unanswered(lab.vm1, SECOND_1, (SECOND_2, PORT))
    lab.apply(on_subnet(on_nic(lab.network, 1, allow, deny), deny))
    assert lab.unanswered(lab.vm1, SECOND_1, (SECOND_2, PORT))


def test_a_group_on_the_subnet_judges_neighbours_too(lab: Lab) -> None:
    lab.listener(lab.vm2, SECOND_2, PORT)
    lab.apply(on_subnet(lab.network, rule("no-neighbours", 100, "Outbound", allow=False, target=end("10.240.0.0/22"))))
    assert lab.unanswered(lab.vm1, SECOND_1, (SECOND_2, PORT))


def test_ports_and_ranges(lab: Lab) -> None:
    for port in (79, 80, 85, 90, 91):
        lab.listener(lab.vm2, SECOND_2, port)
    deny = rule("deny", 100, "Inbound", allow=False, target=end("*", ports=("80", "84-90")))
    lab.apply(on_nic(lab.network, 1, deny))
    reached = [port for port in (79, 80, 85, 90, 91) if not lab.unanswered(lab.vm1, SECOND_1, (SECOND_2, port))]
    assert reached == [79, 91]


def test_default_rules_let_the_vnet_in_and_nobody_else(lab: Lab) -> None:
    """The peer and the on-prem site belong to VirtualNetwork; a probe is let in by AllowAzureLoadBalancerInBound."""
    listener = lab.listener(lab.vm2, SECOND_2, PORT)
    lab.apply(on_nic(lab.network, 1))
    for place, source in (
        (lab.vm1, SECOND_1),
        (lab.place("peer"), PEER),
        (lab.place("onprem"), ONPREM),
        (lab.fabric.namespace, WIRESERVER),
    ):
        lab.connect(place, source, (SECOND_2, PORT))
        accepted, caller = listener.accept()
        accepted.close()
        assert caller[0] == source
    assert lab.unanswered(lab.fabric.namespace, "198.51.100.1", (SECOND_2, PORT))


def test_a_probe_is_denied_by_a_rule_against_the_load_balancer(lab: Lab) -> None:
    lab.listener(lab.vm2, SECOND_2, PORT)
    lab.apply(on_nic(lab.network, 1, rule("no-probes", 100, "Inbound", allow=False, source=end("AzureLoadBalancer"))))
    assert lab.unanswered(lab.fabric.namespace, WIRESERVER, (SECOND_2, PORT))
    assert lab.connects(lab.vm1, SECOND_1, (SECOND_2, PORT))


def test_the_internet_is_denied_by_its_tag_and_the_vnet_is_not(lab: Lab) -> None:
    lab.listener(lab.vm2, SECOND_2, PORT)
    lab.apply(on_nic(lab.network, 0, rule("no-internet", 100, "Outbound", allow=False, target=end("Internet"))))
    assert lab.unanswered(lab.vm1, PRIMARY_1, (INTERNET, 80))
    assert lab.unanswered(lab.vm1, PUBLISHED_1, (INTERNET, 80))
    assert lab.connects(lab.vm1, PRIMARY_1, (SECOND_2, PORT))
    assert lab.connects(lab.vm1, PRIMARY_1, (PEER, 80))
    assert lab.connects(lab.vm2, PRIMARY_2, (INTERNET, 80))


def test_answers_from_the_internet_come_in_by_the_flow(lab: Lab) -> None:
    lab.apply(on_nic(lab.network, 0, rule("deny-all", 100, "Inbound", allow=False)))
    assert lab.whoami(lab.vm1, PUBLISHED_1, INTERNET)["host"] == "internet"
    assert lab.whoami(lab.vm1, SECOND_1, PEER) == {"host": "peer", "caller": SECOND_1}


@pytest.mark.parametrize("service", [IMDS, (WIRESERVER, 53), (WIRESERVER, 80)])
def test_the_platform_is_not_judged_unless_by_its_own_tags(lab: Lab, service: tuple[str, int]) -> None:
    lab.listener(lab.fabric.namespace, *service)
    everything = [rule(f"deny-{way}", 100, way, allow=False) for way in ("Inbound", "Outbound")]
    lab.apply(on_nic(lab.network, 0, *everything))
    assert lab.connects(lab.vm1, PRIMARY_1, service)
    tags = [
        rule(f"no-{tag}", 200 + number, "Outbound", allow=False, target=end(f"AzurePlatform{tag}"))
        for number, tag in enumerate(("DNS", "IMDS"))
    ]
    lab.apply(on_nic(lab.network, 0, *tags))
    assert lab.unanswered(lab.vm1, PRIMARY_1, service) is (service != (WIRESERVER, 80))


def test_members_of_an_application_security_group(lab: Lab) -> None:
    """The group's members are the configurations that name it, on whatever NIC; it is another set once they change."""
    web, db = "/asgs/web", "/asgs/DB"
    for address in (PRIMARY_2, SECOND_2):
        lab.listener(lab.vm2, address, PORT)

    def grouped(network: EffectiveNetwork, index: int, group_id: str, *only: str) -> EffectiveNetwork:
        addresses = tuple(
            replace(one, application_security_groups=(group_id,)) if one.address in only else one
            for one in network.nics[index].addresses
        )
        return with_nic(network, index, addresses=addresses)

    allow = rule("web-to-db", 100, "Inbound", allow=True, source=end(groups=(web,)), target=end(groups=(db,)))
    deny = rule("deny", 200, "Inbound", allow=False)
    network = on_nic(lab.network, 1, allow, deny)
    network = grouped(grouped(network, 0, web.upper(), SECOND_1), 1, db.lower(), SECOND_2)
    lab.apply(network)
    assert lab.connects(lab.vm1, SECOND_1, (SECOND_2, PORT))
    assert lab.unanswered(lab.vm1, PRIMARY_1, (SECOND_2, PORT))
    assert lab.unanswered(lab.vm1, SECOND_1, (PRIMARY_2, PORT))
    lab.apply(grouped(network, 0, "/asgs/none", SECOND_1))
    assert lab.unanswered(lab.vm1, SECOND_1, (SECOND_2, PORT))


def test_a_change_of_the_rules_is_for_new_flows(lab: Lab) -> None:
    """Azure: "modifying network security group rules only affects new connections"."""
    listener = lab.listener(lab.vm2, SECOND_2, PORT)
    lab.apply(on_nic(lab.network, 1))
    client = lab.connect(lab.vm1, SECOND_1, (SECOND_2, PORT))
    server, _ = listener.accept()
    with server:
        lab.apply(on_nic(lab.network, 1, DENY_IN))
        assert lab.unanswered(lab.vm1, SECOND_1, (SECOND_2, PORT))
        client.sendall(b"still here")
        assert server.recv(10) == b"still here"
        server.sendall(b"and back")
        assert client.recv(10) == b"and back"


def test_hits_are_counted_by_rule_and_survive_a_change(lab: Lab) -> None:
    lab.listener(lab.vm2, SECOND_2, PORT)
    network = on_nic(lab.network, 1, replace(DENY_IN, name="counted"))
    lab.apply(network)
    before = lab.fabric.rule_hits().get(("Web", "Inbound", "counted"), 0)
    assert lab.unanswered(lab.vm1, SECOND_1, (SECOND_2, PORT))
    lab.apply(network)
    after = lab.fabric.rule_hits()
    assert after["Web", "Inbound", "counted"] > before


def test_a_ping_and_its_answer(lab: Lab) -> None:
    lab.apply(on_nic(lab.network, 1, rule("deny-all", 100, "Inbound", allow=False)))
    assert lab.no_echo(lab.vm1, PRIMARY_2)
    assert lab.pings(lab.vm2, PRIMARY_1)


def test_fragments_follow_their_first_one(lab: Lab) -> None:
    payload = bytes(4000)
    allowed, denied = lab.udp(lab.vm2, SECOND_2, PORT), lab.udp(lab.vm2, SECOND_2, OTHER_PORT)
    deny = rule("deny", 100, "Inbound", allow=False, protocol="Udp", target=end(SECOND_2, ports=(str(OTHER_PORT),)))
    lab.apply(on_nic(lab.network, 1, deny))
    sender = lab.udp(lab.vm1, SECOND_1)
    sender.setsockopt(socket.IPPROTO_IP, 10, 0)  # IP_MTU_DISCOVER, IP_PMTUDISC_DONT: fragments, please
    sender.sendto(payload, (SECOND_2, OTHER_PORT))
    sender.sendto(payload, (SECOND_2, PORT))
    assert allowed.recv(5000) == payload
    denied.settimeout(SILENCE_S)
    with pytest.raises(TimeoutError):
        denied.recv(5000)


def test_an_address_that_moves_to_another_nic_is_judged_there(lab: Lab) -> None:
    """The rule is the address's: who has it next is denied as well."""
    network = on_nic(on_subnet(lab.network, DENY_IN), 1, group_id="/groups/second")
    moved = with_nic(network, 1, addresses=(an_address(PRIMARY_2, primary=True),))
    moved = with_nic(moved, 0, addresses=(*moved.nics[0].addresses, an_address(SECOND_2)))
    configure(lab.vm2, [f"address delete {SECOND_2}/22 dev eth0"])
    configure(lab.vm1, [f"address replace {SECOND_2}/22 dev eth0"])
    try:
        lab.listener(lab.vm1, SECOND_2, PORT)
        lab.listener(lab.vm1, SECOND_2, OTHER_PORT)
        lab.apply(moved)
        assert lab.unanswered(lab.vm2, PRIMARY_2, (SECOND_2, PORT))
        assert lab.connects(lab.vm2, PRIMARY_2, (SECOND_2, OTHER_PORT))
    finally:
        configure(lab.vm1, [f"address delete {SECOND_2}/22 dev eth0"])
        configure(lab.vm2, [f"address replace {SECOND_2}/22 dev eth0"])


def test_without_a_group_nothing_is_judged_or_remembered(lab: Lab) -> None:
    lab.listener(lab.vm2, SECOND_2, PORT)
    lab.apply(on_nic(lab.network, 1, DENY_IN))
    assert lab.unanswered(lab.vm1, SECOND_1, (SECOND_2, PORT))
    lab.apply()
    assert lab.connects(lab.vm1, SECOND_1, (SECOND_2, PORT))
