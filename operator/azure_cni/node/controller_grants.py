"""A node whose requests the cluster's controller answers: it reads the answer in its own pool and writes none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from azure_cni.api import pool as pool_api
from azure_cni.api import reading
from azure_cni.api.conditions import NODE_AT_LIMIT
from azure_cni.api.pool import Request
from azure_cni.ipam.grants import usable
from azure_cni.node.ports import Grant


class ControllerGrants:
    """Implements `azure_cni.node.ports.Grants`. A request counts only once it stands in the pool."""

    recorded = True

    def read(self, pool: Mapping[str, Any], request: Request) -> Grant:
        """What the pool shows: nothing to use until it answers the newest request; a refusal also before that."""
        seen, status = pool_api.view(pool), reading.status_of(pool)
        refusal = reading.text(status.get("grantReason"))
        answered = seen.request == request and seen.granted_for == request.number
        return Grant(
            count=usable(request, seen),
            request_id=request.number if answered else 0,
            refusal=refusal,
            message=reading.text(status.get("grantMessage")),
            ceiling=seen.granted if refusal == NODE_AT_LIMIT else None,
        )

    def status(self, grant: Grant) -> dict[str, Any]:  # noqa: ARG002  # the port's
        """Nothing: the API server would refuse it."""
        return {}
