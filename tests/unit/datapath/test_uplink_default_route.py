"""Which networks lose pods when the default route is not by the NIC, and what is said."""

from ipaddress import IPv4Network

from azure_cni.datapath.uplink import Way, default_route_elsewhere, stranded

DEFAULT = Way(index=5, prefix_length=0)
PEER, SITE, SUBNET, NOWHERE = map(IPv4Network, ("10.241.0.0/16", "192.168.50.0/24", "10.240.0.0/22", "172.16.0.0/12"))


def test_only_what_the_default_route_takes_is_lost() -> None:
    ways = [(SITE, Way(5, 24)), (SUBNET, Way(2, 22)), (PEER, DEFAULT), (NOWHERE, None)]
    assert stranded(ways, to=DEFAULT) == (PEER,)


def test_a_route_of_its_own_by_the_same_interface_is_meant_so() -> None:
    assert stranded([(SITE, Way(5, 24))], to=DEFAULT) == stranded([(SITE, Way(5, 24))], to=Way(5, 24)) == ()


def test_the_message_names_the_way_the_networks_and_the_command() -> None:
    few = default_route_elsewhere(uplink="eth0", way_out="wg0", stranded=(PEER,)).message
    assert "leaves by wg0 and not by the NIC's eth0" in few
    assert "by eth0 only: 10.241.0.0/16. For each of them run: ip route add PREFIX via GATEWAY dev eth0" in few
    assert "fail" not in default_route_elsewhere(uplink="eth0", way_out="wg0", stranded=()).message
    many = [IPv4Network((number << 24, 8)) for number in range(11, 30)]
    assert default_route_elsewhere(uplink="eth0", way_out="wg0", stranded=many).message.count("/8") == 5
