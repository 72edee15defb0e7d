"""Asking the admin API over its unix socket, and answers as tables: what the words of the command line share."""

import http.client
import json
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TIMEOUT_S = 10.0
SUBNET = "NAME, or VNET/NAME; by default the first one"
"""The help of an option for a subnet."""


class CannotAsk(Exception):
    """The admin API refused or did not answer; the text says why."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def ask(path: Path, method: str, url: str, fields: dict[str, Any] | None = None) -> bytes:
    """One request to the admin API; raises CannotAsk."""
    connection = _UnixConnection(path)
    try:
        connection.request(method, url, body=json.dumps(fields) if fields else None)
        reply = connection.getresponse()
        body = reply.read()
    except OSError as error:
        raise CannotAsk(f"cannot reach the fake Azure at {path}: {error}; is the box up?") from error
    finally:
        connection.close()
    if reply.status != http.HTTPStatus.OK:
        raise CannotAsk(_why(body))
    return body


def _why(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace")


def table(rows: Sequence[dict[str, Any]], *, empty: str) -> str:
    """Rows as aligned columns, headed by their keys."""
    if not rows:
        return empty
    head = [key.replace("_", " ").upper() for key in rows[0]]
    lines = [head, *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return ",".join(f"{key}={item}" for key, item in value.items())
    return "" if value is None else str(value)
