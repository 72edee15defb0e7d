"""What the API server says when it refuses, and how a command in a pod ended, as errors in words."""

from __future__ import annotations

import json
from typing import Any, Final

from azure_cni.api.reading import decimal, mapping, text
from azure_cni.errors import KubeError, KubeInvalid, KubeUnreachable
from azure_cni.kube.status_errors import BY_STATUS
from azure_cni.model.text import legible

HANDSHAKE_PART: Final = " -+-+- "
"""Between status, headers and body of a refused handshake, in websocket-client's words."""
EXEC_RIGHTS: Final = "; it needs get and create of pods/exec there"
BROKEN: Final = 500
LAST_STATUS: Final = 599


def broken() -> tuple[type[Exception], ...]:
    """What urllib3 raises while a body arrives."""
    import urllib3

    return urllib3.exceptions.HTTPError, OSError


def document_of(body: bytes) -> dict[str, Any]:
    """Of an answer; where it is no JSON, with its beginning as the message."""
    try:
        return dict(json.loads(body))
    except (ValueError, TypeError, RecursionError):
        return {"message": body[:200].decode(errors="replace")}


def refused(status: int, words: str) -> KubeError:
    """The API server's refusal."""
    return BY_STATUS.get(status, KubeUnreachable if status >= BROKEN else KubeInvalid)(words)


def refused_exec(what: str, words: str) -> KubeError:
    """The handshake's answer is in words only: "Handshake status 403 Forbidden -+-+- HEADERS -+-+- BODY"."""
    _, _, rest = words.partition("Handshake status ")
    status, _, after = rest.partition(HANDSHAKE_PART)
    body = after.partition(HANDSHAKE_PART)[2]
    number = decimal(status.split(" ", 1)[0], most=LAST_STATUS)
    if not number:
        return KubeUnreachable(f"cannot {what}: {legible(words)}")
    rights = EXEC_RIGHTS if number in {401, 403} else ""
    said = legible(text(document_of(body.encode()).get("message")))
    reason = f": {said}" if said else ""
    return refused(number, f"cannot {what}: the API server refused it with {legible(status.strip())}{reason}{rights}")


def require_success(what: str, ended: bytes, *, complained: str) -> None:
    """`ended` is how the command ended, as the node says it: a Status object. Nothing where the connection broke."""
    if not ended:
        raise KubeUnreachable(f"cannot {what}: the connection ended before the command did")
    try:
        status = mapping(json.loads(ended))
    except (ValueError, RecursionError):
        status = {"message": ended.decode(errors="replace")}
    if status.get("status") != "Success":
        words = complained or text(status.get("message")) or text(status.get("reason")) or "it failed"
        raise KubeError(f"cannot {what}: {legible(words)}")
