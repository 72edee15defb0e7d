"""The fabric's own stack as nftables text: what leaves the VNet, what comes in, and flows to frontends.

Table `ip beyond`: IMDS, wireserver and ARM by the mark that ingress gave a packet; the internet by translation of the
source, each protocol by its own map; public IPs and frontends of load balancers by translation of the destination.
A Standard public address is closed to what comes from outside until a network security group judges for the address
behind it (Azure documentation, "Public IP addresses in Azure": "secure by default"). A VM that calls a public address
does so with its own, as if it came from the internet, and so needs a way out.
"""

from collections.abc import Iterator
from typing import Final

from azurebox.fabric import balancerules, fragments
from azurebox.fabric.balancer import every_member
from azurebox.fabric.balancerules import elements
from azurebox.fabric.plan import Plan
from azurebox.fabric.topology import ARM, IMDS, INTERNET_HOST, PLACES, STORAGE, WIRESERVER, device_name

CORE: Final = "core0"  # the fabric's stack sends to the VNet through this device ...
CORE_FAR_END: Final = "core1"  # ... and it comes in here, at the same rules as frames of VMs

NAT_TABLE: Final = "beyond"
NAT_MAPS: Final = ("public", "public_tcp", "public_udp")

IS_PRIMARY: Final = "0x1"  # marks of a packet's source: IMDS and wireserver answer it
HAS_OUTBOUND: Final = "0x2"  # it may reach the internet

PLACE_DEVICES: Final = frozenset(device_name(place.name) for place in PLACES)


def beyond(plan: Plan) -> Iterator[str]:
    """The whole table."""
    internet = f'{{ "{device_name(INTERNET_HOST.name)}", "{device_name(STORAGE.name)}" }}'
    yield from afresh(f"ip {NAT_TABLE}")
    yield from _translations(plan)
    # A flow to the internet is remembered with its two addresses; it lives as long as this pair is in the table.
    # A flow to a public IP or a frontend is remembered with that and the address behind it, and lives likewise.
    translated = "ct original ip saddr . ct reply ip daddr"
    paired = "ct original ip daddr . ct reply ip saddr"
    choose = "\n".join(balancerules.choose(plan.balanced)) if plan.balanced else ""
    translate = "\n".join(balancerules.translate(plan.balanced))
    yield from fragments.to_the_stack(internet=str(INTERNET_HOST.address))
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
chain choose {{
type filter hook prerouting priority mangle; policy accept;
iifname != {internet} ct state new ip daddr @fronts meta mark and {HAS_OUTBOUND} == 0 drop
{choose}
}}
chain enter {{
type nat hook prerouting priority dstnat; policy accept;
dnat to ip daddr map @published
{translate}
}}
chain forward {{
type filter hook forward priority filter; policy accept;
oifname {internet} ct direction original meta mark and {HAS_OUTBOUND} != 0 accept
iifname {internet} ct direction reply {translated} @translations accept
ct direction reply {paired} @pairs accept
ct direction original {paired} @pairs goto admitted
oifname "{CORE}" ct state invalid meta mark and {balancerules.VIEW_BITS} != 0 accept
oifname "{CORE}" ct status and dnat == 0 meta mark and {balancerules.VIEW_BITS} != 0 accept
drop
}}
chain admitted {{
ct original ip daddr != @fronts accept
ct reply ip saddr @guarded accept
meta mark and {balancerules.MEMBER_BITS} @guarded_marks accept
drop
}}
chain leave {{
type nat hook postrouting priority srcnat; policy accept;
oifname {internet} goto translate
ct original ip daddr @fronts goto translate
}}
chain translate {{
snat to ip saddr map @{NAT_MAPS[0]}
meta l4proto tcp snat to ip saddr map @{NAT_MAPS[1]}
meta l4proto udp snat to ip saddr map @{NAT_MAPS[2]}
}}
chain verify {{
type filter hook postrouting priority srcnat + 1; policy accept;
oifname {internet} ct state invalid drop
oifname {internet} ct direction original {translated} != @translations drop
}}
}}"""


def _translations(plan: Plan) -> Iterator[str]:
    """The sets and maps of the stack's own table."""
    places = {
        private: public
        for port in plan.ports
        if port.device in PLACE_DEVICES
        for private, public in port.public.items()
    }
    maps = ({**plan.outbound.all_protocols, **places}, plan.outbound.tcp, plan.outbound.udp)
    for name, translation in zip(NAT_MAPS, maps, strict=True):
        yield f"map {name} {{ type ipv4_addr : ipv4_addr;"
        yield elements(f"{private} : {public}" for private, public in translation.items())
        yield "}"
    published = {public: (private, port) for port in plan.ports for public, private in port.published.items()}
    public_frontends = {rule.frontend for rule in plan.balanced if rule.public}
    members = [(rule, member) for rule in plan.balanced for member in every_member([rule])]
    guarded = {str(private) for private, port in published.values() if port.guarded}
    guarded |= {str(member.address) for _, member in members if member.guarded}
    marks = {balancerules.member_mark(member) for rule, member in members if rule.floating and member.guarded}
    pairs = {f"{public} . {private}" for public, (private, _) in published.items()} | balancerules.pairs(plan.balanced)
    seen = {f"{private} . {public}" for translation in maps for private, public in translation.items()}
    for name, kind, items in (
        ("translations", "ipv4_addr . ipv4_addr", seen),
        ("pairs", "ipv4_addr . ipv4_addr", pairs),
        ("fronts", "ipv4_addr", {str(address) for address in {*published, *public_frontends}}),
        ("guarded", "ipv4_addr", guarded),
        ("guarded_marks", "mark", marks),
        ("whole_only", "ipv4_addr", {str(rule.frontend) for rule in plan.balanced if rule.frontend_port}),
        ("own_public", "ipv4_addr", {str(private) for private, _ in published.values()} | set(map(str, places))),
    ):
        yield f"set {name} {{ type {kind};"
        yield elements(sorted(items))
        yield "}"
    yield "map published { type ipv4_addr : ipv4_addr;"
    yield elements(f"{public} : {private}" for public, (private, _) in published.items())
    yield "}"


def afresh(table: str) -> tuple[str, ...]:
    """Start a table afresh; the first line makes the second one succeed where there was none."""
    return f"add table {table}", f"delete table {table}", f"table {table} {{"
