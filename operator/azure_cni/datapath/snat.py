"""What the node's own table should hold: whose traffic leaves with the primary address, and what pods may not reach.

One nftables table, replaced as a whole in one transaction. Running connections do not notice: their translation lives
in conntrack, and the rules are asked for the first packet only. It changes with the NIC's pool, never with a pod.

Beside kube-proxy: a Service's address is translated in prerouting (iptables, nftables) or on the way in (IPVS), so
every chain here sees the real destination, and nobody reaches the wireserver by way of a Service, be it a pod or a
caller of a NodePort. In postrouting both sit at the same priority and whichever translates a connection first is the
only one to do so (the kernel asks no further chain), so nothing is translated twice. What both would translate leaves
with the primary address either way; what only kube-proxy marks (a pod that reaches itself through its Service, a
NodePort) goes to routable addresses or comes from outside the pool, so it is left to kube-proxy.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, collapse_addresses

from azure_cni.datapath.names import PREFIX

TABLE = "azure_cni"
"""Of family `inet`."""

IMDS = IPv4Address("169.254.169.254")
WIRESERVER = IPv4Address("168.63.129.16")
"""DNS, health probes and the VM agent's server. Like IMDS it answers a VM's primary address only."""

_LINK_LOCAL = "169.254.0.0/16"  # RFC 3927: no router forwards it; IMDS is the one address of it beyond the node


@dataclass(frozen=True, slots=True)
class NodeTable:
    """The node's data plane apart from its sandboxes.

    `uplink_mac` names the NIC's interface; `pool` are all addresses on the NIC that pods may hold; `public` those of
    them with a public address of their own (never source-NATed); `routable` the prefixes that see pods by their own
    address (VNet, peers, on-premises, configured); `imds_allowed` opens 169.254.169.254 to pods,
    and to nobody else who would come through this node.
    """

    uplink_mac: str
    primary: IPv4Address
    pool: frozenset[IPv4Address]
    public: frozenset[IPv4Address]
    routable: frozenset[IPv4Network]
    imds_allowed: bool


def ruleset(table: NodeTable, *, uplink: str, way_out: str = "") -> str:
    """The table as `nft -f` takes it: whatever was there is replaced, in one transaction.

    `way_out` names the interface of the default route where that is not the uplink (see `way_out`).
    """
    name = f"table inet {TABLE}"
    body = "\n".join(
        (
            _set("pool", sorted(table.pool)),
            _set("public", sorted(table.public)),
            _set("routable", collapse_addresses(table.routable), flags="interval"),
            _from_pods(),
            _guard(imds_allowed=table.imds_allowed),
            _guard_output(),
            _forward(uplink, way_out),
            _output(uplink),
            _postrouting(uplink, table.primary, way_out),
        )
    )
    # The empty declaration makes the deletion succeed also where there is no table yet.
    return f"{name}\ndelete {name}\n{name} {{\n{body}}}\n"


def _set(name: str, elements: Iterable[IPv4Address | IPv4Network], *, flags: str = "") -> str:
    # Not "type ipv4_addr", the same to the kernel: as written by nft from 1.1 on, a node's own older nft (1.0.6 of
    # Debian 12) crashes when it lists such a set, and with it every other table.
    lines = ["typeof ip saddr"]
    if flags:
        lines.append(f"flags {flags}")
    listed = ", ".join(str(element) for element in elements)
    if listed:
        lines.append(f"elements = {{ {listed} }}")
    return _block(f"set {name}", lines)


def _from_pods() -> str:
    """Before anything else: a pod speaks IPv4, from its own address, and not to the node's loopback.

    portmap turns `route_localnet` on for the links of pods with a hostPort, kube-proxy for all; then only a rule of the
    kubelet keeps pods from what listens on 127.0.0.1 alone, and it goes with a flush.
    """
    return _block(
        "chain from_pods",
        [
            "type filter hook prerouting priority raw; policy accept;",
            f'iifname "{PREFIX}*" meta nfproto ipv6 counter drop comment "pods have no IPv6 address"',
            # The kernel's lookup lets these pass, to broadcast and multicast: a DHCP server on the node would answer.
            f'iifname "{PREFIX}*" ip saddr 0.0.0.0/8 counter drop comment "not the address of this pod"',
            f'iifname "{PREFIX}*" fib saddr . iif oif missing counter drop comment "not the address of this pod"',
            f'iifname "{PREFIX}*" ip daddr 127.0.0.0/8 counter drop comment "the loopback of the node"',
        ],
    )


def _guard(*, imds_allowed: bool) -> str:
    """What nobody reaches by way of this node: it may be a pod, or a caller from anywhere that a Service leads there.

    Of the wireserver they get its DNS. Of link-local addresses pods reach those that the node itself has, such as
    NodeLocal DNS: what is delivered on the node does not pass here.

    Refused and not silently dropped, so that what tries anyway fails at once instead of hanging. Connections that the
    wireserver itself opens are a load balancer's probes: what answers them goes to whatever port they came from.
    """
    refuse = "counter reject with icmpx type admin-prohibited"
    allowed = [f'iifname "{PREFIX}*" ip daddr {IMDS} return'] if imds_allowed else []
    return _block(
        "chain guard",
        [
            "ct direction reply return",
            f"ip daddr {WIRESERVER} meta l4proto {{ tcp, udp }} th dport 53 return",
            f"ip daddr {WIRESERVER} {refuse}",
            *allowed,
            f"ip daddr {IMDS} {refuse}",
            f'iifname "{PREFIX}*" ip daddr {_LINK_LOCAL} {refuse}',
        ],
    )


def _guard_output() -> str:
    """Of what the node sends: its own processes are at home at both addresses (the VM agent, the kubelet, our agent).

    The rest was sent on for somebody else. IPVS does not forward: it takes packets in and sends them out, so they pass
    here and not through the forward chain. With conntrack, such a connection was opened to another destination (as is
    one of a process to a Service); without, its packets belong to no socket. That a connection was opened to where it
    goes is asked before the socket: what ends a connection is sent when its process has let go of it.
    """
    ways = f"{{ {WIRESERVER}, {IMDS} }}"
    lines = [
        f"ct original ip daddr {ways} return",
        f"ct original ip daddr != {ways} goto guard",
        "meta skuid >= 0 return",
        "goto guard",
    ]
    return _block("chain guard_output", lines)


def _forward(uplink: str, way_out: str) -> str:
    head = "type filter hook forward priority filter; policy accept;"
    ways = [_translated(name) for name in (uplink, way_out) if name]
    return _block("chain forward", [head, "jump guard", *ways, _no_way_back(uplink)])


def _translated(way: str) -> str:
    """What conntrack does not follow (a reset without a connection, say) is not translated either, and would leave with
    the pod's address: of no use beyond the VNet, and a mark of the pod to whoever reads it there.
    """
    whose = "ip saddr @pool ip saddr != @public ip daddr != @routable"
    return f'iifname "{PREFIX}*" oifname "{way}" ct state invalid,untracked {whose} counter drop'


def _output(uplink: str) -> str:
    # What kube-proxy translates here was routed by the Service's address and goes its new way only after this chain:
    # the interface that is seen says nothing then. Should it come back from the fabric, the forward chain refuses it.
    head = "type filter hook output priority filter; policy accept;"
    own = f"ct status & dnat == 0 {_no_way_back(uplink)}"
    return _block("chain output", [head, f"ip daddr {{ {WIRESERVER}, {IMDS} }} jump guard_output", own])


def _no_way_back(uplink: str) -> str:
    """An address of this NIC that no pod holds is routed to the subnet: the fabric would send the packet back here."""
    return f'oifname "{uplink}" ip daddr @pool counter reject with icmpx type host-unreachable'


def _postrouting(uplink: str, primary: IPv4Address, way_out: str) -> str:
    """The primary address means nothing on other ways out (a tunnel, a second NIC). They are left alone, but for the
    one that has the default route: what goes there for want of a better way gets its own address.
    """
    others = [f'oifname "{way_out}" ip saddr @pool ip daddr != @routable masquerade fully-random'] if way_out else []
    snat = f"snat ip to {primary} fully-random"  # the kernel's port choice can clash when many connect at once
    return _block(
        "chain postrouting",
        [
            "type nat hook postrouting priority srcnat; policy accept;",
            f'oifname "{uplink}" ip saddr @pool ip daddr {{ {WIRESERVER}, {IMDS} }} {snat}',
            f'oifname "{uplink}" ip saddr @pool ip saddr != @public ip daddr != @routable {snat}',
            *others,
        ],
    )


def _block(head: str, lines: Iterable[str]) -> str:
    inner = "".join(f"\t\t{line}\n" for line in lines)
    return f"\t{head} {{\n{inner}\t}}\n"
