"""What leaves the node by its NICs, and with whose address: the lines of the node's table that know interfaces. Pure.

There are two shapes (`Ways`):

**The pool is on the node's own NIC.** Pods reach the VNet, its peers and configured prefixes with their own address,
and all else with the node's primary one, or on a way out that is not the NIC, with that interface's.

**The pool is on a NIC of its own**, in a pod subnet (`pod_nic`). What pods send leaves by that NIC with their own
address, wherever it goes, and the subnet's NAT gateway, routes and security group apply. By the node's NIC leave:
- what pods ask the wireserver's DNS and, where that is allowed, the metadata service: both answer a VM's primary
  address alone, so it takes the node's;
- answers on connections that came in there and were led on to a pod: NodePorts, load balancers, hostPorts. An answer
  is routed while it still has the pod's address, so the connection must carry where it came from: by the bit NODE_MARK
  of its mark, which every packet of it gets as well, for the policy rules and the reverse path filter to ask.
Whatever else should leave there with a pod's address takes the node's: Azure would drop it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from azure_cni.datapath.modes import PodLinks

IMDS = IPv4Address("169.254.169.254")
WIRESERVER = IPv4Address("168.63.129.16")
"""DNS, health probes and the VM agent's server. Like IMDS it answers a VM's primary address only."""

EGRESS_SET = "egress_pod"
"""The addresses in the pool that what their pods send out of the VNet keeps, because an annotation says so."""

NODE_MARK: Final = 0x40
"""Of connections, and of their packets, that go by the node's own NIC where pods have another one. For others' bits see
`second_nics.SPARED_MARK`."""

_NOT_ITS_OWN = f"ip saddr != @public ip saddr != @{EGRESS_SET}"
"""Of a pod that does not leave the VNet with its own address."""

_TO_PLATFORM = f"ip daddr {{ {WIRESERVER}, {IMDS} }}"


@dataclass(frozen=True, slots=True)
class Services:
    """The addresses of the cluster's Services, where it is for the data plane to lead pods to them; else none.

    `dsr`: kube-proxy balances with direct server return (`--enable-dsr`).
    """

    prefixes: frozenset[IPv4Network] = frozenset()
    dsr: bool = True


NO_SERVICES: Final = Services()


@dataclass(frozen=True, slots=True)
class Ways:
    """Interfaces by name. `uplink` is the NIC's with pods' addresses; `way_out` that of the default route where it is
    another one; `node_nic` the one of the node's own NIC where pods have another. "" for none.
    """

    uplink: str
    way_out: str = ""
    node_nic: str = ""

    @property
    def nics(self) -> tuple[str, ...]:
        """The interfaces that the fabric of this VNet is behind."""
        return (self.uplink, self.node_nic) if self.node_nic else (self.uplink,)


def forwarded(pods: PodLinks, ways: Ways) -> list[str]:
    """What is refused of what the node forwards, as far as the way it takes decides."""
    translating = (ways.node_nic,) if ways.node_nic else (ways.uplink, ways.way_out)
    return [*(_untranslated(pods, name, ways) for name in translating if name), no_way_back(ways)]


def no_way_back(ways: Ways) -> str:
    """An address of this NIC that no pod holds is routed to the subnet: the fabric would send the packet back here."""
    return f"oifname {named(ways.nics)} ip daddr @pool counter reject with icmpx type host-unreachable"


def chains(pods: PodLinks, ways: Ways, *, node: IPv4Address) -> tuple[tuple[str, list[str]], ...]:
    """The chains by which packets get their addresses, and before that their marks. `node`: its primary address."""
    head = "type nat hook postrouting priority srcnat; policy accept;"
    snat = f"snat ip to {node} fully-random"  # the kernel's port choice can clash when many connect at once
    if ways.node_nic:
        translating = [f'oifname "{ways.node_nic}" ip saddr @pool {snat}']
        return ("by_node_nic", _marking(pods, ways.node_nic)), ("postrouting", [head, *translating])
    return (("postrouting", [head, *_translating(ways, snat)]),)


def _translating(ways: Ways, snat: str) -> list[str]:
    """The primary address means nothing on other ways out (a tunnel, a second NIC). They are left alone, but for the
    one that has the default route: what goes there for want of a better way gets its own address.
    """
    out = ways.way_out
    others = [f'oifname "{out}" ip saddr @pool ip daddr != @routable masquerade fully-random'] if out else []
    return [
        f'oifname "{ways.uplink}" ip saddr @pool {_TO_PLATFORM} {snat}',
        f'oifname "{ways.uplink}" ip saddr @pool {_NOT_ITS_OWN} ip daddr != @routable {snat}',
        *others,
    ]


def _marking(pods: PodLinks, node_nic: str) -> list[str]:
    """After conntrack and before the route is looked up. The mark is set by what comes in first on a connection, also
    when that began before the table was loaded; answers have it from there.
    """
    mark = f"ct direction original ct mark set ct mark | {NODE_MARK:#x}"
    return [
        "type filter hook prerouting priority mangle; policy accept;",
        f'iifname "{node_nic}" {mark}',
        f"{pods.came_in()} ip saddr @pool {_TO_PLATFORM} {mark}",
        f"ct mark & {NODE_MARK:#x} != 0 meta mark set meta mark | {NODE_MARK:#x}",
    ]


def _untranslated(pods: PodLinks, way: str, ways: Ways) -> str:
    """What conntrack does not follow (a reset without a connection, say) is not translated either, and would leave with
    the pod's address: of no use beyond the VNet, and a mark of the pod to whoever reads it there.
    """
    whose = "ip saddr @pool" if ways.node_nic else f"ip saddr @pool {_NOT_ITS_OWN} ip daddr != @routable"
    return f'ct state invalid,untracked {pods.came_in()} oifname "{way}" {whose} counter drop'


def named(names: Iterable[str]) -> str:
    """Interfaces as nft takes their names in a match."""
    quoted = [f'"{name}"' for name in names]
    return quoted[0] if len(quoted) == 1 else f"{{ {', '.join(quoted)} }}"
