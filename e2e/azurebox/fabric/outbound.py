"""Who leaves the VNet, and by which public address. Pure.

The order is Azure's (documentation, "Source Network Address Translation for outbound connections" and "What is Azure
NAT Gateway?"): the subnet's NAT gateway, for all its addresses; a public IP of the configuration itself; an outbound
rule of a load balancer, for primary configurations only; what Azure lends by default; else nothing, and no way out.
The default is lent to a primary unless its subnet has none, or its VM has a public IP or is in the pool of a Standard
load balancer ("Default outbound access in Azure", "Outbound rules", scenario 5: also an internal one).
Chosen where nothing is known: of several public addresses, an address always leaves by the same one.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

from azurebox.fabric.topology import FIRST_DEFAULT_OUTBOUND, PEER, PUBLIC_ADDRESSES
from azurebox.steps import StepError
from fakeazure.effective import EffectiveAddress, EffectiveNetwork, EffectiveNic, EffectiveSubnet

Translation = Mapping[IPv4Address, IPv4Address]
"""Private address → the public one that the internet sees."""


@dataclass(frozen=True, slots=True)
class Outbound:
    """Ways out by protocol. NAT gateways and load balancers translate TCP and UDP, and nothing else."""

    all_protocols: Translation = field(default_factory=dict)
    tcp: Translation = field(default_factory=dict)
    udp: Translation = field(default_factory=dict)

    @property
    def addresses(self) -> dict[IPv4Address, IPv4Address]:
        """Every address that has a way out, with the public address of it."""
        return {**self.udp, **self.tcp, **self.all_protocols}


def ways_out(
    network: EffectiveNetwork, nics: Iterable[EffectiveNic], *, lent: Mapping[IPv4Address, IPv4Address]
) -> Outbound:
    """The ways out of these NICs; `lent` are the default addresses in use until now, which their VMs keep."""
    nics = sorted(nics, key=lambda nic: nic.nic_id)
    subnets = {subnet.subnet_id.lower(): subnet for vnet in network.vnets for subnet in vnet.subnets}
    explicit = _vms_with_a_way_out(network, nics)
    by_protocol: dict[str, dict[IPv4Address, IPv4Address]] = {"All": {}, "Tcp": {}, "Udp": {}}
    borrowers: list[IPv4Address] = []
    for nic in nics:
        subnet = subnets.get(nic.subnet_id.lower())
        lends = bool(subnet and subnet.default_outbound and _vm_of(nic) not in explicit)
        for config in nic.addresses:
            ways = list(_explicit_ways(network, subnet, config))
            for protocol, private, public in ways:
                by_protocol[protocol][private] = public
            if lends and config.primary and not ways:
                borrowers.append(IPv4Address(config.address))
    taken = {*by_protocol["All"].values(), *_claimed(network), PEER.public}
    fixed = {**by_protocol["All"], **_lend(borrowers, taken, lent=lent)}
    return Outbound(fixed, by_protocol["Tcp"], by_protocol["Udp"])


def _explicit_ways(
    network: EffectiveNetwork, subnet: EffectiveSubnet | None, config: EffectiveAddress
) -> Iterator[tuple[str, IPv4Address, IPv4Address]]:
    """Protocol, private and public address of what counts for this configuration, except the default."""
    singles = list(IPv4Network(config.address))
    if subnet and subnet.nat_addresses:
        gateway = [IPv4Address(address) for address in subnet.nat_addresses]
        for protocol in ("Tcp", "Udp"):
            yield from ((protocol, single, gateway[int(single) % len(gateway)]) for single in singles)
    elif config.public_ip:
        yield "All", singles[0], IPv4Address(config.public_ip)
    elif config.primary:
        yield from ((protocol, singles[0], public) for protocol, public in _outbound_rules(network, config))


def primary_of(nic: EffectiveNic) -> IPv4Address | None:
    """The address of a NIC's primary configuration."""
    return next((IPv4Address(address.address) for address in nic.addresses if address.primary), None)


def _vms_with_a_way_out(network: EffectiveNetwork, nics: Iterable[EffectiveNic]) -> set[str]:
    """The VMs, by name, to which Azure lends nothing because they are meant to have a way out of their own."""
    standard = {pool.lower() for balancer in network.load_balancers for pool in balancer.pool_ids}
    return {
        _vm_of(nic)
        for nic in nics
        for config in nic.addresses
        if config.public_ip or not standard.isdisjoint(map(str.lower, config.load_balancer_pools))
    }


def _vm_of(nic: EffectiveNic) -> str:
    return nic.vm_name or nic.nic_id


def _outbound_rules(network: EffectiveNetwork, config: EffectiveAddress) -> Iterator[tuple[str, IPv4Address]]:
    """Protocol and public address that load balancers give a configuration, what counts most last."""
    own = set(map(str.lower, config.load_balancer_pools))
    rules = [rule for balancer in network.load_balancers for rule in balancer.outbound_rules]
    for rule in reversed(rules):
        if not own.isdisjoint(map(str.lower, rule.pool_ids)):
            public = rule.public_addresses[int(IPv4Address(config.address)) % len(rule.public_addresses)]
            for protocol in ("Tcp", "Udp") if rule.protocol == "All" else (rule.protocol,):
                yield protocol, IPv4Address(public)


def _claimed(network: EffectiveNetwork) -> Iterator[IPv4Address]:
    """The public addresses of NAT gateways and load balancers, which are not lent."""
    for vnet in network.vnets:
        for subnet in vnet.subnets:
            yield from map(IPv4Address, subnet.nat_addresses)
    for balancer in network.load_balancers:
        yield from (IPv4Address(rule.frontend) for rule in balancer.rules if not rule.vnet_id)
        for outbound in balancer.outbound_rules:
            yield from map(IPv4Address, outbound.public_addresses)


def _lend(
    borrowers: list[IPv4Address], taken: set[IPv4Address | None], *, lent: Mapping[IPv4Address, IPv4Address]
) -> dict[IPv4Address, IPv4Address]:
    public: dict[IPv4Address, IPv4Address] = {}
    for primary in borrowers:
        if (kept := lent.get(primary)) and kept not in taken:
            public[primary] = kept
            taken.add(kept)
    for primary in borrowers:
        if primary not in public:
            public[primary] = _first_free(taken)
            taken.add(public[primary])
    return public


def _first_free(taken: set[IPv4Address | None]) -> IPv4Address:
    for address in PUBLIC_ADDRESSES.hosts():
        if address >= FIRST_DEFAULT_OUTBOUND and address not in taken:
            return address
    raise StepError(f"cannot lend a default outbound address: all of {PUBLIC_ADDRESSES} are in use")
