"""What Azure answers, as one error each: the table of codes and statuses, and the words that a person reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from multidict import CIMultiDict

from azure_cni.azure.answers import ArmAnswer
from azure_cni.azure.error_bodies import LONGEST_WORDS, REMEDIES, Fault
from azure_cni.azure.errors_map import from_answer, from_operation
from azure_cni.errors import (
    AccessDenied,
    CloudError,
    CloudNotFound,
    CloudUnreachable,
    OperationFailed,
    PreconditionFailed,
    RequestRefused,
    ResourceBusy,
    SubnetFull,
    Throttled,
)

NOW_S = 1_445_412_480.0  # Wed, 21 Oct 2015 07:28:00 GMT
RECORDED = Path(__file__).parent / "recorded"
DIRECT = (
    "The client 'c' with object id 'o-1' does not have authorization to perform action "
    "'Microsoft.Network/networkInterfaces/write' over scope '/subscriptions/s/nic' or the scope is invalid. "
    "If access was recently granted, please refresh your credentials."
)
LINKED = (
    "The client 'c' with object id 'o-2' has permission to perform action 'Microsoft.Network/networkInterfaces/write' "
    "on scope '/subscriptions/s/nic'; however, it does not have permission to perform action(s) "
    "'Microsoft.Network/virtualNetworks/subnets/join/action' on the linked scope(s) '/subscriptions/s/subnets/nodes' "
    "(respectively) or the linked scope(s) are invalid."
)


def error(code: str, message: str = "words", *details: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "details": [{"code": d, "message": f"{d}!"} for d in details]}}


def from_response(what: str, *, status: int, body: Any, **headers: str) -> CloudError:
    """What an answer with this body is; `retry_after` for Retry-After, and so on."""
    content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    named = {name.replace("_", "-").lower(): text for name, text in headers.items()}
    return from_answer(what, ArmAnswer(status, CIMultiDict(named), content), now_s=NOW_S)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, error("SubnetIsFull"), SubnetFull),
        (400, error("InvalidRequestFormat"), RequestRefused),
        (400, error("NetworkInterfaceMustHaveOneOneIPConfigAsPrimary"), RequestRefused),
        (400, error("PrivateIPAddressIsAllocated"), RequestRefused),
        (401, error("ExpiredAuthenticationToken"), AccessDenied),
        (403, error("AuthorizationFailed", DIRECT), AccessDenied),
        (403, error("LinkedAuthorizationFailed", LINKED), AccessDenied),
        (400, error("LinkedAuthorizationFailed", LINKED), AccessDenied),
        (403, error("SomethingElse"), AccessDenied),
        (403, error("RequestDisallowedByPolicy"), RequestRefused),
        (404, error("ResourceNotFound"), CloudNotFound),
        (404, error("ResourceGroupNotFound"), CloudNotFound),
        (404, {"code": "NotFound", "message": "bare"}, CloudNotFound),
        (408, "", CloudUnreachable),
        (409, error("AnotherOperationInProgress"), ResourceBusy),
        (409, error("Conflict"), ResourceBusy),
        (409, error("ScopeLocked"), RequestRefused),
        (409, error("OperationNotAllowed"), RequestRefused),
        (412, error("PreconditionFailed", "x", "PreconditionFailedEtagMismatch"), PreconditionFailed),
        (429, error("SubscriptionRequestsThrottled"), Throttled),
        (429, error("OperationNotAllowed", "x", "TooManyRequests"), Throttled),
        (429, "", Throttled),
        (429, error("RetryableError", "x", "ReferencedResourceNotProvisioned"), ResourceBusy),
        (429, error("RetryableError", "x", "RetryableErrorDueToAnotherOperation"), ResourceBusy),
        (429, error("AnotherOperationInProgress"), ResourceBusy),
        (500, error("InternalServerError"), CloudUnreachable),
        (503, "<html>unavailable</html>", CloudUnreachable),
        (302, "", CloudUnreachable),
        (401, "", CloudUnreachable),
        (403, "<html>Access Denied by your administrator</html>", CloudUnreachable),
        (404, "no such page", CloudUnreachable),
        (407, "", CloudUnreachable),
        (409, "[]", CloudUnreachable),
        (412, "null", CloudUnreachable),
        (503, error("TooManyRequests"), Throttled),
        (409, error("Odd", "x", "TooManyRequests"), Throttled),
        (504, error("GatewayTimeout"), CloudUnreachable),
    ],
)
def test_each_answer_is_one_error(status: int, body: Any, kind: type[CloudError]) -> None:
    found = from_response("write NIC n", status=status, body=body)
    assert type(found) is kind
    assert str(found).startswith("cannot write NIC n: ")


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        ("Failed", error("SubnetIsFull"), SubnetFull),
        ("Failed", error("InternalServerError"), OperationFailed),
        ("Failed", error("OperationNotAllowed", "'startTenantUpdate' is not allowed on VM"), OperationFailed),
        ("Failed", error("AnotherOperationInProgress"), ResourceBusy),
        ("Failed", error("OperationPreempted"), ResourceBusy),
        ("Failed", error("LinkedAuthorizationFailed", LINKED), AccessDenied),
        ("Canceled", error("Canceled", "x", "CanceledAndSupersededDueToAnotherOperation"), ResourceBusy),
        ("Canceled", error("Canceled"), OperationFailed),
        ("Failed", error("TooManyRequests"), Throttled),
        ("Failed", error("OperationNotAllowed", "x", "TooManyRequests"), Throttled),
        ("Failed", error("RetryableError", "x", "TooManyRequests"), ResourceBusy),
        ("Failed", {}, OperationFailed),
        ("Failed", {"error": "just text"}, OperationFailed),
        ("Failed", {"error": [None, 5, {"code": 7}]}, OperationFailed),
    ],
)
def test_each_bad_end_is_one_error(status: str, body: dict[str, Any], kind: type[CloudError]) -> None:
    found = from_operation("write NIC n", status=status, error=body.get("error"))
    assert type(found) is kind


@pytest.mark.parametrize(
    ("message", "action", "scope", "who"),
    [
        (DIRECT, "Microsoft.Network/networkInterfaces/write", "/subscriptions/s/nic", "o-1"),
        (
            LINKED,
            "Microsoft.Network/virtualNetworks/subnets/join/action",
            "/subscriptions/s/subnets/nodes",
            "o-2",
        ),
    ],
)
def test_a_denial_says_which_permission_where_and_whose(message: str, action: str, scope: str, who: str) -> None:
    found = from_response("write NIC n", status=403, body=error("AuthorizationFailed", message))
    assert isinstance(found, AccessDenied)
    assert (found.action, found.scope, found.identity) == (action, scope, who)
    assert str(found) == (
        f"cannot write NIC n: the identity with object id {who} lacks {action} on {scope}; "
        "assign it a role with that action there (a new assignment takes some minutes to work)"
    )


def test_only_what_may_pass_without_help_is_retriable() -> None:
    assert not from_response("x", status=400, body=error("InvalidRequestFormat")).retriable
    assert from_response("x", status=400, body=error("SubnetIsFull")).retriable
    assert not from_response("x", status=403, body=error("AuthorizationFailed", DIRECT)).retriable


def test_azures_wish_to_wait_is_kept() -> None:
    assert from_response("x", status=429, body="", retry_after="17").retry_after_s == 17
    assert from_response("x", status=429, body="").retry_after_s is None
    assert from_response("x", status=409, body=error("Conflict"), retry_after="86400").retry_after_s == 1800
    assert from_response("x", status=429, body=error("RetryableError"), retry_after="10").retry_after_s == 10


def test_codes_are_found_however_deep() -> None:
    deep = {"code": "A", "message": "a", "details": [{"code": "B", "details": [{"code": "SubnetIsFull"}]}]}
    assert Fault.read({"error": deep}).codes == ("A", "B", "SubnetIsFull")
    assert Fault.read({"error": {"code": "A", "details": None}}).codes == ("A",)
    assert Fault.read({"error": "just text"}).codes == ()


def test_a_long_message_is_parsed_whole_and_reported_short() -> None:
    text = f"cannot: {'x' * 5000}"
    assert len(str(from_response("do it", status=400, body=error("Odd", text)))) < LONGEST_WORDS + 100
    found = from_response("do it", status=403, body=error("LinkedAuthorizationFailed", "y" * 5000 + LINKED))
    assert isinstance(found, AccessDenied)
    assert found.scope == "/subscriptions/s/subnets/nodes"


@pytest.mark.parametrize("case", json.loads((RECORDED / "errors-basic.json").read_text())["cases"])
def test_recorded_errors_are_understood(case: dict[str, Any]) -> None:
    expected = {
        "SubnetIsFull": SubnetFull,
        "RetryableError": ResourceBusy,
        "SubscriptionRequestsThrottled": Throttled,
        "IpConfigDeleteNotSupported": RequestRefused,
        "PrivateIPAddressIsAllocated": RequestRefused,
    }
    found = from_response("write NIC n", status=case["status"], body=case["body"])
    assert type(found) is expected[case["body"]["error"]["code"]]
    assert found.azure_code == case["body"]["error"]["code"]


def test_the_recorded_412_is_understood() -> None:
    answer = json.loads((RECORDED / "etag-mismatch-412-network-rp.json").read_text())["response"]
    found = from_response("write VNet v", status=answer["status"], body=answer["body"])
    assert isinstance(found, PreconditionFailed)


def test_a_page_of_a_proxy_says_who_may_have_answered() -> None:
    page = "<html><style>p {x}</style><h1>Access&nbsp;denied</h1>\n<p>Category: cloud</p></html>"
    found = from_response("read NIC n", status=403, body=page, server="squid/5.7", via="1.1 proxy")
    assert type(found) is CloudUnreachable
    assert found.retriable
    assert str(found) == (
        "cannot read NIC n: HTTP 403 is not Azure's answer, it has no error code (server: squid/5.7, via: 1.1 proxy); "
        "it says: Access&nbsp;denied Category: cloud; does a proxy or a firewall answer in Azure's place? HTTPS_PROXY "
        "and NO_PROXY in agent.extraEnv and controller.extraEnv set the proxy"
    )


@pytest.mark.parametrize(
    ("status", "kind"), [(401, AccessDenied), (403, AccessDenied), (404, CloudNotFound), (412, PreconditionFailed)]
)
def test_an_empty_answer_with_azures_headers_is_azures(status: int, kind: type[CloudError]) -> None:
    assert type(from_response("x", status=status, body="", x_ms_request_id="1")) is kind


@pytest.mark.parametrize("code", REMEDIES)
@pytest.mark.parametrize("status", [400, 403, 409])
def test_what_only_a_person_can_change_is_permanent_and_says_what(status: int, code: str) -> None:
    found = from_response("write NIC n", status=status, body=error(code))
    assert type(found) is RequestRefused
    assert not found.retriable
    assert str(found) == f"cannot write NIC n: Azure refuses it ({code}): words; {REMEDIES[code]}"


COMPUTE_429 = error(
    "OperationNotAllowed",
    "The server rejected the request because too many requests have been received for this subscription.",
)
COMPUTE_429["error"]["details"] = [
    {"code": "TooManyRequests", "message": '{"operationGroup":"HighCostGet30Min","startTime":"2018-06-29T19:54:21"}'}
]


@pytest.mark.parametrize(
    "body",
    [
        COMPUTE_429,
        json.dumps(COMPUTE_429),
        {"error": {"code": "OperationNotAllowed", "message": json.dumps(COMPUTE_429)}},
        [COMPUTE_429],
    ],
)
def test_json_inside_a_string_is_looked_into(body: Any) -> None:
    assert "TooManyRequests" in Fault.read(body).codes
    assert type(from_response("x", status=429, body=body)) is Throttled


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe",
        b"null",
        b"[" * 5000,
        b'{"error":' * 5000,
        b"",
        b'{"error": {"code": null, "details": {"code": []}}}',
    ],
)
def test_no_body_of_an_error_is_too_odd(content: bytes) -> None:
    for status in (302, 400, 401, 403, 404, 409, 412, 429, 500):
        found = from_answer("x", ArmAnswer(status, CIMultiDict(), content), now_s=NOW_S)
        assert isinstance(found, CloudError)
        assert str(found).startswith("cannot x: ")


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"retry_after": "17"}, 17),
        ({"retry_after": "1.5"}, 1.5),
        ({"retry_after": " 5 "}, 5),
        ({"retry_after": "86400"}, 1800),
        ({"retry_after": "0"}, 0),
        ({"x_ms_retry_after_ms": "1500"}, 1.5),
        ({"retry_after_ms": "20"}, 0.02),
        ({"retry_after": "Wed, 21 Oct 2015 07:28:30 GMT"}, 30),
        ({"retry_after": "Wednesday, 21-Oct-15 07:28:30 GMT"}, 30),
        ({"retry_after": "Wed Oct 21 07:28:30 2015"}, 30),
        ({"retry_after": "Wed, 21 Oct 2015 07:00:00 GMT"}, 0),
        ({"retry_after": "Wed, 21 Oct 2065 07:28:00 GMT"}, 1800),
        ({"retry_after": "Wed, 21 Oct 2015 09:00:20 GMT", "date": "Wed, 21 Oct 2015 09:00:00 GMT"}, 20),
        ({"retry_after": "\u00b2"}, None),
        ({"retry_after": "\u0663"}, None),
        ({"retry_after": "9" * 400}, None),
        ({"retry_after": "-5"}, None),
        ({"retry_after": "1e9"}, None),
        ({"retry_after": "inf"}, None),
        ({"retry_after": "soon"}, None),
        ({"retry_after": "Wed, 99 Oct 2015 07:28:00 GMT"}, None),
        ({"retry_after": ""}, None),
    ],
)
def test_how_long_azure_asks_to_wait(headers: dict[str, str], wait_s: float | None) -> None:
    for status, body in ((429, ""), (503, error("ServerBusy")), (409, error("Conflict"))):
        assert from_response("x", status=status, body=body, **headers).retry_after_s == wait_s


@pytest.mark.parametrize(
    ("words", "wait_s"),
    [
        ("Please try again after '17' seconds after additional tokens are available.", 17),
        ("Too many requests. Please try again after 5 minutes.", 300),
        ("Try again in 1 hour.", 1800),
        ("The call can be retried in 10 seconds.", 10),
        ("Please retry after 250 milliseconds", 0.25),
        ("Retry your request after 2 min", 120),
        (json.dumps({"error": {"message": "try again after '9' seconds"}}), 9),
        ("Number of requests in 5 minutes exceeded 1000.", None),
        ("Please try again.", None),
        ("try again after ² seconds", None),
    ],
)
def test_how_long_azure_asks_to_wait_in_words(words: str, wait_s: float | None) -> None:
    assert from_response("x", status=429, body=error("TooManyRequests", words)).retry_after_s == wait_s
    assert (
        from_operation("x", status="Failed", error={"code": "TooManyRequests", "message": words}).retry_after_s
        == wait_s
    )
    assert from_response("x", status=429, body=error("TooManyRequests", words), retry_after="3").retry_after_s == 3
