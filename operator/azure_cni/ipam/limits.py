"""The numbers of the domain, each with its source. Nothing else in the product repeats them."""

from __future__ import annotations

from typing import Final

from azure_cni.errors import LONGEST_RETRY_AFTER_S as LONGEST_RETRY_AFTER_S  # noqa: PLC0414  # a number of the domain too

MAX_ADDRESSES_PER_NODE: Final = 250
"""Pods per node in Azure's container networking (Azure documentation, container networking overview).

The platform allows 256 private addresses per NIC and per VM, the primary included (`api.nic.MAX_CONFIGS_PER_NIC`);
the difference is left to operators.
"""

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

BACKOFF_REFUSED_S: Final = 900.0
"""The same for a write that Azure refuses as it stands (a lock, a policy, a missing permission): no repeat can help
before somebody has changed something, and each is a whole PUT out of everybody's budget."""
