"""The audit trail over random lives of a node, against a log that the test itself keeps.

Pods come and go, agents are killed with records that they had not written, nodes reboot, disks are full for a while.
What the trail says surely must be so; who had an address is among those of whom it says anything, or the time is one of
which it says that it does not know.

    PYTHONPATH=operator:tests:e2e .venv/bin/python -m property.test_audit_trail 20 7     # 20 lives, from seed 7
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from random import Random

import pytest

from azure_cni.diagnose.evidence import ClusterEvidence
from azure_cni.diagnose.holders import find_holders, with_history
from azure_cni.errors import AzureCniError, NoAddress
from azure_cni.host.audit_files import DAY_S, AuditLimits, FileAuditStore
from azure_cni.ipam.address_state import Holder, Sandbox, Slot, State
from azure_cni.ipam.audit_records import AuditRecord
from azure_cni.model.nic import ConfigName
from azure_cni.model.text import time_text
from azure_cni.node.audit import AuditTrail
from azure_cni.node.state import Broadcast
from azure_cni.node.stored_ledger import StoredLedger
from fakes.ledger_store import FakeLedgerStore

ADDRESSES = [IPv4Address("10.240.0.16") + offset for offset in range(8)]
EPOCH_S = 1_795_846_766.0


@dataclass
class Clock:
    """Wall and boot time of one node."""

    s: float = 0.0
    booted_s: float = 0.0

    def boottime_s(self) -> float:
        return self.s - self.booted_s

    def utc(self, *, ahead_s: float = 0.0) -> str:
        return time_text(EPOCH_S + self.s + ahead_s)


@dataclass
class Log:
    """What really happened: for each address (pod, begin, end), times of the test's clock."""

    times: dict[IPv4Address, list[tuple[str, float, float]]] = field(default_factory=dict)

    def begin(self, address: IPv4Address, pod: str, at_s: float) -> None:
        self.times.setdefault(address, []).append((pod, at_s, float("inf")))

    def end(self, address: IPv4Address, at_s: float) -> None:
        pod, begin_s, _ = self.times[address][-1]
        self.times[address][-1] = (pod, begin_s, at_s)

    def holder(self, address: IPv4Address, at_s: float) -> str:
        known = self.times.get(address, [])
        return next((pod for pod, begin_s, end_s in known if begin_s <= at_s < end_s), "")


class FullDisk(FileAuditStore):
    """`full`: it takes nothing."""

    full = False

    def append(self, records: list[AuditRecord], *, held: list[AuditRecord], until: str) -> None:  # type: ignore[override]
        if self.full:
            raise AzureCniError("cannot write the audit trail: the disk is full")
        super().append(records, held=held, until=until)


class Life:
    """One node over days."""

    def __init__(self, directory: Path, random: Random) -> None:
        self.random = random
        self.clock = Clock()
        self.log = Log()
        limits = AuditLimits(directory, most_bytes=1 << 24, longest_s=60 * DAY_S)
        self.disk = FullDisk(limits, now_s=lambda: EPOCH_S + self.clock.s)
        self.holders: dict[str, Holder] = {}
        self.made = 0
        self.file = FakeLedgerStore([Slot(one, ConfigName(f"azure-cni-{one}"), State.FREE, 0.0) for one in ADDRESSES])

    async def run(self, steps: int) -> None:
        await self.start()
        for _ in range(steps):
            self.clock.s += self.random.choice((1, 1, 5, 60, 600))
            await self.random.choices(
                (self.add, self.delete, self.write, self.kill, self.reboot, self.change_disk),
                (50, 40, 60, 2, 1, 2),
            )[0]()
        self.disk.full = False
        await self.write()

    async def start(self) -> None:
        self.trail = AuditTrail(self.disk, clock=self.clock, node="vm1")
        self.ledger = StoredLedger(store=self.file, broadcast=Broadcast(), cooling_s=30.0, audit=self.trail)
        await self.trail._begin()

    async def add(self) -> None:
        self.made += 1
        pod = f"pod-{self.made}"
        holder = Holder(Sandbox("azure-cni", pod, "eth0"), f"/run/netns/{pod}", "default", pod, f"uid-{pod}")
        now_s = self.clock.boottime_s()
        self.ledger.commit(self.ledger.ledger.cooled(now_s=now_s))
        try:
            self.ledger.commit(self.ledger.ledger.assign(holder, now_s=now_s, at_limit=False))
        except NoAddress:
            return
        (slot,) = self.ledger.ledger.holding(holder.sandbox)
        self.holders[pod] = holder
        self.log.begin(slot.address, pod, self.clock.s)

    async def delete(self) -> None:
        if not self.holders:
            return
        pod = self.random.choice(sorted(self.holders))
        holder = self.holders.pop(pod)
        (slot,) = self.ledger.ledger.holding(holder.sandbox)
        self.ledger.commit(self.ledger.ledger.unassign(holder.sandbox, now_s=self.clock.boottime_s()))
        self.log.end(slot.address, self.clock.s)

    async def write(self) -> None:
        await self.trail._write()

    async def kill(self) -> None:
        """Nothing is written any more; the next agent comes a while later."""
        self.clock.s += self.random.choice((1, 30, 3600))
        await self.start()

    async def reboot(self) -> None:
        """Every pod ends, the ledger is empty, the NIC has what it had."""
        for pod, holder in self.holders.items():
            (slot,) = self.ledger.ledger.holding(holder.sandbox)
            assert pod
            self.log.end(slot.address, self.clock.s)
        self.holders.clear()
        self.clock.s += 120
        self.clock.booted_s = self.clock.s
        self.file = FakeLedgerStore([Slot(one, ConfigName(f"azure-cni-{one}"), State.FREE, 0.0) for one in ADDRESSES])
        await self.start()

    async def change_disk(self) -> None:
        self.disk.full = not self.disk.full

    async def judge(self, questions: int) -> tuple[int, int]:
        """Ask as a person would; how many answers there were, and how many of them said a name surely."""
        sure = 0
        for _ in range(questions):
            address, at_s = self.random.choice(ADDRESSES), self.random.uniform(0, self.clock.s) // 1
            report = await self.trail.find(address)
            at = time_text(EPOCH_S + at_s)
            found = with_history(find_holders(str(address), ClusterEvidence()), [report], [], at=at)
            assert found.history is not None
            truth, names = self.log.holder(address, at_s), [one.pod for one in found.history.tenures]
            if " was the address of " in found.verdict:
                sure += 1
                assert (
                    found.verdict.partition(" at 2026")[0]
                    == f"{address} was the address of default/{truth} on node vm1"
                )
            elif found.verdict.startswith("no pod had"):
                assert not truth, found
            elif truth and truth not in names:
                assert found.history.unknown, (truth, found)
        return questions, sure


async def live(seed: int, *, steps: int, questions: int) -> tuple[int, int, int]:
    with tempfile.TemporaryDirectory() as directory:
        life = Life(Path(directory), Random(seed))
        await life.run(steps)
        asked, sure = await life.judge(questions)
        return life.made, asked, sure


@pytest.mark.parametrize("seed", range(8))
def test_what_the_trail_says_is_so(seed: int):
    made, asked, sure = asyncio.run(live(seed, steps=400, questions=150))
    assert made > 50
    assert sure > asked // 10


def test_a_thousand_assignments_over_restarts_and_reboots():
    made, asked, sure = asyncio.run(live(99, steps=3500, questions=400))
    assert made > 1000
    assert sure > asked // 10


if __name__ == "__main__":
    lives, first = int(sys.argv[1]), int(sys.argv[2])
    for number in range(first, first + lives):
        print(number, *asyncio.run(live(number, steps=3500, questions=500)))
