"""Further NICs of the VM: pods reach the subnets behind them by the NIC that holds their addresses. Pure.

The kernel routes what is for the subnet of a second NIC out by that NIC, because the subnet is connected there. Azure
carries a pod's address only by the NIC that holds it, which is the primary one, and drops the packet. So for each such
subnet there is a rule by source: `91: from SUBNET OF THE PRIMARY NIC to THAT SUBNET fwmark 0/0x20 lookup TABLE`, and in
the table a default route by the primary NIC to its subnet's gateway. What a second NIC is for stays as it is: a process
of the node that does not bind its socket has no source yet when the rule is asked, and leaves by the second NIC with
that one's address.

The reverse path filter asks the same rules with the addresses exchanged. So it agrees, strict or not, that the answers
from there come in by the primary NIC.

**Connections that come in by the second NIC and are led to a pod.** A client there may call a NodePort or hostPort at
the node's address on the second NIC. The answer is routed while it still has a pod's address, and gets the node's back
afterwards: the rule would send it out by the primary NIC with the second one's address. And the reverse path filter
would ask the rule about the call, and drop it. So the node's table marks packets of such connections (`marking`), the
rule leaves marked ones to the main table, and the second NIC's reverse path filter asks with the mark
(`src_valid_mark`). It is one bit, set on nothing else.

What is not covered: a second NIC in the primary NIC's own subnet, because source and destination then do not show which
of the two a packet belongs to. (The subnet's route by the NIC with the lower metric decides; cloud-init and
NetworkManager give the primary one the lower.) And routes by a second NIC that a person has added: they may be meant.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from azure_cni.datapath.names import BRIDGE, GROUP, PREFIX
from azure_cni.datapath.policy import PREFERENCE, PolicyRule
from azure_cni.datapath.uplink import Link

DETOUR_PREFERENCE: Final = PREFERENCE + 1
"""Right behind the rule that leads to this node's pods, and before all that others are known to add (`policy`): theirs
by source (nm-cloud-setup, a VPN) know nothing of pods."""

DETOUR_TABLE: Final = GROUP
"""A number that says `acnj` (ASCII), as pods' link group. Programs take small ones: SUSE's cloud-netconfig 100 to 109,
cloud-init's and netplan's 101 on, Cilium 2004 and 2005, nm-cloud-setup 30200 on, wg-quick 51820."""

SPARED_MARK: Final = 0x20
"""Of packets that the rules leave alone. Others' bits: kube-proxy 0x4000 and 0x8000, portmap 0x2000, Cilium 0x0f00, the
AWS plugin 0x80, Tailscale 0xff0000, Calico 0xffff0000."""

_SMALLEST = 29
"""The prefix length of Azure's smallest subnet: what is smaller is a tunnel's or a container's."""

_KINDS = {"", "veth", "bond", "team"}
"""What a NIC is made of: hardware, also several of them together, and veth where the node is a container."""


@dataclass(frozen=True, slots=True)
class Detour:
    """From `source`, the primary NIC's subnet, to `destinations`, those of others. `own`: the node's addresses
    there, on the interfaces with the indexes `nics`.

    Without destinations there is nothing to keep in the kernel.
    """

    source: IPv4Network
    destinations: tuple[IPv4Network, ...] = ()
    own: tuple[IPv4Address, ...] = ()
    nics: tuple[int, ...] = ()

    @property
    def gateway(self) -> IPv4Address:
        """Of the primary NIC's subnet: Azure reserves the first address of each for it (virtual network FAQ)."""
        return self.source.network_address + 1

    @property
    def rules(self) -> tuple[PolicyRule, ...]:
        """All policy rules of ours that the kernel should have."""
        return tuple(
            PolicyRule(
                DETOUR_PREFERENCE,
                DETOUR_TABLE,
                source=self.source,
                destination=destination,
                narrowed=True,
                mark=(0, SPARED_MARK),
            )
            for destination in self.destinations
        )


def detour(
    links: Iterable[Link],
    held: Collection[tuple[int, IPv4Address, int]],
    *,
    uplink: int,
    primary: IPv4Address,
    routable: Collection[IPv4Network],
    pods: int = 0,
) -> Detour | None:
    """What the node needs, by its interfaces and its addresses (index, address, prefix length).

    None while the NIC, whose index is `uplink`, does not have its primary address: its subnet is not known then.
    `pods` is the index of another NIC with all pods' addresses: what comes in there is not led astray (`pod_nic`).
    """
    source = subnet_of(held, index=uplink, primary=primary)
    if source is None:
        return None
    links = list(links)
    macs = {link.mac for link in links if link.index == uplink}
    nics = {link.index for link in links if link.index != uplink and link.mac not in macs and _may_be_nic(link)}
    beyond = [
        (address, _network(address, length), index)
        for index, address, length in held
        if index in nics and length <= _SMALLEST and _is_another(_network(address, length), source, routable)
    ]
    return Detour(
        source,
        destinations=tuple(sorted({network for _, network, _ in beyond})),
        own=tuple(sorted(address for address, _, index in beyond if index != pods)),
        nics=tuple(sorted({index for _, _, index in beyond if index != pods})),
    )


def subnet_of(held: Iterable[tuple[int, IPv4Address, int]], *, index: int, primary: IPv4Address) -> IPv4Network | None:
    """The subnet of a NIC, by the address that the interface with that index has; None while it does not have it."""
    lengths = [length for holder, address, length in held if (holder, address) == (index, primary)]
    return _network(primary, min(lengths)) if lengths and min(lengths) <= _SMALLEST else None


def is_ours(rule: PolicyRule) -> bool:
    """Whether it is one of this module's, of whichever release."""
    return (rule.preference, rule.table) == (DETOUR_PREFERENCE, DETOUR_TABLE)


def marking(own: Collection[IPv4Address]) -> str:
    """The chains of the node's table that mark connections led on from these addresses; "" for none.

    After dstnat, which says whether one is led on. `type route`: the kernel looks up the route of what the node itself
    sends again when the mark has changed.
    """
    if not own:
        return ""
    addresses = ", ".join(map(str, own))
    line = f"ct status dnat ct original ip daddr {{ {addresses} }} meta mark set meta mark | {SPARED_MARK:#x}"
    heads = {
        "led_on": "type filter hook prerouting priority dstnat + 10; policy accept;",
        "answers_of_the_node": "type route hook output priority mangle; policy accept;",
    }
    return "".join(f"\tchain {name} {{\n\t\t{head}\n\t\t{line}\n\t}}\n" for name, head in heads.items())


def _may_be_nic(link: Link) -> bool:
    return link.kind in _KINDS and link.name not in {"lo", BRIDGE} and not link.name.startswith(PREFIX)


def _is_another(network: IPv4Network, source: IPv4Network, routable: Collection[IPv4Network]) -> bool:
    return not network.overlaps(source) and any(network.subnet_of(one) for one in routable)


def _network(address: IPv4Address, length: int) -> IPv4Network:
    return IPv4Network((address, length), strict=False)
