"""Who owns a bearer token, and what the owner may do: the API server's TokenReview and SubjectAccessReview.

The calling account needs `create` on both kinds, which lets it check any token and any account's rights. Nothing is
cached or retried here: each method is one request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from azure_cni.api import reading
from azure_cni.kube.client import KubeClient

TOKEN_REVIEWS: Final = "/apis/authentication.k8s.io/v1/tokenreviews"  # noqa: S105  # a path
ACCESS_REVIEWS: Final = "/apis/authorization.k8s.io/v1/subjectaccessreviews"


@dataclass(frozen=True, slots=True)
class User:
    """The owner of a token. `attributes`: username, uid, groups and extra, as the API server gave them."""

    name: str
    attributes: Mapping[str, Any]


class KubeReviews:
    """Asks the API server. Every method raises only KubeError. `audience` "": the API server's own."""

    def __init__(self, client: KubeClient, *, audience: str = "") -> None:
        self._client = client
        self._audience = audience

    async def authenticate(self, token: str) -> User | None:
        """The owner; None when the token is invalid, has expired or is for another audience."""
        spec: dict[str, Any] = {"token": token}
        if self._audience:
            spec["audiences"] = [self._audience]
        status = await self._review(TOKEN_REVIEWS, "TokenReview", spec)
        user = reading.mapping(status.get("user"))
        name = reading.text(user.get("username"))
        if status.get("authenticated") is not True or not name:
            return None
        audiences = status.get(
            "audiences"
        )  # an authenticator that knows no audiences names none: its word is no answer
        if self._audience and not (isinstance(audiences, list) and self._audience in audiences):
            return None
        return User(name, user)

    async def authorize(self, user: User, *, verb: str, path: str) -> bool:
        """Whether that user may do `verb` on a path that is no resource, such as /metrics."""
        known = user.attributes
        spec = {
            "user": user.name,
            "uid": reading.text(known.get("uid")),
            "groups": known.get("groups") or [],
            "extra": known.get("extra") or {},
            "nonResourceAttributes": {"verb": verb, "path": path},
        }
        status = await self._review(ACCESS_REVIEWS, "SubjectAccessReview", spec)
        return status.get("allowed") is True and status.get("denied") is not True

    async def _review(self, path: str, kind: str, spec: Mapping[str, Any]) -> Mapping[str, Any]:
        version = path.removeprefix("/apis/").rpartition("/")[0]
        body = {"apiVersion": version, "kind": kind, "metadata": {}, "spec": spec}
        return reading.status_of(await self._client.create(path, body))
