"""The ways to hang pods on a node, and by which interfaces each way has the node see their packets. Pure.

A guard of the node's table recognises what comes from a pod by the interface that it comes in by. Which one the IP
layer sees depends on the mode, and a rule that asks for another never matches, without a word:

    transparent   pod ── acni0a1b2c3d4e5 (routes)               the packet comes in by acni*
    bridge        pod ── acni0a1b2c3d4e5 (port of) ── azure0    it comes in by azure0; acni* is seen by the bridge alone

So each mode states its `PodLinks` here, once, and everything follows it: the guards and translations of the table
(`node_table`), the sample packets by which others' filters are judged (`foreign_filters`), the link group that the
policy rule asks for (`policy`), and the switches of pods' links. What is about the links themselves (the names that
belong to azure-cni, the links that are listed and removed) goes by `names.PREFIX` in every mode.

In a mode in which several pods share an interface, the lookup that compares a source with the interface (`fib saddr .
iif`) distinguishes the node's pods from everybody else, but not from one another. There `ports` says by which links the
bridge family of nftables sees them, and the node's table has a second part in that family. The tests go through MODES,
and fail where a mode has a guard that never matches, or lacks the second part.

**Changing the mode.** All pods of a node are wired alike, because the node's table holds the guards of one mode. A node
whose pods were wired in another mode than is wanted now keeps that mode until the last of them has gone (`effective`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from azure_cni.datapath import bridge, transparent
from azure_cni.datapath.interface import Interface, Wiring
from azure_cni.datapath.names import BRIDGE, PREFIX
from azure_cni.model.identity import LinkNames, ModeName
from azure_cni.model.text import counted, few


@dataclass(frozen=True, slots=True)
class PodLinks:
    """The interfaces of the node that the IP layer sees pods' packets come in and go out by.

    `patterns` as nftables writes them: a name, or its beginning and `*`; `ports` likewise, "" where no bridge is
    between the IP layer and the pods.
    """

    patterns: tuple[str, ...]
    ports: str = ""

    def came_in(self) -> str:
        """The match for packets that come from pods, as nft takes it."""
        return f"iifname {self._any()}"

    def came_in_otherwise(self) -> str:
        """The match for all others."""
        return f"iifname != {self._any()}"

    def _any(self) -> str:
        quoted = [f'"{pattern}"' for pattern in self.patterns]
        return quoted[0] if len(quoted) == 1 else f"{{ {', '.join(quoted)} }}"

    def include(self, name: str) -> bool:
        """Whether an interface is one of them."""
        return any(_matches(pattern, name) for pattern in self.patterns)

    @property
    def sample(self) -> str:
        """A name that one of them could have."""
        return self.patterns[0].replace("*", "0")

    def __str__(self) -> str:
        return ", ".join(self.patterns)


@dataclass(frozen=True, slots=True)
class Mode:
    """One way to hang pods on a node."""

    name: ModeName
    links: PodLinks
    wiring: Callable[[transparent.VethSpec], Wiring]
    node_ends: Callable[[transparent.VethSpec], tuple[Interface, ...]]


TRANSPARENT: Final = Mode(ModeName.TRANSPARENT, PodLinks((f"{PREFIX}*",)), transparent.wiring, transparent.node_ends)
BRIDGED: Final = Mode(ModeName.BRIDGE, PodLinks((BRIDGE,), ports=f"{PREFIX}*"), bridge.wiring, bridge.node_ends)

MODES: Final[Mapping[ModeName, Mode]] = MappingProxyType({mode.name: mode for mode in (TRANSPARENT, BRIDGED)})


def wiring(spec: transparent.VethSpec) -> Wiring:
    """The sandbox as its mode has it. DatapathError where the mode cannot have it."""
    return MODES[spec.mode].wiring(spec)


def node_ends(spec: transparent.VethSpec) -> tuple[Interface, ...]:
    """Of that, what the node has: all that a comparison of running pods needs."""
    return MODES[spec.mode].node_ends(spec)


def effective(wanted: ModeName, running: Collection[ModeName]) -> ModeName:
    """The mode to wire the next pod in, given those in which the pods that run were wired."""
    return wanted if not running or wanted in running else min(running)


HIDDEN_LINKS: Final = "behind a bridge Calico does not see pods' links, and would let all of their traffic pass"


def hides_links(mode: ModeName, names: LinkNames) -> bool:
    """Whether links are named for a program that would not find them in this mode (HIDDEN_LINKS)."""
    return names is LinkNames.CALICO and bool(MODES[mode].links.ports)


def _matches(pattern: str, name: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def mode_change(wanted: ModeName, mode: ModeName, pods: Sequence[str], *, node: str) -> str:
    """Why the mode is not changed yet, and what to do."""
    others = [pod for pod in pods if not pod.startswith("pod ")]
    stop = f"; a drain ends no container that is not a pod's (Docker's, podman's): stop {few(others)}" if others else ""
    running = counted(len(pods), "pod of this node was", "pods of this node were")
    return (
        f"mode {wanted} is wanted, but {running} wired in mode {mode}: {few(pods)}. They keep their network, and new "
        f"pods are wired alike. Drain the node (kubectl drain {node} --ignore-daemonsets --delete-emptydir-data) and "
        f"delete the pods that are left there, or reboot it: the mode changes as soon as no pod is left{stop}"
    )
