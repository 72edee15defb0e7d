from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network, ip_address

import msgspec
import pytest

from azure_cni.cni.config import SUPPORTED, parse
from azure_cni.cni.results import add_result, previous_addresses
from azure_cni.datapath.interface import ANYWHERE, Interface, Route, Wiring
from azure_cni.errors import ConfigInvalid

ADDRESS = IPv4Address("10.240.0.20")
GATEWAY = IPv4Address("169.254.1.1")
NODE = Interface("acni0", "aa:00:00:00:00:01", 1500, routes=(Route(IPv4Network(ADDRESS)),))
POD = Interface(
    "eth0",
    "aa:00:00:00:00:02",
    1500,
    addresses=(IPv4Interface(ADDRESS),),
    routes=(Route(IPv4Network(GATEWAY)), Route(ANYWHERE, gateway=GATEWAY)),
)
WIRING = Wiring((NODE,), POD)


def result(version: str, *, wiring: Wiring = WIRING, **config):
    conf = parse({"cniVersion": version, "name": "azure-cni", "type": "azure-cni"} | config)
    made = add_result(conf, wiring=wiring, netns="/run/netns/a")
    return msgspec.json.decode(msgspec.json.encode(made))


def test_the_result_in_full():
    assert result("1.1.0", dns={"nameservers": ["10.0.0.10"]}) == {
        "cniVersion": "1.1.0",
        "interfaces": [
            {"name": "acni0", "mac": "aa:00:00:00:00:01", "mtu": 1500},
            {"name": "eth0", "mac": "aa:00:00:00:00:02", "mtu": 1500, "sandbox": "/run/netns/a"},
        ],
        "ips": [{"address": "10.240.0.20/32", "gateway": "169.254.1.1", "interface": 1}],
        "routes": [{"dst": "169.254.1.1/32", "scope": 253}, {"dst": "0.0.0.0/0", "gw": "169.254.1.1"}],
        "dns": {"nameservers": ["10.0.0.10"]},
    }


def test_a_pod_of_both_families_has_two_addresses_each_with_its_gateway():
    gateway = IPv6Address("fe80::1")
    pod = replace(
        POD,
        addresses=(*POD.addresses, IPv6Interface("2001:db8::14/128")),
        routes=(*POD.routes, Route(IPv6Network("::/0"), gateway=gateway, metric=1024)),
    )
    made = result("1.1.0", wiring=Wiring((NODE,), pod))
    assert made["ips"] == [
        {"address": "10.240.0.20/32", "gateway": "169.254.1.1", "interface": 1},
        {"address": "2001:db8::14/128", "gateway": "fe80::1", "interface": 1},
    ]
    assert made["routes"][1:] == [{"dst": "0.0.0.0/0", "gw": "169.254.1.1"}, {"dst": "::/0", "gw": "fe80::1"}]
    assert [ip["version"] for ip in result("0.4.0", wiring=Wiring((NODE,), pod))["ips"]] == ["4", "6"]
    assert previous_addresses(made, ifname="eth0") == (ADDRESS, IPv6Address("2001:db8::14"))


def test_the_result_follows_the_wiring_whatever_mode_made_it():
    """On a bridge: three interfaces, two addresses with the subnet's prefix, its gateway, and no route on the link."""
    bridge, gateway = Interface("azure0", "aa:00:00:00:00:03", 1500), IPv4Address("10.240.0.1")
    addresses = (IPv4Interface("10.240.0.20/16"), IPv4Interface("10.240.0.21/16"))
    pod = replace(POD, addresses=addresses, routes=(Route(ANYWHERE, gateway=gateway),))
    made = result("1.0.0", wiring=Wiring((bridge, NODE), pod))
    assert [interface["name"] for interface in made["interfaces"]] == ["azure0", "acni0", "eth0"]
    assert [interface.get("sandbox") for interface in made["interfaces"]] == [None, None, "/run/netns/a"]
    assert made["ips"] == [
        {"address": "10.240.0.20/16", "gateway": "10.240.0.1", "interface": 2},
        {"address": "10.240.0.21/16", "gateway": "10.240.0.1", "interface": 2},
    ]
    assert made["routes"] == [{"dst": "0.0.0.0/0", "gw": "10.240.0.1"}]
    assert previous_addresses(made, ifname="eth0") == (ADDRESS, ADDRESS + 1)


def test_a_wiring_without_interfaces_of_the_node_and_without_a_gateway_has_a_result():
    made = result("1.0.0", wiring=Wiring((), replace(POD, routes=())))
    assert [interface["name"] for interface in made["interfaces"]] == ["eth0"]
    assert made["ips"] == [{"address": "10.240.0.20/32", "interface": 0}]


@pytest.mark.parametrize("version", SUPPORTED)
def test_each_version_has_only_what_it_knows(version):
    made = result(version)
    assert made["cniVersion"] == version
    assert ("version" in made["ips"][0]) == (version < "1.0.0")
    for interface in made["interfaces"]:
        assert ("mtu" in interface) == (version == "1.1.0")
    assert [set(route) for route in made["routes"]] == [
        {"dst", "scope"} if version == "1.1.0" else {"dst"},
        {"dst", "gw"},
    ]
    assert "dns" not in made


@pytest.mark.parametrize("version", SUPPORTED)
def test_a_check_finds_the_address_again(version):
    assert previous_addresses(result(version), ifname="eth0") == (ADDRESS,)


def test_a_plugin_after_us_may_add_interfaces_and_addresses():
    made = result("1.0.0")
    made["interfaces"].insert(0, {"name": "eth0", "mac": "aa:00:00:00:00:03"})  # of the host: no sandbox
    made["ips"] = [
        {"address": "10.9.9.9/24", "interface": 0},
        {"address": "10.9.9.8/24"},
        {"address": "10.9.9.7/24", "interface": 7},
        {"address": "fd00::1/128", "interface": 2},
        {"address": "10.240.0.20/32", "interface": 2},
    ]
    assert previous_addresses(made, ifname="eth0") == (ADDRESS, IPv6Address("fd00::1"))


@pytest.mark.parametrize(
    ("ips", "others"),
    [
        ([{"address": "10.240.0.20/32"}], ()),
        (
            [{"address": "fd00::1/128"}, {"address": "10.240.0.20/32"}, {"address": "10.9.9.8/24"}],
            ("10.9.9.8", "fd00::1"),
        ),
        ([{"address": "10.9.9.7/24", "interface": 0}, {"address": "10.240.0.20/32"}], ()),
        ([{"address": "10.240.0.20/24"}], ()),
    ],
)
def test_an_address_needs_no_interface(ips, others):
    """The index is optional; a runtime may hand the result on without it."""
    found = (ADDRESS, *map(ip_address, others))
    assert previous_addresses(result("1.0.0") | {"ips": ips}, ifname="eth0") == found
    assert previous_addresses({"ips": ips}, ifname="eth0") == found


@pytest.mark.parametrize(
    ("previous", "words"),
    [
        ({}, "it has no IPv4 address of the pod's interface eth0"),
        (result("1.0.0") | {"ips": []}, "no IPv4 address of the pod's interface eth0"),
        (result("1.0.0") | {"interfaces": [{"name": "acni0"}, {"name": "net1", "sandbox": "/a"}]}, "interface eth0"),
        (result("1.0.0") | {"ips": [{"address": "10.240.0.300/32", "interface": 1}]}, "10.240.0.300"),
        (result("1.0.0") | {"ips": [{"address": "fd00::1/128", "interface": 1}]}, "it has no IPv4 address"),
        (result("1.0.0") | {"ips": "none"}, r"Expected `array`, got `str` - at `\$.ips`"),
    ],
)
def test_a_previous_result_of_no_use_says_why(previous, words):
    with pytest.raises(ConfigInvalid, match=f"cannot use prevResult: .*{words}"):
        previous_addresses(previous, ifname="eth0")
