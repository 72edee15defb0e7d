"""Listening to the kernel: what was heard is not lost, and a socket that fails is no silence."""

from __future__ import annotations

import asyncio
import socket
from types import SimpleNamespace
from typing import cast

import pytest

from azure_cni.errors import DatapathError
from azure_cni.linux.host_changes import HostChanges, Listeners
from azure_cni.node.ports import HostChange

REMOVED = HostChange(sandboxes=True, cause="route 10.240.0.7/32 was removed")
WHY = "cannot listen for changes of the network: No such device"


class Ears:
    """Both listeners: nothing is heard of nftables; of routes, one change, and then the socket fails."""

    def __init__(self) -> None:
        near, self.kernel = socket.socketpair()
        self._near, self._silent = near, socket.socket()
        self.netfilter = SimpleNamespace(socket=self._silent)
        self.routes = SimpleNamespace(socket=SimpleNamespace(socket=near), read=self._read)

    def _read(self) -> tuple[list[HostChange], bool]:
        if self._near.recv(1) == b"!":
            raise DatapathError(WHY)
        return [REMOVED], False

    def close(self) -> None:
        for one in (self.kernel, self._near, self._silent):
            one.close()


async def test_a_socket_that_fails_is_said_to_whoever_waits_and_asks_again() -> None:
    """What compares would otherwise believe for ever that nobody changes anything."""
    ears = Ears()
    changes = HostChanges(cast("Listeners", ears))
    waiting = asyncio.create_task(changes.changed())
    await asyncio.sleep(0)
    ears.kernel.send(b".")
    assert await waiting == REMOVED
    ears.kernel.send(b".!")
    assert await changes.changed() == REMOVED
    for _ in range(2):
        with pytest.raises(DatapathError, match="No such device"):
            async with asyncio.timeout(5):
                await changes.changed()
    changes.close()
