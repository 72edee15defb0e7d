"""The little of a Pod that an agent uses, taken out of lists while they arrive."""

from __future__ import annotations

from typing import Any, Final

import aiohttp
import msgspec

from azure_cni.api.reading import NOT_JSON, mapping, text
from azure_cni.kube.streamed_list import StreamedList

PODS: Final = "/api/v1/pods"
PIECE_BYTES: Final = 2**16
_MIRROR: Final = "kubernetes.io/config.mirror"


class _Annotations(msgspec.Struct, omit_defaults=True):
    mirror: str = msgspec.field(name=_MIRROR, default="")


class _Metadata(msgspec.Struct, omit_defaults=True):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resourceVersion: str = ""  # noqa: N815  # Kubernetes' spelling
    deletionTimestamp: str | None = None  # noqa: N815
    annotations: _Annotations | None = None


class _Spec(msgspec.Struct, omit_defaults=True):
    hostNetwork: bool = False  # noqa: N815


class _Status(msgspec.Struct, omit_defaults=True):
    phase: str = ""
    podIP: str = ""  # noqa: N815


class _Pod(msgspec.Struct, omit_defaults=True):
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)
    spec: _Spec = msgspec.field(default_factory=_Spec)
    status: _Status = msgspec.field(default_factory=_Status)


_decode = msgspec.json.Decoder(_Pod).decode


def selector(node_name: str) -> str:
    """The pods that hold or need an address on this node. Those that have ended do neither, and may be thousands."""
    return f"spec.nodeName={node_name},status.phase!=Failed,status.phase!=Succeeded"


def lean(item: bytes) -> dict[str, Any] | None:
    """What `node.demand` reads of a Pod, as a map of the same shape; None where it cannot be read."""
    try:
        pod = _decode(item)
    except msgspec.ValidationError:  # a field is of another type: what is read of it decides `demand`
        return _whole(item)
    except NOT_JSON:
        return None
    found: dict[str, Any] = msgspec.to_builtins(pod)
    return found


def _whole(item: bytes) -> dict[str, Any] | None:
    try:
        found = msgspec.json.decode(item)
    except NOT_JSON:
        return None
    if not isinstance(found, dict):
        return None
    parts: dict[str, type[msgspec.Struct]] = {"metadata": _Metadata, "spec": _Spec, "status": _Status}
    pod = {part: {key: mapping(found.get(part)).get(key) for key in _keys(kind)} for part, kind in parts.items()}
    mirror = text(mapping(pod["metadata"]["annotations"]).get(_MIRROR))
    pod["metadata"]["annotations"] = {_MIRROR: mirror} if mirror else {}
    return pod


def _keys(kind: type[msgspec.Struct]) -> tuple[str, ...]:
    return tuple(one.encode_name for one in msgspec.structs.fields(kind))


async def lean_list(content: aiohttp.StreamReader) -> dict[str, Any]:
    """A PodList whose pods are lean. ValueError for what is no list of pods."""
    streamed = StreamedList()
    pods = [lean(item) async for piece in content.iter_chunked(PIECE_BYTES) for item in streamed.feed(piece)]
    try:
        answer = msgspec.json.decode(streamed.envelope)
    except NOT_JSON as error:
        raise ValueError(f"it is not JSON ({error})") from error
    if "items" not in mapping(answer):  # no list: an empty one would say that the node has no pods
        raise ValueError("it is no list")
    return {**mapping(answer), "items": [pod for pod in pods if pod is not None]}


class LeanResponse(aiohttp.ClientResponse):
    """An answer that, where it is a list of pods, is read lean: for clients that read answers whole, as kopf does."""

    async def read(self) -> bytes:
        """See aiohttp."""
        if self._body is None and self.ok and self.url.path == PODS and "watch" not in self.url.query:
            try:
                self._body = msgspec.json.encode(await lean_list(self.content))
            except ValueError as error:
                self.close()
                raise aiohttp.ClientPayloadError(f"cannot read the list of pods: {error}") from error
            except BaseException:
                self.close()
                raise
        return await super().read()


async def uncompressed(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Ask for pods as they are: one compressed piece could unfold to more memory than there is."""
    if request.url.path == PODS:
        request.headers["Accept-Encoding"] = "identity"
    return await send(request)
