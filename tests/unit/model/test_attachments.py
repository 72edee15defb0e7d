"""Which namespaces may use which resources, and when two IDs name the same resource."""

from __future__ import annotations

import pytest

from azure_cni.model.attachments import Allowance, AttachedResource, all_allowed, allowed_in, read_allowances

GROUP = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network"


def pool(name: str) -> AttachedResource:
    found = AttachedResource.parse(f"{GROUP}/loadBalancers/lb/backendAddressPools/{name}")
    assert found is not None
    return found


def test_nothing_is_allowed_unless_it_is_listed() -> None:
    assert allowed_in("shop", ()) == frozenset()
    allowances = [
        Allowance(frozenset({"shop", "cart"}), frozenset({pool("a")})),
        Allowance(frozenset({"*"}), frozenset({pool("b")})),
        Allowance(frozenset(), frozenset({pool("c")})),
    ]
    assert allowed_in("shop", allowances) == {pool("a"), pool("b")}
    assert allowed_in("other", allowances) == {pool("b")}
    assert allowed_in("", allowances) == {pool("b")}


def test_the_charts_list_is_read() -> None:
    address = f"{GROUP}/publicIPAddresses/shop"
    written = [
        {"namespaces": ["shop"], "loadBalancerPools": [pool("a").id], "publicIPs": [address]},
        {"namespaces": ["*"], "loadBalancerPools": [pool("b").id], "publicIPs": None},
    ]
    allowances = read_allowances(written)
    assert [sorted(it.namespaces) for it in allowances] == [["shop"], ["*"]]
    assert {it.id for it in all_allowed(allowances)} == {pool("a").id, pool("b").id, address}
    assert read_allowances([]) == ()


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({}, "it is no list"),
        ([{"namespaces": ["a"], "pools": []}], "an entry has no pools"),
        ([{"loadBalancerPools": []}], "an entry names no namespaces"),
        (["shop"], "an entry names no namespaces"),
        ([{"namespaces": "shop"}], "namespaces is no list of texts"),
        ([{"namespaces": ["a"], "publicIPs": [f"{GROUP}/loadBalancers/l"]}], "is not the resource ID of a public IP"),
        ([{"namespaces": ["a"], "loadBalancerPools": [7]}], "loadBalancerPools is no list of texts"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused_in_words(written: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_allowances(written)
