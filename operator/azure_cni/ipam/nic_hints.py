"""Whether what the metadata service shows of a NIC is a reason to read the NIC now. Pure.

The metadata service costs no call of the resource manager, so it can be asked every few seconds. But how soon it shows
a change is not documented, and nothing that a node does may depend on it: it is a hint, and the next reading of the NIC
says whether it was right. What counts is a *change* of what it shows that the NIC, as last read, does not explain: so a
service that lags behind our own writes gives no hint, nor does one that never shows some address.

A hint that turns out false is followed by a pause, which doubles with each: a service that wavers costs few readings.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from azure_cni.model.nic import Address, NicView

FALSE_PAUSE_S: Final = 30.0
LONGEST_PAUSE_S: Final = 600.0
"""After many false hints: as often as the NIC is read anyway (`node.node_settings.Timing`)."""
FORGOTTEN_S: Final = 3600.0
"""So long after its pause a false hint counts no more."""


@dataclass(frozen=True, slots=True)
class Hint:
    """Given at `at_s` (boot time), when the service showed `shown` and the NIC, as last read, held `held`."""

    at_s: float
    shown: frozenset[Address]
    held: frozenset[Address]


@dataclass(frozen=True, slots=True)
class HintState:
    """What is remembered between two looks. `shown`: what later looks are compared with; None before the first.

    `given`: the hint that no reading has judged yet. `false`: how many in a row were.
    """

    shown: frozenset[Address] | None = None
    given: Hint | None = None
    false: int = 0
    quiet_until_s: float = float("-inf")


def held_addresses(view: NicView) -> frozenset[Address]:
    """All that the service could show of this NIC: the primary address and what no pod gets, too."""
    others = frozenset(config.address for config in view.excluded if config.address is not None)
    primary = frozenset(view.primary.addresses)
    return view.addresses | others | primary


def weighed(state: HintState, shown: frozenset[Address], held: frozenset[Address], *, now_s: float) -> HintState:
    """After a look at the service, with a hint if there is reason for one. `held`: the NIC as last read.

    The first look is compared with that reading. While a hint is not judged, or in the pause after a false one, nothing
    is weighed, and so nothing is lost: the next look that counts is compared with the last one that did.
    """
    if state.given is not None or now_s < state.quiet_until_s:
        return state
    before = held if state.shown is None else state.shown
    if (before - shown) & held or (shown - before) - held:
        return replace(state, given=Hint(now_s, shown, held))
    return replace(state, shown=shown)


def judged(state: HintState, held: frozenset[Address], *, now_s: float) -> HintState:
    """After a reading of the NIC that began after the hint: it was true if the reading shows another NIC."""
    hint = state.given
    if hint is None:
        return state
    if held != hint.held:
        return HintState(hint.shown)
    false = 1 if now_s > state.quiet_until_s + FORGOTTEN_S else state.false + 1
    pause_s = min(FALSE_PAUSE_S * 2.0 ** min(false - 1, 16), LONGEST_PAUSE_S)
    return HintState(hint.shown, false=false, quiet_until_s=now_s + pause_s)


def withdrawn(state: HintState) -> HintState:
    """The NIC was read since, by a reading that may have begun before the hint: the next look weighs again."""
    return replace(state, given=None)
