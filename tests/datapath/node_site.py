"""A node on its network.

One namespace stands for everything beyond the NIC: it holds the addresses of a peered VNet, an on-premises site, the
internet, IMDS and the wireserver, and hands frames for any address of the NIC to the NIC, as Azure's fabric does.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network

from azure_cni.datapath.node_table import NodeTable
from datapath.machine import Machine
from datapath.namespaces import SILENCE_S, Namespace, caller_of

NIC_MAC, FABRIC_MAC = "00:0d:3a:00:00:0a", "12:34:56:78:9a:bc"
PRIMARY, A, B, PUBLIC, UNUSED = "10.240.0.4", "10.240.0.7", "10.240.0.8", "10.240.0.9", "10.240.0.10"
POOL = (A, B, PUBLIC, UNUSED)
PEER, ON_PREM, INTERNET = "10.241.0.4", "192.168.50.10", "203.0.113.10"
IMDS, WIRESERVER = "169.254.169.254", "168.63.129.16"
SERVICE = "10.96.0.10"
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

    def silent(self, caller: Namespace, target: str, port: int = PORT) -> bool:
        """Whether a connection meets silence, where somebody would answer. A refusal is an error of the test."""
        with self.outside.listen(target, port), caller.socket() as client:
            client.settimeout(SILENCE_S)
            try:
                client.connect((target, port))
            except TimeoutError:
                return True
            return False

    def refusal(self, caller: Namespace, target: str, port: int = PORT) -> int:
        """As the function of that name, where somebody would answer."""
        with self.outside.listen(target, port):
            return refusal(caller, target, port)


def refusal(caller: Namespace, target: str, port: int) -> int:
    """The errno with which a connection is refused; TimeoutError where there is only silence."""
    with caller.socket() as client:
        return client.connect_ex((target, port))


def connected(machine: Machine) -> Site:
    """The node's NIC is up, and beyond it is everything."""
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
