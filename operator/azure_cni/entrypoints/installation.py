"""When this node takes pods: binary and conflist, put in place once a pod can start, and kept as they should be.

The conflist outlives a reboot, and would have the node Ready again before there is an address or even an agent. So
the first agent after one withdraws it. An agent that finds a ledger was only restarted: pods come and go as before.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from azure_cni.cni.conflist import conflist
from azure_cni.entrypoints.settings import HostSettings
from azure_cni.errors import AzureCniError
from azure_cni.host.install import HostPlugin
from azure_cni.node.board import Board, Book

log = logging.getLogger(__name__)


class Installation:
    """Makes the container runtime use us, or not yet."""

    def __init__(self, settings: HostSettings, *, board: Board, book: Book, wake: Callable[[], None]) -> None:
        self._settings = settings
        self._board = board
        self._book = book
        self._wake = wake
        self._plugin = HostPlugin(settings.plugin, settings.bin_dir, settings.conf_dir, settings.conf_name)

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
            if self._plugin.withdraw():
                log.info("conflist withdrawn until a pod can start", extra={"path": str(self._plugin.conflist)})
        except AzureCniError as error:
            log.warning("the conflist of before the reboot stays", extra={"why": str(error)})

    async def once(self) -> None:
        """Make both files what they should be, or say why no pod can start. AzureCniError."""
        host, plugin = self._settings, self._plugin
        obstacle = plugin.missing("portmap") if host.chain_portmap else ""
        if obstacle != self._board.obstacle:
            self._board.obstacle = obstacle
            self._wake()
        if plugin.install_binary():
            log.info("plugin installed", extra={"path": str(plugin.binary)})
        if obstacle:
            log.warning("no pod can start here", extra={"why": obstacle})
        elif plugin.activate(conflist(socket=str(host.run_dir / "cni.sock"), portmap=host.chain_portmap)):
            log.info("conflist written: this node takes pods", extra={"path": str(plugin.conflist)})
        if warning := plugin.warning():
            log.warning("another network plugin comes first", extra={"why": warning})
