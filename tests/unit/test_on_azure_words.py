"""`e2e/on-azure` without any Azure: how an operation is followed, what a report leaves out, what the page says."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from email.message import Message
from typing import Any

import pytest

from azurebox.facts import REPOSITORY
from onazure import machine_answers, scale_set_answers
from onazure.arm import Arm
from onazure.errors import NotAnsweredError
from onazure.login import Login
from onazure.machine_questions import MACHINE, PERSON, SCALE_SET
from onazure.network_answers import ANSWERS
from onazure.page import written
from onazure.questions import AS_TAKEN, NETWORK
from onazure.report import Result, as_json, as_markdown, redactor

BASE, INSIDE = "https://arm.example", "/subscriptions/s/resourceGroups/g"
NIC = f"{INSIDE}/providers/Microsoft.Network/networkInterfaces/n"
POLL = {"Azure-AsyncOperation": f"{BASE}/subscriptions/s/operations/1?api-version=x&t=1"}


class Reply(io.BytesIO):
    """As urlopen gives it."""

    def __init__(self, status: int, body: Any, headers: Mapping[str, str]) -> None:
        super().__init__(json.dumps(body).encode() if body is not None else b"")
        self.status, self.headers = status, Message()
        for name, value in headers.items():
            self.headers[name] = value


class Script:
    """Azure as a list of answers, each given once; what was asked, and how long was waited."""

    def __init__(self, *answers: tuple[int, Any, Mapping[str, str]]) -> None:
        self.answers, self.asked, self.now_s = list(answers), [], 0.0
        login = Login(lambda *_: {"accessToken": f"token{len(self.asked)}"}, BASE, "c", "s", "n", "t")
        self.arm = Arm(login, INSIDE, send=self.send, sleep=self.sleep, now=lambda: self.now_s)

    def send(self, request: Any, *, timeout: float) -> Reply:
        assert timeout > 0
        self.asked.append((request.method, request.full_url, request.headers["Authorization"]))
        return Reply(*self.answers.pop(0))

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now_s += seconds


UPDATING = {"properties": {"provisioningState": "Updating"}}
DONE = {"properties": {"provisioningState": "Succeeded"}}
FAILED = {"status": "Failed", "error": {"code": "SubnetIsFull", "message": "full", "details": []}}


@pytest.mark.parametrize(
    ("answers", "end", "words", "took_s"),
    [
        ([(200, DONE, {})], "well", "200", 0),
        ([(201, UPDATING, {}), (200, DONE, {})], "well", "200", 2),
        ([(200, UPDATING, POLL | {"Retry-After": "10"}), (200, {"status": "Succeeded"}, {})], "well", "200", 5),
        (
            [(201, DONE, POLL), (200, {"status": "InProgress"}, {}), (200, {"status": "Succeeded"}, {})],
            "well",
            "200",
            4,
        ),
        ([(200, UPDATING, POLL), (200, FAILED, {})], "badly", "accepted, then 200 SubnetIsFull full", 2),
        ([(200, UPDATING, POLL), (200, {"status": "Canceled"}, {})], "badly", "accepted, then 200 Canceled", 2),
        ([(200, UPDATING, POLL), (404, {"error": {"code": "Gone"}}, {})], "badly", "accepted, then 404 Gone", 2),
        ([(400, FAILED, {})], "badly", "400 SubnetIsFull full", 0),
        ([(202, None, {}), (202, None, {}), (200, DONE, {})], "well", "200", 4),
    ],
)
def test_a_write_is_followed_to_its_end(answers, end: str, words: str, took_s: float):
    azure = Script(*answers)
    outcome = azure.arm.settle("PUT", NIC, {})
    assert (outcome.ok, outcome.words, outcome.took_s) == (end == "well", words, took_s)
    assert azure.answers == []


def test_an_operation_without_end_is_given_up():
    azure = Script((200, UPDATING, POLL), *((200, {"status": "InProgress"}, {"Retry-After": "60"}) for _ in range(700)))
    with pytest.raises(NotAnsweredError, match="still under way after 1800 s"):
        azure.arm.settle("PUT", NIC, {})


def test_the_token_goes_to_no_other_host():
    azure = Script((200, UPDATING, {"Azure-AsyncOperation": "https://arm.example.evil.example/operations/1"}))
    with pytest.raises(NotAnsweredError, match="at another host"):
        azure.arm.settle("PUT", NIC, {})
    assert len(azure.asked) == 1


def test_a_token_that_has_expired_is_replaced_once():
    azure = Script((401, {"error": {"code": "ExpiredAuthenticationToken"}}, {}), (200, DONE, {}))
    assert azure.arm.ask("GET", NIC).ok
    assert [asked[2] for asked in azure.asked] == ["Bearer token0", "Bearer token1"]
    azure = Script(*((401, {"error": {"code": "InvalidAuthenticationToken"}}, {}) for _ in range(2)))
    assert azure.arm.ask("GET", NIC).status == 401


def test_only_throttling_is_asked_again():
    throttled, busy = ({"error": {"code": code}} for code in ("TooManyRequests", "RetryableError"))
    azure = Script((429, throttled, {"Retry-After": "9"}), (429, busy, {"Retry-After": "9"}))
    assert azure.arm.ask("PUT", NIC, {}).codes == ("RetryableError",)
    assert azure.now_s == 9


SECRET = {"11111111-aaaa-4aaa-8aaa-000000000001": "SUBSCRIPTION", "my-group": "GROUP", "": "NOTHING"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/subscriptions/11111111-AAAA-4AAA-8AAA-000000000001/x", "/subscriptions/SUBSCRIPTION/x"),
        ("group My-Group", "group GROUP"),
        ("by ann.lee+x@mail.example.org.", "by MAIL."),
        ("22222222-aaaa-4aaa-8aaa-000000000001, then 22222222-AAAA-4aaa-8aaa-000000000001", "GUID-1, then GUID-1"),
        ('W/"33333333-aaaa-4aaa-8aaa-000000000001" 10.91.0.4', 'W/"GUID-1" 10.91.0.4'),
    ],
)
def test_what_a_report_leaves_out(text: str, shown: str):
    assert redactor(SECRET)(text) == shown


def test_a_report_names_what_has_to_be_done():
    block = next(one for one in NETWORK if one.key == "block")
    etag = next(one for one in NETWORK if one.key == "etag")
    results = [
        Result(block, "refused", "400 A | B\nC"),
        Result(etag, AS_TAKEN, "412"),
        Result(etag, "", "no answer came"),
    ]
    text = as_markdown({"cloud": "c"}, results, redactor({}))
    assert "| refused | 400 A \\| B C |" in text
    assert f"- `block`, refused: {block.otherwise['refused']}\n" in text
    assert text.count("\n- `") == 1
    answers = json.loads(as_json({}, results, [], redactor({})))["answers"]
    assert [one["as_taken"] for one in answers] == [False, True, None]


def test_the_page_has_the_questions_as_they_are():
    page = REPOSITORY / "docs" / "on-azure.md"
    assert page.read_text() == written(page.read_text()), "run: PYTHONPATH=e2e python -m onazure.page"


def test_each_question_stands_once_and_the_script_asks_those_it_can():
    every = (*NETWORK, *MACHINE, *SCALE_SET, *PERSON)
    keys = [one.key for one in every]
    assert len(set(keys)) == len(keys)
    assert [one.key for one in NETWORK] == list(ANSWERS)
    assert [one.key for one in MACHINE] == list(machine_answers.ANSWERS)
    assert [one.key for one in SCALE_SET] == list(scale_set_answers.ANSWERS)
    assert [one.key for one in every if not (one.asks.endswith("?") and one.taken and one.otherwise)] == []
    assert [one.key for one in every[: -len(PERSON)] if not one.command.endswith(f"--only {one.key}")] == []
    assert [one.key for one in PERSON if one.command.startswith("e2e/on-azure")] == []
