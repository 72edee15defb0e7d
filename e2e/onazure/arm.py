"""Requests to Resource Manager, plain and recorded; writes go nowhere but into one resource group.

An answer is given as it is, whatever its status, because the refusals are what is asked about. Only throttling is
waited out, and a token that has expired is replaced.
"""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from onazure.errors import NotAnsweredError, OnAzureError
from onazure.login import Login

NETWORK: Final = "2025-05-01"
COMPUTE: Final = "2025-04-01"
RESOURCES: Final = "2021-04-01"
THROTTLED: Final = frozenset({"TooManyRequests", "SubscriptionRequestsThrottled", "OperationNotAllowed"})
ATTEMPTS: Final = 5
REQUEST_S: Final = 120.0
LONGEST_WAIT_S: Final = 60.0
POLL_S: Final = 5.0
"""An operation is asked about that often, though Azure says ten seconds, because it is its time that is looked at. The
compute provider takes 15 such requests a minute."""
OPERATION_S: Final = 1800.0
"""How long an operation may take before it counts as unanswered."""
SHOWN_HEADERS: Final = ("retry-after", "azure-asyncnotification", "x-ms-failure-cause")


@dataclass(frozen=True, slots=True)
class Answer:
    """Azure's; header names are lower case, `body` is None where there is no JSON."""

    status: int
    headers: Mapping[str, str]
    body: Any
    took_s: float

    @property
    def ok(self) -> bool:
        """Whether it was accepted."""
        return self.status < 400

    @property
    def error(self) -> Mapping[str, Any]:
        """The error object, also of an operation that failed; empty for none."""
        error = self.body.get("error") if isinstance(self.body, dict) else None
        return error if isinstance(error, dict) else {}

    @property
    def codes(self) -> tuple[str, ...]:
        """The error's code, then those of its details."""
        details = [item for item in self.error.get("details") or () if isinstance(item, dict)]
        return tuple(str(item["code"]) for item in (self.error, *details) if item.get("code"))

    @property
    def words(self) -> str:
        """Status, codes and message, for a report."""
        details = [str(item.get("message", "")) for item in self.error.get("details") or () if isinstance(item, dict)]
        said = " ".join(filter(None, (str(self.error.get("message", "")), *details)))
        return " ".join(filter(None, (str(self.status), "/".join(self.codes), said)))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a write: `answer` is that of its operation where this failed, else that of the write."""

    ok: bool
    answer: Answer
    took_s: float
    accepted: bool

    @property
    def words(self) -> str:
        return self.answer.words if not self.accepted or self.ok else f"accepted, then {self.answer.words}"


@dataclass(slots=True)
class Arm:
    """`inside` is the path of the only group that may be written; `calls` is what was asked so far."""

    login: Login
    inside: str
    send: Callable[..., Any] = urllib.request.urlopen
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.monotonic
    calls: list[dict[str, Any]] = field(default_factory=list)
    _token: str = ""

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        version: str = NETWORK,
        query: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request, its path from /subscriptions on; again where Azure is throttling."""
        if (
            method != "GET"
            and path.lower() != self.inside.lower()
            and not path.lower().startswith(f"{self.inside.lower()}/")
        ):
            raise ValueError(f"cannot {method} {path}: it is not in the group {self.inside}")
        url = f"{self.login.resource_manager}{path}?api-version={version}{query}"
        return self._ask(method, url, path, body, headers or {})

    def settle(self, method: str, path: str, body: Any = None, **given: Any) -> Outcome:
        """A write, and what became of it in the end."""
        began = self.now()
        answer = self.ask(method, path, body, **given)
        if not answer.ok:
            return Outcome(ok=False, answer=answer, took_s=answer.took_s, accepted=False)
        return self.end_of(answer, path, began=began, version=given.get("version", NETWORK))

    def end_of(self, answer: Answer, path: str, *, began: float, version: str = NETWORK) -> Outcome:
        """Wait until the operation of an accepted write has ended."""
        last = answer
        while self.now() - began < OPERATION_S:
            url = answer.headers.get("azure-asyncoperation") or answer.headers.get("location")
            state = _state(last)
            if state in {"Succeeded", "Failed", "Canceled"} and (last is not answer or not url):
                return Outcome(
                    ok=state == "Succeeded", answer=_named(last, state), took_s=self.now() - began, accepted=True
                )
            self.sleep(min(POLL_S, _wait(last)))
            if url:
                if not url.lower().startswith(f"{self.login.resource_manager}/".lower()):
                    raise NotAnsweredError("Azure names an operation at another host: the token is not sent there")
                last = self._ask("GET", url, "(the operation)", None, {})
            else:
                last = self.ask("GET", path, version=version)
            if not last.ok:
                return Outcome(ok=False, answer=last, took_s=self.now() - began, accepted=True)
        raise NotAnsweredError(f"the write of {path} was still under way after {OPERATION_S:.0f} s")

    def _ask(self, method: str, url: str, path: str, body: Any, headers: Mapping[str, str]) -> Answer:
        for attempt in range(1, ATTEMPTS + 1):
            answer = self._once(method, url, body, headers)
            shown = {name: answer.headers[name] for name in SHOWN_HEADERS if name in answer.headers}
            said = {"error": answer.error} if answer.error else {}
            call = {"method": method, "path": path, "version": _version(url), "status": answer.status, "headers": shown}
            self.calls.append({**call, "took_s": round(answer.took_s, 3), **said})
            if answer.status == 401 and attempt == 1:
                self._token = ""
            elif answer.status == 429 and THROTTLED.intersection(answer.codes) and attempt < ATTEMPTS:
                self.sleep(_wait(answer))
            else:
                return answer
        raise AssertionError("the last attempt returns")

    def _once(self, method: str, url: str, body: Any, headers: Mapping[str, str]) -> Answer:
        self._token = self._token or self.login.token()
        data = None if body is None else json.dumps(body).encode()
        all_headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json", **headers}
        request = urllib.request.Request(url, data=data, method=method, headers=all_headers)
        began = self.now()
        try:
            with self.send(request, timeout=REQUEST_S) as reply:
                status, raw, said = reply.status, reply.read(), reply.headers
        except urllib.error.HTTPError as error:
            with error:
                status, raw, said = error.code, error.read(), error.headers
        except OSError as error:
            where = self.login.resource_manager
            raise OnAzureError(f"cannot {method} {url.partition('?')[0]}: no answer from {where}: {error}") from error
        lower = {name.lower(): value for name, value in said.items()}
        return Answer(status, lower, _json(raw), self.now() - began)


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return None


def _version(url: str) -> str:
    return url.partition("api-version=")[2].partition("&")[0]


def _state(answer: Answer) -> str:
    """How far an operation is, or a resource; "Succeeded" where nothing says otherwise."""
    body = answer.body if isinstance(answer.body, dict) else {}
    properties = body.get("properties")
    state = body.get("status") or (properties.get("provisioningState") if isinstance(properties, dict) else "")
    return str(state or ("InProgress" if answer.status == 202 else "Succeeded"))


def _named(answer: Answer, state: str) -> Answer:
    """An operation that ended badly without an error has its state for one."""
    if state == "Succeeded" or answer.error:
        return answer
    return Answer(answer.status, answer.headers, {"error": {"code": state}}, answer.took_s)


def _wait(answer: Answer) -> float:
    """As Azure says, in seconds; else two."""
    said = answer.headers.get("retry-after", "")
    return min(float(said), LONGEST_WAIT_S) if said.isdigit() else 2.0
