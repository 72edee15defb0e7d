"""Load balancing as nftables text: what the fabric's own stack does with flows to a frontend.

The choice is made once for each flow and kept by conntrack. Without floating IP the destination becomes the member's
address. With it the packet keeps its destination and carries a mark that names the member's cable. Answers go up the
stack, too, so that conntrack gives them the frontend's address back: `answers` says which packets may be some.
A flow lives as long as its pair of frontend and member is in the set `pairs`. So a hop shows on such flows, as it does
not in Azure: the stack takes one off the TTL.
"""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address
from typing import Final

from azurebox.fabric.balancer import Balanced, Member, every_member
from azurebox.fabric.plan import Plan

MEMBER_SHIFT: Final = 16  # a mark's upper half names the cable of the member that a flow was given
MEMBER_BITS: Final = "0xffff0000"
VIEW_BITS: Final = "0x0000ff00"  # the view of the sender of what may be an answer

ANSWER: Final = "ipv4_addr . inet_proto . inet_service"  # the source of what may be an answer

SEED: Final = "0x62616c61"  # the same choice by the same values after each change of the rules
CHOICES: Final = {
    "Default": "ip saddr . th sport . ip daddr . th dport . ip protocol",
    "SourceIP": "ip saddr . ip daddr",
    "SourceIPProtocol": "ip saddr . ip daddr . ip protocol",
}


def answers(plan: Plan) -> dict[str, tuple[list[str], list[str]]]:
    """By device: the "address . protocol . port" that may be answers of a member, and addresses with any port."""
    found: dict[str, tuple[list[str], list[str]]] = {}
    for port in plan.ports:
        single: set[str] = set()
        whole: set[str] = set()
        for rule in plan.balanced:
            for member in every_member([rule]):
                if member.device != port.device:
                    continue
                source = rule.frontend if rule.floating else member.address
                if not rule.backend_port:
                    whole.add(str(source))
                else:
                    single |= {f"{source} . {protocol} . {rule.backend_port}" for protocol in rule.protocols}
        if single or whole:
            found[port.device] = (sorted(single), sorted(whole))
    return found


def answer_chains(plan: Plan) -> Iterator[str]:
    """For each device with members: who may send from it, and what goes up the stack, marked with what it may see."""
    views = {port.device: port.view for port in plan.ports}
    for device, (single, whole) in answers(plan).items():
        yield from (f"set answers-{device} {{ type {ANSWER};", elements(single), "}")
        yield from (f"set all-answers-{device} {{ type ipv4_addr;", elements(whole), "}")
        is_answer = f"ip saddr . ip protocol . th sport @answers-{device}"
        may_be = f"ip protocol {{ tcp, udp }} ip saddr @all-answers-{device}"
        # A later fragment has no port: a rule that asks for one does not match it.
        yield from (f"chain from-{device} {{", f"ip saddr @own-{device} return")
        yield from (f"{is_answer} return", f"{may_be} return", "drop", "}")
        mark = f"meta mark set meta mark or {view_mark(plan, views[device])} accept"
        yield from (f"chain up-{device} {{", f"{is_answer} {mark}", f"{may_be} {mark}", "}")
    if plan.balanced:
        for view in plan.views:
            yield from (f"chain see-{view} {{", f"ip daddr vmap @{view}", "drop", "}")


def elements(items: Iterable[str]) -> str:
    """The elements of a set or map; nothing where there are none."""
    joined = ", ".join(items)
    return f"elements = {{ {joined} }}" if joined else ""


def view_mark(plan: Plan, view: str) -> str:
    """The mark of what comes from a port with this view."""
    return f"0x{sorted(plan.views).index(view) + 1 << 8:08x}"


def member_mark(member: Member) -> str:
    return f"0x{member.mark << MEMBER_SHIFT:08x}"


def core_verdicts(plan: Plan) -> Iterator[str]:
    """At the stack's own way into the VNet: to the member that a flow was given, or to whom its sender may see."""
    floating = {member for rule in plan.balanced if rule.floating for member in every_member([rule])}
    devices = sorted({(member_mark(member), member.device) for member in floating})
    if devices:
        ways = ", ".join(f"{mark} : goto to-{name}" for mark, name in devices)
        yield f"meta mark and {MEMBER_BITS} vmap {{ {ways} }}"
    if plan.balanced:
        views = ", ".join(f"{view_mark(plan, view)} : goto see-{view}" for view in sorted(plan.views))
        yield f"meta mark and {VIEW_BITS} vmap {{ {views} }}"


def choose(rules: Iterable[Balanced]) -> Iterator[str]:
    """Rules before routing that give a new flow with floating IP its member, and every packet of it the mark."""
    for rule in rules:
        if rule.floating and rule.targets:
            for matched in _matches(rule):
                yield f"ct state new {matched} ct mark set {_pick(rule, [member_mark(one) for one in rule.targets])}"
    yield "ct direction original ct mark != 0 meta mark set ct mark"


def translate(rules: Iterable[Balanced]) -> Iterator[str]:
    """Rules that give a new flow its destination."""
    for rule in rules:
        if not rule.targets:
            continue
        for matched in _matches(rule):
            if not rule.floating:
                yield f"{matched} dnat to {_pick(rule, [_end(str(one.address), rule) for one in rule.targets])}"
            elif rule.backend_port != rule.frontend_port:
                yield f"{matched} dnat to {_end(str(rule.frontend), rule)}"


def pairs(rules: Iterable[Balanced]) -> set[str]:
    """The "frontend . member" that flows may have; with floating IP both are the frontend."""
    return {
        f"{rule.frontend} . {rule.frontend if rule.floating else member.address}"
        for rule in rules
        for member in every_member([rule])
    }


def keeps_udp_flow(rule: Balanced, *, end: IPv4Address, mark: int) -> bool:
    """Whether a flow to this rule's frontend stays with who answers it: in Azure UDP leaves a member that is down."""
    if rule.floating:
        return mark in {int(member_mark(member), 16) for member in rule.targets}
    return end in {member.address for member in rule.targets}


def _matches(rule: Balanced) -> Iterator[str]:
    for protocol in rule.protocols:
        port = f"{protocol} dport {rule.frontend_port}" if rule.frontend_port else f"meta l4proto {protocol}"
        yield f"ip daddr {rule.frontend} {port}"


def _pick(rule: Balanced, ends: list[str]) -> str:
    if len(ends) == 1:
        return ends[0]
    choices = ", ".join(f"{number} : {end}" for number, end in enumerate(ends))
    return f"jhash {CHOICES[rule.affinity]} mod {len(ends)} seed {SEED} map {{ {choices} }}"


def _end(address: str, rule: Balanced) -> str:
    if not rule.backend_port:
        return address
    return (
        f"{address} . {rule.backend_port}"
        if len(rule.targets) > 1 and not rule.floating
        else (f"{address}:{rule.backend_port}")
    )
