"""Which of upstream's specs for the network the box carries out, and why not the others."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

SCTP: Final = Path("/proc/net/sctp")
"""There where the kernel has that protocol."""
WITHOUT_SCTP: Final = r"SCTP"
WITHOUT_IPV6: Final = r"\[Feature:IPv6DualStack\]"

NEVER: Final = (
    (r"Netpol|NetworkPolicy", "need an engine, with which `e2e/box policy` runs them"),
    (r"\[(Serial|Disruptive)\]", "want the cluster for themselves"),
    (r"\[Slow\]", "take minutes each"),
    (r"\[Provider:", "are for another cloud"),
    (r"\[Feature:(?!IPv6DualStack\])", "need a feature that a cluster may lack"),
    (r"\[FeatureGate:", "need a feature that is off"),
)
"""Regular expression of a name, and why specs of such a name are left out; the first that fits says it."""


def choose(names: Sequence[str], *, dual_stack: bool, sctp: bool | None = None) -> tuple[list[str], dict[str, int]]:
    """The names to carry out, and how many are left out, by reason."""
    chosen, left_out = list[str](), dict[str, int]()
    reasons = reasons_of(dual_stack=dual_stack, sctp=SCTP.exists() if sctp is None else sctp)
    for name in names:
        why = next((why for pattern, why in reasons if re.search(pattern, name)), "")
        if why:
            left_out[why] = left_out.get(why, 0) + 1
        else:
            chosen.append(name)
    return chosen, left_out


def reasons_of(*, dual_stack: bool, sctp: bool) -> list[tuple[str, str]]:
    """NEVER, and what this kernel and this box lack."""
    here = [] if sctp else [(WITHOUT_SCTP, "need SCTP, which this kernel has not")]
    here += [] if dual_stack else [(WITHOUT_IPV6, "need a box of both families: `e2e/box up --dual-stack`")]
    return [*here, *NEVER]
