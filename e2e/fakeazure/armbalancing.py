"""Requests about load balancers, public IP addresses and NAT gateways: ROUTES, and HANDLERS by operation name."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from fakeazure import errors, loadbalancers, natgateways, publicips, tracked
from fakeazure.errors import ArmError
from fakeazure.identity import Principal
from fakeazure.lbrules import CHILDREN, FRONTENDS
from fakeazure.names import ResourceId
from fakeazure.records import Document
from fakeazure.wire import Answer, Call, json_answer

if TYPE_CHECKING:
    from fakeazure.fake import FakeAzure

KINDS: Final = {
    loadbalancers.KIND: ("load-balancer", loadbalancers),
    publicips.KIND: ("public-ip", publicips),
    natgateways.KIND: ("nat-gateway", natgateways),
}


def _routes() -> Mapping[tuple[str, str], tuple[str, str]]:
    """By method and pattern below Microsoft.Network: the operation's name, and the action that a role must have."""
    table: dict[tuple[str, str], tuple[str, str]] = {}
    for kind, (name, _) in KINDS.items():
        table[("GET", f"{kind}/*")] = (f"{name}.get", f"{kind}/read")
        table[("GET", kind)] = (f"{name}.list", f"{kind}/read")
        table[("PUT", f"{kind}/*")] = (f"{name}.put", f"{kind}/write")
        table[("DELETE", f"{kind}/*")] = (f"{name}.delete", f"{kind}/delete")
    for child in CHILDREN:
        where = f"{loadbalancers.KIND}/*/{child}"
        table[("GET", f"{where}/*")] = ("load-balancer.child.get", f"{loadbalancers.KIND}/{child}/read")
        table[("GET", where)] = ("load-balancer.child.list", f"{loadbalancers.KIND}/{child}/read")
    return table


ROUTES: Final = _routes()


def _shown(azure: "FakeAzure", kind: str, document: Document) -> Document:
    if kind == loadbalancers.KIND:
        return loadbalancers.shown(azure, document)
    return natgateways.shown(azure, document) if kind == natgateways.KIND else document


def _get(azure: "FakeAzure", call: Call, *, kind: str) -> Answer:
    document = _document(azure, call.resource, call.request.path)
    return json_answer(_shown(azure, kind, document), headers={"ETag": document["etag"]})


def _list(azure: "FakeAzure", call: Call, *, kind: str) -> Answer:
    group = f"/resourcegroups/{call.resource.group}/".lower()
    inside = [
        _shown(azure, kind, document)
        for document in tracked.of_kind(azure, kind)
        if not call.resource.group or group in document["id"].lower()
    ]
    return _page(call, inside, size=azure.page_size)


def _put(azure: "FakeAzure", call: Call, *, kind: str) -> Answer:
    before = azure.network.others.get(call.request.path.lower())
    _check_etag(call, before)
    body = call.request.json()
    _check_links(azure, call, kind, body)
    document = KINDS[kind][1].write(azure, call.request.path, body)
    return json_answer(document, status=200 if before else 201, headers={"ETag": document["etag"]})


def _delete(azure: "FakeAzure", call: Call, *, kind: str) -> Answer:
    document = azure.network.others.get(call.request.path.lower())
    if document is None:
        return Answer(204)
    KINDS[kind][1].delete(azure, document)
    return Answer(200)


def _get_child(azure: "FakeAzure", call: Call) -> Answer:
    document, kind = _balancer_of(azure, call)
    child = loadbalancers.shown_child(azure, document, kind, call.resource.leaf)
    if child is None:
        raise errors.resource_not_found(call.resource.typed_name, call.resource.group)
    return json_answer(child, headers={"ETag": child["etag"]})


def _list_children(azure: "FakeAzure", call: Call) -> Answer:
    document, kind = _balancer_of(azure, call)
    return _page(call, loadbalancers.shown(azure, document)["properties"].get(kind, []), size=azure.page_size)


def _balancer_of(azure: "FakeAzure", call: Call) -> tuple[Document, str]:
    """The load balancer that a path lies in, and the kind of child, in the API's spelling."""
    path = "/".join(call.request.path.split("/")[:9])
    kind = next(child for child in CHILDREN if child.lower() == call.resource.types[1].lower())
    return _document(azure, call.resource, path), kind


HANDLERS: Final[dict[str, Callable[["FakeAzure", Call], Answer]]] = {
    "load-balancer.child.get": _get_child,
    "load-balancer.child.list": _list_children,
    **{
        f"{name}.{verb}": partial(handler, kind=kind)
        for kind, (name, _) in KINDS.items()
        for verb, handler in (("get", _get), ("list", _list), ("put", _put), ("delete", _delete))
    },
}


def _document(azure: "FakeAzure", resource: ResourceId, path: str) -> Document:
    document = azure.network.others.get(path.lower())
    if document is None:
        raise errors.resource_not_found(resource.typed_name, resource.group)
    return document


def _check_etag(call: Call, document: Document | None) -> None:
    given = call.request.headers.get("if-match")
    if given and given != "*" and document and given != document["etag"]:
        raise errors.precondition_failed(document["id"], given=given, current=document["etag"])


def _check_links(azure: "FakeAzure", call: Call, kind: str, body: Any) -> None:
    """The writer must be allowed to join the subnets and public IPs that the body refers to."""
    properties = (body.get("properties") or {}) if isinstance(body, dict) else {}
    public, subnet = "publicIPAddresses/join/action", "virtualNetworks/subnets/join/action"
    wanted = [(public, item) for item in properties.get("publicIpAddresses") or ()]
    for frontend in (properties.get(FRONTENDS) or ()) if kind == loadbalancers.KIND else ():
        given = frontend.get("properties") or {}
        wanted += [
            (action, given[key]) for action, key in ((public, "publicIPAddress"), (subnet, "subnet")) if given.get(key)
        ]
    principal: Principal = azure.identity.principals[call.principal_id]
    pairs = [(f"Microsoft.Network/{action}", item["id"]) for action, item in wanted]
    if missing := [pair for pair in pairs if not azure.identity.allows(principal, pair[0], scope=pair[1])]:
        raise _no_link(principal, call, kind, missing)


def _no_link(principal: Principal, call: Call, kind: str, missing: list[tuple[str, str]]) -> ArmError:
    action = f"Microsoft.Network/{kind}/write"
    return errors.forbidden_link(principal.object_id, action=action, scope=call.request.path, missing=missing)


def _page(call: Call, items: list[Document], *, size: int) -> Answer:
    """One page of a list, and the link to the next."""
    skip = int(call.request.query.get("$skipToken", "0"))
    document: Document = {"value": items[skip : skip + size]}
    if skip + size < len(items):
        query = urlencode({"api-version": call.api_version, "$skipToken": str(skip + size)})
        document["nextLink"] = f"{call.request.base_url}{call.request.path}?{query}"
    return json_answer(document)
