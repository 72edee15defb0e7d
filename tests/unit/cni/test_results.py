from ipaddress import IPv4Address

import msgspec
import pytest

from azure_cni.cni.config import parse
from azure_cni.cni.results import add_result, previous_address
from azure_cni.cni.versions import SUPPORTED
from azure_cni.datapath.sandbox import SandboxLinks
from azure_cni.errors import ConfigInvalid

ADDRESS = IPv4Address("10.240.0.20")
LINKS = SandboxLinks("acni0", "aa:00:00:00:00:01", "eth0", "aa:00:00:00:00:02", 1500)


def result(version: str, **config):
    conf = parse({"cniVersion": version, "name": "azure-cni", "type": "azure-cni"} | config)
    made = add_result(conf, address=ADDRESS, netns="/run/netns/a", links=LINKS)
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
    assert previous_address(result(version), ifname="eth0") == ADDRESS


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
    assert previous_address(made, ifname="eth0") == ADDRESS


@pytest.mark.parametrize(
    "ips",
    [
        [{"address": "10.240.0.20/32"}],
        [{"address": "fd00::1/128"}, {"address": "10.9.9.8/24"}, {"address": "10.240.0.20/32"}],
        [{"address": "10.9.9.7/24", "interface": 0}, {"address": "10.240.0.20/32"}],
        [{"address": "10.240.0.20/24"}],
    ],
)
def test_an_address_needs_no_interface(ips):
    """The index is optional; a runtime may hand the result on without it."""
    assert previous_address(result("1.0.0") | {"ips": ips}, ifname="eth0") == ADDRESS
    assert previous_address({"ips": ips}, ifname="eth0") == ADDRESS


@pytest.mark.parametrize(
    ("previous", "words"),
    [
        ({}, "it has no IPv4 address of the pod's interface eth0"),
        (result("1.0.0") | {"ips": []}, "no IPv4 address of the pod's interface eth0"),
        (result("1.0.0") | {"interfaces": [{"name": "acni0"}, {"name": "net1", "sandbox": "/a"}]}, "interface eth0"),
        (result("1.0.0") | {"ips": [{"address": "10.240.0.300/32", "interface": 1}]}, "10.240.0.300"),
        (result("1.0.0") | {"ips": "none"}, r"Expected `array`, got `str` - at `\$.ips`"),
    ],
)
def test_a_previous_result_of_no_use_says_why(previous, words):
    with pytest.raises(ConfigInvalid, match=f"cannot use prevResult: .*{words}"):
        previous_address(previous, ifname="eth0")
