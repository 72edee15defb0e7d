"""Which configurations of a NIC are for pods, and why the others are not. Pure.

No pod gets one that cannot be read, that no pod can use (IPv6), that something else uses, that shows an address twice,
or that is more than a pool can have. A block of addresses is one configuration, for pods or not as a whole. What a pod
can ask for (a load balancer pool, a public IP address) excludes none that this product made: whose it is,
`ipam.attachment_plan` decides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address

from azure_cni.azure.ip_configurations import Configuration
from azure_cni.model.config_names import is_ipv6_name, made_here
from azure_cni.model.nic import MOST_ON_NIC, Adopt, addresses_from


def exclusions(configs: Sequence[Configuration], *, primary: Configuration | None, adopt: Adopt) -> tuple[str, ...]:
    """Why no pod gets each of these; "" where one may, and for the primary. It completes "left alone: it ..."."""
    names = Counter(config.name.lower() for config in configs)
    taken, room = _addresses_of_others(configs, primary), _with_room(configs, primary)
    reasons = []
    for place, config in enumerate(configs):
        is_primary = config is primary
        why = "" if is_primary else _why(config, taken=taken, adopt=adopt, alone=names[config.name.lower()] == 1)
        if not why and not is_primary and place not in room:
            why = f"would be more than the {MOST_ON_NIC} addresses that a pool can have"
        reasons.append(why)
        for address in () if why else _addresses(config):
            taken.setdefault(address, f"shows the address of {config.name}")
    return tuple(reasons)


def is_ours(config: Configuration) -> bool:
    """Whether this product made it."""
    return made_here(config.name, static=not config.dynamic) and not config.flagged


def is_our_ipv6(config: Configuration, configs: Sequence[Configuration]) -> bool:
    """Whether this product made it for the IPv6 addresses of pods, and nothing else is known of it."""
    if not (config.plain_ipv6 and is_ipv6_name(config.name) and is_ours(config)):
        return False
    return sum(one.name.lower() == config.name.lower() for one in configs) == 1


def _addresses(config: Configuration) -> tuple[IPv4Address, ...]:
    return addresses_from(config.address, config.size) if config.address is not None else ()


def _with_room(configs: Sequence[Configuration], primary: Configuration | None) -> frozenset[int]:
    """Places of those for which a pool has room: ours first, then others' in their order. Only blocks can be more."""
    room, found = MOST_ON_NIC, set()
    for _, place in sorted((not is_ours(it), place) for place, it in enumerate(configs) if it is not primary):
        if configs[place].size <= room:
            room -= configs[place].size
            found.add(place)
    return frozenset(found)


def _addresses_of_others(configs: Sequence[Configuration], primary: Configuration | None) -> dict[IPv4Address, str]:
    """The addresses that are in use by more than a pod, and what a configuration does that shows one of them."""
    others = {address: config.name for config in configs if _use(config) for address in _addresses(config)}
    taken = {address: f"shows the address of {name or 'another'}" for address, name in others.items()}
    if primary is not None and primary.address is not None:
        taken[primary.address] = "shows the node's own address"
    return taken


def _why(config: Configuration, *, taken: Mapping[IPv4Address, str], adopt: Adopt, alone: bool) -> str:
    """Why no pod gets a secondary, "" if one may."""
    if use := _use(config):
        return use
    if config.flagged:
        return "says that it is the primary, and another one is"
    if not alone:
        return "has the name of another"
    if twice := next((address for address in _addresses(config) if address in taken), None):
        return taken[twice]
    return "" if is_ours(config) else _why_not_of_others(config, adopt)


def _use(config: Configuration) -> str:
    """What keeps pods from it, by itself; what a pod could have asked for does not."""
    return config.why or ("" if is_ours(config) else config.why_attached)


def _why_not_of_others(config: Configuration, adopt: Adopt) -> str:
    """For one that others made and that nothing uses. Without an address it would count as held but never be usable."""
    if config.address is None:
        return "has no address"
    return "was not made by azure-cni, and azure.adopt is none" if adopt is Adopt.NONE else ""
