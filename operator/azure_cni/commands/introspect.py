"""`introspect`: asks the agent of this node over its socket. It runs in the agent's container, as root, by exec."""

from __future__ import annotations

import http.client
import os
import socket
import sys

import click

from azure_cni.api.introspection import NODE_PATH

TIMEOUT_S = 20.0


class _SocketConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("agent", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        """To the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


@click.command(hidden=True)
@click.argument("path", default=NODE_PATH)
@click.option("--socket", "socket_path", metavar="FILE", help="The agent's socket.")
def introspect(path: str, socket_path: str | None) -> None:
    """Print what the agent of this node answers to GET PATH, as JSON. For the other commands, by exec."""
    where = socket_path or f"{os.environ.get('AZURE_CNI_RUN_DIR', '/run/azure-cni')}/cni.sock"
    connection = _SocketConnection(where)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        click.echo(f"azure-cni: cannot ask the agent at {where}: {error}; does it run on this node?", err=True)
        sys.exit(3)
    finally:
        connection.close()
    if answer.status != http.client.OK:
        click.echo(f"azure-cni: cannot get {path} of the agent: {body.decode(errors='replace')}", err=True)
        sys.exit(3)
    sys.stdout.buffer.write(body + b"\n")
