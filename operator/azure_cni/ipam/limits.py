"""The numbers of the domain, each with its source, and when to retry. Nothing else in the product repeats them."""

from __future__ import annotations

from typing import Final

from azure_cni.errors import LONGEST_RETRY_AFTER_S as LONGEST_RETRY_AFTER_S  # noqa: PLC0414  # a number of the domain too
from azure_cni.model.nic import MAX_ADDRESSES_PER_NODE as MAX_ADDRESSES_PER_NODE  # noqa: PLC0414  # of an object, too

MIN_FREE: Final = 8
MAX_FREE: Final = 24
BATCH: Final = 16
"""Defaults of a pool's spec: eight pods start without waiting for Azure, and one NIC write serves sixteen."""

COOLING_S: Final = 130.0
"""A peer's connection attempt lives 120 s in conntrack (nf_conntrack_tcp_timeout_syn_sent), and ten to spare: until
then a packet for the old holder could still reach the new one."""

COOLING_AT_LIMIT_S: Final = 30.0
"""The same for a node that can hold no more. A TCP peer has by then seen its retransmissions refused; a pod that
starts at some risk is worth more than a pod that does not start."""

SHRINK_DELAY_S: Final = 300.0
"""How long a surplus must last before it is given back, so that a rolling update costs no NIC writes."""

SETTLE_POLL_S: Final = 10.0
"""When to look again at a NIC that Azure is updating: the `Retry-After` of its operations."""

BACKOFF_FIRST_S: Final = 2.0
BACKOFF_MAX_S: Final = 120.0
"""A failed NIC write is tried again after about 2 s, doubling up to 2 min: the network provider allows 1,000 writes
in 5 minutes per subscription and region (Azure documentation, throttling), and hundreds of nodes share them."""

BACKOFF_REPAIR_S: Final = 45.0
"""The same for the repair of a NIC that a write left Failed: with Azure's own seconds it is tried each minute. What
such a NIC shows need not be what works, and some tools replace it by what they know of it (Cluster API for Azure)."""

BACKOFF_REFUSED_S: Final = 900.0
"""The same for a write that Azure refuses as it stands (a lock, a policy, a missing permission): a retry cannot help
before somebody changes something, and each is a whole PUT from the shared budget."""

ATTACH_WRITES_AT_ONCE: Final = 6
ATTACH_WRITE_S: Final = 10.0
"""How often a node writes its NIC for what pods attach: so many writes at once, then one in this time. A rollout
of a few pods waits for Azure alone; annotations that change without end leave the node 24 of the 30 grants that the
controller gives it in a minute (`quota.write_budget.MOST_ANSWERS`)."""


def delay_s(attempt: int, *, retry_after_s: float | None, jitter: float, longest_s: float = BACKOFF_MAX_S) -> float:
    """Seconds to wait after the `attempt`-th failure in a row (from 1); `jitter` is a random number in [0, 1).

    Without `retry_after_s` it is never more than `longest_s`. With it the wait begins only there: whoever comes earlier
    is refused again, and a thousand nodes that got the same Retry-After each add their own jitter.
    """
    if attempt < 1:
        raise ValueError(f"attempts count from 1, not {attempt}")
    doublings = min(attempt - 1, 16)  # far past the cap; keeps the power small
    step_s = min(BACKOFF_FIRST_S * 2.0**doublings, longest_s)
    if retry_after_s is None:
        return step_s * (1 + jitter) / 2
    return max(retry_after_s, 0.0) + step_s * jitter
