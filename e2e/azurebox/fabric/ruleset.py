"""The plan as nftables text for one `nft -f`: the kernel then changes from the old plan to the new at once.

Table `netdev virtual_network`, at the ingress of each cable, before the fabric's own IP stack sees a frame:
wrong MAC, wrong source, multicast, tunnels: dropped. A destination that the port's view holds: the frame gets the MAC
of that NIC and leaves by its cable. All else goes up the stack with a mark that says what its source may do.
Table `ip beyond`, in the stack: IMDS, wireserver and ARM by that mark, the internet by 1:1 NAT, and nothing more.
Neither keeps any state about traffic inside the VNet, so an address that is gone is gone for running flows too.

The change itself takes about a microsecond, and a packet caught in it may be lost. To keep it that short, each chain
ends in a `drop` of its own, with policy `accept`: the old chain is hooked a little longer, already empty, and its
policy would drop what the new one lets pass. And sets hold single addresses, a block as its 16: look-ups in an interval
set were seen to miss for some 100 microseconds (Linux 6.18).
"""

from collections.abc import Iterable, Iterator
from typing import Final

from azurebox.fabric.plan import EVERYTHING, Plan, Port
from azurebox.fabric.topology import ARM, FABRIC_MAC, IMDS, INTERNET_HOST, WIRESERVER, device_name

CORE: Final = "core0"  # the fabric's stack sends to the VNet through this device ...
CORE_FAR_END: Final = "core1"  # ... and it comes in here, at the same rules as frames of VMs

NAT_TABLE: Final = "beyond"
NAT_MAP: Final = "public"

IS_PRIMARY: Final = "0x1"  # marks of a packet's source: IMDS and wireserver answer it
HAS_OUTBOUND: Final = "0x2"  # it may reach the internet


def render(plan: Plan) -> str:
    """The whole rule set; replaces what is loaded, whatever that is."""
    return "\n".join((*_virtual_network(plan), *_beyond(plan))) + "\n"


def _virtual_network(plan: Plan) -> Iterator[str]:
    yield from _afresh("netdev virtual_network")
    for port in plan.ports:
        yield from _delivery(port)
    for view, devices in sorted(plan.views.items()):
        yield from _view(view, [port for port in plan.ports if port.device in devices])
    for port in plan.ports:
        yield from _ingress(port)
    for device in plan.unused:
        yield from (f"chain {device} {{", _hook(device), "drop", "}")
    yield from (f"chain {CORE} {{", _hook(CORE_FAR_END), f"ip daddr vmap @{EVERYTHING}", "drop", "}")
    yield "}"


def _delivery(port: Port) -> Iterator[str]:
    yield f"chain to-{port.device} {{"
    yield f'ether saddr set {FABRIC_MAC} ether daddr set {port.mac} fwd to "{port.device}"'
    yield "}"


def _view(view: str, ports: Iterable[Port]) -> Iterator[str]:
    yield f"map {view} {{ type ipv4_addr : verdict;"
    yield _elements(f"{address} : goto to-{port.device}" for port in ports for address in port.addresses)
    yield "}"


def _ingress(port: Port) -> Iterator[str]:
    own = f"own-{port.device}"
    yield f"set {own} {{ type ipv4_addr;"
    yield _elements(map(str, port.addresses))
    yield "}"
    yield f"chain {port.device} {{"
    yield _hook(port.device)
    yield f"ether saddr != {port.mac} drop"
    yield f"meta protocol arp arp operation request arp daddr ip != @{own} accept"  # proxy_arp of the stack answers
    yield "meta protocol != ip drop"
    yield "meta pkttype != host drop"  # broadcast, multicast, and frames that are not for the fabric's MAC
    if not port.ip_forwarding:
        yield f"ip saddr != @{own} drop"
    yield "ip protocol { 4, 47 } drop"  # IP-in-IP and GRE do not exist in a VNet
    yield "udp sport 65330 drop"  # kept by Azure for itself
    if port.primary:
        yield f"ip saddr {port.primary} meta mark set meta mark or {IS_PRIMARY}"
    if port.public:
        outbound = ", ".join(map(str, port.public))
        yield f"ip saddr {{ {outbound} }} meta mark set meta mark or {HAS_OUTBOUND}"
    yield f"ip daddr vmap @{port.view}"
    yield f"ip daddr {{ {IMDS}, {WIRESERVER}, {ARM}, {INTERNET_HOST.address} }} accept"
    yield from ("drop", "}")


def _hook(device: str) -> str:
    return f'type filter hook ingress device "{device}" priority 0; policy accept;'


def _beyond(plan: Plan) -> Iterator[str]:
    internet = device_name(INTERNET_HOST.name)
    yield from _afresh(f"ip {NAT_TABLE}")
    yield f"map {NAT_MAP} {{ type ipv4_addr : ipv4_addr;"
    yield _elements(f"{private} : {public}" for private, public in plan.public.items())
    yield "}"
    yield "set translations { type ipv4_addr . ipv4_addr;"
    yield _elements(f"{private} . {public}" for private, public in plan.public.items())
    yield "}"
    # A flow to the internet is remembered with its two addresses; it lives as long as this pair is in the table.
    translated = "ct original ip saddr . ct reply ip daddr"
    yield f"""
chain input {{
type filter hook input priority filter; policy accept;
iifname "lo" accept
ct direction reply accept
ip daddr {IMDS} tcp dport 80 meta mark and {IS_PRIMARY} != 0 accept
ip daddr {WIRESERVER} udp dport 53 meta mark and {IS_PRIMARY} != 0 accept
ip daddr {WIRESERVER} tcp dport {{ 53, 80, 32526 }} meta mark and {IS_PRIMARY} != 0 accept
ip daddr {ARM} tcp dport 443 meta mark and {HAS_OUTBOUND} != 0 accept
drop
}}
chain forward {{
type filter hook forward priority filter; policy accept;
oifname "{internet}" meta mark and {HAS_OUTBOUND} != 0 accept
iifname "{internet}" ct direction reply {translated} @translations accept
drop
}}
chain translate {{
type nat hook postrouting priority srcnat; policy accept;
oifname "{internet}" snat to ip saddr map @{NAT_MAP}
}}
chain verify {{
type filter hook postrouting priority srcnat + 1; policy accept;
oifname "{internet}" {translated} != @translations drop
}}
}}"""


def _afresh(table: str) -> tuple[str, ...]:
    """Begin a table anew; the first line makes the second one succeed where there was none."""
    return f"add table {table}", f"delete table {table}", f"table {table} {{"


def _elements(elements: Iterable[str]) -> str:
    joined = ", ".join(elements)
    return f"elements = {{ {joined} }}" if joined else ""
