"""Which configurations of this product may leave a NIC: those that nobody needs, and those that never worked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address

from azure_cni.ipam.ipv6_binding import singles_of
from azure_cni.ipam.ledger import Ledger, Slot, State
from azure_cni.ipam.plan_steps import Shrink
from azure_cni.ipam.sizing import Policy
from azure_cni.model.nic import IPConfiguration, NicView


def releasable(ledger: Ledger, view: NicView, policy: Policy, *, needed: int) -> int:
    """How many idle addresses a recall could have at once, beyond the plan's `needed`. None of a paused pool."""
    if policy.paused or not view.settled:
        return 0
    idle = surplus(ledger, view, count=spare(view, policy, needed=needed))
    return len(idle.addresses) if idle is not None else 0


def spare(view: NicView, policy: Policy, *, needed: int) -> int:
    """How many addresses the NIC has beyond the `needed`. A pool of blocks keeps one, as pools of addresses are made to
    (`quota.recalls.KEPT`): without any, a node could not become Ready after a restart.
    """
    return view.held - (needed if policy.config_size == 1 else max(needed, 1))


def surplus(ledger: Ledger, view: NicView, *, count: int) -> Shrink | None:
    """Our configurations whose addresses have all been free for longest, at most `count` addresses; None when there is
    none. A configuration leaves with all that it holds.
    """
    free = {slot.address: slot for slot in ledger.slots if slot.state is State.FREE}
    ours = [config for config in view.secondaries if config.removable and config.addresses and _is_free(config, free)]
    since_s = {config.name: max(free[address].since_s for address in config.addresses) for config in ours}
    chosen: list[IPConfiguration] = []
    for config in sorted(ours, key=lambda config: (since_s[config.name], config.addresses)):
        if config.size <= count:
            chosen.append(config)
            count -= config.size
    return _shrink(ledger, view, chosen) if chosen else None


def _is_free(config: IPConfiguration, free: Mapping[IPv4Address, Slot]) -> bool:
    return all(address in free and free[address].config == config.name for address in config.addresses)


def _shrink(ledger: Ledger, view: NicView, configs: Sequence[IPConfiguration], **reason: str) -> Shrink:
    addresses = tuple(address for config in configs for address in config.addresses)
    slots = [slot for address in addresses if (slot := ledger.find(address)) is not None]
    names = [config.name for config in configs] + [config.name for config in singles_of(view.ipv6, slots)]
    return Shrink(tuple(names), addresses, **reason)


def failed(ledger: Ledger, view: NicView) -> Shrink | None:
    """Our configurations that Azure has finished and that never became usable: they only take up room."""
    found = [config for config in unusable(ledger, view) if config.removable]
    return _shrink(ledger, view, found, reason="Azure failed to make them work") if found else None


def unusable(ledger: Ledger, view: NicView) -> list[IPConfiguration]:
    """What never worked since it came. Others' may not be removed here: those are on the NIC for nothing, and what pods
    need is needed beside them.
    """
    return [
        config
        for config in view.secondaries
        if not config.ready and not config.attached and all(_is_programming(ledger, one) for one in config.addresses)
    ]


def _is_programming(ledger: Ledger, address: IPv4Address) -> bool:
    slot = ledger.find(address)
    return slot is not None and slot.state is State.PROGRAMMING
