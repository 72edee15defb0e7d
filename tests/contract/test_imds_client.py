"""The metadata service: what is read from it, how long it is waited for, and a node that lives on it alone."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest

import fakeazure as faults
from azure_cni.azure.answers import MAX_BYTES
from azure_cni.azure.attestation import trust_in, verify
from azure_cni.azure.imds import GONE_PAUSES_S, PAUSES_S, Imds
from azure_cni.azure.instance_document import Instance, mac_text, parse_instance
from azure_cni.azure.observed import ImdsAddresses, ObservedCloud, ObservedNic
from azure_cni.errors import CloudError, CloudNotFound, CloudUnreachable, RequestRefused, Throttled
from azure_cni.model.identity import MAX_ATTESTED_DOCUMENT
from azure_cni.model.nic import ConfigName
from contract.nic_world import Calls
from fakeazure import FakeAzure
from fakes.serving import answering, answering_without_end
from fakes.waiting import PATIENCE_S

RECORDED = Path(__file__).parent / "recorded"


class ServedImds:
    """A VM's metadata service, its client, and the pauses that the client made."""

    def __init__(self, azure: FakeAzure, url: str) -> None:
        self.azure, self.url = azure, url
        self.meter = Calls()
        self.pauses_s: list[float] = []
        self.imds = self.client(answer_s=PATIENCE_S)

    def client(self, *, answer_s: float) -> Imds:
        """One that waits so long for an answer."""
        return Imds(meter=self.meter, url=self.url, answer_s=answer_s, sleep=self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.pauses_s.append(seconds)


@pytest.fixture
async def world() -> AsyncIterator[ServedImds]:
    azure = FakeAzure(seed=2)
    azure.add_vnet()
    azure.add_vm("vm1", secondaries=2)
    azure.pin_caller("vm1")
    async with azure.serve() as endpoints:
        yield ServedImds(azure, endpoints.imds)


async def test_the_instance_is_read(world: ServedImds) -> None:
    instance = await world.imds.instance()
    vm = world.azure.vm("vm1")
    assert (instance.vm_id, instance.resource_id, instance.name) == (vm.guid, vm.id, "vm1")
    assert (instance.environment, instance.scale_set) == ("AzurePublicCloud", "")
    (interface,) = instance.interfaces
    assert interface.mac == vm.mac.lower().replace("-", ":")
    assert [str(address.private) for address in interface.addresses] == ["10.240.0.4", "10.240.0.5", "10.240.0.6"]
    assert interface.subnets == (IPv4Network("10.240.0.0/22"),)
    assert world.meter.calls == [("imds.instance", "200")]
    assert world.pauses_s == []


async def test_a_glance_shows_the_addresses_of_the_nic_in_one_attempt(world: ServedImds) -> None:
    mac = world.azure.vm("vm1").mac.lower().replace("-", ":")
    shown = ImdsAddresses(world.imds)
    three = {IPv4Address(f"10.240.0.{last}") for last in (4, 5, 6)}
    assert await shown.addresses(mac) == three
    world.azure.outside.vanish("vm1-nic", "10.240.0.5")
    assert await shown.addresses(mac) == three - {IPv4Address("10.240.0.5")}
    for status, error in ((500, CloudUnreachable), (410, CloudUnreachable), (429, Throttled), (404, CloudNotFound)):
        world.azure.faults.add(faults.MetadataError(status), operation="imds.instance")
        with pytest.raises(error, match=r"cannot read the instance metadata at .* \(1 attempt\)"):
            await shown.addresses(mac)
    with pytest.raises(CloudNotFound, match="cannot find the NIC 00:00:00:00:00:01"):
        await shown.addresses("00:00:00:00:00:01")
    assert world.pauses_s == []


async def test_the_attested_document_proves_which_vm_asked(world: ServedImds) -> None:
    document = await world.imds.attested("0123456789")
    azure = world.azure
    trust = trust_in(azure.attester.bundle, usual=b"", cloud="AzurePublicCloud")
    verify(document, trust, nonce="0123456789", vm_id=azure.vm("vm1").guid, now_s=azure.now())
    assert world.meter.calls == [("imds.attested", "200")]


async def test_a_document_that_the_service_repeats_answers_the_former_nonce(world: ServedImds) -> None:
    """The documentation warns of it: "a previously cached nonce value might be returned"."""
    first = await world.imds.attested("1111111111")
    world.azure.faults.add(faults.Stale(), operation="imds.attested")
    assert await world.imds.attested("2222222222") == first
    assert await world.imds.attested("2222222222") != first


async def test_an_attested_document_is_asked_for_as_patiently_as_the_instance(world: ServedImds) -> None:
    world.azure.faults.add(faults.MetadataError(500), operation="imds.attested", times=2)
    await world.imds.attested("1")
    assert world.pauses_s == list(PAUSES_S[:2])
    world.azure.faults.add(faults.MetadataError(400), operation="imds.attested")
    with pytest.raises(RequestRefused, match=r"cannot read the attested document at .* it answers HTTP 400"):
        await world.imds.attested("1")


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"{}",
        b'{"encoding": "pkcs7"}',
        b'{"encoding": "pkcs7", "signature": ""}',
        b'{"encoding": "pkcs7", "signature": 5}',
        b'{"encoding": "jwt", "signature": "A"}',
        b'{"encoding": "pkcs7", "signature": "' + b"A" * (MAX_ATTESTED_DOCUMENT + 1) + b'"}',
    ],
)
async def test_what_is_no_attested_document_is_reported(world: ServedImds, body: bytes) -> None:
    world.azure.faults.add(faults.OddBody(content=body, status=200), operation="imds.attested")
    with pytest.raises(CloudUnreachable, match="cannot use the attested document"):
        await world.imds.attested("1")


@pytest.mark.parametrize("raw", ["000D3A1BC721", "00-0D-3A-1B-C7-21", "00:0d:3a:1b:c7:21"])
def test_macs_are_written_as_the_kernel_does(raw: str) -> None:
    assert mac_text(raw) == "00:0d:3a:1b:c7:21"


async def test_a_hiccup_is_waited_for(world: ServedImds) -> None:
    world.azure.faults.add(faults.MetadataError(500), operation="imds.instance", times=2)
    await world.imds.instance()
    assert world.pauses_s == list(PAUSES_S[:2])
    assert world.meter.of("imds.instance") == ["500", "500", "200"]


async def test_a_host_update_is_waited_for_as_long_as_azure_says(world: ServedImds) -> None:
    world.azure.faults.add(faults.MetadataError(410), operation="imds.instance", times=len(GONE_PAUSES_S))
    await world.imds.instance()
    assert world.pauses_s == list(GONE_PAUSES_S)
    assert sum(GONE_PAUSES_S) >= 70


@pytest.mark.parametrize(
    ("status", "kind", "attempts"),
    [
        (404, CloudNotFound, 1 + len(PAUSES_S)),
        (429, Throttled, 1 + len(PAUSES_S)),
        (500, CloudUnreachable, 1 + len(PAUSES_S)),
        (410, CloudUnreachable, 1 + len(GONE_PAUSES_S)),
        (400, RequestRefused, 1),
        (405, RequestRefused, 1),
    ],
)
async def test_what_does_not_pass_is_reported(
    world: ServedImds, status: int, kind: type[CloudError], attempts: int
) -> None:
    world.azure.faults.add(faults.MetadataError(status), operation="imds.instance", times=None)
    with pytest.raises(kind, match=rf"\({attempts} attempts?\): it answers HTTP {status}"):
        await world.imds.instance()
    assert world.azure.calls["imds.instance"] == attempts


async def test_what_else_answers_cannot_write_more_than_a_line_into_a_message() -> None:
    async with answering(b"\x1b[2Jgone\r\nERROR root: all is lost\x00" + b"x" * 100_000, status=400) as url:
        with pytest.raises(RequestRefused) as caught:
            await Imds(meter=Calls(), url=url).instance()
    text = str(caught.value)
    assert text.isprintable()
    assert "gone ERROR root: all is lost" in text
    assert len(text) < 400


async def test_silence_says_what_to_check(world: ServedImds) -> None:
    world.azure.faults.add(faults.Silent(), operation="imds.instance", times=None)
    with pytest.raises(
        CloudUnreachable, match=r"no answer within 0\.3 s; is this an Azure VM.*host's network"
    ) as caught:
        await world.client(answer_s=0.3).instance()
    assert caught.value.azure_code == "ImdsSilent"
    assert world.meter.of("imds.instance") == ["unreachable"] * (1 + len(PAUSES_S))


async def test_nobody_there_says_what_to_check() -> None:
    async def no_sleep(_: float) -> None:
        return None

    imds = Imds(meter=Calls(), url="http://127.0.0.1:9", sleep=no_sleep)
    with pytest.raises(CloudUnreachable, match=r"at http://127\.0\.0\.1:9 .*is this an Azure VM"):
        await imds.instance()


async def test_an_answer_without_end_is_read_up_to_a_limit() -> None:
    async with answering_without_end(b'{"compute": {"name": "', b"x" * 65536) as (url, taken):
        imds = Imds(meter=Calls(), url=url, sleep=_at_once)
        with pytest.raises(CloudUnreachable, match="more than 1 MiB"):
            await imds.instance()
    assert max(taken) < 16 * MAX_BYTES


async def _at_once(_: float) -> None:
    """No pause."""


async def test_a_proxy_is_never_used(world: ServedImds, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    await world.imds.instance()


@pytest.mark.parametrize(
    "body",
    [
        b"<html>a captive portal</html>",
        b"[]",
        b"{}",
        b'{"compute": {}, "network": {"interface": []}}',
        b'{"compute": {"vmId": null, "resourceId": "r"}}',
        b'{"compute": {"vmId": "", "resourceId": "r"}}',
        b'{"compute": {"vmId": "v", "resourceId": "r"}, "network": {"interface": 5}}',
        b'{"compute": {"vmId": "\xff", "resourceId": "r"}}',
    ],
)
async def test_an_answer_of_something_else_is_reported(body: bytes) -> None:
    async with answering(body) as url:
        with pytest.raises(CloudUnreachable, match=r"cannot use the instance metadata: .*does something else answer"):
            await Imds(meter=Calls(), url=url).instance()


async def test_the_documented_answer_is_understood() -> None:
    document = json.loads((RECORDED / "imds-instance.json").read_text())["response"]["body"]
    async with answering(json.dumps(document).encode()) as url:
        instance = await Imds(meter=Calls(), url=url).instance()
    assert instance.interfaces[0].mac == "00:0d:3a:1b:c7:21"
    assert [str(one.private) for one in instance.interfaces[0].addresses] == ["10.0.0.4", "10.0.0.5"]


WHOLE = {
    "ipv4": {
        "ipAddress": [{"privateIpAddress": "10.0.0.4", "publicIpAddress": ""}, {"privateIpAddress": "10.0.0.5"}],
        "subnet": [{"address": "10.0.0.0", "prefix": "24"}],
    },
    "macAddress": "000D3A000001",
}


def parsed(*interfaces: Any) -> Instance:
    compute = {"vmId": "guid", "resourceId": "/vm", "name": None, "azEnvironment": None}
    return parse_instance(json.dumps({"compute": compute, "network": {"interface": interfaces}}).encode())


ODD_INTERFACES: dict[str, Any] = {
    "null": None,
    "empty": {},
    "without a MAC": {**WHOLE, "macAddress": ""},
    "with a null MAC": {**WHOLE, "macAddress": None},
    "with half a MAC": {**WHOLE, "macAddress": "000D3A"},
    "without IPv4": {"macAddress": "000D3A000002"},
    "with null IPv4": {"ipv4": None, "macAddress": "000D3A000002"},
    "with empty IPv4": {
        "ipv4": {"ipAddress": [], "subnet": [{"address": "", "prefix": ""}]}, "macAddress": "000D3A000002"
    },
    "with null lists": {"ipv4": {"ipAddress": None, "subnet": None}, "macAddress": "000D3A000002"},
    "with a word for IPv4": {"ipv4": "none", "macAddress": "000D3A000002"},
    "with odd addresses": {"ipv4": {"ipAddress": [{"privateIpAddress": "10.0.0.300"}]}, "macAddress": "000D3A000002"},
    "with an odd prefix": {"ipv4": {"subnet": [{"address": "10.0.0.0", "prefix": "99"}]}, "macAddress": "000D3A000002"},
}  # fmt: skip


@pytest.mark.parametrize("odd", ODD_INTERFACES.values(), ids=ODD_INTERFACES)
@pytest.mark.parametrize("first", [True, False])
def test_a_nic_that_is_not_ours_may_be_as_it_likes(odd: Any, *, first: bool) -> None:
    instance = parsed(*([odd, WHOLE] if first else [WHOLE, odd]))
    (ours,) = (interface for interface in instance.interfaces if interface.mac == "00:0d:3a:00:00:01")
    assert [str(address.private) for address in ours.addresses] == ["10.0.0.4", "10.0.0.5"]
    assert ours.subnets == (IPv4Network("10.0.0.0/24"),)


@pytest.mark.parametrize(("address", "prefix"), [("10.0.0.0", "24"), ("10.0.0.4", "24")])
def test_a_subnet_may_be_shown_by_an_address_of_it(address: str, prefix: str) -> None:
    ipv4 = {**WHOLE["ipv4"], "subnet": [{"address": address, "prefix": prefix}]}  # type: ignore[dict-item]
    assert parsed({**WHOLE, "ipv4": ipv4}).interfaces[0].subnets == (IPv4Network("10.0.0.0/24"),)


class Shown(Imds):
    """A metadata service that shows these interfaces."""

    def __init__(self, *interfaces: Any) -> None:
        super().__init__(meter=Calls())
        self.shown = parsed(*interfaces)

    async def instance(self) -> Instance:
        return self.shown


async def test_a_first_address_that_cannot_be_read_is_never_passed_over_on_our_nic() -> None:
    addresses = [{"privateIpAddress": "10.0.0.300"}, {"privateIpAddress": "10.0.0.5"}]
    odd = {**WHOLE, "ipv4": {"ipAddress": addresses}}
    with pytest.raises(CloudUnreachable, match=r"unreadably: 00:0d:3a:00:00:01 \(.*10\.0\.0\.300"):
        await ObservedCloud(Shown(odd)).identify()


async def test_a_nic_without_a_subnet_says_so() -> None:
    cloud = ObservedCloud(Shown({**WHOLE, "ipv4": {"ipAddress": [{"privateIpAddress": "10.0.0.4"}]}}))
    with pytest.raises(CloudUnreachable, match="no subnet of the NIC 00:0d:3a:00:00:01"):
        await cloud.vnet(await cloud.identify())


async def test_what_no_pod_gets_of_an_observed_nic() -> None:
    addresses = [
        {"privateIpAddress": "10.0.0.4", "publicIpAddress": "198.51.100.1"},
        {"privateIpAddress": "10.0.0.5"},
        {"privateIpAddress": "10.0.0.6", "publicIpAddress": "198.51.100.7"},
        {"privateIpAddress": "10.0.0.5"},
        {"privateIpAddress": "0.0.0.0"},
    ]
    view = await ObservedNic(Shown({**WHOLE, "ipv4": {"ipAddress": addresses}}), mac="00:0d:3a:00:00:01").read()
    assert [str(config.address) for config in view.secondaries] == ["10.0.0.5"]
    assert [it.why for it in view.excluded] == [
        "has a public IP address", "is shown twice", "is an address that no host can have"
    ]  # fmt: skip


def observed(world: ServedImds) -> ObservedNic:
    return ObservedNic(world.imds, mac=world.azure.vm("vm1").mac.lower().replace("-", ":"))


async def test_an_observed_nic_is_what_the_metadata_shows(world: ServedImds) -> None:
    view = await observed(world).read()
    assert view.settled
    assert view.primary.address == IPv4Address("10.240.0.4")
    assert [str(config.address) for config in view.secondaries] == ["10.240.0.5", "10.240.0.6"]
    assert all(config.ready and not config.ours for config in view.configs)
    assert await observed(world).read() == view


async def test_an_observed_nic_follows_and_its_etag_shows_it(world: ServedImds) -> None:
    before = await observed(world).read()
    world.azure.outside.appear("vm1-nic", count=1)
    after = await observed(world).read()
    assert len(after.secondaries) == 3
    assert after.etag != before.etag


@pytest.mark.parametrize("change", [{"add": 1}, {"remove": [ConfigName("imds-10.240.0.5")]}])
async def test_an_observed_nic_is_never_written(world: ServedImds, change: dict[str, Any]) -> None:
    nic = observed(world)
    view = await nic.read()
    with pytest.raises(RequestRefused, match="nicWriter is none"):
        await nic.write(view, **change)
    assert world.azure.calls["nic.put"] == 0


async def test_observing_needs_no_permission_at_all(world: ServedImds) -> None:
    world.azure.identity.set_permissions([])
    identity = await ObservedCloud(world.imds).identify()
    assert identity.primary_ip == IPv4Address("10.240.0.4")
    assert (identity.nic_id, identity.subnet_id, identity.vnet_id) == ("", "", "")
    assert set(world.azure.calls) == {"imds.instance"}


async def test_on_a_vm_with_several_nics_one_must_be_named(world: ServedImds) -> None:
    vm = world.azure.add_vm("vm2", nics=2)
    world.azure.pin_caller("vm2")
    macs = [world.azure.nic_record(name).mac.lower().replace("-", ":") for name in ("vm2-nic", "vm2-nic2")]
    with pytest.raises(CloudNotFound, match=f"vm2 shows the MACs {macs[0]}, {macs[1]}; .* one NIC"):
        await ObservedCloud(world.imds).identify()
    assert (await ObservedCloud(world.imds, mac=macs[1].upper()).identify()).mac == macs[1]
    with pytest.raises(CloudNotFound, match="cannot find the NIC 00:00:00:00:00:01"):
        await ObservedNic(world.imds, mac="00:00:00:00:00:01").read()
    assert vm.name == "vm2"
