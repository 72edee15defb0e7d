"""Whatever Azure, or whoever is in its place, answers: an error of the product, a bounded wait, no other exception.

python -m property.test_odd_answers 200000 [SEED]       longer than the tests do it
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections import Counter
from random import Random
from typing import Any, Final

from multidict import CIMultiDict

from azure_cni.azure.answers import ArmAnswer
from azure_cni.azure.errors_map import from_answer
from azure_cni.azure.polling import Polling
from azure_cni.errors import LONGEST_RETRY_AFTER_S, CloudError, OutcomeUnknown, Throttled
from property.mutations import ODD, mutated, mutated_bytes

NOW_S: Final = 1_800_000_000.0
STATUSES: Final = (201, 204, 302, 400, 401, 403, 404, 405, 407, 408, 409, 410, 412, 429, 500, 502, 503, 504)
HEADERS: Final = (
    "Retry-After", "x-ms-retry-after-ms", "Date", "Server", "Via", "x-ms-request-id", "Content-Type", "Location",
    "Azure-AsyncOperation",
)  # fmt: skip
LONGEST_TEXT: Final = 2000
CODE: Final = re.compile(r"[\w.-]{0,100}", re.ASCII)

ERRORS: Final[tuple[Any, ...]] = (
    {"error": {"code": "SubnetIsFull", "message": "Subnet S has not enough capacity.", "details": []}},
    {"error": {"code": "RetryableError", "message": "m", "details": [{"code": "ReferencedResourceNotProvisioned"}]}},
    {"error": {"code": "OperationNotAllowed", "message": "m",
               "details": [{"code": "TooManyRequests", "message": '{"operationGroup": "HighCostGet"}'}]}},
    {"error": {"code": "SubscriptionRequestsThrottled", "message": "Please try again after '17' seconds."}},
    {"error": {"code": "NoRegisteredProviderFound", "message": "The supported api-versions are '2020-01-01'."}},
    {"error": {"code": "AuthorizationFailed", "message": "with object id 'o' does not have authorization to perform "
                                                         "action 'a' over scope 's'"}},
    {"error": {"code": "ScopeLocked", "message": "locked", "innererror": {"code": "x"}, "target": None}},
    {"code": "NotFound", "message": "bare"},
)  # fmt: skip
OPERATIONS: Final[tuple[Any, ...]] = (
    {"status": "InProgress"},
    {"status": "Succeeded", "properties": None, "startTime": "2026-11-28T00:00:00Z"},
    *({"status": "Failed", **error} for error in ERRORS if "error" in error),
    {"status": "Canceled", "error": {"code": "Canceled", "message": "m", "details": [{"code": "OperationPreempted"}]}},
)
RESOURCES: Final[tuple[Any, ...]] = tuple(
    {"id": "n", "etag": 'W/"1"', "properties": {"provisioningState": state, "ipConfigurations": []}}
    for state in ("Updating", "Succeeded", "Failed")
)


def answer(good: Any, random: Random, *, statuses: tuple[int, ...]) -> ArmAnswer:
    content = json.dumps(mutated(good, random) if random.random() < 0.8 else good).encode()
    names = random.sample(HEADERS, random.randrange(4))
    headers = CIMultiDict((name, random.choice([text for text in ODD if isinstance(text, str)])) for name in names)
    return ArmAnswer(random.choice(statuses), headers, mutated_bytes(content, random))


def check(error: CloudError) -> None:
    assert str(error).startswith("cannot write NIC n")
    assert len(str(error)) < LONGEST_TEXT
    assert str(error).isprintable()
    assert error.retry_after_s is None or 0 <= error.retry_after_s <= LONGEST_RETRY_AFTER_S
    assert CODE.fullmatch(error.azure_code)


def refused(random: Random) -> str:
    """An answer that is no good: what kind of error it is."""
    error = from_answer("write NIC n", answer(random.choice(ERRORS), random, statuses=STATUSES), now_s=NOW_S)
    check(error)
    return type(error).__name__


async def polled(random: Random) -> str:
    """An accepted write whose polls are answered oddly: how it ends."""
    left = random.randrange(1, 12)
    pauses: list[float] = []

    async def ask(link: str) -> ArmAnswer:
        nonlocal left
        left -= 1
        if left <= 0:  # like a resource manager that works again
            good = RESOURCES[1] if link == "resource" else OPERATIONS[1]
            return ArmAnswer(200, CIMultiDict(), json.dumps(good).encode())
        if random.random() < 0.1:
            raise from_answer("ask", answer(random.choice(ERRORS), random, statuses=STATUSES), now_s=NOW_S)
        good = random.choice(RESOURCES if link == "resource" else OPERATIONS)
        return answer(good, random, statuses=(200, 200, 200, 201, 202, 204))

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    accepted = answer(random.choice(RESOURCES), random, statuses=(200, 201, 202))
    try:
        document = await Polling(ask=ask, pause=pause, what="write NIC n").finish(accepted, resource="resource")
    except CloudError as error:
        check(error)
        return type(error).__name__
    finally:
        assert all(1 <= seconds <= 30 for seconds in pauses)
    assert isinstance(document, dict)
    return "written"


async def walk(count: int, *, seed: int) -> Counter[str]:
    """As many answers, of either kind; how many of what came of them. AssertionError, or whatever should not be."""
    ends: Counter[str] = Counter()
    for number in range(count):
        random = Random(f"{seed}/{number}")
        try:
            ends[refused(random)] += 1
            ends[await polled(random)] += 1
        except Exception as error:
            raise AssertionError(f"number {number} of seed {seed}: {type(error).__name__}: {error}") from error
    return ends


async def test_no_answer_is_too_odd() -> None:
    ends = await walk(4000, seed=1)
    assert ends.total() == 8000
    assert {"written", OutcomeUnknown.__name__, Throttled.__name__} <= set(ends)


if __name__ == "__main__":
    print(asyncio.run(walk(int(sys.argv[1]), seed=int(sys.argv[2]) if len(sys.argv) > 2 else 1)))
