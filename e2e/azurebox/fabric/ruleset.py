"""The plan as nftables text for one `nft -f`: the kernel then changes from the old plan to the new at once.

Table `netdev virtual_network`, at the ingress of each cable, before the fabric's own IP stack sees a frame:
wrong MAC, wrong source, multicast, tunnels: dropped. A destination that the port's view holds: the frame gets the MAC
of that NIC and leaves by its cable. All else goes up the stack with a mark that says what its source may do.
Table `ip beyond`, in the stack, is `azurebox.fabric.beyond`'s. Traffic inside the VNet leaves no state by which it is
forwarded, so an address that is gone is gone for running flows too; flows of load balancers end with their members.

The change itself takes about a microsecond, and a packet caught in it may be lost. To keep it that short, each chain
ends in a `drop` of its own, with policy `accept`: the old chain is hooked a little longer, already empty, and its
policy would drop what the new one lets pass. And sets hold single addresses, a block as its 16: look-ups in an interval
set were seen to miss for some 100 microseconds (Linux 6.18).
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from azurebox.fabric import balancerules, filters, fragments, ipv6, routes
from azurebox.fabric.balancerules import elements
from azurebox.fabric.beyond import CORE, CORE_FAR_END, HAS_OUTBOUND, IS_PRIMARY, beyond
from azurebox.fabric.plan import EVERYTHING, Plan, Port
from azurebox.fabric.topology import (
    FABRIC_MAC,
    IMDS,
    INTERNET_HOST,
    PUBLIC_ADDRESSES,
    STORAGE,
    WIRESERVER,
    device_name,
)

ADDRESSES: Final = "ipv4_addr"


def render(plan: Plan) -> str:
    """The whole rule set; replaces what is loaded, whatever that is."""
    return "\n".join((*_virtual_network(plan), *beyond(plan))) + "\n"


def _virtual_network(plan: Plan) -> Iterator[str]:
    yield from _renewed("netdev virtual_network", sets=dict(_sets(plan)))
    yield from fragments.under_way()
    yield from filters.definitions(plan.filters)
    yield from routes.definitions(plan.routes)
    for port in plan.ports:
        yield from _delivery(port, plan)
    yield from _members(plan.filters.members)
    for view, devices in sorted(plan.views.items()):
        yield from _view(view, [port for port in plan.ports if port.device in devices])
    yield from balancerules.answer_chains(plan)
    yield from ipv6.definitions(plan)
    for port in plan.ports:
        yield from _ingress(port, plan)
    for device in plan.unused:
        yield from (f"chain {device} {{", _hook(device), "drop", "}")
    yield from (f"chain {CORE} {{", _hook(CORE_FAR_END), *balancerules.core_verdicts(plan))
    yield from (f"ip daddr vmap @{EVERYTHING}", "drop", "}")
    yield "}"


def _delivery(port: Port, plan: Plan) -> Iterator[str]:
    yield f"chain to-{port.device} {{"
    if port.device in plan.filters.arriving:
        yield f"jump arrive-{port.device}"
    yield f'ether saddr set {FABRIC_MAC} ether daddr set {port.mac} fwd to "{port.device}"'
    yield "}"


def _members(members: Mapping[str, Iterable[str]]) -> Iterator[str]:
    for name, addresses in members.items():
        yield f"set {name} {{ type ipv4_addr;"
        yield elements(addresses)
        yield "}"


def _view(view: str, ports: Iterable[Port]) -> Iterator[str]:
    yield f"map {view} {{ type ipv4_addr : verdict;"
    yield elements(f"{address} : goto to-{port.device}" for port in ports for address in port.addresses)
    yield "}"


def _ingress(port: Port, plan: Plan) -> Iterator[str]:
    own = f"own-{port.device}"
    yield f"set {own} {{ type ipv4_addr;"
    yield elements(map(str, port.addresses))
    yield "}"
    yield f"chain {port.device} {{"
    yield _hook(port.device)
    yield f"ether saddr != {port.mac} drop"
    yield f"meta protocol arp arp operation request arp daddr ip != @{own} accept"  # proxy_arp of the stack answers
    yield from ipv6.way_in(port)
    yield "meta protocol != ip drop"
    yield "meta pkttype != host drop"  # broadcast, multicast, and frames that are not for the fabric's MAC
    answers = port.device in balancerules.answers(plan)
    if not port.ip_forwarding:
        yield f"jump from-{port.device}" if answers else f"ip saddr != @{own} drop"
    yield "ip protocol { 4, 47 } drop"  # IP-in-IP and GRE do not exist in a VNet
    yield "udp sport 65330 drop"  # kept by Azure for itself
    if port.primary:
        yield f"ip saddr {port.primary} meta mark set meta mark or {IS_PRIMARY}"
    if port.public:
        outbound = ", ".join(map(str, port.public))
        yield f"ip saddr {{ {outbound} }} meta mark set meta mark or {HAS_OUTBOUND}"
    if port.device in plan.filters.leaving:
        yield f"jump leave-{port.device}"
    yield from fragments.in_order()
    if answers:
        yield f"jump up-{port.device}"
    yield from plan.routes.steering.get(port.device, ())
    yield f"ip daddr vmap @{port.view}"
    if port.device == device_name(STORAGE.name):
        yield "accept"  # answers to whoever came by a public address
    if frontends := sorted(plan.frontends.get(port.view, ())):
        yield f"ip daddr {{ {', '.join(map(str, frontends))} }} accept"
    yield f"ip daddr {{ {IMDS}, {WIRESERVER}, {INTERNET_HOST.address} }} accept"
    yield f"ip daddr {PUBLIC_ADDRESSES} accept"  # ARM, storage, public IPs, and frontends of public load balancers
    yield from ("drop", "}")


def _hook(device: str) -> str:
    return f'type filter hook ingress device "{device}" priority 0; policy accept;'


def _sets(plan: Plan) -> Iterator[tuple[str, str]]:
    """Every set and map of the VNet's table whose content is the plan's, with its type."""
    yield from ((f"own-{port.device}", ADDRESSES) for port in plan.ports)
    yield from ((view, "ipv4_addr : verdict") for view in plan.views)
    yield from ((name, ADDRESSES) for name in plan.filters.members)
    yield from ipv6.sets(plan)
    for device in balancerules.answers(plan):
        yield from ((f"answers-{device}", balancerules.ANSWER), (f"all-answers-{device}", ADDRESSES))


def _renewed(table: str, *, sets: Mapping[str, str]) -> Iterator[str]:
    """Empty a table of its rules and of these sets, and begin it again; what else it has stays: flows and counters.

    A chain that is no longer in the plan stays without rules, and nothing leads to it.
    """
    yield from (f"add table {table}", f"flush table {table}")
    for name, content in sets.items():
        kind = "map" if ":" in content else "set"
        yield f"add {kind} {table} {name} {{ type {content}; }}"
        yield f"flush {kind} {table} {name}"
    yield f"table {table} {{"
