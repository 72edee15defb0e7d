"""Health probes of load balancers: real connections from 168.63.129.16, and who answers.

Sources, Azure documentation, "Azure Load Balancer health probes": a TCP probe succeeds when the handshake does; an HTTP
probe when GET is answered 200, within 30 s and the interval; probes come from 168.63.129.16; a member is up after its
first success and down after `threshold` failures in a row. Bounded: one probe at a time for each member, none longer
than its interval, and MOST_AT_ONCE of all of them. Without load balancers nothing runs.
"""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address

from azurebox.fabric.balancer import probed
from azurebox.fabric.kernel import inside
from azurebox.fabric.topology import WIRESERVER
from fakeazure.effective import EffectiveNetwork
from fakeazure.effectivebalancing import HealthProbe

HTTP_TIMEOUT_S = 30.0
MOST_AT_ONCE = 64
MOST_BYTES = 4096  # of an answer: its first line is all that counts

Target = tuple[str, IPv4Address]
"""The id of a probe, and a member's address."""


@dataclass(slots=True)
class MemberHealth:
    """What is known of one member. `next_s` is in seconds of the event loop's clock."""

    probe: HealthProbe
    next_s: float
    up: bool = False
    in_a_row: int = 0
    """How many probes contradicted `up` in a row."""


class Prober:
    """Probes the members that `follow` was given last, while `run` runs; calls `changed` when one goes up or down."""

    def __init__(self, namespace: str, changed: Callable[[], None]) -> None:
        self._namespace, self._changed = namespace, changed
        self._members: dict[Target, MemberHealth] = {}
        self._wake = asyncio.Event()
        self._free = asyncio.Semaphore(MOST_AT_ONCE)

    @property
    def healthy(self) -> frozenset[Target]:
        """The members that are up."""
        return frozenset(target for target, member in self._members.items() if member.up)

    def follow(self, network: EffectiveNetwork) -> None:
        """Probe the members of this network from now on; one that is new is probed at once."""
        wanted = probed(network)
        self._members = {target: self._kept(target, probe) for target, probe in wanted.items()}
        self._wake.set()

    async def run(self) -> None:
        """Probe until cancelled."""
        async with asyncio.TaskGroup() as probes:
            while True:
                self._wake.clear()
                now = asyncio.get_running_loop().time()
                for target, member in self._members.items():
                    if member.next_s <= now:
                        member.next_s = now + member.probe.interval_s
                        probes.create_task(self._judge(target, member))
                next_s = min((member.next_s for member in self._members.values()), default=None)
                try:
                    async with asyncio.timeout_at(next_s):
                        await self._wake.wait()
                except TimeoutError:
                    continue

    def _kept(self, target: Target, probe: HealthProbe) -> MemberHealth:
        known = self._members.get(target)
        return known if known and known.probe == probe else MemberHealth(probe, next_s=0.0)

    async def _judge(self, target: Target, member: MemberHealth) -> None:
        async with self._free:
            succeeded = await succeeds(member.probe, target[1], namespace=self._namespace)
        if self._members.get(target) is not member:
            return
        member.in_a_row = 0 if succeeded == member.up else member.in_a_row + 1
        if member.in_a_row >= member.probe.threshold:
            member.up, member.in_a_row = succeeded, 0
            self._changed()


async def succeeds(probe: HealthProbe, address: IPv4Address, *, namespace: str) -> bool:
    """One probe from 168.63.129.16, sent in the fabric's namespace."""
    limit_s = probe.interval_s if probe.protocol == "Tcp" else min(probe.interval_s, HTTP_TIMEOUT_S)
    try:
        async with asyncio.timeout(limit_s):
            return await _ask(probe, address, namespace)
    except (OSError, TimeoutError):
        return False


async def _ask(probe: HealthProbe, address: IPv4Address, namespace: str) -> bool:
    def make() -> socket.socket:
        made = socket.socket()
        made.setblocking(False)
        made.bind((str(WIRESERVER), 0))
        return made

    with inside(namespace, make) as made:
        loop = asyncio.get_running_loop()
        await loop.sock_connect(made, (str(address), probe.port))
        if probe.protocol == "Tcp":
            return True
        request = f"GET {probe.path} HTTP/1.1\r\nHost: {address}:{probe.port}\r\nUser-Agent: Load Balancer Agent\r\n"
        await loop.sock_sendall(made, f"{request}Connection: close\r\n\r\n".encode())
        answer = b""
        while b"\r\n" not in answer and len(answer) < MOST_BYTES and (more := await loop.sock_recv(made, MOST_BYTES)):
            answer += more
        return answer.split(b"\r\n")[0].split(b" ")[1:2] == [b"200"]
