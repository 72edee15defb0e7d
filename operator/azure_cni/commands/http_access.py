"""What every way to a cluster has in common: objects as plain JSON over urllib3, within bounds, and refusals in words.

How a request reaches the API server, with which token and certificates, and how a command is run in a pod, is each
way's own: `access` for people, `pod_access` for a pod of the project's image.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

from azure_cni.api.node_ip_pool import PAUSE_WRITER
from azure_cni.api.reading import mapping, next_page, text
from azure_cni.commands.bounded import Meter, pieces
from azure_cni.commands.refusals import broken, document_of, refused, require_success
from azure_cni.errors import KubeNotFound, KubeUnreachable
from azure_cni.kube.streamed_list import StreamedList
from azure_cni.model.text import legible

PAGE_SIZE: Final = 500
SELF_REVIEWS: Final = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
CONTENT: Final = {"PATCH": "application/merge-patch+json", "POST": "application/json"}
VERBS: Final = {"GET": "read", "PATCH": "change", "POST": "create", "DELETE": "remove"}
READ_S: Final = 60.0
"""For an object or a log as a whole; for a list there is no such limit, because who starts pods decides its size."""
MOST_OBJECT_BYTES: Final = 32 << 20
MOST_TEXT_BYTES: Final = 16 << 20
"""Of a log: twice what `report` asks for."""
FAILED: Final = 400
REDIRECTIONS: Final = range(300, 400)
STDOUT, STDERR, STATUS = 1, 2, 3
"""Channels of Kubernetes' protocol for commands in pods (`*.channel.k8s.io`)."""
Keep = Callable[[Mapping[str, Any]], Any]


class HttpAccess(ABC):
    """See `access.ClusterAccess`, whose methods these are."""

    host: str
    """The API server, as `https://NAME:PORT`."""

    @abstractmethod
    def _send(self, method: str, url: str, headers: Mapping[str, str], body: Mapping[str, Any] | None) -> Any:
        """The answer of urllib3 before its body, whatever its status; redirects are not followed.

        Raises urllib3's HTTPError, or KubeUnreachable, where there is none.
        """

    @abstractmethod
    def _headers(self, url: str, method: str) -> dict[str, str]:
        """Of a request, with the token of this moment."""

    @abstractmethod
    def _channels(self, path: str, query: Sequence[tuple[str, Any]], what: str) -> Mapping[int, bytes]:
        """What came of each channel of a command in a pod. KubeError with `what` where it could not be run."""

    def read_object(self, path: str) -> Mapping[str, Any]:
        """See `ClusterAccess`."""
        return document_of(self._ask(path, {}))

    def list_objects(self, path: str, keep: Keep = dict, /, **query: str) -> Sequence[Any]:
        """See `ClusterAccess`; in pages, each object as it arrives: a tenant's pods may have a megabyte each.

        The pages are of one moment, which etcd forgets after some minutes: the API server then answers 410, and what
        was read is incomplete. As kubectl does, the list is then read once more, without pages.
        """
        found: list[Any] = []
        more, before = "", set[str]()
        paged = {"limit": str(PAGE_SIZE)}
        while True:
            asked = {**paged, **query, **({"continue": more} if more else {})}
            try:
                around = self._read_page(path, asked, keep, found)
                more = next_page(mapping(around.get("metadata")).get("continue"), before)
            except KubeNotFound:
                if not more:
                    raise
                found, more, paged = [], "", {}
                continue
            except (ValueError, TypeError, RecursionError) as error:
                raise KubeUnreachable(f"cannot read {path}: the answer cannot be used: {error}") from error
            except broken() as error:
                raise KubeUnreachable(f"cannot read {path}: the connection broke: {error}") from error
            if not more:
                return found

    def _read_page(self, path: str, asked: Mapping[str, str], keep: Keep, found: list[Any]) -> Mapping[str, Any]:
        """Adds to `found`; returns what is around the items."""
        streamed = StreamedList()
        for piece in pieces(self._open(path, asked)):
            found += [keep(json.loads(item)) for item in streamed.feed(piece)]
        around: dict[str, Any] = json.loads(streamed.envelope)
        if "items" not in around:  # an empty list would say that there is nothing
            raise ValueError("it is no list")
        return around

    def patch_object(self, path: str, patch: Mapping[str, Any], *, dry_run: bool) -> Mapping[str, Any]:
        """See `ClusterAccess`."""
        query = {"fieldManager": PAUSE_WRITER, **({"dryRun": "All"} if dry_run else {})}
        return document_of(self._ask(path, query, method="PATCH", body=patch))

    def create_object(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """See `ClusterAccess`."""
        return document_of(self._ask(path, {}, method="POST", body=body))

    def delete_object(self, path: str) -> None:
        """See `ClusterAccess`."""
        self._ask(path, {}, method="DELETE")

    def read_user(self) -> str:
        """See `ClusterAccess`. From Kubernetes 1.28 on."""
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        status = mapping(document_of(self._ask(SELF_REVIEWS, {}, method="POST", body=review)).get("status"))
        return text(mapping(status.get("userInfo")).get("username"))

    def read_text(self, path: str, **query: str) -> str:
        """See `ClusterAccess`. Bytes that are no text are replaced."""
        meter = Meter(f"read {path}", most_bytes=MOST_TEXT_BYTES, limit_s=READ_S)
        return self._ask(path, query, accept="*/*", meter=meter).decode(errors="replace")

    def run_in_pod(self, namespace: str, pod: str, command: Sequence[str], *, container: str = "agent") -> bytes:
        """See `ClusterAccess`. By a WebSocket, as kubectl exec does."""
        query = [("command", list(command)), ("container", container), ("stdout", "true"), ("stderr", "true")]
        what = f"run {' '.join(command)} in pod {namespace}/{pod}"
        came = self._channels(f"/api/v1/namespaces/{namespace}/pods/{pod}/exec", query, what)
        said, complained, ended = (came.get(channel, b"") for channel in (STDOUT, STDERR, STATUS))
        require_success(what, ended, complained=complained.decode(errors="replace").strip())
        return said

    def _ask(
        self,
        path: str,
        query: Mapping[str, str],
        *,
        accept: str = "application/json",
        method: str = "GET",
        body: Mapping[str, Any] | None = None,
        meter: Meter | None = None,
    ) -> bytes:
        """The whole answer."""
        bounds = meter or Meter(f"{VERBS[method]} {path}", most_bytes=MOST_OBJECT_BYTES, limit_s=READ_S)
        try:
            return b"".join(pieces(self._open(path, query, accept=accept, method=method, body=body), bounds))
        except broken() as error:
            raise KubeUnreachable(f"cannot {VERBS[method]} {path}: the connection broke: {error}") from error

    def _open(
        self,
        path: str,
        query: Mapping[str, str],
        *,
        accept: str = "application/json",
        method: str = "GET",
        body: Mapping[str, Any] | None = None,
    ) -> Any:
        """The answer of urllib3 before its body; a refusal is raised."""
        import urllib3

        url = f"{self.host}{path}{'?' if query else ''}{urlencode(query)}"
        headers = self._headers(url, method) | {"Accept": accept} | ({"Content-Type": CONTENT[method]} if body else {})
        try:
            answer = self._send(method, url, headers, body)
            if answer.status in REDIRECTIONS:
                raise KubeUnreachable(
                    f"cannot {VERBS[method]} {path}: {self.host} redirects to elsewhere (status {answer.status}), and "
                    "only itself is asked; does a proxy answer in the API server's place?"
                )
            if answer.status >= FAILED:
                meter = Meter(f"{VERBS[method]} {path}", most_bytes=MOST_OBJECT_BYTES, limit_s=READ_S)
                words = document_of(b"".join(pieces(answer, meter))).get("message")
                words = legible(text(words) or f"status {answer.status}")
                raise refused(answer.status, f"cannot {VERBS[method]} {path}: {words}")
        except urllib3.exceptions.HTTPError as error:
            words = getattr(error, "reason", None) or error
            raise KubeUnreachable(f"cannot {VERBS[method]} {path}: {self.host} does not answer: {words}") from error
        return answer
