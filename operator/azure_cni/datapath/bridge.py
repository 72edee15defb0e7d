"""The `bridge` mode: what the node and one sandbox look like when pods hang on a software bridge. Pure.

    pod's namespace                               node's namespace
    eth0  10.240.0.7/32                           acni0a1b2c3d4e5 (port of azure0, group = 10.240.0.7)
      169.254.1.1 on link, permanent neighbour    azure0 (fixed MAC, no address)
      default via 169.254.1.1                       10.240.0.7/32 src PRIMARY, and once more metric 1
                                                    permanent neighbour 10.240.0.7

The node's end of each pod's veth is a port of the bridge `azure0`, and the bridge is the pods' gateway. The NIC is no
port of it: the node's own address stays on the NIC's interface, and nothing that happens to the bridge cuts the node
off. What pods of one node send each other stays on `azure0`; all else leaves by the NIC, routed.

**The pod's address is a /32.** With the subnet's prefix, pods would take all of the subnet for neighbours on the link,
but only pods of this node are on that link: for every other address of the subnet the node would have to answer ARP in
its place (proxy ARP), for addresses that nobody has, too. With the /32 nothing is a neighbour but the gateway, and
whatever the destination is, the node's routing decides. So packets between two pods of a node come up to the IP layer,
too, and go back down by the same bridge. That is what makes Services work: kube-proxy translates a Service's address on
the way there, and the answer must come by the same place to be translated back. Pods that knew each other as neighbours
would answer past it.

**bridge-nf-call-iptables**, the switch by which bridged frames pass iptables, may be on (Kubernetes' installers turn it
on) or off. Off, a bridge with a /32 needs nothing of it. On, the kernel translates a Service's address at the port
already, sees that the real destination is behind the same bridge, and takes the frame there without routing it. If it
is the pod that called, the frame leaves by the port that it came in by, which a bridge does only in **hairpin** mode;
so every port has that. Nothing else can use it, because of the guards.

**No ARP, no learning, no flooding.** All MACs are known when a pod is wired: the pod knows the gateway's, the node the
pod's (permanent neighbours), and the bridge the port of the pod (a static forwarding entry). So ARP is dropped at the
ports, and with it every lie by ARP. The bridge learns no MAC from what pods send (another pod's, say), and there is
nothing to age. It floods nothing: a frame for a MAC that it does not know goes nowhere. The spanning tree protocol is
off, because there is no second bridge and a port must not wait 30 s; multicast snooping too, for no multicast passes.

**Every frame passes the guards.** A bridge hands frames for some reserved MACs (01:80:c2:00:00:0X: spanning tree, LLDP
and others) to the port that they came in by, unfiltered: the node would take an IP packet or an ARP request in such a
frame from the link itself, which the IP layer's guards do not know here. So each port is told to treat them as any
other frame, and the guards drop them.

**A port's link group is the pod's address.** The IP layer sees all pods behind one interface, and its lookup by source
and interface, which distinguishes pods in the transparent mode, does not help here. The bridge family of
nftables sees the port, and compares the port's group with the source address: a set that depends on the pool alone
(`node_table`), so nothing is written there per pod. The group is an attribute of the veth's creation, and costs an ADD
nothing. Because a group is one number, a sandbox has one IPv4 address in this mode. Its IPv6 address is bound to that
one: the node's table says which belongs to which, and the port's guard compares the group with either.

**MTU.** The kernel keeps the bridge's at the smallest of its ports', so a pod that was wired before the NIC's MTU grew
is sent nothing that its link drops; it learns that by path MTU discovery, as its peers do.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address

from azure_cni.datapath import names
from azure_cni.datapath.interface import IPV4, Interface, Port, PortSettings, Wiring
from azure_cni.datapath.ipv6_guards import Pairs
from azure_cni.datapath.nft_text import DROP, block, listed, replacing
from azure_cni.datapath.transparent import VethSpec, neighbours_of, pod_end, routes_to
from azure_cni.datapath.uplink import BridgeSettings, Link
from azure_cni.errors import DatapathError

PORT = PortSettings(learning=False, floods=False, hairpin=True, reserved=True)
"""Of every pod's port."""

_NOT_ITS_OWN = "not the address of this pod"
_IPV6_OWNERS = "owners_ipv6"

SETTINGS = BridgeSettings(stp=False, snooping=False)
"""Of the bridge."""


def wiring(spec: VethSpec) -> Wiring:
    """Both ends, and what hangs on the bridge for this sandbox. DatapathError as of `node_ends`."""
    return Wiring(node=node_ends(spec), pod=pod_end(spec, gateway_mac=names.BRIDGE_MAC))


def node_ends(spec: VethSpec) -> tuple[Interface, ...]:
    """The port, and what hangs on the bridge. DatapathError where the sandbox has not exactly one address of IPv4, or
    several of IPv6.
    """
    ipv4 = [address for address in spec.addresses if address.version == IPV4]
    others = len(spec.addresses) - len(ipv4)
    if len(ipv4) != 1 or others > 1:
        family, count = ("IPv4", len(ipv4)) if len(ipv4) != 1 else ("IPv6", others)
        raise DatapathError(
            f"cannot wire {spec.host_ifname}: mode bridge gives a sandbox one {family} address, not {count}"
        )
    port = Interface(
        name=spec.host_ifname,
        mac=names.host_mac(spec.container_id, spec.ifname),
        mtu=spec.mtu,
        group=int(ipv4[0]),
        port=Port(names.BRIDGE, names.pod_mac(spec.container_id, spec.ifname), PORT),
    )
    return (port, on_bridge(spec))


def on_bridge(spec: VethSpec) -> Interface:
    """The bridge, as far as this sandbox is concerned: what leads to the pod."""
    return Interface(
        name=names.BRIDGE,
        mac=names.BRIDGE_MAC,
        mtu=spec.mtu,
        group=names.GROUP,
        routes=routes_to(spec),
        neighbours=neighbours_of(spec),
        shared=True,
    )


def stranger(bridge: Link, ports: tuple[Link, ...]) -> str:
    """What makes an interface of the bridge's name another program's; "" where it is this agent's to change."""
    if bridge.bridge is None:
        return "it is not a bridge"
    others = sorted(port.name for port in ports if not port.name.startswith(names.PREFIX))
    return f"it has the ports {', '.join(others)}" if others else ""


def require_ours(bridge: Link, ports: tuple[Link, ...]) -> None:
    """DatapathError where an interface of the bridge's name is another program's."""
    what = stranger(bridge, ports)
    if what:
        raise DatapathError(
            f"cannot use {names.BRIDGE} as the pods' bridge: an interface of that name was made by another program "
            f"({what}; Azure's own CNI plugin makes one with the NIC as its port). Remove that program's "
            f"configuration and reboot the node, or choose mode transparent"
        )


def deviations(bridge: Link, ports: tuple[Link, ...]) -> tuple[str, ...]:
    """What is otherwise with our bridge than it should be, as words, but for its group (see `policy`) and switches."""
    found: list[str] = []
    if not bridge.up:
        found.append("was down")
    if bridge.mac != names.BRIDGE_MAC:
        found.append(f"had MAC {bridge.mac}")
    if bridge.bridge != SETTINGS:
        found.append(f"had {bridge.bridge}")
    if ports and bridge.mtu != smallest_mtu(ports):
        found.append(f"had MTU {bridge.mtu}")
    return tuple(found)


def smallest_mtu(ports: tuple[Link, ...]) -> int:
    """In bytes."""
    return min(port.mtu for port in ports)


def port_guard(
    table: str, addresses: Iterable[IPv4Address], ports: str, *, pairs: Pairs = (), dual: bool = False
) -> str:
    """The guard of the links `ports`, as a `table` of family `bridge`, for pods with these `addresses` behind them.

    It stands before the bridge looks at a frame or netfilter at the packet in it. The priority is that of dstnat, which
    comes before the kernel's own hook by which bridged frames pass iptables (0).

    `pairs`: the IPv6 address that is bound to an IPv4 address; `dual`: pods have both.
    """
    chain = [
        "type filter hook prerouting priority dstnat; policy accept;",
        f'iifname != "{ports}" accept',
        DROP.format(f"ether daddr != {names.BRIDGE_MAC}", "pods send to their gateway only"),
        DROP.format("ether type != { ip, ip6 }", "pods need no ARP")
        if dual
        else DROP.format("ether type != ip", "pods need no ARP and have no IPv6 address"),
        DROP.format("meta iifgroup . ip saddr != @owners", _NOT_ITS_OWN),
        *([DROP.format(f"meta iifgroup . ip6 saddr != @{_IPV6_OWNERS}", _NOT_ITS_OWN)] if dual else []),
    ]
    owners = listed(f"{int(address)} . {address}" for address in sorted(addresses))
    body = block("set owners", ["typeof meta iifgroup . ip saddr", *owners])
    if dual:
        bound = listed(f"{int(ipv4)} . {ipv6}" for ipv4, ipv6 in sorted(pairs))
        body += block(f"set {_IPV6_OWNERS}", ["typeof meta iifgroup . ip6 saddr", *bound])
    return f"{replacing(table)}{table} {{\n{body}{block('chain from_ports', chain)}}}\n"
