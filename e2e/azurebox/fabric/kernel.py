"""Hands for the fabric: network namespaces, links, nftables and sockets of another namespace.

Commands (`ip -batch`, `nft -f`) do what they do well: many changes at once, readable in an error. To look at or open
something *in* a namespace, a thread goes there and ends there; the process itself never leaves its own.
"""

import ctypes
import json
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, TypeVar

from azurebox.steps import StepError, capture

T = TypeVar("T")

NAMESPACES = Path("/run/netns")
CLONE_NEWNET = 0x40000000  # linux/sched.h; os.setns and its constants come only with Python 3.12
_libc = ctypes.CDLL(None, use_errno=True)


def inside(namespace: str, work: Callable[[], T]) -> T:
    """Do `work` in a namespace and return what it returns. A socket made there stays there.

    Raises:
        OSError: there is no such namespace; and whatever `work` raises.

    """

    def enter_and_work() -> T:
        descriptor = os.open(NAMESPACES / namespace, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if _libc.setns(descriptor, CLONE_NEWNET) != 0:
                number = ctypes.get_errno()
                raise OSError(number, f"cannot enter network namespace {namespace}: {os.strerror(number)}")
        finally:
            os.close(descriptor)
        return work()

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix=namespace) as thread:
        return thread.submit(enter_and_work).result()


def namespaces(prefix: str) -> list[str]:
    """Names of the namespaces that begin with `prefix`, whole or broken."""
    return sorted(path.name for path in NAMESPACES.glob("*") if path.name.startswith(prefix))


def ensure_namespace(namespace: str) -> None:
    """Make the namespace, with its loopback up. One that a crash left as an empty file is recreated."""
    if (NAMESPACES / namespace).exists() and not is_whole(namespace):
        delete_namespace(namespace)
    if not (NAMESPACES / namespace).exists():
        capture(["ip", "netns", "add", namespace], what=f"make network namespace {namespace}")
    configure(namespace, ["link set lo up"])


def delete_namespace(namespace: str) -> None:
    """Take the namespace's name away; it ends with its last process and socket."""
    if (NAMESPACES / namespace).exists():
        capture(["ip", "netns", "delete", namespace], what=f"delete network namespace {namespace}")


def is_whole(namespace: str) -> bool:
    """Whether there is such a namespace that can be entered."""
    try:
        inside(namespace, lambda: None)
    except OSError:
        return False
    return True


def configure(namespace: str, lines: Iterable[str]) -> None:
    """Do several `ip` commands in one namespace; the first that fails ends it with an error that names its line."""
    text = "\n".join(lines)
    command = ["ip", "-netns", namespace, "-batch", "-"]
    capture(command, what=f"set up the links of {namespace}:\n{text}\n", stdin=text + "\n")


def links(namespace: str) -> dict[str, dict[str, Any]]:
    """The links of a namespace by name, as `ip -json` lists them."""
    text = capture(["ip", "-netns", namespace, "-json", "link", "show"], what=f"list the links of {namespace}")
    return {link["ifname"]: link for link in json.loads(text)}


def delete_link(namespace: str, link: str) -> None:
    """Delete a link unless it is gone. A cable to a namespace that just ended disappears a moment later."""
    try:
        configure(namespace, [f"link delete {link}"])
    except StepError:
        if link in links(namespace):
            raise


def set_sysctls(namespace: str, settings: dict[str, str]) -> None:
    """Write settings of a namespace, by their path under /proc/sys/net."""

    def write() -> None:
        for path, value in settings.items():
            (Path("/proc/sys/net") / path).write_text(value)

    inside(namespace, write)


def birth_mark(namespace: str) -> int:
    """A number that distinguishes a namespace from an earlier one of the same name."""
    return (NAMESPACES / namespace).stat().st_ino


def load_rules(namespace: str, text: str) -> None:
    """Load nftables text as one transaction: all of it holds at once, or none."""
    capture(_nft(namespace, "-f", "-"), what=f"load the rules of {namespace}", stdin=text)


def has_table(namespace: str, family: str, table: str) -> bool:
    """Whether an nftables table is loaded."""
    listing = json.loads(capture(_nft(namespace, "--json", "list", "tables"), what=f"list the tables of {namespace}"))
    tables = [item["table"] for item in listing["nftables"] if "table" in item]
    return any((item["family"], item["name"]) == (family, table) for item in tables)


def address_map(namespace: str, table: str, name: str) -> dict[IPv4Address, IPv4Address]:
    """An nftables map from address to address, as the kernel holds it now."""
    command = _nft(namespace, "--json", "list", "map", "ip", table, name)
    for item in json.loads(capture(command, what=f"read map {name} of {namespace}"))["nftables"]:
        if "map" in item:
            return {IPv4Address(key): IPv4Address(value) for key, value in item["map"].get("elem", [])}
    raise StepError(f"cannot read map {name} of {namespace}: nft does not list it")


def counters(namespace: str, family: str, table: str) -> dict[str, int]:
    """Packets by the name of each counter of a table; no table, no counters."""
    if not has_table(namespace, family, table):
        return {}
    command = _nft(namespace, "--json", "list", "counters", "table", family, table)
    listing = json.loads(capture(command, what=f"read the counters of {namespace}"))["nftables"]
    return {item["counter"]["name"]: item["counter"]["packets"] for item in listing if "counter" in item}


@dataclass(frozen=True, slots=True)
class Flow:
    """A flow of UDP that conntrack knows, with its ports; `end` is who answers, after translation."""

    source: IPv4Address
    source_port: int
    destination: IPv4Address
    destination_port: int
    end: IPv4Address
    mark: int


def udp_flows(namespace: str, destination: IPv4Address, port: int) -> list[Flow]:
    """The flows of UDP to an address and port, port 0 for any."""
    chosen = ["--orig-port-dst", str(port)] if port else []
    command = _conntrack(namespace, "-L", "--orig-dst", str(destination), *chosen)
    flows = []
    for line in capture(command, what=f"list the flows of {namespace}").splitlines():
        words = [word.partition("=") for word in line.split() if "=" in word]
        ends = {key: [value for name, _, value in words if name == key] for key in ("src", "dst", "sport", "dport")}
        marks = [int(value) for name, _, value in words if name == "mark"]
        flows.append(
            Flow(
                IPv4Address(ends["src"][0]),
                int(ends["sport"][0]),
                IPv4Address(ends["dst"][0]),
                int(ends["dport"][0]),
                IPv4Address(ends["src"][1]),
                marks[0] if marks else 0,
            )
        )
    return flows


def forget_udp_flow(namespace: str, flow: Flow) -> None:
    """Make conntrack forget a flow; one that is gone is no error."""
    source = ("--orig-src", str(flow.source), "--orig-port-src", str(flow.source_port))
    target = ("--orig-dst", str(flow.destination), "--orig-port-dst", str(flow.destination_port))
    delete = _conntrack(namespace, "-D", *source, *target)
    capture(["sh", "-c", '"$@" || test $? -eq 1', "forget", *delete], what=f"forget a flow of {namespace}")


def _conntrack(namespace: str, action: str, *selection: str) -> list[str]:
    return ["nsenter", f"--net={NAMESPACES / namespace}", "conntrack", action, "-p", "udp", *selection]


def _nft(namespace: str, *arguments: str) -> list[str]:
    return ["nsenter", f"--net={NAMESPACES / namespace}", "nft", *arguments]
