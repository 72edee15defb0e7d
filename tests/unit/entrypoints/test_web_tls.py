"""The metrics port with TLS and tokens, over real TLS on loopback: who sees what where, and the bounds."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter

from azure_cni.entrypoints import web
from azure_cni.entrypoints.certificate import self_signed
from azure_cni.entrypoints.listener import Listener
from azure_cni.entrypoints.metrics_auth import MetricsAuth
from azure_cni.entrypoints.port_sockets import bound_socket
from azure_cni.entrypoints.web import Bind, Shown, TlsSettings, WebSettings
from azure_cni.errors import AzureCniError
from azure_cni.faults import Faults
from fakes.reviews import Account, FakeReviews
from fakes.waiting import PATIENCE_S
from unit.entrypoints.web_port import OUTSIDE, open_port

GOOD, NEXT, OTHER = "token.of-prometheus", "token.of-prometheus.next", "token.of-somebody"
PATHS = ("/metrics", "/healthz", "/readyz")
SHARE, REST = 0.02, 0.04
"""Of a processor: for TLS; for all else on the loop, such as accepting connections."""
ATTACKED_S = 3.0


def client() -> ssl.SSLContext:
    """A client that takes any certificate, as `insecure_skip_verify` does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


@contextlib.asynccontextmanager
async def serving(
    monkeypatch: pytest.MonkeyPatch, *, tokens: bool = False, directory: Path | None = None, **changes: float
) -> AsyncIterator[int]:
    """The port as agent and controller open it, with other bounds for strangers; yields its number."""
    registry = CollectorRegistry()
    Counter("azure_cni_things", "Things.", registry=registry)
    reviews = FakeReviews()
    may = {("get", "/metrics")}
    reviews.accounts = {GOOD: Account("prometheus", may), NEXT: Account("prometheus", may), OTHER: Account("somebody")}
    shown = Shown(registry=registry, healthy=lambda: "", ready=lambda: "")
    auth, tls = MetricsAuth(reviews) if tokens else None, TlsSettings(directory)
    async with open_port(monkeypatch, shown, bounds=changes, auth=auth, tls=tls, tokens=tokens) as port:
        if directory is None:
            await until_served(port)
        yield port


async def until_served(port: int) -> None:
    """The certificate is made by a child process, which takes a moment."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with contextlib.suppress(OSError):
                await ask(OUTSIDE, port, "/", within_s=PATIENCE_S)
                return
            await asyncio.sleep(0.02)


async def ask(
    address: str,
    port: int,
    path: str,
    *,
    token: str = "",
    plain: bool = False,
    within_s: float = PATIENCE_S,
    source: str = web.LOOPBACK,
) -> tuple[int, str]:
    """Status and body; (0, "") when the connection is closed without an answer."""
    head = f"GET {path} HTTP/1.1\r\nHost: x\r\n" + (f"Authorization: Bearer {token}\r\n" if token else "")
    async with asyncio.timeout(within_s):
        context = None if plain else client()
        reader, writer = await asyncio.open_connection(address, port, ssl=context, local_addr=(source, 0))
        writer.write(f"{head}\r\n".encode())
        answer = (await reader.read()).decode()
        writer.close()
        status, _, _ = answer.partition("\r\n")
        return int(status.split()[1]) if status else 0, answer.partition("\r\n\r\n")[2]


async def test_with_tls_the_nodes_address_speaks_nothing_else_and_loopback_stays_plain(monkeypatch):
    async with serving(monkeypatch) as port:
        for path in PATHS:
            assert (await ask(OUTSIDE, port, path))[0] == 200
            assert (await ask(web.LOOPBACK, port, path, plain=True))[0] == 200
        assert "azure_cni_things_total 0.0" in (await ask(OUTSIDE, port, "/metrics"))[1]
        assert (await ask(OUTSIDE, port, "/metrics", plain=True))[0] == 0


async def test_with_tokens_metrics_are_at_the_nodes_address_and_nothing_else_is(monkeypatch):
    async with serving(monkeypatch, tokens=True) as port:
        assert [(await ask(OUTSIDE, port, path, token=GOOD))[0] for path in PATHS] == [200, 404, 404]
        assert [(await ask(web.LOOPBACK, port, path, plain=True))[0] for path in PATHS] == [404, 200, 200]


async def test_without_a_token_or_with_one_that_may_not_nothing_is_shown(monkeypatch):
    async with serving(monkeypatch, tokens=True) as port:
        assert await ask(OUTSIDE, port, "/metrics") == (
            401,
            "cannot show metrics: the request has no bearer token\n",
        )
        assert await ask(OUTSIDE, port, "/metrics", token="invented") == (
            401,
            "cannot show metrics: the API server does not accept the bearer token\n",
        )
        status, text = await ask(OUTSIDE, port, "/metrics", token=OTHER)
        assert status == 403
        assert text.startswith("cannot show metrics: somebody may not get /metrics")


async def test_strangers_use_up_their_own_share_of_reviews_and_not_that_of_a_known_address(monkeypatch):
    async with serving(monkeypatch, tokens=True) as port:
        assert (await ask(OUTSIDE, port, "/metrics", token=GOOD))[0] == 200
        answers = [
            (await ask(OUTSIDE, port, "/metrics", token=f"invented-{number}", source="127.0.0.9"))[0]
            for number in range(12)
        ]
        assert set(answers) == {401, 503}
        assert (await ask(OUTSIDE, port, "/metrics", token=NEXT))[0] == 200


async def test_a_401_says_that_it_wants_a_bearer_token(monkeypatch):
    async with serving(monkeypatch, tokens=True) as port:
        reader, writer = await asyncio.open_connection(OUTSIDE, port, ssl=client())
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"WWW-Authenticate: Bearer\r\n" in await reader.read()
        writer.close()


async def test_settings_that_ask_for_tokens_without_who_checks_them_serve_nothing():
    settings = WebSettings(0, Bind.NODE, OUTSIDE, tls=TlsSettings(), tokens=True)
    shown = Shown(registry=CollectorRegistry(), healthy=lambda: "", ready=lambda: "")
    with pytest.raises(AzureCniError, match="do not fit together"):
        await web.serve(settings, shown, faults=Faults(lambda _: None))


async def test_until_the_secret_is_there_only_probes_are_answered(monkeypatch, tmp_path: Path):
    async with serving(monkeypatch, directory=tmp_path) as port:
        with pytest.raises(OSError):  # noqa: PT011  # cut in the middle of the handshake, one way or another
            await ask(OUTSIDE, port, "/metrics")
        assert (await ask(web.LOOPBACK, port, "/healthz", plain=True))[0] == 200


# The bounds of the listener.


async def test_handshakes_that_never_begin_hold_no_more_than_the_places_and_are_cut(monkeypatch):
    async with serving(monkeypatch, head_s=6.0, connections=4) as port:
        held = [await asyncio.open_connection(OUTSIDE, port) for _ in range(4)]
        with pytest.raises(TimeoutError):
            await ask(OUTSIDE, port, "/healthz", within_s=0.2)
        assert (await ask(web.LOOPBACK, port, "/healthz", plain=True))[0] == 200
        async with asyncio.timeout(PATIENCE_S):
            assert [await reader.read() for reader, _ in held] == [b""] * 4
        assert (await ask(OUTSIDE, port, "/healthz"))[0] == 200


async def test_a_handshake_is_part_of_the_heads_time(monkeypatch):
    head_s = 8.0
    async with serving(monkeypatch, head_s=head_s) as port:
        loop = asyncio.get_running_loop()
        reader, writer = await asyncio.open_connection(OUTSIDE, port)
        start_s = loop.time()
        await asyncio.sleep(head_s / 2)
        await writer.start_tls(client())
        shaken_s = loop.time()
        writer.write(b"GET /metrics HTTP/1.1\r\n")
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        assert head_s - 0.1 < loop.time() - start_s
        assert loop.time() - shaken_s < head_s, "the time began again with the end of the handshake"


async def test_a_handshake_of_rubbish_frees_its_place_at_once(monkeypatch):
    async with serving(monkeypatch, head_s=PATIENCE_S, connections=1) as port:
        for rubbish in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"x" * 70_000, b""):
            _, writer = await asyncio.open_connection(OUTSIDE, port)
            writer.write(rubbish)
            writer.write_eof()
            assert (await ask(OUTSIDE, port, "/healthz"))[0] == 200
            writer.close()


async def test_a_caller_that_leaves_in_the_middle_of_a_handshake_frees_its_place(monkeypatch):
    async with serving(monkeypatch, head_s=PATIENCE_S, connections=1) as port:
        for ending in ("close", "abort"):
            _, writer = await asyncio.open_connection(OUTSIDE, port)
            writer.write(b"\x16\x03\x01\x02\x00\x01\x00")  # the beginning of a ClientHello
            await asyncio.sleep(0.05)
            getattr(writer.transport, ending)()
            assert (await ask(OUTSIDE, port, "/healthz"))[0] == 200


@pytest.mark.parametrize("size", [9_000, 800_000])
async def test_a_head_that_is_too_large_is_cut_off_under_tls_too(monkeypatch, size: int):
    async with serving(monkeypatch, head_s=PATIENCE_S) as port:
        reader, writer = await asyncio.open_connection(OUTSIDE, port, ssl=client())
        writer.write(b"GET /metrics HTTP/1.1\r\nA: " + b"y" * size)
        async with asyncio.timeout(PATIENCE_S / 2):  # sooner than the time for a head ends
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                assert await reader.read() == b""


async def test_records_that_bring_next_to_nothing_are_cut_off_by_what_they_take_on_the_wire(monkeypatch):
    """Each is decrypted on the loop that wires pods. The smallest bring one byte of a head, and key updates none."""
    async with serving(monkeypatch, head_s=PATIENCE_S) as port:
        reader, writer = await asyncio.open_connection(OUTSIDE, port, ssl=client())
        with contextlib.suppress(OSError):
            for letter in b"GET /metrics HTTP/1.1\r\nA: " + b"b" * 4_000:
                writer.write(bytes([letter]))
                await writer.drain()
        async with asyncio.timeout(PATIENCE_S / 2):
            with contextlib.suppress(OSError):
                assert await reader.read() == b""
        writer.transport.abort()


async def test_what_follows_a_request_is_not_read_under_tls_either():
    context = await self_signed(web.LOOPBACK)
    listening = bound_socket(web.LOOPBACK, 0)
    faults = Faults(lambda _: None)
    task = asyncio.create_task(Listener(listening, asyncio.Protocol, faults=faults, tls=lambda: context).run())
    assert await asyncio.to_thread(flood, listening.getsockname(), 64 << 20) < 16 << 20
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def flood(address: tuple[str, int], most: int) -> int:
    """Bytes that a server and the kernel take after a request, until they take no more for a second."""
    sent = 0
    with contextlib.suppress(TimeoutError), client().wrap_socket(socket.create_connection(address)) as connection:
        connection.settimeout(1.0)
        connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        while sent < most:
            sent += connection.send(b"x" * 16_384)
    return sent


async def test_connections_are_accepted_at_the_pace_of_plain_ones(monkeypatch):
    async with serving(monkeypatch, pause_s=0.1) as port:
        loop = asyncio.get_running_loop()
        start_s = loop.time()
        statuses = await asyncio.gather(*(ask(OUTSIDE, port, "/healthz") for _ in range(6)))
        assert [status for status, _ in statuses] == [200] * 6
        assert loop.time() - start_s >= 0.5


# What TLS may cost the loop that wires pods.


@pytest.mark.parametrize("kind", ["handshakes", "hellos", "records"])
async def test_what_tls_computes_for_strangers_has_a_share_of_one_processor(monkeypatch, kind: str):
    """Whatever they send, however many connections. Somebody who comes to read metrics has a turn."""
    behave = {"handshakes": shake_hands, "hellos": say_hello, "records": send_small_records}[kind]
    async with serving(monkeypatch, tls_share=SHARE, head_s=PATIENCE_S) as port:
        over = threading.Event()
        strangers = [asyncio.create_task(asyncio.to_thread(attack, behave, port, over)) for _ in range(6)]
        await asyncio.sleep(1)  # what was saved up is spent
        loop = asyncio.get_running_loop()
        spent_s, began_s = time.thread_time(), loop.time()
        status, _ = await ask(OUTSIDE, port, "/healthz", within_s=PATIENCE_S)
        await asyncio.sleep(max(0.0, began_s + ATTACKED_S - loop.time()))
        spent_s, took_s = time.thread_time() - spent_s, loop.time() - began_s
        over.set()
        assert sum(await asyncio.gather(*strangers)) > 0
        assert status == 200
    assert spent_s / took_s < SHARE + REST


def attack(behave: Callable[[ssl.SSLSocket], None], port: int, over: threading.Event) -> int:
    """One connection after the other; returns how many there were."""
    count = 0
    while not over.is_set():
        count += 1
        with contextlib.suppress(OSError), socket.create_connection((OUTSIDE, port), timeout=PATIENCE_S) as plain:
            plain.settimeout(PATIENCE_S)
            behave(client().wrap_socket(plain, do_handshake_on_connect=False))
    return count


def shake_hands(connection: ssl.SSLSocket) -> None:
    connection.do_handshake()


def say_hello(connection: ssl.SSLSocket) -> None:
    """The server answers with its key exchange and a signature, and the caller goes away."""
    connection.settimeout(0.05)
    connection.do_handshake()


def send_small_records(connection: ssl.SSLSocket) -> None:
    connection.do_handshake()
    for letter in b"GET /metrics HTTP/1.1\r\nA: " + b"b" * 4_000:
        connection.send(bytes([letter]))


@pytest.mark.parametrize(
    ("arguments", "words", "said"),
    [
        (["-tls1_3"], "k\n" * 3_000, "KEYUPDATE"),
        (["-tls1_3"], "K\n" * 3_000, "KEYUPDATE"),
        (["-tls1_2"], "R\n", "RENEGOTIATING"),
    ],
    ids=["key updates", "key updates of both", "renegotiation"],
)
async def test_who_asks_for_more_keys_is_cut_off(monkeypatch, arguments: list[str], words: str, said: str):
    """By `openssl`, which every machine with public authorities has: Python's TLS cannot ask for that."""
    async with serving(monkeypatch, head_s=PATIENCE_S) as port:
        asking = await asyncio.create_subprocess_exec(
            *("openssl", "s_client", "-connect", f"{OUTSIDE}:{port}", *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        assert asking.stdin is not None and asking.stdout is not None  # noqa: PT018
        writing = asyncio.create_task(say_slowly(asking.stdin, words))
        async with asyncio.timeout(PATIENCE_S / 2):
            output = await asking.stdout.read()  # it ends when the server does, because its input stays open
        writing.cancel()
        assert said in output.decode()
        assert (await ask(OUTSIDE, port, "/healthz"))[0] == 200


async def say_slowly(stream: asyncio.StreamWriter, words: str) -> None:
    """Line by line: `openssl` takes one command from what it reads at one time. The stream stays open."""
    with contextlib.suppress(OSError):
        for line in words.splitlines(keepends=True):
            stream.write(line.encode())
            await stream.drain()
            await asyncio.sleep(0.001)
    await asyncio.sleep(3600)
