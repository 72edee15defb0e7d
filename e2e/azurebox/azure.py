"""The box's side of the cloud process: HTTP on its two unix sockets under /run/azbox, which nodes never see.

`azure.sock` is for people and tests, to look at and change the fake Azure; `box.sock` is for the box itself.
"""

import http.client
import json
import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from azurebox.facts import AZURE_SOCKET, BOX_SOCKET
from azurebox.steps import StepError

TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class Nic:
    """What a VM learns about its NIC from DHCP: MAC, primary address, the subnet's prefix length and first address.

    `ipv6` is its address of IPv6, where it has one.
    """

    mac: str
    primary: IPv4Address
    prefix_length: int
    gateway: IPv4Address
    ipv6: IPv6Address | None = None


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("azbox", timeout=TIMEOUT_S)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


def request(method: str, path: str, body: object = None, *, door: Path = AZURE_SOCKET) -> Any:
    """One request to the fake Azure's side door; the decoded JSON reply, a list for JSON lines, None when it is empty.

    Raises:
        StepError: the cloud is not up, or it answered with a status of 400 or more.

    """
    connection = _UnixConnection(door)
    payload = None if body is None else json.dumps(body)
    try:
        connection.request(method, path, body=payload, headers={"Content-Type": "application/json"} if payload else {})
        reply = connection.getresponse()
        text = reply.read().decode()
    except OSError as error:
        advice = "e2e/box status, then e2e/box up"
        raise StepError(f"cannot reach the fake Azure at {door}: {error}", advice=advice) from None
    finally:
        connection.close()
    if reply.status >= 400:
        raise StepError(f"cannot {method} {path} at the fake Azure: status {reply.status}", output=text)
    if "ndjson" in reply.headers.get_content_type():
        return [json.loads(line) for line in text.splitlines()]
    return json.loads(text) if text else None


def answers() -> bool:
    """Whether the cloud is up and its network laid."""
    try:
        request("GET", "/ready", door=BOX_SOCKET)
    except StepError:
        return False
    return True


def ensure_vm(name: str, *, subnet: str = "") -> Nic:
    """Let the fake Azure have a VM `name` with a NIC in the VNet, its cable plugged into the fabric.

    `subnet` by name counts for a new VM, the nodes' by default.
    """
    reply = request("PUT", f"/vms/{name}?{urlencode({'subnet': subnet})}", door=BOX_SOCKET)
    return Nic(
        mac=reply["mac"],
        primary=IPv4Address(reply["primary"]),
        prefix_length=reply["prefixLength"],
        gateway=IPv4Address(reply["gateway"]),
        ipv6=IPv6Address(address) if (address := reply.get("ipv6")) else None,
    )


def remove_vm(name: str) -> None:
    """Take a VM away with its NIC, cable and network namespace, if it is there."""
    request("DELETE", f"/vms/{name}", door=BOX_SOCKET)
