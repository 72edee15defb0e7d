"""Whether what the metadata service shows of a NIC is a reason to read the NIC now. Pure.

The metadata service costs no call of the resource manager, so it can be asked every few seconds. But how soon it shows
a change is not documented, and nothing that a node does may depend on it: it is a hint, and the next reading of the NIC
says whether it was right. What counts is an address on which service and NIC, as last read, differ. It counts at once
if the service is what changed; if the NIC is, by a write of ours for example, the service has a while to follow. What a
reading disproved does not count again before the two have agreed on it.

A hint that turns out false is followed by a pause, which doubles with each: a service that wavers costs few readings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from types import MappingProxyType
from typing import Final

from azure_cni.model.nic import NicView

LAG_S: Final = 20.0
"""How long the service may take to show what has become of the NIC."""
FALSE_PAUSE_S: Final = 30.0
LONGEST_PAUSE_S: Final = 600.0
"""After many false hints: as often as the NIC is read anyway (`node.node_settings.Timing`)."""
FORGOTTEN_S: Final = 3600.0
"""So long after its pause a false hint counts no more."""


@dataclass(frozen=True, slots=True)
class Hint:
    """Given at `at_s` (boot time), when the service showed `shown` and the NIC, as last read, held `held`."""

    at_s: float
    shown: frozenset[IPv4Address]
    held: frozenset[IPv4Address]


@dataclass(frozen=True, slots=True)
class HintState:
    """What is remembered between two looks. `held`: the NIC as it was read before the last one; None before the first.

    `differ`: the addresses on which service and NIC differed then, and the boot time from which that counts. `excused`:
    those of them that a reading disproved. `given`: the hint that no reading has judged yet. `false`: how many in a row
    were.
    """

    held: frozenset[IPv4Address] | None = None
    differ: Mapping[IPv4Address, float] = field(default_factory=lambda: MappingProxyType({}))
    excused: frozenset[IPv4Address] = frozenset()
    given: Hint | None = None
    false: int = 0
    quiet_until_s: float = float("-inf")


def held_addresses(view: NicView) -> frozenset[IPv4Address]:
    """All that the service could show of this NIC: the primary address and what no pod gets, too."""
    others = frozenset(address for config in view.excluded for address in config.addresses)
    primary = frozenset(view.primary.addresses)
    return view.addresses | others | primary


def weighed(
    state: HintState, shown: frozenset[IPv4Address], held: frozenset[IPv4Address], *, now_s: float
) -> HintState:
    """After a look at the service, with a hint if there is reason for one. `held`: the NIC as last read.

    There is none while another is not judged, or in the pause after a false one.
    """
    changed = frozenset[IPv4Address]() if state.held is None else held ^ state.held
    differ = {
        address: now_s + LAG_S if address in changed else state.differ.get(address, now_s) for address in shown ^ held
    }
    excused = state.excused & differ.keys() - changed
    counts = any(from_s <= now_s and address not in excused for address, from_s in differ.items())
    given = state.given
    if counts and given is None and now_s >= state.quiet_until_s:
        given = Hint(now_s, shown, held)
    return replace(state, held=held, differ=MappingProxyType(differ), excused=excused, given=given)


def judged(state: HintState, held: frozenset[IPv4Address], *, now_s: float) -> HintState:
    """After a reading of the NIC that began after the hint: it was true if the reading shows another NIC."""
    hint = state.given
    if hint is None:
        return state
    after = replace(state, given=None, excused=hint.shown ^ held)
    if held != hint.held:
        return replace(after, false=0, quiet_until_s=float("-inf"))
    false = 1 if now_s > state.quiet_until_s + FORGOTTEN_S else state.false + 1
    pause_s = min(FALSE_PAUSE_S * 2.0 ** min(false - 1, 16), LONGEST_PAUSE_S)
    return replace(after, false=false, quiet_until_s=now_s + pause_s)


def withdrawn(state: HintState) -> HintState:
    """The NIC was read since, by a reading that may have begun before the hint: the next look weighs again."""
    return replace(state, given=None)
