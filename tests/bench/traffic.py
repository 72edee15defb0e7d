"""Both ends of the traffic that `bench.speed` measures. Each is a process in a network namespace, without imports from
this project, so that it starts in a moment:

    python traffic.py serve ADDRESS               prints "ready", and answers at three ports until it is ended
    python traffic.py KIND ADDRESS SECONDS        prints one figure or several as JSON

`stream` sends as much as goes through in that time and says how many bits a second the other end has read; `requests`
sends one byte after another, each when the one before has come back, and says how long that took (us); `connections`
opens connections, each with a byte there and a byte back, and says how many a second. They end with a reset: closed in
peace, each would keep its port for a minute.

Both ends of `requests` and `connections` share a CPU, and those of `stream` have two where there are: left to the
kernel, they share one in some rounds and not in others, and that makes more difference than any network.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable

STREAM, REQUESTS, CONNECTIONS = 5201, 5202, 5203
PATIENCE_S = 30.0
"""After which an end that hears nothing gives up."""
_CHUNK = 256 * 1024
_RESET_AT_CLOSE = struct.pack("ii", 1, 0)


def serve(address: str) -> None:
    """Answer at all three ports, one connection at a time at each."""
    answers: dict[int, Callable[[socket.socket], None]] = {STREAM: _read_all, REQUESTS: _echo, CONNECTIONS: _echo}
    threads = []
    for port, answer in answers.items():
        listener = socket.create_server((address, port), backlog=128)
        threads.append(threading.Thread(target=_answer, args=(listener, answer), daemon=True))
    for thread in threads:
        thread.start()
    print("ready", flush=True)
    for thread in threads:
        thread.join()


def _answer(listener: socket.socket, answer: Callable[[socket.socket], None]) -> None:
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cpus) if answer is _read_all else min(cpus)})
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with contextlib.suppress(ConnectionError):  # the caller's way to end
                answer(connection)


def _read_all(connection: socket.socket) -> None:
    """Until the end, and then say so."""
    buffer = bytearray(_CHUNK)
    while connection.recv_into(buffer):
        pass
    connection.sendall(b".")


def _echo(connection: socket.socket) -> None:
    while data := connection.recv(1):
        connection.sendall(data)


def stream(address: str, seconds: float) -> dict[str, float]:
    """Gbit/s, counted until the other end has read the last byte."""
    data, sent = bytes(_CHUNK), 0
    with _connected(address, STREAM) as connection:
        began_s = time.perf_counter()
        while time.perf_counter() - began_s < seconds:
            sent += connection.send(data)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)
        return {"gbit_s": sent * 8 / (time.perf_counter() - began_s) / 1e9}


def requests(address: str, seconds: float) -> dict[str, float]:
    """p50 and p99 in microseconds, each of them one that was measured."""
    took_ns = []
    with _connected(address, REQUESTS) as connection:
        last_ns = time.perf_counter_ns()
        until_ns = last_ns + round(seconds * 1e9)
        while last_ns < until_ns:
            connection.send(b".")
            connection.recv(1)
            now_ns = time.perf_counter_ns()
            took_ns.append(now_ns - last_ns)
            last_ns = now_ns
    took_ns.sort()
    return {
        name: took_ns[round((len(took_ns) - 1) * share)] / 1e3 for name, share in (("p50_us", 0.5), ("p99_us", 0.99))
    }


def connections(address: str, seconds: float) -> dict[str, float]:
    """A second, one after the other."""
    opened, began_s = 0, time.perf_counter()
    while (took_s := time.perf_counter() - began_s) < seconds:
        with _connected(address, CONNECTIONS) as connection:
            connection.send(b".")
            connection.recv(1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
        opened += 1
    return {"connections_s": opened / took_s}


def _connected(address: str, port: int) -> socket.socket:
    """Blocking: a time-out of Python's would add a call of poll to each send and receive."""
    connection = socket.socket()
    wait = struct.pack("ll", int(PATIENCE_S), 0)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, wait)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, wait)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.connect((address, port))
    return connection


if __name__ == "__main__":
    gc.disable()
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    measure = {"stream": stream, "requests": requests, "connections": connections}[sys.argv[1]]
    print(json.dumps(measure(sys.argv[2], float(sys.argv[3]))))
