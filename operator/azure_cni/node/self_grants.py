"""A node that grants itself what it asks for, up to its pool's limit: the way without a controller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from azure_cni.api.pool import Request
from azure_cni.ipam.grants import self_grant
from azure_cni.ipam.limits import MAX_ADDRESSES_PER_NODE
from azure_cni.node.ports import Grant


class SelfGrants:
    """Every request is answered at once. `maximum` is a hard ceiling per node, whatever a pool's spec says."""

    recorded = False

    def __init__(self, maximum: int = MAX_ADDRESSES_PER_NODE) -> None:
        self._maximum = maximum

    def read(self, pool: Mapping[str, Any], request: Request) -> Grant:  # noqa: ARG002  # the port's
        """The request itself, within the ceiling."""
        return Grant(count=self_grant(request.count, self._maximum), request_id=request.number)

    def status(self, grant: Grant) -> dict[str, Any]:
        """This node is its own grantor, so it writes both fields; a controller's words, from before, go."""
        return {"granted": grant.count, "grantedFor": grant.request_id, "grantReason": None, "grantMessage": None}
