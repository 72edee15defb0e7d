"""What the node's own table should hold: whose traffic leaves with the primary address, and what pods may not reach.

One nftables table, `inet azure_cni`, and where pods hang on a bridge a second one, `bridge azure_cni`. Both are
replaced as a whole in one transaction. Running connections do not notice: their translation lives in conntrack, and the
rules are asked for the first packet only. They change with the pool of the NIC, never with a pod: what they need to
know of a single pod they ask the routes (`fib`), or its port. The exception is the set `egress_pod`, whose elements
come and go with pods that leave the VNet with their own address. The way of a packet through the chains:

    bridge prerouting    from_ports    where pods hang on a bridge: a pod's frame is for its gateway, and holds IPv4 (no
                                       ARP, which nobody needs) from the address of this port; all else is dropped
    prerouting           from_pods     a pod's packet is IPv4, from the address that is routed to its link, and not for
                                       the node's loopback; all else is dropped, before conntrack remembers anything,
                                       and before the kernel puts fragments together
    forward              guard         the wireserver but for its DNS, the metadata service unless allowed, link-local
                                       addresses beyond the node: refused, and for pods and for callers from elsewhere
                                       alike, because a Service may lead there
                         (itself)      what conntrack does not follow, and so would not be translated, leaves the VNet
                                       with no pod's address; an address of the pool that no pod has is refused, or the
                                       fabric would send the packet back to this node, again and again
    output               guard_output  the same guard, for what the node sends on for somebody else without forwarding
                                       it (IPVS); its own processes are at home at both addresses
    postrouting, srcnat  (itself)      what leaves for addresses outside the VNet takes the node's primary address, or,
                                       on a way out that is not the NIC, that interface's own. Addresses in the sets
                                       `public` and `egress_pod` keep their own on the NIC (`leaving`)

Where pods have IPv6 addresses, each of these chains knows them as well (`ipv6_guards`); else none of it passes.

Which interfaces packets of pods come in by is the mode's to say (`modes`): a guard that asks for another never matches.

Beside kube-proxy: a Service's address is translated in prerouting (iptables, nftables) or on the way in (IPVS), so
every chain here sees the real destination, and nobody reaches the wireserver by way of a Service, be it a pod or a
caller of a NodePort. In postrouting both sit at the same priority and whichever translates a connection first is the
only one to do so (the kernel asks no further chain), so nothing is translated twice. What both would translate leaves
with the primary address either way; what only kube-proxy marks (a pod that reaches itself through its Service, a
NodePort) goes to routable addresses or comes from outside the pool, so it is left to kube-proxy.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, collapse_addresses

from azure_cni.datapath import ipv6_guards, leaving
from azure_cni.datapath.bridge import port_guard
from azure_cni.datapath.conflicts import Conflict
from azure_cni.datapath.conntrack import ConntrackUsage
from azure_cni.datapath.leaving import EGRESS_SET, IMDS, WIRESERVER, Ways
from azure_cni.datapath.modes import MODES, PodLinks
from azure_cni.datapath.nft_text import block, ipv4_set, replacing
from azure_cni.datapath.second_nics import marking
from azure_cni.datapath.uplink import Uplink
from azure_cni.model.identity import ModeName, NodeNic
from azure_cni.model.nic import Address

TABLE = "azure_cni"
"""Of family `inet`, and of family `bridge` where pods hang on one."""

FROM_PODS = "from_pods"
"""The chain that each packet of a pod passes first, in every mode."""

BRIDGE_TABLE = f"table bridge {TABLE}"
"""Where pods hang on a bridge, as nft names it."""

LINK_LOCAL = IPv4Network("169.254.0.0/16")  # RFC 3927: no router forwards it; IMDS is the one address beyond the node

_BEFORE_REASSEMBLY = "raw - 150"
"""Conntrack has fragments put together at raw - 100, by their addresses and number, whichever links they came in by: a
fragment with another pod's address would become a part of that pod's datagram, which is then looked at as a whole."""

_GUARDED = IPv4Network("168.0.0.0/7")
"""The smallest network with all that the guard is about: one comparison sends all other packets past its rules."""


@dataclass(frozen=True, slots=True)
class NodeTable:
    """The node's data plane apart from its sandboxes.

    `uplink_mac` names the NIC's interface; `pool` are all addresses on the NIC that pods may hold; `public` those of
    them with a public address of their own (never source-NATed); `routable` the prefixes that see pods by their own
    address (VNet, peers, on-premises, configured); `imds_allowed` opens 169.254.169.254 to pods,
    and to nobody else who would come through this node. `mode` is the one that pods are wired in; `kept` are addresses
    that pods hold although the NIC has lost them: they still speak to the node and its pods. `own_egress` are
    those that what their pods send out of the VNet keeps, by annotation.
    """

    uplink_mac: str
    primary: IPv4Address
    pool: frozenset[IPv4Address]
    public: frozenset[IPv4Address]
    routable: frozenset[IPv4Network]
    imds_allowed: bool
    mode: ModeName = ModeName.TRANSPARENT
    kept: frozenset[IPv4Address] = frozenset()
    own_egress: frozenset[IPv4Address] = frozenset()
    node_nic: NodeNic | None = None
    """The NIC with the node's own address, where the pool is on another one; `primary` is that one's then."""
    ipv6_pairs: frozenset[tuple[IPv4Address, IPv6Address]] = frozenset()
    """Addresses of `pool` or `kept`, each with the IPv6 address that its pod has as well; none in one family."""
    ipv6_blocks: frozenset[IPv6Network] = frozenset()
    """The prefixes that the NIC holds for pods whole."""

    @property
    def node_address(self) -> IPv4Address:
        """The node's own: the primary address of the VM's primary NIC."""
        return self.primary if self.node_nic is None else self.node_nic.address

    @property
    def dual(self) -> bool:
        """Pods have addresses of both families."""
        return bool(self.ipv6_pairs or self.ipv6_blocks)

    @property
    def addresses(self) -> frozenset[Address]:
        """All that are for pods, of both families."""
        return self.pool | {ipv6 for _, ipv6 in self.ipv6_pairs}

    @property
    def pods(self) -> PodLinks:
        """The interfaces that packets of pods come in by."""
        return MODES[self.mode].links


@dataclass(frozen=True, slots=True)
class HostReport:
    """What one pass over the node found: `repaired` in words, one for each repair, the conflicts that stand, the NIC's
    interface, and the table of connections (None where the kernel says nothing of it). `way_out` and `node_nic`:
    see `Ways`.
    """

    uplink: Uplink
    repaired: tuple[str, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    conntrack: ConntrackUsage | None = None
    way_out: str = ""
    node_nic: str = ""


def ruleset(table: NodeTable, *, ways: Ways, beside: Collection[IPv4Address] = (), pods: PodLinks) -> str:
    """The table as `nft -f` takes it: whatever was there is replaced, in one transaction.

    `pods` are the interfaces that pods' packets come in by. `beside` are the node's addresses on further NICs.
    """
    name = f"table inet {TABLE}"
    body = "\n".join(
        (
            ipv4_set("pool", sorted(table.pool)),
            ipv4_set("public", sorted(table.public)),
            ipv4_set(EGRESS_SET, sorted(table.own_egress)),
            ipv4_set("routable", collapse_addresses(table.routable), flags="interval"),
            *_ipv6_parts(table),
            _from_pods(pods, dual=table.dual),
            _guard(pods, imds_allowed=table.imds_allowed),
            _guard_output(),
            _forward(pods, ways, dual=table.dual),
            _output(ways, dual=table.dual),
            *(block(f"chain {chain}", lines) for chain, lines in leaving.chains(pods, ways, node=table.node_address)),
        )
    )
    whole = replacing(name) + f"{name} {{\n{body}{marking(beside)}}}\n"
    if not pods.ports:
        return whole
    held = table.pool | table.kept
    return whole + port_guard(BRIDGE_TABLE, held, pods.ports, pairs=table.ipv6_pairs, dual=table.dual)


def _ipv6_parts(table: NodeTable) -> tuple[str, ...]:
    if not table.dual:
        return ()
    pool = block(f"set {ipv6_guards.POOL_SET}", ipv6_guards.pool_lines(table.ipv6_pairs, table.ipv6_blocks))
    return pool, block(f"chain {ipv6_guards.CHAIN}", ipv6_guards.from_pods())


def egress_script(addresses: Iterable[IPv4Address]) -> str:
    """What makes these the elements of the set, in one transaction, and changes nothing else of the table."""
    where = f"inet {TABLE} {EGRESS_SET}"
    listed = ", ".join(map(str, sorted(addresses)))
    return f"flush set {where}\n" + (f"add element {where} {{ {listed} }}\n" if listed else "")


def _from_pods(pods: PodLinks, *, dual: bool) -> str:
    """Before anything else: a pod speaks from its own address, and not to the node's loopback.

    Each packet of the node passes here, also of running connections: a forged one must not touch another pod's, and
    conntrack knows only afterwards whose it is. So what no pod has sent is let go by the first rule.

    portmap turns `route_localnet` on for the links of pods with a hostPort, kube-proxy for all; then only a rule of the
    kubelet keeps pods from what listens on 127.0.0.1 alone, and it goes with a flush.
    """
    return block(
        f"chain {FROM_PODS}",
        [
            f"type filter hook prerouting priority {_BEFORE_REASSEMBLY}; policy accept;",
            f"{pods.came_in_otherwise()} accept",
            ipv6_guards.DIVERTED if dual else 'meta nfproto ipv6 counter drop comment "pods have no IPv6 address"',
            # The kernel's lookup lets these pass, to broadcast and multicast: a DHCP server on the node would answer.
            'ip saddr 0.0.0.0/8 counter drop comment "not the address of this pod"',
            'fib saddr . iif oif missing counter drop comment "not the address of this pod"',
            'ip daddr 127.0.0.0/8 counter drop comment "the loopback of the node"',
        ],
    )


def _guard(pods: PodLinks, *, imds_allowed: bool) -> str:
    """What nobody reaches by way of this node: it may be a pod, or a caller from anywhere that a Service leads there.

    Of the wireserver they get its DNS. Of link-local addresses pods reach those that the node itself has, such as
    NodeLocal DNS: what is delivered on the node does not pass here.

    Refused and not silently dropped, so that what tries anyway fails at once instead of hanging. Connections that the
    wireserver itself opens are a load balancer's probes: what answers them goes to whatever port they came from.
    """
    refuse = "counter reject with icmpx type admin-prohibited"
    allowed = [f"{pods.came_in()} ip daddr {IMDS} return"] if imds_allowed else []
    return block(
        "chain guard",
        [
            "ct direction reply return",
            f"ip daddr {WIRESERVER} meta l4proto {{ tcp, udp }} th dport 53 return",
            f"ip daddr {WIRESERVER} {refuse}",
            *allowed,
            f"ip daddr {IMDS} {refuse}",
            f"{pods.came_in()} ip daddr {LINK_LOCAL} {refuse}",
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
    return block("chain guard_output", lines)


def _forward(pods: PodLinks, ways: Ways, *, dual: bool) -> str:
    head = "type filter hook forward priority filter; policy accept;"
    lines = [head, f"ip daddr {_GUARDED} jump guard", *leaving.forwarded(pods, ways)]
    return block("chain forward", [*lines, *([ipv6_guards.no_way_back(leaving.named(ways.nics))] if dual else [])])


def _output(ways: Ways, *, dual: bool) -> str:
    # What kube-proxy translates here was routed by the Service's address and goes its new way only after this chain:
    # the interface that is seen says nothing then. Should it come back from the fabric, the forward chain refuses it.
    head = "type filter hook output priority filter; policy accept;"
    refused = [leaving.no_way_back(ways), *([ipv6_guards.no_way_back(leaving.named(ways.nics))] if dual else [])]
    own = [f"ct status & dnat == 0 {line}" for line in refused]
    return block("chain output", [head, f"ip daddr {{ {WIRESERVER}, {IMDS} }} jump guard_output", *own])
