"""The bridge mode: both ends, what hangs on the bridge, and the bridge itself."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Network

import pytest

from azure_cni.datapath import names
from azure_cni.datapath.bridge import PORT, SETTINGS, deviations, on_bridge, require_ours, wiring
from azure_cni.datapath.interface import Interface, Neighbour, Port, PortSettings, Route, differences, missing
from azure_cni.datapath.modes import effective
from azure_cni.datapath.transparent import VethSpec
from azure_cni.datapath.uplink import BridgeSettings, Link
from azure_cni.errors import DatapathError
from azure_cni.model.identity import ModeName

ADDRESS, PRIMARY = IPv4Address("10.240.0.7"), IPv4Address("10.240.0.4")
SPEC = VethSpec("c1", "eth0", "/run/netns/pod", (ADDRESS,), 1500, PRIMARY, ModeName.BRIDGE)
IPV6 = IPv6Address("2001:db8::7")
POD_MAC = names.pod_mac("c1", "eth0")
AZURE0 = Link(
    index=5,
    name="azure0",
    mac=names.BRIDGE_MAC,
    mtu=1500,
    up=True,
    group=names.GROUP,
    kind="bridge",
    bridge=SETTINGS,
)
A_PORT = Link(index=6, name="acni0a1b2c3d4e5", mac="02:00:00:00:00:01", mtu=1500, up=True, master=5, port=PORT)


def test_the_nodes_end_is_a_port_whose_group_is_the_pods_address() -> None:
    port, bridge = wiring(SPEC).node
    assert port == Interface(
        name=SPEC.host_ifname,
        mac=names.host_mac("c1", "eth0"),
        mtu=1500,
        group=0x0AF00007,
        port=Port("azure0", POD_MAC, PortSettings(learning=False, floods=False, hairpin=True, reserved=True)),
    )
    assert (bridge.name, bridge.mac, bridge.shared) == ("azure0", "02:61:7a:75:72:65", True)
    to_pod = IPv4Network(ADDRESS)
    assert bridge.routes == (Route(to_pod, source=PRIMARY), Route(to_pod, metric=1))
    assert bridge.neighbours == (Neighbour(ADDRESS, POD_MAC),)


def test_the_pod_knows_nobody_on_the_link_but_the_bridge() -> None:
    pod = wiring(SPEC).pod
    assert pod.addresses == (IPv4Interface("10.240.0.7/32"),)
    assert [str(route) for route in pod.routes] == ["169.254.1.1/32", "0.0.0.0/0 via 169.254.1.1"]
    assert pod.neighbours == (Neighbour(IPv4Address("169.254.1.1"), "02:61:7a:75:72:65"),)


@pytest.mark.parametrize("addresses", [(), (ADDRESS, PRIMARY)])
def test_a_sandbox_has_one_address(addresses: tuple[IPv4Address, ...]) -> None:
    with pytest.raises(DatapathError, match=f"one IPv4 address, not {len(addresses)}"):
        wiring(replace(SPEC, addresses=addresses))


def test_a_sandbox_has_one_address_of_ipv6_beside_it_and_its_port_is_in_the_same_group() -> None:
    both = wiring(replace(SPEC, addresses=(ADDRESS, IPV6)))
    port, bridge = both.node
    assert port == wiring(SPEC).node[0]
    assert bridge.routes[2:] == (Route(IPv6Network(IPV6), metric=1),)
    assert bridge.neighbours[1:] == (Neighbour(IPV6, POD_MAC),)
    assert both.pod.neighbours[1:] == (Neighbour(IPv6Address("fe80::1"), "02:61:7a:75:72:65"),)
    for addresses, words in (
        ((ADDRESS, IPV6, IPV6 + 1), "one IPv6 address, not 2"),
        ((IPV6,), "one IPv4 address, not 0"),
    ):
        with pytest.raises(DatapathError, match=words):
            wiring(replace(SPEC, addresses=addresses))


@pytest.mark.parametrize(
    "change",
    [
        {"port": None},
        {"port": Port("docker0", POD_MAC, PORT)},
        {"port": Port("azure0", "", PORT)},
        {"port": Port("azure0", POD_MAC, replace(PORT, learning=True))},
        {"port": Port("azure0", POD_MAC, replace(PORT, reserved=False))},
        {"group": names.GROUP},
    ],
)
def test_a_port_that_lost_its_place_is_found(change: dict) -> None:
    port = wiring(SPEC).node[0]
    lacking = missing(port, replace(port, **change))
    assert lacking.port == port.port
    assert f"lacks its place on azure0 with {POD_MAC}" in differences(port, replace(port, **change), where="node")[-1]


def test_the_bridges_mtu_is_no_sandboxs_to_say() -> None:
    assert differences(on_bridge(SPEC), replace(on_bridge(SPEC), mtu=1400), where="node") == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, ()),
        ({"up": False}, ("was down",)),
        ({"mac": "02:00:00:00:00:09"}, ("had MAC 02:00:00:00:00:09",)),
        ({"bridge": BridgeSettings(stp=True, snooping=False)}, ("had stp_state 1, mcast_snooping 0",)),
        ({"mtu": 9000}, ("had MTU 9000",)),
    ],
)
def test_what_is_otherwise_with_the_bridge_is_reported(change: dict, words: tuple[str, ...]) -> None:
    assert deviations(replace(AZURE0, **change), (A_PORT,)) == words


def test_a_bridge_without_ports_may_have_any_mtu() -> None:
    assert deviations(replace(AZURE0, mtu=9000), ()) == ()


def test_a_bridge_of_another_program_is_left_alone() -> None:
    """Azure's own CNI plugin makes one of that name, with the NIC as its port."""
    with pytest.raises(DatapathError, match=r"ports eth0; .*choose mode transparent"):
        require_ours(AZURE0, (A_PORT, replace(A_PORT, name="eth0")))
    with pytest.raises(DatapathError, match="it is not a bridge"):
        require_ours(replace(AZURE0, kind="veth", bridge=None), ())


@pytest.mark.parametrize(
    ("wanted", "running", "mode"),
    [
        ("bridge", [], "bridge"),
        ("transparent", [], "transparent"),
        ("bridge", ["transparent"], "transparent"),
        ("transparent", ["bridge"], "bridge"),
        ("bridge", ["bridge"], "bridge"),
    ],
)
def test_the_mode_of_pods_that_run_goes_on(wanted: str, running: list[str], mode: str) -> None:
    assert effective(ModeName(wanted), [ModeName(one) for one in running]) is ModeName(mode)
