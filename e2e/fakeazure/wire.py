"""Requests and answers without a web server: the types that handlers take and return.

Handlers are plain functions on these values, so each request is carried out at one instant, and a simulation of
thousands of nodes may call them without a socket.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from fakeazure import errors
from fakeazure.names import ResourceId

JSON = "application/json; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Request:
    """`base_url` is the scheme and host that the client used; `source` its address; header names are lower case."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    base_url: str = "https://management.azure.com"
    source: str = ""

    def json(self) -> Any:
        try:
            return msgspec.json.decode(self.body)
        except msgspec.DecodeError as error:
            raise errors.invalid_content(str(error)) from error


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply; `fate` "lost" drops the connection instead, "silent" leaves the client waiting."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = JSON
    fate: Literal["sent", "lost", "silent"] = "sent"
    foreign: bool = False
    """Somebody else answers: the headers that Azure always sends are not there."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request to the resource manager that may proceed: who asks, about what, and when."""

    request: Request
    resource: ResourceId
    principal_id: str
    operation: str
    now: float

    @property
    def api_version(self) -> str:
        return self.request.query["api-version"]


def json_answer(document: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(status, msgspec.json.encode(document), headers or {})


def error_answer(error: errors.ArmError) -> Answer:
    return json_answer(error.document(), status=error.status, headers=error.headers)
