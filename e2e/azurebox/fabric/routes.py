"""User-defined routes and service endpoints as nftables chains. Pure: values in, text out.

Azure documentation, "Virtual network traffic routing": the route with the longest prefix decides; of two with the same
prefix the user's one. The system's routes are the VNet's own prefixes, its peers', what is behind the gateway, nothing
for the private ranges (RFC 1918, RFC 6598), and the internet for the rest. "Routes with a service endpoint as the next
hop type can't be overridden". 168.63.129.16 "isn't subject to user defined routes" ("What is IP address
168.63.129.16?"); IMDS is assumed to be the same.

An appliance gets frames for any address, when its NIC has IP forwarding; without, or when nobody has the address, they
are dropped. What it sends on is judged and routed as its own subnet says.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from azurebox.fabric.topology import (
    IMDS,
    INTERNET_HOST,
    ONPREM,
    ONPREM_NETWORK,
    PUBLIC_ADDRESSES,
    STORAGE,
    WIRESERVER,
    device_name,
)
from fakeazure.effective import EffectiveNetwork, EffectiveNic, EffectiveVNet
from fakeazure.effectivefilters import EffectiveRoute

STORAGE_SERVICE: Final = "Microsoft.Storage"
STORAGE_VIEW: Final = "storage"
NOWHERE: Final = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")
USUAL: Final = "return"  # the look-ups that follow for a device without a route table
INTERNET_CHAIN: Final = "to-internet"


@dataclass(frozen=True, slots=True)
class Routes:
    """`chains` are rules by name; `steering` the rules of a device's frames before the usual look-ups."""

    chains: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    steering: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    with_endpoint: frozenset[str] = frozenset()
    """The devices whose subnets have a service endpoint for storage."""


NO_ROUTES: Final = Routes()


def plan_routes(network: EffectiveNetwork, nics: Mapping[str, EffectiveNic], *, devices: frozenset[str]) -> Routes:
    """`nics` are the fabric's devices with their NICs, `devices` all of them, those of outside hosts included."""
    homes = {subnet.subnet_id.lower(): (vnet, subnet) for vnet in network.vnets for subnet in vnet.subnets}
    tables = {table.table_id.lower(): table.routes for table in network.route_tables}
    chains: dict[str, tuple[str, ...]] = {}
    steering: dict[str, tuple[str, ...]] = {}
    with_endpoint = set()
    for device, nic in sorted(nics.items()):
        if (home := homes.get(nic.subnet_id.lower())) is None:
            continue
        vnet, subnet = home
        lines = []
        if STORAGE_SERVICE in subnet.service_endpoints and device_name(STORAGE.name) in devices:
            with_endpoint.add(device)
            lines.append(f"ip daddr {STORAGE.address} goto to-{device_name(STORAGE.name)}")
        if (routes := tables.get((subnet.route_table_id or "").lower())) is not None:
            name = f"routes-{network.vnets.index(vnet)}-{vnet.subnets.index(subnet)}"
            chains[name] = tuple(_chain(routes, vnet, network, nics, devices))
            chains[INTERNET_CHAIN] = tuple(_to_the_internet())
            lines.append(f"ip daddr != {{ {IMDS}, {WIRESERVER} }} jump {name}")
        if lines:
            steering[device] = tuple(lines)
    return Routes(chains, steering, frozenset(with_endpoint))


def _chain(
    routes: tuple[EffectiveRoute, ...],
    vnet: EffectiveVNet,
    network: EffectiveNetwork,
    nics: Mapping[str, EffectiveNic],
    devices: frozenset[str],
) -> Iterator[str]:
    """All routes of a subnet, longest prefix first."""
    decided = {IPv4Network(prefix): verdict for prefix, verdict in _system(vnet, network)}
    decided |= {IPv4Network(route.prefix): _verdict(route, nics, devices) for route in routes}
    for prefix in sorted(decided, key=lambda prefix: -prefix.prefixlen):
        match = f"ip daddr {prefix} " if prefix.prefixlen else ""
        yield f"{match}{decided[prefix]}"


def _system(vnet: EffectiveVNet, network: EffectiveNetwork) -> Iterator[tuple[str, str]]:
    yield "0.0.0.0/0", USUAL
    yield from ((prefix, "drop") for prefix in NOWHERE)
    yield str(ONPREM_NETWORK), USUAL
    reached = {vnet.vnet_id.lower(), *map(str.lower, vnet.peered_vnet_ids)}
    for one in network.vnets:
        if one.vnet_id.lower() in reached:
            yield from ((prefix, USUAL) for prefix in one.prefixes)


def _verdict(route: EffectiveRoute, nics: Mapping[str, EffectiveNic], devices: frozenset[str]) -> str:
    match route.kind:
        case "VnetLocal":
            return USUAL
        case "None":
            return "drop"
        case "Internet":
            return f"goto {INTERNET_CHAIN}"
        case "VirtualNetworkGateway":
            gateway = device_name(ONPREM.name)
            return f"goto to-{gateway}" if gateway in devices else "drop"
        case "VirtualAppliance":
            return next((f"goto to-{device}" for device, nic in nics.items() if _forwards(nic, route.next_hop)), "drop")


def _forwards(nic: EffectiveNic, address: str | None) -> bool:
    if not (nic.ip_forwarding and address):
        return False
    return any(IPv4Address(address) in IPv4Network(one.address) for one in nic.addresses)


def _to_the_internet() -> Iterator[str]:
    """Only what is public; the stack then looks whether the source has a way out."""
    yield f"ip daddr {INTERNET_HOST.address} accept"
    yield f"ip daddr {PUBLIC_ADDRESSES} accept"
    yield "drop"


def definitions(routes: Routes) -> Iterator[str]:
    """The chains, to stand in the table before the devices' own chains."""
    for name, rules in routes.chains.items():
        yield from (f"chain {name} {{", *rules, "}")


def let_in(network: EffectiveNetwork) -> dict[str, object]:
    """Whom the storage host serves, as its server reads it: by the prefix of a subnet that comes by its endpoint."""
    subnets = [subnet for vnet in network.vnets for subnet in vnet.subnets]
    known = [subnet for subnet in subnets if STORAGE_SERVICE in subnet.service_endpoints]
    allowed = {subnet_id.lower() for account in network.storage for subnet_id in account.subnet_ids}
    return {
        "open": any(account.open for account in network.storage),
        "subnets": {subnet.prefix: subnet.subnet_id for subnet in known},
        "allowed": [subnet.subnet_id for subnet in known if subnet.subnet_id.lower() in allowed],
    }
