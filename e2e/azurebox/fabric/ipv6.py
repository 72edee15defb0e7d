"""IPv6 in the VNet as nftables text: who may send, who gets what, and what there is of neighbour discovery. Pure.

Azure documentation, "What is IPv6 for Azure Virtual Network": a VM gets its address by DHCPv6, as a /128, and its way
by the router advertisements of Azure's router. So no VM has another one on its link: neighbour discovery has one
question here, which is for the router, and it is answered. All else that is link-local or multicast is dropped, and so
is what a VM says of routers and neighbours. IMDS and the wireserver have no IPv6 address.

Out of the VNet nothing passes: that takes a public IPv6 address or an outbound rule of IPv6, which the fake does not
have. Left out as well: security groups, route tables and load balancers of IPv6, and the order of fragments.
"""

from collections.abc import Iterable, Iterator
from ipaddress import IPv6Network
from typing import Final

from azurebox.fabric.balancerules import elements
from azurebox.fabric.plan import Plan, Port
from azurebox.fabric.topology import BLOCK6_LENGTH, FABRIC_MAC, ROUTER6

ADDRESSES: Final = "ipv6_addr"
VERDICTS: Final = "ipv6_addr : verdict"
# A block is found by its first address: look-ups in an interval set were seen to miss while it changes (ruleset).
BLOCK_MASK: Final = IPv6Network(f"::/{BLOCK6_LENGTH}").netmask
DISCOVERY: Final = "ip6 hoplimit 255 icmpv6"
SOLICITED: Final = (
    f"@th,64,128 {int(ROUTER6):#x}"  # the target of a neighbour solicitation; nft 1.0.6 has no word for it
)


def way_in(port: Port) -> Iterator[str]:
    """The rule of a cable that has IPv6."""
    if port.ipv6:
        yield f"meta protocol ip6 goto {_chain(port)}"


def sets(plan: Plan) -> Iterator[tuple[str, str]]:
    """Every set and map whose content is the plan's, with its type."""
    for port in _dual(plan):
        yield from ((name, ADDRESSES) for name in _own(port))
    if _dual(plan):
        yield from ((name, VERDICTS) for view in plan.views for name in _ways(view))


def definitions(plan: Plan) -> Iterator[str]:
    """Sets, maps and chains, to stand in the table before the devices' own chains."""
    ports = _dual(plan)
    if not ports:
        return
    for port in ports:
        way = f'ether saddr set {FABRIC_MAC} ether daddr set {port.mac} fwd to "{port.device}"'
        yield from (f"chain {_delivery(port)} {{", way, "}")
        for name, blocks in zip(_own(port), (False, True), strict=True):
            yield from (f"set {name} {{ type {ADDRESSES};", elements(_keys(port, blocks=blocks)), "}")
    for view, devices in sorted(plan.views.items()):
        for name, blocks in zip(_ways(view), (False, True), strict=True):
            reached = [port for port in ports if port.device in devices]
            ways = (f"{key} : goto {_delivery(port)}" for port in reached for key in _keys(port, blocks=blocks))
            yield from (f"map {name} {{ type {VERDICTS};", elements(ways), "}")
    for port in ports:
        yield from _from(port)


def _from(port: Port) -> Iterator[str]:
    single, block = _own(port)
    yield f"chain source-{_chain(port)} {{"
    yield f"ip6 saddr @{single} return"
    yield f"ip6 saddr and {BLOCK_MASK} @{block} return"
    yield from ("drop", "}")
    yield f"chain {_chain(port)} {{"
    yield f"{DISCOVERY} type nd-router-solicit accept"
    yield f"{DISCOVERY} type nd-neighbor-solicit {SOLICITED} accept"
    yield f"{DISCOVERY} type nd-neighbor-advert ip6 daddr {ROUTER6} accept"  # what Azure's router has asked for
    yield "icmpv6 type { nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert } drop"
    yield "meta pkttype != host drop"
    yield "ip6 daddr { fe80::/10, ff00::/8 } drop"
    if not port.ip_forwarding:
        yield f"jump source-{_chain(port)}"
    yield "meta l4proto { 4, 41, 47 } drop"  # tunnels, as in IPv4
    yield "udp sport 65330 drop"
    single, block = _ways(port.view)
    yield f"ip6 daddr vmap @{single}"
    yield f"ip6 daddr and {BLOCK_MASK} vmap @{block}"
    yield from ("drop", "}")


def _dual(plan: Plan) -> list[Port]:
    return [port for port in plan.ports if port.ipv6]


def _keys(port: Port, *, blocks: bool) -> Iterable[str]:
    return (str(one.network_address) for one in port.ipv6 if (one.prefixlen == BLOCK6_LENGTH) is blocks)


def _own(port: Port) -> tuple[str, str]:
    return f"own-{_chain(port)}", f"block-{_chain(port)}"


def _ways(view: str) -> tuple[str, str]:
    return f"{view}-ipv6", f"{view}-ipv6-blocks"


def _delivery(port: Port) -> str:
    return f"to-{_chain(port)}"


def _chain(port: Port) -> str:
    return f"ipv6-{port.device}"
