"""How the command line reaches a cluster: its one port, and the adapter over the package `kubernetes`.

That package reads kubeconfig files as kubectl does, with certificates, tokens, exec plugins (kubelogin) and proxies.
Objects are read as plain JSON: its generated models take ten times the time, and drop fields that they do not know.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlencode

from azure_cni.api.node_ip_pool import PAUSE_WRITER
from azure_cni.api.reading import decimal, mapping, text
from azure_cni.errors import ConfigInvalid, KubeError, KubeInvalid, KubeUnreachable
from azure_cni.kube.status_errors import BY_STATUS
from azure_cni.model.text import legible

SYSTEM_NAMESPACE: Final = "kube-system"
"""Where docs/install.md installs the chart."""
PAGE_SIZE: Final = 500
TIMEOUT_S: Final = 30.0
SELF_REVIEWS: Final = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
CONTENT: Final = {"PATCH": "application/merge-patch+json", "POST": "application/json"}
VERBS: Final = {"GET": "read", "PATCH": "change", "POST": "create"}
EXEC_S: Final = 30.0
"""For an answer of one agent: some hundred kilobytes at most, and the start of a process on its node."""
HANDSHAKE_PART: Final = " -+-+- "
"""Between status, headers and body of a refused handshake, in websocket-client's words."""
FAILED: Final = 400
BROKEN: Final = 500
LAST_STATUS: Final = 599


class ClusterAccess(Protocol):
    """What commands need of a cluster. All methods raise KubeError, and may be called from several threads."""

    namespace: str
    """That of the context, for commands without `-n`."""
    system_namespace: str
    """That of azure-cni's own release. Who may start pods in others is nobody to believe."""

    def read_object(self, path: str) -> Mapping[str, Any]:
        """One object."""

    def list_objects(self, path: str, **query: str) -> Sequence[Mapping[str, Any]]:
        """All objects of a collection; `query` as the API server has it (`labelSelector`, `fieldSelector`)."""

    def patch_object(self, path: str, patch: Mapping[str, Any], *, dry_run: bool) -> Mapping[str, Any]:
        """The object with that merge patch (RFC 7386) applied. `dry_run`: tried with all checks, and not stored."""

    def read_user(self) -> str:
        """Whom the API server takes this person for."""

    def read_text(self, path: str, **query: str) -> str:
        """What is no object: a pod's log."""

    def run_in_pod(self, namespace: str, pod: str, command: Sequence[str]) -> bytes:
        """What that command prints in the pod's default container. KubeError with its words when it fails."""


class KubernetesAccess:
    """A cluster of a kubeconfig, or the one that this process runs in."""

    def __init__(self, *, kubeconfig: str | None = None, context: str | None = None) -> None:
        """ConfigInvalid where there is no such file or context."""
        import yaml
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
                f"cannot find the cluster: {error}; name a file with --kubeconfig or KUBECONFIG, and one of its "
                "contexts with --context"
            ) from error
        chosen.retries = False
        self._client = ApiClient(chosen)

    def read_object(self, path: str) -> Mapping[str, Any]:
        """See `ClusterAccess`."""
        return self._get(path, {})

    def list_objects(self, path: str, **query: str) -> Sequence[Mapping[str, Any]]:
        """See `ClusterAccess`; in pages."""
        found: list[Mapping[str, Any]] = []
        more = ""
        while True:
            asked = {"limit": str(PAGE_SIZE), **query, **({"continue": more} if more else {})}
            answer = self._get(path, asked)
            found += answer.get("items") or []
            more = (answer.get("metadata") or {}).get("continue") or ""
            if not more:
                return found

    def patch_object(self, path: str, patch: Mapping[str, Any], *, dry_run: bool) -> Mapping[str, Any]:
        """See `ClusterAccess`."""
        query = {"fieldManager": PAUSE_WRITER, **({"dryRun": "All"} if dry_run else {})}
        return _document(self._ask(path, query, method="PATCH", body=patch))

    def read_user(self) -> str:
        """See `ClusterAccess`. From Kubernetes 1.28 on."""
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        status = mapping(_document(self._ask(SELF_REVIEWS, {}, method="POST", body=review)).get("status"))
        return text(mapping(status.get("userInfo")).get("username"))

    def read_text(self, path: str, **query: str) -> str:
        """See `ClusterAccess`. Bytes that are no text are replaced."""
        return self._ask(path, query, accept="*/*").decode(errors="replace")

    def run_in_pod(self, namespace: str, pod: str, command: Sequence[str]) -> bytes:
        """See `ClusterAccess`. By a WebSocket, as kubectl exec does."""
        from kubernetes.client import ApiException
        from kubernetes.stream import ws_client
        from websocket import WebSocketException

        query = [("command", list(command)), ("container", "agent"), ("stdout", "true"), ("stderr", "true")]
        url = f"{self._client.configuration.host}/api/v1/namespaces/{namespace}/pods/{pod}/exec"
        what = f"run {' '.join(command)} in pod {namespace}/{pod}"
        try:
            process = ws_client.websocket_call(
                self._client.configuration,
                "get",
                url,
                query_params=query,
                headers=self._headers(url, "GET"),
                _preload_content=False,
                binary=True,
            )
            process.run_forever(timeout=EXEC_S)
            if process.is_open():
                process.close()
                raise KubeUnreachable(f"cannot {what}: it did not end within {EXEC_S:.0f} s")
            channels = (ws_client.STDOUT_CHANNEL, ws_client.STDERR_CHANNEL, ws_client.ERROR_CHANNEL)
            said, complained, ended = map(process.read_channel, channels)
        except ApiException as error:
            raise _refused_exec(what, str(error.reason)) from error
        except (OSError, WebSocketException) as error:
            raise KubeUnreachable(f"cannot {what}: the connection broke: {error}") from error
        _require_success(what, bytes(ended), complained=complained.decode(errors="replace").strip())
        return bytes(said)

    def _get(self, path: str, query: Mapping[str, str]) -> Mapping[str, Any]:
        return _document(self._ask(path, query))

    def _ask(
        self,
        path: str,
        query: Mapping[str, str],
        *,
        accept: str = "application/json",
        method: str = "GET",
        body: Mapping[str, Any] | None = None,
    ) -> bytes:
        import urllib3
        from kubernetes.client import ApiException

        url = f"{self._client.configuration.host}{path}{'?' if query else ''}{urlencode(query)}"
        headers = self._headers(url, method) | {"Accept": accept} | ({"Content-Type": CONTENT[method]} if body else {})
        try:
            answer = self._client.call_api(method, url, headers, body=body, _request_timeout=TIMEOUT_S)
            status, said = answer.status, answer.read()
        except (ApiException, urllib3.exceptions.HTTPError) as error:
            words = getattr(error, "reason", None) or error
            host = self._client.configuration.host
            raise KubeUnreachable(f"cannot {VERBS[method]} {path}: {host} does not answer: {words}") from error
        if status >= FAILED:
            words = _document(said).get("message") or f"status {status}"
            raise _refused(status, f"cannot {VERBS[method]} {path}: {words}")
        return bytes(said)

    def _headers(self, url: str, method: str) -> dict[str, str]:
        """With the token of this moment: exec plugins renew theirs."""
        headers = {"Accept": "application/json", "User-Agent": "azure-cni"}
        self._client.update_params_for_auth(headers, [], ["BearerToken"], url, method, None)
        return headers


def _document(body: bytes) -> dict[str, Any]:
    """Of an answer; where it is no JSON, with its beginning as the message."""
    try:
        return dict(json.loads(body))
    except (ValueError, TypeError):
        return {"message": body[:200].decode(errors="replace")}


def _refused(status: int, words: str) -> KubeError:
    """The API server's refusal."""
    return BY_STATUS.get(status, KubeUnreachable if status >= BROKEN else KubeInvalid)(words)


def _refused_exec(what: str, words: str) -> KubeError:
    """The handshake's answer is in words only: "Handshake status 403 Forbidden -+-+- HEADERS -+-+- BODY"."""
    _, _, rest = words.partition("Handshake status ")
    status, _, after = rest.partition(HANDSHAKE_PART)
    body = after.partition(HANDSHAKE_PART)[2]
    number = decimal(status.split(" ", 1)[0], most=LAST_STATUS)
    if not number:
        return KubeUnreachable(f"cannot {what}: {words}")
    rights = "; it needs get and create of pods/exec there" if number in {401, 403} else ""
    said = legible(text(_document(body.encode()).get("message")))
    reason = f": {said}" if said else ""
    return _refused(number, f"cannot {what}: the API server refused it with {legible(status.strip())}{reason}{rights}")


def _require_success(what: str, ended: bytes, *, complained: str) -> None:
    """`ended` is how the command ended, as the node says it: a Status object. Nothing where the connection broke."""
    if not ended:
        raise KubeUnreachable(f"cannot {what}: the connection ended before the command did")
    try:
        status = mapping(json.loads(ended))
    except ValueError:
        status = {"message": ended.decode(errors="replace")}
    if status.get("status") != "Success":
        words = complained or text(status.get("message")) or text(status.get("reason")) or "it failed"
        raise KubeError(f"cannot {what}: {legible(words)}")


def _is_in_pod() -> bool:
    """In a pod with an account, and nobody named another cluster."""
    known = os.environ.get("KUBECONFIG") or (Path.home() / ".kube" / "config").exists()
    return not known and bool(os.environ.get("KUBERNETES_SERVICE_HOST"))


def _namespace_of(listed: tuple[Sequence[Mapping[str, Any]], Mapping[str, Any]], name: str | None) -> str:
    contexts, current = listed
    chosen = next((one for one in contexts if one.get("name") == name), current) if name else current
    return str((chosen.get("context") or {}).get("namespace") or "default")
