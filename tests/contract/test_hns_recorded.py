"""What a real HNS answered, replayed in the stand-in. Until there is a record of one, the stand-in's own is recorded
and replayed from end to end: the recorder, its file, what the product reads of it, and words for what differs.
"""

from __future__ import annotations

import io
import json
import sys
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import Any

import msgspec
import pytest

from azure_cni.datapath.hcn_documents import endpoint_of
from azure_cni.errors import ConfigInvalid
from azure_cni.windows.hcn import HcnCall, HcnKind
from azure_cni.windows.hns_recording import main, nic_for, record
from azure_cni.windows.recording import RecordedCall
from fakehns.service import (
    ENDPOINT_NOT_FOUND,
    INVALID_IP,
    INVALID_JSON,
    NETWORK_EXISTS,
    NETWORK_NOT_FOUND,
    NOT_FOUND,
    SERVER_UNAVAILABLE,
    Call,
    FakeHns,
)
from windows.library import FakeAdapters, stand_in_hcn
from windows.replay import Record, differences, read_record
from windows.replay import main as replay

A = IPv4Address("10.240.0.99")
RECORDS = sorted((Path(__file__).parent / "recorded").glob("hns-*.jsonl"))


async def recorded(hns: FakeHns) -> str:
    output = io.StringIO()
    await record(stand_in_hcn(hns), adapters(hns), A, output=output)
    return output.getvalue()


def adapters(hns: FakeHns) -> FakeAdapters:
    return FakeAdapters(hns, mac="00:0d:3a:00:00:0a", primary=IPv4Address("10.240.0.4"), mtu=1500)


def changed(found: Record, step: str, call: HcnCall, **fields: Any) -> Record:
    """The record with another first call of that kind in the step."""
    calls = list(found.calls)
    index = next(number for number, one in enumerate(calls) if (one.step, one.call) == (step, call))
    calls[index] = msgspec.structs.replace(calls[index], **fields)
    return Record(found.head, calls)


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.name)
def test_the_stand_in_answers_as_a_real_one_did(path: Path) -> None:
    found = read_record(path.read_text(encoding="utf-8"))
    assert differences(found) == []
    assert all(endpoint_of(json.loads(one.answer)).id for one in endpoints(found))


def endpoints(found: Record) -> list[RecordedCall]:
    return [one for one in found.calls if one.kind is HcnKind.ENDPOINT and one.call is HcnCall.QUERY and one.answer]


async def test_a_record_has_each_verb_each_refusal_and_leaves_nothing_but_the_network() -> None:
    hns = FakeHns()
    found = read_record(await recorded(hns))
    assert {(one.call, one.kind) for one in found.calls} >= {
        (call, kind)
        for kind in (HcnKind.ENDPOINT, HcnKind.NETWORK)
        for call in (HcnCall.ENUMERATE, HcnCall.QUERY, HcnCall.CREATE, HcnCall.DELETE)
    }
    assert {one.result for one in found.calls} >= {
        0, INVALID_IP, INVALID_JSON, NETWORK_EXISTS, NETWORK_NOT_FOUND, ENDPOINT_NOT_FOUND, NOT_FOUND
    }  # fmt: skip
    steps = {one.step for one in found.calls if one.step in {"ADD", "ADD again", "CHECK", "other prefixes", "DEL"}}
    assert len(steps) == 5
    assert {one.result for one in found.calls if one.step in steps} == {0}
    assert {str(ip.ip) for one in endpoints(found) for ip in endpoint_of(json.loads(one.answer)).addresses} == {str(A)}
    assert [len(hns.objects[kind]) for kind in ("Network", "Endpoint", "Namespace")] == [1, 0, 0]


async def test_a_record_replays_without_a_difference_also_of_a_node_with_other_things_on_it() -> None:
    assert differences(read_record(await recorded(FakeHns()))) == []
    hns = FakeHns()
    before = read_record(await recorded(hns))
    document = next(one.sent for one in before.calls if (one.call, one.kind) == (HcnCall.CREATE, HcnKind.NETWORK))
    other = json.loads(hns.create("Network", document.replace('"azure"', '"ext"')))["ID"]
    address = {"IpAddress": "10.240.0.50", "PrefixLength": 22}
    wanted = {"SchemaVersion": {"Major": 2, "Minor": 0}, "Name": "another", "IpConfigurations": [address]}
    hns.create("Endpoint", json.dumps(wanted), other)
    again = read_record(await recorded(hns))
    assert len(again.calls) > len(before.calls)
    assert differences(again) == []


async def test_where_hns_answers_otherwise_is_said() -> None:
    found = read_record(await recorded(FakeHns()))
    other = changed(found, "an address twice", HcnCall.CREATE, result=0x803B0014)
    assert differences(other) == [
        "an address twice: make Endpoint: HNS answers 0x803b0014, and the stand-in 0x803b001e"
    ]
    (made,) = [one for one in found.calls if (one.step, one.call) == ("ADD", HcnCall.CREATE)]
    shown = json.loads(made.answer)
    del shown["MacAddress"]
    answer = json.dumps(shown | {"Flags": "0", "Version": 1})
    assert differences(changed(found, "ADD", HcnCall.CREATE, answer=answer)) == [
        'ADD: make Endpoint: HNS shows Flags as "0", and the stand-in as 0',
        "ADD: make Endpoint: the stand-in shows MacAddress, and HNS does not",
        "ADD: make Endpoint: HNS shows Version, and the stand-in does not",
    ]


async def test_what_fails_is_part_of_the_record_and_the_rest_is_tried() -> None:
    hns = FakeHns()
    hns.on_call = lambda call: SERVER_UNAVAILABLE if call == Call("modify", "Namespace") else 0
    found = read_record(await recorded(hns))
    assert SERVER_UNAVAILABLE in {one.result for one in found.calls if one.step == "ADD"}
    assert {"a second network of the name", "DEL", "the namespace goes"} <= {one.step for one in found.calls}
    assert hns.endpoints() == []


@pytest.mark.parametrize("answer", ["", "[1", "[]", "null", '{"ID": 7}'])
async def test_an_odd_answer_is_part_of_the_record_and_the_rest_is_tried(
    answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hcn, output = stand_in_hcn(FakeHns()), io.StringIO()
    create = hcn.create

    def odd(kind: HcnKind, document: str, *, network: str = "") -> str:
        return create(kind, document, network=network) if kind is HcnKind.NETWORK else answer

    monkeypatch.setattr(hcn, "create", odd)
    await record(hcn, adapters(FakeHns()), A, output=output)
    found = read_record(output.getvalue())
    assert answer in {one.answer for one in found.calls if one.call is HcnCall.CREATE}
    assert {"a namespace", "a second network of the name", "DEL"} <= {one.step for one in found.calls}


async def test_a_record_is_written_in_any_code_page_and_read_from_any_redirection(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hns, path = FakeHns(adapters={"以太网"}), tmp_path / "record.jsonl"
    node = adapters(hns)
    node.nic = replace(node.nic, name="以太网")
    with path.open("w", encoding="cp1252", newline="\r\n") as output:
        await record(stand_in_hcn(hns), node, A, output=output)
    text = path.read_bytes().decode()
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        path.write_bytes(text.encode(encoding))
        assert replay([str(path)]) == 0
    assert capsys.readouterr().out.count("calls, 0 differences") == 3


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff", b"[]", b"{}", b'{"system": 1}'], ids=repr)
def test_what_is_no_record_is_refused_in_words(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "record.jsonl"
    path.write_bytes(content)
    for arguments in ([str(path)], [], [str(tmp_path / "none")]):
        assert replay(arguments) == 2
        assert "replay: cannot read a record of HNS: " in capsys.readouterr().err


async def test_a_second_network_that_hns_takes_is_removed_and_the_nodes_own_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hns, output = FakeHns(), io.StringIO()
    hcn = stand_in_hcn(hns)
    create = hcn.create

    def tolerant(kind: HcnKind, document: str, *, network: str = "") -> str:
        if kind is HcnKind.NETWORK and hns.objects["Network"]:
            made = create(kind, document.replace('"azure"', '"another"'))
            hns.objects["Network"][json.loads(made)["ID"]]["Name"] = "azure"
            return made
        return create(kind, document, network=network)

    hns.adapters.add("vEthernet (Ethernet)")
    monkeypatch.setattr(hcn, "create", tolerant)
    await record(hcn, adapters(hns), A, output=output)
    steps = [one.step for one in read_record(output.getvalue()).calls]
    assert "a second network of the name, removed" in steps
    assert [one["Name"] for one in hns.objects["Network"].values()] == ["azure"]


async def test_a_network_that_hns_answers_instead_of_a_second_one_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    hns, output = FakeHns(), io.StringIO()
    hcn = stand_in_hcn(hns)
    create = hcn.create

    def same(kind: HcnKind, document: str, *, network: str = "") -> str:
        present = list(hns.objects["Network"].values())
        known = kind is HcnKind.NETWORK and present
        return (
            json.dumps(present[0] | {"ID": present[0]["ID"].upper()})
            if known
            else create(kind, document, network=network)
        )

    monkeypatch.setattr(hcn, "create", same)
    await record(hcn, adapters(hns), A, output=output)
    assert [one["Name"] for one in hns.objects["Network"].values()] == ["azure"]


async def test_the_address_of_a_pod_is_refused_before_anything_is_done() -> None:
    hns, output = FakeHns(), io.StringIO()
    await record(stand_in_hcn(hns), adapters(hns), A, output=io.StringIO())
    (network,) = hns.objects["Network"]
    address = [{"IpAddress": str(A), "PrefixLength": 22}]
    wanted = {"SchemaVersion": {"Major": 2, "Minor": 0}, "Name": "acni1", "IpConfigurations": address}
    hns.create("Endpoint", json.dumps(wanted), network)
    with pytest.raises(ConfigInvalid, match=f"cannot record HNS with {A}: HCN endpoint acni1 has it"):
        await record(stand_in_hcn(hns), adapters(hns), A, output=output)
    assert (output.getvalue(), len(hns.endpoints())) == ("", 1)


@pytest.mark.parametrize("wrong", ["10.240.0.0", "10.240.0.1", "10.240.3.255", "10.240.0.5", "10.240.0.4"])
def test_an_address_that_somebody_has_to_have_is_refused(wrong: str) -> None:
    node = adapters(FakeHns())
    node.nic = replace(node.nic, addresses=(*node.nic.addresses, IPv4Interface("10.240.0.5/22")))
    with pytest.raises(ConfigInvalid, match=rf"cannot record HNS with {wrong}: .* name one of the NIC's subnet"):
        nic_for(IPv4Address(wrong), node)


def test_an_address_of_no_adapter_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigInvalid, match=r"with 10\.9\.0\.1: no adapter with a gateway has a subnet with it"):
        nic_for(IPv4Address("10.9.0.1"), adapters(FakeHns()))
    if sys.platform != "win32":
        assert main([str(A)]) == 1
        assert "cannot load computenetwork.dll: this is no Windows" in capsys.readouterr().err
    assert main([]) == 1
    assert "name one address of the NIC's subnet that nobody has" in capsys.readouterr().err
    with pytest.raises(ValueError, match="of format 2"):
        read_record('{"system": "", "agent": "", "time": "", "format": 2}')
