"""Lives of a Windows node by seeds: verbs that cross, agents that end, HNS that refuses, is away or loses answers.

Whatever happens: an endpoint in a pod's namespace has an address that the ledger holds for this pod, so none is given
to two pods; and once the faults end, ledger and HNS hold the same, each pod that is there can be checked, and after the
last DEL nothing is left.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Final

import pytest

from azure_cni.errors import AzureCniError, DatapathError
from fakehns.service import CALL_FAILED, SERVER_UNAVAILABLE, Call
from fakes.simulated_node import holder
from unit.windows.windows_node import WindowsNode

PODS: Final = [f"p{number}" for number in range(8)]
REFUSED: Final = 0x803B000C  # HCN_E_INVALID_ENDPOINT
LIVES: Final = 15
STEPS: Final = 40


class Life:
    """One agent after another on one HNS."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(f"hns/{seed}")
        self.node = WindowsNode(cooling_s=0.0)  # so that addresses are used again at once
        self.seen: Counter[str] = Counter()
        self.faults = True

    def misbehave(self) -> None:
        """From now on each call may fail before it does anything, or lose its answer after it was carried out."""
        before, after = self.chance.choice(((0.0, 0.0), (0.1, 0.0), (0.0, 0.1), (0.05, 0.05)))
        hns = self.node.hns
        hns.on_call = self._failing(before, (REFUSED, SERVER_UNAVAILABLE))
        hns.after_call = self._failing(after, (CALL_FAILED,))
        hns.away = self.chance.random() < 0.1

    def heal(self) -> None:
        """HNS works again."""
        hns = self.node.hns
        hns.on_call = hns.after_call = lambda _: 0
        hns.away = False

    def _failing(self, share: float, results: tuple[int, ...]) -> Callable[[Call], int]:
        return lambda _: self.chance.choice(results) if self.chance.random() < share else 0

    async def step(self) -> None:
        """Some verbs at once, or something that happens to the node."""
        what = self.chance.choice(("verbs", "verbs", "verbs", "compare", "others"))
        if what == "verbs":
            names = self.chance.sample(PODS, self.chance.randint(1, len(PODS)))
            verbs = [verb for name in names for verb in self.chance.sample((self.add, self.delete), 2)]
            chosen = [*zip(verbs, [name for name in names for _ in range(2)], strict=True)]
            await asyncio.gather(*(verb(name) for verb, name in chosen if self.chance.random() < 0.7))
        elif what == "compare":
            await self.tried("compare", self.node.repair(datapath=self.node.hcn).compare())
        else:
            self.others()
        self.misbehave()

    async def add(self, name: str) -> None:
        await self.tried("add", self.node.add(name))

    async def delete(self, name: str) -> None:
        await self.tried("delete", self.node.delete(name))

    def others(self) -> None:
        """An endpoint is lost, or doubled, or its policies are changed."""
        endpoints = self.node.hns.endpoints()
        if not endpoints:
            return
        one = self.chance.choice(endpoints)
        match self.chance.choice(("forget", "duplicate", "policies")):
            case "forget":
                self.node.hns.forget("Endpoint", one["ID"])
            case "duplicate":
                self.node.hns.duplicate(one["ID"])
            case _:
                one["Policies"] = []

    async def tried(self, what: str, verb: Awaitable[Any]) -> None:
        try:
            await verb
        except AzureCniError:
            self.seen[f"{what} refused"] += 1
        else:
            self.seen[what] += 1

    def require_safe(self) -> None:
        """What is in a namespace is held by the ledger for that very pod."""
        for name, address in self.node.shown.items():
            assert self.node.held.get(name) == address, f"{name} has {address}, and the ledger {self.node.held}"

    async def serve(self) -> None:
        """An agent's time on the node; the next one finds what it left."""
        async with self.node.running():
            self.heal()
            await self.node.serving()
            for _ in range(STEPS // 4):
                await self.step()
                self.require_safe()

    async def settle(self) -> None:
        """The last agent, without faults."""
        async with self.node.running():
            await self.node.serving()
            await self.node.repair(datapath=self.node.hcn).compare()
            for name in PODS:
                wiring = await self.node.add(name)
                await self.node.sandboxes.check(self.node.pod(name), expected=wiring.addresses)
            assert self.node.held == self.node.shown
            assert len(self.node.hns.endpoints()) == len(PODS)
            await asyncio.gather(*(self.node.sandboxes.delete(holder(name).sandbox) for name in PODS))
            assert self.node.held == {}
            assert self.node.hns.endpoints() == []
            assert not any(one["Resources"] for one in self.node.hns.objects["Namespace"].values())


async def test_whatever_happens_no_address_has_two_pods_and_nothing_is_left() -> None:
    seen: Counter[str] = Counter()
    for seed in range(LIVES):
        life = Life(seed)
        try:
            for _ in range(4):
                await life.serve()
                life.node = WindowsNode(before=life.node, cooling_s=0.0)
            life.heal()
            await life.settle()
        except (AssertionError, DatapathError) as error:
            raise AssertionError(f"life {seed}: {error}") from error
        seen += life.seen
    assert min(seen[what] for what in ("add", "add refused", "delete", "delete refused", "compare")) > LIVES


def test_the_lives_find_an_address_that_is_given_away_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were an ADD without an answer treated as a refusal, its address would be another pod's."""
    import azure_cni.node.pods.sandboxes as module

    class Never(Exception):
        """Nothing is one."""

    monkeypatch.setattr(module, "DatapathOutcomeUnknown", Never)
    with pytest.raises(AssertionError, match=r"life \d+: acni"):
        asyncio.run(test_whatever_happens_no_address_has_two_pods_and_nothing_is_left())
