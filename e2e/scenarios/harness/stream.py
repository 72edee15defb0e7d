"""Traffic that must not notice: ten rounds a second, each by TCP and by UDP, from a pod to a test server."""

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from azurebox.client import Box
from scenarios.harness.pods import INSIDE, NAMESPACE, Pod

STOP = 'touch "$0.stop"; for _ in $(seq 600); do [ -e "$0" ] && break; sleep 0.1; done; cat "$0"'


@dataclass(frozen=True, slots=True)
class Flow:
    """From whom to where, and as which address the far end must see the caller."""

    source: Pod
    target: IPv4Address | IPv6Address
    seen: IPv4Address | IPv6Address


@contextmanager
def unbroken(box: Box, *flows: Flow) -> Iterator[list[str]]:
    """Stream while the block runs, and assert at its end that nothing was lost; then the list shows what was sent."""
    report: list[str] = []
    file = f"/tmp/stream-{secrets.token_hex(4)}"
    for number, flow in enumerate(flows):
        _exec(box, flow.source, "python3", "-c", INSIDE, "stream", str(flow.target), f"{file}-{number}")
    yield report
    for number, flow in enumerate(flows):
        result = json.loads(_exec(box, flow.source, "sh", "-c", STOP, f"{file}-{number}"))
        name = f"{flow.source.name} to {flow.target}"
        assert result["lost"] == [], f"{name}: {len(result['lost'])} of {result['sent']} lost: {result['lost'][:5]}"
        assert result["seen"] == [str(flow.seen)], f"{name}: seen as {result['seen']}, not as {flow.seen}"
        report.append(f"{result['sent']} rounds from {name}")


def _exec(box: Box, pod: Pod, *command: str) -> str:
    return box.kubectl("exec", "-n", NAMESPACE, pod.name, "--", *command)
