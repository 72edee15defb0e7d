"""2,000 connections at once to the agent's socket: malformed, oversized, slow, half closed, silent. Each ends."""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from random import Random
from typing import Final

from fakes.waiting import PATIENCE_S, until
from property.odd_bytes import changed_text

MANY: Final = 2000
MOST_MIB: Final = 200
AT_MOST_S: Final = 5 * PATIENCE_S
"""For all of them, on a machine that is busy with other things: only a hang takes longer."""
CONFIG: Final = {"cniVersion": "1.1.0", "name": "azure-cni", "type": "azure-cni"}
BODY: Final = json.dumps({"containerID": "c1", "ifname": "eth0", "netns": "/run/netns/c1", "config": CONFIG}).encode()


def request(verb: str, body: bytes, *, said: int | None = None) -> bytes:
    length = len(body) if said is None else said
    return f"POST /cni/v1/{verb} HTTP/1.1\r\nHost: azure-cni\r\nContent-Length: {length}\r\n\r\n".encode() + body


CHUNKED: Final = b"POST /cni/v1/add HTTP/1.1\r\nHost: azure-cni\r\nTransfer-Encoding: chunked\r\n\r\n"
KINDS: Final[dict[str, Callable[[Random], bytes]]] = {
    "good": lambda _: request("status", BODY),
    "malformed": lambda random: changed_text(request("add", BODY), random),
    "no JSON": lambda random: request("del", random.randbytes(random.randrange(2000))),
    "another protocol": lambda random: random.choice(
        (b"SSH-2.0-x\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01")
    ),
    "oversized": lambda _: request("add", b"x" * (1 << 20)),
    "oversized GC": lambda _: request("gc", b"[" * (5 << 20)),
    "a head without end": lambda _: b"POST /cni/v1/add HTTP/1.1\r\n" + b"X: y\r\n" * 20_000,
    "a body that does not come": lambda _: request("add", b"{", said=60_000),
    "bad chunks": lambda random: (
        CHUNKED + random.choice((b"none\r\n", b"5\r\n{", b"-1\r\n{}\r\n", b"ffffffffffffffffff\r\n"))
    ),
    "another encoding": lambda _: request("add", b"\x1f\x8b" + b"x" * 40).replace(
        b"Host", b"Content-Encoding: gzip\r\nHost"
    ),
    "half a head": lambda _: b"POST /cni/v1/add HT",
    "nothing": lambda _: b"",
}


@contextmanager
def many_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 2 * MANY + 512), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@asynccontextmanager
async def served(directory: Path) -> AsyncIterator[tuple[Path, int, Path]]:
    """The socket, the process, and its log."""
    path, log = directory / "cni.sock", directory / "log"
    with log.open("wb") as into:
        process = subprocess.Popen(  # noqa: ASYNC220 - returns at once
            [sys.executable, "-m", "property.cni_process", str(path)],
            env=os.environ | {"PYTHONPATH": ":".join(sys.path)},
            stdout=into,
            stderr=into,
        )
        try:
            await until(path.exists, within_s=PATIENCE_S, say=log.read_text)
            yield path, process.pid, log
        finally:
            process.kill()
            process.wait()


async def connected(path: Path) -> socket.socket:
    """A unix socket whose queue is full refuses at once; a runtime tries again, and so does this."""
    while True:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.setblocking(False)
        try:
            connection.connect(str(path))
        except BlockingIOError:
            connection.close()
            await asyncio.sleep(0.02)
        else:
            return connection


async def exchanged(path: Path, content: bytes, *, slow: bool, half_closed: bool) -> bytes:
    """What came back until the server closed the connection."""
    loop = asyncio.get_running_loop()
    with await connected(path) as connection:
        try:
            pieces = [content[at : at + 40] for at in range(0, len(content), 40)] if slow else [content]
            for piece in pieces:
                await loop.sock_sendall(connection, piece)
                await asyncio.sleep(0.001 if slow else 0)
            if half_closed:
                connection.shutdown(socket.SHUT_WR)
        except OSError:  # it has heard enough
            pass
        answer = bytearray()
        try:
            while piece := await loop.sock_recv(connection, 65536):
                answer += piece
        except ConnectionResetError:  # it had not read all
            pass
        return bytes(answer)


def judge(kind: str, answer: bytes) -> str:
    """The status of an answer that is whole and CNI's own, or of the HTTP library; or that there was none."""
    if not answer:
        return "no answer"
    head, _, body = answer.partition(b"\r\n\r\n")
    status = re.match(rb"HTTP/\d\.\d (\d{3}) ", head)
    assert status, (kind, answer[:200])
    assert b"Traceback" not in answer
    if b"application/json" in head and status[1] != b"200":
        assert json.loads(body)["code"], (kind, body)
    return status[1].decode()


def peak_mib(process: int) -> int:
    found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process}/status").read_text())
    assert found
    return int(found[1]) >> 10


async def test_two_thousand_at_once_end_and_the_next_is_served(tmp_path: Path) -> None:
    random, ends = Random(1), Counter[str]()

    async def one(number: int) -> None:
        kind = list(KINDS)[number % len(KINDS)]
        content = KINDS[kind](Random(f"1/{number}"))
        slow = len(content) < 5000 and random.random() < 0.3
        answer = await exchanged(path, content, slow=slow, half_closed=random.random() < 0.3)
        ends[f"{kind}: {judge(kind, answer)}"] += 1

    with many_descriptors():
        async with served(tmp_path) as (path, process, log):
            before_mib = peak_mib(process)
            async with asyncio.timeout(AT_MOST_S), asyncio.TaskGroup() as group:
                for number in range(MANY):
                    group.create_task(one(number))
            grown = peak_mib(process) - before_mib
            async with asyncio.timeout(PATIENCE_S):
                after = await exchanged(path, request("status", BODY), slow=False, half_closed=False)
            said = log.read_text()
    assert ends.total() == MANY
    assert after.startswith(b"HTTP/1.1 200")
    assert grown < MOST_MIB
    assert "Traceback" not in said, said[-2000:]
    print(f"\n  {MANY} connections at once, {grown} MiB more: {dict(sorted(ends.items()))}")
