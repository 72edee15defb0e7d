"""Azure's DNS of the box: answers A for the handful of names in a file, NXDOMAIN for all others (RFC 1035).

Usage: nameserver.py FILE, with a bound UDP socket as its standard input. FILE is a JSON object, name → address; it is
read again for each question, so a change counts at once. Standard library only, run on its own.
"""

import json
import socket
import struct
import sys
from pathlib import Path

A, ANY, INTERNET_CLASS = 1, 255, 1
NO_ERROR, FORMAT_ERROR, NO_SUCH_NAME, NOT_IMPLEMENTED = 0, 1, 3, 4
RESPONSE, AUTHORITATIVE, RECURSION_DESIRED, RECURSION_AVAILABLE = 0x8000, 0x0400, 0x0100, 0x0080
OPCODE = 0x7800
TTL_S = 1
HEADER = struct.Struct("!6H")
POINTER_TO_QUESTION = 0xC000 | HEADER.size


def answer(query: bytes, names: dict[str, str]) -> bytes | None:
    """The reply to a query, None when it deserves none (too short, or itself a reply)."""
    if len(query) < HEADER.size:
        return None
    number, flags, *_ = HEADER.unpack_from(query)
    if flags & RESPONSE:
        return None
    code, question, record = _resolve(query, names)
    flags = RESPONSE | AUTHORITATIVE | RECURSION_AVAILABLE | flags & (OPCODE | RECURSION_DESIRED) | code
    return HEADER.pack(number, flags, bool(question), bool(record), 0, 0) + question + record


def _resolve(query: bytes, names: dict[str, str]) -> tuple[int, bytes, bytes]:
    """Response code, the question to repeat, and the record that answers it; either may be empty."""
    _, flags, questions, *_ = HEADER.unpack_from(query)
    if flags & OPCODE:
        return NOT_IMPLEMENTED, b"", b""
    try:
        name, end = _question_name(query)
        kind, klass = struct.unpack_from("!2H", query, end)
    except (struct.error, IndexError, UnicodeDecodeError):
        return FORMAT_ERROR, b"", b""
    if questions != 1:
        return FORMAT_ERROR, b"", b""
    question = query[HEADER.size : end + 4]
    address = names.get(name)
    if address is None:
        return NO_SUCH_NAME, question, b""
    if kind not in {A, ANY} or klass != INTERNET_CLASS:
        return NO_ERROR, question, b""
    record = struct.pack("!HHHIH", POINTER_TO_QUESTION, A, INTERNET_CLASS, TTL_S, 4) + socket.inet_aton(address)
    return NO_ERROR, question, record


def _question_name(query: bytes) -> tuple[str, int]:
    """The name asked for, in lower case without the last dot, and the offset behind it. Never compressed."""
    labels = []
    offset = HEADER.size
    while length := query[offset]:
        labels.append(query[offset + 1 : offset + 1 + length].decode("ascii").lower())
        offset += 1 + length
    return ".".join(labels), offset + 1


def main() -> None:
    server = socket.socket(fileno=sys.stdin.fileno())
    names = Path(sys.argv[1])
    while True:
        query, caller = server.recvfrom(4096)
        if reply := answer(query, json.loads(names.read_text())):
            server.sendto(reply, caller)


if __name__ == "__main__":
    main()
