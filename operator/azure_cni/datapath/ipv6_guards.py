"""What the node's table holds for the IPv6 of pods, where they have it; in one family it drops all that they send.

As in IPv4, a pod sends from its own address only: the one that is routed to its link, and behind a bridge the one that
belongs to its port. What is different:

- **Neighbour discovery is IPv6**, where ARP is a protocol of its own, so the guards have to name it. Pods and the node
  know each other as permanent neighbours and none of them asks or answers. A pod that could would offer itself as a
  router to the node (router advertisement), redirect the node's packets, or fill its table of neighbours.
- **Link-local and multicast addresses**: no end of a pod's link has or joins one, and no fabric of Azure carries
  either. So nothing of a pod reaches what listens on the node for all who are near (DHCPv6, mDNS), and the lookup of
  the source (`fib`), which lets pass what the unspecified address sends to link-local ones, has nothing to let pass.
- **The metadata service and the wireserver** have IPv4 addresses only, and the node translates none of IPv6 to them:
  there is nothing to guard.
- **Nothing is translated**, wherever it goes. Azure carries a pod's IPv6 address inside the VNet as any other, and out
  of it by an outbound rule of a load balancer or a public address of its own (Azure documentation, "IPv6 for Azure
  Virtual Network"), both of which go by the ipConfiguration with that address. Where there is neither, Azure drops it:
  the node's own address would fare no better, and would hide whose packet it was.
- **An address that nobody has** is refused as in IPv4: the subnet is behind the NIC, and the fabric would send the
  packet back. The NIC may hold a block of 65,536, so the set is of prefixes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, collapse_addresses
from typing import Final, TypeAlias

from azure_cni.datapath.nft_text import DROP, listed

Pairs: TypeAlias = Collection[tuple[IPv4Address, IPv6Address]]
"""Which IPv6 address is bound to which IPv4 address."""

POOL_SET: Final = "pool_ipv6"
CHAIN: Final = "ipv6_from_pods"

DIVERTED: Final = f"meta nfproto ipv6 goto {CHAIN}"
"""Instead of what drops all IPv6 of pods."""

_NEIGHBOUR_DISCOVERY: Final = (
    "nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, nd-redirect"
)


def pool_lines(pairs: Pairs, blocks: Iterable[IPv6Network]) -> list[str]:
    """The set of what is on the NIC for pods."""
    networks = [*blocks, *(IPv6Network(int(address)) for _, address in pairs)]
    return ["typeof ip6 daddr", "flags interval", *listed(map(_shown, collapse_addresses(networks)))]


def from_pods() -> list[str]:
    """The chain that IPv6 packets of pods go to, and in which they end."""
    return [
        DROP.format("ip6 saddr { ::, fe80::/10 }", "not the address of this pod"),
        DROP.format("ip6 daddr { fe80::/10, ff00::/8 }", "pods have no neighbour but their gateway"),
        DROP.format(f"icmpv6 type {{ {_NEIGHBOUR_DISCOVERY} }}", "nobody has to be discovered"),
        DROP.format("fib saddr . iif oif missing", "not the address of this pod"),
    ]


def no_way_back(nics: str) -> str:
    """`nics`: as nft writes their names."""
    return f"oifname {nics} ip6 daddr @{POOL_SET} counter reject with icmpx type host-unreachable"


def _shown(network: IPv6Network) -> str:
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)
