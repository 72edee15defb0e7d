"""Which of several interfaces with the NIC's MAC is the NIC."""

from dataclasses import replace

import pytest

from azure_cni.datapath.uplink import Link, Uplink, choose
from azure_cni.errors import DatapathError

MAC = "00:0d:3a:00:00:0a"
LOOPBACK = Link(index=1, name="lo", mac="00:00:00:00:00:00", mtu=65536, up=True)
ETH0 = Link(index=2, name="eth0", mac=MAC, mtu=1500, up=True)
VIRTUAL_FUNCTION = Link(index=3, name="enP1s1", mac=MAC, mtu=1500, up=True, master=2)
SECOND_NIC = Link(index=4, name="eth1", mac="00:0d:3a:00:00:0b", mtu=1500, up=True)
VLAN = Link(index=5, name="eth0.7", mac=MAC, mtu=1500, up=True, below=2)
POD = Link(index=6, name="acni0123456789a", mac=MAC, mtu=1500, up=True)


@pytest.mark.parametrize(
    "links",
    [
        [LOOPBACK, ETH0, SECOND_NIC],
        [VIRTUAL_FUNCTION, ETH0],
        [VLAN, ETH0],
        [POD, ETH0],
        [VIRTUAL_FUNCTION, VLAN, POD, SECOND_NIC, ETH0, LOOPBACK],
    ],
)
def test_it_is_the_one_that_is_neither_slave_nor_stacked(links: list[Link]) -> None:
    assert choose(links, MAC) == Uplink(name="eth0", index=2, mtu=1500)


def test_a_bridge_that_took_the_nic_in_and_its_mac_over_is_the_uplink() -> None:
    bridge = Link(index=9, name="br0", mac=MAC, mtu=1450, up=True)
    assert choose([replace(ETH0, master=9), bridge], MAC) == Uplink(name="br0", index=9, mtu=1450)


def test_a_master_with_another_mac_does_not_hide_the_nic() -> None:
    vrf = Link(index=9, name="vrf0", mac="02:00:00:00:00:09", mtu=65536, up=True)
    assert choose([replace(ETH0, master=9), vrf], MAC).name == "eth0"


def test_none_and_two_are_errors_that_name_what_there_is() -> None:
    with pytest.raises(DatapathError, match=f"no interface has the NIC's MAC {MAC}"):
        choose([LOOPBACK, SECOND_NIC, POD], MAC)
    with pytest.raises(DatapathError, match=r"2 of the interfaces .* qualify \(copy0, eth0\)"):
        choose([ETH0, replace(ETH0, index=7, name="copy0")], MAC)
