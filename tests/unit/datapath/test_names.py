"""Names and MACs: the same for the same sandbox, others for another, and in the form the kernel takes."""

import hashlib
import re
from collections.abc import Callable

import pytest

from azure_cni.datapath.names import PREFIX, host_ifname, host_mac, pod_mac

CONTAINER = "4b3f9a" * 10 + "beef"


def test_the_host_end_is_acni_and_eleven_hex_digits_of_the_sha1() -> None:
    digest = hashlib.sha1(f"{CONTAINER}/eth0".encode()).hexdigest()
    assert host_ifname(CONTAINER, "eth0") == "acni" + digest[:11]
    assert host_ifname(CONTAINER, "eth0").startswith(PREFIX)
    assert len(host_ifname(CONTAINER, "eth0")) <= 15


def test_each_interface_of_a_container_has_names_of_its_own() -> None:
    for derive in (host_ifname, host_mac, pod_mac):
        assert derive(CONTAINER, "eth0") == derive(CONTAINER, "eth0")
        assert derive(CONTAINER, "eth0") != derive(CONTAINER, "eth1")
        assert derive(CONTAINER, "eth0") != derive("other", "eth0")
    assert host_mac(CONTAINER, "eth0") != pod_mac(CONTAINER, "eth0")


@pytest.mark.parametrize("derive", [host_mac, pod_mac])
def test_a_mac_is_unicast_and_locally_administered(derive: Callable[[str, str], str]) -> None:
    for number in range(500):
        mac = derive(str(number), "eth0")
        assert re.fullmatch("([0-9a-f]{2}:){5}[0-9a-f]{2}", mac)
        assert int(mac[:2], 16) & 0b11 == 0b10


def test_no_two_of_many_sandboxes_share_a_name_or_a_mac() -> None:
    sandboxes = [(f"container-{number}", "eth0") for number in range(5000)]
    assert len({host_ifname(*sandbox) for sandbox in sandboxes}) == len(sandboxes)
    assert len({derive(*sandbox) for sandbox in sandboxes for derive in (host_mac, pod_mac)}) == 2 * len(sandboxes)
