"""Sandboxes that come and go on a node, made by the test with the plugin that is installed, and its own log of them.

A lane is a network namespace of the VM. Again and again a new container gets an address there, has it for a while and
gives it back, each under a pod's name of its own. What the test saw is written down with the moments right before and
right after each call of the plugin: between the two the agent has done it.
"""

import contextlib
import json
import math
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Interface

from azurebox.steps import StepError
from scenarios.harness.node import BINARY, CONFLIST, Answer, Node
from scenarios.harness.pods import NAMESPACE

HOLD_S = 2.3
"""At least one whole second is within it."""
AGAIN_S = 0.5
LANES = 12
MOST_CALLS = 240
LONGEST_S = 420.0
"""No lane lives longer, whatever becomes of the test."""


@dataclass(slots=True)
class Tenure:
    """A container that asked for an address; times are seconds since 1970.

    The ADD was between `asked_s` and `began_s`, the DEL between `ended_s` and `gone_s`. `gone_s` is infinite while
    nobody knows when the agent carried it out. `address` is "" where the ADD failed: it may have had any.
    """

    node: str
    pod: str
    address: str
    asked_s: float
    began_s: float
    ended_s: float = math.inf
    gone_s: float = math.inf

    def surely_had(self, at_s: int) -> bool:
        """In all of that second."""
        return bool(self.address) and self.began_s <= at_s and at_s + 1 <= self.ended_s

    def may_have_had(self, address: str, at_s: int) -> bool:
        """In some of that second."""
        return self.address in {address, ""} and self.asked_s < at_s + 1 and at_s <= self.gone_s


@dataclass
class Churn:
    """The lanes of one node, and the log of what they did."""

    node: Node
    log: list[Tenure] = field(default_factory=list)
    _away: list[list[float]] = field(default_factory=list)
    """From when to when a DEL may be carried out later than it is asked for."""
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _broken: list[str] = field(default_factory=list)
    _made: int = 0
    _crashing: bool = False

    def assignments(self) -> list[Tenure]:
        """Those that got an address."""
        with self._lock:
            return [one for one in self.log if one.address]

    def begin(self) -> None:
        """Start the lanes."""
        conflist = json.loads(self.node.run("cat", CONFLIST))
        config = json.dumps({**conflist["plugins"][0], "cniVersion": "1.1.0", "name": conflist["name"]})
        self._stop.clear()
        self._threads = [
            threading.Thread(target=self._lane, args=(number, config), name=f"{self.node.name}-{number}")
            for number in range(LANES)
        ]
        for number, thread in enumerate(self._threads):
            self.node.run("ip", "netns", "add", f"lane-{number}")
            thread.start()

    def end(self, *, crash: bool = False) -> None:
        """Stop the lanes. With `crash` what is held stays held, for somebody to pull the plug."""
        self._crashing = crash
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._threads = []
        if not crash:
            for number in range(LANES):
                with contextlib.suppress(StepError):
                    self.node.run("ip", "netns", "delete", f"lane-{number}")
        if self._broken:
            raise StepError(f"a lane of {self.node.name} ended early", output="\n".join(self._broken))

    def crashed(self, *, pulled_s: float, serving_s: float) -> None:
        """What was held when the plug was pulled ended then, or is over when the next agent serves."""
        for one in self.log:
            if math.isinf(one.ended_s):
                one.ended_s, one.gone_s = pulled_s, serving_s

    @contextlib.contextmanager
    def agent_away(self) -> Iterator[None]:
        """While the block runs no DEL has to be carried out at once. At its end an agent serves."""
        window = [time.time(), math.inf]
        self._away.append(window)
        try:
            yield
        finally:
            window[1] = time.time()

    def settle(self) -> None:
        """When what was given back while no agent ran was over: by then another pod had the address, at the latest."""
        last: dict[str, Tenure] = {}
        for one in sorted(self.assignments(), key=lambda one: one.began_s):
            before = last.get(one.address)
            if before is not None:
                before.gone_s = min(before.gone_s, one.began_s)
            last[one.address] = one

    def _lane(self, number: int, config: str) -> None:
        until = time.monotonic() + LONGEST_S
        try:
            while not self._stop.is_set() and time.monotonic() < until:
                self._one(number, config)
        except Exception as error:  # noqa: BLE001  a thread's end is nobody's to see but by this
            self._broken.append(f"{threading.current_thread().name}: {error!r}")

    def _one(self, number: int, config: str) -> None:
        with self._lock:
            self._made += 1
            name = f"churn-{self.node.name}-{self._made}"
        place = {
            "CNI_PATH": "/opt/cni/bin",
            "CNI_CONTAINERID": name,
            "CNI_NETNS": f"/run/netns/lane-{number}",
            "CNI_IFNAME": "eth0",
            "CNI_ARGS": f"K8S_POD_NAMESPACE={NAMESPACE};K8S_POD_NAME={name};K8S_POD_UID={name}",
        }
        asked_s = time.time()
        added = self._call("ADD", config, place)
        tenure = Tenure(self.node.name, name, _address_of(added), asked_s, time.time())
        with self._lock:
            self.log.append(tenure)
        if not tenure.address:
            self._stop.wait(AGAIN_S)
        elif self._stop.wait(HOLD_S) and self._crashing:
            return
        tenure.ended_s = time.time()
        for _ in range(MOST_CALLS):
            deleted = self._call("DEL", config, place)
            if not deleted.status:
                break
            time.sleep(AGAIN_S)
        else:
            raise StepError(f"no DEL of {name} succeeds", output=deleted.output)
        gone_s = time.time()
        if not any(begin_s <= gone_s and tenure.ended_s <= end_s for begin_s, end_s in self._away):
            tenure.gone_s = gone_s

    def _call(self, command: str, config: str, place: dict[str, str]) -> Answer:
        return self.node.ask([BINARY], stdin=config, env={"CNI_COMMAND": command, **place})


def _address_of(added: Answer) -> str:
    """Empty where the plugin refused."""
    return "" if added.status else str(IPv4Interface(json.loads(added.output)["ips"][0]["address"]).ip)
