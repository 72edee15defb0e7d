"""How the command line reaches a cluster: its one port, and the adapter over the package `kubernetes`.

That package reads kubeconfig files as kubectl does, with certificates, tokens, exec plugins (kubelogin) and proxies.
Objects are read as plain JSON: its generated models take ten times the time, and drop fields that they do not know.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlencode

from azure_cni.api.node_ip_pool import PAUSE_WRITER
from azure_cni.api.reading import mapping, text
from azure_cni.commands.bounded import Meter, channels_of, finished_within, pieces
from azure_cni.commands.deferred_imports import deferred
from azure_cni.commands.refusals import broken, document_of, refused, refused_exec, require_success
from azure_cni.errors import ConfigInvalid, KubeUnreachable
from azure_cni.kube.streamed_list import StreamedList
from azure_cni.model.text import legible

SYSTEM_NAMESPACE: Final = "kube-system"
"""Where docs/install.md installs the chart."""
PAGE_SIZE: Final = 500
TIMEOUT_S: Final = 30.0
SELF_REVIEWS: Final = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
CONTENT: Final = {"PATCH": "application/merge-patch+json", "POST": "application/json"}
VERBS: Final = {"GET": "read", "PATCH": "change", "POST": "create", "DELETE": "remove"}
EXEC_S: Final = 30.0
"""For the connection to an agent, whose handshake the node answers; and for its answer: some hundred kilobytes at most,
and the start of a process."""
READ_S: Final = 60.0
"""For an object or a log as a whole; for a list there is no such limit, because who starts pods decides its size."""
MOST_OBJECT_BYTES: Final = 32 << 20
MOST_TEXT_BYTES: Final = 16 << 20
"""Of a log: twice what `report` asks for."""
MOST_ANSWER_BYTES: Final = 16 << 20
FAILED: Final = 400
REDIRECTIONS: Final = range(300, 400)
HARDLY_USED: Final = (
    "oauthlib",  # and the next two: to renew the token of an OIDC provider that the kubeconfig itself names
    "oauthlib.oauth2",
    "requests_oauthlib",
    "pydantic",  # and the next: the answers of the generated API, in whose place plain JSON is read
    "kubernetes.client.api_response",
    "kubernetes.dynamic",
    "kubernetes.informer",
    "kubernetes.leaderelection",
    "kubernetes.stream",  # only what runs something in a pod needs it
    "kubernetes.watch",
)
"""What `kubernetes` imports."""
Keep = Callable[[Mapping[str, Any]], Any]


class ClusterAccess(Protocol):
    """What commands need of a cluster. All methods raise KubeError, and may be called from several threads."""

    namespace: str
    """That of the context, for commands without `-n`."""
    system_namespace: str
    """That of azure-cni's own release. Who may start pods in others is nobody to believe."""

    def read_object(self, path: str) -> Mapping[str, Any]:
        """One object."""

    def list_objects(self, path: str, keep: Keep = dict, /, **query: str) -> Sequence[Any]:
        """What `keep` makes of each object of a collection, which is all that stays in memory of it.

        `query` as the API server has it (`labelSelector`, `fieldSelector`).
        """

    def patch_object(self, path: str, patch: Mapping[str, Any], *, dry_run: bool) -> Mapping[str, Any]:
        """The object with that merge patch (RFC 7386) applied. `dry_run`: tried with all checks, and not stored."""

    def create_object(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """A new object in a collection."""

    def delete_object(self, path: str) -> None:
        """Ask for its removal, which may take a while. KubeNotFound where it is not there."""

    def read_user(self) -> str:
        """Whom the API server takes this person for."""

    def read_text(self, path: str, **query: str) -> str:
        """What is no object: a pod's log."""

    def run_in_pod(self, namespace: str, pod: str, command: Sequence[str], *, container: str = "agent") -> bytes:
        """What that command prints in the container. KubeError with its words when it fails."""


class KubernetesAccess:
    """A cluster of a kubeconfig, or the one that this process runs in."""

    def __init__(self, *, kubeconfig: str | None = None, context: str | None = None) -> None:
        """ConfigInvalid where there is no such file or context."""
        import yaml

        with deferred(HARDLY_USED):
            from kubernetes import config
            from kubernetes.client import ApiClient, Configuration

        chosen = Configuration()
        self.namespace, self.system_namespace = "default", SYSTEM_NAMESPACE
        try:
            if kubeconfig is None and context is None and _is_in_pod():
                config.load_incluster_config(client_configuration=chosen)
            else:
                config.load_kube_config(kubeconfig, context, client_configuration=chosen, persist_config=False)
                self.namespace = _namespace_of(config.list_kube_config_contexts(kubeconfig), context)
        except (config.ConfigException, OSError, yaml.YAMLError, TypeError, ValueError) as error:
            # The last three: a file that is no YAML, or not the YAML of a kubeconfig.
            raise ConfigInvalid(
                f"cannot find the cluster: {str(error).rstrip('.')}; name a file with --kubeconfig or KUBECONFIG, and "
                "one of its contexts with --context"
            ) from error
        chosen.retries = False
        self._client = ApiClient(chosen)

    def read_object(self, path: str) -> Mapping[str, Any]:
        """See `ClusterAccess`."""
        return self._get(path, {})

    def list_objects(self, path: str, keep: Keep = dict, /, **query: str) -> Sequence[Any]:
        """See `ClusterAccess`; in pages, each object as it arrives: a tenant's pods may have a megabyte each."""
        found: list[Any] = []
        more = ""
        while True:
            asked = {"limit": str(PAGE_SIZE), **query, **({"continue": more} if more else {})}
            try:
                around = self._read_page(path, asked, keep, found)
            except (ValueError, TypeError, RecursionError) as error:
                raise KubeUnreachable(f"cannot read {path}: the answer cannot be used: {error}") from error
            except broken() as error:
                raise KubeUnreachable(f"cannot read {path}: the connection broke: {error}") from error
            more = text(mapping(around.get("metadata")).get("continue"))
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
        from kubernetes.client import ApiException
        from kubernetes.stream import ws_client
        from websocket import WebSocketException

        query = [("command", list(command)), ("container", container), ("stdout", "true"), ("stderr", "true")]
        what = f"run {' '.join(command)} in pod {namespace}/{pod}"
        try:
            process = self._process(f"/api/v1/namespaces/{namespace}/pods/{pod}/exec", query, what)
            try:
                came = channels_of(process.sock, Meter(what, most_bytes=MOST_ANSWER_BYTES, limit_s=EXEC_S))
            finally:
                process.sock.shutdown()
            channels = (ws_client.STDOUT_CHANNEL, ws_client.STDERR_CHANNEL, ws_client.ERROR_CHANNEL)
            said, complained, ended = (came.get(channel, b"") for channel in channels)
        except ApiException as error:
            raise refused_exec(what, str(error.reason)) from error
        except (OSError, WebSocketException) as error:
            raise KubeUnreachable(f"cannot {what}: the connection broke: {error}") from error
        require_success(what, ended, complained=complained.decode(errors="replace").strip())
        return said

    def _process(self, path: str, query: Sequence[tuple[str, Any]], what: str) -> Any:
        """The open WebSocket of kubernetes. Its handshake is the node's to answer, so that it may never end."""
        from kubernetes.stream import ws_client

        url = f"{self._client.configuration.host}{path}"
        connect = functools.partial(
            ws_client.websocket_call,
            self._client.configuration,
            "get",
            url,
            query_params=query,
            headers=self._headers(url, "GET"),
            _preload_content=False,
            binary=True,
        )
        failure = (
            f"cannot {what}: the API server did not connect to it within {EXEC_S:.0f} s, which it does through the "
            "node's kubelet; see whether kubectl exec gets there"
        )
        return finished_within(EXEC_S, connect, failure)

    def _get(self, path: str, query: Mapping[str, str]) -> Mapping[str, Any]:
        return document_of(self._ask(path, query))

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
        from kubernetes.client import ApiException

        url = f"{self._client.configuration.host}{path}{'?' if query else ''}{urlencode(query)}"
        headers = self._headers(url, method) | {"Accept": accept} | ({"Content-Type": CONTENT[method]} if body else {})
        try:
            answer = self._client.call_api(method, url, headers, body=body, _request_timeout=TIMEOUT_S)
            if answer.status in REDIRECTIONS:
                raise KubeUnreachable(
                    f"cannot {VERBS[method]} {path}: {self._client.configuration.host} redirects to elsewhere (status "
                    f"{answer.status}), and only itself is asked; does a proxy answer in the API server's place?"
                )
            if answer.status >= FAILED:
                meter = Meter(f"{VERBS[method]} {path}", most_bytes=MOST_OBJECT_BYTES, limit_s=READ_S)
                words = document_of(b"".join(pieces(answer.response, meter))).get("message")
                words = legible(text(words) or f"status {answer.status}")
                raise refused(answer.status, f"cannot {VERBS[method]} {path}: {words}")
        except (ApiException, urllib3.exceptions.HTTPError) as error:
            words = getattr(error, "reason", None) or error
            host = self._client.configuration.host
            raise KubeUnreachable(f"cannot {VERBS[method]} {path}: {host} does not answer: {words}") from error
        return answer.response

    def _headers(self, url: str, method: str) -> dict[str, str]:
        """With the token of this moment: exec plugins renew theirs."""
        headers = {"Accept": "application/json", "User-Agent": "azure-cni"}
        self._client.update_params_for_auth(headers, [], ["BearerToken"], url, method, None)
        return headers


def _is_in_pod() -> bool:
    """In a pod with an account, and nobody named another cluster."""
    known = os.environ.get("KUBECONFIG") or (Path.home() / ".kube" / "config").exists()
    return not known and bool(os.environ.get("KUBERNETES_SERVICE_HOST"))


def _namespace_of(listed: tuple[Sequence[Mapping[str, Any]], Mapping[str, Any]], name: str | None) -> str:
    contexts, current = listed
    chosen = next((one for one in contexts if one.get("name") == name), current) if name else current
    return str((chosen.get("context") or {}).get("namespace") or "default")
