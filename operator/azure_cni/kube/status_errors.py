"""Maps the API server's answers to the errors of this product: one table from HTTP status to class, with messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from azure_cni.errors import (
    KubeConflict,
    KubeDenied,
    KubeError,
    KubeInvalid,
    KubeNotFound,
    KubeUnreachable,
)
from azure_cni.model.text import legible

LONGEST_REFUSAL: Final = 2000
"""Characters. Of an object with many faults the API server names each."""
BY_STATUS: Final[Mapping[int, type[KubeError]]] = {
    400: KubeInvalid,
    401: KubeDenied,
    403: KubeDenied,
    404: KubeNotFound,
    409: KubeConflict,
    410: KubeNotFound,
    422: KubeInvalid,
    429: KubeUnreachable,  # the server's own flow control: as good as no answer
}
ADVICE: Final[Mapping[int, str]] = {
    401: "; the API server does not know this token: was the service account recreated?",
    403: "; is the chart's ClusterRole, and its binding to this service account, in place?",
}
TOO_LARGE: Final = ("request is too large", "message larger than max")
"""What etcd, and its client in the API server, say of an object beyond 1.5 MiB, and beyond 2: the answer is 500."""
VERBS: Final[Mapping[str, str]] = {"GET": "read", "POST": "create", "PATCH": "patch"}


def from_status(method: str, path: str, *, status: int, body: Mapping[str, Any]) -> KubeError:
    """The error for an answer of 400 or more. `body` is the server's Status; its message is for people already."""
    message = str(body.get("message") or "")
    kind = BY_STATUS.get(status)
    if kind is None:
        away = status >= 500 and not any(words in message for words in TOO_LARGE)  # noqa: PLR2004  # HTTP: 5xx
        kind = KubeUnreachable if away else KubeInvalid  # such an object is refused whenever it is written
    said = legible(message or str(body.get("reason") or "no reason given"), LONGEST_REFUSAL)
    return kind(f"cannot {VERBS.get(method, method)} {path}: {said} (HTTP {status}){ADVICE.get(status, '')}")


def unreachable(method: str, path: str, *, url: str, error: BaseException) -> KubeUnreachable:
    """The error for no answer at all."""
    said = "no answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
    return KubeUnreachable(f"cannot {VERBS.get(method, method)} {path}: the API server at {url} is unreachable: {said}")


def unreadable(method: str, path: str, *, url: str, error: BaseException) -> KubeUnreachable:
    """The error for an answer whose body broke off, is too large, or is no list where one was asked for."""
    return KubeUnreachable(f"cannot {VERBS.get(method, method)} {path}: the answer of {url} cannot be used: {error}")


def not_understood(method: str, path: str, *, url: str, wanted: str, said: str) -> KubeUnreachable:
    """The error for a good status with a body that the API server does not send: somebody else may have answered."""
    return KubeUnreachable(
        f"cannot {VERBS.get(method, method)} {path}: the answer of {url} is not {wanted}, it begins {said[:200]!r}; "
        "does a proxy answer in the API server's place?"
    )
