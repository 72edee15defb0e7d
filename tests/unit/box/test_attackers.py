"""The attackers of the scenarios: that they do attack, within their bounds, and what is made of the figures."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from random import Random

import pytest
from prometheus_client import CollectorRegistry

from azure_cni.entrypoints import web
from azure_cni.entrypoints.web import Bind, Shown, TlsSettings, WebSettings
from azure_cni.faults import Faults
from fakes.waiting import PATIENCE_S, background
from scenarios.harness import attacks, liar
from scenarios.harness.attacker import anybody
from scenarios.harness.attacks import Comparison, Report, Round, Window, percentile
from simulation.ports import free_ports

OUTSIDE = "127.0.0.3"
ENOUGH = 8
LIMIT_S = 600
"""It reaches the port often enough long before: an attacker has the lowest priority, and the machine may be busy."""
BY_TLS = ("unfinished", "handshakes", "records")
TRUTH = {"requestID": 7, "nicID": "/nics/n", "vnetID": "/vnets/v"}


@contextlib.asynccontextmanager
async def open_port(tls: TlsSettings | None = None) -> AsyncIterator[int]:
    """A metrics port as agents have it."""
    (port,) = free_ports(1, addresses=(web.LOOPBACK, OUTSIDE))
    settings = WebSettings(port=port, bind=Bind.NODE, node_address=OUTSIDE, tls=tls)
    shown = Shown(registry=CollectorRegistry(), healthy=lambda: "", ready=lambda: "")
    async with background(web.serve(settings, shown, faults=Faults(lambda _: None))):
        while not await healthy(port, OUTSIDE, tls=tls is not None):  # noqa: ASYNC110  # another process makes it
            await asyncio.sleep(0.05)
        yield port


async def attack(limit: str, *words: str) -> Report:
    """One attacker's report."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(attacks.ATTACKER), limit, *words, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    return Report(**json.loads(output))


async def healthy(port: int, address: str = web.LOOPBACK, *, tls: bool = False) -> bool:
    async with asyncio.timeout(PATIENCE_S):
        try:
            reader, writer = await asyncio.open_connection(address, port, ssl=anybody() if tls else None)
        except OSError:
            return False
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = await reader.read()
        writer.close()
        return answer.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("kind", ["heads", "idle", "slow", "quick", "garbage", "connect", *BY_TLS])
async def test_each_attack_reaches_the_port_and_the_probe_is_answered_meanwhile(kind: str) -> None:
    async with open_port(TlsSettings() if kind in BY_TLS else None) as port:
        attacking = asyncio.create_task(attack(f"{LIMIT_S}:{ENOUGH}", kind, OUTSIDE, str(port)))
        while not attacking.done():
            assert await healthy(port)
            await asyncio.sleep(0.1)
    report = attacking.result()
    assert report.tries >= report.opened >= ENOUGH, f"it did not reach the port often enough in {LIMIT_S} s: {report}"
    assert report.answers > 0 or kind not in {"quick", "handshakes"}


async def test_an_attack_ends_with_its_time() -> None:
    async with open_port() as port:
        report = await attack("0.2", "idle", OUTSIDE, str(port))
    assert report.answers == 0


async def test_what_it_cannot_do_it_says() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(attacks.ATTACKER), "1", "nothing", stderr=asyncio.subprocess.PIPE
    )
    _, error = await process.communicate()
    assert (process.returncode, b"cannot do ['1', 'nothing']" in error) == (1, True)


@pytest.mark.parametrize("kind", liar.KINDS)
def test_each_lie_is_another_one_or_a_later_one(kind: str) -> None:
    lies = [liar.lie(kind, number, TRUTH) for number in (1, 2)]
    assert lies[0] != lies[1]
    assert liar.lie("all", liar.KINDS.index(kind), TRUTH).keys() == lies[0].keys()


def test_a_percentile_is_one_of_the_measured_values() -> None:
    assert [percentile([3.0, 1.0, 2.0], share) for share in (0.0, 0.5, 0.99)] == [1.0, 2.0, 3.0]
    assert percentile([], 0.5) == float("inf")


def window(adds: Sequence[float], memory: float) -> Window:
    return Window(adds=adds, refused=[], probes=[1.0], unanswered=[], memory={"agent": memory})


def test_an_attack_is_held_against_all_quiet_windows() -> None:
    rounds = [
        Round(window([1.0, 2.0], 95.0), window([4.0], 100.0)),
        Round(window([3.0], 90.0), window([6.0], 98.0)),
    ]
    compared = Comparison("x", rounds, [Report(5, 4, {}), Report(9, 1, {}, opened=7)])
    assert compared.growth_mib() == {"agent": 10.0}
    assert (compared.ratio(), compared.ratio(0.5)) == (2.0, 2.0)
    low, high = compared.interval()
    assert low <= compared.slow_ratio() <= high
    assert compared.line() == (
        f"x: ADD p50 2.0 to 4.0 ms (x 2.00), p99 3.0 to 6.0 ms (x 2.00), the slowest x 2.00 ({low:.2f} to {high:.2f}), "
        "of 3 and 2; probes 1 to 1 ms, the slowest 1 to 1 ms, agent 90 to 100 MiB; 5 tries, 4 answered; "
        "9 tries, 7 connected, 1 answered"
    )
    assert compared.document()["ratio"] == 2.0


def test_what_is_measured_beside_is_compared_by_its_mean() -> None:
    def beside(*times: float) -> Window:
        return Window([1.0], [], [], [], {}, also=times)

    rounds = [Round(beside(1.0, 1.2), beside(1.3)), Round(beside(0.8), beside(1.5, 1.4)), Round(beside(1.0), beside())]
    compared = Comparison("x", rounds)
    assert compared.also_ratio() == pytest.approx(1.4)
    low, high = compared.also_interval()
    assert 1.0 < low < 1.4 < high
    assert compared.also_interval() == (low, high)


def spread(chance: Random, *, count: int, tail: float) -> list[float]:
    """Times as a busy machine shows them: most near 10 ms, one in fifty up to `tail` times as long."""
    return [chance.uniform(8, 14) * (chance.uniform(1, tail) if chance.random() < 0.02 else 1) for _ in range(count)]


def test_what_the_machine_does_is_no_fault_of_an_attack_and_an_attack_that_shows_is() -> None:
    """Of 40 harmless ones, some with p99 of twice as long, none is judged a fault; what takes five times as long is."""
    chance = Random(4)

    def of(factor: float) -> Comparison:
        def one(times: float) -> Window:
            return window([times * took for took in spread(chance, count=150, tail=6)], 90.0)

        return Comparison("x", [Round(one(1.0), one(factor)) for _ in range(2)])

    harmless = [of(1.1) for _ in range(40)]
    assert max(compared.ratio() for compared in harmless) > 2.0
    assert [compared.faults() for compared in harmless if compared.faults()] == []
    harmful = [of(5.0).faults() for _ in range(5)]
    assert all("the slowest ADDs took" in fault for faults in harmful for fault in faults)
    assert all(harmful)


def test_what_an_attack_may_not_do_is_named() -> None:
    quiet, attacked = window([1.0] * 100, 90.0), window([1.0] * 100, 130.0)
    attacked = replace(attacked, refused=["ADD: no"], unanswered=["port 1: silent"])
    assert Comparison("x", [Round(quiet, attacked)], [Report(0, 0, {})]).faults() == [
        "the plugin refused: ADD: no",
        "a probe was not answered: port 1: silent",
        "the agent took 40 MiB more",
        "an attacker did nothing",
    ]
    assert Comparison("x", [Round(window([1.0], 1.0), window([1.0], 1.0))]).faults() == ["only 1 ADDs"]
