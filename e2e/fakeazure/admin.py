"""The admin API: JSON over http on a unix socket, one message type per request.

    GET    /nics                          every NIC: VM, subnet, state, counts
    GET    /nics/{name}                   its document, as the resource manager shows it
    DELETE /nics/{name}                   only if no VM has it
    POST   /nics/{name}/touch             another tool writes a tag, which changes the etag
    POST   /nics/{name}/write             {keeps_ours} another tool writes all of it and cancels a running write
    POST   /nics/{name}/appear            {count} another tool adds addresses to the NIC
    POST   /nics/{name}/vanish            {addresses, taken} another tool removes them, and has them if `taken`
    POST   /nics/{name}/meddle            {by} capz, ccm or terraform writes it from what it knows of it
    GET    /vms   POST /vms               {name, subnet, secondaries, tags, address, public_ip}
    PATCH  /vms/{name}                    {size, fault_domain} resized, or on another host
    DELETE /vms/{name}                    {keep_nic}
    POST   /vms/{name}/reimage            an instance of a Uniform scale set gets the set's model back
    GET    /subnets
    PUT    /subnets                       {prefix, subnet} change its prefix
    PATCH  /subnets/{name}                {prefix, security_group, route_table, service_endpoints, default_outbound,
                                          ipv6} make a subnet ("VNET/NAME" for another VNet), or change what is said
    PATCH  /nics/{name}                   {security_group, application_security_groups, ip_forwarding} another tool's
                                          write, with its operation
    GET    /resources/{kind}              networkSecurityGroups, applicationSecurityGroups or routeTables
    GET    /resources/{kind}/{name}       the document, as the resource manager shows it
    PUT    /resources/{kind}/{name}       {properties} as the resource manager takes them
    DELETE /resources/{kind}/{name}
    GET    /rules/{name}                  a security group's rules in their order, with the packets that each one judged
    GET    /storage                       storage accounts
    PUT    /storage/{name}                {open, subnets} whom it lets in
    POST   /take   POST /give-back        {count | leave, subnet} other tools use addresses
    GET    /faults   POST /faults         {kind, operation, resource, times, seconds, chance, duration}
    DELETE /faults   DELETE /faults/{id}
    GET    /permissions   PUT             {actions, principal}; forbid: "!" before an action
    GET    /settings   PUT /settings      {operation_duration_s}
    POST   /events                        {vm, kind, in_seconds} a scheduled event
    GET    /calls                         requests by operation
    GET    /writes                        {since} every PUT of a NIC or of a scale set's instance, refused ones included
    GET    /changes                       {since} every change of addresses, as JSON lines

Load balancers, public IPs, NAT gateways, further NICs: see `fakeazure.adminbalancers`. Identities and roles: see
`fakeazure.adminidentities`.
The fields of a body may also be given in the query. A 400 has {"error": why}; an unknown field is one.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from fakeazure import adminbalancers as balancers
from fakeazure import adminfilters as filters
from fakeazure import adminidentities as identities
from fakeazure import adminmessages as messages
from fakeazure.errors import ArmError

if TYPE_CHECKING:
    from fakeazure.fake import FakeAzure

ROUTES: dict[tuple[str, str], type[messages.Message]] = {
    ("GET", "/nics"): messages.ListNics,
    ("GET", "/nics/{name}"): messages.OneNic,
    ("DELETE", "/nics/{name}"): messages.DeleteNic,
    ("POST", "/nics/{name}/touch"): messages.TouchNic,
    ("POST", "/nics/{name}/write"): messages.WriteNic,
    ("POST", "/nics/{name}/appear"): messages.Appear,
    ("POST", "/nics/{name}/vanish"): messages.Vanish,
    ("POST", "/nics/{name}/meddle"): messages.Meddle,
    ("GET", "/vms"): messages.ListVms,
    ("POST", "/vms"): messages.AddVm,
    ("PATCH", "/vms/{name}"): messages.ChangeVm,
    ("DELETE", "/vms/{name}"): messages.DeleteVm,
    ("POST", "/vms/{name}/reimage"): messages.ReimageVm,
    ("GET", "/subnets"): messages.ListSubnets,
    ("PUT", "/subnets"): messages.ResizeSubnet,
    ("PATCH", "/subnets/{name:.+}"): filters.ChangeSubnet,
    ("PATCH", "/nics/{name}"): filters.ChangeNic,
    ("GET", "/resources/{kind}"): filters.ListResources,
    ("GET", "/resources/{kind}/{name}"): filters.OneResource,
    ("PUT", "/resources/{kind}/{name}"): filters.PutResource,
    ("DELETE", "/resources/{kind}/{name}"): filters.DeleteResource,
    ("GET", "/rules/{name}"): filters.Rules,
    ("GET", "/storage"): filters.ListStorage,
    ("PUT", "/storage/{name}"): filters.PutStorage,
    ("POST", "/take"): messages.Take,
    ("POST", "/give-back"): messages.GiveBack,
    ("GET", "/faults"): messages.ListFaults,
    ("POST", "/faults"): messages.AddFault,
    ("DELETE", "/faults"): messages.ClearFaults,
    ("DELETE", "/faults/{id}"): messages.ClearFaults,
    ("GET", "/permissions"): messages.ListPermissions,
    ("PUT", "/permissions"): messages.SetPermissions,
    ("GET", "/settings"): messages.Settings,
    ("PUT", "/settings"): messages.SetSettings,
    ("POST", "/events"): messages.ScheduleEvent,
    ("GET", "/calls"): messages.Calls,
    ("GET", "/writes"): messages.Writes,
    ("GET", "/changes"): messages.Changes,
}


def admin_application(azure: "FakeAzure") -> web.Application:
    """The web application of all messages."""
    app = web.Application()
    for (method, path), message in (ROUTES | balancers.ROUTES | identities.ROUTES).items():
        app.router.add_route(method, path, _handler(azure, message))
    return app


def _handler(azure: "FakeAzure", message: type[messages.Message]) -> Callable[[web.Request], Awaitable[web.Response]]:
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
        if message is messages.Changes:
            lines = b"".join(msgspec.json.encode(change) + b"\n" for change in result)
            return web.Response(body=lines, content_type="application/x-ndjson")
        return _json(result if result is not None else {})

    return handle


def _json(document: Any, *, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(document), status=status, content_type="application/json")
