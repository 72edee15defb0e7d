"""NIC operations and results as documents: what is written is what is read, whatever was there before."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import IPv4Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azure_cni.api import nic_operation
from azure_cni.api.nic_operation import (
    Challenge,
    Identify,
    NicOperation,
    OperationResult,
    ReadNic,
    ReadVNet,
    WriteNic,
)
from azure_cni.api.nic_operation_codec import operation_document, read_operation
from azure_cni.api.node_ip_pool import parse
from azure_cni.api.operation_result_codec import (
    ERRORS,
    Identified,
    read_challenge,
    read_identified,
    read_result,
    result_document,
)
from azure_cni.errors import AccessDenied, CloudError, DecodeFailed, NotAttested
from azure_cni.model.identity import MAX_ATTESTED_DOCUMENT, IdentityClaim, NodeIdentity, VNetView
from azure_cni.model.ipv6 import IPv6Configuration, IPv6Growth, network_of
from azure_cni.model.nic import ConfigName, ExcludedConfiguration, IPConfiguration, NicID, NicView, SubnetID, VNetID
from fakes.pools import merge_patch

VM = "/subscriptions/5c08b38e-4d57/resourceGroups/my_rg(1)/providers/Microsoft.Compute/virtualMachines/vm1"

texts = st.text(max_size=20)
plain_texts = st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters='"&<>\\'), max_size=20)
names = st.builds(ConfigName, plain_texts)
networks = st.lists(st.ip_addresses(v=4).map(IPv4Network), max_size=3)
claims = st.builds(
    IdentityClaim,
    vm_id=st.uuids().map(str),
    vm_resource_id=st.sampled_from([VM, VM.lower()]),
    macs=st.lists(texts, max_size=2).map(tuple),
)
all_operations = st.one_of(
    st.builds(Identify, claims, document=texts),
    st.builds(ReadVNet, claims, st.builds(VNetID, texts)),
    st.builds(ReadNic, claims, st.builds(NicID, texts)),
    st.builds(
        WriteNic,
        claims,
        st.builds(NicID, texts),
        etag=texts,
        add=st.integers(0, 256),
        remove=st.lists(names, max_size=3).map(tuple),
        grant_number=st.integers(0, 2**40),
        ipv6=st.builds(IPv6Growth, block=st.booleans(), singles=st.integers(0, 256)),
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
    address=st.none() | st.ip_addresses(v=4, network="0.0.0.0/1"),
    primary=st.booleans(),
    ready=st.booleans(),
    static=st.booleans(),
    kept=st.booleans(),
    attachable=st.booleans(),
    size=st.integers(1, 16),
)
excluded = st.builds(
    ExcludedConfiguration,
    name=plain_texts,
    address=st.none() | st.ip_addresses(v=4),
    why=plain_texts,
    public=st.booleans(),
)
blocks = st.ip_addresses(v=6).map(lambda address: network_of(str(address), block=True))
singles = st.ip_addresses(v=6).map(lambda address: network_of(str(address), block=False))
ipv6 = st.one_of(
    st.builds(IPv6Configuration, st.just(ConfigName(f"azure-cni-1abcdefg{suffix}")), st.none() | held, ready, block)
    for suffix, held, ready, block in (
        ("-112", blocks, st.booleans(), st.just(True)),
        ("-v6", singles, st.booleans(), st.just(False)),
    )
)
nics = st.builds(
    NicView,
    st.builds(NicID, texts),
    texts,
    st.booleans(),
    st.lists(configs, max_size=4).map(tuple),
    st.booleans(),
    st.lists(excluded, max_size=4).map(tuple),
    st.lists(texts, max_size=4).map(tuple),
    ipv6=st.lists(ipv6, max_size=4).map(tuple),
)
vnets = st.builds(VNetView, prefixes=networks.map(tuple), peered=networks.map(tuple))
challenges = st.builds(Challenge, nonce=st.from_regex(r"\A[0-9]{10}\Z"), why=texts)
results = st.one_of(identities, nics, vnets, challenges)
waits = st.none() | st.floats(0, 1e6)
errors = st.one_of(
    *(
        st.builds(AccessDenied, texts, action=texts, scope=texts, azure_code=texts)
        if issubclass(kind, AccessDenied)
        else st.builds(kind, texts, azure_code=texts, retry_after_s=waits)
        for kind in ERRORS.values()
    )
)


def patched(before: dict[str, Any], document: dict[str, Any]) -> Any:
    """As the API server keeps it: merged into what was there, by way of JSON."""
    return merge_patch(before, json.loads(json.dumps(document)))


@given(before=all_operations, operation=all_operations)
def test_an_operation_is_read_as_it_was_given(before: NicOperation, operation: NicOperation) -> None:
    kept = patched(patched({}, operation_document(1, before)), operation_document(2, operation))
    assert read_operation(kept) == operation
    assert kept["id"] == 2


@given(before=results | errors, result=results)
def test_a_result_is_read_as_it_was_written(before: OperationResult | CloudError, result: OperationResult) -> None:
    assert read_result(patched(patched({}, result_document(1, before)), result_document(2, result))) == result


@given(identity=identities, found=st.builds(Identified, texts, attested=st.booleans()), after=results | errors)
def test_who_a_node_was_found_to_be_outlasts_other_answers(
    identity: NodeIdentity, found: Identified, after: OperationResult | CloudError
) -> None:
    first = result_document(1, replace(identity, vm_id=found.vm_id), attested=found.attested)
    answer = patched(patched({}, first), result_document(2, after))
    expected = Identified(after.vm_id, attested=False) if isinstance(after, NodeIdentity) else found
    assert read_identified(parse({"status": {"nicOperationResult": answer}})) == expected


@given(challenge=challenges, after=results | errors)
def test_a_challenge_is_over_with_the_next_answer(challenge: Challenge, after: OperationResult | CloudError) -> None:
    answer = patched({}, result_document(1, challenge))
    assert read_challenge(parse({"status": {"nicOperationResult": answer}})) == challenge.nonce
    answer = patched(answer, result_document(2, after))
    assert read_challenge(parse({"status": {"nicOperationResult": answer}})) == (
        after.nonce if isinstance(after, Challenge) else ""
    )


def test_an_agent_that_knows_no_challenge_reads_an_error() -> None:
    document = result_document(1, Challenge("0123456789", "prove it"))
    del document["challenge"]
    arrived = read_result(document)
    assert isinstance(arrived, NotAttested)
    assert str(arrived) == "prove it"


@pytest.mark.parametrize("nonce", ["", "12345678901", "1&x=y", "\u0661", "1\n"])
def test_a_nonce_that_is_none_is_not_passed_on(nonce: str) -> None:
    with pytest.raises(DecodeFailed):
        read_result({"id": 1, "challenge": nonce})


@pytest.mark.parametrize(
    "status",
    [None, {}, {"nicOperationResult": None}, {"nicOperationResult": "x"}, {"nicOperationResult": {"identity": "x"}}],
)
def test_a_node_that_was_never_found_out_is_nobody(status: Any) -> None:
    assert read_identified(parse({"status": status})) == Identified("", attested=False)
    assert read_challenge(parse({"status": status})) == ""


@given(before=results | errors, error=errors)
def test_an_error_arrives_as_what_it_was(before: OperationResult | CloudError, error: CloudError) -> None:
    arrived = read_result(patched(patched({}, result_document(1, before)), result_document(2, error)))
    assert type(arrived) is type(error)
    assert (str(arrived), vars(arrived)) == (str(error), vars(error))


def test_an_error_that_this_version_does_not_know_is_still_one_of_azure() -> None:
    document = result_document(1, CloudError("cannot: the moon is full"))
    document["error"]["reason"] = "MoonFull"
    arrived = read_result(document)
    assert type(arrived) is CloudError
    assert str(arrived) == "cannot: the moon is full"


GOOD: dict[str, Any] = {"id": 1, "kind": "read", "vm": VM, "vmID": "guid", "nic": "n"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "delete"},
        {"vm": "vm1"},
        {"vm": f"{VM}?x=y"},
        {"vm": f"{VM}/../vm2"},
        {"vm": f"{VM}\n"},
        {"vm": VM.replace("Microsoft.Compute", "Microsoft-Compute")},
        {"vm": VM.replace("vm1", "..")},
        {"vm": VM.replace("virtualMachines", "disks")},
        {"vmID": ""},
        {"vmID": 5},
        {"add": -1},
        {"add": 257},
        {"remove": [5]},
        {"remove": "azure-cni-1"},
        {"remove": ["n" * 81]},
        {"remove": ["<"]},
        {"macs": ["00:0d:3a:1b:c7:21"] * 33},
        {"etag": "x" * 257},
        {"nic": "x" * 513},
        {"kind": "x" * 65},
        {"id": 2**53},
        {"resources": ["x" * 100] * 1000},
        {"attach": [{"config": "azure-cni-1abcdefg", "add": [1024]}]},
        {"attach": [{"config": "azure-cni-1abcdefg", "add": [1] * 33}]},
        {"id": "1"},
        {"grantNumber": -1},
        {"document": 5},
        {"document": "A" * (MAX_ATTESTED_DOCUMENT + 1)},
    ],
)
def test_an_operation_that_is_not_one_is_refused(wrong: dict[str, Any]) -> None:
    assert read_operation(GOOD)
    with pytest.raises(DecodeFailed):
        read_operation({**GOOD, **wrong})


@pytest.mark.parametrize("document", [None, "x", {}, {"id": 1}, {"id": 1, "vnet": {"prefixes": ["x"], "peered": []}}])
def test_an_answer_that_says_nothing_is_refused(document: object) -> None:
    with pytest.raises(DecodeFailed):
        read_result(document)


@pytest.mark.parametrize(
    ("status", "last", "pending"),
    [
        (None, 0, None),
        ({"nicOperation": {"id": 3}}, 3, 3),
        ({"nicOperation": {"id": 3}, "nicOperationResult": {"id": 2}}, 3, 3),
        ({"nicOperation": {"id": 3}, "nicOperationResult": {"id": 3}}, 3, None),
        ({"nicOperationResult": {"id": 7}}, 7, None),
        ({"nicOperation": {"id": "x"}, "nicOperationResult": 5}, 0, None),
    ],
)
def test_numbers(status: Any, last: int, pending: int | None) -> None:
    pool = parse({"status": status})
    assert (nic_operation.last_number(pool), nic_operation.pending(pool)) == (last, pending)
