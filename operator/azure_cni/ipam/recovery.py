"""Addresses that another tool took off the NIC while pods have them: which are asked for again, and when. Pure.

A tool that writes a NIC from its own template leaves out what it does not know, and every pod of the node is dark.
Azure gives a free address to whoever asks for it by name. So the node asks for those of its pods, Static, before
anything else, in one write that Azure takes or refuses as a whole. It is refused where another has one of them by then:
Azure names that one, and the others are asked for at once. Where it does not, halves are.

A block is asked for as a whole, because Azure admits all of it or nothing. Where another has got one address of it by
then, those that pods have are asked for one by one.

An address that another has is asked for again after a pause that grows: Azure counts an address that was just released
as in use for minutes, and what has it may give it up while the pod lives.

Each try is a whole PUT from the budget of all nodes. So after some that Azure refused in a row there is time between
them; and where a tool removes again and again what has just come back, the node rests between its writes, up to the
longest pause of any failed write, and says so.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from types import MappingProxyType
from typing import Final

from azure_cni.ipam.ledger import Ledger, State
from azure_cni.ipam.limits import BACKOFF_MAX_S, BACKOFF_REFUSED_S, delay_s
from azure_cni.model.config_names import is_block_name, is_our_name, name_by, static_name
from azure_cni.model.nic import BLOCK_SIZE, MAX_CONFIGS_PER_NIC, ConfigName, NicView, StaticConfiguration, block_of

UNAVAILABLE: Final = frozenset(
    {
        "PrivateIPAddressIsAllocated",
        "PrivateIPAddressInUse",
        "PrivateIPAddressNotInSubnet",
        "PrivateIPAddressInReservedRange",
    }
)
"""Azure's codes for an address that this NIC cannot have now, whatever else is in the write."""
FIRST_PAUSES: Final = 4
"""How far up the ladder of pauses (`limits.delay_s`) the first one is: some 30 s."""
REFUSALS_AT_ONCE: Final = 6
REFUSED_WRITE_S: Final = 10.0
"""So many writes that Azure refuses are made one after the other, then one in this time: others may have got most of
250 addresses while the agent was away, and each refusal names one of them."""
SOON_S: Final = 120.0
REMOVALS_AT_ONCE: Final = 3
"""What is removed again within SOON_S of a write that added some was not removed by chance; after so many times in a
row the pauses begin. A tool that comes less often than this costs fewer writes than the longest pause allows."""
_ADDRESS: Final = re.compile(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.])")


def lost_addresses(
    ledger: Ledger, view: NicView, *, broken: Collection[IPv4Address] = frozenset()
) -> tuple[StaticConfiguration, ...]:
    """What pods have and the NIC has not, of configurations that this product made: others' are theirs to give.

    Blocks come whole, but for those whose first addresses are in `broken`, or of which the NIC has an address
    elsewhere. And none of several addresses of another configuration, which this product does not make.
    """
    shown = {address for config in view.excluded for address in config.addresses} | view.addresses
    shown |= set(view.primary.addresses)
    names = {config.name for config in view.configs} | {config.name for config in view.excluded}
    partial = {block_of(address) for address in shown} | set(broken)
    known = Counter(slot.config for slot in ledger.slots)
    lost: dict[ConfigName, StaticConfiguration] = {}
    for slot in ledger.slots:
        if slot.state is not State.ASSIGNED or slot.on_nic or slot.address in shown or not is_our_name(slot.config):
            continue
        in_block, first = is_block_name(slot.config), block_of(slot.address)
        if in_block and first not in partial:
            one = StaticConfiguration(static_name(slot.config), first, BLOCK_SIZE)
        elif in_block:
            one = StaticConfiguration(name_by(slot.address), slot.address)
        elif known[slot.config] == 1:
            one = StaticConfiguration(static_name(slot.config), slot.address)
        else:
            continue
        if one.name in lost and lost[one.name] != one:
            one = replace(one, name=name_by(one.address, block=one.size > 1))
        lost[one.name] = one
    return tuple(one for one in lost.values() if one.name not in names)


@dataclass(frozen=True, slots=True)
class Unavailable:
    """An address that Azure refused: in its `words`, `attempts` times in a row; not before `retry_at_s` (boot time)."""

    words: str
    attempts: int
    retry_at_s: float


@dataclass(frozen=True, slots=True)
class Recoveries:
    """What became of earlier writes. `at_once`: how many addresses go in one write, fewer where Azure blames none."""

    unavailable: Mapping[IPv4Address, Unavailable] = field(default_factory=lambda: MappingProxyType({}))
    broken: frozenset[IPv4Address] = frozenset()
    """Blocks, by their first addresses, of which another has one: those of pods are asked for one by one."""
    at_once: int = MAX_CONFIGS_PER_NIC
    refusals: int = 0
    """Writes in a row that Azure refused because of an address."""
    removals: int = 0
    """How often in a row another tool removed addresses soon after a write that added some."""
    added_at_s: float | None = None
    """Boot time of the last such write."""
    rests_until_s: float = 0.0
    """Boot time before which no write is made for lost addresses."""

    def due(self, lost: Sequence[StaticConfiguration], *, now_s: float) -> tuple[StaticConfiguration, ...]:
        """Of these addresses those that Azure has not just refused."""
        resting = {address for address, one in self.unavailable.items() if now_s < one.retry_at_s}
        return tuple(one for one in lost if one.address not in resting)

    def next_write(self, due: Sequence[StaticConfiguration], *, now_s: float) -> tuple[StaticConfiguration, ...]:
        """Of these those that go in one write now."""
        return () if now_s < self.rests_until_s else tuple(due[: self.at_once])

    def after_refusal(
        self, asked: Sequence[StaticConfiguration], words: str, *, now_s: float, jitter: float
    ) -> Recoveries:
        """Azure refused the write of these by a code of UNAVAILABLE. `jitter`: a random number in [0, 1)."""
        named = set(_ADDRESS.findall(words))
        blamed = [one for one in asked if len(asked) == 1 or not named.isdisjoint(map(str, one.addresses))]
        known = replace(
            self,
            refusals=self.refusals + 1,
            broken=self.broken | {one.address for one in blamed if one.size > 1},
        )
        if known.refusals >= REFUSALS_AT_ONCE:
            known = replace(known, rests_until_s=now_s + REFUSED_WRITE_S)
        if not blamed:
            return replace(known, at_once=(len(asked) + 1) // 2)
        found = dict(self.unavailable)
        for address in (one.address for one in blamed if one.size == 1):
            attempts = 1 + (found[address].attempts if address in found else 0)
            pause_s = delay_s(FIRST_PAUSES + attempts, retry_after_s=None, jitter=jitter, longest_s=BACKOFF_REFUSED_S)
            found[address] = Unavailable(words, attempts, now_s + pause_s)
        return replace(known, unavailable=MappingProxyType(found), at_once=MAX_CONFIGS_PER_NIC)

    def after_success(self) -> Recoveries:
        """Azure took a write of lost addresses: the next one may have twice as many."""
        return replace(self, at_once=min(2 * self.at_once, MAX_CONFIGS_PER_NIC), refusals=0)

    def after_adding(self, *, now_s: float) -> Recoveries:
        """Azure took a write that added addresses, lost or new ones."""
        return replace(self, added_at_s=now_s)

    def after_removal(self, *, now_s: float, jitter: float) -> Recoveries:
        """Another tool removed addresses. `jitter`: a random number in [0, 1)."""
        if self.added_at_s is None or now_s - self.added_at_s > SOON_S:
            return replace(self, removals=0)
        known = replace(self, removals=self.removals + 1)
        above = known.removals - REMOVALS_AT_ONCE
        if above <= 0:
            return known
        pause_s = delay_s(FIRST_PAUSES + above, retry_after_s=None, jitter=jitter, longest_s=BACKOFF_MAX_S)
        return replace(known, rests_until_s=now_s + pause_s)

    def rests_after_removals(self, *, now_s: float) -> bool:
        """Another tool removes again and again what is added: nothing is added now that no pod waits for."""
        return self.removals > REMOVALS_AT_ONCE and now_s < self.rests_until_s

    def next_due_s(self, *, after_s: float) -> float | None:
        """Boot time, later than `after_s`, at which a pause ends."""
        due = [self.rests_until_s, *(one.retry_at_s for one in self.unavailable.values())]
        return min((at_s for at_s in due if at_s > after_s), default=None)

    def forget_but(self, lost: Collection[IPv4Address]) -> Recoveries:
        """Only these are still lost."""
        refusals, broken = self.refusals if lost else 0, self.broken & set(map(block_of, lost))
        if self.unavailable.keys() <= set(lost) and (refusals, broken) == (self.refusals, self.broken):
            return self
        kept = {address: one for address, one in self.unavailable.items() if address in lost}
        return replace(self, unavailable=MappingProxyType(kept), refusals=refusals, broken=broken)

    def hurried(self, *, now_s: float) -> Recoveries:
        """All may be asked for now: a person says so, or has changed something."""
        again = {address: replace(one, retry_at_s=now_s) for address, one in self.unavailable.items()}
        unavailable = MappingProxyType(again)
        return replace(self, unavailable=unavailable, broken=frozenset(), refusals=0, removals=0, rests_until_s=now_s)
