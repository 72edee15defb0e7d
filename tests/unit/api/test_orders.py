"""Orders and answers as documents: what is written is what is read, also over what stood there before."""

from __future__ import annotations

import json
from ipaddress import IPv4Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azure_cni.api import orders
from azure_cni.api.identity import MachineClaim, NodeIdentity, VNetView
from azure_cni.api.nic import ConfigName, ExcludedConfiguration, IPConfiguration, NicID, NicView, SubnetID, VNetID
from azure_cni.api.order_documents import (
    ERRORS,
    answer_document,
    order_document,
    read_answer,
    read_identified,
    read_order,
)
from azure_cni.api.orders import Identify, Order, ReadNic, ReadVNet, Result, WriteNic
from azure_cni.errors import AccessDenied, CloudError, DecodeFailed
from fakes.pools import merge_patch

VM = "/subscriptions/5c08b38e-4d57/resourceGroups/my_rg(1)/providers/Microsoft.Compute/virtualMachines/vm1"

texts = st.text(max_size=20)
names = st.builds(ConfigName, texts)
networks = st.lists(st.ip_addresses(v=4).map(IPv4Network), max_size=3)
claims = st.builds(
    MachineClaim,
    vm_id=st.uuids().map(str),
    vm_resource_id=st.sampled_from([VM, VM.lower()]),
    macs=st.lists(texts, max_size=2).map(tuple),
)
all_orders = st.one_of(
    st.builds(Identify, claims),
    st.builds(ReadVNet, claims, st.builds(VNetID, texts)),
    st.builds(ReadNic, claims, st.builds(NicID, texts)),
    st.builds(
        WriteNic,
        claims,
        st.builds(NicID, texts),
        etag=texts,
        add=st.integers(0, 256),
        remove=st.lists(names, max_size=3).map(tuple),
        permit=st.integers(0, 2**40),
    ),
)
identities = st.builds(
    NodeIdentity,
    vm_id=texts,
    vm_resource_id=texts,
    nic_id=st.builds(NicID, texts),
    subnet_id=st.builds(SubnetID, texts),
    vnet_id=st.builds(VNetID, texts),
    mac=texts,
    primary_ip=st.ip_addresses(v=4),
)
configs = st.builds(
    IPConfiguration,
    name=names,
    address=st.none() | st.ip_addresses(v=4),
    primary=st.booleans(),
    ready=st.booleans(),
    static=st.booleans(),
)
excluded = st.builds(
    ExcludedConfiguration, name=texts, address=st.none() | st.ip_addresses(v=4), why=texts, public=st.booleans()
)
nics = st.builds(
    NicView,
    st.builds(NicID, texts),
    texts,
    st.booleans(),
    st.lists(configs, max_size=4).map(tuple),
    st.booleans(),
    st.lists(excluded, max_size=4).map(tuple),
)
vnets = st.builds(VNetView, prefixes=networks.map(tuple), peered=networks.map(tuple))
results = st.one_of(identities, nics, vnets)
waits = st.none() | st.floats(0, 1e6)
errors = st.one_of(
    *(
        st.builds(AccessDenied, texts, action=texts, scope=texts, azure_code=texts)
        if kind is AccessDenied
        else st.builds(kind, texts, azure_code=texts, retry_after_s=waits)
        for kind in ERRORS.values()
    )
)


def patched(before: dict[str, Any], document: dict[str, Any]) -> Any:
    """As the API server keeps it: merged into what was there, by way of JSON."""
    return merge_patch(before, json.loads(json.dumps(document)))


@given(before=all_orders, order=all_orders)
def test_an_order_is_read_as_it_was_given(before: Order, order: Order) -> None:
    kept = patched(patched({}, order_document(1, before)), order_document(2, order))
    assert read_order(kept) == order
    assert kept["id"] == 2


@given(before=results | errors, result=results)
def test_an_answer_is_read_as_it_was_told(before: Result | CloudError, result: Result) -> None:
    assert read_answer(patched(patched({}, answer_document(1, before)), answer_document(2, result))) == result


@given(identity=identities, after=results | errors)
def test_who_a_node_was_found_to_be_outlasts_other_answers(
    identity: NodeIdentity, after: NodeIdentity | VNetView | NicView | CloudError
) -> None:
    answer = patched(patched({}, answer_document(1, identity)), answer_document(2, after))
    expected = after if isinstance(after, NodeIdentity) else identity
    assert read_identified({"status": {"answer": answer}}) == expected.vm_id


@pytest.mark.parametrize("status", [None, {}, {"answer": None}, {"answer": "x"}, {"answer": {"identity": "x"}}])
def test_a_node_that_was_never_found_out_is_nobody(status: Any) -> None:
    assert read_identified({"status": status}) == ""


@given(before=results | errors, error=errors)
def test_an_error_arrives_as_what_it_was(before: Result | CloudError, error: CloudError) -> None:
    arrived = read_answer(patched(patched({}, answer_document(1, before)), answer_document(2, error)))
    assert type(arrived) is type(error)
    assert (str(arrived), vars(arrived)) == (str(error), vars(error))


def test_an_error_that_this_version_does_not_know_is_still_one_of_azure() -> None:
    document = answer_document(1, CloudError("cannot: the moon is full"))
    document["error"]["reason"] = "MoonFull"
    arrived = read_answer(document)
    assert type(arrived) is CloudError
    assert str(arrived) == "cannot: the moon is full"


GOOD: dict[str, Any] = {"id": 1, "verb": "read", "vm": VM, "vmID": "guid", "nic": "n"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"verb": "delete"},
        {"vm": "vm1"},
        {"vm": f"{VM}?x=y"},
        {"vm": f"{VM}/../vm2"},
        {"vm": VM.replace("vm1", "..")},
        {"vm": VM.replace("virtualMachines", "disks")},
        {"vmID": ""},
        {"vmID": 5},
        {"add": -1},
        {"add": 257},
        {"remove": [5]},
        {"remove": "azure-cni-1"},
        {"id": "1"},
        {"permit": -1},
    ],
)
def test_an_order_that_is_not_one_is_refused(wrong: dict[str, Any]) -> None:
    assert read_order(GOOD)
    with pytest.raises(DecodeFailed):
        read_order({**GOOD, **wrong})


@pytest.mark.parametrize("document", [None, "x", {}, {"id": 1}, {"id": 1, "vnet": {"prefixes": ["x"], "peered": []}}])
def test_an_answer_that_says_nothing_is_refused(document: object) -> None:
    with pytest.raises(DecodeFailed):
        read_answer(document)


@pytest.mark.parametrize(
    ("status", "last", "pending"),
    [
        (None, 0, None),
        ({"order": {"id": 3}}, 3, 3),
        ({"order": {"id": 3}, "answer": {"id": 2}}, 3, 3),
        ({"order": {"id": 3}, "answer": {"id": 3}}, 3, None),
        ({"answer": {"id": 7}}, 7, None),
        ({"order": {"id": "x"}, "answer": 5}, 0, None),
    ],
)
def test_numbers(status: Any, last: int, pending: int | None) -> None:
    pool = {"status": status}
    assert (orders.last_number(pool), orders.pending(pool)) == (last, pending)
