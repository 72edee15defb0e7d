"""The admin API: JSON over http on a unix socket, one message type per request.

    GET    /nics                          every NIC: VM, subnet, state, counts
    GET    /nics/{name}                   its document, as the resource manager shows it
    DELETE /nics/{name}                   of no VM
    POST   /nics/{name}/touch             another tool writes a tag: a new etag
    POST   /nics/{name}/write             {keeps_ours} another tool's whole PUT: cancels a write under way
    POST   /nics/{name}/appear            {count} addresses come behind our back
    POST   /nics/{name}/vanish            {addresses} and go
    GET    /vms   POST /vms               {name, subnet, secondaries, tags, address, public_ip}
    DELETE /vms/{name}                    {keep_nic}
    GET    /subnets
    PUT    /subnets                       {prefix, subnet} another size
    POST   /take   POST /give-back        {count | leave, subnet} another tool's addresses
    GET    /faults   POST /faults         {kind, operation, resource, times, seconds, chance, duration}
    DELETE /faults   DELETE /faults/{id}
    GET    /permissions   PUT             {actions, principal}; forbid: "!" before an action
    GET    /settings   PUT /settings      {operation_duration_s}
    POST   /events                        {vm, kind, in_seconds} a scheduled event
    GET    /calls                         requests by operation
    GET    /writes                        {since} every PUT of a NIC, refused ones too
    GET    /changes                       {since} every change of addresses, as JSON lines

A body's fields may also stand in the query. 400 has {"error": why}, also for an unknown field.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from fakes.azure.adminmessages import ROUTES, Changes, Message
from fakes.azure.errors import ArmError

if TYPE_CHECKING:
    from fakes.azure.fake import FakeAzure


def admin_application(azure: "FakeAzure") -> web.Application:
    """The web application of all messages."""
    app = web.Application()
    for (method, path), message in ROUTES.items():
        app.router.add_route(method, path, _handler(azure, message))
    return app


def _handler(azure: "FakeAzure", message: type[Message]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        try:
            body = await request.read()
            fields = msgspec.json.decode(body, type=dict[str, Any]) if body else {}
            result = msgspec.convert({**request.query, **request.match_info, **fields}, message, strict=False).run(
                azure
            )
        except ArmError as error:
            return _json({"error": f"{error.code}: {error.message}"}, status=400)
        except (ValueError, KeyError) as error:
            return _json({"error": str(error.args[0] if error.args else error)}, status=400)
        if message is Changes:
            lines = b"".join(msgspec.json.encode(change) + b"\n" for change in result)
            return web.Response(body=lines, content_type="application/x-ndjson")
        return _json(result if result is not None else {})

    return handle


def _json(document: Any, *, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(document), status=status, content_type="application/json")
