"""Whatever call of an ADD or DEL fails, is the last of its agent, or has no answer: what HNS holds can be settled."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from azure_cni.errors import DatapathError, DatapathOutcomeUnknown
from azure_cni.node.ports import SandboxSpec
from azure_cni.windows.datapath import HcnDatapath
from fakehns.service import CALL_FAILED, SERVER_UNAVAILABLE, Call
from unit.windows.hns_node import TABLE, A, HnsNode, prepared

INVALID_ENDPOINT = 0x803B000C


class Failing:
    """The call of that number (from 0) fails with `result`, and with `lasting` all after it."""

    def __init__(self, number: int, result: int, *, lasting: bool = False) -> None:
        self._numbers = itertools.count()
        self._number, self._result, self._lasting = number, result, lasting
        self.met = False

    def __call__(self, call: Call) -> int:
        here = next(self._numbers)
        hit = here == self._number or (self._lasting and here > self._number)
        self.met |= hit
        return self._result if hit else 0


async def outcome(verb: Callable[[], Awaitable[object]]) -> DatapathError | None:
    try:
        await verb()
    except DatapathError as error:
        return error
    return None


async def settled(node: HnsNode, spec: SandboxSpec) -> None:
    """The next agent, a repeat of the ADD, CHECK and DEL: all is as if nothing had happened."""
    agent: HcnDatapath = node.agent()
    await agent.apply_node(TABLE)
    await agent.attach(spec)
    assert await agent.check(spec) == ()
    assert len(node.endpoints(spec)) == 1
    await agent.detach(spec.sandbox)
    assert node.hns.endpoints() == []
    assert node.hns.objects["Namespace"][spec.netns]["Resources"] == []


STEPS = range(30)
"""More than any verb has."""

Verb = Callable[[HcnDatapath, SandboxSpec], Awaitable[object]]
Ended = tuple[HnsNode, HcnDatapath, SandboxSpec, DatapathError | None]


def add(agent: HcnDatapath, spec: SandboxSpec) -> Awaitable[object]:
    return agent.attach(spec)


def delete(agent: HcnDatapath, spec: SandboxSpec) -> Awaitable[object]:
    return agent.detach(spec.sandbox)


async def at_each_call(
    verb: Verb, result: int, *, lasting: bool = False, answered: bool = True
) -> AsyncIterator[Ended]:
    """How the verb ends when its first call fails, on another node when its second does, and so on to its last one.

    A call that is not `answered` was carried out before it failed. What a DEL ends was added before.
    """
    for number in STEPS:
        async with prepared() as (node, agent):
            spec = node.spec("one", A)
            if verb is delete:
                await agent.attach(spec)
            failing = Failing(number, result, lasting=lasting)
            if answered:
                node.hns.on_call = failing
            else:
                node.hns.after_call = failing
            error = await outcome(lambda: verb(agent, spec))  # noqa: B023
            node.hns.on_call = node.hns.after_call = lambda _: 0
            if not failing.met:
                assert error is None
                return
            yield node, agent, spec, error


@pytest.mark.parametrize("result", [INVALID_ENDPOINT, SERVER_UNAVAILABLE], ids=["refused", "away for a moment"])
async def test_after_an_add_that_fails_at_any_call_nothing_is_left(result: int) -> None:
    tried = 0
    async for node, _, spec, error in at_each_call(add, result):
        tried += 1
        assert type(error) is not DatapathOutcomeUnknown
        assert error is not None
        assert node.endpoints(spec) == []
        await settled(node, spec)
    assert tried == 5


async def test_an_add_whose_undoing_fails_too_says_that_nobody_knows() -> None:
    unknown = 0
    async for node, _, spec, error in at_each_call(add, SERVER_UNAVAILABLE, lasting=True):
        unknown += type(error) is DatapathOutcomeUnknown
        assert type(error) is DatapathOutcomeUnknown or node.endpoints(spec) == []
        await settled(node, spec)
    assert unknown == 3  # to make the endpoint, to read it, and to put it into the namespace


@pytest.mark.parametrize("lasting", [False, True])
async def test_an_add_that_was_carried_out_without_an_answer_is_undone_or_says_that_nobody_knows(
    *, lasting: bool
) -> None:
    """HNS ends in the middle of a call: what it did is there."""
    seen = set()
    async for node, _, spec, error in at_each_call(add, CALL_FAILED, lasting=lasting, answered=False):
        seen.add(type(error))
        assert node.endpoints(spec) == [] or type(error) is DatapathOutcomeUnknown
        await settled(node, spec)
    assert (DatapathOutcomeUnknown in seen) is lasting


@pytest.mark.parametrize(("result", "answered"), [(SERVER_UNAVAILABLE, True), (CALL_FAILED, False)])
async def test_a_del_that_fails_at_any_call_says_so_and_the_next_one_ends_it(result: int, *, answered: bool) -> None:
    tried = 0
    async for node, agent, spec, error in at_each_call(delete, result, answered=answered):
        tried += 1
        assert error is not None
        await agent.detach(spec.sandbox)
        assert node.hns.endpoints() == []
        await settled(node, spec)
    assert tried == 4
