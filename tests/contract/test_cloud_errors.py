"""What Azure answers, as one error each: the table of codes and statuses, and the words that a person reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from azure_cni.azure.errors_map import LONGEST_WORDS, Fault, from_operation, from_response
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


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, error("SubnetIsFull"), SubnetFull),
        (400, error("InvalidRequestFormat"), RequestRefused),
        (400, error("NetworkInterfaceMustHaveOneOneIPConfigAsPrimary"), RequestRefused),
        (400, error("PrivateIPAddressIsAllocated"), RequestRefused),
        (401, error("ExpiredAuthenticationToken"), AccessDenied),
        (401, "", AccessDenied),
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
        (412, "", PreconditionFailed),
        (429, error("SubscriptionRequestsThrottled"), Throttled),
        (429, error("OperationNotAllowed", "x", "TooManyRequests"), Throttled),
        (429, "", Throttled),
        (429, error("RetryableError", "x", "ReferencedResourceNotProvisioned"), ResourceBusy),
        (429, error("RetryableError", "x", "RetryableErrorDueToAnotherOperation"), ResourceBusy),
        (429, error("AnotherOperationInProgress"), ResourceBusy),
        (500, error("InternalServerError"), CloudUnreachable),
        (503, "<html>unavailable</html>", CloudUnreachable),
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
        ("Failed", {}, OperationFailed),
    ],
)
def test_each_bad_end_is_one_error(status: str, body: dict[str, Any], kind: type[CloudError]) -> None:
    found = from_operation("write NIC n", status=status, body={"status": status, **body})
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
    assert (found.action, found.scope) == (action, scope)
    assert str(found) == (
        f"cannot write NIC n: the identity with object id {who} lacks {action} on {scope}; "
        "assign it a role with that action there (a new assignment takes some minutes to work)"
    )


def test_only_what_may_pass_by_itself_is_retriable() -> None:
    assert not from_response("x", status=400, body=error("InvalidRequestFormat")).retriable
    assert from_response("x", status=400, body=error("SubnetIsFull")).retriable
    assert not from_response("x", status=403, body=error("AuthorizationFailed", DIRECT)).retriable


def test_azures_wish_to_wait_is_kept() -> None:
    assert from_response("x", status=429, body="", retry_after_s=17).retry_after_s == 17
    assert from_response("x", status=429, body="").retry_after_s is None
    assert from_response("x", status=409, body=error("Conflict"), retry_after_s=86400).retry_after_s == 1800
    assert from_response("x", status=429, body=error("RetryableError"), retry_after_s=10).retry_after_s == 10


def test_codes_are_found_however_deep() -> None:
    deep = {"code": "A", "message": "a", "details": [{"code": "B", "details": [{"code": "SubnetIsFull"}]}]}
    assert Fault.read({"error": deep}).codes == ("A", "B", "SubnetIsFull")
    assert Fault.read({"error": {"code": "A", "details": None}}).codes == ("A",)
    assert Fault.read({"error": "just text"}).codes == ()


def test_a_long_message_is_parsed_whole_and_told_short() -> None:
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
