"""Installs the binary and the conflist once a pod can start here, and keeps both as they should be.

A few `lstat` every other second find what others change there: a removed plugin, an edited conflist, another network
plugin. So conditions and logs report it within seconds.

The conflist survives a reboot, and would make the node Ready before there is an address or even an agent. So the first
agent after a reboot withdraws it. An agent that finds a ledger was only restarted, and pods come and go as before.

Without a conflist, however, the runtime cannot execute a DEL. Pods from before the reboot that are deleted meanwhile
(or evicted, after five minutes) stay Terminating, and the kubelet logs FailedKillPod until Azure answers. So if the
runtime asks STATUS, a holding conflist replaces the withdrawn one: the agent answers that the node is not ready, and
old pods can end.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

from azure_cni.cni.conflist import VERSION, AgentPlace, ChainedPlugin, asks_status, conflist, holding_conflist
from azure_cni.datapath.conflicts import Conflict
from azure_cni.errors import AzureCniError, KubeError
from azure_cni.node.ports import Clock, NodeObject
from azure_cni.node.state import NodeState
from azure_cni.node.stored_ledger import StoredLedger

log = logging.getLogger(__name__)

LOOK_S: Final = 2.0
"""How often to check for changes by others."""
FULL_S: Final = 60.0
"""How often to compare everything byte by byte, even if nothing seems to have changed."""


class PluginFiles(Protocol):
    """The plugin's binary and conflist on the node, and what is beside them. AzureCniError, with what to look at."""

    @property
    def binary(self) -> Path:
        """The binary on the node."""

    @property
    def conflist(self) -> Path:
        """Our conflist on the node."""

    @property
    def alone(self) -> bool:
        """Whether the node has no configuration but ours, or none. OSError."""

    def install_binary(self) -> bool:
        """Put the binary in place. False when it was there already."""

    def activate(self, text: str, /) -> bool:
        """Write the conflist: from here on pods come. False when it was there already."""

    def withdraw(self) -> bool:
        """Remove the conflist. False when there is none, and when it must stay."""

    def missing(self, plugin: ChainedPlugin, /) -> str:
        """The message about another plugin that the node lacks; "" when it is there, or cannot be seen."""

    def unseen(self, plugin: str, /) -> str:
        """The message about a plugin of which the agent cannot see whether it is there; "" for any other."""

    def conflicts(self) -> tuple[Conflict, ...]:
        """The conflict with configurations that the runtime prefers; none when there are none."""

    def signature(self, plugins: Sequence[str], /) -> tuple[object, ...]:
        """A value that changes when somebody changes our files, one of these plugins, or the configurations."""

    def identity(self, plugin: str, /) -> object:
        """What identifies the program of this name; None when it is not there."""

    async def versions_of(self, plugin: str, /) -> frozenset[str]:
        """Which versions of the CNI specification another plugin says that it supports."""


class Mark(Protocol):
    """Says to the CNI binary that an agent has served pods since the boot. AzureCniError from both."""

    def set(self) -> None:
        """From here on the node stays Ready while its agent is away."""

    def clear(self) -> None:
        """No pod can start here yet."""


class Directories(Protocol):
    """The node's directories that the agent's container sees."""

    def replaced(self) -> str:
        """The message about one that the node has replaced; "" when there is none. OSError when that is not known."""


class Installation:
    """Makes the container runtime use us, or not yet.

    `version` is the conflist's if the runtime and the chained plugins know it; `place` is where the agent listens.
    `node`: None where no API server knows the runtime, which then is what the settings say.
    """

    def __init__(
        self,
        files: PluginFiles,
        *,
        mark: Mark,
        directories: Directories,
        place: AgentPlace,
        version: str,
        chained: Sequence[ChainedPlugin],
        state: NodeState,
        stored: StoredLedger,
        wake: Callable[[], None],
        node: NodeObject | None,
        clock: Clock,
    ) -> None:
        self._plugin = files
        self._mark = mark
        self._directories = directories
        self._place = place
        self._wished = version
        self._state = state
        self._stored = stored
        self._wake = wake
        self._node = node
        self._clock = clock
        self._chained = tuple(chained)
        self._names = tuple(plugin.name for plugin in chained)
        self._holds: bool | None = None
        self._asked: object = None
        self._objection = ""
        self._seen: tuple[object, ...] | None = None
        self._full_at_s = 0.0
        self._unseen = ""

    @property
    def wanted(self) -> bool:
        """Pods can be wired, and there is an address to give."""
        return self._state.ready and bool(self._stored.ledger.counts().allocated)

    def begin(self) -> None:
        """Withdraw the conflist if this is the first agent since the node booted. Never raises: a failure only
        means that the node looks Ready too early.
        """
        if self._stored.ledger.slots:
            return
        try:
            self._mark.clear()
            if self._plugin.withdraw():
                log.info("conflist withdrawn until a pod can start", extra={"path": str(self._plugin.conflist)})
        except AzureCniError as error:
            log.warning("the conflist of before the reboot stays", extra={"why": str(error)})

    async def run(self) -> None:
        """Keep both files as they should be, once the first pod can start. Later states are reported elsewhere.

        AzureCniError when only a new container of the agent can do that.
        """
        started = False
        while True:
            self._require_directories()
            started = started or self.wanted
            if not started:
                await self.hold()
                await self._state.broadcast.wait(LOOK_S)
                continue
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def hold(self) -> None:
        """Let pods from before a reboot end while none can start, if the runtime supports it. Never raises; it is
        retried.

        Not if a ledger says that pods could start before: then the conflist is in place. And not beside other
        configurations: the runtime uses one of those meanwhile, and would use ours instead.
        """
        if self._holds is not None or self._stored.ledger.slots:
            return
        try:
            runtime = await self._runtime()
            if not runtime:
                return
            self._holds = asks_status(runtime) and self._plugin.alone and not self._stored.ledger.slots
            if self._holds:
                self._plugin.install_binary()
                self._plugin.activate(holding_conflist(place=self._place))
                log.info(
                    "holding conflist written: pods can end, none can start yet",
                    extra={"path": str(self._plugin.conflist), "runtime": runtime},
                )
        except (AzureCniError, OSError) as error:
            self._holds = None
            log.debug("no holding conflist: pods from before the reboot cannot end yet", extra={"why": str(error)})

    async def look(self) -> None:
        """`once`, if something changed since or the last time is long ago. Failures are logged and retried."""
        now_s = asyncio.get_running_loop().time()
        if self._plugin.signature(self._names) == self._seen and now_s - self._full_at_s < FULL_S:
            return
        try:
            await self.once()
        except AzureCniError as error:
            log.warning("periodic work failed", extra={"work": "install", "reason": error.reason, "error": str(error)})
        self._full_at_s = now_s
        self._seen = self._plugin.signature(self._names)

    async def once(self) -> None:
        """Install both files, or log why no pod can start. AzureCniError."""
        plugin = self._plugin
        obstacle = next(filter(None, map(plugin.missing, self._chained)), "")
        if obstacle != self._state.obstacle:
            self._state.obstacle = obstacle
            self._wake()
        self._log_unseen()
        if plugin.install_binary():
            log.info("plugin installed", extra={"path": str(plugin.binary)})
        if obstacle:
            log.warning("no pod can start here", extra={"why": obstacle})
        else:
            version = await self._version()
            # In a cluster a hostPort may be another program's work, which a refusal would undo. Not on Windows.
            place, chained = self._place, self._chained
            alone = self._node is None or not place.system.has_portmap
            if plugin.activate(conflist(version=version, place=place, chained=chained, refuse_ports=alone)):
                facts = {"version": version, "since_boot_s": round(self._clock.boottime_s())}
                log.info("conflist written: this node takes pods", extra={"path": str(plugin.conflist)} | facts)
            self._mark.set()
        self._publish(() if self._node is None else plugin.conflicts())  # else networks are chosen by their names

    def _publish(self, conflicts: tuple[Conflict, ...]) -> None:
        for one in conflicts:
            log.warning("another network plugin comes first", extra={"why": one.message})
        if conflicts != self._state.conflist_conflicts:
            self._state.conflist_conflicts = conflicts
            self._wake()

    async def _version(self) -> str:
        """The conflist's version: the configured one, unless the runtime or a chained plugin does not speak it."""
        wished = self._wished
        if wished == VERSION:
            return wished
        now = [self._plugin.identity(plugin) for plugin in self._names]
        if self._asked == now and not self._objection:
            return wished
        found = await self._objection_to(wished)
        if found and found != self._objection:
            log.warning("conflist of an older version", extra={"version": VERSION, "why": found})
        self._asked, self._objection = now, found
        return VERSION if found else wished

    async def _objection_to(self, version: str) -> str:
        """Why the conflist cannot have this version, as a sentence; "" if it can."""
        stay = f"or set cni.specVersion={VERSION}"
        try:
            runtime = await self._runtime()
            if self._node is not None and not asks_status(runtime):
                return f"the runtime {runtime} is not known to speak {version}; {stay}"
        except KubeError as error:
            return f"cannot see whether the runtime speaks {version}: {error}; it is tried again"
        for plugin in self._chained:
            remedy = f"install a newer {plugin.name}, set {plugin.unchain}, {stay}"
            try:
                spoken = await self._plugin.versions_of(plugin.name)
            except AzureCniError as error:
                return f"{error}; {remedy}"
            if version not in spoken:
                known = ", ".join(sorted(spoken))
                return f"the plugin {plugin.name} does not speak {version}, but only {known}; {remedy}"
        return ""

    async def _runtime(self) -> str:
        """The node's container runtime and its version, "" while no Node says. KubeError."""
        if self._node is None:
            return ""
        status = (await self._node.read_node()).get("status", {})
        return str(status.get("nodeInfo", {}).get("containerRuntimeVersion", ""))

    def _log_unseen(self) -> None:
        unseen = next(filter(None, map(self._plugin.unseen, self._names)), "")
        if unseen and unseen != self._unseen:
            log.info("a plugin is out of sight", extra={"why": unseen})
        self._unseen = unseen

    def _require_directories(self) -> None:
        """AzureCniError when a directory was replaced on the node while this container still sees the former one."""
        try:
            replaced = self._directories.replaced()
        except OSError as error:
            log.warning("cannot see what is mounted", extra={"why": str(error)})
            return
        if replaced:
            raise AzureCniError(
                f"cannot go on in this container: {replaced}, and what is there now only a new container sees; "
                "the agent ends, the kubelet starts it again, and pods keep running"
            )
