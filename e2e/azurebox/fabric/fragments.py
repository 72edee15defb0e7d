"""IPv4 fragments as nftables text: what Azure does with them.

Inside the VNet they pass, in their order: a fragment that comes before the first one of its datagram is dropped (Azure
documentation, "TCP/IP performance tuning for Azure VMs": out-of-order fragments are dropped, because of FragmentSmack).
A load balancer forwards them by rules of protocol All only ("Load Balancer frequently asked questions"). To the
internet they pass by a public IP of the configuration itself, not by a NAT gateway ("Azure NAT Gateway", limitations),
nor by a load balancer, nor by a default outbound address ("Default outbound access", constraints). Not done: the order
of the fragments behind the first.
"""

from collections.abc import Iterator
from typing import Final

FRAGMENT: Final = "ip frag-off and 0x3fff != 0"
FIRST: Final = "ip frag-off and 0x3fff == 0x2000"
LATER: Final = "ip frag-off and 0x1fff != 0"
DATAGRAM: Final = "ip saddr . ip daddr . ip id . ip protocol"
REASSEMBLY_S: Final = 30  # how long a host keeps fragments: net.ipv4.ipfrag_time
MOST: Final = 65_536
BEFORE_REASSEMBLY: Final = "raw - 150"  # conntrack puts fragments together at raw - 100


def under_way() -> Iterator[str]:
    """The set of datagrams whose first fragment has passed."""
    yield f"set under-way {{ typeof {DATAGRAM}; size {MOST}; flags dynamic,timeout; timeout {REASSEMBLY_S}s;"
    yield "}"


def in_order() -> Iterator[str]:
    """Rules for what a VM sends."""
    yield f"{FIRST} update @under-way {{ {DATAGRAM} }}"
    yield f"{LATER} {DATAGRAM} != @under-way drop"


def to_the_stack(*, internet: str) -> Iterator[str]:
    """A chain of the fabric's stack, before conntrack puts fragments together."""
    yield f"""
chain fragments {{
type filter hook prerouting priority {BEFORE_REASSEMBLY}; policy accept;
{FRAGMENT} ip daddr @whole_only drop
{FRAGMENT} ip daddr {internet} ip saddr != @own_public drop
}}"""
