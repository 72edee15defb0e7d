"""The SDK's waiting for a long-running operation, with our pace and our way of asking.

The SDK decides where to ask, when it is over and what to read in the end. What is ours: how long to wait between two
questions, however Azure puts it, and that each question goes through the same door as every other request.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from azure.core.exceptions import HttpResponseError
from azure.core.pipeline import PipelineResponse
from azure.mgmt.core.polling.async_arm_polling import AsyncARMPolling

from azure_cni.azure import errors_map
from azure_cni.errors import CloudError, CloudUnreachable

Document = dict[str, Any]
Answer = PipelineResponse[Any, Any]

SHORTEST_POLL_S: Final = 1.0
USUAL_POLL_S: Final = 5.0  # where Azure names no time; the SDK's own default is 30
LONGEST_POLL_S: Final = 30.0


class Polling(AsyncARMPolling):
    """Asks by `ask(url)` and pauses by `pause(seconds)`."""

    def __init__(self, *, ask: Callable[[str], Awaitable[Answer]], pause: Callable[[float], Awaitable[None]]) -> None:
        super().__init__(timeout=USUAL_POLL_S)
        self._ask = ask
        self._pause = pause

    async def request_status(self, status_link: str) -> Answer:
        """One question, or the read at the end."""
        return await self._ask(status_link)

    def _extract_delay(self) -> float:
        return min(max(super()._extract_delay(), SHORTEST_POLL_S), LONGEST_POLL_S)

    async def _sleep(self, delay: float) -> None:
        await self._pause(delay)


async def finish(polling: Polling, *, client: Any, answer: Answer, what: str) -> Document:
    """Wait until the operation that `answer` began is over; the resource as it is then. Raises CloudError."""
    try:
        polling.initialize(client, answer, lambda last: last.http_response.json())
        await polling.run()
    except HttpResponseError as error:
        raise _ended_badly(error, what=what) from error
    resource = polling.resource()
    if not isinstance(resource, dict):
        raise CloudUnreachable(f"cannot {what}: Azure's last answer is not a document")
    return resource


def _ended_badly(error: HttpResponseError, *, what: str) -> CloudError:
    response: Any = error.response
    if response is None:
        return CloudUnreachable(f"cannot {what}: {error.message}")
    body = response.json() if response.content else {}
    status = body.get("status") or body.get("properties", {}).get("provisioningState")
    if status is None:
        return CloudUnreachable(f"cannot {what}: Azure's answer about its operation is not understood: {error.message}")
    return errors_map.from_operation(what, status=str(status), body=body)
