"""The box's cloud as a whole: what the fake Azure is sent shows on the wire, from the probe to the second NIC."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress

import pytest

from azurebox.cloud import Cloud
from azurebox.fabric import Fabric
from azurebox.fabric.kernel import configure, inside, links
from azurebox.fabric.topology import PEER
from datapath.fabric_lab import PATIENCE_S, SILENCE_S
from datapath.left_behind import own_prefix
from datapath.namespaces import NEEDS_ROOT
from fakeazure.adminbalancers import Join, Leave, PutLoadBalancer
from fakeazure.adminfilters import ChangeSubnet
from fakeazure.adminmessages import Message

pytestmark = NEEDS_ROOT

FRONTEND, PORT = ("10.240.0.50", 80), 8080


@pytest.fixture
async def cloud() -> AsyncIterator[Cloud]:
    """A cloud with one VM that has its address, its operations ended and its probes sent."""
    made = Cloud(Fabric(own_prefix("bc")))
    made.azure.operation_duration_s = 0.0
    tasks = []
    try:
        made.lay()
        plug_in(made)
        tasks = [asyncio.create_task(made.prober.run()), asyncio.create_task(made.azure.run())]
        yield made
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        made.fabric.destroy()


def vm_of(cloud: Cloud) -> str:
    return f"{cloud.fabric.prefix}-vm1"


def plug_in(cloud: Cloud) -> str:
    """The VM's primary address."""
    nic = cloud.plug_in(vm_of(cloud))
    configure(
        vm_of(cloud),
        [f"address replace {nic['primary']}/22 dev eth0", "route replace default via 10.240.0.1 dev eth0"],
    )
    return str(nic["primary"])


def send(cloud: Cloud, message: Message) -> None:
    message.run(cloud.azure)
    assert cloud.failure == ""


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110  nothing tells of a change in the kernel
            await asyncio.sleep(0.05)


async def test_a_pool_in_azure_is_a_pool_on_the_wire(cloud: Cloud) -> None:
    """A member is probed, gets connections while its server is there, and none when it has left."""
    address = plug_in(cloud)
    send(cloud, PutLoadBalancer(name="web", address=FRONTEND[0], backend_port=PORT, probe=f"tcp:{PORT}"))
    send(cloud, Join(name="web", addresses=(address,)))
    assert not connects(cloud, within_s=SILENCE_S)
    server = inside(vm_of(cloud), lambda: socket.create_server((address, PORT)))
    with server:
        # The next probe is due in 5 s, and a member is up after one.
        await until(lambda: bool(cloud.prober.healthy))
        assert connects(cloud)
        send(cloud, Leave(name="web", addresses=(address,)))
        assert cloud.prober.healthy == frozenset()
        assert not connects(cloud, within_s=SILENCE_S)


def connects(cloud: Cloud, *, within_s: float = PATIENCE_S) -> bool:
    """Whether on-premises reaches the frontend."""

    def call() -> bool:
        try:
            socket.create_connection(FRONTEND, timeout=within_s).close()
        except TimeoutError:
            return False
        return True

    return inside(f"{cloud.fabric.prefix}-onprem", call)


async def test_a_further_nic_is_an_interface_with_its_address(cloud: Cloud) -> None:
    vm = vm_of(cloud)
    send(cloud, ChangeSubnet(name="back", prefix="10.240.8.0/24"))
    cloud.azure.add_nic(vm, subnet="back")
    primary = plug_in(cloud)  # a VM that boots again finds all its NICs
    assert primary == "10.240.0.4"
    assert {"eth0", "eth1"} <= set(links(vm))
    with inside(vm, lambda: socket.create_server(("10.240.8.4", PORT))):
        assert links(vm)["eth1"]["operstate"] == "UP"
    cloud.azure.remove_nic(vm, f"{vm}-nic2")
    assert "eth1" not in links(vm)
    cloud.azure.add_nic(vm, subnet="back")
    cloud.unplug(vm)
    assert not [name for name in links(cloud.fabric.namespace) if name.startswith("p-vm1")]


@pytest.fixture
def dual() -> Iterator[Cloud]:
    """A cloud with both families."""
    made = Cloud(Fabric(own_prefix("bd")), dual_stack=True)
    made.azure.operation_duration_s = 0.0
    try:
        made.lay()
        yield made
    finally:
        made.fabric.destroy()


def test_a_vm_of_a_box_with_both_families_hears_of_its_router_and_is_seen_as_itself(dual: Cloud) -> None:
    vm = vm_of(dual)
    nic = dual.plug_in(vm)
    assert (nic["primary"], nic["ipv6"]) == ("10.240.0.4", "fd00:240::4")
    assert dual.plug_in(vm) == nic  # as at each boot
    configure(vm, [f"address replace {nic['ipv6']}/128 dev eth0 nodad"])
    assert dual.failure == ""

    def seen() -> str:
        deadline = time.monotonic() + PATIENCE_S
        while True:  # until the router has been heard of, which speaks each 10 s
            try:
                with socket.create_connection((str(PEER.ipv6), 80), PATIENCE_S) as calling:
                    calling.sendall(b"GET /whoami HTTP/1.0\r\n\r\n")
                    return calling.makefile("rb").read().decode()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    assert '"caller": "fd00:240::4"' in inside(vm, seen)
    dual.unplug(vm)
    assert dual.azure.subnet().ipv6.owners == {}


async def test_a_vm_of_a_box_with_one_family_has_no_ipv6(cloud: Cloud) -> None:
    assert cloud.plug_in(vm_of(cloud))["ipv6"] == ""
    assert [nic.ipv6 for nic in cloud.azure.effective().nics] == [()]
