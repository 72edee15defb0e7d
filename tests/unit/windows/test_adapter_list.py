"""The list of adapters, in memory as Windows lays it out."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface

import pytest

from azure_cni.errors import DatapathError
from azure_cni.windows.adapter_list import AdapterList
from azure_cni.windows.adapters import Adapter, nics_adapter, segment_of
from fakes.windows_libraries import ACCESS_DENIED, StandInAddressList

MAC = "00:0d:3a:00:00:0a"
PRIMARY = IPv4Address("10.240.0.4")
SWITCH = Adapter(
    index=9,
    name="vEthernet (Ethernet)",
    mac=MAC,
    mtu=1500,
    addresses=(IPv4Interface("10.240.0.4/22"), IPv4Interface("10.240.3.255/22")),
    gateway=IPv4Address("10.240.0.1"),
)
BARE = Adapter(index=2, name="Ethernet", mac=MAC, mtu=3900)
LOOPBACK = Adapter(index=1, name="Loopback Pseudo-Interface 1", mac="", mtu=1500)


def test_all_is_read_and_the_nics_adapter_found() -> None:
    found = AdapterList(StandInAddressList([LOOPBACK, BARE, SWITCH])).read()
    assert found == [LOOPBACK, BARE, SWITCH]
    nic = nics_adapter(found, MAC, PRIMARY)
    assert nic == SWITCH
    assert str(segment_of(nic, PRIMARY).subnet) == "10.240.0.0/22"


@pytest.mark.parametrize("count", [0, 1, 100])
def test_any_number_of_adapters(count: int) -> None:
    adapters = [Adapter(number, f"Ethernet {number} ü", MAC, 1500) for number in range(count)]
    assert AdapterList(StandInAddressList(adapters)).read() == adapters


def test_an_address_without_a_length_of_its_prefix_hides_no_other_adapter() -> None:
    lost = Adapter(7, "Ethernet 3", "00:0d:3a:00:00:0c", 1500, (IPv4Interface("169.254.7.7/16"),))
    library = StandInAddressList([lost, SWITCH])
    library.without_length = IPv4Address("169.254.7.7")
    assert AdapterList(library).read() == [replace(lost, addresses=()), SWITCH]


def test_adapters_that_come_meanwhile_are_no_error() -> None:
    library = StandInAddressList([BARE])
    library.grows = 3
    assert AdapterList(library).read() == [BARE]


def test_a_list_that_never_ends_growing_and_a_refusal_are_errors_in_words() -> None:
    library = StandInAddressList([BARE])
    library.grows = 100
    with pytest.raises(DatapathError, match=r"cannot list the network adapters: GetAdaptersAddresses fails .* 111"):
        AdapterList(library).read()
    library.fails = ACCESS_DENIED
    with pytest.raises(DatapathError, match="error 5"):
        AdapterList(library).read()
