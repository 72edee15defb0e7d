"""A node with two NICs: its own address on eth0, a pool in a pod subnet on eth1, and a strict fabric behind both."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from azure_cni.model.identity import NodeNic
from datapath.namespaces import Namespace, caller_of
from datapath.node_site import FABRIC_MAC, NIC_MAC, PORT, PRIMARY, TABLE, Site

POD_NIC_MAC = "00:0d:3a:00:00:0b"
POD_PRIMARY, P, Q, UNHELD, GUEST = "10.240.8.4", "10.240.8.7", "10.240.8.8", "10.240.8.10", "10.240.8.9"
POD_POOL = (P, Q, UNHELD)
NODE_PORT = 30080

POD_TABLE = replace(
    TABLE,
    uplink_mac=POD_NIC_MAC,
    primary=IPv4Address(POD_PRIMARY),
    pool=frozenset(map(IPv4Address, POD_POOL)),
    public=frozenset(),
    node_nic=NodeNic(NIC_MAC, IPv4Address(PRIMARY)),
)


@dataclass
class PodSubnet(Site):
    """What a node of that shape sees of the world, and the world of it."""

    def reached(self, target: str, port: int, *, by: Namespace, caller: str, at: str) -> str:
        """Whom the process behind `at` sees when `caller`, somewhere beyond the node, calls the target."""
        client = self.outside.socket()
        client.bind((caller, 0))
        with by.listen(at, PORT) as listener:
            return caller_of(listener, client, (target, port))


def plug_in(site: Site) -> PodSubnet:
    """Give the node of `site` its second NIC, and let every reverse path filter be strict."""
    node, outside = site.node, site.outside
    node.batch(f"link add eth1 address {POD_NIC_MAC} type veth peer name vm2 address {FABRIC_MAC} netns {outside.name}")
    outside.batch("address add 10.240.8.1/24 dev vm2", f"address add {GUEST}/24 dev vm2", "link set vm2 up")
    node.batch(f"address add {POD_PRIMARY}/24 dev eth1", "link set eth1 up")
    for address in POD_POOL:
        outside.ip(*f"neigh add {address} lladdr {POD_NIC_MAC} nud permanent dev vm2".split())
    for name in ("all", "vm", "vm2"):
        outside.sysctl(f"net/ipv4/conf/{name}/rp_filter", "0")
    outside.run(
        *("nft", "-f", "-"),
        stdin=f"""table ip fabric {{
        chain pre {{
            type filter hook prerouting priority raw
            iifname "vm" ip saddr != {PRIMARY} counter drop
            iifname "vm2" ip saddr != {{ {POD_PRIMARY}, {", ".join(POD_POOL)} }} counter drop
        }}
    }}""",
    )
    for name in ("all", "eth0", "eth1"):
        node.sysctl(f"net/ipv4/conf/{name}/rp_filter", "1")
    return PodSubnet(site.machine, outside)


def forwarded(site: Site, target: str, *, masquerade: bool) -> None:
    """A NodePort as kube-proxy makes it, with `externalTrafficPolicy` Cluster or Local."""
    site.node.run(
        *("nft", "-f", "-"),
        stdin=f"""table ip kube {{
        chain services {{
            type nat hook prerouting priority dstnat
            fib daddr type local tcp dport {NODE_PORT} meta mark set meta mark | 0x4000
            fib daddr type local tcp dport {NODE_PORT} dnat to {target}:{PORT}
        }}
        chain masquerading {{
            type nat hook postrouting priority srcnat
            meta mark & 0x4000 == 0x4000 {"masquerade fully-random" if masquerade else "accept"}
        }}
    }}""",
    )
