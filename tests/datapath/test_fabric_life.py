"""The life of a fabric: every method again, from every half-finished state, and nothing left at the end."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from azurebox.fabric import Fabric
from azurebox.fabric.kernel import NAMESPACES, configure, delete_namespace, ensure_namespace, links, namespaces
from azurebox.steps import StepError
from datapath.fabric_lab import FABRIC_MAC, PRIMARY_1, PRIMARY_2, SECOND_2, Lab, a_network
from datapath.left_behind import own_prefix
from datapath.namespaces import NEEDS_ROOT

pytestmark = NEEDS_ROOT

PORT = 7000
INTERNET = "203.0.113.10"


@pytest.fixture
def lab() -> Iterator[Lab]:
    prefix = own_prefix("fl")
    lab = Lab(Fabric(prefix), a_network(prefix))
    try:
        yield lab
    finally:
        lab.close()
        lab.fabric.destroy()


def bring_up(lab: Lab) -> None:
    lab.fabric.ensure_namespaces()
    lab.attach_all()
    lab.apply()


def assert_all_works(lab: Lab) -> None:
    assert lab.pings(lab.vm1, SECOND_2)
    for name, address in (("peer", "10.241.0.4"), ("onprem", "192.168.50.10"), ("internet", INTERNET)):
        assert lab.whoami(lab.vm2, PRIMARY_2, address)["host"] == name
    assert sorted(lab.fabric.servers()) == [
        f"{lab.fabric.prefix}-{server}" for server in ("fabric/dns", "internet/whoami", "onprem/whoami", "peer/whoami")
    ]


def test_everything_may_be_done_twice_without_cutting_a_flow(lab: Lab) -> None:
    bring_up(lab)
    running = lab.fabric.servers()
    listener = lab.listener(lab.vm2, SECOND_2, PORT)
    client = lab.connect(lab.vm1, PRIMARY_1, (SECOND_2, PORT))
    server, _ = listener.accept()
    outwards = lab.connect(lab.vm2, PRIMARY_2, (INTERNET, 80))
    bring_up(lab)
    with server:
        client.sendall(b"still there")
        assert server.recv(20) == b"still there"
    outwards.sendall(b"GET /whoami HTTP/1.0\r\n\r\n")
    assert b"200" in outwards.recv(100)
    assert lab.fabric.servers() == running
    assert_all_works(lab)


def test_servers_are_in_the_namespaces_they_serve(lab: Lab) -> None:
    bring_up(lab)
    for name, pid in lab.fabric.servers().items():
        assert Path(f"/proc/{pid}/ns/net").stat().st_ino == (NAMESPACES / name.partition("/")[0]).stat().st_ino


def test_another_process_goes_on_where_one_ended(lab: Lab) -> None:
    bring_up(lab)
    known_as = lab.fabric.public_addresses()
    lab.fabric = Fabric(lab.fabric.prefix)
    lab.apply()
    assert lab.fabric.public_addresses() == known_as
    assert_all_works(lab)


def test_a_vm_has_its_mac_and_mtu_and_the_fabric_azures(lab: Lab) -> None:
    bring_up(lab)
    eth0 = links(lab.vm1)["eth0"]
    assert (eth0["address"], eth0["mtu"], eth0["operstate"]) == ("00:0d:3a:00:00:01", 1500, "UP")
    cable = links(lab.fabric.namespace)["p-vm1"]
    assert (cable["address"], cable["mtu"]) == (FABRIC_MAC, 1500)


def test_a_vm_comes_back_with_another_mac(lab: Lab) -> None:
    bring_up(lab)
    lab.fabric.attach(lab.vm1, "00:0D:3A:00:00:99")
    assert links(lab.vm1)["eth0"]["address"] == "00:0d:3a:00:00:99"
    bring_up(lab)
    assert_all_works(lab)


def test_detach_takes_cable_and_namespace_and_may_be_done_twice(lab: Lab) -> None:
    bring_up(lab)
    for _ in range(2):
        lab.fabric.detach(lab.vm2)
        assert lab.vm2 not in namespaces(lab.fabric.prefix)
        assert "p-vm2" not in links(lab.fabric.namespace)
    lab.apply()
    assert lab.no_echo(lab.vm1, PRIMARY_2)
    assert lab.pings(lab.vm1, "192.168.50.10")


def wreck_fabric(lab: Lab) -> None:
    delete_namespace(lab.fabric.namespace)


def wreck_half_a_fabric(lab: Lab) -> None:
    delete_namespace(lab.fabric.namespace)
    ensure_namespace(lab.fabric.namespace)


def wreck_core(lab: Lab) -> None:
    configure(lab.fabric.namespace, ["link delete core0"])


def wreck_place(lab: Lab) -> None:
    delete_namespace(lab.place("onprem"))  # its server goes on in a namespace that nobody can reach any more


def wreck_cables(lab: Lab) -> None:
    configure(lab.fabric.namespace, ["link delete p-vm1", "link delete p-peer", "link delete p-internet"])


def wreck_alias(lab: Lab) -> None:
    configure(lab.fabric.namespace, ['link set p-vm1 alias ""'])


def wreck_vm(lab: Lab) -> None:
    delete_namespace(lab.vm1)


def wreck_namespace_file(lab: Lab) -> None:
    delete_namespace(lab.vm1)
    (NAMESPACES / lab.vm1).touch()


def wreck_servers(lab: Lab) -> None:
    for pid in lab.fabric.servers().values():
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


WRECKS = [
    wreck_fabric,
    wreck_half_a_fabric,
    wreck_core,
    wreck_place,
    wreck_cables,
    wreck_alias,
    wreck_vm,
    wreck_namespace_file,
    wreck_servers,
]


@pytest.mark.parametrize("wreck", WRECKS)
def test_up_heals_what_is_half_there(lab: Lab, wreck: Callable[[Lab], None]) -> None:
    bring_up(lab)
    wreck(lab)
    bring_up(lab)
    assert_all_works(lab)


@pytest.mark.parametrize("wreck", WRECKS)
def test_destroy_leaves_nothing_of_what_is_half_there(lab: Lab, wreck: Callable[[Lab], None]) -> None:
    bring_up(lab)
    wreck(lab)
    for _ in range(2):
        lab.fabric.destroy()
        assert namespaces(lab.fabric.prefix) == []
        assert lab.fabric.servers() == {}
        assert not Path("/run", lab.fabric.prefix).exists()


def test_destroy_cuts_cables_though_a_process_still_holds_a_socket(lab: Lab) -> None:
    bring_up(lab)
    lab.listener(lab.fabric.namespace, "169.254.169.254", 80)
    lab.listener(lab.vm1, PRIMARY_1, PORT)
    lab.fabric.destroy()
    bring_up(lab)
    assert_all_works(lab)


@pytest.mark.parametrize(
    "name", ["{prefix}", "{prefix}-peer", "{prefix}-fabric", "other-vm1", "{prefix}-a/b", "{prefix}-"]
)
def test_a_vm_with_an_impossible_name_is_refused_before_anything_is_made(lab: Lab, name: str) -> None:
    with pytest.raises(StepError, match="cannot attach VM"):
        lab.fabric.attach(name.format(prefix=lab.fabric.prefix), "00:0d:3a:00:00:01")
    assert namespaces(lab.fabric.prefix) == []


def test_a_vm_with_a_long_name_is_plugged_in(lab: Lab) -> None:
    bring_up(lab)
    long = f"{lab.fabric.prefix}-a.very-long_name.of-a-vm"
    lab.fabric.attach(long, "00:0d:3a:00:00:04")
    lab.fabric.attach(long, "00:0d:3a:00:00:04")
    assert "eth0" in links(long)
    lab.apply()
    lab.fabric.detach(long)
    assert long not in namespaces(lab.fabric.prefix)
