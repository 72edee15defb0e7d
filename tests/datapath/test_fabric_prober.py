"""Health probes: where they come from, what they take for success, and when a member goes up and down."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from azurebox.fabric.prober import Prober, succeeds
from azurebox.fabric.topology import WIRESERVER
from datapath.balancer_lab import A_RULE, ALIVE, BACK_PORT, PROBE, balanced, healthy
from datapath.fabric_lab import PATIENCE_S, SECOND_1, SECOND_2, SILENCE_S, Lab
from datapath.namespaces import NEEDS_ROOT
from fakeazure.effective import EffectiveNetwork
from fakeazure.effectivebalancing import HealthProbe

pytestmark = NEEDS_ROOT

QUICK = replace(ALIVE, interval_s=0.1)
HTTP = replace(QUICK, protocol="Http", path="/healthz")


@asynccontextmanager
async def probing(lab: Lab, network: EffectiveNetwork) -> AsyncIterator[tuple[Prober, asyncio.Event]]:
    """A prober at work, which reports each change to the fabric; the event is set at each."""
    event = asyncio.Event()

    def changed() -> None:
        lab.fabric.apply(network, healthy=prober.healthy)
        event.set()

    prober = Prober(lab.fabric.namespace, changed)
    prober.follow(network)
    changed()
    running = asyncio.create_task(prober.run())
    try:
        yield prober, event
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def become(working: tuple[Prober, asyncio.Event], *members: str) -> None:
    prober, event = working
    async with asyncio.timeout(PATIENCE_S):
        while prober.healthy != healthy(*members):
            event.clear()
            await event.wait()


async def served_once(listener: socket.socket, answer: bytes) -> bytes:
    """Answer one request; what was asked."""
    loop = asyncio.get_running_loop()
    listener.setblocking(False)
    connection, _ = await loop.sock_accept(listener)
    with connection:
        connection.setblocking(False)
        asked = await loop.sock_recv(connection, 4096)
        await loop.sock_sendall(connection, answer)
    return asked


async def test_members_go_up_and_down_with_their_server(lab: Lab) -> None:
    network = balanced(lab.network, SECOND_1, SECOND_2, rule=replace(A_RULE, probe=QUICK))
    first = lab.listener(lab.vm1, SECOND_1, BACK_PORT)
    async with probing(lab, network) as working:
        await become(working, SECOND_1)
        lab.listener(lab.vm2, SECOND_2, BACK_PORT)
        await become(working, SECOND_1, SECOND_2)
        accepted, caller = first.accept()
        accepted.close()
        assert caller[0] == str(WIRESERVER)
        first.close()
        await become(working, SECOND_2)
        prober, _ = working
        prober.follow(balanced(lab.network, SECOND_1, rule=replace(A_RULE, probe=QUICK)))
        assert prober.healthy == frozenset()


async def test_no_probe_is_sent_without_a_load_balancer(lab: Lab) -> None:
    listener = lab.listener(lab.vm1, SECOND_1, BACK_PORT)
    listener.settimeout(SILENCE_S)
    async with probing(lab, lab.network):
        await asyncio.sleep(SILENCE_S)
        with pytest.raises(TimeoutError):
            listener.accept()


async def test_a_threshold_is_counted_both_ways(lab: Lab) -> None:
    slow = replace(QUICK, threshold=3)
    network = balanced(lab.network, SECOND_1, rule=replace(A_RULE, probe=slow))
    async with probing(lab, network) as working:
        prober, _ = working
        member = prober._members[(PROBE, IPv4Address(SECOND_1))]
        listener = lab.listener(lab.vm1, SECOND_1, BACK_PORT)
        async with asyncio.timeout(PATIENCE_S):
            while member.in_a_row == 0:
                assert prober.healthy == frozenset()
                await asyncio.sleep(0.02)
        await become(working, SECOND_1)
        listener.close()
        await become(working)


@pytest.mark.parametrize(
    ("answer", "good"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", True),
        (b"HTTP/1.0 204 No Content\r\n\r\n", False),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", False),
        (b"", False),
        (b"200\r\n", False),
    ],
)
async def test_an_http_probe_wants_200(lab: Lab, answer: bytes, *, good: bool) -> None:
    lab.apply()
    listener = lab.listener(lab.vm1, SECOND_1, BACK_PORT)
    asked = asyncio.create_task(served_once(listener, answer))
    patient = replace(HTTP, interval_s=PATIENCE_S)
    assert await succeeds(patient, IPv4Address(SECOND_1), namespace=lab.fabric.namespace) == good
    assert (await asked).startswith(b"GET /healthz HTTP/1.1\r\nHost: 10.240.0.7:8080\r\n")


@pytest.mark.parametrize("probe", [QUICK, HTTP])
async def test_silence_is_failure_in_time(lab: Lab, probe: HealthProbe) -> None:
    lab.apply()
    if probe is HTTP:
        lab.listener(lab.vm1, SECOND_1, BACK_PORT)
    address = IPv4Address(SECOND_1 if probe is HTTP else "10.240.2.77")
    async with asyncio.timeout(PATIENCE_S):
        assert not await succeeds(probe, address, namespace=lab.fabric.namespace)
