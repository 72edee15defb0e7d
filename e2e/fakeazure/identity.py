"""Who calls: principals, their tokens, and what they may do.

Tokens look like those of Microsoft Entra ID (a JSON web token) and carry principal, audience and expiry; they are
signed with a key of this process. Their time is wall time, also where the fake's clock is compressed: the client's SDK
judges them by its own clock. Permissions are the `actions` of role definitions, with `*`, at subscription scope; who is
assigned roles at narrower scopes has those and nothing else.
"""

import base64
import fnmatch
import hashlib
import hmac
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from fakeazure import errors

ARM_AUDIENCES = ("https://management.azure.com", "https://management.core.windows.net")
LIFETIME_S = 3599


@dataclass(frozen=True, slots=True)
class Principal:
    """A service principal: a VM's own identity, a user-assigned one, or an application."""

    object_id: str
    client_id: str
    name: str
    subject: str = ""  # of the federated credential, "" accepts any
    everywhere: bool = False  # a user-assigned identity that any VM may use, also without its assignment


@dataclass(frozen=True, slots=True)
class Assignment:
    """A role of these actions at that scope: a subscription, a resource group, or a resource."""

    actions: tuple[str, ...]
    scope: str

    def covers(self, scope: str) -> bool:
        """Whether that is the scope, or lies below it."""
        return f"{scope.lower().rstrip('/')}/".startswith(f"{self.scope.lower().rstrip('/')}/")


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


HEADER = _encode(b'{"typ":"JWT","alg":"HS256"}')


def claims_of(token: str) -> dict[str, Any]:
    """The claims of a JSON web token, unverified; raises ValueError when it is none."""
    try:
        claims = msgspec.json.decode(_decode(token.split(".")[1]), type=dict[str, Any])
    except (IndexError, ValueError) as error:
        raise ValueError(f"not a JSON web token: {error}") from error
    return claims


@dataclass(slots=True)
class Identity:
    """The tenant: principals by object id and by client id, tokens, permissions."""

    tenant: str
    key: bytes
    lifetime_s: int = LIFETIME_S
    wall: Callable[[], float] = time.time
    principals: dict[str, Principal] = field(default_factory=dict)
    permissions: dict[str, tuple[str, ...]] = field(default_factory=lambda: {"*": ("*",)})
    assignments: dict[str, tuple[Assignment, ...]] = field(default_factory=dict)
    """By principal. Who has some may do nothing by `permissions`."""

    def add(self, principal: Principal) -> Principal:
        self.principals[principal.object_id] = principal
        return principal

    def remove(self, principal: Principal) -> None:
        """Delete it with all that it may do; its tokens are refused from now on."""
        self.principals.pop(principal.object_id, None)
        self.permissions.pop(principal.object_id, None)
        self.assignments.pop(principal.object_id, None)

    def by_client_id(self, client_id: str) -> Principal | None:
        return next((one for one in self.principals.values() if one.client_id == client_id), None)

    def find(self, name: str) -> Principal | None:
        """By name, client id or object id."""
        known = self.principals.values()
        return next((one for one in known if name in {one.name, one.client_id, one.object_id}), None)

    def issue(self, principal: Principal, *, audience: str) -> tuple[str, int]:
        """A token, and when it expires (seconds since the epoch)."""
        now = int(self.wall())
        claims = {
            "aud": audience,
            "iss": f"https://sts.windows.net/{self.tenant}/",
            "iat": now,
            "nbf": now,
            "exp": now + self.lifetime_s,
            "appid": principal.client_id,
            "oid": principal.object_id,
            "tid": self.tenant,
        }
        return self._signed(claims), now + self.lifetime_s

    def assertion(self, subject: str) -> str:
        """A service account's token, as Kubernetes would project it for a workload identity."""
        return self._signed({"sub": subject, "aud": "api://AzureADTokenExchange", "exp": int(self.wall()) + LIFETIME_S})

    def authenticate(self, authorization: str | None) -> Principal:
        """The principal of an Authorization header; raises ArmError 401 with a challenge."""
        if not authorization:
            text = "Authentication failed. The 'Authorization' header is missing."
            raise errors.unauthenticated("AuthenticationFailed", text, tenant=self.tenant)
        unsigned, _, signature = authorization.removeprefix("Bearer ").rpartition(".")
        if not hmac.compare_digest(signature, self._signature(unsigned)):
            raise errors.unauthenticated(
                "InvalidAuthenticationToken", "The access token is invalid.", tenant=self.tenant
            )
        claims = claims_of(unsigned + ".")
        if not claims["aud"].startswith(ARM_AUDIENCES):
            text = f"The access token has been obtained for wrong audience or resource '{claims['aud']}'."
            raise errors.unauthenticated("InvalidAuthenticationTokenAudience", text, tenant=self.tenant)
        if claims["exp"] <= self.wall():
            text = (
                f"The access token expiry UTC time '{_utc(claims['exp'])}' is earlier than current UTC time "
                f"'{_utc(self.wall())}'."
            )
            raise errors.unauthenticated("ExpiredAuthenticationToken", text, tenant=self.tenant)
        principal = self.principals.get(claims["oid"])
        if principal is None:
            text = "The access token is from a principal that no longer exists."
            raise errors.unauthenticated("InvalidAuthenticationToken", text, tenant=self.tenant)
        return principal

    def set_permissions(self, actions: Iterable[str], *, principal: str = "*") -> None:
        """Set what a principal (object id) may do, or everyone who has no list of their own."""
        self.permissions[principal] = tuple(actions)

    def named_permissions(self) -> dict[str, tuple[str, ...]]:
        """What each may do, by the names of those who have a list of their own; "*" is everyone else."""
        names = {one.object_id: one.name for one in self.principals.values()}
        return {names.get(principal, principal): actions for principal, actions in self.permissions.items()}

    def forbid(self, action: str, *, principal: str = "*") -> None:
        """Take one action away: a pattern in the list with "!" before it wins over all others."""
        self.permissions[principal] = (*self.permissions.get(principal, self.permissions["*"]), f"!{action}")

    def assign(self, actions: Iterable[str], *, scope: str, principal: str) -> None:
        """Assign a role of these actions to a principal (object id), beside those that it has."""
        known = self.assignments.get(principal, ())
        self.assignments[principal] = (*known, Assignment(tuple(actions), scope))

    def allows(self, principal: Principal, action: str, *, scope: str = "") -> bool:
        """Whether it may do that to the resource of that id; an action taken away by "!" is gone at any scope."""
        assigned = self.assignments.get(principal.object_id)
        if assigned is not None:
            patterns = [text for one in assigned if one.covers(scope) for text in one.actions]
        else:
            patterns = list(self.permissions.get(principal.object_id, self.permissions["*"]))
        matches = [text for text in patterns if fnmatch.fnmatchcase(action.lower(), text.lstrip("!").lower())]
        return bool(matches) and not any(text.startswith("!") for text in matches)

    def _signed(self, claims: dict[str, Any]) -> str:
        unsigned = f"{HEADER}.{_encode(msgspec.json.encode(claims))}"
        return f"{unsigned}.{self._signature(unsigned)}"

    def _signature(self, unsigned: str) -> str:
        return _encode(hmac.digest(self.key, unsigned.encode(), hashlib.sha256))


def _utc(seconds: float) -> str:
    return time.strftime("%m/%d/%Y %I:%M:%S %p", time.gmtime(seconds))
