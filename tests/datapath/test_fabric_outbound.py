"""By which way an address leaves the VNet, as the fabric decides it. Needs no root."""

from ipaddress import IPv4Address

import pytest

from azurebox.fabric.outbound import ways_out
from datapath.balancer_lab import GATEWAY, PUBLIC_FRONT, balanced, by_balancer, with_gateway, without_default
from datapath.fabric_lab import PRIMARY_1, PRIMARY_2, PUBLIC_IP, PUBLISHED_1, SECOND_1, a_network, without_address
from fakeazure.effective import EffectiveNetwork

PLAIN = without_address(a_network("box"), 0, PUBLISHED_1)


@pytest.mark.parametrize(
    ("network", "private", "seen"),
    [
        (with_gateway(by_balancer(a_network("box"), PUBLISHED_1)), PUBLISHED_1, GATEWAY),
        (with_gateway(PLAIN), SECOND_1, GATEWAY),
        (with_gateway(PLAIN), "10.240.0.20", GATEWAY),  # of a block
        (by_balancer(a_network("box"), PUBLISHED_1), PUBLISHED_1, PUBLIC_IP),
        (by_balancer(PLAIN, PRIMARY_1), PRIMARY_1, PUBLIC_FRONT),
        (by_balancer(PLAIN, SECOND_1), SECOND_1, None),  # outbound rules are for primary configurations
        (by_balancer(PLAIN, SECOND_1), PRIMARY_1, None),  # and a pool takes the default from the whole VM
        (by_balancer(PLAIN, SECOND_1), PRIMARY_2, "198.51.100.10"),
        (balanced(PLAIN, SECOND_1), PRIMARY_1, None),  # that of an internal load balancer, too
        (without_default(by_balancer(PLAIN, PRIMARY_1)), PRIMARY_1, PUBLIC_FRONT),
        (without_default(PLAIN), PRIMARY_1, None),
        (PLAIN, PRIMARY_1, "198.51.100.10"),
        (PLAIN, SECOND_1, None),
    ],
)
def test_the_order_of_ways_out(network: EffectiveNetwork, private: str, seen: str | None) -> None:
    known = ways_out(network, network.nics, lent={}).addresses
    assert known.get(IPv4Address(private)) == (IPv4Address(seen) if seen else None)


def test_gateways_and_load_balancers_translate_tcp_and_udp_only() -> None:
    for network in (with_gateway(PLAIN), by_balancer(PLAIN, PRIMARY_1)):
        ways = ways_out(network, network.nics, lent={})
        assert IPv4Address(PRIMARY_1) not in ways.all_protocols
        assert IPv4Address(PRIMARY_1) in ways.tcp
        assert IPv4Address(PRIMARY_1) in ways.udp
    network = by_balancer(PLAIN, PRIMARY_1, protocol="Tcp")
    assert IPv4Address(PRIMARY_1) not in ways_out(network, network.nics, lent={}).udp
