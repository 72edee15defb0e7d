"""The node's table in a real kernel: who sees which address, and what a pod may not reach.

One namespace stands for everything beyond the NIC: it holds the addresses of a peered VNet, an on-premises site, the
internet, IMDS and the wireserver, and hands frames for any address of the NIC to the NIC, as Azure's fabric does.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from azure_cni.datapath.snat import NodeTable, ruleset
from azure_cni.errors import DatapathError
from azure_cni.linux.datapath import LinuxDatapath
from datapath.conftest import Machine
from datapath.namespaces import NEEDS_ROOT, Namespace, caller_of

pytestmark = NEEDS_ROOT

NIC_MAC, FABRIC_MAC = "00:0d:3a:00:00:0a", "12:34:56:78:9a:bc"
PRIMARY, A, B, PUBLIC, UNUSED = "10.240.0.4", "10.240.0.7", "10.240.0.8", "10.240.0.9", "10.240.0.10"
POOL = (A, B, PUBLIC, UNUSED)
PEER, ON_PREM, INTERNET = "10.241.0.4", "192.168.50.10", "203.0.113.10"
IMDS, WIRESERVER = "169.254.169.254", "168.63.129.16"
SERVICE = "10.96.0.10"
ETH_P_IP = 0x0800
PORT = 8080

TABLE = NodeTable(
    uplink_mac=NIC_MAC,
    primary=IPv4Address(PRIMARY),
    pool=frozenset(map(IPv4Address, POOL)),
    public=frozenset({IPv4Address(PUBLIC)}),
    routable=frozenset(map(IPv4Network, ("10.240.0.0/16", "10.241.0.0/16", "192.168.50.0/24"))),
    imds_allowed=False,
)
IMDS_OPEN = replace(TABLE, imds_allowed=True)


@dataclass
class Site:
    """A node on its network."""

    machine: Machine
    outside: Namespace

    @property
    def node(self) -> Namespace:
        return self.machine.node

    def seen(self, caller: Namespace, target: str, port: int = PORT, *, bind: str = "") -> str:
        """Which address `target` sees when `caller` connects."""
        client = caller.socket()
        if bind:
            client.bind((bind, 0))
        with self.outside.listen(target, port) as listener:
            return caller_of(listener, client, (target, port))

    def refusal(self, caller: Namespace, target: str, port: int = PORT) -> int:
        """As the function of that name, where somebody would answer."""
        with self.outside.listen(target, port):
            return refusal(caller, target, port)


def refusal(caller: Namespace, target: str, port: int) -> int:
    """The errno with which a connection is refused; TimeoutError where there is only silence."""
    with caller.socket() as client:
        return client.connect_ex((target, port))


@pytest.fixture
async def site(machine: Machine) -> Site:
    outside, node = machine.namespaces.new("outside"), machine.node
    node.ip(
        *f"link add eth0 address {NIC_MAC} type veth peer name vm address {FABRIC_MAC} netns {outside.name}".split()
    )
    node.ip(*f"address add {PRIMARY}/22 dev eth0".split())
    node.ip("link", "set", "eth0", "up")
    outside.ip("address", "add", "10.240.0.1/22", "dev", "vm")
    outside.ip("link", "set", "vm", "up")
    for address in POOL:
        outside.ip(*f"neigh add {address} lladdr {NIC_MAC} nud permanent dev vm".split())
    for address in (PEER, ON_PREM, INTERNET, IMDS, WIRESERVER):
        outside.ip(*f"address add {address}/32 dev lo".split())
    node.ip("route", "add", "default", "via", "10.240.0.1")
    # The fabric answers ARP for every address with its own MAC, and brings what is for this NIC back to it.
    node.ip("neigh", "add", UNUSED, "lladdr", FABRIC_MAC, "nud", "permanent", "dev", "eth0")
    outside.sysctl("net/ipv4/ip_forward", "1")
    return Site(machine, outside)


@contextlib.contextmanager
def service(node: Namespace, backend: str) -> Iterator[None]:
    """What kube-proxy makes of a Service with one endpoint: DNAT, and masquerade for a pod that reaches itself."""
    script = f"""table ip kube {{
        chain services {{
            type nat hook prerouting priority dstnat
            ip saddr {backend} ip daddr {SERVICE} meta mark set 0x4000
            ip daddr {SERVICE} dnat to {backend};
        }}
        chain services_for_the_node {{
            type nat hook output priority -100
            ip daddr {SERVICE} dnat to {backend};
        }}
        chain hairpin {{
            type nat hook postrouting priority srcnat
            meta mark 0x4000 masquerade fully-random
        }}
    }}"""
    node.run("nft", "-f", "-", stdin=script)
    yield
    node.run("nft", "delete", "table", "ip", "kube")


@pytest.mark.parametrize("target", [PEER, ON_PREM, "10.240.0.1"])
async def test_routable_destinations_see_the_pod(site: Site, target: str) -> None:
    await site.machine.datapath.apply_node(TABLE)
    assert site.seen(await site.machine.pod(A), target) == A


async def test_the_internet_sees_the_primary_address_unless_the_pod_has_a_public_one(site: Site) -> None:
    await site.machine.datapath.apply_node(TABLE)
    assert site.seen(await site.machine.pod(A), INTERNET) == PRIMARY
    assert site.seen(await site.machine.pod(PUBLIC), INTERNET) == PUBLIC
    assert site.seen(site.node, INTERNET) == PRIMARY


async def test_whoever_may_not_be_translated_is_seen_as_he_is(site: Site) -> None:
    """An address that is not in the pool is none of our business."""
    await site.machine.datapath.apply_node(replace(TABLE, pool=TABLE.pool - {IPv4Address(A)}))
    assert site.seen(await site.machine.pod(A), INTERNET) == A


@pytest.mark.parametrize("address", [A, PUBLIC])
async def test_imds_and_the_wireserver_see_the_primary_address(site: Site, address: str) -> None:
    await site.machine.datapath.apply_node(IMDS_OPEN)
    pod = await site.machine.pod(address)
    assert site.seen(pod, IMDS, 80) == PRIMARY
    assert site.seen(pod, WIRESERVER, 53) == PRIMARY


async def test_they_see_it_also_where_they_count_as_routable(site: Site) -> None:
    everything = frozenset({IPv4Network("0.0.0.0/1"), IPv4Network("128.0.0.0/1")})
    await site.machine.datapath.apply_node(replace(IMDS_OPEN, routable=everything))
    pod = await site.machine.pod(A)
    assert site.seen(pod, IMDS, 80) == PRIMARY
    assert site.seen(pod, WIRESERVER, 53) == PRIMARY
    assert site.seen(pod, INTERNET) == A


@pytest.mark.parametrize(("target", "port"), [(WIRESERVER, 80), (WIRESERVER, 32526), (IMDS, 80), (IMDS, 443)])
async def test_pods_are_refused_and_the_node_is_not(site: Site, target: str, port: int) -> None:
    await site.machine.datapath.apply_node(TABLE)
    assert site.refusal(await site.machine.pod(A), target, port) == errno.EHOSTUNREACH
    assert site.seen(site.node, target, port) == PRIMARY


async def test_opening_imds_does_not_open_the_wireserver(site: Site) -> None:
    await site.machine.datapath.apply_node(IMDS_OPEN)
    assert site.refusal(await site.machine.pod(A), WIRESERVER, 80) == errno.EHOSTUNREACH


async def test_a_service_is_no_way_round_the_guard(site: Site) -> None:
    await site.machine.datapath.apply_node(TABLE)
    pod = await site.machine.pod(A)
    with service(site.node, WIRESERVER), site.outside.listen(WIRESERVER, 80):
        assert refusal(pod, SERVICE, 80) == errno.EHOSTUNREACH


@pytest.mark.parametrize("kube_proxy_first", [True, False])
async def test_a_service_translates_once_whoever_comes_first(site: Site, *, kube_proxy_first: bool) -> None:
    if not kube_proxy_first:
        await site.machine.datapath.apply_node(TABLE)
    caller, backend = await site.machine.pod(A), await site.machine.pod(B)
    with service(site.node, B), backend.listen(B, PORT) as listener:
        if kube_proxy_first:
            await site.machine.datapath.apply_node(TABLE)
        assert caller_of(listener, caller.socket(), (SERVICE, PORT)) == A
        assert caller_of(listener, backend.socket(), (SERVICE, PORT)) == PRIMARY  # itself, by way of its Service
    with service(site.node, INTERNET), site.outside.listen(INTERNET, PORT) as listener:
        assert caller_of(listener, caller.socket(), (SERVICE, PORT)) == PRIMARY
        assert caller_of(listener, site.node.socket(), (INTERNET, PORT)) == PRIMARY


async def test_the_node_reaches_a_service_whose_pod_is_its_own(site: Site) -> None:
    await site.machine.datapath.apply_node(TABLE)
    pod = await site.machine.pod(A)
    with service(site.node, A), pod.listen(A, PORT) as listener:
        assert caller_of(listener, site.node.socket(), (SERVICE, PORT)) == PRIMARY


async def test_pods_of_the_node_see_each_other_whatever_is_routable(site: Site) -> None:
    await site.machine.datapath.apply_node(replace(TABLE, routable=frozenset()))
    one, other = await site.machine.pod(A), await site.machine.pod(B)
    with other.listen(B, PORT) as listener:
        assert caller_of(listener, one.socket(), (B, PORT)) == A


async def test_callers_from_outside_reach_the_pod_as_themselves(site: Site) -> None:
    await site.machine.datapath.apply_node(TABLE)
    pod = await site.machine.pod(A)
    for source in (PEER, INTERNET, WIRESERVER):  # the last is the load balancer's probe
        with pod.listen(A, PORT) as listener:
            client = site.outside.socket()
            client.bind((source, 0))
            assert caller_of(listener, client, (A, PORT)) == source


async def test_running_connections_survive_a_change_of_the_table(site: Site) -> None:
    await site.machine.datapath.apply_node(TABLE)
    pod = await site.machine.pod(A)
    with site.outside.listen(INTERNET, PORT) as listener, pod.socket() as client:
        client.connect((INTERNET, PORT))
        server, (seen, _) = listener.accept()
        with server:
            grown = replace(TABLE, pool=TABLE.pool | {IPv4Address("10.240.0.11")})
            assert await site.machine.datapath.apply_node(grown) == ()
            client.sendall(b"still")
            assert (seen, server.recv(5)) == (PRIMARY, b"still")
            server.sendall(b"here")
            assert client.recv(4) == b"here"


@pytest.mark.parametrize("borrowed", [B, PRIMARY, "10.240.3.3"])
async def test_a_pod_cannot_speak_with_anothers_address(site: Site, borrowed: str) -> None:
    await site.machine.datapath.apply_node(TABLE)
    pod = await site.machine.pod(A)
    await site.machine.pod(B)
    pod.ip("address", "add", f"{borrowed}/32", "dev", "lo")
    with pod.socket(socket.SOCK_DGRAM) as liar, pod.socket(socket.SOCK_DGRAM) as honest:
        liar.bind((borrowed, PORT))
        with site.outside.socket(socket.SOCK_DGRAM) as receiver:
            receiver.bind((PEER, PORT))
            liar.sendto(b"not me", (PEER, PORT))
            honest.bind((A, 0))
            honest.sendto(b"me", (PEER, PORT))
            data, (source, _) = receiver.recvfrom(16)
            assert (data, source) == (b"me", A)


async def test_an_address_without_a_pod_is_refused_at_once(site: Site) -> None:
    """Its route is the subnet's: without the rule the fabric would bring the packet back, again and again."""
    await site.machine.datapath.apply_node(TABLE)
    for caller in (site.node, await site.machine.pod(A)):
        assert refusal(caller, UNUSED, PORT) == errno.EHOSTUNREACH


async def test_what_comes_from_outside_for_such_an_address_does_not_go_out_again(site: Site) -> None:
    await site.machine.datapath.apply_node(TABLE)
    pod = await site.machine.pod(A)
    with (
        site.outside.socket(socket.SOCK_DGRAM, family=socket.AF_PACKET) as wire,
        site.outside.socket(socket.SOCK_DGRAM) as sender,
    ):
        wire.bind(("vm", ETH_P_IP))
        sender.sendto(b"to nobody", (UNUSED, PORT))
        with pod.listen(A, PORT) as listener:  # what is sent later and has come back shows that the first has not
            caller_of(listener, site.outside.socket(), (A, PORT))
        wire.setblocking(False)
        arrived = []
        with contextlib.suppress(BlockingIOError):
            while True:
                data, (_, _, direction, *_) = wire.recvfrom(2000)
                if direction == socket.PACKET_HOST:
                    arrived.append(data)
    assert arrived
    assert not [data for data in arrived if b"to nobody" in data and data[9] == socket.IPPROTO_UDP]


async def test_a_first_pass_tells_what_it_made_and_a_second_has_nothing_to_do(site: Site) -> None:
    site.node.sysctl("net/ipv4/ip_forward", "0")
    assert await site.machine.datapath.apply_node(TABLE) == (
        "sysctl net.ipv4.ip_forward was 0: set to 1",
        "nftables table inet azure_cni was missing: made",
    )
    assert site.node.sysctl("net/ipv4/ip_forward") == "1"
    assert await site.machine.datapath.apply_node(TABLE) == ()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("delete table inet azure_cni", "was missing: made"),
        ("flush chain inet azure_cni postrouting", "was different: replaced"),
        (f"add element inet azure_cni public {{ {A} }}", "was different: replaced"),
        (f"delete element inet azure_cni pool {{ {A} }}", "was different: replaced"),
        ("add chain inet azure_cni extra", "was different: replaced"),
    ],
)
async def test_what_somebody_changed_is_put_right_and_told(site: Site, damage: str, words: str) -> None:
    await site.machine.datapath.apply_node(TABLE)
    right = site.node.run("nft", "-s", "list", "ruleset")
    site.node.run("nft", *damage.split())
    assert await site.machine.datapath.apply_node(TABLE) == (f"nftables table inet azure_cni {words}",)
    assert site.node.run("nft", "-s", "list", "ruleset") == right


async def test_other_words_for_the_same_table_are_not_drift(site: Site) -> None:
    """An agent before this one, with another nft in its image: the table that it left means the same."""
    await site.machine.datapath.apply_node(TABLE)
    other_words = ruleset(TABLE, uplink="eth0").replace("typeof ip saddr", "type ipv4_addr")
    listed = site.node.run("nft", "-s", "list", "ruleset")
    site.node.run("nft", "-f", "-", stdin=other_words)
    assert site.node.run("nft", "-s", "list", "ruleset") != listed
    assert await site.machine.datapath.apply_node(TABLE) == ()
    site.node.run("nft", "-f", "-", stdin=other_words)
    successor = LinuxDatapath(node_netns=site.node.path)
    assert await successor.apply_node(TABLE) == ()
    await successor.close()


async def test_use_is_not_drift(site: Site) -> None:
    await site.machine.datapath.apply_node(TABLE)
    site.refusal(await site.machine.pod(A), IMDS, 80)  # counted by its rule
    assert await site.machine.datapath.apply_node(TABLE) == ()


async def test_others_tables_are_left_alone(site: Site) -> None:
    with service(site.node, B):
        theirs = site.node.run("nft", "list", "table", "ip", "kube")
        await site.machine.datapath.apply_node(TABLE)
        assert site.node.run("nft", "list", "table", "ip", "kube") == theirs


async def test_the_uplinks_own_forwarding_switch_counts_too(site: Site) -> None:
    await site.machine.datapath.apply_node(TABLE)
    site.node.sysctl("net/ipv4/conf/eth0/forwarding", "0")
    assert await site.machine.datapath.apply_node(TABLE) == ("sysctl net.ipv4.conf.eth0.forwarding was 0: set to 1",)
    assert site.seen(await site.machine.pod(A), PEER) == A


@pytest.mark.parametrize("first", [PRIMARY, A])
async def test_pods_addresses_leave_the_uplink_and_the_nodes_own_stays(site: Site, first: str) -> None:
    """In either order: the kernel takes all others of the subnet along with the first, unless told otherwise."""
    node = site.node
    node.sysctl("net/ipv4/conf/eth0/promote_secondaries", "0")
    node.ip("address", "flush", "dev", "eth0")
    for address in (first, *({PRIMARY, A, B} - {first})):
        node.ip("address", "add", f"{address}/22", "dev", "eth0")
    node.ip("route", "add", "default", "via", "10.240.0.1", "src", PRIMARY)

    told = await site.machine.datapath.apply_node(TABLE)

    (entry,) = node.show("-4", "address", "show", "dev", "eth0")
    assert [found["local"] for found in entry["addr_info"]] == [PRIMARY]
    assert sorted(words.split("/")[0] for words in told if "pods' address" in words) == [
        f"eth0 had the pods' address {A}",
        f"eth0 had the pods' address {B}",
    ]
    assert site.seen(node, INTERNET) == PRIMARY
    assert site.seen(await site.machine.pod(A), PEER) == A


async def test_the_uplink_is_told_with_its_mtu(site: Site) -> None:
    site.node.ip("link", "set", "eth0", "mtu", "1420")
    uplink = await site.machine.datapath.uplink(NIC_MAC)
    (link,) = site.node.show("link", "show", "dev", "eth0")
    assert (uplink.name, uplink.index, uplink.mtu) == ("eth0", link["ifindex"], 1420)


async def test_neither_a_slave_nor_what_is_stacked_on_the_nic_is_taken_for_it(site: Site) -> None:
    """A macvlan in passthrough has its parent's MAC, a virtual function its master's (here: a bridge and a veth)."""
    node = site.node
    node.ip("link", "add", "link", "eth0", "name", "above", "type", "macvlan", "mode", "passthru")
    assert (await site.machine.datapath.uplink(NIC_MAC)).name == "eth0"
    node.ip("link", "delete", "above")
    node.ip(*f"link add name master address {NIC_MAC} type bridge".split())
    node.ip("link", "set", "eth0", "master", "master")
    assert (await site.machine.datapath.uplink(NIC_MAC)).name == "master"


async def test_a_mac_that_nobody_has_is_an_error_and_nothing_is_made(site: Site) -> None:
    with pytest.raises(DatapathError, match="no interface has the NIC's MAC 00:0d:3a:ff:ff:ff"):
        await site.machine.datapath.apply_node(replace(TABLE, uplink_mac="00:0d:3a:ff:ff:ff"))
    assert "azure_cni" not in site.node.run("nft", "list", "ruleset")


async def test_without_nft_it_says_what_to_install(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(DatapathError, match="no program nft in PATH; install nftables"):
        await site.machine.datapath.apply_node(TABLE)


async def test_a_switch_that_cannot_be_set_is_named(site: Site, tmp_path: Path) -> None:
    datapath = LinuxDatapath(node_netns=site.node.path, sysctls=tmp_path)
    with pytest.raises(DatapathError, match=r"cannot turn on sysctl net.ipv4.ip_forward: .*; set it to 1 on the node"):
        await datapath.apply_node(TABLE)
    await datapath.close()


@contextlib.contextmanager
def mounted(source: str, target: Path) -> Iterator[None]:
    target.mkdir()
    subprocess.run(["mount", "--bind", source, str(target)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(target)], check=True)


async def test_a_mount_elsewhere_shows_the_nodes_own_switches(site: Site, tmp_path: Path) -> None:
    """As the agent's container has it."""
    with mounted("/proc/sys/net", tmp_path / "net"):
        datapath = LinuxDatapath(node_netns=site.node.path, sysctls=tmp_path)
        site.node.sysctl("net/ipv4/conf/eth0/forwarding", "0")
        assert "sysctl net.ipv4.conf.eth0.forwarding was 0: set to 1" in await datapath.apply_node(TABLE)
        assert site.node.sysctl("net/ipv4/conf/eth0/forwarding") == "1"
        await datapath.close()
