"""When this node takes pods: binary and conflist, put in place once a pod can start, and kept as they should be.

A few `lstat` every other second show what others change there: a plugin that is removed, an edited conflist, another
network plugin. So people read within seconds what is so.

The conflist outlives a reboot, and would have the node Ready again before there is an address or even an agent. So
the first agent after one withdraws it. An agent that finds a ledger was only restarted: pods come and go as before.

But without a conflist the runtime cannot carry out a DEL: pods of before the reboot that are deleted meanwhile (or
evicted, after five minutes) stay Terminating, and the kubelet logs FailedKillPod again and again until Azure answers.
So where the runtime asks STATUS, a conflist that holds takes the place of the withdrawn one: the node stays NotReady by
the agent's own answer, and old pods can end.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from azure_cni.cni.conflist import VERSION, asks_status, conflist, holding_conflist
from azure_cni.entrypoints.settings import HostSettings
from azure_cni.errors import AzureCniError, KubeError
from azure_cni.host.install import HostPlugin
from azure_cni.host.mounts import NodeDirectories
from azure_cni.host.served import ServedMark
from azure_cni.host.spoken import spoken_versions
from azure_cni.node.board import Board, Book
from azure_cni.node.ports import Clock, Node

log = logging.getLogger(__name__)

Speaks = Callable[[Path], Awaitable[frozenset[str]]]

LOOK_S: Final = 2.0
"""So soon is noticed what others change."""
FULL_S: Final = 60.0
"""So often all of it is compared byte by byte, whether something seems to have changed or not."""
REMEDY: Final = "install newer reference CNI plugins, set cni.chainPortmap=false"
NAMESPACES: Final = Path("/run/netns")
"""Where the runtime keeps pods' network namespaces; the chart mounts it."""


class Installation:
    """Makes the container runtime use us, or not yet."""

    def __init__(
        self,
        settings: HostSettings,
        *,
        board: Board,
        book: Book,
        wake: Callable[[], None],
        node: Node,
        clock: Clock,
        directories: NodeDirectories | None = None,
        speaks: Speaks = spoken_versions,
    ) -> None:
        self._settings = settings
        self._board = board
        self._book = book
        self._wake = wake
        self._node = node
        self._clock = clock
        self._speaks = speaks
        self._plugin = HostPlugin(settings.plugin, settings.bin_dir, settings.conf_dir, settings.conf_name)
        self._directories = directories or NodeDirectories(
            (settings.bin_dir, settings.conf_dir, settings.run_dir, NAMESPACES)
        )
        self._mark = ServedMark(settings.run_dir)
        self._socket = str(settings.run_dir / "cni.sock")
        self._chained = ("portmap",) if settings.chain_portmap else ()
        self._holds: bool | None = None
        self._asked: object = None
        self._objection = ""
        self._seen: tuple[object, ...] | None = None
        self._full_at_s = 0.0
        self._unseen = ""

    @property
    def wanted(self) -> bool:
        """Pods can be wired, and there is an address to give."""
        return self._board.ready and bool(self._book.ledger.counts().allocated)

    def begin(self) -> None:
        """Withdraw the conflist if this is the first agent since the node booted. Never raises: it is no more than that
        the node looks Ready too early.
        """
        if self._book.ledger.slots:
            return
        try:
            self._mark.clear()
            if self._plugin.withdraw():
                log.info("conflist withdrawn until a pod can start", extra={"path": str(self._plugin.conflist)})
        except AzureCniError as error:
            log.warning("the conflist of before the reboot stays", extra={"why": str(error)})

    async def run(self) -> None:
        """Keep both files as they should be, from when a pod can start first; what comes later is told elsewhere.

        AzureCniError when only another container of the agent can do that.
        """
        begun = False
        while True:
            self._require_directories()
            begun = begun or self.wanted
            if not begun:
                await self.hold()
                await self._board.bell.wait(LOOK_S)
                continue
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def hold(self) -> None:
        """Let pods of before a reboot end while none can start, where the runtime can. Never raises: it is tried again.

        Not where a ledger says that pods could start before: there the conflist stands. And not beside other
        configurations: the runtime uses one of those meanwhile, and would take ours in its place.
        """
        if self._holds is not None or self._book.ledger.slots:
            return
        try:
            runtime = await self._runtime()
            if not runtime:
                return
            self._holds = asks_status(runtime) and self._plugin.alone and not self._book.ledger.slots
            if self._holds:
                self._plugin.install_binary()
                self._plugin.activate(holding_conflist(socket=self._socket))
                log.info(
                    "conflist written by which pods can end; none can start yet",
                    extra={"path": str(self._plugin.conflist), "runtime": runtime},
                )
        except (AzureCniError, OSError) as error:
            self._holds = None
            log.debug("no conflist by which pods can end", extra={"why": str(error)})

    async def look(self) -> None:
        """`once` if something changed since, or the last time is long ago. What goes wrong is told and tried again."""
        now_s = asyncio.get_running_loop().time()
        if self._plugin.signature(self._chained) == self._seen and now_s - self._full_at_s < FULL_S:
            return
        try:
            await self.once()
        except AzureCniError as error:
            log.warning("periodic work failed", extra={"work": "install", "reason": error.reason, "error": str(error)})
        self._full_at_s = now_s
        self._seen = self._plugin.signature(self._chained)

    async def once(self) -> None:
        """Make both files what they should be, or say why no pod can start. AzureCniError."""
        host, plugin = self._settings, self._plugin
        obstacle = next(filter(None, map(plugin.missing, self._chained)), "")
        if obstacle != self._board.obstacle:
            self._board.obstacle = obstacle
            self._wake()
        self._tell_unseen()
        if plugin.install_binary():
            log.info("plugin installed", extra={"path": str(plugin.binary)})
        if obstacle:
            log.warning("no pod can start here", extra={"why": obstacle})
        else:
            version = await self._version()
            if plugin.activate(conflist(version=version, socket=self._socket, portmap=host.chain_portmap)):
                facts = {
                    "path": str(plugin.conflist),
                    "version": version,
                    "since_boot_s": round(self._clock.boottime_s()),
                }
                log.info("conflist written: this node takes pods", extra=facts)
            self._mark.set()
        if warning := plugin.warning():
            log.warning("another network plugin comes first", extra={"why": warning})

    async def _version(self) -> str:
        """What the conflist may be: what is wished for, unless the runtime or a chained plugin does not speak it."""
        wished = self._settings.spec_version
        if wished == VERSION:
            return wished
        now = [self._plugin.identity(plugin) for plugin in self._chained]
        if self._asked == now and not self._objection:
            return wished
        found = await self._objection_to(wished)
        if found and found != self._objection:
            log.warning("conflist of an older version", extra={"version": VERSION, "why": found})
        self._asked, self._objection = now, found
        return VERSION if found else wished

    async def _objection_to(self, version: str) -> str:
        """Why the conflist cannot be of this version, in words; "" when it can."""
        stay = f"or set cni.specVersion={VERSION}"
        try:
            runtime = await self._runtime()
            if not asks_status(runtime):
                return f"the runtime {runtime} is not known to speak {version}; {stay}"
            for plugin in self._chained:
                spoken = await self._speaks(self._plugin.bin_dir / plugin)
                if version not in spoken:
                    told = ", ".join(sorted(spoken))
                    return f"the plugin {plugin} does not speak {version}, but only {told}; {REMEDY}, {stay}"
        except KubeError as error:
            return f"cannot see whether the runtime speaks {version}: {error}; it is tried again"
        except AzureCniError as error:
            return f"{error}; {REMEDY}, {stay}"
        return ""

    async def _runtime(self) -> str:
        """The node's container runtime and its version, "" while the Node does not say. KubeError."""
        status = (await self._node.read_node()).get("status", {})
        return str(status.get("nodeInfo", {}).get("containerRuntimeVersion", ""))

    def _tell_unseen(self) -> None:
        unseen = next(filter(None, map(self._plugin.unseen, self._chained)), "")
        if unseen and unseen != self._unseen:
            log.info("a plugin is out of sight", extra={"why": unseen})
        self._unseen = unseen

    def _require_directories(self) -> None:
        """AzureCniError when the node has replaced a directory that this container goes on seeing as it was."""
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
