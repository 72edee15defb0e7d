"""Which of several interfaces with the NIC's MAC is the NIC."""

from dataclasses import replace

import pytest

from azure_cni.datapath.uplink import Evidence, Link, Uplink, candidates, choose, doubt
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
    (top,) = candidates(links, MAC)
    assert choose([top], Evidence()) == Uplink(name="eth0", index=2, mtu=1500)


def test_a_bridge_that_took_the_nic_in_and_its_mac_over_is_the_uplink() -> None:
    bridge = Link(index=9, name="br0", mac=MAC, mtu=1450, up=True)
    assert candidates([replace(ETH0, master=9), bridge], MAC) == (bridge,)


def test_a_master_with_another_mac_does_not_hide_the_nic() -> None:
    vrf = Link(index=9, name="vrf0", mac="02:00:00:00:00:09", mtu=65536, up=True)
    assert candidates([replace(ETH0, master=9), vrf], MAC) == (replace(ETH0, master=9),)


@pytest.mark.parametrize("kind", ["vlan", "macvlan", "macvtap", "ipvlan", "ipvtap"])
def test_what_is_stacked_on_a_link_of_another_namespace_is_not_the_nic(kind: str) -> None:
    """The kernel names no index of this namespace then, only the kind."""
    assert candidates([ETH0, replace(VLAN, below=0, kind=kind)], MAC) == (ETH0,)


def test_none_is_an_error_that_names_what_there_is() -> None:
    with pytest.raises(DatapathError, match=f"no interface has the NIC's MAC {MAC}"):
        candidates([LOOPBACK, SECOND_NIC, POD], MAC)
    with pytest.raises(DatapathError, match=r"each is enslaved to another one or stacked on one \(eth0.7\)"):
        candidates([VLAN], MAC)


NIC = ETH0.index
ALONE = replace(VIRTUAL_FUNCTION, master=0)
"""A virtual function that has not joined its master yet."""
COPY = replace(ETH0, index=7, name="copy0", kind="dummy")
DOWN = replace(ETH0, index=8, name="eth9", up=False)
HAS = frozenset({7})


@pytest.mark.parametrize(
    ("tops", "evidence", "name"),
    [
        ([ALONE, ETH0], Evidence(synthetic=frozenset({NIC})), "eth0"),
        ([ALONE, ETH0], Evidence(synthetic=frozenset({NIC}), primary=frozenset({3}), default=frozenset({3})), "eth0"),
        ([ALONE, ETH0], Evidence(primary=frozenset({NIC})), "eth0"),  # a kernel that names no driver
        ([COPY, ETH0], Evidence(primary=HAS), "copy0"),
        ([COPY, ETH0], Evidence(default=HAS), "copy0"),
        ([COPY, ETH0], Evidence(primary=frozenset({NIC}), default=HAS), "eth0"),
        ([COPY, ETH0], Evidence(current=7, primary=HAS, synthetic=frozenset({NIC})), "copy0"),
        ([COPY, ETH0], Evidence(current=7, synthetic=frozenset({NIC})), "eth0"),  # it lost the address
        ([COPY, ETH0], Evidence(current=7, primary=frozenset({NIC})), "eth0"),
        ([COPY, ETH0], Evidence(), "eth0"),  # hardware
        ([DOWN, ETH0], Evidence(), "eth0"),
        ([replace(ETH0, index=1, name="old"), ETH0], Evidence(), "old"),
        ([COPY, ETH0], Evidence(primary=frozenset({NIC, 7})), "eth0"),
    ],
)
def test_of_several_the_best_is_chosen_in_whatever_order_they_are_listed(
    tops: list[Link], evidence: Evidence, name: str
) -> None:
    assert choose(tops, evidence).name == choose(tops[::-1], evidence).name == name


def test_only_a_guess_is_reported() -> None:
    assert doubt([ETH0], Evidence()) == ()
    assert doubt([ALONE, ETH0], Evidence(synthetic=frozenset({NIC}))) == ()
    assert doubt([COPY, ETH0], Evidence(default=HAS)) == ()
    (conflict,) = doubt([COPY, ETH0], Evidence(primary=frozenset({NIC, 7})))
    assert f"2 interfaces have the NIC's MAC {MAC} (copy0, eth0)" in conflict.message
    assert "eth0 is used" in conflict.message
