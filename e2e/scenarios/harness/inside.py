"""What runs inside a test pod, given to its python3 as text: standard library only.

ask TARGET...       one request to each HOST:PORT/PATH (an IPv6 address in brackets), where NAME@ before the host is the
                    name that it is asked for; prints {target: body, or "!" and why not} as JSON
meet TIMES TARGET   that many connections to the test server at HOST:PORT; prints a list of [its host name, as whom it
                    saw us], or of ["", why nobody answered]
resolve NAME...     prints {name: its IPv4 addresses, or "!" and why it has none}
stream HOST FILE    goes to the background; every 0.1 s a TCP and a UDP request to the test server at HOST, until
                    FILE.stop is there; leaves in FILE {"sent": rounds, "lost": [what and why], "seen": [addresses
                    as which the server saw us]}
"""

import http.client
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

PERIOD_S = 0.1
CONNECT_S = 2.0
"""The kernels do this alone, at once. They send a lost segment again: a longer wait would hide the loss."""
ANSWER_S = 30.0
"""What is lost never comes; what a server says that waits for a processor does."""
LONGEST_S = 300.0
HTTP_PORT, UDP_PORT = 8080, 8081


def get(target: str) -> str:
    """The body of http://TARGET."""
    place, _, path = target.partition("/")
    name, _, place = place.rpartition("@")
    host, _, port = place.removeprefix("[").partition("]:" if place.startswith("[") else ":")
    with socket.create_connection((host, int(port or 80)), timeout=CONNECT_S) as connection:
        connection.settimeout(ANSWER_S)
        connection.sendall(f"GET /{path} HTTP/1.0\r\nHost: {name or host}\r\n\r\n".encode())
        reply = b""
        while piece := connection.recv(65536):
            reply += piece
    head, _, body = reply.partition(b"\r\n\r\n")
    if head.split(b" ", 2)[1:2] != [b"200"]:
        raise OSError(f"it answers {reply[:80]!r}")
    return body.decode().strip()


def caller(answer: str) -> str:
    """The address of ADDRESS:PORT, or [ADDRESS]:PORT."""
    return answer.rpartition(":")[0].strip("[]")


def over_tcp(host: str) -> str:
    """Whom the test server sees calling, as ADDRESS:PORT, on a new connection."""
    return get(f"{f'[{host}]' if ':' in host else host}:{HTTP_PORT}/clientip")


def over_udp(host: str) -> str:
    """The same by UDP."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as connection:
        connection.settimeout(ANSWER_S)
        connection.connect((host, UDP_PORT))
        connection.send(b"clientip")
        return connection.recv(1024).decode().strip()


def ask(targets: Sequence[str]) -> dict[str, str]:
    answers = {}
    for target in targets:
        try:
            answers[target] = get(target)
        except OSError as error:
            answers[target] = f"!{error}"
    return answers


def meet(times: int, target: str) -> list[tuple[str, str]]:
    meetings = []
    for _ in range(times):
        try:
            meetings.append(one_meeting(target))
        except (OSError, http.client.HTTPException) as error:
            meetings.append(("", str(error) or type(error).__name__))
    return meetings


def one_meeting(target: str) -> tuple[str, str]:
    """Two questions on one connection, so that one server answers both."""
    connection = http.client.HTTPConnection(target, timeout=CONNECT_S)
    connection.connect()
    connection.sock.settimeout(ANSWER_S)
    connection.auto_open = 0
    try:
        answers = []
        for path in ("/hostname", "/clientip"):
            connection.request("GET", path)
            answers.append(connection.getresponse().read().decode().strip())
    finally:
        connection.close()
    return answers[0], caller(answers[1])


def resolve(names: Sequence[str]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name in names:
        try:
            infos = socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)
            found[name] = sorted({str(info[4][0]) for info in infos})
        except OSError as error:
            found[name] = f"!{error}"
    return found


def stream(host: str, stop: Path) -> dict[str, object]:
    ways: tuple[Callable[[str], str], ...] = (over_tcp, over_udp)
    rounds, lost, seen = 0, [], set()
    began = due = time.monotonic()
    while not stop.exists() and due < began + LONGEST_S:
        for way in ways:
            try:
                seen.add(caller(way(host)))
            except OSError as error:
                lost.append(f"{way.__name__}, round {rounds}: {error}")
        rounds += 1
        due += PERIOD_S
        time.sleep(max(0.0, due - time.monotonic()))
    return {"sent": rounds, "lost": lost, "seen": sorted(seen)}


def in_background(host: str, file: Path) -> None:
    """Stream in a process that outlives the caller."""
    if os.fork():
        return
    os.setsid()
    silence = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(silence, number)
    result = stream(host, file.with_name(f"{file.name}.stop"))
    partial = file.with_name(f"{file.name}.partial")
    partial.write_text(json.dumps(result))
    partial.replace(file)


def main() -> None:
    match sys.argv[1:]:
        case ["ask", *targets]:
            print(json.dumps(ask(targets)))
        case ["meet", times, target]:
            print(json.dumps(meet(int(times), target)))
        case ["resolve", *names]:
            print(json.dumps(resolve(names)))
        case ["stream", host, file]:
            in_background(host, Path(file))
        case words:
            sys.exit(f"cannot do {words}: see the module's docstring")


if __name__ == "__main__":
    main()
