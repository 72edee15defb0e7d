"""What load balancers do with a new flow: which frontend, which members, by what choice. Pure.

Sources, Azure documentation: "Azure Load Balancer distribution modes" (five values of a flow, or its two addresses),
"Health probes" (a member that is down gets no new flows; with all down there are none, unless the probe says
`AllProbedUp`; established TCP flows go on, if the pool has more than one member; UDP flows move), "Floating IP" (the
destination is kept, and the configuration must be a primary one unless the subnet has a NAT gateway), "Load Balancer
frequently asked questions" (fragments are forwarded by rules of protocol All only). Chosen where nothing is known: a
member that has left the pool loses its flows at once (what its clients send is dropped; what it sends itself comes from
its own address, and the client, which knows no such connection, resets it; with floating IP that is dropped too); a
block of sixteen addresses in a pool gets nothing. Not done: idle time-outs and the reset that may announce one.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from itertools import chain

from azurebox.steps import StepError
from fakeazure.effective import EffectiveAddress, EffectiveNetwork, EffectiveNic
from fakeazure.effectivebalancing import BalancingRule, HealthProbe

Health = Collection[tuple[str, IPv4Address]]
"""The members that are up: (id of the probe, address)."""


@dataclass(frozen=True, slots=True)
class Member:
    """One address behind a rule; `mark` stands for its cable, `guarded` says that a security group judges for it."""

    address: IPv4Address
    device: str
    mark: int
    guarded: bool


@dataclass(frozen=True, slots=True)
class Balanced:
    """A rule with its members. `targets` get new flows, `keepers` keep the TCP flows that they have."""

    frontend: IPv4Address
    vnet_id: str
    protocols: tuple[str, ...]
    frontend_port: int
    backend_port: int
    floating: bool
    affinity: str
    targets: tuple[Member, ...]
    keepers: tuple[Member, ...]

    @property
    def public(self) -> bool:
        return not self.vnet_id


def balance(
    network: EffectiveNetwork, nics: Mapping[str, EffectiveNic], *, guarded: Collection[str], healthy: Health
) -> tuple[Balanced, ...]:
    """All rules of all load balancers, with the members among these NICs, which are by device.

    `guarded` are the devices of NICs that, or whose subnets, have a network security group.
    """
    marks = _marks(nics)
    made = []
    for rule in (rule for balancer in network.load_balancers for rule in balancer.rules):
        members = [
            Member(IPv4Address(config.address), device, marks[device], guarded=device in guarded)
            for device, config in _configurations(network, nics, rule)
        ]
        up = [member for member in members if rule.probe is None or (rule.probe.probe_id, member.address) in healthy]
        all_down_is_up = bool(rule.probe and rule.probe.used_when_all_down and not up)
        made.append(
            Balanced(
                frontend=IPv4Address(rule.frontend),
                vnet_id=rule.vnet_id,
                protocols=("tcp", "udp") if rule.protocol == "All" else (rule.protocol.lower(),),
                frontend_port=rule.frontend_port,
                backend_port=rule.backend_port,
                floating=rule.floating_ip,
                affinity=rule.affinity,
                targets=tuple(members if all_down_is_up else up),
                keepers=tuple(members if len(members) > 1 else up),
            )
        )
    return tuple(made)


def probed(network: EffectiveNetwork) -> dict[tuple[str, IPv4Address], HealthProbe]:
    """Whom to probe, and how: each member of a rule that has a probe. Each is one (probe, address)."""
    everyone = {nic.nic_id: nic for nic in network.nics}
    return {
        (rule.probe.probe_id, IPv4Address(config.address)): rule.probe
        for balancer in network.load_balancers
        for rule in balancer.rules
        if rule.probe
        for _, config in _configurations(network, everyone, rule)
    }


def _configurations(
    network: EffectiveNetwork, nics: Mapping[str, EffectiveNic], rule: BalancingRule
) -> Iterator[tuple[str, EffectiveAddress]]:
    pools = set(map(str.lower, rule.pool_ids))
    gateways = {subnet.subnet_id.lower() for vnet in network.vnets for subnet in vnet.subnets if subnet.nat_addresses}
    for key, nic in sorted(nics.items()):
        for config in nic.addresses:
            inside = not pools.isdisjoint(map(str.lower, config.load_balancer_pools))
            reachable = not rule.floating_ip or config.primary or nic.subnet_id.lower() in gateways
            if inside and reachable and "/" not in config.address:
                yield key, config


def _marks(devices: Iterable[str]) -> dict[str, int]:
    """A number of 16 bits for each cable. It is the same each time: it marks flows that outlive a change."""
    marks = {device: int.from_bytes(hashlib.sha256(device.encode()).digest()[:2]) or 1 for device in devices}
    if len(set(marks.values())) < len(marks):
        raise StepError(f"cannot distinguish the flows of these VMs, give one another name: {sorted(marks)}")
    return marks


def every_member(rules: Iterable[Balanced]) -> set[Member]:
    """All members that have a flow or may get one."""
    return set(chain.from_iterable((*rule.targets, *rule.keepers) for rule in rules))
