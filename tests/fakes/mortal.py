"""A process that ends between any two of its effects, as by SIGKILL: what it did before stays, and nothing comes after.

Which steps there are follows from the code. A process acts on the world through its ports only, so each call of a port
is a step, before which and after which the process can end. Only the calls in `READS` are none: a port or a method that
is added counts from its first day.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, Final

from azure_cni.node.node_settings import NodePorts

READS: Final = frozenset(
    {
        # Cloud, Hints, Nic, Pools, NodeObject, PodList, LedgerStore
        "identify",
        "other_subnets",
        "vnet",
        "addresses",
        "read",
        "read_node",
        "list",
        "load",
        # Datapath
        "check",
        "key",
        "mac",
        "is_complete",
        "sandboxes",
        "occupancy",
        "uplink",
        "forwarding",
        "changed",
        # Grants, ReleasedRecords
        "status",
        "names",
        "name_of",
        "has",
        # PluginFiles
        "missing",
        "unseen",
        "conflicts",
        "signature",
        "identity",
        "versions_of",
    }
)
"""Methods of ports that change nothing outside the process. All others are effects."""
INSIDE: Final = frozenset({"clock", "observer", "audit"})
"""Ports of a node that lead nowhere (time, and metrics, which end with the process), and the trail, whose files have
tests of their own (`test_audit_trail`)."""


class Killed(BaseException):
    """A process has ended here; nothing after this point happens in it."""


class Fuse:
    """Ends a process at one of its effects, before or after it."""

    def __init__(self) -> None:
        self.passed: list[str] = []
        """The points that it has passed, in words: `before store.save`."""
        self.burns_at: int | None = None
        """The number of the point at which it ends, None for never."""
        self.died_at = ""
        self.died = asyncio.Event()

    @property
    def points(self) -> int:
        """How many have been passed."""
        return len(self.passed)

    @property
    def dead(self) -> bool:
        """The process has ended, by itself or because somebody ended it."""
        return self.died.is_set()

    @dead.setter
    def dead(self, dead: bool) -> None:
        if dead:
            self.died.set()

    def pass_point(self, where: str = "") -> None:
        """Killed where the process ends, and ever after."""
        if not self.dead and self.points == self.burns_at:
            self.died_at = where
            self.died.set()
        if self.dead:
            raise Killed
        self.passed.append(where)


class Mortal:
    """A port of a process: with the process, its effects end. `name` is what its points are called by."""

    def __init__(self, port: Any, fuse: Fuse, *, name: str = "") -> None:
        self._port, self._fuse, self._name = port, fuse, name

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if name in READS or not inspect.ismethod(found):
            return found
        what = f"{self._name}.{name}" if self._name else name
        return self._acting(what, found) if inspect.iscoroutinefunction(found) else self._done(what, found)

    def _done(self, what: str, act: Callable[..., Any]) -> Callable[..., Any]:
        def mortal(*args: Any, **options: Any) -> Any:
            self._fuse.pass_point(f"before {what}")
            result = act(*args, **options)
            self._fuse.pass_point(f"after {what}")
            return result

        return mortal

    def _acting(self, what: str, act: Callable[..., Any]) -> Callable[..., Any]:
        async def mortal(*args: Any, **options: Any) -> Any:
            self._fuse.pass_point(f"before {what}")
            result = await act(*args, **options)
            self._fuse.pass_point(f"after {what}")
            return result

        return mortal


def mortal_ports(ports: NodePorts, fuse: Fuse) -> NodePorts:
    """The same ports, of a process that ends with that fuse."""
    given = {one.name: getattr(ports, one.name) for one in fields(ports) if one.name not in INSIDE}
    given = {name: port for name, port in given.items() if port is not None}
    nic_of = given.pop("nic_of")
    wrapped: dict[str, Any] = {name: Mortal(port, fuse, name=name) for name, port in given.items()}
    return replace(ports, **wrapped, nic_of=lambda identity: Mortal(nic_of(identity), fuse, name="nic"))


def effects_of(**ports: type) -> frozenset[str]:
    """What the ports of these protocols can do to the world, as points are called: `store.save`."""
    return frozenset(
        f"{name}.{method}"
        for name, port in ports.items()
        for method, it in vars(port).items()
        if inspect.isfunction(it) and not method.startswith("_") and method not in READS
    )
