"""How many ipConfigurations a VM's further NICs have: Azure's limit of 256 is the VM's, whatever NIC they are on.

A NIC that has gone counts nothing. One that cannot be read counts as it was last seen, and before that as one, which
every NIC has: that the pool's own NIC can be read is enough to go on.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from azure_cni.azure import nic_document
from azure_cni.azure.arm import Arm
from azure_cni.azure.resources import Resource
from azure_cni.errors import CloudError, CloudNotFound
from azure_cni.model.nic import NicID

log = logging.getLogger(__name__)


class NicsBeside:
    """Those of one VM."""

    def __init__(self, arm: Arm, nic_ids: Sequence[NicID]) -> None:
        self._arm = arm
        self._found = dict.fromkeys(nic_ids, 1)
        self._unread: dict[NicID, str] = {}
        """Why those could not be read that could not: it is logged once, not at each of a node's readings."""

    async def count(self) -> int:
        """The ipConfigurations of all of them, by one GET of each."""
        for nic_id in self._found:
            try:
                self._found[nic_id] = await self._configurations(nic_id)
            except CloudNotFound:
                self._found[nic_id] = 0
            except CloudError as error:
                self._note(nic_id, error)
                continue
            self._unread.pop(nic_id, None)
        return sum(self._found.values())

    def _note(self, nic_id: NicID, error: CloudError) -> None:
        if self._unread.get(nic_id) == error.reason:
            return
        self._unread[nic_id] = error.reason
        facts = {"nic": nic_id, "counts": self._found[nic_id], "reason": error.reason, "error": str(error)}
        log.info("cannot count the ipconfigurations of another nic of the vm", extra=facts)

    async def _configurations(self, nic_id: NicID) -> int:
        resource = Resource.parse(nic_id)
        document = nic_document.check(await self._arm.get(resource), what=f"read {resource.label}")
        return len(document.configs)
