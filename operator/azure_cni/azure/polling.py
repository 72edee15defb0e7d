"""Wait for the operation that a write started, as Azure documents it for long-running operations.

The write's answer says where to poll: `Azure-AsyncOperation` (its body has a `status`), else `Location` (202 until it
is over), else the resource itself (`provisioningState`). After a good end the resource is read again until it is newer
than the write, because a read may lag. Every body is decoded into the few fields that decide; a body without them is
requested again.

Once a write has been accepted, no answer to a poll is a refusal: an operation that is gone (404), that may not be read
(401, 403), or whose link leads elsewhere, may still be running. All of these raise OutcomeUnknown.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from azure_cni.azure import errors_map
from azure_cni.azure.answers import ArmAnswer, Document
from azure_cni.azure.throttle_gate import wait_in_headers
from azure_cni.errors import CloudError, CloudUnreachable, OutcomeUnknown

SHORTEST_POLL_S: Final = 1.0
USUAL_POLL_S: Final = 5.0  # when Azure names no time
LONGEST_POLL_S: Final = 30.0
UNREADABLE: Final = 5
"""Answers in a row that say nothing of the operation; after them its end counts as unknown."""
LAGGING_S: Final = (1.0, 2.0, 4.0, 8.0)
"""Pauses between reads of a result that is older than the end of its operation."""

RUNNING: Final = "running"
SUCCEEDED: Final = "succeeded"
BAD_ENDS: Final = {"failed": "Failed", "canceled": "Canceled", "cancelled": "Canceled"}
ACCEPTED: Final = 202


class _Operation(msgspec.Struct):
    status: str


class _Properties(msgspec.Struct, rename="camel"):
    provisioning_state: str | None = None


class _Resource(msgspec.Struct):
    properties: _Properties


class _Cause(msgspec.Struct):
    error: Any = None


class Polling:
    """One accepted write. Asks by `ask(url)` and pauses by `pause(seconds)`; `what` completes "cannot ..."."""

    def __init__(
        self, *, ask: Callable[[str], Awaitable[ArmAnswer]], pause: Callable[[float], Awaitable[None]], what: str
    ) -> None:
        self._ask = ask
        self._pause = pause
        self._what = what

    async def finish(self, accepted: ArmAnswer, *, resource: str, etag_before: str = "") -> Document:
        """Wait until the operation is over; the resource (its URL is `resource`) as it is then. Raises CloudError.

        `etag_before`: a resource that still has this etag does not show the write yet; "" where nothing is to change.
        """
        document = await self._result(accepted, resource=resource)
        for pause_s in LAGGING_S:
            if not _lags(document, etag_before):
                return document
            await self._pause(pause_s)
            document = await self._read(resource)
        if etag_before and document.get("etag") == etag_before:
            raise OutcomeUnknown(f"{self._unknown}: the resource is shown as it was before, with etag {etag_before}")
        return document

    async def _result(self, accepted: ArmAnswer, *, resource: str) -> Document:
        operation, location = accepted.headers.get("Azure-AsyncOperation"), accepted.headers.get("Location")
        if operation:
            await self._watch(operation, _operation_state)
        elif location and accepted.status == ACCEPTED:
            await self._watch(location, _location_state)
        else:
            last = await self._watch(resource, _resource_state, first=accepted)
            document = last.document()
            if document is not None:
                return document
        return await self._read(resource)

    async def _watch(
        self, link: str, state_of: Callable[[ArmAnswer], str], *, first: ArmAnswer | None = None
    ) -> ArmAnswer:
        """Ask until the operation has ended well; the last answer. `first` is looked at before anything is asked."""
        answer, unreadable = first or await self._poll(link), 0
        while (state := state_of(answer)) != SUCCEEDED:
            if state in BAD_ENDS:
                raise self._ended(answer, state)
            unreadable = unreadable + 1 if state == "" else 0
            if unreadable >= UNREADABLE:
                raise OutcomeUnknown(
                    f"{self._unknown}: HTTP {answer.status} does not say in which state the operation is: "
                    f"{answer.first_words or 'an empty answer'}"
                )
            await self._pause(_pause_s(answer))
            answer = await self._poll(link)
        return answer

    async def _poll(self, link: str) -> ArmAnswer:
        try:
            return await self._ask(link)
        except CloudError as error:
            raise _unknown_by(error, f"{self._unknown}: {error}") from error

    async def _read(self, resource: str) -> Document:
        cannot = f"cannot {self._what}: Azure has carried it out, and the result cannot be read"
        try:
            document = (await self._ask(resource)).document()
        except CloudError as error:
            raise _unknown_by(error, f"{cannot}: {error}") from error
        if document is None:
            raise CloudUnreachable(f"{cannot}: the answer is not a document")
        return document

    def _ended(self, answer: ArmAnswer, state: str) -> CloudError:
        cause = answer.shaped(_Cause)
        return errors_map.from_operation(self._what, status=BAD_ENDS[state], error=cause.error if cause else None)

    @property
    def _unknown(self) -> str:
        return f"cannot {self._what}: Azure accepted it, and its outcome is unknown"


def _unknown_by(error: CloudError, text: str) -> OutcomeUnknown:
    """What an error of the question about a write means for the write."""
    unknown = OutcomeUnknown(text, azure_code=error.azure_code, retry_after_s=error.retry_after_s)
    unknown.lacks = error.lacks
    return unknown


def _lags(document: Document, etag_before: str) -> bool:
    """Whether this cannot be the resource after its operation: the etag of before, or a change under way."""
    properties = document.get("properties")
    state = properties.get("provisioningState") if isinstance(properties, dict) else None
    under_way = isinstance(state, str) and _known(state) == RUNNING
    return under_way or bool(etag_before and document.get("etag") == etag_before)


def _operation_state(answer: ArmAnswer) -> str:
    """`succeeded`, one of BAD_ENDS or `running`; "" when the answer does not say."""
    body = answer.shaped(_Operation)
    if body is None or not body.status:
        return RUNNING if answer.status == ACCEPTED else ""
    return _known(body.status)


def _location_state(answer: ArmAnswer) -> str:
    return RUNNING if answer.status == ACCEPTED else SUCCEEDED


def _resource_state(answer: ArmAnswer) -> str:
    """A resource without a state is done, as Azure documents it, unless it was only accepted (201, 202)."""
    body = answer.shaped(_Resource)
    if body is None:
        return ""
    state = body.properties.provisioning_state
    if not state:
        return RUNNING if answer.status in {201, ACCEPTED} else SUCCEEDED
    return _known(state)


def _known(state: str) -> str:
    lower = state.lower()
    return lower if lower == SUCCEEDED or lower in BAD_ENDS else RUNNING


def _pause_s(answer: ArmAnswer) -> float:
    wish_s = wait_in_headers(answer.headers, now_s=time.time())
    return min(max(USUAL_POLL_S if wish_s is None else wish_s, SHORTEST_POLL_S), LONGEST_POLL_S)
