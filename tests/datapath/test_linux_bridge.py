"""What the mode `bridge` has that no other has: the bridge itself, its ports, and what pods cannot do on it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from azure_cni.datapath.node_table import BRIDGE_TABLE
from azure_cni.errors import DatapathError
from azure_cni.model.identity import ModeName
from datapath.machine import BRIDGE_MAC, MTU, Machine
from datapath.namespaces import NEEDS_ROOT, PATIENCE_S, Namespace, caller_of, is_bare, neighbours_of, routes_of
from datapath.node_site import INTERNET, PEER, PORT, PRIMARY, SERVICE, TABLE, A, B, Site, service
from datapath.packets import ETH_P_IP, packet
from datapath.watched_node import listen, watching

pytestmark = [*NEEDS_ROOT, pytest.mark.parametrize("mode", [ModeName.BRIDGE], indirect=True)]

NODE = IPv4Address(PRIMARY)
ETH_P_ARP, ETH_P_8021Q = 0x0806, 0x8100

DAMAGE = {
    "no port any more": "ip link set {host} nomaster",
    "another group": "ip link set {host} group default",
    "station gone": "bridge fdb delete {pod_mac} dev {host} master",
    "learning": "bridge link set dev {host} learning on",
    "flooding": "bridge link set dev {host} bcast_flood on",
    "no hairpin": "bridge link set dev {host} hairpin off",
    "reserved frames past the guards": "ip link set {host} type bridge_slave group_fwd_mask 0",
    "bridge gone": "ip link delete azure0",
}


@pytest.mark.parametrize("name", DAMAGE)
async def test_check_finds_what_became_of_a_port_and_attach_and_repair_restore_it(machine: Machine, name: str) -> None:
    machine.node.ip("address", "add", f"{PRIMARY}/32", "dev", "lo")
    spec = machine.spec(A, node_address=NODE)
    for repair in (machine.datapath.attach, machine.datapath.restore_routes):
        await machine.datapath.attach(spec)
        assert (await machine.datapath.check(spec)) == ()
        machine.node.run(*DAMAGE[name].format(**machine.facts_about(A)).split())
        assert any("lacks its place on azure0" in found for found in await machine.datapath.check(spec))
        (observed,) = await machine.datapath.sandboxes()
        assert not machine.datapath.is_complete(observed, spec)
        await repair(spec)
        assert await machine.datapath.check(spec) == ()
        (observed,) = await machine.datapath.sandboxes()
        assert machine.datapath.is_complete(observed, spec)


async def pods_of(site: Site) -> tuple[Namespace, Namespace]:
    await site.machine.datapath.apply_node(TABLE)
    return await site.machine.pod(A, node_address=NODE), await site.machine.pod(B, node_address=NODE)


def they_talk(site: Site, one: Namespace, other: Namespace) -> bool:
    """A pod reaches the other one, the node a pod, and a pod a peer and the internet, as who they should be."""
    with contextlib.suppress(OSError), other.listen(B, PORT) as listener:
        clients = [one.socket(), site.node.socket()]
        callers = [caller_of(listener, client, (B, PORT)) for client in clients]
        return [*callers, site.seen(one, PEER), site.seen(one, INTERNET)] == [A, PRIMARY, A, PRIMARY]
    return False


async def test_the_nic_is_no_port_and_the_nodes_address_stays_on_it(site: Site) -> None:
    await pods_of(site)
    (bridge,) = site.node.show("link", "show", "azure0")
    assert (bridge["address"], bridge["mtu"], bridge["linkinfo"]["info_kind"]) == (BRIDGE_MAC, MTU, "bridge")
    settings = bridge["linkinfo"]["info_data"]
    assert (settings["stp_state"], settings["mcast_snooping"]) == (0, 0)
    assert site.node.show("address", "show", "dev", "azure0")[0]["addr_info"] == []
    ports = {link["ifname"] for link in site.node.show("link", "show", "master", "azure0")}
    assert ports == {site.machine.spec(address).host_ifname for address in (A, B)}
    (nic,) = site.node.show("-4", "address", "show", "dev", "eth0")
    assert [found["local"] for found in nic["addr_info"]] == [PRIMARY]


@pytest.mark.parametrize("calls_iptables", ["0", "1"])
async def test_services_work_whether_bridged_frames_pass_iptables_or_not(site: Site, calls_iptables: str) -> None:
    """Of another pod, of the pod itself, of a pod for the node, and of somebody beyond it."""
    site.node.sysctl("net/bridge/bridge-nf-call-iptables", calls_iptables)
    one, other = await pods_of(site)
    with service(site.node, B), other.listen(B, PORT) as listener:
        for _ in range(3):
            assert caller_of(listener, one.socket(), (SERVICE, PORT)) == A
            assert caller_of(listener, other.socket(), (SERVICE, PORT)) == PRIMARY
            assert caller_of(listener, site.node.socket(), (SERVICE, PORT)) == PRIMARY
    with service(site.node, INTERNET), site.outside.listen(INTERNET, PORT) as listener:
        assert caller_of(listener, one.socket(), (SERVICE, PORT)) == PRIMARY
    assert they_talk(site, one, other)
    with service(site.node, B), other.socket(socket.SOCK_DGRAM) as server, one.socket(socket.SOCK_DGRAM) as client:
        server.bind((B, PORT))
        client.connect((SERVICE, PORT))  # an answer from anybody else is not received
        client.send(bytes(4000))  # in fragments
        data, caller = server.recvfrom(5000)
        server.sendto(data[:3000], caller)
        assert len(client.recv(5000)) == 3000


def counted(site: Site) -> list[int]:
    """What the guards at the ports have counted, in their order."""
    words = site.node.run("nft", "list", *BRIDGE_TABLE.split()).split()
    return [int(words[at + 2]) for at, word in enumerate(words) if word == "counter"]


def frame(to: str, source: str, kind: int, content: bytes) -> bytes:
    return bytes.fromhex((to + source).replace(":", "")) + struct.pack("!H", kind) + content


def answer(mac: str, address: str, *, target: str) -> bytes:
    """The content of an ARP reply that says who has an address."""
    head = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2) + bytes.fromhex(mac.replace(":", "")) + socket.inet_aton(address)
    return head + bytes(6) + socket.inet_aton(target)


@pytest.mark.parametrize("calls_iptables", ["0", "1"])
async def test_a_pod_speaks_for_no_other(site: Site, calls_iptables: str) -> None:
    """Neither by ARP, nor with another's MAC or address, nor past the node, in a VLAN, or in a version of IP."""
    site.node.sysctl("net/bridge/bridge-nf-call-iptables", calls_iptables)
    one, other = await pods_of(site)
    mine, theirs = site.machine.spec(A).pod_mac, site.machine.spec(B).pod_mac
    udp = struct.pack("!HHHH", 4711, PORT, 12, 0) + b"liar"
    lie, truth = (packet(source, B, socket.IPPROTO_UDP, udp) for source in (PEER, A))
    assert counted(site) == [0, 0, 0]
    with one.socket(socket.SOCK_RAW, family=socket.AF_PACKET) as raw, other.socket(socket.SOCK_DGRAM) as victim:
        victim.bind((B, PORT))
        victim.settimeout(0.3)
        raw.bind(("eth0", 0))
        raw.send(frame(theirs, mine, ETH_P_IP, truth))  # past the node
        raw.send(frame("ff:ff:ff:ff:ff:ff", mine, ETH_P_ARP, answer(mine, "169.254.1.1", target=B)))
        raw.send(frame(BRIDGE_MAC, mine, ETH_P_ARP, answer(mine, B, target=PRIMARY)))
        raw.send(frame(BRIDGE_MAC, mine, ETH_P_8021Q, struct.pack("!HH", 1, ETH_P_IP) + truth))
        raw.send(frame(BRIDGE_MAC, mine, ETH_P_IP, lie))
        for _ in range(3):
            raw.send(frame(BRIDGE_MAC, theirs, ETH_P_IP, lie))
        with pytest.raises(TimeoutError):
            victim.recv(100)
        assert counted(site) == [2, 2, 4]
        victim.settimeout(PATIENCE_S)
        raw.send(frame(BRIDGE_MAC, theirs, ETH_P_IP, truth))  # another's MAC: nobody believes it
        assert victim.recv(100) == b"liar"
    assert they_talk(site, one, other)
    assert they_talk(site, one, other)  # and nobody has learnt anything since
    fdb = site.node.run("bridge", "fdb", "show", "br", "azure0")
    assert not [line for line in fdb.splitlines() if "static" not in line and "permanent" not in line]


async def test_no_pod_hears_what_is_not_for_it(site: Site) -> None:
    """The bridge floods nothing: neither what a pod sends, nor what the node does."""
    one, other = await pods_of(site)
    with other.socket(socket.SOCK_RAW, family=socket.AF_PACKET) as tap:
        tap.bind(("eth0", 0x0003))
        site.node.ip(*["neigh", "replace", "10.240.3.77", "lladdr", "02:00:00:00:77:77", "dev", "azure0"])
        site.node.ip("route", "add", "10.240.3.77", "dev", "azure0")
        for caller, target in ((site.node, "10.240.3.77"), (one, "224.0.0.251"), (one, "255.255.255.255")):
            with caller.socket(socket.SOCK_DGRAM) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
                with contextlib.suppress(OSError):
                    client.sendto(b"to nobody", (target, PORT))
        tap.settimeout(0.3)
        heard = b""
        with contextlib.suppress(TimeoutError):
            while True:
                heard += tap.recv(2000)
        assert b"to nobody" not in heard


async def test_what_leads_to_a_pod_goes_with_it(machine: Machine) -> None:
    """It hangs on the bridge, and not on the pod's own link."""
    await machine.pod(A)
    await machine.pod(B)
    await machine.datapath.detach(machine.spec(A).sandbox)
    assert {route[0] for route in routes_of(machine.node)} == {B}
    assert {neighbour[0] for neighbour in neighbours_of(machine.node)} == {B}
    await machine.datapath.remove(machine.datapath.key(machine.spec(B).sandbox))
    await machine.datapath.settle()
    assert is_bare(machine.node)


def await_gone(node: Namespace, link: str) -> None:
    """The kernel ends a namespace, and its links, some time after its last user."""
    until_s = time.monotonic() + PATIENCE_S
    while link in node.links() and time.monotonic() < until_s:
        time.sleep(0.01)


async def test_what_leads_to_a_pod_whose_link_went_with_its_namespace_is_swept_away(machine: Machine) -> None:
    """No DEL may come for it, and the ledger of the agent may know nothing of it."""
    await machine.pod(A)
    await machine.pod(B)
    link = machine.facts_about(A)["host"]
    machine.pods[A].delete()
    await_gone(machine.node, link)
    assert len(routes_of(machine.node)) == 2
    (left,) = await machine.datapath.sandboxes()
    assert set(map(str, left.addresses)) == {B}
    assert {route[0] for route in routes_of(machine.node)} == {B}
    assert {neighbour[0] for neighbour in neighbours_of(machine.node)} == {B}


async def test_a_pod_whose_station_somebody_took_away_is_not_swept_away(machine: Machine) -> None:
    await machine.pod(A)
    machine.node.run(*DAMAGE["station gone"].format(**machine.facts_about(A)).split())
    (found,) = await machine.datapath.sandboxes()
    assert len(routes_of(machine.node)) == 1
    assert not machine.datapath.is_complete(found, machine.spec(A))


@pytest.mark.parametrize("address", ["192.168.50.10", "172.16.0.4", "223.255.255.1"])
async def test_any_address_can_be_a_group(site: Site, address: str) -> None:
    """The kernel keeps groups as signed numbers; nft compares them as unsigned ones."""
    pool = frozenset({IPv4Address(address)})
    await site.machine.datapath.apply_node(replace(TABLE, pool=pool, routable=frozenset()))
    pod = await site.machine.pod(address, node_address=NODE)
    assert site.seen(pod, INTERNET) == PRIMARY
    assert counted(site)[2] == 0
    await site.machine.datapath.detach(site.machine.spec(address).sandbox)
    assert site.node.run("ip", "route", "show", address) == ""


async def test_the_bridge_is_as_small_as_its_smallest_port(site: Site) -> None:
    """A pod that was wired before the NIC's MTU grew gets what its link can take: its peer learns to send less."""
    old = (await pods_of(site))[0]
    for namespace, link in ((site.node, "eth0"), (site.outside, "vm")):
        namespace.ip("link", "set", link, "mtu", "3900")
    await site.machine.datapath.apply_node(TABLE)
    new = await site.machine.pod("10.240.0.9", node_address=NODE, mtu=3900)
    assert site.node.show("link", "show", "azure0")[0]["mtu"] == MTU
    for caller, address, listening in ((old, "10.240.0.9", new), (new, A, old)):
        with listening.listen(address, PORT) as listener, caller.socket() as client:
            client.connect((address, PORT))
            server, _ = listener.accept()
            with server:
                client.sendall(bytes(100_000))
                got = 0
                while got < 100_000:
                    got += len(server.recv(65536))
    site.node.ip("link", "set", "azure0", "mtu", "3900")
    assert (await site.machine.datapath.apply_node(TABLE)).repaired == ("bridge azure0 had MTU 3900: set right",)
    assert site.node.show("link", "show", "azure0")[0]["mtu"] == MTU


@pytest.mark.parametrize("stranger", ["link set eth0 master azure0", "link add other type dummy"])
async def test_a_bridge_of_another_program_is_reported_and_left_alone(site: Site, stranger: str) -> None:
    """As Azure's own plugin makes it, with the NIC as its port; or something else of that name."""
    node = site.node
    if "dummy" in stranger:
        node.ip("link", "add", "azure0", "type", "veth", "peer", "name", "other")
    else:
        node.ip("link", "add", "azure0", "type", "bridge")
        node.ip(*stranger.split())
    before = node.show("link", "show", "azure0")
    with pytest.raises(DatapathError, match=r"cannot use azure0 as the pods' bridge: .*choose mode transparent"):
        await site.machine.datapath.apply_node(TABLE)
    assert node.show("link", "show", "azure0") == before


@pytest.mark.parametrize("stranger", ["type bridge", "type veth peer name other"])
async def test_a_pod_does_not_start_on_what_another_program_put_in_the_bridge_s_place(
    site: Site, stranger: str
) -> None:
    """The agent runs on: nothing but the next pod looks before the host is looked at again."""
    await pods_of(site)
    site.node.ip("link", "delete", "azure0")
    site.node.ip("link", "add", "azure0", *stranger.split())
    if "bridge" in stranger:
        site.node.ip("link", "set", "eth0", "master", "azure0")
    spec, other = (site.machine.spec(address, node_address=NODE) for address in (A, B))
    with pytest.raises(DatapathError, match=r"cannot use azure0 as the pods' bridge: .*choose mode transparent"):
        await site.machine.datapath.attach(spec)
    with pytest.raises(DatapathError, match=r"cannot use azure0 as the pods' bridge: .*choose mode transparent"):
        await site.machine.datapath.restore_routes(other)
    site.node.ip("link", "delete", "azure0")
    await site.machine.datapath.attach(spec)
    assert await site.machine.datapath.check(spec) == ()


async def test_the_next_mode_takes_the_bridge_and_its_guards_away_once_no_pod_is_left(site: Site) -> None:
    await pods_of(site)
    transparent = super(type(site.machine.datapath), site.machine.datapath).apply_node
    await transparent(TABLE)
    assert "azure0" in site.node.links()  # pods hang on it
    for address in (A, B):
        await site.machine.datapath.detach(site.machine.spec(address).sandbox)
    assert (await transparent(TABLE)).repaired == ("bridge azure0 was left of mode bridge: removed",)
    assert (await transparent(TABLE)).repaired == ()
    assert "azure0" not in site.node.links()
    assert "bridge" not in site.node.run("nft", "list", "tables")


TAKEN = {
    "deleted": "ip link delete azure0",
    "turned off": "ip link set azure0 down",
    "another MAC": "ip link set azure0 address 02:00:00:00:00:99",
    "its guards": "nft delete table bridge azure_cni",
    "all tables": "nft flush ruleset",
}


@pytest.fixture
async def watched(site: Site) -> AsyncIterator[tuple[Site, Namespace, Namespace]]:
    one, other = await pods_of(site)
    async with watching(site.machine, A, B):
        yield site, one, other


async def damaged(site: Site) -> bool:
    """Whether one of the two pods is not as it should be."""
    specs = [site.machine.spec(address, node_address=NODE) for address in (A, B)]
    return any([await site.machine.datapath.check(spec) for spec in specs])


@pytest.mark.parametrize("name", TAKEN)
async def test_what_is_taken_from_the_bridge_is_back_soon(
    watched: tuple[Site, Namespace, Namespace], name: str
) -> None:
    site, one, other = watched
    before = site.node.run("nft", "-s", "list", "ruleset")
    site.node.run(*TAKEN[name].format(**site.machine.facts_about(B)).split())
    async with asyncio.timeout(PATIENCE_S):
        while await damaged(site) or before != site.node.run("nft", "-s", "list", "ruleset"):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert they_talk(site, one, other)
    assert site.node.show("link", "show", "azure0")[0]["address"] == BRIDGE_MAC


async def test_what_the_kernel_does_not_announce_is_put_right_by_the_next_pass(site: Site) -> None:
    await pods_of(site)
    site.node.ip(*["link", "set", "azure0", "type", "bridge", "stp_state", "1", "mcast_snooping", "1"])
    repaired = (await site.machine.datapath.apply_node(TABLE)).repaired
    assert repaired == ("bridge azure0 had stp_state 1, mcast_snooping 1: set right",)
    assert (await site.machine.datapath.apply_node(TABLE)).repaired == ()


async def test_pods_that_come_and_go_wake_nobody(site: Site) -> None:
    """What the kernel says about the bridge and its ports on the way is no change by others."""
    await pods_of(site)
    datapath = site.machine.datapath
    await listen(datapath)
    hearing = asyncio.create_task(datapath.changed())
    for number in range(20, 30):
        await site.machine.pod(f"10.240.1.{number}", node_address=NODE)
    for number in range(20, 30):
        await datapath.detach(site.machine.spec(f"10.240.1.{number}").sandbox)
    await datapath.settle()
    await asyncio.sleep(0.3)
    assert not hearing.done()
    hearing.cancel()
