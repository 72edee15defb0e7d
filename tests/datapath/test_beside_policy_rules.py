"""kube-network-policies with its own nftables rules, over our data plane: on kernels that have nftables' queue.

Distributions' kernels have it. Where this machine's has not, `e2e/policy-kernel` runs these tests under one that has.
"""

from __future__ import annotations

import asyncio
import errno
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from datapath.namespaces import IN_EACH_MODE, SILENCE_S, Namespace, caller_of
from datapath.node_site import IMDS, INTERNET, PORT, PRIMARY, SERVICE, TABLE, WIRESERVER, Site, service
from datapath.policy_lab import (
    CLIENT,
    OTHER,
    QUEUE,
    SHUT,
    WEB,
    Engine,
    begin,
    built_engine,
    has_queue,
    nobody_came,
    until,
)

pytestmark = IN_EACH_MODE
TABLE_OF_IT = ("list", "table", "inet", "kube-network-policies")
IN_EACH_WAY = pytest.mark.parametrize("engine", ["", "-fail-open"], indirect=True, ids=["fail closed", "fail open"])


@pytest.fixture(scope="module")
def program() -> Path:
    return built_engine()


@pytest.fixture
def engine(site: Site, program: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Engine]:
    if not has_queue(site.node):
        pytest.skip("this kernel has no queue in nftables (CONFIG_NFT_QUEUE): run e2e/policy-kernel")
    flags = [flag for flag in (getattr(request, "param", ""),) if flag]
    running = Engine(program, site.node, tmp_path, "-own-rules", *flags)
    try:
        running.until(lambda: "queue" in rules(site.node) and sequence(site.node) >= 0)
        yield running
    finally:
        running.kill()


def rules(node: Namespace) -> str:
    """Its table, with priorities in numbers; "" where there is none."""
    try:
        return node.run("nft", "-y", *TABLE_OF_IT)
    except AssertionError:
        return ""


def sequence(node: Namespace) -> int:
    """Of the packets that went through its queue; -1 while nobody reads it."""
    lines = node.run("cat", "/proc/net/netfilter/nfnetlink_queue").splitlines()
    return next((int(line.split()[7]) for line in lines if int(line.split()[0]) == QUEUE), -1)


def drops(node: Namespace, client: Namespace, address: str, port: int = PORT) -> bool:
    """Whether the beginning of a connection ends in the queue: it was sent there, and no answer came."""
    before = sequence(node)
    with begin(client, address, port) as on_its_way:
        until(lambda: sequence(node) > before)
        time.sleep(SILENCE_S)
        return on_its_way.connect_ex((address, port)) == errno.EALREADY


async def test_a_pod_is_reached_by_whom_its_policy_names_and_by_its_node(site: Site, engine: Engine) -> None:
    await site.machine.datapath.apply_node(TABLE)
    web, client, shut, other = [await site.machine.pod(one) for one in (WEB, CLIENT, SHUT, OTHER)]
    with web.listen(WEB, PORT) as listener, web.listen(WEB, PORT + 1) as other_port:
        before = sequence(site.node)
        assert caller_of(listener, client.socket(), (WEB, PORT)) == CLIENT
        assert sequence(site.node) > before, "it was judged"
        assert caller_of(listener, site.node.socket(), (WEB, PORT))
        assert drops(site.node, client, WEB, PORT + 1)
        assert drops(site.node, other, WEB)
        assert drops(site.node, shut, WEB)
        assert nobody_came(other_port)
        assert nobody_came(listener)


async def test_of_a_connection_only_the_first_packets_are_judged(site: Site, engine: Engine) -> None:
    await site.machine.datapath.apply_node(TABLE)
    web, client = [await site.machine.pod(one) for one in (WEB, CLIENT)]
    with web.listen(WEB, PORT) as listener, client.socket() as caller:
        caller.connect((WEB, PORT))
        server, _ = listener.accept()
        with server:
            caller.sendall(b"first")
            assert server.recv(5) == b"first"
            judged = sequence(site.node)
            for _ in range(20):
                caller.sendall(b"more")
                assert server.recv(4) == b"more"
            assert sequence(site.node) == judged


async def test_a_policy_judges_the_pods_own_address_before_it_is_translated(site: Site, engine: Engine) -> None:
    await site.machine.datapath.apply_node(TABLE)
    client, shut = [await site.machine.pod(one) for one in (CLIENT, SHUT)]
    assert site.seen(client, INTERNET) == PRIMARY
    with site.outside.listen(INTERNET, PORT) as listener:
        assert drops(site.node, shut, INTERNET)
        assert nobody_came(listener)


async def test_a_policy_judges_the_server_that_a_service_has_chosen(site: Site, engine: Engine) -> None:
    await site.machine.datapath.apply_node(TABLE)
    web, client, other = [await site.machine.pod(one) for one in (WEB, CLIENT, OTHER)]
    with service(site.node, WEB), web.listen(WEB, PORT) as listener:
        assert caller_of(listener, client.socket(), (SERVICE, PORT)) == CLIENT
        assert drops(site.node, other, SERVICE)
        assert nobody_came(listener)


async def test_questions_to_name_servers_are_judged_before_they_are_translated(site: Site, engine: Engine) -> None:
    """The engine judges them where they come in, not where they leave (its --netfilter-bug-1766-fix)."""
    await site.machine.datapath.apply_node(TABLE)
    client, shut = [await site.machine.pod(one) for one in (CLIENT, SHUT)]
    datagram = socket.SOCK_DGRAM
    with site.outside.socket(datagram) as server, shut.socket(datagram) as no, client.socket(datagram) as yes:
        server.bind((INTERNET, 53))
        before = sequence(site.node)
        no.sendto(b"no", (INTERNET, 53))
        until(lambda: sequence(site.node) > before)
        yes.sendto(b"yes", (INTERNET, 53))
        assert server.recvfrom(10)[0] == b"yes"


@pytest.mark.parametrize("target", [WIRESERVER, IMDS])
async def test_what_a_policy_lets_pass_still_meets_the_guards(site: Site, engine: Engine, target: str) -> None:
    await site.machine.datapath.apply_node(TABLE)
    assert site.refusal(await site.machine.pod(CLIENT), target, 80) == errno.EHOSTUNREACH


@IN_EACH_WAY
async def test_while_it_is_killed_pods_with_policies_are_closed_or_open(
    site: Site, engine: Engine, request: pytest.FixtureRequest
) -> None:
    await site.machine.datapath.apply_node(TABLE)
    web, client, other = [await site.machine.pod(one) for one in (WEB, CLIENT, OTHER)]
    is_open = "open" in request.node.callspec.id
    with web.listen(WEB, PORT) as listener, client.listen(CLIENT, PORT) as without_policy, client.socket() as caller:
        caller.connect((WEB, PORT))
        server, _ = listener.accept()
        with server:
            engine.kill()
            caller.sendall(b"goes on")
            assert server.recv(7) == b"goes on"
        assert caller_of(without_policy, other.socket(), (CLIENT, PORT)) == OTHER
        if is_open:
            assert caller_of(listener, other.socket(), (WEB, PORT)) == OTHER
        else:
            with begin(client, WEB, PORT):
                await asyncio.sleep(SILENCE_S)
                assert nobody_came(listener)


@IN_EACH_WAY
async def test_one_that_was_stopped_lets_everything_pass(
    site: Site, engine: Engine, request: pytest.FixtureRequest
) -> None:
    await site.machine.datapath.apply_node(TABLE)
    web, other = [await site.machine.pod(one) for one in (WEB, OTHER)]
    engine.stop()
    assert bool(rules(site.node)) == ("open" in request.node.callspec.id), "its table stays where it passes packets on"
    with web.listen(WEB, PORT) as listener:
        assert caller_of(listener, other.socket(), (WEB, PORT)) == OTHER


def test_its_chains_have_the_priorities_that_the_order_relies_on(site: Site, engine: Engine) -> None:
    """As `tests/unit/chart/test_network_policy.py` has them, beside ours."""
    found = dict(re.findall(r"hook (\w+) priority (-?\d+)", rules(site.node)))
    assert found == {"postrouting": "95", "input": "101", "prerouting": "-95"}
