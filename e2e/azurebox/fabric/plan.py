"""From the network that Azure has programmed to what each cable may carry. Pure: values in, values out.

A `Port` is one cable: which MAC and addresses may enter by it, which it is delivered, which of them may leave the VNet
and as whom. A view is what can be reached from one place: a VNet sees itself, the VNets it is peered with, and the
on-prem site behind its gateway. Only a peering that both sides have made carries anything, as in Azure.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from azurebox.fabric.balancer import Balanced, Health, balance
from azurebox.fabric.filters import NO_FILTERS, Filters, plan_filters
from azurebox.fabric.outbound import Outbound, primary_of, ways_out
from azurebox.fabric.routes import NO_ROUTES, STORAGE_VIEW, Routes, plan_routes
from azurebox.fabric.topology import ONPREM, PEER, STORAGE, Place, device_name
from fakeazure.effective import EffectiveNetwork, EffectiveNic, EffectiveVNet

EVERYTHING = "everything"  # the view of the fabric itself (answers, probes) and of the on-prem site
NOTHING = "nothing"  # the view of a VNet that is not there (any more)


@dataclass(frozen=True, slots=True)
class Port:
    """One cable.

    `addresses` are single ones, a block taken apart; `public` maps those that may leave the VNet to the address by
    which the internet knows them; `primary` is the one that IMDS and the wireserver answer, None for no box VM and
    for a VM's further NICs. `guarded`: the NIC or its subnet has a network security group. `published` maps public
    addresses to those of this port that have one as their own. `ipv6` are single addresses and the NIC's block; a NIC
    without any has no IPv6 at all.
    """

    device: str
    mac: str
    addresses: tuple[IPv4Address, ...]
    primary: IPv4Address | None
    ip_forwarding: bool
    view: str
    public: Mapping[IPv4Address, IPv4Address]
    guarded: bool = False
    published: Mapping[IPv4Address, IPv4Address] = field(default_factory=dict)
    ipv6: tuple[IPv6Network, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """Every cable, the unused ones too (nothing passes those), and the devices that each view reaches.

    `frontends` are the addresses of internal load balancers that each view reaches.
    """

    ports: tuple[Port, ...]
    unused: tuple[str, ...]
    views: Mapping[str, frozenset[str]]
    outbound: Outbound = field(default_factory=Outbound)
    balanced: tuple[Balanced, ...] = ()
    frontends: Mapping[str, frozenset[IPv4Address]] = field(default_factory=dict)
    filters: Filters = NO_FILTERS
    routes: Routes = NO_ROUTES

    @property
    def public(self) -> dict[IPv4Address, IPv4Address]:
        """Each address that may leave the VNet, and the public address it leaves with."""
        return {private: public for port in self.ports for private, public in port.public.items()}


EMPTY = Plan(ports=(), unused=(), views={EVERYTHING: frozenset(), NOTHING: frozenset()})


def make_plan(
    network: EffectiveNetwork,
    *,
    cables: Mapping[str, str],
    lent: Mapping[IPv4Address, IPv4Address],
    healthy: Health = (),
) -> Plan:
    """What the fabric should do now.

    `cables` are the fabric's devices to VMs and outside hosts with the MAC at their far end; a NIC without a cable is
    left out. `lent` are the public addresses in use until now: a VM keeps its default outbound address. `healthy` are
    the members of load balancers whose probes succeed.
    """
    device_of = {mac: device for device, mac in cables.items()}
    nics = {device: nic for nic in network.nics if (device := device_of.get(nic.mac.lower()))}
    outbound = ways_out(network, nics.values(), lent=lent)
    guarded = _guarded(network, nics)
    vnet_of_subnet = {_key(subnet.subnet_id): vnet for vnet in network.vnets for subnet in vnet.subnets}
    home_of = {device: vnet_of_subnet.get(_key(nic.subnet_id)) for device, nic in nics.items()}
    home_of[device_name(PEER.name)] = _vnet_holding(PEER.address, network)

    ports = [
        _port_of_nic(
            nic,
            device=device,
            view=_view_name(home_of[device], network),
            public=outbound.addresses,
            guarded=device in guarded,
        )
        for device, nic in sorted(nics.items())
    ]
    peer = home_of[device_name(PEER.name)]
    ports += [
        _port_of_place(PEER, view=_view_name(peer, network), dual=_holds_ipv6(peer, PEER.ipv6)),
        _port_of_place(ONPREM, view=EVERYTHING, dual=any(vnet.ipv6_prefixes for vnet in network.vnets)),
        _port_of_place(STORAGE, view=STORAGE_VIEW),
    ]
    routes = plan_routes(network, nics, devices=frozenset(cables))
    used = [port for port in ports if port.device in cables]
    balanced = balance(network, nics, guarded=guarded, healthy=healthy)
    return Plan(
        ports=tuple(used),
        unused=tuple(sorted(set(cables) - {port.device for port in used})),
        views={
            **dict(_views(network, [port.device for port in used if port.view != STORAGE_VIEW], home_of)),
            STORAGE_VIEW: routes.with_endpoint,
        },
        filters=plan_filters(network, nics),
        routes=routes,
        outbound=outbound,
        balanced=balanced,
        frontends=dict(_frontends(network, balanced)),
    )


def _guarded(network: EffectiveNetwork, nics: Mapping[str, EffectiveNic]) -> frozenset[str]:
    """The devices of NICs for which a network security group judges, of their own or of their subnet."""
    subnets = {_key(subnet.subnet_id) for vnet in network.vnets for subnet in vnet.subnets if subnet.security_group_id}
    return frozenset(device for device, nic in nics.items() if nic.security_group_id or _key(nic.subnet_id) in subnets)


def _frontends(
    network: EffectiveNetwork, balanced: tuple[Balanced, ...]
) -> Iterator[tuple[str, frozenset[IPv4Address]]]:
    homes = {_key(vnet.vnet_id): vnet for vnet in network.vnets}
    internal = [(rule.frontend, homes[_key(rule.vnet_id)]) for rule in balanced if not rule.public]
    yield EVERYTHING, frozenset(address for address, _ in internal)
    for vnet in network.vnets:
        yield _view_name(vnet, network), frozenset(address for address, home in internal if _connected(vnet, home))


def _views(
    network: EffectiveNetwork, devices: list[str], home_of: Mapping[str, EffectiveVNet | None]
) -> Iterator[tuple[str, frozenset[str]]]:
    onprem = {device_name(ONPREM.name)} & set(devices)
    yield NOTHING, frozenset()
    yield EVERYTHING, frozenset(devices)
    for vnet in network.vnets:
        inside = {device for device in devices if (home := home_of.get(device)) and _connected(vnet, home)}
        yield _view_name(vnet, network), frozenset(inside | onprem)


def _view_name(vnet: EffectiveVNet | None, network: EffectiveNetwork) -> str:
    return NOTHING if vnet is None else f"vnet-{network.vnets.index(vnet)}"


def _connected(one: EffectiveVNet, other: EffectiveVNet) -> bool:
    here, there = _key(one.vnet_id), _key(other.vnet_id)
    return here == there or (there in map(_key, one.peered_vnet_ids) and here in map(_key, other.peered_vnet_ids))


def _vnet_holding(address: IPv4Address, network: EffectiveNetwork) -> EffectiveVNet | None:
    return next(
        (vnet for vnet in network.vnets if any(address in IPv4Network(prefix) for prefix in vnet.prefixes)), None
    )


def _port_of_nic(
    nic: EffectiveNic, *, device: str, view: str, public: Mapping[IPv4Address, IPv4Address], guarded: bool
) -> Port:
    addresses = tuple(admitted for address in nic.addresses for admitted in IPv4Network(address.address))
    return Port(
        device=device,
        mac=nic.mac.lower(),
        addresses=addresses,
        primary=primary_of(nic) if nic.is_primary else None,
        ip_forwarding=nic.ip_forwarding,
        view=view,
        public={private: seen for private, seen in public.items() if private in addresses},
        guarded=guarded,
        published={
            IPv4Address(address.public_ip): IPv4Address(address.address)
            for address in nic.addresses
            if address.public_ip
        },
        ipv6=tuple(map(IPv6Network, nic.ipv6)),
    )


def _holds_ipv6(vnet: EffectiveVNet | None, address: IPv6Address | None) -> bool:
    return bool(vnet and address and any(address in IPv6Network(prefix) for prefix in vnet.ipv6_prefixes))


def _port_of_place(place: Place, *, view: str, dual: bool = False) -> Port:
    return Port(
        device=device_name(place.name),
        mac=place.mac,
        addresses=(place.address,),
        primary=None,
        ip_forwarding=False,
        view=view,
        public={place.address: place.public} if place.public else {},
        ipv6=(IPv6Network(place.ipv6),) if dual and place.ipv6 else (),
    )


def _key(resource_id: str) -> str:
    """Resource ids are compared without regard to case."""
    return resource_id.lower()
