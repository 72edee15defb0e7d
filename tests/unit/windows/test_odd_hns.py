"""HNS that does not do what it was asked for, and what others leave in it: said in words, and never relied on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from azure_cni.errors import DatapathError, DatapathOutcomeUnknown
from fakehns.service import NETWORK_NOT_FOUND, Call, FakeHns, RefusedCall
from unit.windows.hns_node import TABLE, A, B, HnsNode, prepared

DENIED = 0x80070005
NOT_ATTACHED = 0x803B0034
"""HCN_E_ENDPOINT_NOT_ATTACHED, of later versions of the schema."""
NOBODYS = "0f8c6f3e-1d2b-4c5a-9e7f-a1b2c3d4e5f6"


def network_of(hns: FakeHns) -> dict[str, Any]:
    (found,) = hns.objects["Network"].values()
    return found


def another_programs(node: HnsNode, **address: object) -> str:
    """An endpoint, in our network; returns its ID."""
    document = {"SchemaVersion": {"Major": 2, "Minor": 0}, "Name": "other", "IpConfigurations": [address]}
    made = node.hns.create("Endpoint", json.dumps(document), network_of(node.hns)["ID"])
    return str(json.loads(made)["ID"])


def unreadable(node: HnsNode, identifier: str, monkeypatch: pytest.MonkeyPatch) -> None:
    query = node.hns.query

    def read(kind: str, asked: str, wanted: str) -> str:
        if asked.lower() == identifier:
            raise RefusedCall(DENIED, "Access is denied.")
        return query(kind, asked, wanted)

    monkeypatch.setattr(node.hns, "query", read)


@pytest.mark.parametrize("result", [NOT_ATTACHED, DENIED], ids=hex)
async def test_a_namespace_that_does_not_let_go_holds_up_no_del(result: int) -> None:
    async with prepared() as (node, agent):
        spec = node.spec("one", A)
        await agent.attach(spec)
        node.hns.on_call = lambda call: result if call == Call("modify", "Namespace") else 0
        await agent.detach(spec.sandbox)
        assert node.hns.endpoints() == []


NETWORK_GONE = "the HCN endpoint: HCN_E_NETWORK_NOT_FOUND 0x803b0001"


@pytest.mark.parametrize(
    ("refused", "result", "words"),
    [
        ({("modify", "Namespace"), ("delete", "Endpoint")}, NOT_ATTACHED,
         "cannot delete the HCN endpoint: HRESULT 0x803b0034"),
        ({("query", "Endpoint")}, NETWORK_NOT_FOUND, NETWORK_GONE),
        ({("delete", "Endpoint")}, NETWORK_NOT_FOUND, NETWORK_GONE),
    ],
    ids=["kept", "its network is gone, says a read", "its network is gone, says its removal"],
)  # fmt: skip
async def test_an_endpoint_that_hns_keeps_is_no_del(refused: set[tuple[str, str]], result: int, words: str) -> None:
    """That its network is gone does not say that it is."""
    async with prepared() as (node, agent):
        spec = node.spec("one", A)
        await agent.attach(spec)
        node.hns.on_call = lambda call: result if (call.verb, call.kind) in refused else 0
        with pytest.raises(DatapathError, match=words):
            await agent.detach(spec.sandbox)
        node.hns.on_call = lambda _: 0
        await agent.detach(spec.sandbox)
        assert node.hns.endpoints() == []


async def test_an_endpoint_of_a_network_that_is_gone_is_found_and_made_again() -> None:
    async with prepared() as (node, agent):
        spec = node.spec("one", A)
        await agent.attach(spec)
        lost = network_of(node.hns)["ID"]
        node.hns.objects["Network"].clear()
        await agent.apply_node(TABLE)
        assert [words for words in await agent.check(spec) if f"is in another HCN network, {lost}" in words]
        await agent.attach(spec)
        assert [one["HostComputeNetwork"] for one in node.endpoints(spec)] == [network_of(node.hns)["ID"]]
        assert await agent.check(spec) == ()


@pytest.mark.parametrize(
    "address", [{"IpAddress": str(A)}, {"IpAddress": str(A), "PrefixLength": 0}], ids=["left out", "of hcsshim"]
)
async def test_an_address_without_a_prefix_length_is_one(address: dict[str, object]) -> None:
    async with prepared() as (node, agent):
        foreign = another_programs(node, **address)
        (conflict,) = (await agent.apply_node(TABLE)).conflicts
        assert foreign in conflict.message
        with pytest.raises(DatapathError, match=rf"the HCN endpoint other \({foreign}\), of another program, has {A}"):
            await agent.attach(node.spec("one", A))


@pytest.mark.parametrize(
    ("made", "words"),
    [([{"IpAddress": str(B), "PrefixLength": 22}], str(B)), ([], "no address")],
    ids=["another", "none"],
)
async def test_an_add_with_an_address_that_was_not_asked_for_fails_and_leaves_nothing(
    made: list[dict[str, object]], words: str
) -> None:
    async with prepared() as (node, agent):

        def otherwise(call: Call) -> int:
            if call == Call("create", "Endpoint"):
                for one in node.hns.endpoints():
                    one["IpConfigurations"] = made
            return 0

        node.hns.after_call = otherwise
        with pytest.raises(
            DatapathError, match=f"HNS was asked for {A}, and made its endpoint with {words}"
        ) as refused:
            await agent.attach(node.spec("one", A))
        assert refused.type is not DatapathOutcomeUnknown
        assert node.hns.endpoints() == []


async def test_another_programs_endpoint_that_cannot_be_read_holds_up_no_del_and_is_named_where_it_matters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with prepared() as (node, agent):
        spec = node.spec("one", A)
        await agent.attach(spec)
        foreign = another_programs(node, IpAddress=str(B), PrefixLength=22)
        unreadable(node, foreign, monkeypatch)
        await agent.detach(spec.sandbox)
        assert [one["Name"] for one in node.hns.endpoints()] == ["other"]
        with pytest.raises(
            DatapathError, match=rf"it is {foreign}, and nobody knows whose .* Get-HnsEndpoint {foreign}"
        ):
            await agent.attach(spec)


async def test_an_endpoint_that_cannot_be_read_keeps_no_pods_policies_as_they_were(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with prepared() as (node, agent):
        spec = node.spec("one", A)
        await agent.attach(spec)
        foreign = another_programs(node, IpAddress=str(B), PrefixLength=22)
        unreadable(node, foreign, monkeypatch)
        node.endpoints(spec)[0]["Policies"] = []
        with pytest.raises(DatapathError, match=f"cannot read the HCN endpoint: .*it is {foreign}"):
            await agent.apply_node(TABLE)
        assert node.endpoints(spec)[0]["Policies"]
        (observed,) = await agent.sandboxes()
        assert observed.key == agent.key(spec.sandbox)


async def test_hns_that_ignores_a_query_for_one_name_loses_no_other_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    async with prepared() as (node, agent):
        one, two = node.spec("one", A), node.spec("two", B)
        for spec in (one, two):
            await agent.attach(spec)
        everything = json.dumps([found["ID"] for found in node.hns.endpoints()])
        monkeypatch.setattr(node.hns, "enumerate", lambda *_: everything)
        await agent.detach(one.sandbox)
        assert (len(node.endpoints(one)), len(node.endpoints(two))) == (0, 1)


async def test_an_endpoint_that_is_gone_but_listed_in_the_namespace_is_no_interface() -> None:
    async with prepared() as (node, agent):
        spec = node.spec("one", A)
        node.hns.objects["Namespace"][spec.netns]["Resources"] = [{"Type": "Endpoint", "Data": {"Id": NOBODYS}}]
        await agent.attach(spec)
        assert await agent.check(spec) == ()


async def test_a_network_of_our_name_that_leads_elsewhere_is_refused() -> None:
    async with prepared() as (node, agent):
        (route,) = network_of(node.hns)["Ipams"][0]["Subnets"][0]["Routes"]
        route["NextHop"] = "10.240.0.99"
        with pytest.raises(DatapathError, match=r"its gateway is 10\.240\.0\.99, and the NIC's is 10\.240\.0\.1"):
            await agent.apply_node(TABLE)
        network_of(node.hns)["Ipams"][0]["Subnets"][0]["Routes"] = []
        await agent.apply_node(TABLE)


async def test_a_network_that_hns_made_otherwise_wires_no_pod() -> None:
    node = HnsNode()
    agent = node.agent()

    def elsewhere(call: Call) -> int:
        if call == Call("create", "Network"):
            network_of(node.hns)["Ipams"][0]["Subnets"][0]["IpAddressPrefix"] = "10.9.0.0/24"
        return 0

    node.hns.after_call = elsewhere
    with pytest.raises(DatapathError, match=r"it has the subnets 10\.9\.0\.0/24, and the NIC is in 10\.240\.0\.0/22"):
        await agent.apply_node(TABLE)
    with pytest.raises(DatapathError, match="has not applied the node's table yet"):
        await agent.attach(node.spec("one", A))
    await node.close()
