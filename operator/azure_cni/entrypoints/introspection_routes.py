"""What people may read of an agent, on the socket that runtimes use, which is for root alone.

It is not served on the port for metrics: that port is open to the network, and a request that comes by the API server's
proxy carries nobody's token, because the API server removes it. So nothing there could tell who asks. Who may start a
process in the agent's container (`pods/exec`) is root on the node already, and learns nothing new here.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from ipaddress import IPv4Address
from typing import Final

import msgspec
from aiohttp import web

from azure_cni.api import audit_reports, introspection
from azure_cni.api.audit_reports import WRITES_PATH, AuditReport, UsageReport, WritesReport
from azure_cni.api.trace_reports import MOST_DESTINATIONS, TRACE_PATH
from azure_cni.errors import AzureCniError, ConfigInvalid, RequestError
from azure_cni.faults import Faults
from azure_cni.node.audit import AuditTrail
from azure_cni.node.pool.inspector import Inspector
from azure_cni.node.pool.path_inspector import PathInspector

log = logging.getLogger(__name__)

JSON: Final = "application/json"
_NO_TRAIL: Final = "no audit trail is kept (audit.enabled is false)"
_Ask = Callable[[web.Request], Awaitable[msgspec.Struct]]


def add_introspection(
    app: web.Application,
    inspector: Inspector,
    *,
    paths: PathInspector,
    node_name: str,
    faults: Faults,
    audit: AuditTrail | None = None,
) -> None:
    """Add its routes, which only answer GET, to those of the runtime."""

    async def node(_: web.Request) -> msgspec.Struct:
        return await inspector.describe(node=node_name)

    async def trace(request: web.Request) -> msgspec.Struct:
        destinations = [_address(one) for one in request.query.getall("to", [])]
        if not 0 < len(destinations) <= MOST_DESTINATIONS:
            raise ConfigInvalid(
                f"cannot trace to {len(destinations)} destinations: name 1 to {MOST_DESTINATIONS} by to=ADDRESS"
            )
        source = _address(request.query.get("source", ""))
        return await paths.describe(source, destinations, node=node_name)

    app.router.add_get(TRACE_PATH, _answering(trace, faults))
    app.router.add_get(introspection.NODE_PATH, _answering(node, faults))
    _add_trail(app, audit, inspector, node_name=node_name, faults=faults)


def _add_trail(
    app: web.Application, audit: AuditTrail | None, inspector: Inspector, *, node_name: str, faults: Faults
) -> None:
    """What the audit trail answers; without one, that there is none."""

    async def trail(request: web.Request) -> msgspec.Struct:
        address = _address(request.query.get("address", ""))
        if audit is None:
            return AuditReport(node_name, str(address), error=_NO_TRAIL)
        return await audit.find(address)

    async def usage(_: web.Request) -> msgspec.Struct:
        if audit is None:
            return UsageReport(node_name, error=_NO_TRAIL)
        return msgspec.structs.replace(await audit.usage(), pool=inspector.describe_pool())

    async def writes(_: web.Request) -> msgspec.Struct:
        return WritesReport(node_name, error=_NO_TRAIL) if audit is None else await audit.writes()

    app.router.add_get(audit_reports.AUDIT_PATH, _answering(trail, faults))
    app.router.add_get(audit_reports.USAGE_PATH, _answering(usage, faults))
    app.router.add_get(WRITES_PATH, _answering(writes, faults))


def _address(text: str) -> IPv4Address:
    try:
        return IPv4Address(text)
    except ValueError:
        raise ConfigInvalid(f"cannot look for {text!r}: it is not an IPv4 address") from None


def _answering(ask: _Ask, faults: Faults) -> Callable[[web.Request], Awaitable[web.Response]]:
    """An error is an answer in words, and affects nothing else."""

    async def answer(request: web.Request) -> web.Response:
        try:
            with faults.guard("introspection"):
                body = introspection.encode_report(await ask(request))
        except AzureCniError as error:
            log.info("introspection refused", extra={"path": request.path, "error": str(error)})
            wrong = isinstance(error, RequestError)
            status = HTTPStatus.BAD_REQUEST if wrong else HTTPStatus.INTERNAL_SERVER_ERROR
            return web.json_response({"error": str(error)}, status=status)
        return web.Response(body=body, content_type=JSON)

    return answer
