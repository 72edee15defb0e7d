"""What executing a NIC operation asks of the API server, and how it goes on when that does not answer."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from azure_cni.api import nic_operation
from azure_cni.api.vnet_quota import LedgerEntry
from azure_cni.cluster.ports import MemberPools, Reservations
from azure_cni.errors import CloudUnreachable, KubeConflict, KubeError, KubeNotFound
from azure_cni.ipam.limits import delay_s
from azure_cni.model.nic import VNetID

log = logging.getLogger(__name__)

T = TypeVar("T")


async def insist(call: Callable[[], Awaitable[T]], *, pool: str, failed: Callable[[], None] = lambda: None) -> T | None:
    """Repeat the call until it succeeds. None when its object is gone. `pool` is whose operation waits, for the log.

    `failed` is called after each failure. Failures are logged less and less often.
    """
    attempts = 0
    while True:
        try:
            return await call()
        except KubeNotFound:
            return None
        except KubeError as error:
            attempts += 1
            failed()
            if attempts & (attempts - 1) == 0:  # the first, second, fourth, eighth...
                facts = {"pool": pool, "attempts": attempts, "reason": error.reason, "error": str(error)}
                log.warning("cannot execute a node's NIC operation yet", extra=facts)
            await asyncio.sleep(delay_s(attempts, retry_after_s=None, jitter=random.random()))  # noqa: S311


async def write_result(pools: MemberPools, name: str, number: int, document: Mapping[str, Any]) -> None:
    """Write the result of an operation, unless the node has written another one or another controller was faster."""
    while True:
        pool = await pools.read(name)
        if pool is None or nic_operation.pending(pool) != number:
            return
        try:
            await pools.write(name, version=pool.version.number, status={"nicOperationResult": document})
        except KubeConflict:
            await asyncio.sleep(0)
        else:
            return


async def entry_of(reservations: Reservations, name: str, vnet_id: VNetID, grant_number: int) -> LedgerEntry:
    """By the ledger. If that cannot be read, the node gets the error; retrying here would block other writes."""
    try:
        return await reservations.of(name, vnet_id, request_id=grant_number)
    except KubeError as error:
        raise CloudUnreachable(
            f"cannot change the NIC of node {name}: the VNetQuota with its grant cannot be read: {error}"
        ) from error
